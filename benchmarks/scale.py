"""What changes as users become more: from a thousand to a million, of five items each?

Stores of all sizes are filled first and measured in turn, so that whatever else the machine does meets them alike:
bytes on disk; looking up a history and a head; the best four items of a history by BM25; fits of heads out of a store
and back into it. Peers and cohorts are held in memory whole, so they are measured up to `--whole` users.

    python benchmarks/scale.py --folder /somewhere/with/10/GB
    python benchmarks/scale.py --folder /tmp/scale --users 1000 10000     # a minute
    python benchmarks/scale.py --folder /tmp/scale --postgres postgresql+psycopg://localhost/postgres

Nothing needs Ray. Encodings are drawn: making those of millions of texts takes days, and searching them is what is
measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from measuring import Goal, PeakMemory, Times, alternating, finish, machine, options
from open_loop import quantile
from rich import box
from rich.console import Console
from rich.table import Table
from scale_stores import ROLE, TENANT, VERSION, WIDTH, Filled, Items, stores
from scoring import generated_user

from hydra_ray.learn.heads.fitter import FitChoice, HeadFitter, User
from hydra_ray.learn.heads.stored_users import read_users
from hydra_ray.learn.tune.cohorts import find_cohorts
from hydra_ray.learn.tune.space import CohortRules
from hydra_ray.models.heads import HeadModel
from hydra_ray.records import Query, UserKey
from hydra_ray.settings import FitSettings, HeadSettings, MethodSettings
from hydra_ray.steps.index.histories import IndexedHistories
from hydra_ray.steps.profiles.peers import PeerPool
from hydra_ray.steps.retrieval.retrievers import lexical

CPU = torch.device("cpu")
SIZES = (1_000, 10_000, 100_000, 1_000_000)
# Looked up of one size before it is the next one's turn.
_IN_TURN = 50
_GROUPS, _CANDIDATES = 5, 5
# Users whose features differ; the rest repeat them.
_DISTINCT = 500
_SHOTS, _STEMMER = MethodSettings().shots, MethodSettings().stemmer


def look_ups(filled: Sequence[Filled], count: int) -> dict[str, dict[int, list[float]]]:
    """Seconds of each look-up by size, of users drawn by chance."""

    def history(one: Filled, user: UserKey) -> int:
        return len(one.store.history(user))

    def head(one: Filled, user: UserKey) -> object:
        return one.store.head(user, VERSION, ROLE)

    kinds: dict[str, Callable[[Filled, UserKey], object]] = {"history": history, "head": head}
    found: dict[str, dict[int, list[float]]] = {kind: {one.users: [] for one in filled} for kind in kinds}
    for turn in range(-1, -(-count // _IN_TURN)):
        for one in filled:
            for kind, look_up in kinds.items():
                for user in one.draw(_IN_TURN, turn):
                    begin = time.perf_counter()
                    if not look_up(one, user):
                        raise SystemExit(f"{kind} of {user} is not there")
                    took = time.perf_counter() - begin
                    if turn >= 0:
                        found[kind][one.users].append(took)
    return found


async def retrieval(filled: Sequence[Filled], count: int) -> dict[str, dict[int, list[float]]]:
    """Seconds until the best items of a user are found: when first asked for, and again, by size."""
    found: dict[str, dict[int, list[float]]] = {
        kind: {one.users: [] for one in filled} for kind in ("retrieve, first", "retrieve, again")
    }
    items = Items()
    for turn in range(-1, -(-count // _IN_TURN)):
        for one in filled:
            # Nobody has been asked for yet.
            histories = IndexedHistories(one.store, 64 << 20, _STEMMER)
            for user in one.draw(_IN_TURN, 1_000 + turn):
                query = Query("q", user, items.text(1))
                for times in found.values():
                    begin = time.perf_counter()
                    best = lexical(query, await histories.of(user), _SHOTS, _STEMMER)
                    if turn >= 0:
                        times[one.users].append(time.perf_counter() - begin)
                    if not best:
                        raise SystemExit(f"nothing of {user} was found")
    return found


def fits(filled: Sequence[Filled], users: int, rounds: int) -> dict[int, Times]:
    """Times of fits by size: reading a batch of users, fitting their heads from features, and writing these."""
    choice = FitChoice(FitSettings(head=HeadSettings(kind="bases")))
    fit = HeadFitter(HeadModel(WIDTH).eval(), lambda features: choice, "listwise")
    features = [generated_user(WIDTH, _GROUPS, _CANDIDATES) for _ in range(users)]
    turn = iter(range(10**6))

    def prepare(one: Filled) -> Callable[[], object]:
        keys = one.draw(users, next(turn))
        return partial(_fit_batch, one, fit, list(zip(keys, features, strict=False)))

    return alternating({one.users: partial(prepare, one) for one in filled}, rounds, CPU, warm_up=1)


def _fit_batch(one: Filled, fit: HeadFitter, users: Sequence[User]) -> None:
    keys = [key for key, _ in users]
    known = read_users(one.store, keys)
    stale = one.store.put_fitted(VERSION, ROLE, known.fitted(dict.fromkeys(keys, "again"), fit(users)))
    if stale:
        raise SystemExit(f"{len(stale)} users were changed by somebody else")


class Drawn:
    """Vectors for texts, drawn out of a pool and of length 1: what an encoder would give, at no cost."""

    def __init__(self) -> None:
        pool = np.random.default_rng(0).standard_normal((4_096, WIDTH)).astype(np.float32)
        self._pool = pool / np.linalg.norm(pool, axis=1, keepdims=True)

    def __call__(self, texts: Sequence[str]) -> Any:
        # Not `hash`, which is another one in each process.
        return self._pool[[crc32(one.encode()) % len(self._pool) for one in texts]]


def peers(one: Filled, count: int) -> dict[str, Any]:
    """Seconds and memory to make a pool of all users of a store, and seconds to search it."""
    embed, times = Drawn(), []
    begin = time.perf_counter()
    with PeakMemory() as memory:
        pool = PeerPool(one.store.histories(TENANT), embed, [TENANT])
        pool.prepare(TENANT)
    made = time.perf_counter() - begin
    for user in one.draw(count, 7):
        history = one.store.history(user)
        begin = time.perf_counter()
        found = pool.similar(user, history, 10)
        times.append(time.perf_counter() - begin)
        if not found:
            raise SystemExit(f"nobody is like {user}")
    return {"pool_s": made, "pool_bytes": memory.grown, "similar": in_ms(times)}


def cohorts(users: int) -> float:
    """Seconds to find cohorts of so many users."""
    some = [generated_user(WIDTH, _GROUPS, _CANDIDATES) for _ in range(min(users, _DISTINCT))]
    begin = time.perf_counter()
    found = find_cohorts(list(islice(cycle(some), users)), CohortRules(), seed=0)
    if not len(found.centroids):
        raise SystemExit("no cohort was found")
    return time.perf_counter() - begin


def in_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Quantiles in milliseconds."""
    return {"p50_ms": 1e3 * quantile(seconds, 0.5), "p99_ms": 1e3 * quantile(seconds, 0.99), "count": len(seconds)}


def measure(filled: Sequence[Filled], chosen: Any, console: Console) -> dict[str, dict[int, dict[str, Any]]]:
    """All parts, by name and size."""
    parts: dict[str, dict[int, dict[str, Any]]] = {
        "store": {
            one.users: {
                "bytes": one.nbytes,
                "bytes_a_user": one.nbytes / one.users,
                "users_per_s": one.users / one.seconds,
            }
            for one in filled
        }
    }
    for found in (look_ups(filled, chosen.count), asyncio.run(retrieval(filled, chosen.count))):
        for kind, by_size in found.items():
            parts[kind] = {users: in_ms(times) for users, times in by_size.items()}
            console.print(f"{kind}: done")
    times = fits(filled, chosen.fitted, rounds=5)
    parts["fit"] = {
        one.users: {
            "users_per_s": min(chosen.fitted, one.users) / times[one.users].median,
            **times[one.users].to_json(),
        }
        for one in filled
    }
    whole = [one for one in filled if one.users <= chosen.whole]
    parts["peers"] = {one.users: peers(one, min(200, chosen.count)) for one in whole}
    parts["cohorts"] = {one.users: {"seconds": cohorts(one.users)} for one in whole}
    return parts


def table(parts: dict[str, dict[int, dict[str, Any]]], title: str) -> Table:
    """A row of what matters of each part, a column a size."""
    sizes = list(parts["store"])
    shown = Table("", *(f"{users:,}" for users in sizes), title=title, box=box.SIMPLE)

    def row(name: str, part: str, value: Callable[[dict[str, Any]], str]) -> None:
        shown.add_row(name, *(value(parts[part][users]) if users in parts[part] else "" for users in sizes))

    row("store, MB", "store", lambda one: f"{one['bytes'] / 1e6:,.1f}")
    row("store, bytes a user", "store", lambda one: f"{one['bytes_a_user']:,.0f}")
    row("written, users/s", "store", lambda one: f"{one['users_per_s']:,.0f}")
    for kind in ("history", "head", "retrieve, first", "retrieve, again"):
        row(f"{kind}, p50 / p99 ms", kind, lambda one: f"{one['p50_ms']:.2f} / {one['p99_ms']:.2f}")
    row("fit, users/s", "fit", lambda one: f"{one['users_per_s']:,.0f}")
    row("pool of peers, s", "peers", lambda one: f"{one['pool_s']:.1f}")
    row("its memory at most, MB", "peers", lambda one: f"{one['pool_bytes'] / 1e6:,.0f}")
    row("similar users, p50 / p99 ms", "peers", lambda one: "{p50_ms:.1f} / {p99_ms:.1f}".format(**one["similar"]))
    row("cohorts, s", "cohorts", lambda one: f"{one['seconds']:.1f}")
    return shown


def goals(parts: dict[str, dict[int, dict[str, Any]]]) -> list[Goal]:
    """What is wanted of the most users, compared with the fewest."""
    few, many = min(parts["store"]), max(parts["store"])
    ratio = f"{many:,} users to {few:,}"
    wanted = [
        Goal(f"{kind}: p50, {ratio}", parts[kind][many]["p50_ms"] / parts[kind][few]["p50_ms"], 2)
        for kind in ("history", "head", "retrieve, first")
    ]
    # An empty store takes room, too, so few users take more each.
    size = parts["store"]
    return [*wanted, Goal(f"store: bytes a user, {ratio}", size[many]["bytes_a_user"] / size[few]["bytes_a_user"], 1.1)]


def main() -> None:
    """Measures, prints a table and writes JSON."""
    parser = options(__doc__, "scale")
    parser.add_argument("--folder", type=Path, required=True, help="where the stores are meanwhile; nothing stays")
    parser.add_argument("--users", type=int, nargs="+", default=SIZES, help="users of each store")
    parser.add_argument("--items", type=int, default=5, help="history items of each user")
    parser.add_argument("--postgres", help="URL of a server's own database: databases are made there instead of files")
    parser.add_argument("--most-gb", type=float, default=10, help="most gigabytes on disk")
    parser.add_argument("--count", type=int, default=1_000, help="look-ups of each kind and size")
    parser.add_argument("--fitted", type=int, default=500, help="users of one fit")
    parser.add_argument("--whole", type=int, default=100_000, help="most users whose peers and cohorts are looked for")
    chosen, console = parser.parse_args(), Console()
    if chosen.small:
        chosen.users, chosen.count, chosen.fitted = (20, 60), 10, 10
    chosen.users = sorted(set(chosen.users))
    result: dict[str, Any] = {"machine": machine(CPU), "small": chosen.small, "items": chosen.items}
    result["database"] = "postgresql" if chosen.postgres else "sqlite"
    console.print(result["machine"])
    with stores(chosen.folder, chosen.postgres, chosen.users, chosen.items, chosen.most_gb) as filled:
        parts = result["parts"] = measure(filled, chosen, console)
    result["load_after"] = machine(CPU)["load_before"]
    console.print(table(parts, f"Users of {chosen.items} items, {result['database']}"))
    finish(console, chosen.json, "scale", result, goals(parts))


if __name__ == "__main__":
    main()
