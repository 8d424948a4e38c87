"""Results as a table, on a terminal and in Markdown."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from hydra_ray.evaluate.metrics import METRICS
from hydra_ray.evaluate.results import Improvement, Results
from hydra_ray.evaluate.statistics import LEVEL, Interval


def results_table(results: Results) -> Table:
    """Methods by metrics as `value [low, high]`: competitors, a rule, controls.

    The best competitor of each metric is bold.
    """
    table = Table(title=f"{results.task}, {results.split}", caption=caption(results), caption_justify="left")
    table.add_column("method")
    for metric in _metrics(results):
        table.add_column(_heading(metric), justify="right")
    # Cells are Text, since rich reads square brackets in a string as markup.
    for method in _competitors(results):
        cells = [Text(cell, "bold" if best else "") for cell, best in _cells(results, method)]
        table.add_row(Text(method), *cells)
    table.add_section()
    for method in results.controls:
        table.add_row(Text(method), *(Text(cell) for cell, _ in _cells(results, method)))
    return table


def results_markdown(results: Results) -> str:
    """The same table in Markdown, its caption below; controls are in italics at the end."""
    metrics = _metrics(results)
    rows = [["method", *map(_heading, metrics)], ["---", *("---:" for _ in metrics)]]
    rows += [
        [method, *(f"**{cell}**" if best else cell for cell, best in _cells(results, method))]
        for method in _competitors(results)
    ]
    rows += [[f"*{method}* (control)", *(cell for cell, _ in _cells(results, method))] for method in results.controls]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", caption(results), ""])


def caption(results: Results) -> str:
    """What the numbers are about and what they come to, in plain words."""
    queries = next((value.n for metrics in results.methods.values() for value in metrics.values()), 0)
    sentences = [f"{results.users} users, {queries} queries; in brackets {LEVEL:.0%} intervals over users."]
    if results.improvement:
        sentences.append(_in_words(results.improvement))
    if results.missing:
        counts = ", ".join(f"{method} {count}" for method, count in results.missing.items())
        sentences.append(f"Queries without an output, which count as wrong: {counts}.")
    return " ".join(sentences)


def _in_words(found: Improvement) -> str:
    low, high = ("unbounded" if end is None else f"{end:.1%}" for end in (found.low, found.high))
    direction = "worse" if found.relative < 0 else "better"
    above = found.low is not None and found.low > 0
    below = found.high is not None and found.high < 0
    verdict = "beyond chance" if above or below else "which may be chance"
    return (
        f"{found.method} is {abs(found.relative):.1%} {direction} in {found.metric} than {found.baseline}, the best "
        f"prompt-based method (improvement between {low} and {high}), {verdict}."
    )


def _metrics(results: Results) -> list[str]:
    return list(next(iter(results.methods.values()), {}))


def _competitors(results: Results) -> list[str]:
    return [method for method in results.methods if method not in results.controls]


def _cells(results: Results, method: str) -> list[tuple[str, bool]]:
    """The method's `value [low, high]` by metric, and whether no competitor's value is better."""
    return [
        (_cell(metric, found), found.value == _best(results, metric))
        for metric, found in results.methods[method].items()
    ]


def _best(results: Results, metric: str) -> float | None:
    values = [results.methods[method][metric].value for method in _competitors(results)]
    return (max if METRICS[metric].higher_is_better else min)(values, default=None)


def _cell(metric: str, found: Interval) -> str:
    # BLEU runs to 100, so three decimals would pretend to more than is known.
    digits = 2 if metric == "bleu" else 3
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _heading(metric: str) -> str:
    return f"{metric} {'↑' if METRICS[metric].higher_is_better else '↓'}"
