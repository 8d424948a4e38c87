"""Ranks the LLM's candidates by which this user would prefer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hydra_ray.models.beside import Beside, sources_beside
from hydra_ray.models.lexical import log_share
from hydra_ray.records import Candidate, Query, Source
from hydra_ray.steps.candidates import Sample
from hydra_ray.steps.decide import by_expected_score
from hydra_ray.steps.formats import same_value
from hydra_ray.steps.texts import adapter_texts
from hydra_ray.tasks import Task

if TYPE_CHECKING:
    # Those who only count candidates or write prompts need no torch.
    from hydra_ray.models.heads import Head
    from hydra_ray.models.scorer import Scorer


def distinct_candidates(task: Task, samples: Sequence[Sample]) -> tuple[Candidate, ...]:
    """The distinct answers among an LLM's samples, in the order they were sampled, with their votes and sources.

    Samples that parse to the same answer are one candidate, whichever prompts gave them. Of a task with a closed
    answer set, samples outside it are left out, unless nothing else is there. Texts that differ in a letter or a
    capital stay apart: which of them is the user's manner is for the adapter to say.

    Args:
        task: Parses the samples.
        samples: The samples.
    """
    parsed = [one._replace(text=answer) for one in samples if (answer := task.parse(one.text)) is not None]
    return _counted(parsed or [one for one in samples if one.text.strip()])


def json_candidates(samples: Sequence[Sample]) -> tuple[Candidate, ...]:
    """The distinct values among samples that are JSON, each as it was first written."""
    written: dict[str, str] = {}
    for one in samples:
        written.setdefault(same_value(one.text), one.text)
    return _counted([one._replace(text=written[same_value(one.text)]) for one in samples if one.text.strip()])


def _counted(samples: Sequence[Sample]) -> tuple[Candidate, ...]:
    alike: dict[str, list[Sample]] = {}
    for one in samples:
        alike.setdefault(one.text, []).append(one)
    return tuple(
        Candidate(
            text,
            len(said),
            order,
            finish="stop" if any(one.end == "stop" for one in said) else "length",
            sources=_sources(said),
        )
        for order, (text, said) in enumerate(alike.items())
    )


def _sources(said: Sequence[Sample]) -> tuple[Source, ...]:
    # A counter keeps the order in which its keys were first seen.
    votes = Counter(one.prompt for one in said if one.prompt)
    greedy = {one.prompt for one in said if one.greedy}
    return tuple(Source(prompt, count, prompt in greedy) for prompt, count in votes.items())


@dataclass(frozen=True, slots=True)
class AdaptRequest:
    """One query's candidates, the answers of its retrieved history, and the head of whoever chooses."""

    query: Query
    candidates: tuple[Candidate, ...]
    history_answers: tuple[str, ...] = ()
    head: Head | None = None


class Adapter:
    """Orders candidates by score = logit + vote_weight * log((votes + 0.1) / (all votes + 0.1)).

    Trained listwise, the logits are log-preferences up to a constant; the LLM's own vote is a prior
    that they are added to. A head that was fitted with a weight of its own scores with that one.

    Args:
        scorer: Scorer of the adapter.
        vote_weight: Weight of the LLM's vote. 0 leaves it out, as HYDRA does; None takes what the base has learnt.
        task: Orders candidates by the score that they can be expected to get under these preferences; None orders
            them by preference, as HYDRA does.
    """

    def __init__(self, scorer: Scorer, vote_weight: float | None, task: Task | None = None) -> None:
        self._scorer = scorer
        self._vote_weight = vote_weight
        self._task = task

    def __call__(self, asks: Sequence[AdaptRequest]) -> list[list[Candidate]]:
        """Best candidate first, for each ask; ties keep the one sampled first."""
        decisions = [
            adapter_texts(c.text, ask.query.input, ask.history_answers) for ask in asks for c in ask.candidates
        ]
        heads = [ask.head for ask in asks for _ in ask.candidates]
        beside = [known for ask in asks for known in _beside(ask)]
        logits = iter(self._scorer.score(decisions, heads, beside).tolist() if decisions else ())
        return [self._order(ask, [next(logits) for _ in ask.candidates]) for ask in asks]

    def _order(self, ask: AdaptRequest, logits: Sequence[float]) -> list[Candidate]:
        total = sum(candidate.votes for candidate in ask.candidates)
        weight = prior_weight(self._scorer, ask.head, self._vote_weight)
        judged = [
            replace(c, logit=logit, score=logit + weight * log_share(c.votes, total))
            for c, logit in zip(ask.candidates, logits, strict=True)
        ]
        if self._task is not None:
            return by_expected_score(self._task, judged)
        return sorted(judged, key=lambda c: -c.score)


def _beside(ask: AdaptRequest) -> tuple[Beside, ...]:
    return sources_beside([c.sources for c in ask.candidates]) or ({},) * len(ask.candidates)


def all_compete(task: Task, most: int) -> bool:
    """Return whether all allowed answers are candidates, said or not: those of a closed set of at most `most`."""
    return task.closed and len(task.labels) <= most


def with_allowed(task: Task, candidates: tuple[Candidate, ...], most: int) -> tuple[Candidate, ...]:
    """The candidates with all other answers of a closed answer set, which have no votes.

    Samples miss the user's own answer now and then; an adapter that knows the user need not.

    Args:
        task: Knows the allowed answers.
        candidates: Candidates of the LLM; any that is not allowed is left out where allowed answers take its place.
        most: Size of the largest answer set that is filled up; larger ones are left alone, as free text is.
    """
    if not all_compete(task, most):
        return candidates
    said = tuple(candidate for candidate in candidates if candidate.text in task.labels)
    left = [label for label in task.labels if label not in {candidate.text for candidate in said}]
    return (*said, *(Candidate(label, 0, order) for order, label in enumerate(left, len(said))))


def prior_weight(scorer: Scorer, head: Head | None, given: float | None) -> float:
    """Weight of what is known before a head judges: the head's own, or else the given one, or else the base's."""
    if head is not None and head.prior_weight is not None:
        return head.prior_weight
    return scorer.heads.prior.item() if given is None else given
