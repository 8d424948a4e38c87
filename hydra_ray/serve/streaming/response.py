"""The response that a client hears while the method still works; a client that hangs up stops that work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from hydra_ray.methods.ports import StepError
from hydra_ray.records import Answer, HydraError, Usage
from hydra_ray.serve.http.chunks import Chunks, broken_off, stream
from hydra_ray.serve.streaming.saying import Saying
from hydra_ray.steps.generate import GenerateError

log = logging.getLogger(__name__)

_EVENTS = "text/event-stream"
# Reverse proxies would else keep chunks back until they have many.
_AT_ONCE = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True)
class Streamed:
    """One streamed completion, and what is done when its answer is there, or is broken off.

    Attributes:
        id: Id of the completion.
        model: Name of exactly what answers.
        n: Number of choices, of a method that chose before it answers.
        include_usage: Whether a chunk tells the usage.
        answered: Takes the method's answer; returns it as it is answer, with the `hydra` object.
        broken_off: Takes what an answer that nobody gets has cost.
    """

    id: str
    model: str
    n: int
    include_usage: bool
    answered: Callable[[Answer], Awaitable[tuple[Answer, dict[str, Any]]]]
    broken_off: Callable[[Usage], None]


async def streamed(answer: Coroutine[Any, Any, Answer], saying: Saying, whole: Streamed) -> StreamingResponse:
    """Return the response, once the LLM has said the first piece, or the method has its answer without any.

    Args:
        answer: The method at work, with `saying` as its port.
        saying: What the LLM says.
        whole: The completion, and what is done at its end.

    Raises:
        GenerateError: The LLM gave no answer.
        StepError: Another step failed without which the method cannot go on.
    """
    making = asyncio.create_task(answer)
    heard = saying.heard(making)
    try:
        first = await anext(heard, None)
    except asyncio.CancelledError:
        making.cancel()
        whole.broken_off(saying.spent())
        await _stop(making)
        raise
    if first is None:
        chosen, hydra = await whole.answered(await making)
        events = stream(whole.id, chosen, whole.model, whole.n, hydra, whole.include_usage)
        return StreamingResponse(events, headers=_AT_ONCE, media_type=_EVENTS)
    said = _Said(making, heard, first, saying, whole, Chunks(whole.id, whole.model, whole.include_usage))
    begun = said.events()
    return Closing(await anext(begun), begun, media_type=_EVENTS)


@dataclass(frozen=True, slots=True)
class _Said:
    """An answer whose first piece is there."""

    making: asyncio.Task[Answer]
    heard: AsyncGenerator[str]
    first: str
    saying: Saying
    whole: Streamed
    chunks: Chunks

    async def events(self) -> AsyncGenerator[str]:
        """Yields the events; closed before the last one, it stops the method and the LLM."""
        try:
            yield self.chunks.begin(0)
            yield self.chunks.text(0, self.first)
            async for text in self.heard:
                yield self.chunks.text(0, text)
            answer, hydra = await self.whole.answered(await self.making)
        except (asyncio.CancelledError, GeneratorExit):
            log.info("the client left while it was answered")
            self.making.cancel()
            self.whole.broken_off(self.saying.spent())
            await _stop(self.making)
            raise
        except Exception as error:
            if isinstance(error, GenerateError | StepError):
                log.warning("an answer was broken off: %s", error)
            else:
                log.exception("an answer was broken off")
            self.whole.broken_off(self.saying.spent())
            yield broken_off(error)
            return
        yield self.chunks.end(0, self.saying.finish or answer.finish, hydra=hydra)
        for event in self.chunks.last(answer):
            yield event


class Closing(StreamingResponse):
    """Closes what it sends when it ends, however it ends.

    Args:
        first: First event, which has been made: a generator that never began would not know that it is closed.
        events: Generator of the others.
        media_type: Media type of the response.
    """

    def __init__(self, first: str, events: AsyncGenerator[str], media_type: str) -> None:
        super().__init__(_from(first, events), headers=_AT_ONCE, media_type=media_type)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()


async def _from(first: str, events: AsyncGenerator[str]) -> AsyncGenerator[str]:
    yield first
    async for event in events:
        yield event


async def _stop(making: asyncio.Task[Answer]) -> None:
    """Waits for the end of a method that was cancelled."""
    try:
        await making
    except asyncio.CancelledError:
        pass
    except HydraError as error:
        log.info("what was stopped had failed: %s", error)
