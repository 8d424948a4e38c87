"""Reads a streamed reply: what of it is the answer, as soon as that is known, and the whole of it at its end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from openai import AsyncStream
from openai.types.chat import ChatCompletionChunk

from hydra_ray.steps.generate.endpoint.reply import REASONING, without_reasoning

# How reasoning begins, in lower case; `reply.without_reasoning` says where it ends.
_OPENERS = (
    *(f"<{name}" for name in ("think", "thought", "reasoning", "seed:think")),
    *("[think]", "◁think▷", "<|begin_of_thought|>", "<|channel|>", "<|start|>assistant", "analysis"),
)
# The end of a text that may be half of a tag.
_HALF_A_TAG = re.compile(r"[<\[◁][^<>\[\]◁▷\s]{0,24}\Z")
# Reasoning that is at its end has one of these in it.
_ENDS_OF_TAGS = (">", "]", "▷", "assistantfinal")


class Answering:
    """Tells what of an LLM's words is its answer, while it says them.

    What is released is never taken back. What may be reasoning is held until it is known to be none.

    Args:
        reasons: Whether the LLM is known to reason in its answers, perhaps without a tag that opens the reasoning.

    Attributes:
        released: Part of the answer that was released so far, without blanks around it.
    """

    def __init__(self, *, reasons: bool) -> None:
        self._reasons, self._plain = reasons, False
        self._said = ""
        self.released = ""

    def add(self, words: str, apart: bool) -> str:
        """Take more words; return what more of the answer can be released.

        Args:
            words: Next words of the LLM.
            apart: Whether reasoning came in a field of its own, so that words without a tag are the answer's.
        """
        self._said += words
        if not self._plain:
            begun = self._said.lstrip()
            held = not begun or _may_reason(begun)
            if held or (self._reasons and not apart):
                return self._after_reasoning(words)
            self._plain = True
        return self._tell(self._said.strip())

    def rest(self, answer: str) -> str:
        """Return what was not released of the whole answer; "" where another text was, which stays."""
        return self._tell(answer)

    def _after_reasoning(self, words: str) -> str:
        if not self.released and not any(end in self._said for end in _ENDS_OF_TAGS):
            return ""
        answer = without_reasoning(self._said)
        if answer is None or (not self.released and answer == self._said.strip()):
            return ""
        return self._tell(_HALF_A_TAG.sub("", answer).rstrip())

    def _tell(self, answer: str) -> str:
        if not answer.startswith(self.released):
            return ""
        more, self.released = answer[len(self.released) :], answer
        return more


class Collected:
    """The body that a streamed reply would be as a whole, as far as its chunks came.

    Attributes:
        finish: Why the first choice ended; "" until it did.
    """

    def __init__(self) -> None:
        self._message: dict[str, str] = {}
        self._usage: Any = None
        self._half = ""
        self.finish = ""

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Take a chunk, whose shape nobody has checked; return the words of the first choice in it."""
        self._usage = chunk.get("usage") or self._usage
        choices = chunk.get("choices")
        choice = next((one for one in choices if isinstance(one, dict) and not one.get("index")), {}) if choices else {}
        self.finish = str(choice.get("finish_reason") or self.finish)
        delta = choice.get("delta")
        for name in ("refusal", *REASONING):
            if isinstance(delta, dict) and (said := delta.get(name)):
                self._message[name] = self._message.get(name, "") + str(said)
        words = delta.get("content") if isinstance(delta, dict) else None
        words = self._valid(words) if isinstance(words, str) else ""
        self._message["content"] = self._message.get("content", "") + words
        return words

    @property
    def reasons_apart(self) -> bool:
        """Whether reasoning came in a field of its own, so that the words are the answer's."""
        return any(name in self._message for name in REASONING)

    def body(self) -> dict[str, Any]:
        """Return the whole reply as its chunks tell it."""
        choice = {"index": 0, "message": self._message, "finish_reason": self.finish}
        return {"choices": [choice], **({"usage": self._usage} if self._usage else {})}

    def _valid(self, words: str) -> str:
        """The words as valid Unicode. Half of a surrogate pair at their end waits for the other half."""
        words, self._half = self._half + words, ""
        if words and "\ud800" <= words[-1] <= "\udbff":
            words, self._half = words[:-1], words[-1]
        return words.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Heard(Collected):
    """A streamed reply of the `openai` client, under way.

    Args:
        chunks: The chunks, from the client.
    """

    def __init__(self, chunks: AsyncStream[ChatCompletionChunk]) -> None:
        super().__init__()
        self._chunks = chunks

    async def words(self) -> str | None:
        """Return the next words of the first choice, "" where a chunk has none; None after the last chunk.

        Raises:
            openai.OpenAIError: The endpoint sent an error, or the connection broke.
            ValueError: What came is no JSON.
        """
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            return None
        return self.add(chunk.model_dump(warnings=False) if isinstance(chunk, ChatCompletionChunk) else {})

    async def close(self) -> None:
        """Closes the connection, by which the endpoint knows that nobody listens."""
        await self._chunks.close()


def _may_reason(begun: str) -> bool:
    """Whether a text that begins so may be reasoning."""
    begun = begun.lower()
    return any(begun.startswith(opener) or opener.startswith(begun) for opener in _OPENERS)
