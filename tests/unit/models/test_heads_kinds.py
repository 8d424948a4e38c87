"""What holds for every kind of head when heads of users are fitted."""

from dataclasses import replace

import pytest
import torch
from defaults import fit_options
from made_up_users import make_model, make_user, with_taste
from torch.testing import assert_close

from hydra_ray.models.features import pad
from hydra_ray.models.heads import HEAD_KINDS
from hydra_ray.models.heads.descent import GradientFitted
from hydra_ray.models.losses import LOSSES

RAGGED = [make_user(1, (3, 2, 4)), make_user(2, (2,)), make_user(3, (1, 5, 2, 2, 3)), make_user(4, (6, 2))]
OPTIONS = fit_options(rank=3, steps=15, lr=0.05)
# Long enough to arrive; users' fits end early, so that little history does no harm.
LONG = {"steps": 60, "lr": 0.02}


@pytest.fixture(params=list(HEAD_KINDS))
def kind(request):
    return HEAD_KINDS[request.param]


@pytest.fixture
def fit_exactly(kind, monkeypatch):
    """Fits in float64, as float32 was rounded to: there Adam enlarges rounding wherever a gradient is nearly zero."""
    model = make_model().double()
    if isinstance(kind, GradientFitted):
        fresh = kind.fresh
        monkeypatch.setattr(kind, "fresh", lambda *args: {name: p.double() for name, p in fresh(*args).items()})

    def fit(users, options):
        batch = pad(users)
        batch = replace(batch, z=batch.z.double(), scores=batch.scores.double())
        return kind.fit(batch, model.shared(batch.z), model.common(kind.name), options)

    return fit


@pytest.mark.parametrize("more", [{}, {"dropout": 0.4}, {"held_back": 0.5}], ids=["plain", "dropout", "held_back"])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_fitting_users_together_equals_fitting_each_alone(fit_exactly, loss, more):
    options = replace(OPTIONS, loss=loss, **more)
    together = fit_exactly(RAGGED, options)
    for row, user in enumerate(RAGGED):
        alone = fit_exactly([user], options)
        assert_close({name: p[row] for name, p in together.items()}, {name: p[0] for name, p in alone.items()})


@pytest.mark.parametrize("loss", list(LOSSES))
def test_whose_heads_are_fitted_beside_does_not_matter(fit_exactly, loss):
    options = replace(OPTIONS, loss=loss)
    first, second = fit_exactly(RAGGED[:2], options), fit_exactly(RAGGED[:1] + RAGGED[2:], options)
    assert_close({name: p[0] for name, p in first.items()}, {name: p[0] for name, p in second.items()})


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("kind", ["lowrank", "dense", "bases"])
def test_a_user_who_taught_a_taste_gets_it_back(kind, loss):
    model = make_model()
    taste = torch.randn(model.width, generator=torch.Generator().manual_seed(5))
    known, asked = with_taste(taste, seed=1, groups=60), with_taste(taste, seed=2, groups=60)
    opposite = with_taste(-taste, seed=3, groups=60)
    heads = model.fit(kind, [known, opposite], fit_options(loss=loss, rank=3, **LONG))

    def right(head):
        logits = model.logits(asked.z, [head] * len(asked.z)).view(60, 4)
        return (logits.argmax(dim=1) == asked.scores.view(60, 4).argmax(dim=1)).float().mean()

    assert right(heads[0]) > 0.6
    assert right(None) < 0.35
    assert right(heads[1]) < 0.1


@pytest.mark.parametrize("kind", ["lowrank", "dense", "bases"])
def test_the_pull_keeps_a_head_near_the_shared_one(kind):
    model, user = make_model(), with_taste(torch.ones(12), seed=1)

    def distance(pull):
        (head,) = model.fit(kind, [user], fit_options(rank=3, pull=pull, **LONG))
        return (model.logits(user.z, [head] * len(user.z)) - model.shared(user.z)).abs().mean()

    free, mild, strong = distance(0.0), distance(5.0), distance(1000.0)
    assert free > 1.5 * mild
    assert strong < 0.05 * free


@pytest.mark.parametrize("kind", ["lowrank", "dense", "bases"])
def test_the_pull_weighs_less_the_more_a_user_has_told(kind):
    model, user = make_model(), with_taste(torch.ones(12), seed=1, groups=1)
    much = replace(user, z=user.z.repeat(20, 1), sizes=user.sizes.repeat(20), scores=user.scores.repeat(20))
    much = replace(much, priors=torch.zeros(80), observation_ids=user.observation_ids * 20)
    little, much = model.fit(kind, [user, much], fit_options(rank=3, pull=1.0, **LONG))

    def distance(head):
        return (model.logits(user.z, [head] * 4) - model.shared(user.z)).abs().mean()

    assert distance(much) > 1.5 * distance(little)
