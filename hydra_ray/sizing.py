"""How many replicas a number of users wants, from what a request was measured to take of each step."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hydra_ray.records import HydraError

_DAY_S, _MONTH_H = 86_400, 730
# The deployments' own bound, of which so much is used: what comes in bursts has room.
_ONGOING, _FILLED = 32, 0.7


class Calibrated(BaseModel):
    """What one request took, as `benchmarks/queueing.py` measures it under a low load.

    Attributes:
        cpu_s: Seconds of a core, by deployment and by what is beside them.
        deployments: Which of these are replicas that can be scaled; the rest is asking and answering around them.
        delay_s: Seconds in which nothing of ours works: the LLM, and waiting for each other.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu_s: dict[str, float] = Field(min_length=1)
    deployments: tuple[str, ...]
    delay_s: float = Field(ge=0)


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
        in_flight: Requests that are under way at the peak, which is how many the LLM answers at once.
        cost_a_month: Price of the replicas' cores, autoscaled: mean replicas all day; without the LLM.
        cost_at_peak: The same where the peak's replicas are there all day.
    """

    steps: Mapping[str, StepSize]
    in_flight: float
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
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    waits = blocked / (1 - load / servers * (1 - blocked))
    return waits / (servers - load)


def least_servers(load: float, most_waiting: float) -> int:
    """Least number of servers with which a job waits no longer than this, in units of what it takes."""
    count = max(1, math.ceil(load))
    while waiting(count, load) > most_waiting:
        count += 1
    return count


def size(measured: Calibrated, traffic: Traffic, wanted: Wanted) -> Size:
    """Say what some traffic wants.

    Each replica has a core, and requests are spread over replicas as if there were one queue. What stands around the
    deployments (proxies, Ray itself) takes cores in proportion.
    """
    steps, waited = dict[str, StepSize](), 0.0
    for name in measured.deployments:
        cpu_s = measured.cpu_s[name]
        stay_s = _stay_s(measured, name, wanted.waiting)
        replicas, mean = (_replicas(rate, cpu_s, stay_s, wanted) for rate in (traffic.peak_per_s, traffic.mean_per_s))
        target = round(wanted.busy / cpu_s * stay_s)
        steps[name] = StepSize(replicas, mean, max(1, min(int(_ONGOING * _FILLED), target)))
        waited += cpu_s * waiting(replicas, traffic.peak_per_s * cpu_s)
    beside = sum(cpu_s for name, cpu_s in measured.cpu_s.items() if name not in measured.deployments)
    in_flight = traffic.peak_per_s * (measured.delay_s + sum(measured.cpu_s.values()) + waited)
    at_peak = sum(one.replicas for one in steps.values()) + traffic.peak_per_s * beside
    all_day = sum(one.mean_replicas for one in steps.values()) + traffic.mean_per_s * beside
    month = wanted.core_price * _MONTH_H
    return Size(steps, in_flight, all_day * month, at_peak * month)


def _replicas(rate: float, cpu_s: float, stay_s: float, wanted: Wanted) -> int:
    load = rate * cpu_s
    # What waits for others fills a replica's hands, not its core.
    held = math.ceil(rate * stay_s / (_ONGOING * _FILLED))
    return max(1, held, math.ceil(load / wanted.busy), least_servers(load, wanted.waiting))


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
    except (ValueError, KeyError, TypeError) as error:
        where = f" ({error.errors()[0]['loc']})" if isinstance(error, ValidationError) else ""
        raise HydraError(f"{path}: holds no figures of benchmarks/queueing.py under `calibrated`{where}") from None


def _stay_s(measured: Calibrated, name: str, waits: float) -> float:
    """How long a request is in hand of a replica: the ingress has it to its end, the generator while the LLM works."""
    if name == "Ingress":
        return measured.delay_s + sum(measured.cpu_s.values()) * (1 + waits)
    return measured.cpu_s[name] * (1 + waits) + (measured.delay_s if name == "Generator" else 0.0)
