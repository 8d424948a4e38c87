"""What does it cost to count a request for its tenant, key and user: in one process's memory, or as rows of SQLite?

Both sides count the same requests of 10,000 users for three quotas each, in turn. How long a batch takes on its way to
the process that counts is Ray's, and not measured here.

    python benchmarks/limits.py

Needs no Ray.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch
from measuring import Goal, alternating, finish, machine, options
from rich.console import Console
from rich.table import Table

from hydra_ray.serve.limits.quotas import Limited, Quota, Quotas
from hydra_ray.store.identity.usage import UsageStore, Used
from hydra_ray.store.schema import open_database

QUOTA = Quota(10**9, 10**9, 10**9, 10**9)
USERS, ROUNDS, IN_MEMORY, IN_ROWS = 10_000, 20, 1_000, 20
CPU = torch.device("cpu")


def main(arguments: list[str]) -> None:
    """Measures both sides, shows them and writes them down."""
    chosen = options(__doc__, "limits").parse_args(arguments)
    console = Console()
    rounds = 2 if chosen.small else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        sides = {"memory": in_memory(), "rows": in_rows(Path(folder))}
        times = alternating(sides, rounds, CPU)
    each = {"memory": times["memory"].median / IN_MEMORY, "rows": times["rows"].median / IN_ROWS}
    table = Table("counted in", "a request", "requests a second")
    for side, seconds in each.items():
        table.add_row(side, f"{1e6 * seconds:.1f} us", f"{1 / seconds:,.0f}")
    console.print(table)
    result = {"machine": machine(CPU), "seconds_a_request": each}
    wanted = Goal("requests a second that one process counts", 1 / each["memory"], 10_000, at_least=True)
    finish(console, chosen.json, "limits", result, [wanted])


def in_memory() -> Callable[[], Callable[[], object]]:
    """Counters of one process, as the limiter has them."""
    quotas, numbers = Quotas(time.time, {}), count()

    def prepare() -> Callable[[], object]:
        asked = [subjects(next(numbers)) for _ in range(IN_MEMORY)]
        return lambda: [quotas.admit(limited) for limited in asked]

    return prepare


def in_rows(folder: Path) -> Callable[[], Callable[[], object]]:
    """A write of the database for each request."""
    usage, numbers = UsageStore(open_database(f"sqlite:///{folder / 'users.db'}")), count()

    def prepare() -> Callable[[], object]:
        asked = [subjects(next(numbers)) for _ in range(IN_ROWS)]
        return lambda: [usage.put("2026-03-01", {one.subject: Used(1, 0) for one in limited}) for limited in asked]

    return prepare


def subjects(number: int) -> list[Limited]:
    """Whose counters the request of a number goes into."""
    user = Limited(f"user:{number % USERS}", "user", QUOTA)
    return [Limited("tenant:acme", "tenant", QUOTA), Limited(f"key:{number % 100}", "key", QUOTA), user]


if __name__ == "__main__":
    main(sys.argv[1:])
