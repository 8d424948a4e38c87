"""Asks one endpoint after the other until one answers, in rounds, and within what they take."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

from tenacity import AsyncRetrying, before_sleep_log, retry_if_exception, stop_after_attempt, wait_random_exponential

from hydra_ray.records import ChatRequest, HydraError
from hydra_ray.steps.generate.base import FilteredError, GenerateError, RephraseError
from hydra_ray.steps.generate.endpoint.target import Target
from hydra_ray.steps.generate.limits import Pace

log = logging.getLogger(__name__)

# Upper end of the random wait before the first retry; it doubles with each.
FIRST_WAIT_S = 0.5
# An endpoint that asks for a longer wait is given up until then.
MAX_WAIT_S = 60.0

Reply = TypeVar("Reply")
# Asks one endpoint once. Failures are returned, not raised.
Attempt = Callable[[Target], Awaitable[Reply | GenerateError]]


class Rounds:
    """Asks the first endpoint that is well, and tries again what failed in passing.

    In a round each endpoint is asked once at most, in order, those that failed lately last, until one answers. Between
    rounds lies a random wait, exponentially longer each time. An endpoint that names a wait (Retry-After) is not asked
    before; one that refuses the key, or every request of this form, is not asked again for this request; a request
    that is itself refused fails at once.

    Args:
        model: Name of the model, for messages.
        targets: Endpoints in order of preference, at least one.
        pace: What the endpoints take in a minute.
        concurrency: Most requests in flight, over all endpoints.
        retries: Further rounds after a failed one.
    """

    def __init__(self, model: str, targets: Sequence[Target], pace: Pace, concurrency: int, retries: int) -> None:
        self._model = model
        self._targets = targets
        self._retries = retries
        self._slots = asyncio.Semaphore(concurrency)
        self._pace = pace

    async def __call__(self, request: ChatRequest, attempt: Attempt[Reply], held: AsyncExitStack) -> Reply:
        """Return the first reply that is none of failure.

        Args:
            request: Request that is asked, by which the pace is kept.
            attempt: Asks one endpoint.
            held: Gets the slot of the attempt that was answered; whoever closes it gives the slot back.

        Raises:
            GenerateError: No endpoint answered.
        """
        failed: dict[Target, GenerateError] = {}

        def worthwhile(error: BaseException) -> bool:
            waits = [target.health.closed_for() for target in self._hopeful(failed)]
            return isinstance(error, GenerateError) and error.transient and min(waits) <= MAX_WAIT_S

        retrying = AsyncRetrying(
            stop=stop_after_attempt(1 + self._retries),
            wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=MAX_WAIT_S),
            retry=retry_if_exception(worthwhile),
            before_sleep=before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        async for trial in retrying:
            with trial:
                return await self._round(request, attempt, failed, held)
        raise AssertionError("the last trial returns or raises")

    async def _round(
        self, request: ChatRequest, attempt: Attempt[Reply], failed: dict[Target, GenerateError], held: AsyncExitStack
    ) -> Reply:
        """Asks one endpoint after the other until one answers; `failed` takes what went wrong at each."""
        left = self._hopeful(failed)
        while left and (closed := min(target.health.closed_for() for target in left)) <= MAX_WAIT_S:
            if closed > 0:
                # Those that wait for the same moment should not come together.
                await asyncio.sleep(closed + random.uniform(0, min(closed, 1)))
            async with AsyncExitStack() as slot:
                await slot.enter_async_context(self._slots)
                await self._pace(request)
                target = min(left, key=lambda target: target.health.reluctance())
                if target.health.closed_for() > 0:
                    # Another request was told to wait while this one waited for its turn.
                    continue
                async with target.turn(request):
                    most = target.dialect.samples
                    if most is not None and request.n > most:
                        # Learnt while this request waited for its turn, or of an endpoint that stands in for another.
                        raise RephraseError(f"{request.n} samples are too many for one request", samples=most)
                    reply = await self._ask(target, attempt)
                    if not isinstance(reply, RephraseError):
                        target.note_end()
                if not isinstance(reply, GenerateError):
                    held.push_async_callback(slot.pop_all().aclose)
                    return reply
            if isinstance(reply, RephraseError):
                # In full now: it may be what the request ends with.
                reply.args = (f"{self._model}: {self._named(target, str(reply))}",)
                raise reply
            if reply.final:
                raise self.failure({target: reply})
            failed[target] = reply
            left = [other for other in left if other is not target and not other.health.closed_for()]
            if left:
                log.warning("%s (%s) gave no answer, another endpoint is asked: %s", self._model, target.host, reply)
        for target in self._targets:
            failed.setdefault(target, GenerateError("not asked", "busy", transient=True))
        raise self.failure(failed)

    def failure(self, failed: Mapping[Target, GenerateError]) -> GenerateError:
        """The one error that a request ends with, by what went wrong at each endpoint."""
        first = next((error for error in failed.values() if error.transient), next(iter(failed.values())))
        message = "; ".join(self._named(target, str(error)) for target, error in failed.items())
        if isinstance(first, FilteredError):
            return FilteredError(f"{self._model}: {message}", first.usage, first.refusal)
        return GenerateError(f"{self._model}: {message}", first.kind, first.transient)

    def _hopeful(self, failed: Mapping[Target, GenerateError]) -> list[Target]:
        return [target for target in self._targets if target not in failed or failed[target].transient]

    async def _ask(self, target: Target, attempt: Attempt[Reply]) -> Reply | GenerateError:
        """One attempt, and one more where the key was replaced meanwhile."""
        target.health.probe()
        known = len(target.keys)
        reply = await attempt(target)
        try:
            if isinstance(reply, GenerateError) and reply.kind == "key" and target.has_other_key(known):
                reply = await attempt(target)
        except HydraError as error:
            reply = GenerateError(f"{reply}; {error}", "key")
        # A refused request says nothing against the endpoint.
        well = not isinstance(reply, GenerateError) or isinstance(reply, RephraseError) or reply.final
        target.health.note(well=well)
        return reply

    def _named(self, target: Target, error: str) -> str:
        place = f"endpoint {self._targets.index(target) + 1} ({target.host}): "
        closed = target.health.closed_for()
        wait = f" (asks to be left alone for {closed:.0f} s)" if closed >= 1 else ""
        return f"{place if len(self._targets) > 1 else ''}{error}{wait}"
