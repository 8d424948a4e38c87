"""Curves of gain as tables and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from hydra_ray.bootstrap import Interval
from hydra_ray.steps.generate.failures import Unanswered, listed


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a curve.

    Attributes:
        x: Budget of LLM calls a user, or number of history items a user.
        calls: LLM calls that fitting cost, mean over users.
        score: Main metric of `hydra` under the heads of this point.
        prompted: Main metric of rag, which only prompts.
        shared: Main metric of `hydra` under the shared head.
        over_prompted: Gain of `hydra` over rag, paired.
        over_shared: Gain of the users' own heads over the shared head, paired.
    """

    x: int
    calls: float
    score: Interval
    prompted: Interval
    shared: Interval
    over_prompted: Interval
    over_shared: Interval


@dataclass(frozen=True, slots=True)
class Curves:
    """Both curves of one task.

    Attributes:
        task: Name of the task.
        metric: Name of the metric of all scores.
        users: Number of users.
        by_calls: Points of heads fitted with so many LLM calls a user; 0 is mode zero-call.
        by_history: Points of histories cut to their latest items, in fit and prompt alike.
        unanswered: Requests of all points that the LLM refused, which count as wrong.
    """

    task: str
    metric: str
    users: int
    by_calls: tuple[Point, ...]
    by_history: tuple[Point, ...]
    unanswered: tuple[Unanswered, ...] = ()


def curve_tables(curves: Curves) -> list[Table]:
    """Return both curves as tables; the last column is the share of the gain at the curve's last point."""
    tables = []
    for name, points in (("LLM calls a user", curves.by_calls), ("history items a user", curves.by_history)):
        table = Table(
            name,
            "calls spent",
            f"hydra: {curves.metric}",
            "shared head",
            "rag",
            "gain over rag",
            "share of the last gain",
            title=f"{curves.task}, {curves.users} users",
        )
        full = points[-1].over_prompted.value
        for point in points:
            gain = point.over_prompted
            table.add_row(
                str(point.x),
                f"{point.calls:.1f}",
                f"{point.score.value:.3f} ({point.score.low:.3f} to {point.score.high:.3f})",
                f"{point.shared.value:.3f}",
                f"{point.prompted.value:.3f}",
                f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
                f"{gain.value / full:.0%}" if full else "-",
            )
        tables.append(table)
    if curves.unanswered:
        tables[-1].caption = escape(f"Not answered, which counts as wrong: {listed(curves.unanswered)}.")
    return tables


def plot_curves(curves: Curves, path: Path) -> None:
    """Draw both curves, hydra's with its intervals, and write the picture to `path`."""
    # Here: it takes a second to import, and most commands draw nothing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, label, points in zip(
        figure.subplots(1, 2),
        ("LLM calls spent on a new user's fit", "history items of a user"),
        (curves.by_calls, curves.by_history),
        strict=True,
    ):
        x = np.arange(len(points))
        lines = (("hydra", "tab:blue"), ("shared", "tab:orange"), ("prompted", "tab:gray"))
        for name, color in lines:
            found = [point.score if name == "hydra" else getattr(point, name) for point in points]
            title = {"hydra": "hydra, own heads", "shared": "hydra, shared head", "prompted": "rag"}[name]
            axes.plot(x, [one.value for one in found], marker="o", color=color, label=title)
            if name == "hydra":
                axes.fill_between(x, [one.low for one in found], [one.high for one in found], color=color, alpha=0.15)
        # Even steps: budgets grow by about a factor.
        axes.set_xticks(x, [str(point.x) for point in points])
        axes.set(xlabel=label, ylabel=curves.metric)
        axes.legend(fontsize=8)
    figure.suptitle(f"{curves.task}: {curves.users} users")
    figure.savefig(path, dpi=120)
