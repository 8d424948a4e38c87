"""Limits on what an LLM is asked: what a run may spend, and what an endpoint takes in a minute."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TypeVar

from aiolimiter import AsyncLimiter

from hydra_ray.records import ChatRequest, Generation, HydraError, Piece, Usage
from hydra_ray.steps.generate.base import BudgetSpentError, FilteredError, Generator, RephraseError, stream_of
from hydra_ray.steps.generate.passing import Body, as_request, passed_of, usage_in

Part = TypeVar("Part")

# What a minute allows is let through evenly but for this many seconds' worth, which may go at once.
BURST_S = 5


def estimate_tokens(request: ChatRequest) -> int:
    """Tokens of the prompt, roughly: one for 4 bytes of UTF-8 (4 letters of English), and 4 for each turn's frame."""
    # Bytes rather than characters, since a character of Chinese, say, is about a token of its own.
    return sum(4 + -(-len(message.content.encode(errors="replace")) // 4) for message in request.messages)


def most_tokens(request: ChatRequest) -> Usage:
    """The greatest usage that the request can come to, as far as its prompt is estimated well."""
    return Usage(1, estimate_tokens(request), request.n * request.max_tokens)


@dataclass(slots=True)
class Budget:
    """Budget of one process; None is no limit.

    Attributes:
        calls: Most requests; never exceeded.
        tokens: Most tokens, in and out together. Exceeded only by what prompts have more than was estimated.
        cost: Most that tokens may cost; exceeded likewise.
        price_in: Price of a million prompt tokens.
        price_out: Price of a million completion tokens.
        spent: Calls and tokens used so far.
    """

    calls: int | None
    tokens: int | None
    cost: float | None
    price_in: float
    price_out: float
    spent: Usage = field(default=Usage(), init=False)
    _reserved: Usage = field(default=Usage(), init=False, repr=False)

    def reserve(self, request: ChatRequest) -> Usage:
        """Sets aside the most that the request can use; `settle` gives it back.

        Raises:
            BudgetSpentError: The request, with what is spent and set aside, would exceed a limit.
        """
        ask = most_tokens(request)
        for name, limit in (("calls", self.calls), ("tokens", self.tokens), ("cost", self.cost)):
            spent, reserved, more = (self._amount(name, usage) for usage in (self.spent, self._reserved, ask))
            # Costs are floats: a budget of 0.3 has room for three requests of 0.1.
            if limit is not None and spent + reserved + more > limit * (1 + 1e-9):
                raise BudgetSpentError(
                    f"generator.limits.{name}: {_rounded(spent)} of {_rounded(limit)} are spent and "
                    f"{_rounded(reserved)} reserved by requests under way; one more may need {_rounded(more)}"
                )
        self._reserved += ask
        return ask

    def settle(self, reserved: Usage, used: Usage) -> None:
        """Gives back what `reserve` set aside and books what was used in its place."""
        calls, prompt, completion = reserved.calls, reserved.prompt_tokens, reserved.completion_tokens
        self._reserved += Usage(-calls, -prompt, -completion)
        self.spent += used

    def share(self, n: int) -> Budget:
        """The budget of each of n processes that spend this one together.

        Rounded down, since n shares of "at least one call" may be more calls than were allowed; up to n - 1
        calls stay unused.

        Raises:
            HydraError: A share would be nothing, with which a process could only fail.
        """
        for name, limit in (("calls", self.calls), ("tokens", self.tokens)):
            if limit and limit < n:
                raise HydraError(
                    f"generator.limits.{name}: {limit} cannot be shared by {n} processes: "
                    f"raise it, or use at most {limit}"
                )
        return replace(
            self,
            calls=None if self.calls is None else self.calls // n,
            tokens=None if self.tokens is None else self.tokens // n,
            cost=None if self.cost is None else self.cost / n,
        )

    def _amount(self, name: str, usage: Usage) -> float:
        if name == "calls":
            return usage.calls
        if name == "tokens":
            return usage.prompt_tokens + usage.completion_tokens
        return (usage.prompt_tokens * self.price_in + usage.completion_tokens * self.price_out) / 1e6


class BudgetedGenerator:
    """Asks while the budget lasts.

    A request that fails is a call spent, and no tokens: endpoints do not say what failed requests cost, but of those
    whose answers a filter took.

    Args:
        generator: The LLM.
        budget: Budget, shared with whoever else spends it in this event loop.
    """

    def __init__(self, generator: Generator, budget: Budget) -> None:
        self._generator = generator
        self._budget = budget

    async def __call__(self, request: ChatRequest) -> Generation:
        reserved = self._budget.reserve(request)
        used = Usage(calls=1)
        try:
            answer = await self._generator(request)
            used = _charged(answer.usage, reserved)
        except RephraseError as error:
            # Nothing where it was not sent at all; tokens where some of its samples came.
            used = _charged(error.usage, reserved) if error.texts else error.usage
            raise
        except FilteredError as error:
            used = _charged(error.usage, reserved)
            raise
        finally:
            self._budget.settle(reserved, used)
        return answer

    def stream(self, request: ChatRequest) -> AsyncGenerator[Piece]:
        """Yields an answer as the LLM says it; one that is broken off is booked with all that it could come to."""
        return self._booked(request, stream_of(self._generator, request), lambda piece: piece.usage)

    def passed(self, body: Body) -> AsyncGenerator[Body]:
        """Yields the LLM's reply to what somebody else asks."""
        return self._booked(as_request(body), passed_of(self._generator, body), usage_in)

    async def _booked(
        self, request: ChatRequest, parts: AsyncGenerator[Part], usage_of: Callable[[Part], Usage | None]
    ) -> AsyncGenerator[Part]:
        reserved = self._budget.reserve(request)
        used = Usage(calls=1)
        try:
            async with aclosing(parts):
                async for part in parts:
                    usage = usage_of(part)
                    used = reserved if usage is None else _charged(usage, reserved)
                    yield part
        except RephraseError as error:
            used = error.usage
            raise
        except FilteredError as error:
            used = _charged(error.usage, reserved)
            raise
        finally:
            self._budget.settle(reserved, used)

    async def close(self) -> None:
        """Closes the generator."""
        await self._generator.close()


class Pace:
    """Holds requests back to what an endpoint takes in a minute; None is no limit.

    Tokens are what a request can come to (`most_tokens`), as endpoints count them too.

    Args:
        requests_per_minute: Most requests.
        tokens_per_minute: Most tokens, in and out together.
    """

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        self._requests = _Allowance(requests_per_minute) if requests_per_minute else None
        self._tokens = _Allowance(tokens_per_minute) if tokens_per_minute else None

    async def __call__(self, request: ChatRequest) -> None:
        """Returns when the request may go."""
        if self._requests:
            await self._requests.take(1)
        if self._tokens:
            most = most_tokens(request)
            await self._tokens.take(most.prompt_tokens + most.completion_tokens)


class _Allowance:
    def __init__(self, per_minute: int) -> None:
        # A limiter of 60 s would let a minute's allowance through at once and refill it within the same minute.
        # A burst and 60 s of this rate are one allowance together. Below one a burst the rate is simply kept.
        burst = max(1, per_minute * BURST_S / (60 + BURST_S))
        self._limiter = AsyncLimiter(burst, max(BURST_S, 60 / per_minute))
        self._per_minute = per_minute
        self._turn = asyncio.Lock()

    async def take(self, amount: int) -> None:
        """Waits for the amount; one beyond a whole minute's allowance counts as that."""
        # In turn: the limiter wakes small amounts first, and a big one would wait for as long as they come.
        async with self._turn:
            left: float = min(amount, self._per_minute)
            # More than a burst is paid in parts.
            while left > 0:
                part = min(left, self._limiter.max_rate)
                await self._limiter.acquire(part)
                left -= part


def _charged(usage: Usage, reserved: Usage) -> Usage:
    """Return the usage that an answer is booked with."""
    if usage.cached:
        return Usage()
    # An endpoint that tells no numbers would be free for ever.
    return usage if usage.prompt_tokens or usage.completion_tokens else reserved


def _rounded(amount: float) -> str:
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:.6g}"
