"""Does memory stay flat? 20,000 requests to a server on this machine, and what its replicas take meanwhile.

    python benchmarks/soak.py
    python benchmarks/soak.py http://127.0.0.1:8000/v1

Without a URL it serves an application of its own, with the real encoder and an LLM of fixed speed. Where keys are
wanted, OPENAI_API_KEY holds one of scope chat.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from contextlib import nullcontext

import httpx
import psutil
import torch
from measuring import Goal, finish, machine, options
from overload import TOGETHER, ask, served_here
from rich.console import Console
from rich.table import Table

REQUESTS, WARM, STEP = 20_000, 1_000, 1_000
# Of an application that is served here: history items of each user, and what a call of the LLM takes.
ITEMS, LLM_S = 50, 0.02
# Each request has a text of its own: 256 MB of kept encodings would go on filling to the end, 16 are full soon.
KEPT_MB = 16
# Allocators keep more at one moment than at another.
MOST_GROWTH_MIB = 64.0


def main(arguments: list[str]) -> None:
    """Measures, shows and writes down."""
    parser = options(__doc__, "soak")
    parser.add_argument("url", nargs="?", help="where something is served, as OpenAI clients take it; none serves here")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="how many, the first 1,000 to get warm")
    chosen = parser.parse_args(arguments)
    console = Console()
    requests, warm = (300, 100) if chosen.small else (chosen.requests, WARM)
    with nullcontext(chosen.url) if chosen.url else served_here(ITEMS, LLM_S, encoding_cache_mb=KEPT_MB) as url:
        result = asyncio.run(measure(url, requests, warm, min(STEP, warm)))
    table = Table("replica", "MiB when warm", "at the end", "most")
    for name, taken in result["memory_mib"].items():
        table.add_row(name, f"{taken[0]:.0f}", f"{taken[-1]:.0f}", f"{max(taken):.0f}")
    console.print(table)
    grown = max(taken[-1] - taken[0] for taken in result["memory_mib"].values())
    goals = [
        Goal("growth of the replica that grew most, MiB", grown, MOST_GROWTH_MIB),
        Goal("requests that were not answered", result["unanswered"], 0),
    ]
    finish(console, chosen.json, "soak", {"machine": machine(torch.device("cpu")), **result}, goals)


async def measure(url: str, requests: int, warm: int, step: int) -> dict[str, object]:
    """Return the memory of each replica after every so many requests, the first when it is warm."""
    statuses: Counter[int] = Counter()
    memory: dict[str, list[float]] = {}
    key = os.environ.get("OPENAI_API_KEY", "none")
    begin = time.perf_counter()
    async with httpx.AsyncClient(timeout=300, headers={"Authorization": f"Bearer {key}"}) as client:
        for first in range(0, requests, step):
            statuses += await batch(client, url, first, step)
            if first + step >= warm:
                for name, mib in replicas_mib().items():
                    memory.setdefault(name, []).append(mib)
    if not memory:
        raise SystemExit("no replicas of hydra-ray run on this machine: their memory cannot be seen")
    seconds = time.perf_counter() - begin
    unanswered = sum(count for status, count in statuses.items() if status != 200)
    return {"requests": requests, "seconds": seconds, "unanswered": unanswered, "memory_mib": memory}


async def batch(client: httpx.AsyncClient, url: str, first: int, count: int) -> Counter[int]:
    """Ask so many requests, some at a time."""
    statuses: Counter[int] = Counter()

    async def some(number: int) -> None:
        for one in range(number, first + count, TOGETHER):
            statuses[(await ask(client, url, one, time.perf_counter(), 0.0)).status] += 1

    await asyncio.gather(*map(some, range(first, first + TOGETHER)))
    return statuses


def replicas_mib() -> dict[str, float]:
    """Return the resident memory of each replica of the application on this machine, in MiB."""
    found = {}
    for process in psutil.process_iter(["cmdline", "memory_info"]):
        title = " ".join(process.info["cmdline"] or ())
        if title.startswith("ray::ServeReplica:hydra:"):
            name = title.removeprefix("ray::ServeReplica:hydra:").split(".")[0].split()[0]
            found[f"{name} {process.pid}"] = process.info["memory_info"].rss / 2**20
    return found


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
