"""How the texts of one batch are shared out to passes of the encoder, so that little of them is padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

# Tokens of padding that cost as much as one more pass forward and back. On CPUs measured, of the default encoder with
# its top two layers trained: about 85 in bfloat16, which converts weights in each pass, and 30 in float32. On GPUs a
# pass is some thousand kernels to start; of that nothing was measured.
_PASS_TOKENS = {"cpu": 100}
_PASS_TOKENS_ELSEWHERE = 4_000


class Pass(NamedTuple):
    """Texts that are encoded together: those of some places in the order of length, and the width they are cut to."""

    start: int
    end: int
    width: int


def passes(lengths: Sequence[int], longest: int, rows: Callable[[int], int], device: str) -> list[Pass]:
    """Return the passes that together take least.

    Args:
        lengths: Tokens of each text, ascending.
        longest: Width of the batch, which no pass exceeds.
        rows: Gives the rows that a number of texts is padded to.
        device: Type of the device that computes: cpu, cuda.
    """
    cost = _PASS_TOKENS.get(device, _PASS_TOKENS_ELSEWHERE)
    widths = [min(longest, _width(length)) for length in lengths]
    counts = [(width, len(list(same))) for width, same in groupby(widths)]
    ends, end = [0], 0
    for _, count in counts:
        end += count
        ends.append(end)
    # Least tokens for the texts up to each width, and where the last pass of those begins.
    least, begins = [0.0], [0]
    for last, (width, _) in enumerate(counts, 1):
        costs = [least[first] + cost + rows(ends[last] - ends[first]) * width for first in range(last)]
        begins.append(min(range(last), key=costs.__getitem__))
        least.append(costs[begins[-1]])
    found, last = list[Pass](), len(counts)
    while last:
        first = begins[last]
        found.append(Pass(ends[first], ends[last], counts[last - 1][0]))
        last = first
    return found[::-1]


def _width(length: int) -> int:
    """Width that texts of a length are padded to: few ones, since kernels are made for each shape of a tensor."""
    step = max(8, 1 << max(0, (length - 1).bit_length() - 2))
    return -(-length // step) * step
