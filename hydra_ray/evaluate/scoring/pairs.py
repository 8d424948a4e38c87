"""Differences between methods, and which of them are beyond chance."""

from __future__ import annotations

from itertools import combinations

from hydra_ray.bootstrap import holm, interval, two_sided_p
from hydra_ray.evaluate.results import Pair
from hydra_ray.evaluate.scoring.align import METHOD
from hydra_ray.evaluate.scoring.scoreboard import Scoreboard


def pairs_of(scoreboard: Scoreboard) -> tuple[Pair, ...]:
    """Compare every two competitors, and hydra with each control, on the main metric; the better one is first.

    All p values are corrected together by Holm's method, so each further pair costs power.
    """
    chosen = list(combinations(scoreboard.competitors, 2))
    if METHOD in scoreboard.values:
        chosen += [(METHOD, control) for control in scoreboard.values if control not in scoreboard.competitors]
    ordered = [(a, b) if scoreboard.better_by(a, b)[0] >= 0 else (b, a) for a, b in chosen]
    differences = [scoreboard.better_by(first, second) for first, second in ordered]
    p_values = [two_sided_p(difference) for difference in differences]
    return tuple(
        Pair(first, second, interval(difference, len(scoreboard.aligned.asked)), p, corrected)
        for (first, second), difference, p, corrected in zip(
            ordered, differences, p_values, holm(p_values), strict=True
        )
    )
