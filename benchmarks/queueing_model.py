"""The serving path as queues: cores that all share, replicas of one interpreter each, and an LLM that takes time."""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

import simpy

# For so long a process has a core before it is another one's turn, as the kernel does it.
_SLICE_S = 0.004


@dataclass(frozen=True, slots=True)
class Visit:
    """Work of one request at one process.

    Attributes:
        process: Name of the process that does the work: a deployment, the proxy, or Ray itself.
        cpu_s: Seconds of a core.
    """

    process: str
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Path:
    """What a request goes through.

    Attributes:
        before: Visits before the LLM is asked, in order.
        after: Visits after it has answered.
        delay_s: Time in which nobody works: the LLM.
        beside_s: Seconds of a core that are worked beside the path, and nobody waits for.
    """

    before: tuple[Visit, ...]
    after: tuple[Visit, ...]
    delay_s: float
    beside_s: float


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it runs.

    Attributes:
        cores: How many there are.
        at_once: How many requests each process works at once; others one.
        idle: Cores that are busy, in the mean, while nobody asks.
    """

    cores: int
    at_once: Mapping[str, int]
    idle: float = 0.0


def simulate(path: Path, machine: Machine, times: Sequence[float], seed: int = 0) -> list[float]:
    """Seconds that requests take, in the order of their ends.

    Args:
        path: What each goes through.
        machine: Where.
        times: When each comes, in seconds, growing.
        seed: Seed of what is worked while nobody asks.
    """
    env, draw = simpy.Environment(), random.Random(seed)
    cores = simpy.Resource(env, machine.cores)
    names = {visit.process for visit in (*path.before, *path.after)}
    processes = {name: simpy.Resource(env, machine.at_once.get(name, 1)) for name in names}
    taken: list[float] = []

    def work(cpu_s: float) -> Generator[Any, Any, None]:
        while cpu_s > 0:
            share = min(cpu_s, _SLICE_S)
            with cores.request() as core:
                yield core
                yield env.timeout(share)
            cpu_s -= share

    def visit(visits: Sequence[Visit]) -> Generator[Any, Any, None]:
        for one in visits:
            with processes[one.process].request() as turn:
                yield turn
                yield from work(one.cpu_s)

    def request() -> Generator[Any, Any, None]:
        begin = env.now
        env.process(work(path.beside_s))
        yield from visit(path.before)
        yield env.timeout(path.delay_s)
        yield from visit(path.after)
        taken.append(env.now - begin)

    def idle() -> Generator[Any, Any, None]:
        while machine.idle and len(taken) < len(times):
            yield env.timeout(draw.expovariate(machine.idle / _SLICE_S))
            env.process(work(_SLICE_S))

    def arrivals() -> Generator[Any, Any, None]:
        for at_s in times:
            yield env.timeout(at_s - env.now)
            env.process(request())

    env.process(idle())
    env.process(arrivals())
    env.run()
    return taken


def with_delay(path: Path, machine: Machine, times: Sequence[float], measured_mean_s: float) -> Path:
    """The path with a delay with which requests of these times take as long as was measured; no less than nothing."""
    without = mean(simulate(replace(path, delay_s=0.0), machine, times))
    return replace(path, delay_s=max(0.0, measured_mean_s - without))
