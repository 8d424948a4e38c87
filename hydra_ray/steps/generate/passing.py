"""Requests of others that the LLM gets as they are: bodies of OpenAI's chat completions in, replies or chunks out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, Protocol, runtime_checkable

from hydra_ray.records import ChatRequest, Message, Usage
from hydra_ray.steps.generate.base import GenerateError, Generator
from hydra_ray.steps.generate.endpoint.reply import read_reply

Body = dict[str, Any]
# What an answer is taken to be at most where the body does not say, in tokens.
_MOST_TOKENS = 1024


@runtime_checkable
class PassingGenerator(Protocol):
    """An LLM that takes bodies of OpenAI's chat completions."""

    def passed(self, body: Body) -> AsyncGenerator[Body]:
        """Yields the LLM's reply as it came: one body, or the chunks of a stream where the body asks for one.

        Args:
            body: What is asked; the name of the model is the LLM's business.

        Raises:
            GenerateError: The LLM refused, failed, or broke off.
        """
        ...


async def passed_of(generator: Generator, body: Body) -> AsyncGenerator[Body]:
    """Yields what `PassingGenerator.passed` does.

    Raises:
        GenerateError: The LLM refused, failed or broke off, or takes no bodies.
    """
    if not isinstance(generator, PassingGenerator):
        raise GenerateError("this LLM takes no requests but those of methods", "refused")
    async with aclosing(generator.passed(body)) as replies:
        async for reply in replies:
            yield reply


def usage_in(reply: Body) -> Usage | None:
    """Return the tokens that a reply or chunk tells; None where it tells none."""
    return read_reply(reply).usage if isinstance(reply.get("usage"), dict) else None


def as_request(body: Body) -> ChatRequest:
    """Return the request that a body is, as far as budgets and paces have to know: its texts, and what it may cost."""
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    samples = body.get("n")
    each = most if isinstance(most, int) and most > 0 else _MOST_TOKENS
    return ChatRequest(
        tuple(Message("user", text) for text in _texts(body.get("messages"))),
        max_tokens=each * (samples if isinstance(samples, int) and samples > 0 else 1),
    )


def _texts(messages: Any) -> Iterator[str]:
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else [{"text": content}]:
            text = part.get("text") if isinstance(part, dict) else None
            if isinstance(text, str):
                yield text
