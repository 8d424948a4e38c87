from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from hydra_ray.learn.base import shared_parts as commons
from hydra_ray.learn.base.shared_parts import fit_commons
from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.models.heads import common
from hydra_ray.records import UserKey

LABELS = ("drama", "comedy", "sci-fi", "horror")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(common, "_STEPS", 31)


@pytest.fixture
def encoded(monkeypatch):
    """What was encoded: the groups of each user."""
    encode, seen = commons.encode_all, []

    def noting(scorer, users, advance):
        seen.extend(users)
        return encode(scorer, users, advance)

    monkeypatch.setattr(commons, "encode_all", noting)
    return seen


def taught(count, groups=4):
    """Users who each like one of the labels."""
    users = [UserKey("acme", f"user {number}") for number in range(count)]
    return {user: [group(user, LABELS[row % 4], film) for film in range(groups)] for row, user in enumerate(users)}


def group(user, best, film):
    decisions = tuple((label, f"film {film}", ()) for label in LABELS)
    return RankingGroup(ExampleKey.of_item(user, str(film)), decisions, tuple(float(label == best) for label in LABELS))


def parts(scorer):
    return {name: p.clone() for name, p in scorer.heads.commons.state_dict().items()}


def test_what_heads_share_is_fitted_and_nothing_else(scorer):
    model = scorer()
    others = {name: p.clone() for name, p in model.state_dict().items() if "commons" not in name}
    before = parts(model)
    fit_commons(model, taught(10), "listwise", seed=0)
    after = parts(model)
    for part in ("bases.project", "facets.project.weight", "facets.router.weight", "facets.out"):
        assert (after[part] != before[part]).any()
    assert_close({name: p for name, p in model.state_dict().items() if "commons" not in name}, others, atol=0, rtol=0)
    assert not [name for name, p in model.named_parameters() if p.requires_grad]


@pytest.mark.parametrize("loss", ["listwise", "bce"])
def test_the_same_users_and_seed_give_the_same_parts(scorer, loss):
    fitted = []
    for users in (taught(10), dict(reversed(taught(10).items()))):
        fitted.append(scorer())
        fit_commons(fitted[-1], users, loss, seed=0)
    assert_close(*(parts(model) for model in fitted), atol=0, rtol=0)
    other = scorer()
    fit_commons(other, taught(10), loss, seed=1)
    assert (parts(other)["facets.out"] != parts(fitted[0])["facets.out"]).any()


def test_parts_are_fitted_around_what_is_known_before(scorer):
    fitted = []
    for weight in (0.0, 5.0):
        users = {
            user: [replace(one, priors=tuple(weight * score for score in one.scores)) for one in groups]
            for user, groups in taught(10).items()
        }
        fitted.append(scorer())
        fit_commons(fitted[-1], users, "listwise", seed=0)
    unknown, known = map(parts, fitted)
    for part in (lambda own: own["facets.out"], lambda own: own["bases.scale"].unsqueeze(1) * own["bases.project"]):
        assert (part(known) - part(unknown)).abs().max() > 1e-3


@pytest.mark.parametrize("users", [{}, taught(4), taught(10, groups=1)], ids=["none", "few", "of one group"])
def test_with_nobody_to_hold_out_bases_stay_as_they_were_and_facets_are_silent(scorer, users):
    model = scorer()
    before = parts(model)
    fit_commons(model, users, "listwise", seed=0)
    after = parts(model)
    assert_close(after["bases.project"], before["bases.project"], atol=0, rtol=0)
    assert (model.heads.common("facets")(torch.ones(2, model.heads.width)) == 0).all()


def test_how_far_encoding_is_is_told(scorer):
    told = []
    fit_commons(scorer(), taught(10), "listwise", seed=0, advance=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 0


def test_users_of_one_group_are_left_out(scorer, encoded):
    users = {**taught(10), UserKey("acme", "little"): [group(UserKey("acme", "little"), "drama", 0)]}
    fit_commons(scorer(), users, "listwise", seed=0)
    assert len(encoded) == 10
    assert {len(groups) for groups in encoded} == {4}


def test_of_many_users_and_groups_some_do(scorer, encoded, monkeypatch):
    monkeypatch.setattr(commons, "_MOST_USERS", 6)
    monkeypatch.setattr(commons, "_MOST_GROUPS", 3)
    fit_commons(scorer(), taught(10), "listwise", seed=0)
    assert len(encoded) == 6
    # The latest groups: they come after what is known of a user.
    assert {texts[1] for groups in encoded for one in groups for texts in one.decisions} == {
        "film 1",
        "film 2",
        "film 3",
    }
