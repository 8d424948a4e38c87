import pytest
import torch
from defaults import fit_options

from hydra_ray.learn.tune.holdout import Holdout, chosen_scores
from hydra_ray.models.features import UserFeatures, pad
from hydra_ray.models.heads import HeadModel
from hydra_ray.models.heads.lowrank import LowRank

WIDTH = 8


@pytest.fixture
def model():
    """A shared head that knows nothing: logits of zero."""
    torch.manual_seed(0)
    model = HeadModel(WIDTH)
    torch.nn.init.zeros_(model.shared.lexical)
    return model


def user(axis, groups, priors=None):
    """Two decisions a group; the second, along an axis, is the good one."""
    z = torch.zeros(2 * groups, WIDTH)
    z[1::2, axis] = 3
    z[::2, (axis + 1) % WIDTH] = 3
    given = torch.zeros(2 * groups) if priors is None else torch.tensor(priors)
    sizes, queries = torch.full((groups,), 2), tuple(map(str, range(groups)))
    return UserFeatures(z, sizes, torch.tensor([0.0, 1.0] * groups), given, queries)


def none(users):
    """Heads that say nothing."""
    return "lowrank", LowRank().fresh(users, WIDTH, 1)


def test_the_latest_groups_are_held_back_and_the_others_known():
    holdout = Holdout.of([user(0, 10), user(1, 4), user(2, 1)], 0.3)
    assert len(holdout) == 2, "who has one group has none to spare"
    assert [batch.counts.tolist() for batch in holdout.known] == [[7, 3]]
    assert [batch.counts.tolist() for batch in holdout.held] == [[3, 1]]


def test_groups_of_the_llms_candidates_judge_where_there_are_any():
    asked = user(0, 4, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.3, -1.2])
    holdout = Holdout.of([asked, user(1, 4)], 0.5)
    assert len(holdout) == 1
    assert holdout.held[0].counts.tolist() == [1]
    assert holdout.known[0].counts.tolist() == [2]


def test_a_head_is_scored_by_what_it_would_choose(model):
    holdout = Holdout.of([user(0, 6), user(5, 6)], 0.34)
    assert chosen_scores(model, *none(2), holdout.held[0], 0.0).tolist() == [0, 0], "of equals the first, the worse one"
    options = fit_options(rank=2, steps=40, lr=0.05, pull=0.0)
    *early, last = holdout.course(model, "lowrank", options, 0.0, every=10)
    assert len(early) == 3
    assert last.tolist() == [1, 1]


def test_a_head_is_fitted_around_the_prior_as_it_is_judged_with(model):
    # The prior is far surer of the good ones than scores at this temperature are: heads beside it lean the other way,
    # and would choose the bad ones without it.
    holdout = Holdout.of([user(0, 6, [-5.0, 0.0] * 6)], 0.34)
    options = fit_options(rank=2, steps=40, lr=0.05, pull=0.0, temperature=1.0)
    for weight in (0.0, 1.0):
        (last,) = holdout.course(model, "lowrank", options, weight, every=40)
        assert last.tolist() == [1]


def test_the_prior_counts_as_much_as_its_weight(model):
    batch = pad([user(0, 2, [-1.0, -0.5, -0.2, -4.4])])
    assert chosen_scores(model, *none(1), batch, 1.0).tolist() == [0.5]
    # Without weight the decisions of a group are equal, and the first of them is the worse one.
    assert chosen_scores(model, *none(1), batch, 0.0).tolist() == [0.0]
