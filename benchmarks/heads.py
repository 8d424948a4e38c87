"""Does scoring cost the same however many users there are, and how small and how fast is one user's head?

Scoring: a batch of 64 decisions under their own users' heads, out of tables of 100 to 1,000,000 users, against the
one-hot form of HYDRA (arXiv 2406.02888): a float mask of users times all users' weights. Bytes are counted, not
computed: every operation that reads the tables is seen. Each repetition draws other users, and all sides take turns.

Then: bytes of a head on disk and in memory; one online update of a `bases` head; one head read from the embedded store
and from the cache; all heads exported to safetensors and imported.

    python benchmarks/heads.py [--device cpu|cuda] [--only scoring sizes online store]

`scoring`, `sizes` and `online` need torch, safetensors and rich, `store` SQLAlchemy too. None needs Ray.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import scoring
import torch
from measuring import Goal, PeakMemory, Times, alternating, copy_bandwidth, finish, machine, options
from rich import box
from rich.console import Console
from rich.table import Table
from scoring import ABOUT, WIDTH, ScoringSizes, fitted_head, generated_user
from torch import Tensor

from hydra_ray.models.features import UserFeatures
from hydra_ray.models.heads import HEAD_KINDS, Head, HeadModel
from hydra_ray.models.heads.bases import BasisHeads, observations
from hydra_ray.models.heads.online import head_of, pack

ITEMS, PER_ITEM = 64, 8
# Of one head's bytes on disk.
_BOUNDS = {"lowrank": 32 * 1024, "bases": 1024}
_CPU, _MIB = torch.device("cpu"), 2**20


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        scoring: Of scoring.
        updates: Online updates.
        stored: Heads in the store that single ones are read from.
        reads: Of single heads.
        moved: Heads exported and imported.
    """

    scoring: ScoringSizes = field(default_factory=ScoringSizes)
    updates: int = 200
    stored: int = 100_000
    reads: int = 1000
    moved: int = 10_000


_SMALL = Sizes(ScoringSizes((100, 200, 400, 800), (70, 100), 96, 2, 2, 128), 3, 500, 20, 100)


def measure_sizes(width: int = 768) -> dict[str, dict[str, int]]:
    """Bytes of one head of each kind, and of the evidence that `bases` keeps to learn online."""
    heads = {kind: fitted_head(kind, width) for kind in HEAD_KINDS}
    sizes = {kind: {"disk": len(head.to_bytes()), "memory": head.nbytes} for kind, head in heads.items()}
    kept = data_of(HeadModel(width), generated_user(width, ITEMS, PER_ITEM)).nbytes
    return {**sizes, f"evidence of bases, {ITEMS} items of {PER_ITEM}": {"disk": kept, "memory": kept}}


@torch.no_grad()
def data_of(model: HeadModel, features: UserFeatures) -> Tensor:
    """What a `bases` head's posterior depends on."""
    common = model.common("bases")
    assert isinstance(common, BasisHeads)
    return observations(common, features.z, model.shared(features.z), features.scores)


def measure_update(rounds: int) -> Times:
    """One more item, whose features are there: its evidence, then the head that the 64 old items and it give."""
    model, threads = HeadModel(WIDTH), torch.get_num_threads()
    bases = len(fitted_head("bases", WIDTH).tensors["mean"])

    def prepare() -> Callable[[], object]:
        # Another user each time.
        new = generated_user(WIDTH, 1, PER_ITEM)
        old = [pack(one) for one in data_of(model, generated_user(WIDTH, ITEMS, PER_ITEM)).split(PER_ITEM)]
        return lambda: head_of([*old, pack(data_of(model, new))], bases, "listwise", ABOUT)

    # As a replica that serves has: Ray gives it one.
    torch.set_num_threads(1)
    times = alternating({"update": prepare}, rounds, _CPU)["update"]
    torch.set_num_threads(threads)
    return times


def measure_reads(folder: Path, users: int, rounds: int) -> dict[str, Times]:
    """Single heads of kind `bases`: out of the embedded store, and out of the cache before it."""
    from hydra_ray.records import UserKey
    from hydra_ray.store.cache import HeadCache

    store = _filled_store(folder / "many.db", "bases", users)
    cache = HeadCache(store, "v", "adapter", 256 * _MIB)

    def anyone() -> UserKey:
        return UserKey("bench", f"u{int(torch.randint(users, ())):07d}")

    def read() -> Callable[[], object]:
        return partial(store.head, anyone(), "v", "adapter")

    def hit(users: int) -> Callable[[], object]:
        keys = [anyone() for _ in range(users)]
        cache(keys)
        return partial(cache, keys)

    times = alternating({"store, one head": read, "cache, one user": partial(hit, 1)}, rounds, _CPU)
    times |= alternating({"cache, 64 users": partial(hit, 64)}, rounds // 10, _CPU)
    store.close()
    return times


def measure_moves(folder: Path, users: int) -> dict[str, float]:
    """All heads, of kind `lowrank`, to sharded safetensors and into another store."""
    from hydra_ray.store.backends import open_store
    from hydra_ray.store.shards import export_heads, import_heads

    source, target = _filled_store(folder / "source.db", "lowrank", users), open_store(f"sqlite:///{folder}/target.db")
    found: dict[str, float] = {"users": users}
    for name, move, store in (("export", export_heads, source), ("import", import_heads, target)):
        with PeakMemory() as peak:
            start = time.perf_counter()
            moved = move(store, "v", "adapter", folder / "shards")
            found[f"{name}_s"] = time.perf_counter() - start
        assert moved == users
        found[f"{name}_peak_bytes"] = peak.grown
        store.close()
    found["shard_bytes"] = sum(path.stat().st_size for path in (folder / "shards").iterdir())
    return found


def _filled_store(path: Path, kind: str, users: int) -> Any:
    from hydra_ray.records import UserKey
    from hydra_ray.store.backends import open_store

    store, like = open_store(f"sqlite:///{path}"), fitted_head(kind, WIDTH).tensors
    for start in range(0, users, 10_000):
        numbers = range(start, min(start + 10_000, users))
        stacked = {name: torch.randn(len(numbers), *one.shape).to(one.dtype) for name, one in like.items()}
        heads = HEAD_KINDS[kind].apart(stacked, ABOUT)
        by_user: dict[UserKey, Head] = {
            UserKey("bench", f"u{n:07d}"): head for n, head in zip(numbers, heads, strict=True)
        }
        store.put_heads("v", "adapter", by_user)
    return store


def main() -> None:
    """Measures, prints tables and writes JSON."""
    parser = options(__doc__, "heads")
    parts = ("scoring", "sizes", "online", "store")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    arguments = parser.parse_args()
    sizes, device, console = _SMALL if arguments.small else Sizes(), torch.device(arguments.device), Console()
    torch.manual_seed(0)
    result: dict[str, Any] = {"machine": machine(device), "small": arguments.small}
    console.print(result["machine"])
    goals: list[Goal] = []
    times: dict[str, Times] = {}
    if "scoring" in arguments.only:
        bandwidth = copy_bandwidth(device, 2**24 if arguments.small else 2**29)
        found = scoring.score_all(sizes.scoring, device)
        result["copy_bytes_per_s"] = bandwidth
        result["scoring"] = [scoring.to_json(case, one, bandwidth) for case, one in found.items()]
        result["ratios"] = scoring.ratios(found, sizes.scoring)
        console.print(scoring.table(found, bandwidth))
        console.print(_listed("Ratios of medians", {name: f"{ratio:.3g}" for name, ratio in result["ratios"].items()}))
        goals += scoring.goals(result["ratios"], sizes.scoring, device)
    if "sizes" in arguments.only:
        bytes_of = result["sizes"] = measure_sizes()
        shown = {kind: f"{one['disk']:,} on disk, {one['memory']:,} in memory" for kind, one in bytes_of.items()}
        console.print(_listed("Bytes of one user at width 768, rank 8", shown))
        goals += [Goal(f"{kind}: bytes on disk", bytes_of[kind]["disk"], bound) for kind, bound in _BOUNDS.items()]
    if "online" in arguments.only:
        times["bases, one update, one thread"] = measure_update(sizes.updates)
        goals.append(Goal("bases, one update: median ms", 1e3 * times["bases, one update, one thread"].median, 5))
    if "store" in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            times |= measure_reads(Path(folder), sizes.stored, sizes.reads)
            moves = result["moves"] = measure_moves(Path(folder), sizes.moved)
        shown = {
            way: f"{moves[f'{way}_s']:.2f} s, memory grows by {moves[f'{way}_peak_bytes'] / _MIB:.0f} MiB"
            for way in ("export", "import")
        }
        shown["size"] = f"{moves['shard_bytes'] / _MIB:.1f} MiB"
        console.print(_listed(f"{sizes.moved:,} lowrank heads as safetensors", shown))
        goals.append(Goal("store, one head: median ms", 1e3 * times["store, one head"].median, 1))
    if times:
        result["times"] = {name: one.to_json() for name, one in times.items()}
        shown = {name: f"{1e3 * one.median:.3f} ms, p95 {1e3 * one.p95:.3f} ms" for name, one in times.items()}
        console.print(_listed(f"One user at a time; {sizes.stored:,} heads in the store", shown))
    finish(console, arguments.json, "heads", result, goals)


def _listed(title: str, rows: dict[str, str]) -> Table:
    table = Table(title=title, box=box.SIMPLE, show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    return table


if __name__ == "__main__":
    main()
