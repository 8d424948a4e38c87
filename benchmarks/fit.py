"""How much sooner are heads fitted when every text is encoded once, and does memory stay bounded?

1. End to end: 1,000 users with 50 pairs each (10 groups of 5), from texts to heads, against a peer that runs the same
   frozen encoder over all pairs in every epoch and trains one table of all users' heads with AdamW. One epoch of the
   peer is measured; more are extrapolated. With answers from 15 labels, and with all texts distinct (fewer users).
2. Users a second once features exist, by kind.
3. Peak memory over the start, of a process that streams 10,000 and 100,000 users through the fit into a store.

    python benchmarks/fit.py [--device cpu|cuda] [--only texts features memory]

Nothing needs Ray.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from end_to_end import RANK, EndToEnd, default_scorer, measure
from measuring import Goal, PeakMemory, Times, alternating, finish, machine, options
from rich import box
from rich.console import Console
from rich.table import Table
from scoring import generated_user

from hydra_ray.learn.examples.features import read_features, write_features
from hydra_ray.learn.heads.fitter import FitChoice, HeadFitter, User
from hydra_ray.models.heads import HeadModel
from hydra_ray.records import UserKey
from hydra_ray.settings import FitSettings, HeadSettings
from hydra_ray.store.backends import open_store

_GROUPS, _CANDIDATES, _WIDTH, _SHARD = 10, 5, 384, 256
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        users: End to end, answers being labels.
        distinct_users: End to end, all texts being distinct.
        fitted: From features, of each kind but `dense`.
        dense_fitted: From features, of kind `dense`.
        dense_width: Of z for `dense`.
        streamed: Fewer and more.
    """

    users: int = 1000
    distinct_users: int = 100
    fitted: int = 512
    dense_fitted: int = 8
    dense_width: int = 768
    streamed: tuple[int, int] = (10_000, 100_000)


_SMALL = Sizes(2, 1, 8, 2, 48, (300, 600))


def fitter(kind: str, width: int, device: torch.device) -> HeadFitter:
    """Fits heads of a kind in 60 steps, at rank 8."""
    choice = FitChoice(FitSettings(head=HeadSettings(kind=kind, rank=RANK), steps=60))
    return HeadFitter(HeadModel(width).to(device).eval(), lambda features: choice, "listwise")


def measure_kinds(sizes: Sizes, device: torch.device) -> dict[str, tuple[int, Times]]:
    """Fits from features that exist: users, and times, by kind and width of z."""
    # 1152 are the three encodings of the default encoder.
    cases = [(kind, width, sizes.fitted) for kind in ("lowrank", "bases", "facets") for width in (_WIDTH, 3 * _WIDTH)]
    cases.append(("dense", sizes.dense_width, sizes.dense_fitted))
    sides: dict[str, Callable[[], Callable[[], object]]] = {}
    for kind, width, count in cases:
        users = list(made_up(count, width))
        sides[f"{kind}, width {width}"] = partial(_fitting, fitter(kind, width, device), users)
    times = alternating(sides, 3, device, warm_up=1)
    return {name: (count, times[name]) for name, (_, _, count) in zip(sides, cases, strict=True)}


def _fitting(fit: HeadFitter, users: list[User]) -> Callable[[], object]:
    return lambda: list(fit(users))


def made_up(count: int, width: int) -> Iterator[User]:
    """Generated features of users."""
    for number in range(count):
        user = generated_user(width, _GROUPS, _CANDIDATES)
        yield UserKey("bench", f"u{number:07d}"), replace(user, z=user.z.half())


def stream(count: int, through_file: bool, device: torch.device) -> dict[str, float]:
    """Streams generated users through a fit of kind `bases` into a store, and watches this process's memory."""
    fit = fitter("bases", _WIDTH, device)
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as peak:
        start = time.perf_counter()
        source = _cut(count)
        if through_file:
            source = _by_file(source, Path(folder))
        store = open_store(f"sqlite:///{folder}/users.db")
        fitted = fit(source)
        stored = 0
        while heads := {one.user: one.head for one in islice(fitted, _SHARD)}:
            store.put_heads("v", "adapter", heads)
            stored += len(heads)
        store.close()
        assert stored == count
        return {"users": count, "seconds": time.perf_counter() - start, "peak_bytes": peak.grown}


def _cut(count: int) -> Iterator[User]:
    """Generated features that cost little time to make: pieces, copied, of a few random numbers."""
    like = generated_user(_WIDTH, _GROUPS, _CANDIDATES)
    pool = torch.randn(4 * len(like.scores) * _WIDTH).half()
    for number in range(count):
        at = number % (len(pool) - like.z.numel())
        z = pool[at : at + like.z.numel()].view(like.z.shape).clone()
        yield UserKey("bench", f"u{number:07d}"), replace(like, z=z)


def _by_file(users: Iterator[User], folder: Path) -> Iterator[User]:
    """The users out of Parquet files, a shard each, that are written first."""
    paths = []
    while shard := list(islice(users, _SHARD)):
        paths.append(folder / f"{len(paths)}.parquet")
        write_features(paths[-1], shard)
    return (user for path in paths for user in read_features(path))


def measure_memory(streamed: tuple[int, int], device: torch.device) -> dict[str, dict[str, float]]:
    """Each stream in a process of its own, which has nothing left from the one before."""
    fewer, more = streamed
    found = {}
    for count, through_file in ((fewer, False), (more, False), (fewer, True)):
        command = [sys.executable, __file__, "--stream", str(count), "--device", str(device)]
        done = subprocess.run([*command, *["--through-file"] * through_file], check=True, stdout=subprocess.PIPE)
        found[f"{count:,} users, {'Parquet' if through_file else 'generator'}"] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measures, prints tables and writes JSON."""
    parser = options(__doc__, "fit")
    parts = ("texts", "features", "memory")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    # One stream of `memory`, whose result goes to the standard output.
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--through-file", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes, device, console = _SMALL if arguments.small else Sizes(), torch.device(arguments.device), Console()
    torch.manual_seed(0)
    if arguments.stream:
        print(json.dumps(stream(arguments.stream, arguments.through_file, device)))
        return
    result: dict[str, Any] = {"machine": machine(device), "small": arguments.small}
    console.print(result["machine"])
    goals: list[Goal] = []
    if "texts" in arguments.only:
        scorer = default_scorer(device)
        both = {
            "answers of 15 labels": measure(scorer, sizes.users, distinct=False),
            "all texts distinct": measure(scorer, sizes.distinct_users, distinct=True),
        }
        del scorer
        result["texts"] = {name: one.to_json() for name, one in both.items()}
        console.print(_texts_table(both))
        goals += [
            Goal(f"{name}, {epochs} epochs: speed-up", one.speed_up(epochs), 0.9 * epochs, at_least=True)
            for name, one in both.items()
            for epochs in (2, 10)
        ]
    if "features" in arguments.only:
        kinds = measure_kinds(sizes, device)
        rates = {name: count / times.median for name, (count, times) in kinds.items()}
        result["features"] = {
            name: {"users": count, "users_per_s": rates[name], **times.to_json()}
            for name, (count, times) in kinds.items()
        }
        console.print(_kinds_table(kinds))
        goals.append(Goal("lowrank, width 384: users a second", rates[f"lowrank, width {_WIDTH}"], 300, at_least=True))
    if "memory" in arguments.only:
        streams = result["memory"] = measure_memory(sizes.streamed, device)
        console.print(_memory_table(streams))
        fewer, more = (streams[f"{count:,} users, generator"]["peak_bytes"] for count in sizes.streamed)
        goals.append(Goal("peak memory, 10 times the users", more / max(1, fewer), 1.2))
    finish(console, arguments.json, "fit", result, goals)


def _texts_table(both: dict[str, EndToEnd]) -> Table:
    title = "From texts to lowrank heads, 50 pairs a user; epochs after the first are extrapolated"
    table = Table("", *both, title=title, box=box.SIMPLE)
    told = [one.to_json() for one in both.values()]
    rows = {
        "users": "users",
        "pairs": "pairs",
        "distinct texts": "texts",
        "ours, encoding, s": "encode_s",
        "ours, fitting, s": "fit_s",
        "peer, one epoch, s": "peer_epoch_s",
        "speed-up, 2 epochs": "speed_up_2_epochs_extrapolated",
        "speed-up, 10 epochs": "speed_up_10_epochs_extrapolated",
    }
    for shown, name in rows.items():
        table.add_row(shown, *(f"{one[name]:,}" if isinstance(one[name], int) else f"{one[name]:.2f}" for one in told))
    return table


def _kinds_table(kinds: dict[str, tuple[int, Times]]) -> Table:
    table = Table("kind", "users", "seconds", "users/s", title="From features to heads", box=box.SIMPLE)
    for name, (count, times) in kinds.items():
        table.add_row(name, str(count), f"{times.median:.2f}", f"{count / times.median:,.0f}")
    return table


def _memory_table(streams: dict[str, dict[str, float]]) -> Table:
    table = Table(
        "", "seconds", "peak over start, MiB", title="From features to a store of bases heads", box=box.SIMPLE
    )
    for name, one in streams.items():
        table.add_row(name, f"{one['seconds']:.1f}", f"{one['peak_bytes'] / _MIB:.0f}")
    return table


if __name__ == "__main__":
    main()
