"""What memory does the driver take to plan a collection and a fit of many users?

Stores of both sizes are filled, and each is planned in a process of its own: `plan_users` decides which history items
the LLM is asked about, `plan_fit` which heads are missing. What is counted is the memory of that process, as the kernel
has it (VmHWM), beside what it took before it began, and its CPU time. Nothing needs Ray or an LLM.

    python benchmarks/planning.py --folder /somewhere/with/3/GB
    python benchmarks/planning.py --folder /tmp/planning --users 1000 10000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from measuring import Goal, finish, machine, options
from rich import box
from rich.console import Console
from rich.table import Table
from scale_stores import TENANT, stores

from hydra_ray.learn.collect.example_plan import ExampleRules, plan_users, tried_items
from hydra_ray.learn.heads.shards import plan_fit
from hydra_ray.learn.heads.todo import head_fingerprints_of
from hydra_ray.learn.heads.training_reader import TrainingReader
from hydra_ray.models.base import roles_for
from hydra_ray.runtime.users.store_users import users_of_tenant
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store
from hydra_ray.tasks import TASKS

_GB, _MIB = 10**9, 2**20


def plan(url: str, folder: Path) -> dict[str, Any]:
    """Plans a collection and a fit of everybody in a store; returns counts, seconds of CPU time and memory in bytes."""
    settings = parse_settings(
        {"out": str(folder), "tenant": TENANT, "store": {"url": url}, "fit": {"mode": "zero-call"}}
    )
    before, begin = _memory("VmRSS"), time.process_time()
    users = users_of_tenant(settings.store_target, TENANT, pairs=True)
    asked, given = settings.feedback, settings.method
    rules = ExampleRules(
        asked.pseudo_queries, False, tried_items(settings), given.candidates, asked.max_calls, settings.seed
    )
    examples = plan_users(users, rules)
    middle = time.process_time()
    planned_by_user = examples.by_user()
    store = open_store(settings.store_target)
    fit = plan_fit(
        TrainingReader(settings, TASKS["demo"], users, None, planned_by_user),
        head_fingerprints_of(settings, "new"),
        store,
        "new",
        roles_for(given.rerank),
    )
    store.close()
    return {
        "users": len(users),
        "examples": len(examples),
        "heads": sum(count for _, count in fit.shards.sizes),
        "shards": len(fit.shards.sizes),
        "collect_s": middle - begin,
        "fit_s": time.process_time() - middle,
        "before_bytes": before,
        "peak_bytes": _memory("VmHWM"),
    }


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def main() -> None:
    """Measures, prints a table and writes JSON."""
    parser = options(__doc__, "planning")
    parser.add_argument("--folder", type=Path, required=True, help="where the stores are meanwhile; nothing stays")
    parser.add_argument("--users", type=int, nargs="+", default=(10_000, 1_000_000), help="users of each store")
    parser.add_argument("--items", type=int, default=5, help="history items of each user")
    # The plan of one store, whose numbers go to the standard output.
    parser.add_argument("--plan", help=argparse.SUPPRESS)
    chosen, console = parser.parse_args(), Console()
    if chosen.plan:
        print(json.dumps(plan(chosen.plan, chosen.folder)))
        return
    if chosen.small:
        chosen.users = (30, 90)
    result: dict[str, Any] = {"machine": machine(torch.device("cpu")), "small": chosen.small, "items": chosen.items}
    console.print(result["machine"])
    plans: list[dict[str, Any]] = []
    with stores(chosen.folder, None, sorted(set(chosen.users)), chosen.items, most_gb=10) as filled:
        for one in filled:
            command = [sys.executable, __file__, "--folder", str(chosen.folder), "--plan", one.url]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            plans.append(json.loads(done.stdout))
    result["plans"] = plans
    table = Table(
        "users", "queries", "heads", "collect, CPU s", "fit, CPU s", "MiB before", "MiB at most", box=box.SIMPLE
    )
    for found in plans:
        counts = (f"{found[name]:,}" for name in ("users", "examples", "heads"))
        seconds = (f"{found[name]:.1f}" for name in ("collect_s", "fit_s"))
        table.add_row(*counts, *seconds, *(f"{found[name] / _MIB:,.0f}" for name in ("before_bytes", "peak_bytes")))
    console.print(table)
    most = plans[-1]
    goals = [Goal(f"{most['users']:,} users: GB of the planning process", most["peak_bytes"] / _GB, 2)]
    finish(console, chosen.json, "planning", result, goals)


if __name__ == "__main__":
    main()
