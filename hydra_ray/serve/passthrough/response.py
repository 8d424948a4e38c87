"""Hands a request to the LLM and its answer back, each as it came; `hydra` in the answer says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from fastapi.responses import Response
from starlette.requests import ClientDisconnect, Request

from hydra_ray.methods.answering import retrieved
from hydra_ray.methods.ports import Recipe
from hydra_ray.records import Query, Ranked, Usage
from hydra_ray.serve.http.chunks import DONE, broken_off, event
from hydra_ray.serve.http.protocol import AsciiJSON
from hydra_ray.serve.http.requests import PASSTHROUGH
from hydra_ray.serve.observe.trace import current_trace
from hydra_ray.serve.passthrough.answered import Answered
from hydra_ray.serve.passthrough.telling import with_history
from hydra_ray.serve.ports import RemoteSteps
from hydra_ray.serve.streaming.listening import while_listening
from hydra_ray.serve.streaming.response import Closing
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.limits import estimate_tokens
from hydra_ray.steps.generate.passing import Body, as_request, usage_in

log = logging.getLogger(__name__)

Part = TypeVar("Part")

# Ours, or about who asks: the LLM's owner need not know.
_KEPT_HERE = ("hydra", "user", "safety_identifier", "metadata")


@dataclass(frozen=True, slots=True)
class Passed:
    """A request that is passed through.

    Attributes:
        id: Id of the completion. The LLM's own may be told twice, and would not find it in the log.
        body: Body of the request, as it came.
        reasons: Why it is passed through.
        n: Number of choices that are wanted.
        include_usage: Whether a stream ends with the usage.
        query: What the user asks, if their history is told.
        hydra: What else `hydra` says: user, version, what was degraded.
        detail: Whether the caller may see the history.
        answered: Takes the choices' texts, as far as they have any, and what the answer took, once it is whole.
        broken_off: Takes what an answer has cost that nobody gets.
    """

    id: str
    body: Body
    reasons: tuple[str, ...]
    n: int
    include_usage: bool
    query: Query | None
    hydra: dict[str, Any]
    detail: bool
    answered: Callable[[tuple[str, ...], Usage], None]
    broken_off: Callable[[Usage], None]


async def pass_through(
    passed: Passed, request: Request, steps: RemoteSteps, recipe: Recipe, most_words: int
) -> Response:
    """Return the LLM's answer as it came, once it begins.

    Args:
        passed: Request that is passed through.
        request: The same as it came; a client that hangs up stops the LLM's work.
        steps: Steps of the tenant.
        recipe: How much history is told, and which.
        most_words: Longest text of an item that is told, in words.

    Raises:
        GenerateError: The LLM refused or failed.
    """
    degraded = list(passed.hydra["degraded"])
    history: list[Ranked] = []
    if passed.query is not None:
        history = await retrieved(steps.ports(), passed.query, recipe.shots, recipe.retriever, degraded)
    current_trace().degraded = tuple(degraded)
    body = {name: value for name, value in passed.body.items() if name not in _KEPT_HERE}
    body = with_history(body, history, most_words)
    known = {"history": [{"id": r.item.id, "input": r.item.input, "output": r.item.output} for r in history]}
    hydra = {
        **passed.hydra,
        "method": PASSTHROUGH,
        "reason": "; ".join(passed.reasons),
        **(known if passed.detail else {}),
        "head": "none",
        "degraded": degraded,
    }
    replies = steps.passed(body)
    passing = _Passing(body, replies, replace(passed, hydra=hydra), Answered(passed.n))
    try:
        first = await while_listening(request, _next(replies))
        if body.get("stream"):
            events = passing.events(first)
            # What comes first need not be one for the client.
            return Closing(await while_listening(request, _next(events)), events, media_type="text/event-stream")
        return await passing.whole(first)
    except (ClientDisconnect, asyncio.CancelledError):
        passing.leave()
        raise


async def _next(parts: AsyncGenerator[Part]) -> Part:
    return await anext(parts)


@dataclass(slots=True)
class _Passing:
    """An answer that is passed through."""

    body: Body
    replies: AsyncGenerator[Body]
    passed: Passed
    said: Answered
    count: int = field(default=0, init=False)
    usage: Usage | None = field(default=None, init=False)
    is_charged: bool = field(default=False, init=False)

    async def whole(self, reply: Body) -> Response:
        """The response of an answer that came whole."""
        self._note(reply)
        try:
            # To its end: a reply that is left early is none that the breaker knows of.
            await anext(self.replies, None)
        except GenerateError as error:
            log.warning("the LLM failed after its whole answer, which stands: %s", error)
        self.passed.answered(self.said.texts(), self.usage or Usage(1))
        return AsciiJSON({**reply, "id": self.passed.id, "hydra": self._about(reply)})

    async def events(self, first: Body) -> AsyncGenerator[str]:
        """Yields the chunks as they come; closed before the last one, it stops the LLM."""
        try:
            for line in self._events_of(first):
                yield line
            async for chunk in self.replies:
                for line in self._events_of(chunk):
                    yield line
        except (asyncio.CancelledError, GeneratorExit):
            log.info("the client left while it was answered")
            if self.said.is_over:
                # Nothing but the usage, or the end, was left to say.
                self._answered()
            else:
                self.leave()
            await self.replies.aclose()
            raise
        except Exception as error:
            if isinstance(error, GenerateError):
                log.warning("an answer that was passed through was broken off: %s", error)
            else:
                log.exception("an answer that was passed through was broken off")
            self.leave()
            yield broken_off(error)
            return
        self._answered()
        yield DONE

    def leave(self) -> None:
        """Charges an answer that nobody gets, once."""
        if not self.is_charged:
            self.is_charged = True
            self.passed.broken_off(self.spent())

    def _answered(self) -> None:
        if not self.is_charged:
            self.is_charged = True
            self.passed.answered(self.said.texts(), self.spent())

    def _events_of(self, chunk: Body) -> list[str]:
        """The event of a chunk; none of one that only tells a usage that nobody asked for."""
        self._note(chunk)
        choices = chunk.get("choices")
        # Some send `"usage": null` along with all that has no choices.
        if not choices and chunk.get("usage") is not None and not self.passed.include_usage:
            return []
        ends = any(isinstance(one, dict) and one.get("finish_reason") for one in choices or ())
        ours = {"id": self.passed.id, **({"hydra": self._about(chunk)} if ends else {})}
        return [event(chunk | ours)]

    def _note(self, reply: Body) -> None:
        self.count += 1
        self.usage = usage_in(reply) or self.usage
        self.said.note(reply)

    def _about(self, reply: Body) -> dict[str, Any]:
        return {**self.passed.hydra, "llm_id": reply.get("id")}

    def spent(self) -> Usage:
        """What the LLM told, or else what it can be: a token a chunk."""
        return self.usage or Usage(1, estimate_tokens(as_request(self.body)), self.count)
