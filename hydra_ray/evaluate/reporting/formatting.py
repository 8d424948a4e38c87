"""Helpers that page, figures and sentences share: parts of a comparison's result, and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hydra_ray.bootstrap import Interval
from hydra_ray.evaluate.results import ComparisonResult, Pair, Slice, TaskResult

HYDRA, ZERO_SHOT = "hydra", "zero-shot"
# Level of Holm's corrected p below which a difference is said to be beyond chance.
CHANCE = 0.05
# Metrics that run to 100: three decimals would pretend to more than is known.
_TO_HUNDRED = ("bleu",)
# Differences of a user's metric that are nothing but rounding.
_SAME = 1e-9
_MINUS, _DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def ranked(task: TaskResult) -> tuple[list[str], list[str]]:
    """Return competitors and controls, each with the best on the main metric first."""
    main = task.metrics[0]
    order = sorted(task.methods, key=lambda name: task.methods[name][main].value, reverse=task.higher_is_better[main])
    return [name for name in order if name not in task.controls], [name for name in order if name in task.controls]


def best(task: TaskResult, metric: str) -> float | None:
    """Return the best competitor's value; None without competitors."""
    values = [found[metric].value for name, found in task.methods.items() if name not in task.controls]
    return (max if task.higher_is_better[metric] else min)(values, default=None)


def prompted(task: TaskResult) -> str | None:
    """Return the prompt-based method that the headline chose most often; None without a headline."""
    if task.headline is None or not task.headline.chosen:
        return None
    name = max(task.headline.chosen, key=lambda method: task.headline.chosen[method])  # type: ignore[union-attr]
    return name if name in task.methods else None


def parts(task: TaskResult, by: str) -> list[Slice]:
    """Return the slices of one sort, in their order."""
    return [part for part in task.slices if part.by == by]


def against(task: TaskResult, method: str) -> list[tuple[str, Interval, Pair]]:
    """Return every other method with how much better `method` is, the one that it beats by most first."""
    found = [
        (pair.second, pair.difference, pair) if pair.first == method else (pair.first, _turned(pair.difference), pair)
        for pair in task.pairs
        if method in (pair.first, pair.second)
    ]
    return sorted(found, key=lambda one: -one[1].value)


def pooled_fates(result: ComparisonResult, method: str) -> tuple[float, float] | None:
    """Return the shares of all tasks' users that a method makes better and worse; None where no task has them."""
    known = [(task.users, task.fates[method]) for task in result.tasks if method in task.fates]
    everybody = sum(users for users, _ in known)
    if not everybody:
        return None
    better = sum(users * fate.better for users, fate in known) / everybody
    return better, sum(users * fate.worse for users, fate in known) / everybody


def gained_and_lost(task: TaskResult) -> tuple[int, int]:
    """Count the users who do better and those who do worse with hydra than with the prompt-based method."""
    gains = [user.gain for user in task.gains]
    return sum(gain > _SAME for gain in gains), sum(gain < -_SAME for gain in gains)


def spread(values: Sequence[float]) -> float:
    """Return the distance from the least to the greatest value."""
    return max(values) - min(values)


def number(value: float, metric: str = "") -> str:
    """Format a metric's value, e.g. "0.545"; BLEU has two decimals."""
    if not math.isfinite(value):
        return _DASH if math.isnan(value) else "∞" if value > 0 else f"{_MINUS}∞"
    return f"{value:.{2 if metric in _TO_HUNDRED else 3}f}".replace("-", _MINUS)


def signed(value: float, metric: str = "") -> str:
    """Format a difference, e.g. "+0.034"."""
    return number(value, metric) if value < 0 or math.isnan(value) else f"+{number(value, metric)}"


def percent(share: float, digits: int = 1) -> str:
    """Format a share, e.g. "8.7 %"."""
    if not math.isfinite(share):
        return number(share)
    # Rounded, then added to 0: -0.0004 is 0.0 %, without a sign.
    return f"{round(100 * share, digits) + 0.0:.{digits}f}\N{NO-BREAK SPACE}%".replace("-", _MINUS)


def probability(p: float) -> str:
    """Format a p value: "<0.001" rather than "0.000"."""
    return "<0.001" if p < 0.001 else number(p)


def amount(value: float) -> str:
    """Format a count or a mean of counts: "8", "8.3", "2,140"."""
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.1f}"


def count(number: float, one: str, many: str = "") -> str:
    """Format a number of things: "1 user", "1,200 users"."""
    return f"{amount(number)} {one if number == 1 else many or one + 's'}"


def _turned(difference: Interval) -> Interval:
    return Interval(-difference.value, -difference.high, -difference.low, difference.n)
