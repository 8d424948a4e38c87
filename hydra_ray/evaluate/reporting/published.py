"""Figures that papers print, and measured ones beside them.

`published.json` holds the tables; where a paper's own table could not be had it says so and has what others printed
of its method.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hydra_ray.bootstrap import Interval
from hydra_ray.evaluate.reporting.formatting import HYDRA, number, percent
from hydra_ray.evaluate.results import ComparisonResult
from hydra_ray.records import HydraError
from hydra_ray.steps.generate.failures import listed

# HYDRA's headline: the mean over tasks of `hydra` over the best prompt-based method, as a share of the latter.
HEADLINE = "relative_improvement"


@dataclass(frozen=True, slots=True)
class Published:
    """One published figure.

    Attributes:
        arxiv: arXiv id of the paper that prints it.
        table: Table of the paper that has it.
        source: Paper and table in words, with what could not be found.
        llm: LLM that the paper asked.
        data: Data set and people that the figure is about.
        method: Name of the method in the paper.
        ours: Name of the same method here; None without one.
        task: Name of the task as in `TaskResult.task`, or of the data set.
        metric: Name of the metric as in results; BLEU runs to 100.
        value: Value as the paper prints it.
        spread: Number that the paper prints behind ±; None without one.
    """

    arxiv: str
    table: str
    source: str
    llm: str
    data: str
    method: str
    ours: str | None
    task: str
    metric: str
    value: float
    spread: float | None


def published(paper: str) -> list[Published]:
    """Return the figures that belong beside a reproduction of one paper, in the order of its tables.

    Args:
        paper: Short name of the paper: "hydra", "dpl" or "mof".

    Raises:
        HydraError: There are no figures of such a paper.
    """
    tables = json.loads((files("hydra_ray.evaluate") / "published.json").read_text(encoding="utf-8"))["tables"]
    known = sorted({name for table in tables for name in table["papers"]})
    if paper not in known:
        raise HydraError(f'there are no published figures of "{paper}"; there are those of {", ".join(known)}')
    found = []
    for table in tables:
        about = {key: table[key] for key in ("arxiv", "table", "source", "llm", "data")}
        for row in table["rows"]:
            if paper not in row.get("papers", table["papers"]):
                continue
            ours = row.get("ours")
            # Which of our runs a figure belongs to may depend on what is reproduced: MoF is hydra with other heads.
            ours = ours.get(paper) if isinstance(ours, dict) else ours
            spreads = row.get("spreads", [None] * len(row["values"]))
            found += [
                Published(
                    **about, method=row["method"], ours=ours, task=task, metric=metric, value=value, spread=spread
                )
                for (task, metric), value, spread in zip(table["columns"], row["values"], spreads, strict=True)
            ]
    return found


def beside(result: ComparisonResult, paper: str, *, everything: bool = False) -> Table:
    """Return a table of measured values beside published ones, by task and metric, in the paper's order of methods.

    A task that the paper has too is beside its figures. Where it has none of the outcome's tasks, each is beside
    all the paper's data sets with that metric.

    Args:
        result: Measured comparison; methods that the paper does not have are left out.
        paper: Short name of the paper: "hydra", "dpl" or "mof".
        everything: Whether published methods that were not measured are shown too.

    Raises:
        HydraError: There are no figures of such a paper.
    """
    figures = published(paper)
    shared = {task.task for task in result.tasks} & {figure.task for figure in figures}
    shown = {
        task.task: [
            figure
            for figure in figures
            if figure.metric in task.metrics
            and (figure.task == task.task or not shared)
            and (figure.ours in task.methods or everything)
        ]
        for task in result.tasks
    }
    headline = [figure for figure in figures if figure.metric == HEADLINE]
    columns = list(dict.fromkeys(_column(figure, shared) for one in (headline, *shown.values()) for figure in one))

    table = Table(title=f"Measured here, and published ({paper})", caption_justify="left")
    for name in ("task", "metric", "method", "here"):
        table.add_column(name)
    for name in ("measured [95 %]", *columns):
        table.add_column(name, justify="right")

    def add(task: str, metric: str, measured: str, own: Sequence[Published]) -> None:
        cells = {_column(figure, shared): _printed(figure) for figure in own}
        texts = [
            task,
            metric,
            own[0].method,
            own[0].ours or "-",
            measured,
            *(cells.get(name, "-") for name in columns),
        ]
        # Cells are Text, since rich reads square brackets in a string as markup.
        table.add_row(*(Text(text, "bold" if own[0].ours == HYDRA else "") for text in texts))

    if headline:
        measured = "-" if result.headline is None else _measured(result.headline.relative, HEADLINE)
        add("mean of tasks", HEADLINE, measured, headline)
    for task in result.tasks:
        for metric in task.metrics:
            own = [figure for figure in shown[task.task] if figure.metric == metric]
            if own:
                table.add_section()
            for place, method in enumerate(dict.fromkeys(figure.method for figure in own)):
                same = [figure for figure in own if figure.method == method]
                found = task.methods.get(same[0].ours or "", {}).get(metric)
                about = ("", "") if place else (task.task, metric)
                add(*about, _measured(found, metric) if found else "-", same)
    alone = [name for name, own in shown.items() if not own]
    table.caption = _caption([figure for one in (headline, *shown.values()) for figure in one], alone, result)
    return table


def _column(figure: Published, shared: Iterable[str]) -> str:
    """Return a column's heading: what its figures have in common."""
    if figure.metric == HEADLINE:
        return f"arXiv {figure.arxiv}\n{figure.table}"
    return f"arXiv {figure.arxiv}\n{figure.table}\n{figure.llm if figure.task in shared else figure.task}"


def _printed(figure: Published) -> str:
    if figure.metric == HEADLINE:
        return percent(figure.value, 2)
    # As printed: with a spread to four decimals, without to three.
    return f"{figure.value:.3f}" if figure.spread is None else f"{figure.value:.4f} ±{figure.spread:.4f}"


def _measured(found: Interval, metric: str) -> str:
    value, low, high = (
        percent(end) if metric == HEADLINE else number(end, metric) for end in (found.value, found.low, found.high)
    )
    return f"{value} [{low}, {high}]"


def _caption(figures: Sequence[Published], alone: Sequence[str], result: ComparisonResult) -> str:
    sources = dict.fromkeys(f"{figure.source}: LLM {figure.llm}; {figure.data}." for figure in figures)
    unanswered = [
        escape(f"{task.task}: {method} {listed(found)}")
        for task in result.tasks
        for method, found in task.unanswered.items()
    ]
    return "\n".join(
        [
            "Published figures are of other data and other LLMs than those measured here: compare which method is "
            "ahead and by how much, not the values.",
            *sources,
            *([f"No published figures: {', '.join(alone)}."] if alone else []),
            *([f"Not answered here, which counts as wrong: {'; '.join(unanswered)}."] if unanswered else []),
        ]
    )
