"""What a task is: its instruction, how its records read, how its answers are parsed and scored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from hydra_ray.tasks.kinds import KINDS

Kind = Literal["classification", "rating", "generation"]


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the data in hand defines it.

    Attributes:
        name: Key in the registry.
        kind: How answers are parsed and scored.
        instruction: Text before the query's own text in the prompt, without the marker.
        marker: Word that ends the instruction, e.g. "article:"; empty when there is none.
        input_field: Field of a LaMP history item that holds its input.
        output_field: Field that holds the user's answer.
        context_field: Field that is only retrieved by; empty when there is none.
        labels: Closed answer set; for ratings the scale, lowest first.
        labels_marker: Word before the label list within a LaMP input, e.g. "tags:".
        max_tokens: Longest answer, in the LLM's tokens.
        history_template: Format of the message where history items are no questions with answers, with {head}
            (instruction and marker), {items} (the user's texts) and {text}. Empty where items are shown as earlier
            turns of the chat.
        conversation: Whether what was said before in the same conversation is part of the question.
    """

    name: str
    kind: Kind
    instruction: str = ""
    marker: str = ""
    input_field: str = "input"
    output_field: str = "output"
    context_field: str = ""
    labels: tuple[str, ...] = ()
    labels_marker: str = ""
    max_tokens: int = 64
    history_template: str = ""
    conversation: bool = False

    @property
    def pairs(self) -> bool:
        """Whether a history item is a question with the user's answer, which can be shown and asked again as such."""
        return not self.history_template

    @property
    def free(self) -> bool:
        """Whether an answer is what the LLM says, word for word: it is neither parsed nor one of a known set."""
        return self.kind == "generation" and not self.closed

    @property
    def closed(self) -> bool:
        """Whether all allowed answers are known."""
        return bool(self.labels)

    def question(self, text: str, history: Sequence[str] = ()) -> str:
        """Return the prompt for one text: instruction, marker, text.

        Args:
            text: The query's own text.
            history: The user's own texts, most useful first; only for tasks with a `history_template`. They read
                as in LaMP's prompts (arXiv 2304.11406): quoted and joined by ", and ".
        """
        head = " ".join(part for part in (self.instruction, self.marker) if part)
        if not history:
            return " ".join(part for part in (head, text) if part)
        items = ", and ".join(f'"{item}"' for item in history)
        return self.history_template.format(head=head, items=items, text=text)

    def query_text(self, message: str) -> str:
        """Return the query's own text: a message may carry the task's instruction or leave it out."""
        head = self.question("")
        rest = message.removeprefix(head)
        # Without a marker the instruction has to end where a word does; no blank follows on "。".
        ends = self.marker or not rest or rest[0].isspace() or not (head[-1:].isalnum() or head[-1:].isascii())
        return (rest if head and len(rest) < len(message) and ends else message).strip()

    def parse(self, output: str) -> str | None:
        """Return the answer that an LLM's output gives; None when it gives none."""
        return KINDS[self.kind].parse(output, self.labels)

    def score(self, output: str, gold: str) -> float:
        """Return how good an output is against the gold answer, 0 (worst) to 1."""
        return KINDS[self.kind].score(output, gold, self.labels)

    def from_input(self, text: str) -> Task:
        """Return this task with the instruction and labels that one LaMP input carries.

        Raises:
            ValueError: The input lacks the marker, or the list of labels.
        """
        before, found, _ = text.partition(self.marker)
        if not found:
            raise ValueError(f'"{self.marker}" is not in the input')
        task = replace(self, instruction=before.strip())
        if not self.labels_marker:
            return task
        listed = re.search(re.escape(self.labels_marker) + r"\s*\[(.+?)\]", before)
        if not listed:
            raise ValueError(f'no list of answers "{self.labels_marker} [...]" is in the input')
        return replace(task, labels=tuple(label.strip() for label in listed[1].split(",")))

    def to_json(self) -> dict[str, Any]:
        """Return the task as plain JSON values, for a published model."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Task:
        """Read what `to_json` wrote; fields that older versions did not write keep their defaults."""
        return cls(**{**values, "labels": tuple(values["labels"])})
