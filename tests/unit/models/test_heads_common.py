from dataclasses import replace

import pytest
import torch
from defaults import fit_options
from made_up_users import make_model, with_taste
from torch.testing import assert_close

from hydra_ray.models.heads import common
from hydra_ray.models.heads.common import fit_facets
from hydra_ray.models.heads.spread import fit_bases
from hydra_ray.models.losses import LOSSES

WIDTH, GROUPS = 24, 12
FITS = {
    "bases": lambda users, held, offset, loss: fit_bases([*held, *users], make_model(WIDTH), loss),
    "facets": fit_facets,
}
# Tastes lie in a plane: few bases or facets tell them all.
PLANE = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(9))


def users(count, first, groups=GROUPS):
    random = torch.Generator().manual_seed(first)
    return [with_taste(torch.randn(2, generator=random) @ PLANE, first + number, groups) for number in range(count)]


@pytest.fixture
def model():
    return make_model(WIDTH)


@pytest.fixture(scope="module")
def training():
    return users(48, 1000), users(12, 2000)


def share_right(model, kind):
    """How often users who never were in training get their favourite, after and before their first groups are read."""
    new = users(24, 3000, groups=2 * GROUPS)
    known, asked = [user.groups(0, GROUPS) for user in new], [user.groups(GROUPS, 2 * GROUPS) for user in new]

    def right(head, user):
        logits = model.logits(user.z, [head] * len(user.z)).view(GROUPS, -1)
        return (logits.argmax(dim=1) == user.scores.view(GROUPS, -1).argmax(dim=1)).float().mean()

    heads = model.fit(kind, known, fit_options())
    personal = [right(head, user) for head, user in zip(heads, asked, strict=True)]
    return sum(personal) / len(new), sum(right(None, user) for user in asked) / len(new)


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("kind", list(FITS))
def test_what_was_learnt_from_some_users_serves_others(model, training, kind, loss):
    untrained, shared = share_right(model, kind)
    fitted = FITS[kind](*training, model.offset, loss)
    model.commons[kind].load_state_dict(fitted.state_dict())
    personal, _ = share_right(model, kind)
    # Of four, a quarter is right by chance.
    assert personal > max(untrained, shared) + 0.15
    assert shared < 0.3


@pytest.mark.parametrize("kind", list(FITS))
def test_the_same_users_teach_the_same(model, training, kind, monkeypatch):
    monkeypatch.setattr(common, "_STEPS", 31)
    first, again = (FITS[kind](*training, model.offset, "listwise").state_dict() for _ in range(2))
    assert_close(first, again, atol=0, rtol=0)


def test_facets_are_left_as_they_served_held_out_users_best(model, training, monkeypatch):
    train, held = training
    # Whose later groups want all but the favourite of the earlier ones: they lose from early on.
    fickle = [replace(user, scores=torch.cat([user.scores[:24], 1 - user.scores[24:]])) for user in held]
    stopped = fit_facets(train, fickle, model.offset, "listwise").state_dict()
    monkeypatch.setattr(common, "_PATIENCE", common._STEPS)
    assert_close(fit_facets(train, fickle, model.offset, "listwise").state_dict(), stopped, atol=0, rtol=0)
