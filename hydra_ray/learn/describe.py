"""What a split holds, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

from rich.table import Table

from hydra_ray.learn.datasets import load_data
from hydra_ray.settings import Settings


def describe_data(settings: Settings) -> Table:
    """Counts users, history, queries and answers of one split.

    Raises:
        HydraError: The data is not well-formed.
    """
    task, dataset = load_data(settings)
    queries = [query for user in dataset.users for query in user.queries]
    items = [item for user in dataset.users for item in user.history]
    table = Table("", task.name, title=f"split {settings.data.split}")
    table.add_row("users", str(len(dataset.users)))
    table.add_row("users without history", str(sum(not user.history for user in dataset.users)))
    table.add_row("history items a user", _spread([len(user.history) for user in dataset.users]))
    table.add_row("words a history item", _spread([len(item.input.split()) for item in items]))
    table.add_row("queries a user", _spread([len(user.queries) for user in dataset.users]))
    table.add_row("queries", str(len(queries)))
    table.add_row("queries with an answer", str(sum(query.id in dataset.golds for query in queries)))
    table.add_row("words a query", _spread([len(query.input.split()) for query in queries]))
    if task.closed:
        table.add_row("allowed answers", str(len(task.labels)))
        common = Counter(item.output for item in items).most_common(5)
        table.add_row("most frequent in history", ", ".join(f"{answer} ({count})" for answer, count in common))
    return table


def _spread(values: Sequence[int]) -> str:
    if not values:
        return "-"
    return f"{min(values)} to {max(values)}, median {median(values):g}"
