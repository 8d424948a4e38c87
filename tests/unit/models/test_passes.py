"""A batch is cut into those passes that take least, padding and passes counted alike."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.models.passes import passes


def padded(count: int) -> int:
    return -(-count // 16) * 16


def cost(cut, rows) -> int:
    return sum(100 + rows(one.end - one.start) * one.width for one in cut)


@given(lengths=st.lists(st.integers(2, 300), min_size=1, max_size=60).map(sorted), rows=st.sampled_from([int, padded]))
def test_every_text_is_in_one_pass_as_wide_as_it_is_long(lengths, rows):
    longest = -(-lengths[-1] // 8) * 8
    cut = passes(lengths, longest, rows, "cpu")
    assert [one.start for one in cut] == [0, *(one.end for one in cut)][:-1]
    assert cut[-1].end == len(lengths)
    assert all(lengths[one.end - 1] <= one.width <= longest for one in cut)
    assert cost(cut, rows) <= 100 + rows(len(lengths)) * longest


@given(lengths=st.lists(st.integers(2, 64), min_size=1, max_size=9).map(sorted), rows=st.sampled_from([int, padded]))
def test_no_other_cut_takes_less(lengths, rows):
    cut = passes(lengths, 64, rows, "cpu")
    # Widths are eights and, from 33 tokens, sixteens.
    width = {length: -(-length // (8 if length <= 32 else 16)) * (8 if length <= 32 else 16) for length in lengths}
    inner = range(1, len(lengths))
    least = min(
        sum(
            100 + rows(end - start) * width[lengths[end - 1]]
            for start, end in zip((0, *at), (*at, len(lengths)), strict=True)
        )
        for count in range(len(lengths))
        for at in combinations(inner, count)
    )
    assert cost(cut, rows) <= least


@pytest.mark.parametrize(("device", "count"), [("cpu", 2), ("cuda", 1)])
def test_a_gpu_which_starts_a_pass_slowly_makes_fewer(device, count):
    assert len(passes([8] * 10 + [64] * 10, 64, int, device)) == count


def test_equal_texts_take_one_pass():
    assert passes([64] * 96, 64, padded, "cpu") == [(0, 96, 64)]
