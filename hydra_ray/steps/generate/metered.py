"""What becomes of requests, told to whoever keeps count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hydra_ray.records import ChatRequest, Generation, Usage
from hydra_ray.steps.generate.base import BudgetSpentError, GenerateError, Generator


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended.

    Attributes:
        seconds: From the request to its end, all waiting and retrying included.
        usage: What it cost; nothing where it failed.
        error: The `kind` of its `GenerateError`, "other" for any other exception, None for an answer.
    """

    seconds: float
    usage: Usage
    error: str | None


@dataclass(slots=True)
class Tally:
    """Outcomes added up; tallies of several processes are added with +.

    Attributes:
        calls: Requests that an LLM answered.
        prompt_tokens: Of those and of cached answers, as endpoints count them.
        completion_tokens: Likewise.
        cached: Requests that were answered from disk.
        failed: How many requests failed, by kind.
        seconds: Sum of all requests' seconds.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Counts one more request; fits as `observe` of a `MeteredGenerator`."""
        usage = outcome.usage
        self.calls += usage.calls
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.cached += usage.cached
        self.seconds += outcome.seconds
        if outcome.error is not None:
            self.failed[outcome.error] = self.failed.get(outcome.error, 0) + 1

    def __add__(self, other: Tally) -> Tally:
        kinds = sorted({*self.failed, *other.failed})
        return Tally(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached + other.cached,
            {kind: self.failed.get(kind, 0) + other.failed.get(kind, 0) for kind in kinds},
            self.seconds + other.seconds,
        )


class MeteredGenerator:
    """Tells how each request ended, once, whether it was answered or failed.

    A request that a budget did not allow, or whose caller cancelled it, is not told: nobody answered or failed.

    Args:
        generator: Asked.
        observe: Told; it must not raise.
    """

    def __init__(self, generator: Generator, observe: Callable[[Outcome], None]) -> None:
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
            self._observe(Outcome(time.perf_counter() - start, Usage(), kind))
            raise
        self._observe(Outcome(time.perf_counter() - start, answer.usage, None))
        return answer

    async def close(self) -> None:
        """Closes the generator."""
        await self._generator.close()
