"""Asks the LLM about one example, and turns its answers into rows of feedback."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from hydra_ray.learn.collect.requests import ExampleRequests
from hydra_ray.learn.collect.rows import AdapterRow, RerankerRow
from hydra_ray.records import (
    ChatRequest,
    Generation,
    Usage,
)
from hydra_ray.steps.adapt import distinct_candidates
from hydra_ray.steps.candidates import PromptRequest
from hydra_ray.steps.generate import BudgetSpentError, GenerateError, Generator
from hydra_ray.steps.generate.failures import Failure
from hydra_ray.tasks import Task

log = logging.getLogger(__name__)


@dataclass(slots=True)
class CollectedFeedback:
    """Feedback of one example, and what collecting it took.

    Attributes:
        reranker: Rows of feedback for the reranker.
        adapter: Rows of feedback for the adapter.
        usage: Calls made now, their tokens, and answers from the cache.
        seconds: Seconds from asking to the answer, added up over the calls made now; waiting for a free slot counts.
        began: When asking began, seconds since 1970.
        ended: When the last answer was there, seconds since 1970.
        failed: Calls without an answer, by what went wrong.
        missing_candidates: Samples asked for and not returned.
        truncated: Texts cut to fit the prompt.
        stopped: Why nothing more may be asked; empty when more may.
    """

    reranker: list[RerankerRow] = field(default_factory=list)
    adapter: list[AdapterRow] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    failed: Counter[Failure] = field(default_factory=Counter)
    missing_candidates: int = 0
    truncated: int = 0
    stopped: str = ""

    @property
    def answered(self) -> int:
        """Calls that were answered."""
        return self.usage.calls + self.usage.cached

    @property
    def finished(self) -> bool:
        """Whether asking again would bring nothing more: what failed would fail again."""
        return not self.stopped and all(failure.final for failure in self.failed)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {
            **{f.name: getattr(self, f.name) for f in fields(self)},
            "reranker": [row.to_columns() for row in self.reranker],
            "adapter": [row.to_columns() for row in self.adapter],
            "usage": asdict(self.usage),
            "failed": [[failure.kind, failure.reason, count] for failure, count in self.failed.items()],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CollectedFeedback:
        """Return the feedback that `to_json` gave these plain values of."""
        typed = {
            "reranker": [RerankerRow.from_columns(row) for row in values["reranker"]],
            "adapter": [AdapterRow.from_columns(row) for row in values["adapter"]],
            "usage": Usage(**values["usage"]),
            "failed": Counter({Failure(kind, reason): count for kind, reason, count in values["failed"]}),
        }
        return cls(**{**values, **typed})


@dataclass(frozen=True, slots=True)
class Labeler:
    """Asks the LLM about one example.

    Args:
        generator: The LLM.
        task: Parses and scores its answers.
    """

    generator: Generator
    task: Task

    async def __call__(self, asked: ExampleRequests) -> CollectedFeedback:
        """Return the example's feedback; a call that fails costs its own rows and is counted."""
        feedback = CollectedFeedback(truncated=asked.truncated, began=time.time())
        answers = await asyncio.gather(*(self._ask(request, feedback) for request in asked.requests))
        feedback.ended = time.time()
        self._reranker_rows(asked, answers[: len(asked.alone)], feedback)
        self._adapter_row(asked, answers[len(asked.alone) :], feedback)
        return feedback

    async def _ask(self, request: ChatRequest, feedback: CollectedFeedback) -> Generation | None:
        start = time.monotonic()
        try:
            answer = await self.generator(request)
        except BudgetSpentError as error:
            feedback.stopped = str(error)
            return None
        except GenerateError as error:
            feedback.failed[Failure.of(error)] += 1
            log.warning("a call was not answered (%s)", error.kind, exc_info=error)
            return None
        if answer.usage.calls:
            feedback.usage += answer.usage
            feedback.seconds += time.monotonic() - start
        else:
            # Tokens of the cache's answers were paid for when they were asked.
            feedback.usage += Usage(cached=answer.usage.cached)
        feedback.missing_candidates += request.n - len(answer.texts)
        return answer

    def _reranker_rows(
        self, asked: ExampleRequests, answers: Sequence[Generation | None], feedback: CollectedFeedback
    ) -> None:
        if not answers:
            return
        without, *with_item = [self._score(answer, asked.gold) for answer in answers]
        if without is None:
            return
        for item, score in zip(asked.items, with_item, strict=True):
            if score is not None:
                feedback.reranker.append(
                    RerankerRow(asked.key, asked.query, item.id, item.input, item.output, score, without)
                )

    def _adapter_row(
        self, asked: ExampleRequests, answers: Sequence[Generation | None], feedback: CollectedFeedback
    ) -> None:
        asking = map(PromptRequest, asked.prompts, asked.several)
        answered = [(one, answer) for one, answer in zip(asking, answers, strict=True) if answer is not None]
        # Of half the answers votes would be other ones than those that the method will see.
        if len(answered) < len(asked.several):
            return
        samples = [sample for one, answer in answered for sample in one.samples(answer)]
        candidates = distinct_candidates(self.task, samples)
        sources = tuple(candidate.sources for candidate in candidates)
        feedback.adapter.append(
            AdapterRow(
                asked.key,
                asked.query,
                gold=asked.gold,
                history=asked.history_answers,
                candidates=tuple(candidate.text for candidate in candidates),
                votes=tuple(candidate.votes for candidate in candidates),
                scores=tuple(self.task.score(candidate.text, asked.gold) for candidate in candidates),
                sources=sources if any(sources) else (),
            )
        )

    def _score(self, answer: Generation | None, gold: str) -> float | None:
        if answer is None or not answer.texts:
            return None
        return self.task.score(answer.texts[0], gold)
