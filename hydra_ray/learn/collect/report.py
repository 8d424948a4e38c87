"""Keeps what the LLM's answers teach as they come in, in any order, and tells how far it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from hydra_ray.learn.collect.example_plan import ExamplePlan
from hydra_ray.learn.collect.first_scores import FirstScores
from hydra_ray.learn.collect.labeler import CollectedFeedback
from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.records import HydraError, Usage
from hydra_ray.steps.generate.failures import Failure, FailureLog, UnfinishedError, by_kind, listed

# A kill costs the feedback of at most this many examples; their calls are in the generator's cache.
EXAMPLES_PER_PART = 256


@dataclass(frozen=True, slots=True)
class CollectReport:
    """Report of a collection.

    Attributes:
        examples: Queries asked now.
        kept: Queries that were already there.
        unfinished: Queries of which a call failed that may succeed later; the next run asks what is missing.
        left: Queries that were not asked to the end because the collection stopped.
        usage: Calls and tokens.
        failed: Calls that gave no answer, by what went wrong.
        missing_candidates: Samples asked for and not returned.
        truncated: Texts cut to fit the prompt.
        call_seconds: Seconds of all calls, added up.
        began: When the first query was asked, seconds since 1970.
        ended: When the last one was answered, seconds since 1970.
        stopped: Why the collection ended before its plan did.
        finding: Sentence on the equal scores of a collection too small to be stopped for them; else "".
    """

    examples: int = 0
    kept: int = 0
    unfinished: int = 0
    left: int = 0
    usage: Usage = field(default_factory=Usage)
    failed: Counter[Failure] = field(default_factory=Counter)
    missing_candidates: int = 0
    truncated: int = 0
    call_seconds: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    stopped: str = ""
    finding: str = ""

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
        failures = listed(by_kind(self.failed))
        lines = [
            f"{self.examples} queries asked, {self.kept} were there already: {self.usage.calls} LLM calls "
            f"({self.usage.cached} more from the cache), {self.usage.prompt_tokens} tokens in, "
            f"{self.usage.completion_tokens} out; {self.rate:.1f} calls/s, {self.mean_latency:.2f} s each on average. "
            f"{self.failed.total()} calls failed{f' ({failures})' if failures else ''}, {self.missing_candidates} "
            f"candidates were not returned, {self.truncated} texts were cut."
        ]
        if self.unfinished:
            lines.append(f"{self.unfinished} queries are unfinished: the same command asks what is missing.")
        if self.stopped:
            lines.append(f"Stopped early with {self.left} queries left: {self.stopped}.")
        if self.finding:
            lines.append(f"Note: {self.finding}.")
        return " ".join(lines)

    def check(self) -> None:
        """Refuses to go on without the queries that a later run would finish.

        A budget that stopped the collection is no failure, and whoever set it may go on with what there is.

        Raises:
            UnfinishedError: A call failed that may succeed later.
        """
        if self.unfinished:
            unfinished = {failure: count for failure, count in self.failed.items() if not failure.final}
            raise UnfinishedError(
                f"unfinished: {self.unfinished} queries have calls that were not answered: "
                f"{listed(by_kind(unfinished))}. What was answered is kept. The same command asks just those again"
            )


def left_to_ask(examples: Sequence[Example], store: FeedbackStore) -> Sequence[Example]:
    """Return the examples that the store lacks, in the order of the plan."""
    if isinstance(examples, ExamplePlan):
        return examples.without(store.done_digests())
    done = store.done()
    return [example for example in examples if example.key.example_id not in done]


def record(
    answers: Iterable[tuple[ExampleKey, CollectedFeedback]],
    store: FeedbackStore,
    report: CollectReport,
    progress: Callable[[CollectReport], None],
    log: FailureLog,
    first: FirstScores | None,
) -> CollectReport:
    """Stores finished examples, part by part; the others are left for the next run.

    Args:
        answers: Examples and the feedback of each, each once.
        store: Folder where finished examples are kept.
        report: Report that the examples are added to.
        progress: Called with the report after each example.
        log: Counts how calls ended; says when to stop.
        first: Takes finished examples until it knows whether scores differ; None goes on whatever they are.

    Raises:
        UnfinishedError: Going on would only fail. What was finished before is kept.
        HydraError: All scores are equal.
    """
    part = max(store.parts(), default=-1) + 1
    finished: list[tuple[ExampleKey, CollectedFeedback]] = []
    for key, feedback in answers:
        report = _add(report, feedback)
        log.note_all(feedback.answered, feedback.failed)
        progress(report)
        if feedback.finished:
            finished.append((key, feedback))
            if first is not None:
                first.note(feedback)
        if log.stop:
            break
        if first is not None and first.decided:
            # Nothing of it is stored: scored in another way, the same answers may teach.
            raise HydraError(
                f"{first.finding}. Mend that and start the same command again, which scores the answers that are there "
                "anew and pays for none of them twice; or go on with feedback.stop_when_alike=false"
            )
        if len(finished) == EXAMPLES_PER_PART:
            store.write(part, finished)
            part, finished = part + 1, []
    # Refusals count where something else was answered; where nothing was, they tell of the endpoint.
    if finished and not log.nothing_answered:
        store.write(part, finished)
    if log.stop or log.nothing_answered:
        log.check(f"The feedback of {report.kept + report.examples} queries is kept." if log.answered else "")
    return replace(report, finding=first.finding if first is not None else "")


def _add(report: CollectReport, feedback: CollectedFeedback) -> CollectReport:
    return replace(
        report,
        examples=report.examples + feedback.finished,
        unfinished=report.unfinished + (not feedback.finished and not feedback.stopped),
        left=report.left + bool(feedback.stopped),
        usage=report.usage + feedback.usage,
        failed=report.failed + feedback.failed,
        missing_candidates=report.missing_candidates + feedback.missing_candidates,
        truncated=report.truncated + feedback.truncated,
        call_seconds=report.call_seconds + feedback.seconds,
        began=min((at for at in (report.began, feedback.began) if at), default=0.0),
        ended=max(report.ended, feedback.ended),
        stopped=report.stopped or feedback.stopped,
    )
