"""Tables of a comparison's result, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hydra_ray.bootstrap import LEVEL, Interval
from hydra_ray.evaluate.never_worse import AgainstPlain, AgainstPlainOverTasks
from hydra_ray.evaluate.reporting.sentences import gate, never_worse, profiles
from hydra_ray.evaluate.results import ComparisonResult, Headline, TaskResult
from hydra_ray.steps.generate.failures import listed


def result_tables(result: ComparisonResult) -> list[Table]:
    """Return a table for each task: methods by metrics as `value [low, high]`; competitors, a rule, controls.

    The best competitor of each metric is bold. The last task's caption ends with the headline over tasks, where there
    are several. A table of what methods do to users against the best plain method follows, where that is known.
    """
    tables = [_task_table(task) for task in result.tasks]
    overall = _overall(result)
    if tables and overall:
        tables[-1].caption = f"{tables[-1].caption}\n\n{overall}"
    return [*tables, *_against_plain(result)]


def caption(task: TaskResult) -> str:
    """Say in plain words what the numbers are about and what they come to."""
    seeds = f" under {len(task.seeds)} training seeds" if len(task.seeds) > 1 else ""
    sentences = [f"{task.users} users, {task.queries} queries{seeds}; in brackets {LEVEL:.0%} intervals over users."]
    if task.headline:
        chosen = _listed(task.headline.chosen)
        sentences.append(
            f"hydra is {_difference(task.headline.relative)} in {task.metrics[0]} than the prompt-based method that is "
            f"best on other users (folds that chose it: {chosen}), {_conclusion(task.headline.relative)}."
        )
        sentences += _gap(task.headline.oracle_gap)
    if task.own_heads == 0:
        sentences.append("No user had a head of their own, which `fit` makes: hydra is the shared head here.")
    elif task.own_heads is not None and task.own_heads < 1:
        sentences.append(f"Users' own heads chose {task.own_heads:.0%} of hydra's answers, the shared one the rest.")
    if task.missing:
        sentences.append(f"Answers that are missing, which count as wrong: {_listed(task.missing)}.")
    if task.unanswered:
        reasons = "; ".join(f"{method} {listed(found)}" for method, found in task.unanswered.items())
        sentences.append(f"Of these the LLM did not answer: {reasons}.")
    sentences += [said for said in (profiles(task), gate(task)) if said]
    return " ".join(sentences)


def _overall(result: ComparisonResult) -> str:
    """Say the headline over tasks; "" where one task's caption says it already."""
    if result.headline is None or len(result.tasks) < 2:
        return ""
    found: Headline = result.headline
    tasks = sum(task.headline is not None for task in result.tasks)
    first = (
        f"On average over {tasks} tasks hydra is {_difference(found.relative)} than the prompt-based method that is "
        f"best on other users, {_conclusion(found.relative)}."
    )
    return " ".join([first, *_gap(found.oracle_gap)])


def _difference(relative: Interval) -> str:
    direction = "worse" if relative.value < 0 else "better"
    return f"{abs(relative.value):.1%} {direction} (improvement between {_ends(relative)})"


def _conclusion(found: Interval) -> str:
    return "beyond chance" if found.low > 0 or found.high < 0 else "which may be chance"


def _gap(gap: Interval | None) -> list[str]:
    if gap is None:
        return []
    return [
        f"From majority vote to the best of its candidates it goes {gap.value:.1%} of the way (between {_ends(gap)})."
    ]


def _ends(found: Interval) -> str:
    low, high = ("unbounded" if abs(end) == float("inf") else f"{end:.1%}" for end in (found.low, found.high))
    return f"{low} and {high}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _task_table(task: TaskResult) -> Table:
    table = Table(title=f"{task.task}, {task.split}", caption=escape(caption(task)), caption_justify="left")
    table.add_column("method")
    for name in (*(_heading(task, metric) for metric in task.metrics), *_unanswered_heading(task)):
        table.add_column(name, justify="right")
    # Cells are Text, since rich reads square brackets in a string as markup.
    for method in _competitors(task):
        cells = [Text(cell, "bold" if best else "") for cell, best in _cells(task, method)]
        table.add_row(Text(method), *cells, *_unanswered(task, method))
    table.add_section()
    for method in task.controls:
        table.add_row(Text(method), *(Text(cell) for cell, _ in _cells(task, method)), *_unanswered(task, method))
    return table


def _against_plain(result: ComparisonResult) -> list[Table]:
    if not result.against_plain:
        return []
    table = Table(
        title="Against the plain method at equal calls that is best on other users",
        caption=escape(never_worse(result)),
        caption_justify="left",
    )
    for name in ("task", "method"):
        table.add_column(name)
    for name in ("better by", "users worse", "expected to lose", "surely lose"):
        table.add_column(name, justify="right")
    by_task: list[tuple[str, Mapping[str, AgainstPlain | AgainstPlainOverTasks]]] = [
        (task.task, task.against_plain) for task in result.tasks
    ]
    by_task += [("all", result.against_plain)] if len(result.tasks) > 1 else []
    for task, methods in by_task:
        for method, found in methods.items():
            shares = (found.worse, found.expected_worse, found.surely_worse)
            table.add_row(Text(task), Text(method), *(_share(one) for one in (found.relative, *shares)))
        table.add_section()
    return [table]


def _share(found: Interval | None) -> Text:
    """Return a share as `value [low, high]` in percent; "-" where it is not known."""
    if found is None:
        return Text("-")
    low, high = (f"{end:.1%}" if abs(end) != float("inf") else "unbounded" for end in (found.low, found.high))
    return Text(f"{found.value:.1%} [{low}, {high}]")


def _unanswered_heading(task: TaskResult) -> list[str]:
    return ["not answered"] if task.unanswered else []


def _unanswered(task: TaskResult, method: str) -> list[str]:
    """Return how many of the method's queries the LLM refused, by kind; empty where it refused no method's."""
    own = task.unanswered.get(method, ())
    return [", ".join(f"{one.count} {one.kind}" for one in own) or "-"] if task.unanswered else []


def _competitors(task: TaskResult) -> list[str]:
    return [method for method in task.methods if method not in task.controls]


def _cells(task: TaskResult, method: str) -> list[tuple[str, bool]]:
    """Return the method's `value [low, high]` by metric, and whether it equals the best competitor's value."""
    found = task.methods[method]
    return [(_cell(metric, found[metric]), found[metric].value == _best(task, metric)) for metric in task.metrics]


def _best(task: TaskResult, metric: str) -> float | None:
    values = [task.methods[method][metric].value for method in _competitors(task)]
    return (max if task.higher_is_better[metric] else min)(values, default=None)


def _cell(metric: str, found: Interval) -> str:
    # BLEU runs to 100, so three decimals would pretend to more than is known.
    digits = 2 if metric == "bleu" else 3
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _heading(task: TaskResult, metric: str) -> str:
    return f"{metric} {'↑' if task.higher_is_better[metric] else '↓'}"
