"""Tells whoever keeps count how each request ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from hydra_ray.records import ChatRequest, Generation, Usage
from hydra_ray.steps.generate.base import BudgetSpentError, GenerateError, Generator


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """End of one request.

    Attributes:
        seconds: Seconds from the request to its end, all waiting and retrying included.
        usage: Calls and tokens that it took; none where it failed.
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
            kind = error.kind if isinstance(error, GenerateError) else "other"
            self._observe(CallOutcome(time.perf_counter() - start, Usage(), kind))
            raise
        self._observe(CallOutcome(time.perf_counter() - start, answer.usage, None))
        return answer

    async def close(self) -> None:
        """Closes the generator."""
        await self._generator.close()
