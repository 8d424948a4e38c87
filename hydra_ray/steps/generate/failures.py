"""One policy for requests that an LLM did not answer, for every command that asks one.

A failure is never a result. One that is final (`FINAL_KINDS`) is how its request ends: it is counted apart, and scored
as a wrong answer where answers are scored. Any other leaves its request unfinished: nothing is scored or kept of it,
the command ends as unfinished, and the same command asks just that again. Where going on would only fail, it stops.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hydra_ray.records import HydraError
from hydra_ray.steps.generate.base import FINAL_KINDS, BudgetSpentError, GenerateError

_log = logging.getLogger(__name__)

# Kind of those that were not asked, or not to the end, because the command stopped.
STOPPED = "stopped"
# Kind of those where something else than the LLM failed.
STEP = "step"
# What an operator has to mend: the next request would fail as well.
_LASTING_KINDS = frozenset({"key", "setting", "quota"})
_LASTING = 3
# Requests before which a share of failures says little.
_MANY = 32
# The latest requests, of which the share is taken: an endpoint may go down after hours.
_RECENT = 128

_GOES_ON = "The same command goes on where it was"
_ASKS_AGAIN = "The same command asks just those again"

Item = TypeVar("Item")
Result = TypeVar("Result")


class UnfinishedError(HydraError):
    """Something was not answered that will be when the same command is started again; what was answered is kept."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request has no answer.

    Attributes:
        kind: A kind of `GenerateError`, or "stopped" or "step".
        reason: The error's message.
    """

    kind: str
    reason: str

    @classmethod
    def of(cls, error: HydraError) -> Failure:
        """Return the failure that an error says."""
        return cls(error.kind if isinstance(error, GenerateError) else STEP, str(error))

    @property
    def final(self) -> bool:
        """Whether asking again would end the same way."""
        return self.kind in FINAL_KINDS


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Requests that ended without an answer, all of one kind.

    Attributes:
        kind: The kind that all of these failures have.
        count: Number of requests.
        reason: The most frequent one.
    """

    kind: str
    count: int
    reason: str


def by_kind(failed: Mapping[Failure, int]) -> tuple[Unanswered, ...]:
    """Failures by kind, the most frequent kind first."""
    kinds: dict[str, Counter[str]] = {}
    for failure, count in failed.items():
        kinds.setdefault(failure.kind, Counter())[failure.reason] += count
    found = [Unanswered(kind, own.total(), own.most_common(1)[0][0]) for kind, own in kinds.items()]
    return tuple(sorted(found, key=lambda one: (-one.count, one.kind)))


def listed(unanswered: Iterable[Unanswered]) -> str:
    """Return the failures in words, e.g. "3 refused (most often: HTTP 400: too long), 1 empty (...)"; "" for none."""
    counted = [f"{one.count} {one.kind} ({'most often: ' if one.count > 1 else ''}{one.reason})" for one in unanswered]
    return ", ".join(counted)


class FailureLog:
    """Takes how requests end and decides when to stop.

    It stops when an operator has to mend something (a key, a setting, a quota), when none of the first requests was
    answered, when many in a row failed, or when the share of the latest that failed is above the limit. Final failures
    count for the second reason alone: an endpoint that refuses everything is set wrongly, whatever it calls that.

    Args:
        most: Share of the latest requests that may fail; 1 sets no limit.
        answered_before: Requests that an earlier run of the same command had answered.

    Attributes:
        answered: Requests with an answer.
        failed: Requests without one, by reason.
        stop: Why nothing more should be asked; "" while more may.
        hopeless: Whether that is because requests fail, so that those under way would, too.
    """

    def __init__(self, most: float, answered_before: int = 0) -> None:
        self._most, self._before = most, answered_before
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        self._in_a_row = self._lasting = 0
        self._last: Failure | None = None
        self.answered = 0
        self.failed: Counter[Failure] = Counter()
        self.stop = ""
        self.hopeless = False

    def note(self, failure: Failure | None) -> None:
        """Takes how one request ended; None is an answer."""
        if failure is None:
            self.answered += 1
        else:
            self.failed[failure] += 1
            self._last = failure
            self._lasting += failure.kind in _LASTING_KINDS
        unfinished = failure is not None and not failure.final
        self._recent.append(unfinished)
        self._in_a_row = self._in_a_row + 1 if unfinished else 0
        if not self.stop:
            self.stop = self._reason()
            self.hopeless = bool(self.stop)

    def note_all(self, answered: int, failed: Mapping[Failure, int]) -> None:
        """Takes how several requests ended."""
        for failure in [None] * answered + [failure for failure, count in failed.items() for _ in range(count)]:
            self.note(failure)

    def end(self, reason: str) -> None:
        """Nothing more may be asked, e.g. since a budget is spent; what is under way may come to its end."""
        self.stop = self.stop or reason

    @property
    def unfinished(self) -> tuple[Unanswered, ...]:
        """Failures that another run may not meet."""
        return by_kind({failure: count for failure, count in self.failed.items() if not failure.final})

    @property
    def final(self) -> tuple[Unanswered, ...]:
        """Failures that are how a request ends."""
        return by_kind({failure: count for failure, count in self.failed.items() if failure.final})

    @property
    def nothing_answered(self) -> bool:
        """Whether there were requests and none was ever answered: refusals then say something of the endpoint."""
        return bool(self.failed) and not self.answered and not self._before

    def check(self, kept: str) -> None:
        """Refuses to go on with what is not whole.

        Args:
            kept: What is kept of this run, as a sentence.

        Raises:
            UnfinishedError: The run stopped, requests are unfinished, or none was answered at all.
        """
        if self.stop:
            raise UnfinishedError(f"stopped early: {_sentences(self.stop, kept, _GOES_ON)}")
        if unfinished := self.unfinished:
            count = sum(one.count for one in unfinished)
            said = f"{count} requests were not answered: {listed(unfinished)}"
            raise UnfinishedError(f"unfinished: {_sentences(said, kept, _ASKS_AGAIN)}")
        if self.nothing_answered:
            said = f"the LLM answered nothing: {listed(self.final)}"
            raise UnfinishedError(_sentences(said, kept, "Mend `generator` and start the same command again"))

    def _reason(self) -> str:
        if self._last is None:
            return ""
        count, last = self.answered + self.failed.total(), self._last.reason
        if self._lasting >= _LASTING:
            return f"the LLM turns requests away until somebody mends what is wrong ({self._last.kind}): {last}"
        if not self.answered and count >= _MANY:
            return f"the LLM answered none of the first {count} requests, the last with: {last}"
        if self._in_a_row >= _MANY and self._most < 1:
            return f"{self._in_a_row} requests in a row failed, the last with: {last}"
        failures = sum(self._recent)
        if len(self._recent) >= _MANY and failures > self._most * len(self._recent):
            return (
                f"{failures} of the latest {len(self._recent)} requests failed, more than generator.max_failure_share "
                f"({self._most:g}) allows, the last with: {last}"
            )
        return ""


def _sentences(*said: str) -> str:
    """The sentences that say something, as one line without the last full stop."""
    return ". ".join(" ".join(one.split()).rstrip(".") for one in said if one)


async def ask_each(
    items: Sequence[Item],
    ask: Callable[[Item], Awaitable[Result]],
    log: FailureLog,
    *,
    at_once: int,
    failing: tuple[type[HydraError], ...] = (),
) -> list[Result | Failure]:
    """Asks about each item, many at a time, until all are done or the log says stop.

    Args:
        items: Items to ask about, one request each.
        ask: Raises `GenerateError` where the LLM does not answer, `BudgetSpentError` where nothing more may be asked.
        log: Counts how each ended; where it stops since requests fail, what is under way is given up.
        at_once: Most items under way.
        failing: Further errors that are a failure of their item alone.

    Returns:
        A result or a failure an item, in their order; of kind "stopped" for those that were not asked to the end.
    """
    slots = asyncio.Semaphore(at_once)
    failures: tuple[type[HydraError], ...] = (GenerateError, *failing)

    async def one(item: Item) -> Result | Failure:
        async with slots:
            if log.stop:
                return Failure(STOPPED, log.stop)
            try:
                result = await ask(item)
            except BudgetSpentError as error:
                log.end(str(error))
                return Failure(STOPPED, str(error))
            except failures as error:
                failure = Failure.of(error)
                _log.warning("a request was not answered (%s)", failure.kind, exc_info=error)
                log.note(failure)
                return failure
            log.note(None)
            return result

    asking = [asyncio.create_task(one(item)) for item in items]
    pending = set(asking)
    try:
        while pending and not log.hopeless:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    return [Failure(STOPPED, log.stop) if task.cancelled() else task.result() for task in asking]
