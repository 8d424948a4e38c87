"""Keeps what the LLM's answers teach as they come in, in any order, and tells how far it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from hydra_ray.learn.feedback import FeedbackStore, Told, unit_key
from hydra_ray.learn.plan import Unit
from hydra_ray.records import HydraError, Usage

# A kill costs the feedback of at most this many units; their calls are in the generator's cache.
UNITS_PER_PART = 256
# Units without a single answer, one after the other, after which the generator is taken to be down.
UNITS_UNTIL_DOWN = 32


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What a collection did.

    Attributes:
        units: Queries asked now.
        kept: Queries that were already there.
        unfinished: Queries of which a call failed that may succeed later; the next run asks what is missing.
        left: Queries that were not asked to the end because the collection stopped.
        usage: Calls and tokens.
        failed: Calls that gave no answer, by kind.
        missing_candidates: Samples asked for and not returned.
        truncated: Texts cut to fit the prompt.
        call_seconds: Of all calls, added up.
        began: When the first query was asked, seconds since 1970.
        ended: When the last one was answered.
        stopped: Why the collection ended before its plan did.
    """

    units: int = 0
    kept: int = 0
    unfinished: int = 0
    left: int = 0
    usage: Usage = field(default_factory=Usage)
    failed: Counter[str] = field(default_factory=Counter)
    missing_candidates: int = 0
    truncated: int = 0
    call_seconds: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    stopped: str = ""

    @property
    def rate(self) -> float:
        """Calls a second while the LLM was asked; what came before, such as loading a model, is not in it."""
        seconds = self.ended - self.began
        return self.usage.calls / seconds if seconds > 0 else 0.0

    @property
    def mean_latency(self) -> float:
        """Seconds from asking to an answer, waiting for a free slot included."""
        return self.call_seconds / self.usage.calls if self.usage.calls else 0.0

    def __str__(self) -> str:
        failures = ", ".join(f"{count} {kind}" for kind, count in sorted(self.failed.items()))
        lines = [
            f"{self.units} queries asked, {self.kept} were there already: {self.usage.calls} LLM calls "
            f"({self.usage.cached} more from the cache), {self.usage.prompt_tokens} tokens in, "
            f"{self.usage.completion_tokens} out; {self.rate:.1f} calls/s, {self.mean_latency:.2f} s each on average. "
            f"{self.failed.total()} calls failed{f' ({failures})' if failures else ''}, {self.missing_candidates} "
            f"candidates were not returned, {self.truncated} texts were cut."
        ]
        if self.unfinished:
            lines.append(f"{self.unfinished} queries are unfinished: the same command asks what is missing.")
        if self.stopped:
            lines.append(f"Stopped early with {self.left} queries left: {self.stopped}.")
        return " ".join(lines)


def left_to_ask(units: Sequence[Unit], store: FeedbackStore) -> list[Unit]:
    """The units that the store lacks, in the order of the plan."""
    done = store.done()
    return [unit for unit in units if unit_key(unit) not in done]


def record(
    units: Sequence[Unit],
    answers: Iterable[tuple[int, Told]],
    store: FeedbackStore,
    report: CollectReport,
    progress: Callable[[CollectReport], None],
) -> CollectReport:
    """Stores finished units, part by part; the others are left for the next run.

    Args:
        units: What is asked.
        answers: Places in `units` and what was told of them, each once.
        store: Where finished units are kept.
        report: What is added to.
        progress: Called after each unit.

    Raises:
        HydraError: No call of many units in a row was answered: the generator is down, and going on would
            only record failures. What was finished before is kept.
    """
    part = max(store.parts(), default=-1) + 1
    finished: list[tuple[Unit, Told]] = []
    silent, until_down = 0, min(UNITS_UNTIL_DOWN, len(units))
    for place, told in answers:
        report = _add(report, told)
        progress(report)
        if told.finished:
            finished.append((units[place], told))
        if len(finished) == UNITS_PER_PART:
            store.write(part, finished)
            part, finished = part + 1, []
        silent = 0 if told.answered or told.stopped else silent + 1
        if silent == until_down:
            break
    if finished:
        store.write(part, finished)
    if silent and silent == until_down:
        raise HydraError(
            f"the generator answered no call for {silent} queries in a row, the last with: {told.last_error}. "
            f"The feedback of {report.units} queries before is kept: mend `generator` and start the same command again"
        )
    return report


def _add(report: CollectReport, told: Told) -> CollectReport:
    return replace(
        report,
        units=report.units + told.finished,
        unfinished=report.unfinished + (not told.finished and not told.stopped),
        left=report.left + bool(told.stopped),
        usage=report.usage + told.usage,
        failed=report.failed + told.failed,
        missing_candidates=report.missing_candidates + told.missing_candidates,
        truncated=report.truncated + told.truncated,
        call_seconds=report.call_seconds + told.seconds,
        began=min((at for at in (report.began, told.began) if at), default=0.0),
        ended=max(report.ended, told.ended),
        stopped=report.stopped or told.stopped,
    )
