"""What the benchmarks share: the machine's description, times of sides in turn, bytes read, peak memory, goals."""

from __future__ import annotations

import argparse
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Side = TypeVar("Side", bound=Hashable)

# Of these only the rows that come out are read; all other operations read their whole operands.
_GATHERS = {torch.ops.aten.index.Tensor, torch.ops.aten.index_select.default}


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of one side's repetitions, in their order."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """In seconds."""
        return median(self.seconds)

    @property
    def p95(self) -> float:
        """In seconds: 19 of 20 repetitions took no longer."""
        return sorted(self.seconds)[max(0, -(-len(self.seconds) * 19 // 20) - 1)]

    def to_json(self) -> dict[str, float]:
        """In milliseconds."""
        least = min(self.seconds)
        return {
            "median_ms": 1e3 * self.median,
            "p95_ms": 1e3 * self.p95,
            "least_ms": 1e3 * least,
            "runs": len(self.seconds),
        }


@dataclass(frozen=True, slots=True)
class Goal:
    """A number that is wanted, beside the one that was measured.

    Attributes:
        name: In words.
        measured: Here and now.
        bound: What is wanted.
        at_least: Whether more is better; otherwise less is.
    """

    name: str
    measured: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the measured number is on the right side of the bound, or at it."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


def time_of(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call; of a GPU until its work is done, as its own clock counts them."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        start.record()
        call()
        end.record()
        torch.cuda.synchronize(device)
        return start.elapsed_time(end) / 1e3
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def alternating(
    sides: Mapping[Side, Callable[[], Callable[[], object]]], rounds: int, device: torch.device, warm_up: int = 2
) -> dict[Side, Times]:
    """Times of all sides, who run in turn, so that whatever else the machine does meets them alike.

    Args:
        sides: Each prepares a repetition, with inputs of its own, and gives what is to be timed.
        rounds: Repetitions of each side.
        device: Where the work is done.
        warm_up: Rounds before those that count.
    """
    seconds: dict[Side, list[float]] = {side: [] for side in sides}
    for number in range(warm_up + rounds):
        for side, prepare in sides.items():
            spent = time_of(prepare(), device)
            if number >= warm_up:
                seconds[side].append(spent)
    return {side: Times(tuple(spent)) for side, spent in seconds.items()}


def clock_of(device: torch.device) -> Callable[[], float]:
    """A clock of work: on CPUs this process's CPU time, of all threads; of a GPU the time when its work is done.

    Where the machine is busy, a side's turn by the clock on the wall may be another process's.
    """

    def when_done() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return when_done if device.type == "cuda" else time.process_time


class BytesRead(TorchDispatchMode):
    """Counts what operations read of some tensors: rows that are gathered, and operands whole.

    Args:
        tensors: Whose memory is watched; a view of them counts as they do.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self._watched = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = {one.untyped_storage().data_ptr() for one in tree_leaves(out) if isinstance(one, Tensor)}
        for one in tree_leaves((args, kwargs)):
            # What comes out of a view lies where it lay: nothing was read.
            if isinstance(one, Tensor) and self._memory(one) not in made and self._memory(one) in self._watched:
                read = out if func in _GATHERS else one
                distinct = prod(size for size, stride in zip(read.shape, read.stride(), strict=True) if stride)
                self.count += distinct * one.itemsize
        return out

    @staticmethod
    def _memory(tensor: Tensor) -> int:
        return tensor.untyped_storage().data_ptr()


class PeakMemory:
    """How far this process's resident memory grows in a `with` block, looked at every 2 ms."""

    def __enter__(self) -> PeakMemory:
        self._start = self._most = _resident()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._watcher.join()

    @property
    def grown(self) -> int:
        """Bytes over what the process had at the start."""
        return self._most - self._start

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self._most = max(self._most, _resident())


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def copy_bandwidth(device: torch.device, bytes_copied: int = 2**29) -> float:
    """Bytes a second that a plain copy reads and writes at best, of more than most caches hold."""
    source = torch.ones(bytes_copied // 4, device=device)
    target = torch.empty_like(source)
    times = alternating({"copy": lambda: lambda: target.copy_(source)}, 5, device)["copy"]
    return 2 * source.nbytes / min(times.seconds)


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "device": device.type,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def options(doc: str | None, name: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
    parser.add_argument("--json", type=Path, default=Path(f"runs/bench/{name}.json"))
    return parser


def finish(console: Console, path: Path, name: str, result: dict[str, Any], goals: Iterable[Goal]) -> None:
    """Prints goals beside what was measured, and writes everything as JSON."""
    goals = list(goals)
    table = Table("goal", "measured", "wanted", "met", title="Goals")
    for goal in goals:
        wanted = f"{'>=' if goal.at_least else '<='} {goal.bound:g}"
        table.add_row(goal.name, f"{goal.measured:.4g}", wanted, "yes" if goal.met else "NO")
    console.print(table)
    told = [{**asdict(goal), "met": goal.met} for goal in goals]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": f"hydra-ray/benchmark/{name}/v1", **result, "goals": told}, indent=2))
    console.print(f"Written to {path}")
