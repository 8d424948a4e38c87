"""What does personalisation cost while serving, and how far does a machine go with it?

The application as users get it (Ray Serve, HTTP, the real encoder, a store of many users) asks an LLM of fixed speed.
All sides run in one go, their requests in turn, when their time has come (`open_loop.py`):

- `hydra`: a query never seen before, of a user who asked before; `first`: of a user who did not
- `rag`: the same application without base and heads
- `same calls`: the LLM asked directly for what `hydra` asked it: the same prompts, the same n
- `plain`: the LLM asked directly for one answer

What it costs until the first token is told by `streaming.py`.

    python benchmarks/serving.py
    python benchmarks/serving.py --only added --seconds 20 --users 200 --big 0

Parts: added (time over the LLM's, by step), throughput, zipf, big. Needs Ray.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate, cycle
from pathlib import Path
from statistics import median
from typing import Any

import fixed_llm
import httpx
import open_loop
import torch
from measuring import Goal, finish, machine, options
from open_loop import Arrival, Sample
from ray import serve
from rich.console import Console
from served_base import BIG, TAGS, VERSION, Films, film_task, make_settings, prepare, user_key
from sides import added_over, shown

from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.records import Candidate, HistoryItem, Query, UserKey
from hydra_ray.runtime.cluster import cluster
from hydra_ray.serve.local import serving
from hydra_ray.settings import Settings
from hydra_ray.store.backends import open_store

PARTS = ("added", "throughput", "zipf", "big")
CPU = torch.device("cpu")
# Users who ask again and again in parts that are about what is known already.
REGULARS = 20
# As the adapter gets them where all labels compete: the LLM gave seven of them.
_COMPETING = tuple(Candidate(tag, 1 if number < 7 else 0, number) for number, tag in enumerate(TAGS))


def main(arguments: list[str]) -> None:
    """Serves, measures the chosen parts, shows them and writes them down."""
    parser = options(__doc__, "serving")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may come again")
    parser.add_argument("--seconds", type=float, default=60, help="of load, for each part")
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=50, help="history items of each user")
    parser.add_argument("--big", type=int, default=50_000, help="history items of one user more; 0: no such user")
    parser.add_argument("--rate", type=float, default=3, help="requests a second")
    parser.add_argument("--llm-ms", type=float, default=120, help="what each call of the LLM takes")
    chosen = parser.parse_args(arguments)
    if chosen.small:
        chosen.users, chosen.items, chosen.big, chosen.seconds = 60, 5, 100, 4
    chosen.only = chosen.only or list(PARTS)
    console = Console()
    result: dict[str, Any] = {"machine": machine(CPU), "asked": {**vars(chosen), "json": str(chosen.json)}}
    with tempfile.TemporaryDirectory() as folder:
        llm = fixed_llm.FixedLLM(chosen.llm_ms / 1e3, TAGS)
        with fixed_llm.running(llm) as llm_url:
            settings = make_settings(Path(folder), llm_url)
            result["filled_s"] = written_s(settings, chosen, console)
            with cluster(settings.ray), serving(settings, "127.0.0.1", fixed_llm.free_place()) as url:
                result |= asyncio.run(Benchmark(settings, chosen, url, llm_url, console).measure())
    result["load_after"] = machine(CPU)["load_before"]
    finish(console, chosen.json, "serving", result, goals(result))


def written_s(settings: Settings, chosen: Any, console: Console) -> float:
    """Writes base and users; gives the seconds that it took."""
    begin = time.perf_counter()
    big = chosen.big if "big" in chosen.only else 0
    heads = max(REGULARS, chosen.users // 10)
    prepare(settings, film_task(), chosen.users, chosen.items, big=big, heads=heads)
    took = time.perf_counter() - begin
    console.print(f"{chosen.users} users of {chosen.items} items, and one of {big}: written in {took:.0f} s")
    return took


class Benchmark:
    """The parts, over one application."""

    def __init__(self, settings: Settings, chosen: Any, url: str, llm_url: str, console: Console) -> None:
        self._settings, self._chosen, self._console = settings, chosen, console
        self._url, self._llm_url = url, llm_url
        self._films, self._draw = Films(3), random.Random(4)
        self._client = httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None))
        self._steps = {
            name: serve.get_deployment_handle(name, "hydra")
            for name in ("Retriever", "Adapter", *(["Reranker"] if settings.method.rerank else []))
        }
        self._strangers = iter(range(REGULARS, chosen.users))

    async def measure(self) -> dict[str, Any]:
        """Returns what each part found."""
        await asyncio.gather(*(self.hydra(user_key(number)) for number in range(min(4, self._chosen.users))))
        found = {}
        for part in self._chosen.only:
            found[part] = await getattr(self, part)()
        await self._client.aclose()
        return found

    # What is asked.

    async def hydra(self, user: UserKey, method: str = "hydra") -> None:
        """Asks for a personal answer to a query never seen before."""
        body = {"model": "hydra", "user": user.user, "messages": [{"role": "user", "content": self._films.text()}]}
        reply = await self._client.post(f"{self._url}/chat/completions", json={**body, "hydra": {"method": method}})
        reply.raise_for_status()
        if degraded := reply.json()["hydra"]["degraded"]:
            raise RuntimeError(f"degraded: {degraded}")

    async def direct(self, bodies: Sequence[dict[str, Any]]) -> None:
        """Asks the LLM itself, all of it at once."""
        asked = (self._client.post(f"{self._llm_url}/chat/completions", json=body) for body in bodies)
        for reply in await asyncio.gather(*asked):
            reply.raise_for_status()

    def regular(self) -> UserKey:
        """A user who asks again and again."""
        return user_key(self._draw.randrange(min(REGULARS, self._chosen.users)))

    def _query(self, user: UserKey) -> Query:
        text = self._films.text()
        return Query(f"{self._draw.getrandbits(32):08x}", user, text)

    # The parts.

    async def added(self) -> dict[str, Any]:
        """Time of each side; what steps take; what encoding takes here."""
        for number in range(min(REGULARS, self._chosen.users)):
            await self.hydra(user_key(number))
        await self._client.get(self._llm_url.removesuffix("/v1") + "/asked")
        await self.hydra(user_key(0))
        bodies = (await self._client.get(self._llm_url.removesuffix("/v1") + "/asked")).json()
        plain = [{"model": "fixed", "n": 1, "messages": bodies[0]["messages"][-1:]}]
        sides: dict[str, Callable[[], Awaitable[None]]] = {
            "hydra": lambda: self.hydra(self.regular()),
            "same calls": lambda: self.direct(bodies),
            "plain": lambda: self.direct(plain),
            "rag": lambda: self.hydra(self.regular(), "rag"),
            "first": lambda: self.hydra(user_key(next(self._strangers))),
        }
        times = open_loop.evenly(self._chosen.rate, self._chosen.seconds)
        arrivals = [Arrival(at_s, kind, sides[kind]) for at_s, kind in zip(times, cycle(sides), strict=False)]
        found = shown(self._console, "Added time", await open_loop.run(arrivals))
        encode = self._encoding_ms()
        added = {over: added_over(found, over)["hydra"] for over in ("same calls", "plain")}
        steps = await self._step_times()
        self._console.print(f"hydra adds {added}; encoding a query takes {encode:.1f} ms; steps (ms): {steps}")
        return {"sides": found, "added": added, "encode_query_ms": encode, "steps_ms": steps}

    async def throughput(self) -> dict[str, Any]:
        """Answers a second of an application that is never idle, and what its parts alone would allow."""
        share = self._chosen.seconds / 3
        rates = {
            "hydra": await open_loop.at_once(lambda _: self.hydra(self.regular()), 8, share),
            "rag": await open_loop.at_once(lambda _: self.hydra(self.regular(), "rag"), 8, share),
        }
        encode_s, cores = self._encoding_ms() / 1e3, machine(CPU)["cores"]
        allowed = 1 / (1 / rates["rag"] + encode_s / cores)
        self._console.print(f"answers a second: {rates}; rag and the encoding of queries allow {allowed:.1f}")
        return {"answers_per_s": rates, "allowed_per_s": allowed, "share_of_allowed": rates["hydra"] / allowed}

    async def zipf(self) -> dict[str, Any]:
        """Retrieve and score for users of whom few ask often and most seldom."""
        weights = list(accumulate(1 / (rank + 1) for rank in range(self._chosen.users)))
        times = open_loop.poisson(self._chosen.rate, self._chosen.seconds, 5)
        users = self._draw.choices(range(self._chosen.users), cum_weights=weights, k=len(times))
        seen: set[int] = set()
        arrivals = []
        for at_s, number in zip(times, users, strict=True):
            kind = "again" if number in seen else "for the first time"
            seen.add(number)
            arrivals.append(Arrival(at_s, kind, self._found(user_key(number))))
        samples = await open_loop.run(arrivals)
        together = [Sample("all", one.seconds, one.late_s, one.error) for one in samples]
        return {"sides": shown(self._console, "Retrieve and score, Zipf", [*samples, *together])}

    async def big(self) -> dict[str, Any]:
        """Retrieve and score for a user with a very long history."""
        if not self._chosen.big:
            return {}
        store = open_store(self._settings.store_target)
        kinds = ["cold", *["warm"] * 10, *["after an item more", "warm", "warm"] * 3]
        samples = []
        for number, kind in enumerate(kinds):
            if kind == "after an item more":
                store.append_history(BIG, HistoryItem(f"new-{number}", self._films.text(), TAGS[0]))
            samples += await open_loop.run([Arrival(0, kind, self._found(BIG))])
        store.close()
        return {"sides": shown(self._console, f"Retrieve and score, {self._chosen.big} items", samples)}

    def _found(self, user: UserKey) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            query, settings = self._query(user), self._settings.method
            most = max(settings.retrieve, settings.history_answers)
            ranked = await self._steps["Retriever"].remote(query, most, settings.retriever)
            if settings.rerank:
                await self._steps["Reranker"].remote((query, tuple(ranked[: settings.retrieve]), user), VERSION)
                return
            answers = tuple(one.item.output for one in ranked[: settings.history_answers])
            await self._steps["Adapter"].remote((query, _COMPETING, answers, None, user), VERSION)

        return ask

    async def _step_times(self) -> dict[str, float]:
        """Medians of calls of the steps, one at a time, with Serve's part of each call."""
        spent: dict[str, list[float]] = defaultdict(list)

        async def timed(name: str, call: Any) -> Any:
            begin = time.perf_counter()
            reply = await call
            spent[name].append(1e3 * (time.perf_counter() - begin))
            return reply

        method = self._settings.method
        for _ in range(20):
            user = self.regular()
            query = self._query(user)
            await timed("ingress alone", self._client.get(self._url.removesuffix("/v1") + "/healthz"))
            ranked = await timed("retrieve", self._steps["Retriever"].remote(query, 24, method.retriever))
            encoding = None
            if method.rerank:
                ask = query, tuple(ranked[: method.retrieve]), user
                encoding = (await timed("rerank", self._steps["Reranker"].remote(ask, VERSION))).encoding
            answers = tuple(one.item.output for one in ranked)
            ask = query, _COMPETING, answers, encoding, user
            await timed("adapt", self._steps["Adapter"].remote(ask, VERSION))
        return {name: round(median(times), 1) for name, times in spent.items()}

    def _encoding_ms(self) -> float:
        """What the encoder takes for one query that it never saw, on the one thread that a replica has."""
        read = self._settings.base.encoder
        torch.set_num_threads(1)
        encoder = TextsEncoder.load(read.name, read.max_tokens, read.computing, lexical=False).eval()
        # As in the base, so that the same runtime computes.
        encoder.requires_grad_(False)
        times = []
        for _ in range(20):
            decision = [(self._films.text(), "", ())]
            begin = time.perf_counter()
            encoder.features(decision)
            times.append(1e3 * (time.perf_counter() - begin))
        return median(times)


def goals(result: dict[str, Any]) -> list[Goal]:
    """What is wanted of the parts that were measured."""
    wanted = []
    if added := result.get("added"):
        bound = added["encode_query_ms"] + 40
        wanted.append(Goal("added p50 over the same calls, ms", added["added"]["same calls"]["p50_ms"], bound))
    if throughput := result.get("throughput"):
        wanted.append(Goal("throughput, share of allowed", throughput["share_of_allowed"], 0.85, at_least=True))
    if zipf := result.get("zipf"):
        wanted.append(Goal("retrieve and score, Zipf, p99 ms", zipf["sides"]["all"]["p99_ms"], 150))
    if big := result.get("big"):
        wanted.append(Goal("retrieve and score, long history, warm p99 ms", big["sides"]["warm"]["p99_ms"], 300))
    return wanted


if __name__ == "__main__":
    main(sys.argv[1:])
