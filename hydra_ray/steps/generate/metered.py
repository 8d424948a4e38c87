"""Tells whoever keeps count how each request ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from hydra_ray.records import ChatRequest, Generation, Piece, Usage
from hydra_ray.steps.generate.base import BudgetSpentError, FilteredError, GenerateError, Generator, stream_of
from hydra_ray.steps.generate.passing import Body, passed_of, usage_in

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """End of one request.

    Attributes:
        seconds: Seconds from the request to its end, all waiting and retrying included.
        usage: Calls and tokens that it took; none where it failed but by a filter, which comes after the LLM.
        error: The `kind` of its `GenerateError`, "other" for any other exception, None for an answer.
    """

    seconds: float
    usage: Usage
    error: str | None


class MeteredGenerator:
    """Tells how each request ended, once, whether it was answered or failed.

    A request that a budget did not allow, or whose caller cancelled it, does not count: nobody answered or failed.

    Args:
        generator: The LLM.
        observe: Called with the end of each request; it must not raise.
    """

    def __init__(self, generator: Generator, observe: Callable[[CallOutcome], None]) -> None:
        self._generator = generator
        self._observe = observe

    async def __call__(self, request: ChatRequest) -> Generation:
        start = time.perf_counter()
        try:
            answer = await self._generator(request)
        except (BudgetSpentError, asyncio.CancelledError):
            raise
        except Exception as error:
            self._observe(_failed(error, start))
            raise
        self._observe(CallOutcome(time.perf_counter() - start, answer.usage, None))
        return answer

    def stream(self, request: ChatRequest) -> AsyncGenerator[Piece]:
        """Yields an answer as the LLM says it; one that nobody listens to until its end does not count."""
        return self._counted(stream_of(self._generator, request), lambda piece: piece.usage)

    def passed(self, body: Body) -> AsyncGenerator[Body]:
        """Yields the LLM's reply to what somebody else asks."""
        return self._counted(passed_of(self._generator, body), usage_in)

    async def _counted(
        self, parts: AsyncGenerator[Part], usage_of: Callable[[Part], Usage | None]
    ) -> AsyncGenerator[Part]:
        start, usage = time.perf_counter(), Usage(1)
        try:
            async with aclosing(parts):
                async for part in parts:
                    usage = usage_of(part) or usage
                    yield part
            self._observe(CallOutcome(time.perf_counter() - start, usage, None))
        except BudgetSpentError:
            raise
        except Exception as error:
            self._observe(_failed(error, start))
            raise

    async def close(self) -> None:
        """Closes the generator."""
        await self._generator.close()


def _failed(error: Exception, start: float) -> CallOutcome:
    kind = error.kind if isinstance(error, GenerateError) else "other"
    return CallOutcome(time.perf_counter() - start, error.usage if isinstance(error, FilteredError) else Usage(), kind)
