"""What does a user with a very long history cost, themselves and everybody else?

One user with 50,000 items and many with 100 ask the retriever for the best four by BM25. Against: the history read and
indexed anew for each request, as offline commands do. Both sides answer the same requests over the same store, in
threads of one event loop as the deployment does, and their answers are compared.

    python benchmarks/retrieval.py
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from measuring import Goal, Times, finish, machine, options
from rich.console import Console
from rich.table import Table

from hydra_ray.records import HistoryItem, Query, Ranked, UserKey
from hydra_ray.settings import MethodSettings
from hydra_ray.steps.index.histories import IndexedHistories
from hydra_ray.steps.retrieval.retrievers import lexical
from hydra_ray.store.backends import open_store
from hydra_ray.store.protocol import Store

_WORDS = 20_000
_SHOTS, _STEMMER = MethodSettings().shots, MethodSettings().stemmer
BIG = UserKey("acme", "big")

Retrieve = Callable[[Query], Awaitable[list[Ranked]]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is to do.

    Attributes:
        items: How many history items the big user has.
        words: Length of each item's text, in words.
        others: How many other users.
        others_items: How many history items each of the other users has.
        rounds: Requests of each kind.
        together: Requests of the big user at once.
    """

    items: int = 50_000
    words: int = 60
    others: int = 200
    others_items: int = 100
    rounds: int = 3
    together: int = 4


_SMALL = Sizes(items=1_500, words=20, others=4, others_items=10, rounds=2, together=2)


class Texts:
    """Texts of made-up words whose frequencies follow Zipf's law."""

    def __init__(self, words: int) -> None:
        self._draw, self._length = random.Random(0), words
        self._words = [f"word{number}" for number in range(_WORDS)]
        self._weights = list(accumulate(1 / (rank + 1) for rank in range(_WORDS)))

    def __call__(self, words: int | None = None) -> str:
        return " ".join(self._draw.choices(self._words, cum_weights=self._weights, k=words or self._length))


def fill(store: Store, texts: Texts, sizes: Sizes) -> list[UserKey]:
    """Writes everybody's history; gives the other users."""
    others = [UserKey("acme", f"other {number}") for number in range(sizes.others)]
    counts = {BIG: sizes.items} | dict.fromkeys(others, sizes.others_items)
    store.put_histories(
        {user: [HistoryItem(str(number), texts(), "fine") for number in range(count)] for user, count in counts.items()}
    )
    return others


def sides(store: Store) -> dict[str, Retrieve]:
    """Each with nothing in memory yet."""
    histories = IndexedHistories(store, 512 << 20, _STEMMER)

    async def anew(query: Query) -> list[Ranked]:
        return await asyncio.to_thread(lambda: lexical(query, store.history(query.user), _SHOTS, _STEMMER))

    async def kept(query: Query) -> list[Ranked]:
        history = await histories.of(query.user)
        with histories.short_work():
            return await asyncio.to_thread(lexical, query, history, _SHOTS, _STEMMER)

    return {"anew": anew, "kept": kept}


async def others_meanwhile(
    retrieve: Retrieve, queries: Sequence[Query], others: Sequence[UserKey], ask: Callable[[UserKey], Query]
) -> tuple[Times, float]:
    """Times of other users, one after the other, while the big user's are answered; and how long these take."""
    begin = time.perf_counter()
    big = asyncio.gather(*(retrieve(query) for query in queries))
    seconds: list[float] = []
    await asyncio.sleep(0.05)
    while not big.done() or not seconds:
        seconds.append(await _time_of(retrieve, ask(others[len(seconds) % len(others)])))
        await asyncio.sleep(0.01)
    await big
    return Times(tuple(seconds)), time.perf_counter() - begin


async def measure(store: Store, sizes: Sizes, texts: Texts, others: Sequence[UserKey]) -> dict[str, Any]:
    """Both sides' times, in milliseconds."""
    number = 0

    def ask(user: UserKey) -> Query:
        nonlocal number
        number += 1
        return Query(str(number), user, texts(10))

    found: dict[str, dict[str, Any]] = {}
    both = sides(store)
    for name, retrieve in both.items():
        quiet = [await _time_of(retrieve, ask(user)) for user in others]
        # Their first requests have been answered by now.
        quiet = [await _time_of(retrieve, ask(user)) for user in others] if name == "kept" else quiet
        busy, together = await others_meanwhile(retrieve, [ask(BIG) for _ in range(sizes.together)], others, ask)
        found[name] = {
            "others_quiet": Times(tuple(quiet)).to_json(),
            "others_beside_first": busy.to_json(),
            "first_together_ms": 1e3 * together,
        }
    changes: dict[str, Callable[[int], object]] = {
        "again": lambda _: None,
        "after_append": lambda turn: store.append_history(BIG, HistoryItem(f"new {turn}", texts(), "fine")),
        "after_delete": lambda turn: store.delete_item(BIG, str(turn)),
    }
    for what, change in changes.items():
        seconds: dict[str, list[float]] = {name: [] for name in both}
        for turn in range(sizes.rounds):
            change(turn)
            query, answers = ask(BIG), []
            for name, retrieve in both.items():
                begin = time.perf_counter()
                answers.append(await retrieve(query))
                seconds[name].append(time.perf_counter() - begin)
            if answers[0] != answers[1]:
                raise SystemExit(f"{what}: both sides should find the same: {answers}")
        for name, spent in seconds.items():
            found[name][what] = Times(tuple(spent)).to_json()
    return found


async def _time_of(retrieve: Retrieve, query: Query) -> float:
    begin = time.perf_counter()
    await retrieve(query)
    return time.perf_counter() - begin


def main() -> None:
    """Measures, prints a table and writes JSON."""
    arguments = options(__doc__, "retrieval").parse_args()
    sizes, console = _SMALL if arguments.small else Sizes(), Console()
    result: dict[str, Any] = {"machine": machine(torch.device("cpu")), "small": arguments.small}
    console.print(result["machine"])
    texts = Texts(sizes.words)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder) / 'users.db'}")
        others = fill(store, texts, sizes)
        found = result["times"] = asyncio.run(measure(store, sizes, texts, others))
        store.close()
    table = Table("milliseconds", *found, "ratio", title=f"{sizes.items:,} items, and {sizes.others_items} of others")
    rows = {
        f"first request, {sizes.together} at once": [one["first_together_ms"] for one in found.values()],
        **{
            what: [one[what]["median_ms"] for one in found.values()]
            for what in ("again", "after_append", "after_delete")
        },
        "others, quiet": [one["others_quiet"]["median_ms"] for one in found.values()],
        "others beside these first requests": [one["others_beside_first"]["median_ms"] for one in found.values()],
        "... 95th percentile": [one["others_beside_first"]["p95_ms"] for one in found.values()],
    }
    result["ratios"] = {what: anew / kept for what, (anew, kept) in rows.items()}
    for what, (anew, kept) in rows.items():
        table.add_row(what, f"{anew:,.1f}", f"{kept:,.1f}", f"{anew / kept:,.1f}")
    console.print(table)
    goals = [
        Goal("a request again: speed-up", result["ratios"]["again"], 100, at_least=True),
        Goal("a request after an item more: speed-up", result["ratios"]["after_append"], 20, at_least=True),
        Goal("others beside first requests: p95 ms", found["kept"]["others_beside_first"]["p95_ms"], 250),
    ]
    finish(console, arguments.json, "retrieval", result, goals)


if __name__ == "__main__":
    main()
