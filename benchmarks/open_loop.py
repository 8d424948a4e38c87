"""Load as users make it: requests come when their time has come, whether or not earlier ones are answered.

A generator of load that waits for replies asks less where a server is slow, and hides the waiting (coordinated
omission). Here a request's time counts from when it was due.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

Ask = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a schedule.

    Attributes:
        at_s: When it is due, in seconds from the start.
        kind: Side that it belongs to.
        ask: Asks; raises where there is no good answer.
    """

    at_s: float
    kind: str
    ask: Ask


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of one arrival.

    Attributes:
        kind: Side that it belongs to.
        seconds: Time from when the request was due until it was answered.
        late_s: How much later than due it was sent: a busy generator of load.
        error: What went wrong; empty where nothing did.
    """

    kind: str
    seconds: float
    late_s: float
    error: str


async def run(arrivals: Iterable[Arrival]) -> list[Sample]:
    """Asks each arrival when it is due; returns what became of all of them, in their order."""
    start = time.perf_counter()
    tasks = []
    for arrival in arrivals:
        await asyncio.sleep(max(0.0, start + arrival.at_s - time.perf_counter()))
        tasks.append(asyncio.create_task(_sample(arrival, start)))
    return await asyncio.gather(*tasks)


async def _sample(arrival: Arrival, start: float) -> Sample:
    due, sent, error = start + arrival.at_s, time.perf_counter(), ""
    try:
        await arrival.ask()
    # Whatever it is, it is this request's, and the others go on.
    except Exception as failed:
        error = f"{type(failed).__name__}: {failed}"
    return Sample(arrival.kind, time.perf_counter() - due, sent - due, error)


def evenly(rate: float, seconds: float) -> list[float]:
    """Times of requests that come one after the other, at the same distance."""
    return [number / rate for number in range(round(rate * seconds))]


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Times of requests that come by chance, `rate` a second on average."""
    draw, times, now = random.Random(seed), [], 0.0
    while (now := now + draw.expovariate(rate)) < seconds:
        times.append(now)
    return times


def quantile(seconds: Sequence[float], share: float) -> float:
    """The least time that this share of requests took no longer than."""
    ordered = sorted(seconds)
    return ordered[max(0, -(-round(share * 1_000 * len(ordered)) // 1_000) - 1)]


async def at_once(ask: Callable[[int], Awaitable[object]], together: int, seconds: float) -> float:
    """Answers a second where so many requests are always under way."""
    until, done = time.perf_counter() + seconds, 0

    async def keep_asking(number: int) -> None:
        nonlocal done
        while time.perf_counter() < until:
            await ask(number)
            done += 1

    begin = time.perf_counter()
    await asyncio.gather(*(keep_asking(number) for number in range(together)))
    return done / (time.perf_counter() - begin)
