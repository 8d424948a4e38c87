"""Figures of a comparison. Each function draws its part of the result, or returns None with nothing to draw.

Figures are drawn under `svg.style()`. Colours are Okabe and Ito's, which colour-blind people tell apart, and no
figure says anything by colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hydra_ray.bootstrap import Interval
from hydra_ray.evaluate.reporting.formatting import count, ranked
from hydra_ray.evaluate.reporting.svg import INK
from hydra_ray.evaluate.results import Bin, ComparisonResult, CurvePoint, Slice, TaskResult, UserGain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HYDRA, COMPETITOR, CONTROL = "#D55E00", "#0072B2", "#8A8A8A"
# Above this many users a figure has no more to show, but grows with each.
_STEPS = 240
# Inches: two figures side by side on the page, in the size they are drawn in.
_WIDTH = 5.7


def gain_by_task(result: ComparisonResult) -> Figure | None:
    """Draw the headline and each task's part of it, in percent with intervals; None without a headline."""
    if result.headline is None:
        return None
    rows = [(task.task, task.headline.relative) for task in result.tasks if task.headline is not None]
    figure, axes = _figure(_WIDTH, 0.9 + 0.3 * (len(rows) + 1))
    for place, (_, relative) in enumerate(rows):
        _whisker(axes, place, _percent(relative), COMPETITOR, "o")
    _whisker(axes, len(rows), _percent(result.headline.relative), HYDRA, "D")
    axes.axvline(0, color=INK, linewidth=1)
    axes.axhline(len(rows) - 0.5, color=INK, linewidth=0.6, alpha=0.4)
    _name_rows(axes, [*(name for name, _ in rows), "mean of tasks"])
    axes.set_xlabel("better than prompting, %")
    return figure


def methods(task: TaskResult) -> Figure | None:
    """Draw each method's main metric with its interval, the best on top and controls below a rule."""
    main = task.metrics[0]
    competitors, controls = ranked(task)
    rows = [*competitors, *controls]
    if not rows:
        return None
    figure, axes = _figure(_WIDTH, 0.9 + 0.235 * len(rows))
    for place, name in enumerate(rows):
        _whisker(axes, place, task.methods[name][main], *look(name, name in controls))
    if 0 < len(competitors) < len(rows):
        axes.axhline(len(competitors) - 0.5, color=INK, linewidth=0.6, alpha=0.4)
    _name_rows(axes, rows)
    axes.set_xlabel(f"{main}, {'more' if task.higher_is_better[main] else 'less'} is better")
    return figure


def by_history(slices: Sequence[Slice], names: Sequence[str], metric: str) -> Figure | None:
    """Draw the metric of some methods by how much history users have.

    Args:
        slices: Slices by length of history, shortest first.
        names: Names of the methods to show, hydra first.
        metric: Name of the slices' metric.
    """
    names = [name for name in names if any(name in part.methods for part in slices)]
    if not slices or not names:
        return None
    figure, axes = _figure(_WIDTH, 3.0)
    for number, name in enumerate(names):
        places = [place for place, part in enumerate(slices) if name in part.methods]
        found = [slices[place].methods[name] for place in places]
        # Side by side, so that whiskers do not hide each other.
        _curve(axes, np.array(places) + 0.12 * (number - (len(names) - 1) / 2), found, *look(name, False), name)
    axes.set_xticks(range(len(slices)), [f"{part.name}\n{count(part.users, 'user')}" for part in slices])
    axes.set_xlim(-0.5, len(slices) - 0.5)
    axes.set_xlabel("history items")
    axes.set_ylabel(metric)
    _legend(axes)
    return figure


def user_gains(gains: Sequence[UserGain], metric: str) -> Figure | None:
    """Draw each user's gain, the biggest loss first; of more than 240 users, 240 at even steps."""
    if not gains:
        return None
    heights = np.array([user.gain for user in gains])
    if len(heights) > _STEPS:
        heights = heights[np.linspace(0, len(heights) - 1, _STEPS).round().astype(int)]
    figure, axes = _figure(_WIDTH, 3.0)
    # A bar a user, as one outline: bars apart would be an element each.
    edges = np.linspace(0, 100, len(heights) + 1)
    for colour, part in ((COMPETITOR, np.maximum(heights, 0)), (HYDRA, np.minimum(heights, 0))):
        axes.stairs(part, edges, fill=True, color=colour, linewidth=0)
    axes.axhline(0, color=INK, linewidth=1)
    axes.set_xlim(0, 100)
    axes.set_xlabel("users, % of all, smallest gain first")
    axes.set_ylabel(f"gain in {metric}")
    return figure


def calibration(bins: Sequence[Bin]) -> Figure | None:
    """Draw how often items helped against the reranker's predicted chance, and the number of items in each bin."""
    bins = [part for part in bins if part.n]
    if not bins:
        return None
    figure, (axes, counts) = _figure(_WIDTH, 3.4, rows=(3.2, 1))
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    predicted = [part.predicted for part in bins]
    axes.plot(predicted, [part.observed for part in bins], color=HYDRA, marker="D", markersize=5, linewidth=1.4)
    axes.set_ylabel("share that helped")
    axes.set_ylim(-0.03, 1.03)
    axes.tick_params(labelbottom=False)
    # Lines, not bars: bins of equal counts may be as close as they like.
    counts.vlines(predicted, 0, [part.n for part in bins], color=CONTROL, linewidth=5)
    counts.set_ylim(bottom=0)
    counts.set_ylabel("items")
    counts.set_xlabel("predicted chance that the item helps")
    counts.set_xlim(-0.03, 1.03)
    return figure


def curve(points: Sequence[CurvePoint], x: str, metric: str, prompted: tuple[str, Interval] | None) -> Figure | None:
    """Draw hydra's metric against a count, on an axis where each doubling is one step.

    Args:
        points: Points of the curve, smallest x first.
        x: Label of the x axis, which says what is counted.
        metric: Name of the metric.
        prompted: Name and value of a prompt-based method to compare with; None draws none.
    """
    if not points:
        return None
    figure, axes = _figure(_WIDTH, 3.0)
    _curve(axes, [point.x for point in points], [point.value for point in points], HYDRA, "D", True, "hydra")
    if prompted is not None:
        name, found = prompted
        axes.axhline(found.value, color=COMPETITOR, linewidth=1.4, linestyle=(0, (4, 3)), label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks([point.x for point in points], [str(point.x) for point in points])
    axes.minorticks_off()
    axes.set_xlabel(x)
    axes.set_ylabel(metric)
    _legend(axes)
    return figure


def look(method: str, control: bool) -> tuple[str, str, bool]:
    """Return colour, marker and whether the marker is filled; each alone tells the three groups apart."""
    if method == "hydra":
        return HYDRA, "D", True
    return (CONTROL, "s", False) if control else (COMPETITOR, "o", True)


def _figure(width: float, height: float, rows: Sequence[float] = (1,)) -> tuple[Figure, Any]:
    # Here: it takes a second to import, and most commands draw nothing.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots(len(rows), 1, sharex=True, height_ratios=rows)
    for one in figure.axes:
        one.patch.set_alpha(0)
    return figure, axes


def _whisker(axes: Axes, y: float, found: Interval, colour: str, marker: str, filled: bool = True) -> None:
    """Draw one row: its value, and a line from end to end of its interval."""
    low, high = np.nan_to_num([found.low, found.high], posinf=found.value, neginf=found.value)
    axes.plot([low, high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot(found.value, y, marker=marker, markersize=6, color=colour, fillstyle="full" if filled else "none")


def _curve(axes: Axes, x: Any, found: Sequence[Interval], colour: str, marker: str, filled: bool, label: str) -> None:
    """Draw values joined by a line, each with its interval."""
    axes.vlines(x, [one.low for one in found], [one.high for one in found], color=colour, linewidth=1.2, alpha=0.75)
    style: Mapping[str, Any] = {"color": colour, "marker": marker, "fillstyle": "full" if filled else "none"}
    axes.plot(x, [one.value for one in found], markersize=6, linewidth=1.4, label=label, **style)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _percent(share: Interval) -> Interval:
    return Interval(100 * share.value, 100 * share.low, 100 * share.high, share.n)


def _legend(axes: Axes) -> None:
    """Put the legend above the axes, where it hides nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
