"""Does the gate keep its promise for users, and what does it cost, after how many training users?

Users are simulated (`simulated_gains.py`): what each can truly be expected to gain is known. A gate is fitted on some,
by the code and the settings of `hydra-ray train`, and asked about 200 others. Told are means over simulated worlds.

    python benchmarks/gate.py [--users 8 16 24 100] [--worlds nothing harm ...] [--seeds 30] [--caution 0.9]

With `--rows` gates are fitted on rows that `hydra-ray cross-validate` kept of real users instead, each on the rows of
other folds' users, as it fits them:

    python benchmarks/gate.py --rows runs/recipes/LaMP_2M/default.parquet ...

Needs no LLM, and no Ray but for `--rows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Goal, finish, machine, options
from rich.console import Console
from rich.table import Table
from simulated_gains import WORLDS, GainWorld, outcome

from hydra_ray.models.gate import Gate
from hydra_ray.models.gate_fit import GateRow, fit_gate
from hydra_ray.settings import GateSettings
from hydra_ray.steps.gating import FEATURES, VOTE

_JUDGED = 200


def simulate(world: GainWorld, wanted: GateSettings, users: int, seeds: int, judged: int) -> dict[str, Any]:
    """Return the means over worlds of one sort, by number of training users."""

    def fit(rows: Sequence[GateRow]) -> Gate:
        of = (VOTE, FEATURES)
        return fit_gate(rows, *of, caution=wanted.caution, least_users=wanted.least_users, among=users)

    found = [asdict(outcome(world, fit, users, judged, seed)) for seed in range(seeds)]
    means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    return {"world": world.name, "users": users, **means}


def _simulated_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        "world", "training users", "opens", "passes", "gain with, without", "users made worse with, without",
        title="Gates on simulated users",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row["world"],
            str(row["users"]),
            f"{row['opens']:.0%}",
            f"{row['passes']:.0%}",
            f"{row['gain']:.3f}, {row['ungated']:.3f}",
            f"{row['worse']:.1%}, {row['ungated_worse']:.1%}",
        )
    return table


def _regated_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        "rows", "best plain", "plain it can give", "ungated", "with the gate kept", "now", "gain over ungated",
        "passes", "closed", "users expected worse ungated, with the gate kept, now", "than what it can give",
        title="Quality (the task's score) of kept rows with gates fitted anew; 95 % over users in brackets",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row["rows"],
            *(f"{row[name]:.4f}" for name in ("best_plain", "fallback", "ungated", "kept", "gated")),
            "{:+.4f} [{:+.4f}, {:+.4f}]".format(*row["cost"]),
            f"{row['passes']:.0%}",
            f"{row['closed']:.0%}",
            f"{row['ungated_worse']:.1%}, {row['kept_worse']:.1%}, {row['worse']:.1%}",
            f"{row['worse_than_fallback']:.1%}",
        )
    return table


def main() -> None:
    """Simulates users, or reads rows, prints a table and writes JSON."""
    parser = options(__doc__, "gate")
    parser.add_argument("--users", nargs="+", type=int, default=[8, 16, 24, 100], help="training users")
    parser.add_argument("--worlds", nargs="+", choices=list(WORLDS), default=list(WORLDS), help="sorts of users")
    parser.add_argument("--seeds", type=int, default=30, help="worlds of each sort")
    parser.add_argument("--caution", type=float, default=GateSettings().caution)
    parser.add_argument("--rows", nargs="+", type=Path, help="files of kept rows, TASK/RECIPE.parquet")
    arguments = parser.parse_args()
    wanted, console = GateSettings(caution=arguments.caution), Console(width=200)
    result: dict[str, Any] = {"machine": machine(torch.device("cpu")), "small": arguments.small}
    if arguments.rows:
        # Cross-validation trains, for which Ray is imported; simulating wants none.
        from gate_rows import regated

        result["rows"] = [regated(path, wanted) for path in arguments.rows]
        console.print(_regated_table(result["rows"]))
    else:
        users, seeds, judged = ([8], 2, 20) if arguments.small else (arguments.users, arguments.seeds, _JUDGED)
        result["worlds"] = [
            simulate(WORLDS[name], wanted, many, seeds, judged) for name in arguments.worlds for many in users
        ]
        console.print(_simulated_table(result["worlds"]))
    finish(console, arguments.json, "gate", result, list[Goal]())


if __name__ == "__main__":
    main()
