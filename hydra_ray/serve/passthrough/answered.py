"""What the LLM answers to a request that is passed through: as much of it as the completion log keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra_ray.steps.generate.endpoint.reply import read_reply
from hydra_ray.steps.generate.passing import Body

# Of all choices together. A longer answer is kept without its texts: half of one would be taught as a whole.
MOST_SIGNS = 1_000_000
# What stands in place of an answer in words, or announces it.
_BEYOND_TEXT = ("tool_calls", "function_call", "refusal", "audio")


@dataclass(slots=True)
class _Choice:
    texts: list[str] = field(default_factory=list)
    is_text: bool = True
    finish: str = ""

    @property
    def text(self) -> str:
        """The answer, without the reasoning before it; "" where there is none, or not all of it."""
        if not (self.is_text and self.finish):
            return ""
        message = {"content": "".join(self.texts)}
        # As of a method's own requests: nothing that a filter took, and no reasoning.
        return "".join(read_reply({"choices": [{"message": message, "finish_reason": self.finish}]}).texts)


class Answered:
    """Gathers an answer from the replies in which it comes: a whole one, or the chunks of a stream.

    Args:
        n: Number of choices that were asked for; what else comes is not kept.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._choices: dict[int, _Choice] = {}
        self._signs = 0

    def note(self, reply: Body) -> None:
        """Takes the reply, or the next chunk of it; nobody has checked that it has OpenAI's shape."""
        choices = reply.get("choices")
        for place, choice in enumerate(choices if isinstance(choices, list) else ()):
            index = choice.get("index", place) if isinstance(choice, dict) else None
            if isinstance(index, int) and 0 <= index < self._n:
                self._note(self._choices.setdefault(index, _Choice()), choice)

    @property
    def is_over(self) -> bool:
        """Whether all choices have come to their end."""
        return len([one for one in self._choices.values() if one.finish]) >= self._n

    def texts(self) -> tuple[str, ...]:
        """Return the choices' answers in their order, "" for one that is not in words; none where none is."""
        if self._signs > MOST_SIGNS or not self._choices:
            return ()
        found = tuple(self._choices[i].text if i in self._choices else "" for i in range(max(self._choices) + 1))
        return found if any(found) else ()

    def _note(self, known: _Choice, choice: dict[str, Any]) -> None:
        whole = isinstance(choice.get("message"), dict)
        said = choice["message"] if whole else choice.get("delta")
        said = said if isinstance(said, dict) else {}
        if any(said.get(name) for name in _BEYOND_TEXT):
            known.is_text = False
        text = _text_of(said.get("content"))
        self._signs += len(text)
        if self._signs <= MOST_SIGNS:
            known.texts.append(text)
        else:
            known.texts.clear()
        # Not every endpoint says why a whole reply ended.
        known.finish = str(choice.get("finish_reason") or ("stop" if whole else "")) or known.finish


def _text_of(content: Any) -> str:
    """The text of a content, which some say in parts."""
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return "".join(text for part in parts if part.get("type") == "text" and isinstance(text := part.get("text"), str))
