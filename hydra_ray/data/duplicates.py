"""Recognises which records of a user are one record that is there twice.

The same answer to something else is a habit, and so is a short answer that is given to the same input on another day:
both would be in the history while serving, so they stay. What nobody does twice is one record.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterator
from typing import Generic, Protocol, TypeVar

from hydra_ray.dates import span
from hydra_ray.records import HistoryItem, Message
from hydra_ray.tasks import Task

AGAIN = "the same record again"
LATER = "the same answer again for the same thing, at another time"
SEEN = "profile item with the question's own answer, hidden from it"

# Characters from which on an answer is a text that nobody writes twice to the same input.
_LONG = 30


class Dated(Protocol):
    """Fields that a record and a history item have in common."""

    @property
    def input(self) -> str: ...
    @property
    def output(self) -> str: ...
    @property
    def ts(self) -> str | None: ...
    @property
    def item_id(self) -> str | None: ...


R = TypeVar("R", bound=Dated)


class Repeats(Generic[R]):
    """Recognises records of one user that repeat an earlier one.

    Texts are compared without regard to white space and to compatible forms of signs (NFKC).

    A record repeats an earlier one where inputs, outputs, turns, items and times are the same. Whatever the times, it
    does so as well where outputs are the same and

    - the same item is named, and the output is a text or inputs are the same, or
    - inputs are the same, and the output is a long text.

    Args:
        texts: Whether outputs are people's own texts, and not labels.
    """

    def __init__(self, texts: bool = True) -> None:
        self._texts = texts
        self._seen: dict[Hashable, R] = {}

    def earlier(self, record: R, turns: tuple[Message, ...] = ()) -> tuple[R, str] | None:
        """Return the record that this one repeats, and why; where there is none, remember it and return None."""
        given, answer = folded(record.input), folded(record.output)
        time = span(record.ts) if record.ts is not None else None
        exact = (AGAIN, given, answer, record.item_id, time, turns)
        keys = [exact, *self._whenever(given, answer, record.item_id)]
        for key in keys:
            if key in self._seen:
                return self._seen[key], AGAIN if key is exact else LATER
        self._seen |= dict.fromkeys(keys, record)
        return None

    def _whenever(self, given: str, answer: str, item_id: str | None) -> Iterator[Hashable]:
        if item_id is not None:
            yield "item", item_id, answer, None if self._texts else given
        if self._texts and is_long(answer):
            yield "input", given, answer


def is_own_answer(item: HistoryItem, asked: str, item_id: str | None, gold: str, task: Task) -> bool:
    """Return whether a profile item is the question with its answer.

    Args:
        item: The item of the question's profile that is looked at.
        asked: The question's text: a document, which nobody is asked twice about.
        item_id: Id of what the question is about; None where it has none.
        gold: The user's own answer to the question.
        task: Says whether answers are labels, and whether items are questions with answers at all; else they are texts,
            and one that is the answer gives it away.
    """
    answer = folded(item.output)
    if answer != folded(gold):
        return False
    same_item = item_id is not None and item_id == item.item_id
    return not task.pairs or folded(item.input) == folded(asked) or (same_item and not task.closed)


def folded(text: str) -> str:
    """A text by which it is compared: NFKC, with white space made single."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def is_long(answer: str) -> bool:
    """Return whether a folded text is so long that nobody writes it twice to the same input."""
    return len(answer) >= _LONG
