"""Does a model of queues say how long requests take at other loads than the one that it was measured at?

The application as users get it answers `hydra` requests that come by chance (`open_loop.py`), first at a low load. What
each process took of a core for a request, and while nobody asked, is read from the kernel, and what a request took
beside that is the delay of the model (`queueing_model.py`, simulated with simpy). Then the model says what requests at
two higher loads take, told when each comes and nothing else of them, and both loads are measured, too. At last: which
replicas 10,000, a million and 100 million users want, and what their cores cost (`hydra_ray/k8s/sizing.py`, which
`hydra-ray k8s size` asks with the JSON that this writes).

    python benchmarks/queueing.py
    python benchmarks/queueing.py --rate 3 --predict 7 --predict 11 --seconds 40 --requests-a-day 5 --peak 3

Needs Ray and a quiet machine.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path as File
from statistics import mean
from typing import Any

import fixed_llm
import open_loop
import psutil
from measuring import Goal, finish, machine, options
from open_loop import Arrival, quantile
from queueing_model import Machine, Path, Visit, simulate, with_delay
from rich import box
from rich.console import Console
from rich.table import Table
from served_base import TAGS, film_task, make_settings, prepare
from serving import CPU, Benchmark

from hydra_ray.k8s.settings.size import SizeSettings
from hydra_ray.k8s.sizing import PROXY, Calibrated, Traffic, Wanted, size
from hydra_ray.runtime.cluster import cluster
from hydra_ray.serve.limits.fitting import ongoing_by_deployment
from hydra_ray.serve.local import serving

DEPLOYMENTS = ("Ingress", "Retriever", "Reranker", "Generator", "Adapter")
# Batches that a replica works at once, in threads that torch lets run side by side.
AT_ONCE = {"Reranker": 2, "Adapter": 2}
USERS = (10_000, 1_000_000, 100_000_000)
# What is worked while nobody asks comes by chance: the model is asked so often.
_SIMULATED = 20


def main(arguments: list[str]) -> None:
    """Serves, calibrates, predicts, measures, sizes; shows all of it and writes it down."""
    parser = options(__doc__, "queueing")
    parser.add_argument("--seconds", type=float, default=40, help="of each load")
    parser.add_argument("--rate", type=float, default=3, help="requests a second of the load that is calibrated at")
    parser.add_argument("--predict", type=float, action="append", help="requests a second of a load that is predicted")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--items", type=int, default=50, help="history items of each user")
    parser.add_argument("--llm-ms", type=float, default=120, help="what each call of the LLM takes")
    for name, field in SizeSettings.model_fields.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=field.default, help=field.description)
    chosen = parser.parse_args(arguments)
    if chosen.small:
        chosen.users, chosen.items, chosen.seconds, chosen.rate, chosen.predict = 30, 5, 4, 1, [2, 3]
    chosen.predict = chosen.predict or [7, 11]
    console = Console()
    result: dict[str, Any] = {"machine": machine(CPU), "asked": {**vars(chosen), "json": str(chosen.json)}}
    llm = fixed_llm.FixedLLM(chosen.llm_ms / 1e3, TAGS)
    with tempfile.TemporaryDirectory() as folder, fixed_llm.running(llm) as llm_url:
        settings = make_settings(File(folder), llm_url)
        prepare(settings, film_task(), chosen.users, chosen.items, big=0, heads=chosen.users)
        with cluster(settings.ray), serving(settings, "127.0.0.1", fixed_llm.free_place()) as url:
            asked = Benchmark(settings, chosen, url, llm_url, console)
            loads, idle = asyncio.run(measure(asked, chosen))
    result |= predicted(loads, idle, chosen, console)
    result["load_after"] = machine(CPU)["load_before"]
    wanted = [
        Goal(f"{one['rate']:g} requests a second: error of the predicted {name}", abs(one[f"{name}_error"]), 0.25)
        for one in result["loads"][1:]
        for name in ("mean", "p50")
    ]
    finish(console, chosen.json, "queueing", result, wanted)


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured at one load.

    Attributes:
        rate: Requests a second.
        times: When each request came, in seconds from the first moment.
        seconds: What each took.
        cpu_s: Seconds of a core that a request took of each process, by its name.
    """

    rate: float
    times: list[float]
    seconds: list[float]
    cpu_s: dict[str, float]


async def measure(asked: Benchmark, chosen: Any) -> tuple[list[Load], float]:
    """Each load, the one that is calibrated at first, and how many cores are busy while nobody asks."""
    await asyncio.gather(*(asked.hydra(asked.regular()) for _ in range(4)))
    for _ in range(30):
        await asked.hydra(asked.regular())
    idle, begin = cpu_seconds(), time.perf_counter()
    await asyncio.sleep(chosen.seconds / 4)
    # What Ray takes while nobody asks is not the requests'.
    idle_rate = {name: spent / (time.perf_counter() - begin) for name, spent in (cpu_seconds() - idle).items()}
    loads = []
    for seed, rate in enumerate([chosen.rate, *chosen.predict]):
        times = open_loop.poisson(rate, chosen.seconds, seed)
        before, begin = cpu_seconds(), time.perf_counter()
        samples = await open_loop.run([Arrival(at_s, "hydra", lambda: asked.hydra(asked.regular())) for at_s in times])
        took, spent = time.perf_counter() - begin, cpu_seconds() - before
        if errors := [one.error for one in samples if one.error]:
            raise SystemExit(f"{rate:g} requests a second: {len(errors)} of {len(samples)} failed: {errors[0]}")
        cpu_s = {name: max(0.0, spent[name] - idle_rate.get(name, 0.0) * took) / len(samples) for name in sorted(spent)}
        loads.append(Load(rate, times, [one.seconds for one in samples], cpu_s))
    return loads, sum(idle_rate.values())


def cpu_seconds() -> Counter[str]:
    """Seconds of a core that this process and all that it started have taken, by what they are."""
    found: Counter[str] = Counter()
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            times, line = process.cpu_times(), " ".join(process.cmdline())
        except psutil.Error:
            # It has just ended.
            continue
        found[_name(line, process.pid == me.pid)] += times.user + times.system
    return found


def _name(line: str, is_me: bool) -> str:
    if is_me:
        return "client"
    if replica := re.search(r"ServeReplica:hydra:(\w+)", line):
        return replica.group(1)
    if "ProxyActor" in line:
        return PROXY
    return "llm" if "spawn_main" in line else "ray"


def path_of(cpu_s: dict[str, float]) -> Path:
    """The way of a request through the processes; work of what is visited twice is halved."""

    def half(name: str) -> Visit:
        return Visit(name, cpu_s.get(name, 0.0) / 2)

    def whole(name: str) -> Visit:
        return Visit(name, cpu_s.get(name, 0.0))

    before = (*map(half, ("client", PROXY, "Ingress")), whole("Retriever"), whole("Reranker"), half("Generator"))
    after = (whole("llm"), half("Generator"), whole("Adapter"), *map(half, ("Ingress", PROXY, "client")))
    on_path = {one.process for one in (*before, *after)}
    beside = sum(spent for name, spent in cpu_s.items() if name not in on_path)
    return Path(before, after, 0.0, beside)


def predicted(loads: list[Load], idle: float, chosen: Any, console: Console) -> dict[str, Any]:
    """What the model says of all loads beside what was measured, and what users want."""
    here = Machine(machine(CPU)["cores"], AT_ONCE, idle)
    first, cpu_s = loads[0], loads[0].cpu_s
    path = with_delay(path_of(cpu_s), here, first.times, mean(first.seconds))
    told = []
    for load in loads:
        simulated = [s for seed in range(_SIMULATED) for s in simulate(path, here, load.times, seed)]
        row: dict[str, Any] = {
            "rate": load.rate,
            "requests": len(load.seconds),
            "cpu_ms": 1e3 * sum(load.cpu_s.values()),
        }
        for name, number in (("mean", mean), ("p50", lambda s: quantile(s, 0.5)), ("p95", lambda s: quantile(s, 0.95))):
            row |= {f"{name}_ms": 1e3 * number(load.seconds), f"{name}_predicted_ms": 1e3 * number(simulated)}
            row[f"{name}_error"] = number(simulated) / number(load.seconds) - 1
        told.append(row)
    shown = ", ".join(f"{name} {1e3 * spent:.1f}" for name, spent in cpu_s.items())
    console.print(f"A request takes, ms of a core: {shown}; nobody works for {1e3 * path.delay_s:.0f} ms")
    console.print(f"While nobody asks {idle:.2f} cores are busy")
    table = Table(
        "requests/s", "ms of a core", "mean, predicted, ms", "p50, predicted", "p95, predicted", box=box.SIMPLE
    )
    for row in told:
        cells = (f"{row[f'{name}_ms']:.0f}, {row[f'{name}_predicted_ms']:.0f}" for name in ("mean", "p50", "p95"))
        calibrated_at = " (calibrated)" if row["rate"] == first.rate else ""
        table.add_row(f"{row['rate']:g}{calibrated_at}", f"{row['cpu_ms']:.0f}", *cells)
    console.print(table)
    # Who asks, and the LLM, are no part of what is served.
    ours = {name: spent for name, spent in cpu_s.items() if name not in ("client", "llm")}
    calibrated = Calibrated(
        cpu_s=ours, deployments=tuple(name for name in DEPLOYMENTS if ours.get(name)), delay_s=path.delay_s
    )
    return {
        "cpu_s": cpu_s,
        "idle_cores": idle,
        "calibrated": calibrated.model_dump(),
        "loads": told,
        "sizes": sizes(calibrated, chosen),
    }


def sizes(calibrated: Calibrated, chosen: Any) -> list[dict[str, Any]]:
    """Replicas and cost by number of users."""
    settings = SizeSettings(**{name: getattr(chosen, name) for name in SizeSettings.model_fields})
    found, ongoing = [], ongoing_by_deployment()
    for users in USERS:
        traffic = Traffic.of(users, settings)
        wanted = size(calibrated, traffic, Wanted.of(settings), ongoing)
        found.append(
            {
                "users": users,
                "peak_per_s": traffic.peak_per_s,
                "replicas": {name: one.replicas for name, one in wanted.steps.items()},
                "target_ongoing": {name: one.target_ongoing for name, one in wanted.steps.items()},
                "under_way": wanted.under_way,
                "cost_a_month": wanted.cost_a_month,
                "cost_at_peak": wanted.cost_at_peak,
            }
        )
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
