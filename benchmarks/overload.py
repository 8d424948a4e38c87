"""What becomes of requests when three times as many come as can be answered, and how soon it is over.

Serves users of made-up films with an LLM of fixed speed, and asks first as fast as it answers (its capacity), then in
an open loop at three times that for a minute, and then at half of it. Both sides are of one run. Or asks a server that
is up, whatever it serves:

    hydra-ray serve settings.yaml &
    python benchmarks/overload.py http://127.0.0.1:8000/v1

Where keys are wanted, OPENAI_API_KEY holds one of scope chat.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fixed_llm
import httpx
import torch
from measuring import Goal, finish, machine, options
from rich.console import Console
from rich.table import Table
from served_base import TAGS, film_task, make_settings, prepare, user_key

from hydra_ray.runtime.cluster import cluster
from hydra_ray.serve.local import serving

TIMES, OVERLOAD_S, CAPACITY_S, USERS = 3, 60.0, 30.0, 100
# As many as a replica of the ingress works on.
TOGETHER = 16
_PATIENCE_S = 300.0
_WORDS = ["calm", "storm", "silver", "window", "river", "engine", "letter", "garden", "bright", "machine"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of one request.

    Attributes:
        status: HTTP status; 0 where the connection broke.
        due_s: When it was due, in seconds from the start.
        seconds: Time from when the request was due until its reply.
        whole: Whether nothing was degraded.
    """

    status: int
    due_s: float
    seconds: float
    whole: bool


def main(arguments: list[str]) -> None:
    """Measures, shows and writes down."""
    parser = options(__doc__, "overload")
    parser.add_argument("url", nargs="?", help="where something is served, as OpenAI clients take it; none serves here")
    parser.add_argument("--items", type=int, default=50, help="history items of each user who is served here")
    parser.add_argument("--llm-ms", type=float, default=120, help="what each call of the LLM takes that is asked here")
    chosen = parser.parse_args(arguments)
    console = Console()
    factor = 0.1 if chosen.small else 1.0
    with nullcontext(chosen.url) if chosen.url else served_here(chosen.items, chosen.llm_ms / 1e3) as url:
        result = asyncio.run(measure(url, CAPACITY_S * factor, OVERLOAD_S * factor))
    table = Table("what", "measured")
    for name, value in result.items():
        table.add_row(name, f"{value:.3g}" if isinstance(value, float) else str(value))
    console.print(table)
    goals = [
        Goal("requests answered by a 5xx", result["5xx"], 0),
        Goal("refusals, p95, ms", result["refused_p95_ms"], 250),
        Goal("answers a second under overload, of capacity", result["goodput_of_capacity"], 0.9, at_least=True),
        Goal("seconds until all is answered whole again", result["recovered_s"], 10),
    ]
    finish(console, chosen.json, "overload", {"machine": machine(torch.device("cpu")), **result}, goals)


@contextmanager
def served_here(items: int, llm_s: float, **serve: Any) -> Iterator[str]:
    """An application of its own; gives its base URL.

    Args:
        items: History items of each user.
        llm_s: Seconds that a call of the LLM takes.
        **serve: Settings of section `serve` that are not the default.
    """
    with tempfile.TemporaryDirectory() as folder, fixed_llm.running(fixed_llm.FixedLLM(llm_s, TAGS)) as llm_url:
        settings = make_settings(Path(folder), llm_url, **serve)
        prepare(settings, film_task(), USERS, items, big=0, heads=USERS)
        with cluster(settings.ray), serving(settings, "127.0.0.1", fixed_llm.free_place()) as url:
            yield url


async def measure(url: str, capacity_s: float, overload_s: float) -> dict[str, object]:
    """Return the figures of one run."""
    key = os.environ.get("OPENAI_API_KEY", "none")
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(
        timeout=_PATIENCE_S, headers={"Authorization": f"Bearer {key}"}, limits=limits
    ) as client:
        # Texts of its own: what was asked before is answered sooner.
        await closed_loop(client, url, capacity_s / 3, 3 * 10**6)
        capacity = await closed_loop(client, url, capacity_s, 0)
        begin = time.perf_counter()
        many = asyncio.create_task(open_loop(client, url, TIMES * capacity, overload_s, 10**6))
        await asyncio.sleep(overload_s)
        # Less than it can answer, so that it may come to itself.
        after = await open_loop(client, url, capacity / 2, overload_s / 2, 2 * 10**6)
        under = await many
    total_s = time.perf_counter() - begin
    refused = sorted(one.seconds for one in under if one.status == 429)
    done = [one for one in under if one.status == 200 and one.due_s + one.seconds <= overload_s]
    lame = [one.due_s for one in after if one.status != 200 or not one.whole]
    statuses = Counter(one.status for one in under)
    return {
        "capacity_per_s": capacity,
        "offered_per_s": TIMES * capacity,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "5xx": sum(count for status, count in statuses.items() if status >= 500 or status == 0),
        "refused_p95_ms": 1e3 * refused[int(0.95 * (len(refused) - 1))] if refused else 0.0,
        "goodput_of_capacity": len(done) / overload_s / capacity,
        "whole_of_answers": sum(one.whole for one in done) / max(1, len(done)),
        "recovered_s": max(lame, default=0.0),
        "seconds": total_s,
    }


async def closed_loop(client: httpx.AsyncClient, url: str, seconds: float, begins: int) -> float:
    """Return answers a second where some clients always wait for one; `begins` is the number of the first text."""
    until, answered = time.perf_counter() + seconds, 0

    async def keep_asking(first: int) -> None:
        nonlocal answered
        number = first
        while time.perf_counter() < until:
            one = await ask(client, url, number, time.perf_counter(), 0.0)
            # Not in one line with the call: the others count while this one waits.
            answered += one.status == 200
            number += TOGETHER

    begin = time.perf_counter()
    await asyncio.gather(*map(keep_asking, range(begins, begins + TOGETHER)))
    return answered / (time.perf_counter() - begin)


async def open_loop(client: httpx.AsyncClient, url: str, per_s: float, seconds: float, first: int) -> list[Asked]:
    """Ask when each request is due, whether or not former ones were answered; their times count from then."""
    begin, tasks = time.perf_counter(), []
    for number in range(round(per_s * seconds)):
        due_s = number / per_s
        await asyncio.sleep(max(0.0, begin + due_s - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(client, url, first + number, begin + due_s, due_s)))
    return list(await asyncio.gather(*tasks))


async def ask(client: httpx.AsyncClient, url: str, number: int, due: float, due_s: float) -> Asked:
    """Ask for a completion of a text that nobody asked about before."""
    text = f"a {_WORDS[number % len(_WORDS)]} and a {_WORDS[number // 10 % len(_WORDS)]}, number {number}"
    body = {"model": "hydra", "user": user_key(number % USERS).user, "messages": [{"role": "user", "content": text}]}
    try:
        reply = await client.post(f"{url}/chat/completions", json=body)
    except httpx.HTTPError:
        return Asked(0, due_s, time.perf_counter() - due, whole=False)
    seconds = time.perf_counter() - due
    whole = reply.status_code == 200 and reply.json()["hydra"]["degraded"] == []
    return Asked(reply.status_code, due_s, seconds, whole)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
