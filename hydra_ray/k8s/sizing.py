"""How many replicas a number of users wants, from what a request was measured to take of each step."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from hydra_ray.k8s.settings.size import SizeSettings
from hydra_ray.records import HydraError
from hydra_ray.settings.section import Section

_DAY_S, _MONTH_H = 86_400, 730
# So much of what a replica may have in hand is used: what comes in bursts has room.
_FILLED = 0.7
# Deployments that have a request in hand while others work: to its end; while the LLM works.
HOLDS_ALL, HOLDS_THE_LLM = "Ingress", "Generator"
# What is no deployment, and still on the way of a request. Others' work is beside it, and nobody waits for that.
PROXY = "proxy"
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class Calibrated(Section):
    """What one request took, as `benchmarks/queueing.py` measures it under a low load.

    Attributes:
        cpu_s: Seconds of a core, by deployment and by what is beside them.
        deployments: Which of these are replicas that can be scaled; the rest is asking and answering around them.
        delay_s: Seconds in which nothing of ours works: the LLM, and waiting for each other.
    """

    cpu_s: dict[str, Seconds]
    deployments: tuple[str, ...] = Field(min_length=1)
    delay_s: Seconds

    @model_validator(mode="after")
    def _measure_deployments(self) -> Calibrated:
        if unmeasured := [name for name in self.deployments if not self.cpu_s.get(name)]:
            raise ValueError(f"cpu_s has nothing above 0 for {', '.join(unmeasured)} of deployments")
        if len(set(self.deployments)) < len(self.deployments):
            raise ValueError("deployments names one twice")
        return self

    @property
    def on_the_way_s(self) -> float:
        """Seconds of a core that a request waits for."""
        return sum(self.cpu_s[name] for name in self.deployments) + self.cpu_s.get(PROXY, 0.0)


@dataclass(frozen=True, slots=True)
class Traffic:
    """How much users ask.

    Attributes:
        users: How many there are.
        requests_a_day: Requests of a user a day.
        peak: How many times the mean rate the busiest hour has.
    """

    users: int
    requests_a_day: float
    peak: float

    @classmethod
    def of(cls, users: int, settings: SizeSettings) -> Traffic:
        """Return what so many users ask."""
        return cls(users, settings.requests_a_day, settings.peak)

    @property
    def mean_per_s(self) -> float:
        """Requests a second over the day."""
        return self.users * self.requests_a_day / _DAY_S

    @property
    def peak_per_s(self) -> float:
        """Requests a second in the busiest hour."""
        return self.mean_per_s * self.peak


@dataclass(frozen=True, slots=True)
class Wanted:
    """How well it is to be served, and what that costs.

    Attributes:
        busy: Most share of its time that a replica works.
        waiting: Longest mean wait for a replica, in units of what it works for one request.
        core_price: Price of a core for an hour.
    """

    busy: float
    waiting: float
    core_price: float

    @classmethod
    def of(cls, settings: SizeSettings) -> Wanted:
        """Return what settings want."""
        return cls(settings.busy, settings.waiting, settings.core_price)


@dataclass(frozen=True, slots=True)
class StepSize:
    """What one deployment wants.

    Attributes:
        replicas: Replicas at the peak, each of one core.
        mean_replicas: Replicas at the mean rate, for which autoscaling pays.
        target_ongoing: Requests in hand of a replica that is as busy as is wanted: `target_ongoing_requests`.
    """

    replicas: int
    mean_replicas: int
    target_ongoing: int


@dataclass(frozen=True, slots=True)
class Size:
    """What some traffic wants.

    Attributes:
        steps: By deployment.
        under_way: Requests that are under way at the peak, from the door to the answer.
        cost_a_month: Price of the replicas' cores, autoscaled: mean replicas all day; without the LLM.
        cost_at_peak: The same where the peak's replicas are there all day.
    """

    steps: Mapping[str, StepSize]
    under_way: float
    cost_a_month: float
    cost_at_peak: float


def waiting(servers: int, load: float) -> float:
    """Mean time that a job waits, in units of what it takes: M/M/c, exact for any distribution where cores are shared.

    Erlang C(c, a) / (c - a), with c servers and a load of a (Erlang, 1917); infinite where the load is too high.

    Args:
        servers: How many work at once.
        load: Rate of jobs times what one takes.
    """
    if load >= servers:
        return math.inf
    if load == 0:
        return 0.0
    # 1 / Erlang B is a sum whose terms grow down to the load, then shrink; only those that change it are added.
    inverse, term = 0.0, 1.0
    for left in range(servers, -1, -1):
        inverse += term
        term *= left / load
        if math.isinf(inverse) or (left < load and term < inverse * 1e-17):
            break
    blocked = 1 / inverse
    waits = blocked / (1 - load / servers * (1 - blocked))
    return waits / (servers - load)


def least_servers(load: float, most_waiting: float, at_least: int) -> int:
    """Least number of servers, of some at least, with which a job waits no longer, in units of what it takes."""
    # A job waits no longer than 1 / (c - a), since not all of them wait: with so many no formula is needed.
    few, enough = max(1, at_least, math.ceil(load)), max(at_least, math.ceil(load + 1 / most_waiting) + 1)
    while few < enough:
        count = (few + enough) // 2
        if waiting(count, load) > most_waiting:
            few = count + 1
        else:
            enough = count
    return enough


def size(measured: Calibrated, traffic: Traffic, wanted: Wanted, ongoing: Mapping[str, int]) -> Size:
    """Say what some traffic wants.

    Each replica has a core, and requests are spread over replicas as if there were one queue. What stands around the
    deployments (proxies, Ray itself) takes cores in proportion.

    Args:
        measured: What one request takes.
        traffic: How much is asked.
        wanted: How well it is to be served.
        ongoing: Most requests that a replica has in hand, by deployment.

    Raises:
        HydraError: A deployment was measured that is none.
    """
    if strange := sorted(set(measured.deployments) - set(ongoing)):
        raise HydraError(f"calibrated.deployments: there is no {', '.join(strange)}; there are {', '.join(ongoing)}")
    steps, waited = dict[str, StepSize](), 0.0
    for name in measured.deployments:
        cpu_s = measured.cpu_s[name]
        stay_s = _stay_s(measured, name, wanted.waiting)
        hands = ongoing[name] * _FILLED
        replicas, mean = (
            _replicas(rate, cpu_s, stay_s, wanted, hands) for rate in (traffic.peak_per_s, traffic.mean_per_s)
        )
        target = min(int(hands), wanted.busy / cpu_s * stay_s)
        steps[name] = StepSize(replicas, mean, max(1, round(target)))
        waited += cpu_s * waiting(replicas, traffic.peak_per_s * cpu_s)
    beside = sum(cpu_s for name, cpu_s in measured.cpu_s.items() if name not in measured.deployments)
    under_way = traffic.peak_per_s * (measured.delay_s + measured.on_the_way_s + waited)
    at_peak = sum(one.replicas for one in steps.values()) + traffic.peak_per_s * beside
    all_day = sum(one.mean_replicas for one in steps.values()) + traffic.mean_per_s * beside
    month = wanted.core_price * _MONTH_H
    return Size(steps, under_way, all_day * month, at_peak * month)


def _replicas(rate: float, cpu_s: float, stay_s: float, wanted: Wanted, hands: float) -> int:
    load = rate * cpu_s
    # What waits for others fills a replica's hands, not its core.
    held = math.ceil(rate * stay_s / hands)
    return least_servers(load, wanted.waiting, max(1, held, math.ceil(load / wanted.busy)))


def load_calibrated(path: Path) -> Calibrated:
    """Read what `benchmarks/queueing.py` wrote.

    Raises:
        HydraError: There is no such file, or it holds no measured figures.
    """
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        return Calibrated.model_validate(found["calibrated"])
    except OSError as error:
        raise HydraError(f"{path}: {error.strerror}; benchmarks/queueing.py writes it") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("calibrated", *map(str, first["loc"])))
        raise HydraError(f"{path}: holds no figures of benchmarks/queueing.py: {where}: {first['msg']}") from None
    except (ValueError, KeyError, TypeError):
        raise HydraError(f"{path}: holds no figures of benchmarks/queueing.py under `calibrated`") from None


def _stay_s(measured: Calibrated, name: str, waits: float) -> float:
    """How long a request is in hand of a replica: the ingress has it to its end, the generator while the LLM works."""
    if name == HOLDS_ALL:
        return measured.delay_s + measured.on_the_way_s * (1 + waits)
    return measured.cpu_s[name] * (1 + waits) + (measured.delay_s if name == HOLDS_THE_LLM else 0.0)
