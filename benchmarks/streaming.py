"""What does the application add to the time until the first token?

The application as users get it (Ray Serve, HTTP, a free task, the real encoder) asks an LLM that says its first token
after a fixed time, and the others after fixed gaps. Both sides run in one go, in turn, and every stream is read to its
end:

- `direct`: the LLM asked directly
- `zero-shot`, `rag`, `passthrough`: through the application, tokens as the LLM says them
- `hydra`: after the choice among the candidates of two calls of the LLM, each as long as `direct` to its first token
- `ingress alone`: a request that no step answers (`/healthz`), for what HTTP and Serve take

First one request at a time, then `--rate` a second, whether or not earlier ones are answered (`open_loop.py`).

    python benchmarks/streaming.py
    python benchmarks/streaming.py --small

Needs Ray.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from itertools import cycle
from pathlib import Path
from typing import Any

import fixed_llm
import httpx
import open_loop
import torch
from first_tokens import Streams, in_turn
from measuring import Goal, finish, machine, options
from open_loop import Arrival, Ask
from rich.console import Console
from served_base import Films, make_settings, prepare, user_key
from sides import added_over, shown

from hydra_ray.runtime.cluster import cluster
from hydra_ray.serve.local import serving
from hydra_ray.tasks import CHAT_TASK

CPU = torch.device("cpu")
STREAMING = ("zero-shot", "rag", "passthrough")
GOAL_MS = 30
_ALONE = "ingress alone"


def main(arguments: list[str]) -> None:
    """Serves, asks in both ways, shows what was found and writes it down."""
    parser = options(__doc__, "streaming")
    parser.add_argument("--rounds", type=int, default=100, help="requests of each side, one at a time")
    parser.add_argument("--seconds", type=float, default=200, help="of load")
    parser.add_argument("--rate", type=float, default=3, help="requests a second, of all sides together")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--items", type=int, default=50, help="history items of each user")
    parser.add_argument("--llm-ms", type=float, default=120, help="until the LLM's first token")
    parser.add_argument("--gap-ms", type=float, default=10, help="between its tokens")
    chosen = parser.parse_args(arguments)
    if chosen.small:
        chosen.users, chosen.items, chosen.rounds, chosen.seconds = 4, 5, 5, 6
    console = Console()
    result: dict[str, Any] = {"machine": machine(CPU), "asked": {**vars(chosen), "json": str(chosen.json)}}
    with tempfile.TemporaryDirectory() as folder:
        llm = fixed_llm.FixedLLM(chosen.llm_ms / 1e3, (), chosen.gap_ms / 1e3)
        with fixed_llm.running(llm) as llm_url:
            settings = make_settings(Path(folder), llm_url)
            prepare(settings, CHAT_TASK, chosen.users, chosen.items, big=0, heads=chosen.users)
            console.print(f"{chosen.users} users of {chosen.items} items are written")
            with cluster(settings.ray), serving(settings, "127.0.0.1", fixed_llm.free_place()) as url:
                result |= asyncio.run(measure(chosen, url, llm_url, console))
    result["load_after"] = machine(CPU)["load_before"]
    finish(console, chosen.json, "streaming", result, goals(result))


async def measure(chosen: Any, url: str, llm_url: str, console: Console) -> dict[str, Any]:
    """Returns what each way of asking found: times of the sides, and what they add to the LLM's own."""
    films, draw = Films(3), random.Random(4)
    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None)) as client:
        streams = Streams(client)

        def asking(place: str, **more: Any) -> Ask:
            async def ask() -> None:
                # A query never seen before, of a user who asked before.
                body = {"messages": [{"role": "user", "content": films.text()}], **more}
                user = user_key(draw.randrange(chosen.users)).user
                await streams.first_token(place, {"model": "hydra", "user": user, **body})

            return ask

        async def alone() -> None:
            (await client.get(url.removesuffix("/v1") + "/healthz")).raise_for_status()

        sides = {"direct": asking(llm_url), _ALONE: alone}
        sides |= {method: asking(url, hydra={"method": method}) for method in (*STREAMING, "hydra")}
        # Every user once, so that nothing is read or made for the first time.
        for ask in sides.values():
            await asyncio.gather(*(ask() for _ in range(2 * chosen.users)))
            await streams.ended()
        found = {"one at a time": await in_turn(sides, chosen.rounds, streams)}
        times = open_loop.evenly(chosen.rate, chosen.seconds)
        arrivals = [Arrival(at_s, kind, sides[kind]) for at_s, kind in zip(times, cycle(sides), strict=False)]
        found[f"{chosen.rate:g} a second"] = await open_loop.run(arrivals)
        await streams.ended()
    ways: dict[str, Any] = {}
    for way, samples in found.items():
        numbers = shown(console, f"Until the first token, {way}", samples)
        # It asks no LLM, so there is nothing over which it could add.
        asked = {side: one for side, one in numbers.items() if side != _ALONE}
        ways[way] = {"sides": numbers, "added": added_over(asked, "direct")}
        medians = {side: round(more["p50_ms"], 1) for side, more in ways[way]["added"].items()}
        console.print(f"{way}, added to the LLM's first token at p50, ms: {medians}")
    return {"ways": ways}


def goals(result: dict[str, Any]) -> list[Goal]:
    """What is wanted of the methods that stream."""
    return [
        Goal(f"{method}, {way}: added to the first token, p50 ms", one["added"][method]["p50_ms"], GOAL_MS)
        for way, one in result["ways"].items()
        for method in STREAMING
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
