"""Streamed completions on the wire: server-sent events, each a chunk of OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import regex

from hydra_ray.methods.ports import StepError
from hydra_ray.records import Answer
from hydra_ray.serve.http.protocol import choices_of, envelope, no_answer, refusal, usage_of
from hydra_ray.steps.generate import GenerateError

DONE = "data: [DONE]\n\n"
# Where UAX 29 ends a word: between the signs of scripts that write no spaces, too, and never within a grapheme.
_WORD_END = regex.compile(r"(?w)\b", flags=regex.V1)


class Chunks:
    """Writes the chunks of one completion.

    Args:
        completion_id: Id of the completion.
        model: Name of exactly what answers, as OpenAI names dated versions.
        include_usage: Whether a chunk without choices tells the usage before the end.
    """

    def __init__(self, completion_id: str, model: str, include_usage: bool) -> None:
        empty = {"usage": None} if include_usage else {}
        self._envelope = envelope(completion_id, model, "chat.completion.chunk") | empty
        self._include_usage = include_usage

    def begin(self, index: int) -> str:
        """The chunk that says that a choice begins."""
        return self._of_choice(index, {"role": "assistant", "content": "", "refusal": None})

    def text(self, index: int, text: str) -> str:
        """The chunk of a piece of a choice's text."""
        return self._of_choice(index, {"content": text})

    def declined(self, index: int, refusal: str) -> str:
        """The chunk of the words in which the LLM declined."""
        return self._of_choice(index, {"refusal": refusal})

    def end(self, index: int, finish: str, **more: Any) -> str:
        """The chunk that says why a choice ends, with what else the last one says."""
        return self._of_choice(index, {}, finish, **more)

    def last(self, answer: Answer) -> Iterator[str]:
        """What comes after all choices."""
        if self._include_usage:
            yield event({**self._envelope, "choices": [], "usage": usage_of(answer)})
        yield DONE

    def _of_choice(self, index: int, delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}
        return event({**self._envelope, "choices": [choice], **more})


def stream(
    completion_id: str, answer: Answer, model: str, n: int, hydra: dict[str, Any], include_usage: bool = False
) -> Iterator[str]:
    """Yield a whole answer as server-sent events, word by word; the last choice's finish carries `hydra`.

    Args:
        completion_id: Id of the completion.
        answer: The method's answer.
        model: The name of exactly what answered, as OpenAI names dated versions.
        n: Number of choices.
        hydra: The `hydra` object, from `protocol.about`.
        include_usage: Whether a chunk without choices tells the usage before the end.
    """
    chunks = Chunks(completion_id, model, include_usage)
    for i, (text, finish) in enumerate(choices_of(answer, n)):
        yield chunks.begin(i)
        if answer.refusal:
            yield chunks.declined(i, answer.refusal)
        for piece in pieces(text):
            yield chunks.text(i, piece)
        yield chunks.end(i, finish, **({"hydra": hydra} if i == n - 1 else {}))
    yield from chunks.last(answer)


def broken_off(error: Exception) -> str:
    """The event that ends a stream whose answer was broken off, in the form of OpenAI's errors; no `[DONE]` follows."""
    if isinstance(error, GenerateError | StepError):
        response = no_answer(error)
    else:
        response = refusal(500, "the server failed at this request; its log says why", "server_error")
    return f"data: {bytes(response.body).decode()}\n\n"


def pieces(text: str) -> Iterator[str]:
    """A text's words, each with the blanks before it; joined they are the text."""
    blanks = ""
    for part in _WORD_END.split(text):
        if part.isspace():
            blanks += part
        elif part:
            yield blanks + part
            blanks = ""
    if blanks:
        yield blanks


def event(body: dict[str, Any]) -> str:
    """Return a chunk as an event."""
    return f"data: {json.dumps(body)}\n\n"
