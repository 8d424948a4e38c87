import pytest
import torch
from made_up_users import make_model, make_user
from torch.testing import assert_close

from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.learn.examples.features import encode_all
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.learn.heads import fitter as head_fit
from hydra_ray.learn.heads.fitter import FitChoice, HeadFitter, fit_options
from hydra_ray.models.heads import HEAD_KINDS, FitOptions
from hydra_ray.models.heads.online import head_of
from hydra_ray.models.losses import LOSSES
from hydra_ray.records import UserKey
from hydra_ray.settings import FitSettings, HeadSettings

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
LABELS = ("drama", "comedy", "sci-fi")


def settings(kind="lowrank", **changes):
    head = HeadSettings(kind=kind, rank=changes.pop("rank", 3))
    return FitSettings(**{"head": head, "steps": 20, "lr": 0.1, "pull": 0.01, "min_groups": 1, **changes})


def fitter(model, fit, loss="listwise"):
    return HeadFitter(model, lambda features: FitChoice(fit), loss)


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def users():
    """Seven users, of four lengths."""
    sizes = [(3, 2), (2,), (4, 4, 1), (3, 2), (2, 2, 2, 2), (2,), (5, 4)]
    return [(UserKey("acme", f"user {seed}"), make_user(seed, own)) for seed, own in enumerate(sizes)]


@pytest.mark.parametrize("kind", list(HEAD_KINDS))
@pytest.mark.parametrize(("window", "batch"), [(512, 128), (512, 2), (3, 2), (2, 128)])
def test_every_user_gets_their_own_head_whatever_stands_beside_them(model, users, kind, window, batch, monkeypatch):
    monkeypatch.setattr(head_fit, "_USERS_SORTED", window)
    found = {one.user: one.head for one in fitter(model, settings(kind, users_per_batch=batch))(iter(users))}
    assert set(found) == {key for key, _ in users}
    z = make_user(9).z
    together = torch.stack([model.logits(z, [found[key]] * 9) for key, _ in users])
    options = fit_options(settings(kind), "listwise")
    alone = torch.stack([model.logits(z, model.fit(kind, [own], options) * 9) for _, own in users])
    # Kept in bfloat16, and Adam enlarges rounding: near the user's own head, far from all others.
    distance = torch.cdist(together, alone)
    assert distance.diagonal().max() < 0.2 * (distance + 100 * torch.eye(len(users))).min()


def test_users_are_read_as_they_are_needed(model, users, monkeypatch):
    monkeypatch.setattr(head_fit, "_USERS_SORTED", 2)
    read = []
    heads = fitter(model, settings(steps=1))((read.append(key) or (key, own)) for key, own in users)
    assert read == []
    next(heads)
    assert len(read) == 2
    assert len(list(heads)) == 6


def test_nobody_gets_nothing(model):
    assert list(fitter(model, settings())([])) == []


def test_each_user_is_fitted_as_is_chosen_for_them(model, users):
    def choose(features):
        return FitChoice(settings("bases"), 0.25) if len(features.sizes) > 1 else FitChoice(settings(rank=2))

    found = {one.user: one.head for one in HeadFitter(model, choose, "listwise")(users)}
    for key, own in users:
        head = found[key]
        assert head.kind == ("bases" if len(own.sizes) > 1 else "lowrank")
        assert head.prior_weight == (0.25 if len(own.sizes) > 1 else None)
        assert head.kind == "bases" or head.tensors["out"].shape == (2,)


def test_settings_reach_the_fit():
    told = settings(
        "dense", rank=5, steps=7, lr=0.1, pull=0.2, dropout=0.3, temperature=0.4, held_back=0.6, users_per_batch=8
    )
    assert fit_options(told, "bce") == FitOptions(
        loss="bce", rank=5, steps=7, lr=0.1, pull=0.2, dropout=0.3, temperature=0.4, held_back=0.6
    )


@pytest.mark.parametrize("loss", list(LOSSES))
def test_the_loss_is_the_one_that_the_base_was_trained_with(model, users, loss):
    (found,) = fitter(model, settings("bases"), loss)(users[:1])
    (alone,) = model.fit("bases", [users[0][1]], fit_options(settings("bases"), loss))
    assert_close(found.head.tensors, alone.tensors, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_a_posterior_comes_with_all_it_follows_from_by_item(model, users, loss):
    fit = settings("bases", pull=0.2, temperature=0.3)
    found = {one.user: one for one in fitter(model, fit, loss)(users)}
    for key, own in users:
        one = found[key]
        assert list(one.observations) == [f"item {number}" for number in range(len(own.sizes))]
        # float16, over 16 bases, what the delta is added to and the score.
        assert [len(told) for told in one.observations.values()] == [size * 18 * 2 for size in own.sizes.tolist()]
        again = head_of(list(one.observations.values()), 16, loss, one.head.about)
        assert_close(again.tensors, one.head.tensors, atol=0, rtol=0)
        assert one.head.about == {"pull": 0.2, "temperature": 0.3}


@pytest.mark.parametrize("kind", ["lowrank", "dense", "facets"])
def test_other_heads_come_without_evidence(model, users, kind):
    assert [one.observations for one in fitter(model, settings(kind))(users[:2])] == [{}, {}]


def likes(user, best, films=3):
    """The user prefers one label for every film."""
    scores = tuple(float(label == best) for label in LABELS)
    texts = [tuple((label, f"film {number}", ()) for label in LABELS) for number in range(films)]
    key = ExampleKey.of_item(user, "a film")
    return [RankingGroup(key, decisions, scores) for decisions in texts]


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("kind", ["lowrank", "dense", "bases"])
def test_a_head_learns_from_texts_what_contradicts_the_shared_head(scorer, kind, loss):
    model = scorer()

    def favourite(head):
        return LABELS[model.score([(label, "another film", ()) for label in LABELS], [head] * 3).argmax()]

    shared = favourite(None)
    ann, bob = (label for label in LABELS if label != shared)
    features = encode_all(model, [likes(ANN, ann), likes(BOB, bob)])
    fit = fitter(model.heads, settings(kind, steps=60, lr=0.02), loss)
    heads = {one.user: one.head for one in fit(zip((ANN, BOB), features, strict=True))}
    assert (favourite(heads[ANN]), favourite(heads[BOB])) == (ann, bob)
    assert favourite(None) == shared


def test_who_teaches_too_little_for_a_head_gets_none(model):
    users = [(UserKey("acme", str(groups)), make_user(groups, (3,) * groups)) for groups in (2, 3, 4)]
    for kind, expected in (("lowrank", {"3", "4"}), ("bases", {"2", "3", "4"})):
        found = fitter(model, settings(kind, min_groups=3))(users)
        assert {one.user.user for one in found} == expected
