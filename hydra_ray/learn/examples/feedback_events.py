"""Turns feedback events, and rejected answers of records, into ranking groups: what competes, how good each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.learn.examples.groups import RankingGroup, answer_group, other_labels, own_among, telling
from hydra_ray.models.lexical import log_share
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.types import FeedbackEvent
from hydra_ray.tasks import Task


def event_group(
    user: UserKey, event: FeedbackEvent, history_answers: Sequence[str], task: Task, seed: int
) -> RankingGroup | None:
    """Return the ranking group that a feedback event teaches the adapter; None where there is nothing to compare.

    Args:
        user: Who said it.
        event: The event, with texts as `task.parse` gives them.
        history_answers: Answers of retrieved history, nearest first.
        task: Scores texts by what the user made of them.
        seed: Seed that labels are drawn with.
    """
    if event.said == "neutral":
        return None
    # Named as the fit names the item asked again, for which it would draw the same labels.
    return _group(ExampleKey.of_item(user, event.item_id), event, history_answers, task, seed)


def rejected_group(
    example: Example, rejected: str, history_answers: Sequence[str], task: Task, seed: int
) -> RankingGroup | None:
    """Return the ranking group of a preferred and a rejected answer; None where the task reads both alike.

    It is the one that a feedback event gives by which the user took one of these two texts.

    Args:
        example: The query with the preferred answer.
        rejected: Answer that the user would not have.
        history_answers: Answers of retrieved history, nearest first.
        task: Reads the answers.
        seed: Seed as of `event_group`.
    """
    chosen, other = (task.parse(text) or text for text in (example.gold, rejected))
    if chosen == other:
        return None
    event = FeedbackEvent(example.query.id, example.query.input, "accepted", chosen, (chosen, other))
    return _group(example.key, event, history_answers, task, seed)


def _group(
    key: ExampleKey, event: FeedbackEvent, history_answers: Sequence[str], task: Task, seed: int
) -> RankingGroup | None:
    scores = _scores(event, key.query_id, task, seed)
    group = replace(answer_group(key, event.input, scores, history_answers), priors=_priors(event, scores))
    groups = telling([group])
    return groups[0] if groups else None


def history_answers_of(event: FeedbackEvent, history: Mapping[str, HistoryItem]) -> tuple[str, ...]:
    """Return the answers that the adapter reads beside an event's query; those of items that are gone are left out.

    Args:
        event: The event.
        history: The user's history as it is now, by id.
    """
    return tuple(history[item].output for item in event.history if item in history)


def what_teaches(event: FeedbackEvent, history: Mapping[str, HistoryItem]) -> list[Any]:
    """Return all that the ranking group of an event depends on, for fingerprints."""
    about = [event.item_id, event.input, event.said, event.text, list(event.candidates), list(event.votes)]
    return [*about, list(history_answers_of(event, history))]


def _priors(event: FeedbackEvent, scores: Mapping[str, float]) -> tuple[float, ...]:
    """The LLM's own vote, as where candidates are chosen; nothing where it is not known."""
    if not event.votes:
        return ()
    votes = dict.fromkeys(scores, 0)
    for text, count in zip(event.candidates, event.votes, strict=True):
        # Two that the task reads alike are one.
        votes[text] = votes.get(text, 0) + count
    total = sum(votes[text] for text in scores)
    return tuple(log_share(votes[text], total) for text in scores)


def _scores(event: FeedbackEvent, query_id: str, task: Task, seed: int) -> dict[str, float]:
    rivals = [text for text in dict.fromkeys(event.candidates) if text != event.text]
    on_offer = bool(rivals)
    if not on_offer and task.closed:
        rivals = [label for label in other_labels(task, query_id, seed) if label != event.text]
    if event.said == "rejected":
        return {event.text: 0.0} | dict.fromkeys(rivals, 1.0)
    if event.said == "accepted" and on_offer:
        # Who takes one of several texts as it is has seen the others.
        return {event.text: 1.0} | dict.fromkeys(rivals, 0.0)
    return own_among(event.text, rivals, task)
