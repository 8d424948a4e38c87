"""Turns feedback events into ranking groups: what competes, and how good each text is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.learn.examples.groups import RankingGroup, answer_group, other_labels, own_among, telling
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.tasks import Task

Said = Literal["accepted", "edited", "rejected"]


@dataclass(frozen=True, slots=True)
class FeedbackEvent:
    """One thing that a user said of one answer that was served.

    Attributes:
        item_id: Id of the event; a later event of the same id takes its place.
        input: What was asked.
        said: What became of `text`.
        text: The answer that was accepted or rejected, or what the user made of one.
        candidates: Texts on offer, `text` among them or not; empty when they are not known.
        ts: Date of the event, in the form of `HistoryItem.ts`; None where there is none.
    """

    item_id: str
    input: str
    said: Said
    text: str
    candidates: tuple[str, ...] = ()
    ts: str | None = None

    @property
    def item(self) -> HistoryItem | None:
        """History item of what the user preferred; None for a rejection, which does not say that."""
        return None if self.said == "rejected" else HistoryItem(self.item_id, self.input, self.text, self.ts)


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
    # Named as the fit names the item asked again, for which it would draw the same labels.
    key = ExampleKey.of_item(user, event.item_id)
    groups = telling([answer_group(key, event.input, _scores(event, key.query_id, task, seed), history_answers)])
    return groups[0] if groups else None


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
