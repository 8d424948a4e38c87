from dataclasses import replace

import pytest
import torch
from defaults import fit_options, taste
from made_up_users import WIDTH, make_model, make_user, with_taste
from torch.nn import functional as F
from torch.testing import assert_close

from hydra_ray.models.features import pad
from hydra_ray.models.losses import TEMPERATURE


@pytest.fixture
def model():
    return make_model()


def mix(model, *users, **options):
    return [head.tensors["mix"] for head in model.fit("facets", users, fit_options(**options))]


def test_a_taste_is_what_sets_the_preferred_apart():
    user = make_user(1, (3, 2))
    groups = [(user.z[:3], user.scores[:3]), (user.z[3:], user.scores[3:])]
    apart = sum(F.softmax(scores / TEMPERATURE, dim=0) @ z - z.mean(dim=0) for z, scores in groups)
    # Two groups, and four that count as much as knowing nothing.
    assert_close(taste(pad([user]))[0], apart / (2 + 4))


def test_a_taste_points_where_the_user_points():
    direction = torch.randn(WIDTH, generator=torch.Generator().manual_seed(5))
    found = taste(pad([with_taste(direction, 1, groups=40), with_taste(-direction, 2, groups=40)]))
    assert F.cosine_similarity(found[0], direction, dim=0) > 0.8
    assert F.cosine_similarity(found[1], direction, dim=0) < -0.8


def test_more_groups_of_one_taste_are_surer_of_it():
    little, much = (with_taste(torch.ones(WIDTH), 1, groups=groups) for groups in (1, 40))
    found = taste(pad([little, much]))
    assert found[1].norm() > 1.5 * found[0].norm()


def test_only_the_groups_that_count_are_read():
    user = make_user(1, (3, 2, 4))
    batch = pad([user, make_user(2, (2,))])
    counted = taste(batch, torch.tensor([True, True, False, True]))
    assert_close(counted, taste(pad([user.groups(0, 2), make_user(2, (2,))])))


def test_knowing_nothing_gives_a_mix_of_zero(model):
    facets = model.common("facets")
    assert_close(facets.mix(torch.zeros(2, WIDTH)), torch.zeros(2, 6), atol=1e-7, rtol=0)
    undecided = replace(make_user(1), scores=torch.full((9,), 0.5))
    assert_close(mix(model, undecided)[0], torch.zeros(6), atol=1e-7, rtol=0)


def test_a_mix_moves_weight_between_facets(model):
    (found,) = mix(model, with_taste(torch.ones(WIDTH), 1))
    assert found.abs().max() > 1e-3
    assert_close(found.sum(), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_a_mix_depends_on_the_users_own_groups_only(model):
    ann, bob, carl = (make_user(seed, sizes) for seed, sizes in enumerate([(3, 2), (9, 1, 4), (2,)]))
    for own, together in zip((ann, bob, carl), mix(model, ann, bob, carl), strict=True):
        assert_close(together, mix(model, own)[0], atol=1e-6, rtol=0)
    assert (mix(model, ann)[0] - mix(model, bob)[0]).abs().max() > 1e-3


def test_a_mix_reads_scores_by_their_temperature(model):
    user = make_user(1)
    assert_close(
        mix(model, user, temperature=0.5)[0], mix(model, replace(user, scores=user.scores / 5), temperature=0.1)[0]
    )
    assert (mix(model, user, temperature=0.5)[0] - mix(model, user)[0]).abs().max() > 1e-4


def test_a_head_is_its_mix_of_the_facets(model):
    user, facets = make_user(1), model.common("facets")
    (head,) = model.fit("facets", [user], fit_options())
    hidden = torch.tanh(user.z @ facets.project.weight.T + facets.project.bias).view(9, 6, 8)
    expected = (hidden * facets.out).sum(-1) @ head.tensors["mix"]
    assert_close(model.logits(user.z, [head] * 9) - model.shared(user.z), expected, atol=1e-6, rtol=1e-4)
