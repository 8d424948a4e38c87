import pytest
import torch
from torch.testing import assert_close

from hydra_ray.learn.groups import Group
from hydra_ray.learn.head_fit import fit_heads
from hydra_ray.models.losses import LOSSES
from hydra_ray.records import UserKey
from hydra_ray.settings import FitSettings

ANN, BOB, CARL, DORA = (UserKey("acme", name) for name in ("ann", "bob", "carl", "dora"))
SETTINGS = FitSettings(steps=40, lr=0.05, pull=0.01)
LABELS = ("drama", "comedy", "sci-fi")


@pytest.fixture(params=["lowrank", "dense"])
def model(request, scorer):
    return scorer(kind=request.param)


@pytest.fixture
def exact(model, monkeypatch):
    """A scorer whose heads are fitted in float64, from features that do not depend on the encoder's batches.

    In float32 Adam enlarges rounding wherever a gradient is nearly zero.
    """
    model.encoder.remember(100)
    model.shared.double()
    features, bank = model.encoder.features, model.bank
    monkeypatch.setattr(model.encoder, "features", lambda texts: features(texts).double())
    monkeypatch.setattr(model, "bank", lambda users: bank(users).double())
    return model


def group(user, film, best, labels=LABELS):
    """The user prefers one label for a film."""
    return Group(user, tuple((label, film, "") for label in labels), tuple(float(x == best) for x in labels))


def taste(user, best, films=3):
    return [group(user, f"film {number}", best) for number in range(films)]


def fit(model, groups, settings=SETTINGS, loss="listwise", seen=None):
    return fit_heads(model, groups, settings, loss, (seen if seen is not None else []).append)


def favourite(model, head, film="another film"):
    return LABELS[model.score([(label, film, "") for label in LABELS], [head] * 3).argmax()]


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("users_per_batch", [2, 256])
def test_fitting_users_together_equals_fitting_each_alone(exact, loss, users_per_batch):
    groups = {
        ANN: taste(ANN, "drama"),
        BOB: [group(BOB, "a long film " * 9, "comedy", LABELS[:2])],
        CARL: taste(CARL, "sci-fi", films=5),
    }
    settings = SETTINGS.model_copy(update={"steps": 15, "users_per_batch": users_per_batch})
    together = fit(exact, groups, settings, loss)
    for user, own in groups.items():
        assert_close(together[user], fit(exact, {user: own}, settings, loss)[user], atol=1e-5, rtol=0)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_a_head_learns_what_contradicts_the_shared_head(model, loss):
    shared = favourite(model, None)
    ann, bob = (label for label in LABELS if label != shared)
    heads = fit(model, {ANN: taste(ANN, ann), BOB: taste(BOB, bob)}, loss=loss)
    assert (favourite(model, heads[ANN]), favourite(model, heads[BOB])) == (ann, bob)
    assert favourite(model, None) == shared


def test_a_user_without_groups_gets_no_head(model):
    seen = []
    heads = fit(model, {ANN: [], BOB: taste(BOB, "drama"), CARL: []}, seen=seen)
    assert list(heads) == [BOB]
    assert seen == [1]
    assert fit(model, {ANN: []}) == fit(model, {}) == {}


def test_a_strong_pull_keeps_a_head_near_the_shared_one(model):
    shared = favourite(model, None)
    best = next(label for label in LABELS if label != shared)
    texts = [(label, "film 0", "") for label in LABELS]

    def distance(pull):
        head = fit(model, {ANN: taste(ANN, best)}, SETTINGS.model_copy(update={"pull": pull}))[ANN]
        return (model.score(texts, [head] * 3) - model.score(texts, [None] * 3)).abs().max()

    free, mild, strong = distance(0.0), distance(0.1), distance(1000.0)
    assert free > mild > strong
    assert strong < 0.05 * free


def test_the_pull_weighs_less_the_more_a_user_has_told(model):
    settings = SETTINGS.model_copy(update={"pull": 1.0})
    little, much = taste(ANN, "drama", films=1), taste(BOB, "drama", films=1) * 20
    heads = fit(model, {ANN: little, BOB: much}, settings)
    assert heads[BOB]["out"].norm() > 1.5 * heads[ANN]["out"].norm()


def test_fitting_leaves_the_base_as_it_was(model):
    before = {name: p.clone() for name, p in model.state_dict().items()}
    fit(model, {ANN: taste(ANN, "drama")})
    assert_close(dict(model.state_dict()), before, atol=0, rtol=0)
    assert not [name for name, p in model.named_parameters() if p.grad is not None]


def test_progress_counts_users_batch_by_batch(model):
    seen = []
    groups = {user: taste(user, "drama", films=1) for user in (ANN, BOB, CARL)}
    fit(model, {**groups, DORA: []}, SETTINGS.model_copy(update={"users_per_batch": 2, "steps": 1}), seen=seen)
    assert seen == [2, 3]


def test_a_head_holds_no_other_user(model):
    heads = fit(model, {ANN: taste(ANN, "drama"), BOB: taste(BOB, "comedy")})
    for head in heads.values():
        for name, tensor in head.items():
            assert tensor.shape == model.bank(1).row(0)[name].shape
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
            assert not tensor.requires_grad
            assert torch.isfinite(tensor).all()
