from dataclasses import replace
from itertools import islice

import pytest
import torch
from defaults import fit_options, listwise_loss
from made_up_users import WIDTH, make_model, make_user, only, with_taste
from torch.testing import assert_close

from hydra_ray.models.features import pad
from hydra_ray.models.heads import HEAD_KINDS
from hydra_ray.models.heads.descent import descend, held_back_groups

# Ten steps that go far enough to be told apart.
OPTIONS = fit_options(rank=3, steps=10, lr=0.02)
TASTE = torch.randn(WIDTH, generator=torch.Generator().manual_seed(5))


@pytest.fixture(params=["lowrank", "dense"])
def kind(request):
    return HEAD_KINDS[request.param]


@pytest.fixture
def fit(kind):
    """The one user's head, or several users', before it is rounded to what is kept."""
    model = make_model()

    def fit(*users, **changes):
        batch = pad(users)
        return kind.fit(batch, model.shared(batch.z), None, replace(OPTIONS, **changes))

    return fit


def turned(seed):
    """A user whose latest half contradicts the half before."""
    before, after = with_taste(TASTE, seed), with_taste(-TASTE, seed)
    return replace(before, scores=torch.cat([before.scores[:12], after.scores[12:]]))


@pytest.mark.parametrize(
    ("share", "sizes", "held"),
    [
        (0.5, [1, 2, 3, 4], [0, 0, 1, 0, 0, 1, 0, 0, 1, 1]),
        (0.3, [3, 4, 10], [0, 0, 0, 0, 0, 0, 1, *[0] * 7, 1, 1, 1]),
        (0.9, [1, 2], [0, 0, 1]),
    ],
)
def test_the_latest_groups_of_each_user_are_held_back(share, sizes, held):
    batch = pad([make_user(size, [2] * size) for size in sizes])
    assert held_back_groups(batch, share).tolist() == held


def test_a_user_whose_latest_groups_contradict_stops_earlier_than_one_whose_do_not(fit):
    steady, fickle = with_taste(TASTE, 1), turned(2)
    heads = fit(steady, fickle, held_back=0.5)
    # The first step already leads away from what the latest groups want.
    assert (heads["out"][1] == 0).all()
    # The last step still led nearer: the head is that of all steps.
    assert_close(heads["out"][0], fit(steady)["out"][0])
    assert (fit(fickle)["out"] != 0).any()


def test_once_its_steps_are_known_a_head_is_fitted_on_all_groups(fit):
    user = with_taste(TASTE, 1)
    held_back = fit(user, steps=30, held_back=0.5)["out"]
    fitted, of_half = (
        [fit(observed, steps=n)["out"] for n in range(5, 31, 5)] for observed in (user, only(user, range(3)))
    )
    assert sum(torch.allclose(held_back, out, atol=1e-4) for out in fitted) == 1
    assert not any(torch.allclose(held_back, out, atol=1e-4) for out in of_half)


def test_a_user_with_too_few_groups_to_hold_one_back_takes_all_steps(fit):
    little = with_taste(TASTE, 1, groups=1)
    assert_close(fit(little, held_back=0.5), fit(little), atol=0, rtol=0)


def test_heads_stop_when_the_held_back_groups_lose_patience(fit, kind):
    # The sooner the rate overshoots, the fewer steps are kept: more steps on offer change nothing.
    user = make_user(3, [4] * 12)
    assert_close(fit(user, steps=200, lr=0.2, held_back=0.5), fit(user, steps=400, lr=0.2, held_back=0.5))


def test_descent_begins_at_the_shared_answer_and_goes_downhill(kind):
    model, batch = make_model(), pad([with_taste(TASTE, 1), make_user(2)])
    shared, rows, everything = model.shared(batch.z), torch.arange(2), torch.ones(9, dtype=torch.bool)
    losses = []
    for heads in islice(descend(kind, batch, everything, shared, None, replace(OPTIONS, pull=0.0)), 11):
        logits = batch.pick(shared + kind.delta(heads, rows, batch.z, None)).detach()
        losses.append(batch.by_user(listwise_loss(logits, batch.scores, batch.group)))
    plain = listwise_loss(batch.pick(shared), batch.scores, batch.group)
    assert_close(losses[0], batch.by_user(plain))
    assert (losses[-1] < 0.9 * losses[0]).all()


def test_groups_that_are_not_trained_on_teach_nothing(kind):
    model, user = make_model(), turned(1)
    first_half = only(user, [0, 1, 2])

    def out(user, train):
        batch = pad([user])
        descent = descend(kind, batch, torch.tensor(train), model.shared(batch.z), None, OPTIONS)
        return list(islice(descent, 6))[-1]["out"]

    assert_close(out(user, [True] * 3 + [False] * 3), out(first_half, [True] * 3), atol=1e-4, rtol=1e-4)


def test_what_is_dropped_out_is_the_same_for_all_users_and_drawn_anew_each_step(fit, kind):
    users, name = [make_user(1), make_user(2)], "project" if kind.name == "lowrank" else "weight"
    # From the second step on: in the first `out` is zero, and the projection has no gradient.
    start, second, later = (fit(*users, steps=steps, dropout=0.5)[name] for steps in (1, 2, 20))
    taught = (second != start).any(dim=1)
    assert 0 < taught[0].sum() < WIDTH
    assert taught[0].tolist() == taught[1].tolist()
    assert (later != start).any(dim=1).all()


def test_scores_count_by_their_temperature(fit):
    user = make_user(1)
    cold, warm = fit(user, temperature=0.1), fit(user, temperature=10.0)
    alike = fit(replace(user, scores=user.scores * 0.01), temperature=0.1)
    assert (cold["out"] - warm["out"]).abs().max() > 0.01
    assert_close(alike, warm, atol=1e-3, rtol=1e-3)
