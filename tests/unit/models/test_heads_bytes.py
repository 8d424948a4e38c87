import pytest
import torch
from defaults import fit_options
from hypothesis import given
from hypothesis import strategies as st
from made_up_users import make_head, make_model, make_user
from torch.testing import assert_close

from hydra_ray.models.heads import HEAD_KINDS, Head

KEPT_IN = {"lowrank": torch.bfloat16, "dense": torch.bfloat16, "bases": torch.float32, "facets": torch.float32}

names = st.text("abcdefghij_", min_size=1, max_size=5)
shapes = st.lists(st.integers(1, 3), min_size=1, max_size=3)
kept = st.sampled_from([torch.float16, torch.bfloat16, torch.float32])
tensors = st.builds(lambda shape, dtype, seed: torch.full(shape, seed, dtype=dtype), shapes, kept, st.integers(-9, 9))
numbers = st.dictionaries(names, st.floats(allow_nan=False, allow_infinity=False), max_size=3)
any_head = st.builds(
    Head, st.sampled_from(list(HEAD_KINDS)), st.dictionaries(names, tensors, min_size=1, max_size=4), numbers
)


@given(head=any_head)
def test_any_head_survives_as_bytes(head):
    again = Head.from_bytes(head.to_bytes())
    assert (again.kind, again.about) == (head.kind, head.about)
    assert_close(again.tensors, head.tensors, atol=0, rtol=0)


@pytest.mark.parametrize("kind", list(HEAD_KINDS))
def test_a_fitted_head_survives_in_the_numbers_it_is_kept_in(kind):
    head = make_head(make_model(), kind, seed=0)
    again = Head.from_bytes(head.to_bytes())
    assert {tensor.dtype for tensor in again.tensors.values()} == {KEPT_IN[kind]}
    assert_close(again.tensors, head.tensors, atol=0, rtol=0)


@pytest.mark.parametrize("kind", list(HEAD_KINDS))
def test_a_head_holds_no_other_user(kind):
    heads = make_model().fit(kind, [make_user(seed) for seed in range(3)], fit_options(rank=3, steps=2))
    for tensor in (tensor for head in heads for tensor in head.tensors.values()):
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
        assert not tensor.requires_grad
        assert torch.isfinite(tensor).all()
    assert heads[0].nbytes == sum(tensor.nbytes for tensor in heads[0].tensors.values())


@pytest.mark.parametrize(("kind", "most"), [("lowrank", 32 * 1024), ("bases", 1024), ("facets", 1024)])
def test_a_head_of_width_768_takes_little(kind, most):
    head = make_head(make_model(width=768), kind, seed=0, rank=8)
    assert len(head.to_bytes()) <= most


def test_the_weight_of_the_prior_is_the_heads_own_where_it_has_one():
    tensors = {"mix": torch.zeros(6)}
    assert Head("facets", tensors).prior_weight is None
    assert Head("facets", tensors, {"prior_weight": 0.0}).prior_weight == 0
    assert Head.from_bytes(Head("facets", tensors, {"prior_weight": 0.7}).to_bytes()).prior_weight == 0.7
