"""Counts requests and tokens of tenants, keys and users, and says when a quota is used up."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Literal, NamedTuple

from hydra_ray.records import UserKey
from hydra_ray.store.identity.usage import Used

_MINUTE_S, _DAY_S = 60, 86_400
# Subjects whose counts are in memory; those used longest ago go first. About 300 bytes each.
_MOST_SUBJECTS = 1_000_000

What = Literal["requests", "tokens"]
Kind = Literal["tenant", "key", "user"]


class Quota(NamedTuple):
    """What a subject may ask for; None is no limit. Its fields are documented by `QuotaSettings`."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    requests_per_day: int | None
    tokens_per_day: int | None

    @property
    def limits_days(self) -> bool:
        """Whether anything is counted by the day."""
        return self.requests_per_day is not None or self.tokens_per_day is not None


NO_LIMIT = Quota(None, None, None, None)


class Limited(NamedTuple):
    """A subject and its quota: whose counter a request goes into.

    Attributes:
        subject: Name of the counter, from `subject_of`.
        kind: "tenant", "key" or "user": what the quota belongs to, as messages call it.
        quota: The quota.
    """

    subject: str
    kind: Kind
    quota: Quota


@dataclass(frozen=True, slots=True)
class Level:
    """How much is left of the quota that is nearest to its end.

    Attributes:
        limit: The quota.
        left: What is left of it.
        reset_s: Seconds until all of it is there again, if nobody asks meanwhile.
    """

    limit: int
    left: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a request may go on.

    Attributes:
        refused: "requests" or "tokens": what there were too many of; None where the request may go on.
        kind: "tenant", "key" or "user": what the quota belongs to that is used up; empty where the request may go on.
        per: "minute" or "day": the time that this quota is for; empty where the request may go on.
        wait_s: Seconds until another one may go on.
        levels: Number of requests and of tokens left, where they are limited.
        tenant_left: Share that is left of each quota of the tenant, by what is limited and in which time.
    """

    refused: What | None
    kind: str
    per: str
    wait_s: float
    levels: Mapping[What, Level]
    tenant_left: Mapping[tuple[str, str], float]


@dataclass(slots=True)
class _Counter:
    """What one subject used.

    Attributes:
        seconds: Second, requests and tokens of the last minute, oldest first.
        minute: Requests and tokens of all of these seconds.
        day: Day of the counts below, in days since 1970.
        requests: Requests of the day.
        tokens: Tokens of the day.
    """

    seconds: deque[list[int]] = field(default_factory=deque)
    minute: list[int] = field(default_factory=lambda: [0, 0])
    day: int = 0
    requests: int = 0
    tokens: int = 0

    def forget_before(self, now: float) -> None:
        """Drops what is over a minute ago, and what is of another day."""
        # A second counts until its last moment is a minute ago: never more than the quota in any 60 seconds.
        while self.seconds and now - self.seconds[0][0] >= _MINUTE_S + 1:
            self._take_off(self.seconds.popleft())
        # Where the clock was put back, what is yet to come would count until it has come: for hours, say.
        while self.seconds and self.seconds[-1][0] > now:
            self._take_off(self.seconds.pop())
        if self.day != (today := int(now // _DAY_S)):
            self.day, self.requests, self.tokens = today, 0, 0

    def _take_off(self, second: list[int]) -> None:
        self.minute[0] -= second[1]
        self.minute[1] -= second[2]

    def add(self, now: float, requests: int, tokens: int) -> None:
        second = int(now)
        if not self.seconds or self.seconds[-1][0] != second:
            self.seconds.append([second, 0, 0])
        self.seconds[-1][1] += requests
        self.seconds[-1][2] += tokens
        self.minute[0] += requests
        self.minute[1] += tokens
        self.requests += requests
        self.tokens += tokens


class Quotas:
    """Counters of subjects. A minute is any 60 seconds, a day one of UTC.

    Tokens are known once the LLM answered: a request goes on as long as any are left, so requests that are under way
    together may use more than the quota; what they used is counted, and the next ones wait for it.

    Args:
        clock: Gives the time, in seconds since 1970.
        used: Requests and tokens that were used today already, by subject.
    """

    def __init__(self, clock: Callable[[], float], used: Mapping[str, Used]) -> None:
        self._clock = clock
        self._counters: OrderedDict[str, _Counter] = OrderedDict()
        # Of subjects with quotas a day: what is not kept elsewhere yet.
        self._changed: set[str] = set()
        today = int(clock() // _DAY_S)
        for subject, (requests, tokens) in used.items():
            self._counters[subject] = _Counter(day=today, requests=requests, tokens=tokens)

    def admit(self, limited: Sequence[Limited]) -> Admission:
        """Count a request for all of its subjects, or, where a quota is used up, for none of them."""
        now = self._clock()
        counters = [self._counter(one.subject, now) for one in limited]
        for one, counter in zip(limited, counters, strict=True):
            for what, per, limit, used in _uses(one.quota, counter):
                if used >= limit:
                    wait_s = _wait_s(counter, what, per, limit, now)
                    left = _tenant_left(limited, counters)
                    return Admission(what, one.kind, per, wait_s, _levels(limited, counters, now), left)
        self._add(limited, counters, now, 1, 0)
        left = _tenant_left(limited, counters)
        return Admission(None, "", "", 0.0, _levels(limited, counters, now), left)

    def charge(self, limited: Sequence[Limited], tokens: int) -> None:
        """Count the tokens of an answer for all subjects of its request."""
        now = self._clock()
        self._add(limited, [self._counter(one.subject, now) for one in limited], now, 0, tokens)

    def take_changes(self) -> tuple[str, dict[str, Used]]:
        """Return today, and what was used of it by subjects whose counts changed since the last call."""
        now = self._clock()
        changed, self._changed = self._changed, set()
        counters = {subject: self._counter(subject, now) for subject in changed if subject in self._counters}
        return day_of(now), {subject: Used(one.requests, one.tokens) for subject, one in counters.items()}

    def put_back(self, subjects: Iterable[str]) -> None:
        """Have the counts of subjects among the changes again, since they could not be kept."""
        self._changed |= set(subjects)

    def _counter(self, subject: str, now: float) -> _Counter:
        counter = self._counters.get(subject)
        if counter is None:
            counter = self._counters[subject] = _Counter()
            if len(self._counters) > _MOST_SUBJECTS:
                self._counters.popitem(last=False)
        self._counters.move_to_end(subject)
        counter.forget_before(now)
        return counter

    def _add(
        self, limited: Sequence[Limited], counters: Sequence[_Counter], now: float, requests: int, tokens: int
    ) -> None:
        for one, counter in zip(limited, counters, strict=True):
            counter.add(now, requests, tokens)
            if one.quota.limits_days:
                self._changed.add(one.subject)


def subject_of(kind: Kind, name: str | UserKey) -> str:
    """Return the name of a counter. Of users it is a digest: what is counted of them is nobody's to read."""
    if isinstance(name, UserKey):
        return f"{kind}:{blake2b(repr(tuple(name)).encode('utf-8', 'backslashreplace'), digest_size=16).hexdigest()}"
    return f"{kind}:{name}"


def day_of(now: float) -> str:
    """Return the day of a moment in UTC, as ISO 8601 has it."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def _uses(quota: Quota, counter: _Counter) -> list[tuple[What, str, int, int]]:
    """What is limited, in which time, at how much, and how much of it is used."""
    found: list[tuple[What, str, int | None, int]] = [
        ("requests", "minute", quota.requests_per_minute, counter.minute[0]),
        ("tokens", "minute", quota.tokens_per_minute, counter.minute[1]),
        ("requests", "day", quota.requests_per_day, counter.requests),
        ("tokens", "day", quota.tokens_per_day, counter.tokens),
    ]
    return [(what, per, limit, used) for what, per, limit, used in found if limit is not None]


def _wait_s(counter: _Counter, what: What, per: str, limit: int, now: float) -> float:
    """Seconds until less than the limit is used."""
    if per == "day":
        return _DAY_S - now % _DAY_S
    place = 1 if what == "requests" else 2
    over = counter.minute[place - 1] - limit
    for second in counter.seconds:
        over -= second[place]
        if over < 0:
            return second[0] + _MINUTE_S + 1 - now
    return float(_MINUTE_S)


def _tenant_left(limited: Sequence[Limited], counters: Sequence[_Counter]) -> dict[tuple[str, str], float]:
    return {
        (what, per): max(0.0, 1 - used / limit)
        for one, counter in zip(limited, counters, strict=True)
        if one.kind == "tenant"
        for what, per, limit, used in _uses(one.quota, counter)
    }


def _levels(limited: Sequence[Limited], counters: Sequence[_Counter], now: float) -> dict[What, Level]:
    found: dict[What, Level] = {}
    for one, counter in zip(limited, counters, strict=True):
        for what, per, limit, used in _uses(one.quota, counter):
            newest = counter.seconds[-1][0] + _MINUTE_S + 1 - now if counter.seconds else 0.0
            reset_s = _DAY_S - now % _DAY_S if per == "day" else newest
            level = Level(limit, max(0, limit - used), math.ceil(reset_s * 1000) / 1000)
            if what not in found or level.left < found[what].left:
                found[what] = level
    return found
