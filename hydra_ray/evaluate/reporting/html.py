"""The comparison as one page that needs nothing else: no network, no scripts, figures within."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from hydra_ray.atomic import write_text
from hydra_ray.evaluate.reporting import formatting as views
from hydra_ray.evaluate.reporting import plots, svg
from hydra_ray.evaluate.reporting import sentences as sentences
from hydra_ray.evaluate.results import ComparisonResult, Pair, Slice, TaskResult
from hydra_ray.steps.generate.failures import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT = "report.html"


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure of the page.

    Attributes:
        title: Heading of the figure.
        svg: The figure as an `<svg>` element; "" where there is nothing to draw.
        caption: Words that say what the figure shows, or which setting would give one.
    """

    title: str
    svg: str
    caption: str


def write_report(folder: Path, result: ComparisonResult) -> Path:
    """Write `report.html`, as a whole or not at all.

    Args:
        folder: Folder to write to; made if it is not there.
        result: Comparison to show.

    Returns:
        The page's path.
    """
    path = folder / REPORT
    write_text(path, render(result))
    return path


def render(result: ComparisonResult) -> str:
    """Return the page as HTML. Names of tasks and methods are escaped: they may come from a stranger's data."""
    page = Environment(loader=PackageLoader("hydra_ray.evaluate"), autoescape=True, undefined=StrictUndefined)
    page.filters |= _by_name(views.number, views.signed, views.percent, views.probability, views.amount, views.count)
    page.globals |= _by_name(views.ranked, views.best, views.prompted, views.parts, views.against, views.spread)
    page.globals |= _by_name(
        sentences.improvement,
        sentences.chance,
        sentences.profiles,
        sentences.gate,
        _arrow,
        _compared,
        _pair_of,
        _queries_of,
        _kinds,
        listed,
    )
    page.globals["p_chance"] = views.CHANCE
    with svg.style():
        overview = _overview(result)
        pictures = [_pictures(task, f"t{place}") for place, task in enumerate(result.tasks)]
    return page.get_template("report.html.jinja").render(
        result=result,
        headline=sentences.headline(result),
        sentences=sentences.sentences(result),
        overview=overview,
        pictures=pictures,
    )


def _by_name(*functions: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    return {function.__name__.lstrip("_"): function for function in functions}


def _overview(result: ComparisonResult) -> Picture | None:
    if result.headline is None or len(result.tasks) < 2:
        return None
    return _picture(
        "Gain over the prompt-based method that is best on other users",
        plots.gain_by_task(result),
        "all",
        "hydra's gain by task with 95 % intervals, and the mean over tasks (diamond).",
        "",
    )


def _pictures(task: TaskResult, prefix: str) -> list[Picture]:
    """Return a task's figures."""
    metric, base = task.metrics[0], views.prompted(task)
    level = (base, task.methods[base][metric]) if base else None
    pair = "it takes hydra and prompt-based methods (evaluate.methods)."
    return [
        _picture(
            f"{metric} by method",
            plots.methods(task),
            f"{prefix}-methods",
            f"{metric} with 95 % intervals. Diamond: hydra; dots: competitors; open squares: controls.",
            "No method was measured.",
        ),
        _picture(
            "Gain of each user",
            plots.user_gains(task.gains, metric),
            f"{prefix}-gains",
            _gains_in_words(task),
            f"Not known: {pair}",
        ),
        _picture(
            "By length of history",
            plots.by_history(views.parts(task, "history"), [views.HYDRA, base] if base else [views.HYDRA], metric),
            f"{prefix}-history",
            f"{metric} of hydra{f' and {base}' if base else ''} by the number of items a user may be known by.",
            f"Not known: {pair}",
        ),
        _picture(
            "Calibration of the reranker",
            plots.calibration(task.calibration),
            f"{prefix}-calibration",
            "How often an item helped the LLM against how often the reranker expected it; on the dashed line it is "
            f"right. On average it is off by {views.number(_off(task))}.",
            "Not known: it takes hydra with method.rerank, and feedback on these users' history (fit.mode llm).",
        ),
        _picture(
            "More candidates",
            plots.curve(task.by_candidates, "candidates a query", metric, level),
            f"{prefix}-candidates",
            f"hydra's {metric} without its gate, when it may choose among so many of its candidates.",
            "Not known: it takes hydra with method.candidates above 1.",
        ),
        _picture(
            "More users in training",
            plots.curve(task.by_users, "users in training", metric, level),
            f"{prefix}-users",
            f"hydra's {metric} under bases that were trained on so many users.",
            "Not known: list numbers of users in evaluate.train_users.",
        ),
    ]


def _picture(title: str, figure: Figure | None, prefix: str, caption: str, absent: str) -> Picture:
    if figure is None:
        return Picture(title, "", absent)
    return Picture(title, svg.inline(figure, f"{title}: {caption}", prefix), caption)


def _gains_in_words(task: TaskResult) -> str:
    users, (gained, lost) = len(task.gains), views.gained_and_lost(task)
    share = views.percent(lost / users if users else 0)
    return (
        f"hydra against the prompt-based method that is best for everybody: {lost} of {users} users ({share}) lose, "
        f"{gained} gain, {users - lost - gained} neither."
    )


def _off(task: TaskResult) -> float:
    """Expected calibration error: mean distance of predicted from observed over items (Guo et al., 2017, section 2)."""
    items = sum(part.n for part in task.calibration)
    return sum(part.n * abs(part.predicted - part.observed) for part in task.calibration) / items if items else 0.0


def _arrow(task: TaskResult, metric: str) -> str:
    return "↑" if task.higher_is_better[metric] else "↓"


def _kinds(task: TaskResult, method: str) -> str:
    """Return how many of a method's queries ended without an answer, in the order of the column's heading."""
    counts = {one.kind: one.count for one in task.unanswered.get(method, ())}
    return ", ".join(str(counts.get(kind, 0)) for kind in ("refused", "filtered", "empty"))


def _compared(task: TaskResult) -> Sequence[str]:
    """Return the competitors that are in pairs, the best first; controls are compared with hydra alone."""
    known = {name for pair in task.pairs for name in (pair.first, pair.second)}
    return [name for name in views.ranked(task)[0] if name in known]


def _pair_of(task: TaskResult) -> dict[tuple[str, str], Pair]:
    return {(pair.first, pair.second): pair for pair in task.pairs}


def _queries_of(part: Slice) -> int:
    return max((found.n for found in part.methods.values()), default=0)
