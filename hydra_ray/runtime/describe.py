"""Describes what a split holds, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from hydra_ray.data.dataset import Dataset, LeftOut
from hydra_ray.dates import Span, span
from hydra_ray.runtime.loading import load_data
from hydra_ray.settings import Settings
from hydra_ray.tasks import Task
from hydra_ray.text.cut import count_words
from hydra_ray.text.scripts import LATIN, script_shares

# The encoder that comes with hydra-ray, trained on English.
_ENGLISH_ENCODER = "minilm"
_PLACES = 3
_MINUTE = 60 * 10**9
_DAY = 1440 * _MINUTE
_FORMS = ((365 * _DAY, "%Y"), (28 * _DAY, "%Y-%m"), (_DAY, "%Y-%m-%d"), (_MINUTE, "%Y-%m-%d %H:%M"))


def describe_data(settings: Settings) -> Group:
    """Return tables of what one split holds: people, dates, texts, answers, and what was left out of it.

    Raises:
        HydraError: The data is not well-formed.
    """
    task, dataset = load_data(settings)
    inputs = [item.input for user in dataset.users for item in user.history]
    inputs += [query.input for user in dataset.users for query in user.queries]
    outputs = [item.output for user in dataset.users for item in user.history] + list(dataset.golds.values())
    shares = script_shares([*inputs, *outputs])

    table = Table("", task.name, title=f"split {settings.data.split}")
    _add_people(table, dataset)
    table.add_section()
    _add_dates(table, dataset)
    table.add_section()
    for name, texts in (("an input", inputs), ("an answer", outputs)):
        table.add_row(f"characters {name}", _lengths([len(text) for text in texts]))
        table.add_row(f"words {name}", _lengths([count_words(text) for text in texts]))
    table.add_row("scripts", ", ".join(f"{script} {_percent(share)}" for script, share in shares.items()) or "-")
    if task.closed:
        table.add_section()
        _add_labels(table, task, dataset)
    parts = [table]
    if dataset.left_out.counts:
        parts.append(_left_out(dataset.left_out))
    return Group(*parts, *_warnings(settings, shares))


def _add_people(table: Table, dataset: Dataset) -> None:
    users, queries = dataset.users, [query for user in dataset.users for query in user.queries]
    table.add_row("users", str(len(users)))
    table.add_row("users without history", str(sum(not user.history for user in users)))
    table.add_row("users without a query", str(sum(not user.queries for user in users)))
    table.add_row("history items a user", _spread([len(user.history) for user in users]))
    table.add_row("queries", str(len(queries)))
    table.add_row("queries a user", _spread([len(user.queries) for user in users]))
    table.add_row("queries with an answer", str(sum(query.id in dataset.golds for query in queries)))
    seen = [len(dataset.history(user, query)) for user in users for query in user.queries]
    table.add_row("items a query sees", _spread(seen))
    table.add_row("queries that see none", str(seen.count(0)))
    rejected = sum(item.rejected is not None for user in users for item in user.history) + len(dataset.rejected)
    if rejected:
        table.add_row("records with a rejected answer", str(rejected))


def _add_dates(table: Table, dataset: Dataset) -> None:
    stamps = [item.ts for user in dataset.users for item in user.history]
    stamps += [query.ts for user in dataset.users for query in user.queries]
    spans = [span(ts) for ts in stamps if ts is not None]
    table.add_row("dates (UTC)", f"{_moment(min(spans))} to {_moment(max(spans))}" if spans else "-")
    table.add_row("records without a date", f"{len(stamps) - len(spans)} of {len(stamps)}")


def _add_labels(table: Table, task: Task, dataset: Dataset) -> None:
    table.add_row("allowed answers", str(len(task.labels)))
    common = Counter(item.output for user in dataset.users for item in user.history).most_common(5)
    table.add_row("most frequent in history", escape(", ".join(f"{answer} ({count})" for answer, count in common)))


def _left_out(left_out: LeftOut) -> Table:
    table = Table("left out or changed", "records", "the first of them")
    for reason, count in left_out.counts.most_common():
        places = left_out.examples[reason][:_PLACES]
        more = "; ..." if count > len(places) else ""
        table.add_row(escape(reason), str(count), escape("; ".join(places) + more))
    return table


def _warnings(settings: Settings, shares: Mapping[str, float]) -> list[str]:
    if not shares or shares.get(LATIN, 0) >= 0.5 or settings.base.encoder.name != _ENGLISH_ENCODER:
        return []
    script, share = next((script, share) for script, share in shares.items() if script != LATIN)
    return [
        f"[yellow]warning:[/yellow] most text is not in Latin letters ({script} {_percent(share)}), and "
        f"base.encoder.name is {_ENGLISH_ENCODER}, which knows English. Name a multilingual encoder there."
    ]


def _spread(values: Sequence[int]) -> str:
    if not values:
        return "-"
    return f"{min(values)} to {max(values)}, median {median(values):g}"


def _lengths(values: Sequence[int]) -> str:
    return f"median {median(values):g}, longest {max(values)}" if values else "-"


def _percent(share: float) -> str:
    return "under 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


def _moment(time: Span) -> str:
    """Return where an interval begins, as exact as it is: from a year to a second."""
    try:
        begin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time.start // 1000)
    except OverflowError:
        # A zone's offset away from the first or last day that the calendar has.
        return "beyond the calendar"
    form = next((form for exact, form in _FORMS if time.end - time.start >= exact), "%Y-%m-%d %H:%M:%S")
    # strftime pads no years.
    return begin.strftime(form.replace("%Y", f"{begin.year:04}"))
