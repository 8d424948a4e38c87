"""The chat that asks the LLM a query, with history shown as earlier turns or told in the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from hydra_ray.records import HistoryItem, Message, Query
from hydra_ray.steps.as_data import as_data
from hydra_ray.tasks import Task
from hydra_ray.text.cut import first_characters, first_words

_INSTRUCTING = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The messages, and how many of their texts were cut."""

    messages: tuple[Message, ...]
    truncated: int


@dataclass(frozen=True, slots=True)
class Prompter:
    """Writes chats for one task.

    Shots are user turn (the task's question about the item) and assistant turn (the user's own
    answer), as HYDRA asks its LLM, most useful first, as LaMP's prompts have them. Where history items
    are no such pairs, the user's texts are told in the question, as the task says.

    Args:
        task: Task that gives the instruction.
        shot_words: Longest item input in a shot, in words (`text.cut.first_words`); and longest text told in a
            question.
        max_input_chars: Longest query text, and longest answer in a shot, in code points.
        shot_chars: Besides, longest of what `shot_words` bounds, in code points; None is 40 a word.
    """

    task: Task
    shot_words: int
    max_input_chars: int
    shot_chars: int | None

    def __call__(self, query: Query, shots: Sequence[HistoryItem], profile: str = "") -> Prompt:
        """Return the chat for one query.

        Args:
            query: The query. Earlier turns stand right before its text; those that instruct open the chat, since
                many LLMs take a system message at the beginning only.
            shots: History items to show, most useful first.
            profile: Profile of the user, told in the system's message; "" where there is none.
        """
        profile = as_data(profile)
        instructing = list(takewhile(lambda turn: turn.role in _INSTRUCTING, query.turns))
        system = "\n\n".join(text for text in (*(turn.content for turn in instructing), profile) if text)
        messages = [Message("system", system)] if system else []
        cut = _Cut()
        history: list[str] = []
        for item in shots:
            if self.task.pairs:
                messages.append(
                    Message("user", self.task.question(cut.words(item.input, self.shot_words, self.shot_chars)))
                )
                messages.append(Message("assistant", as_data(cut.characters(item.output, self.max_input_chars))))
            else:
                history.append(cut.words(item.output, self.shot_words, self.shot_chars))
        messages.extend(query.turns[len(instructing) :])
        messages.append(Message("user", self.task.question(cut.characters(query.input, self.max_input_chars), history)))
        return Prompt(tuple(messages), cut.count)


class _Cut:
    """Shortens texts, and counts those that were too long."""

    def __init__(self) -> None:
        self.count = 0

    def words(self, text: str, most: int, most_characters: int | None) -> str:
        """A text of the user's history."""
        words = first_words(text, most, most_characters)
        self.count += words != " ".join(text.split())
        return as_data(words)

    def characters(self, text: str, most: int) -> str:
        self.count += len(text) > most
        return first_characters(text, most)
