"""The chat that asks the LLM a query, with history shown as earlier turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra_ray.records import HistoryItem, Message, Query
from hydra_ray.tasks import Task


@dataclass(frozen=True, slots=True)
class Prompt:
    """The messages, and how many of their texts were cut."""

    messages: tuple[Message, ...]
    truncated: int


@dataclass(frozen=True, slots=True)
class Prompter:
    """Writes chats for one task.

    Shots are user turn (the task's question about the item) and assistant turn (the user's own
    answer), as HYDRA asks its LLM, most useful first, as LaMP's prompts have them.

    Args:
        task: Gives the instruction.
        shot_words: Longest item input in a shot, in words.
        max_input_chars: Longest query text.
    """

    task: Task
    shot_words: int = 50
    max_input_chars: int = 4000

    def __call__(self, query: Query, shots: Sequence[HistoryItem], profile: str = "") -> Prompt:
        """The chat for one query.

        Args:
            query: Its earlier turns stand right before its text.
            shots: Most useful first.
            profile: What is told of the user, as the system's message; "" where nothing is.
        """
        messages, truncated = [], 0
        if profile:
            messages.append(Message("system", profile))
        for item in shots:
            words = item.input.split()
            truncated += len(words) > self.shot_words
            messages.append(Message("user", self.task.question(" ".join(words[: self.shot_words]))))
            messages.append(Message("assistant", item.output))
        messages.extend(query.turns)
        truncated += len(query.input) > self.max_input_chars
        messages.append(Message("user", self.task.question(query.input[: self.max_input_chars])))
        return Prompt(tuple(messages), truncated)
