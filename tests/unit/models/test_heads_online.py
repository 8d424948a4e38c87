"""A posterior anew from what is kept of its user is the one that fitting gives."""

import random

import pytest
import torch
from defaults import fit_options
from made_up_users import make_model
from torch.testing import assert_close

from hydra_ray.models.features import UserFeatures
from hydra_ray.models.heads.bases import BasisHeads, observations
from hydra_ray.models.heads.online import head_of, pack, unpack

WIDTH, BASES = 24, 16
ABOUT = {"pull": 0.05, "temperature": 0.1, "prior_weight": 0.5}


@pytest.fixture(scope="module")
def model():
    return make_model(WIDTH).eval()


@pytest.fixture(scope="module")
def groups():
    """Features and scores of groups of several sizes."""
    torch.manual_seed(1)
    sizes = (2, 5, 3, 8, 2, 4)
    return [(torch.randn(size, WIDTH).half(), torch.rand(size)) for size in sizes]


def kept(model, groups):
    """What is kept of each group."""
    common = model.common("bases")
    assert isinstance(common, BasisHeads)
    with torch.no_grad():
        return [pack(observations(common, z.float(), model.shared(z.float()), scores)) for z, scores in groups]


def fitted(model, groups, loss="listwise", **options):
    features = UserFeatures(
        torch.cat([z for z, _ in groups]),
        torch.tensor([len(z) for z, _ in groups]),
        torch.cat([scores for _, scores in groups]),
        torch.zeros(sum(len(z) for z, _ in groups)),
        tuple(map(str, range(len(groups)))),
    )
    options = {"pull": ABOUT["pull"], "temperature": ABOUT["temperature"], **options}
    (head,) = model.fit("bases", [features], fit_options(loss=loss, **options), ABOUT)
    return head


def same(one, other):
    assert (one.kind, one.about) == (other.kind, other.about)
    assert_close(one.tensors, other.tensors, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", ["listwise", "bce"])
def test_it_is_what_fitting_gives(model, groups, loss):
    same(head_of(kept(model, groups), BASES, loss, ABOUT), fitted(model, groups, loss))


def test_the_order_of_what_came_in_does_not_matter(model, groups):
    blobs = kept(model, groups)
    first = head_of(blobs, BASES, "listwise", ABOUT)
    random.Random(0).shuffle(blobs)
    same(head_of(blobs, BASES, "listwise", ABOUT), first)


def test_without_an_item_it_is_what_fitting_without_it_gives(model, groups):
    blobs = kept(model, groups)
    same(head_of(blobs[:2] + blobs[3:], BASES, "listwise", ABOUT), fitted(model, groups[:2] + groups[3:]))


def test_it_is_fitted_with_the_numbers_that_are_kept_with_it(model, groups):
    about = {"pull": 0.5, "temperature": 0.3}
    head = head_of(kept(model, groups), BASES, "listwise", about)
    assert head.about == about
    assert_close(head.tensors, fitted(model, groups, **about).tensors, rtol=1e-5, atol=1e-6)
    assert head.tensors["mean"].norm() < fitted(model, groups).tensors["mean"].norm()


def test_without_any_evidence_there_is_no_head():
    assert head_of([], BASES, "listwise", ABOUT) is None


def test_evidence_comes_back_as_it_was(model, groups):
    blobs = kept(model, groups)
    observed, group = unpack(blobs, BASES)
    assert observed.shape == (24, BASES + 2)
    assert group.bincount().tolist() == [2, 5, 3, 8, 2, 4]
    assert [pack(part) for part in observed.split([2, 5, 3, 8, 2, 4])] == blobs
