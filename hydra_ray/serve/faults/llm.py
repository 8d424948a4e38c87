"""The LLM as the ingress asks it: the generator's deployment behind deadline and breaker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from ray.serve.exceptions import BackPressureError

from hydra_ray.records import ChatRequest, Generation, Piece
from hydra_ray.serve.faults.breaker import Breaker, UnavailableError
from hydra_ray.serve.faults.calls import for_its_caller, past_dead_replicas
from hydra_ray.serve.faults.deadline import DeadlineError, check_left
from hydra_ray.serve.observe.trace import carried, observed
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.passing import Body

log = logging.getLogger(__name__)

# Kinds of failure that say that the LLM is not there, rather than that one request is at fault or too many come.
LLM_DOWN = frozenset({"timeout", "connection", "server", "malformed"})


@dataclass(frozen=True, slots=True)
class RemoteGenerator:
    """The generator's deployment as a generator.

    Args:
        handle: Handle of the deployment.
        timeout_s: Longest wait for an answer, in seconds; a later one is a failure.
        tenant: Tenant for whom it is asked.
        breaker: Breaker of the LLM.
    """

    handle: Any
    timeout_s: float
    tenant: str
    breaker: Breaker

    async def __call__(self, request: ChatRequest) -> Generation:
        """Asks the deployment; what goes wrong there becomes a `GenerateError`."""
        generation: Generation = await self._asked(partial(self.handle.remote, request, self.tenant))
        self.breaker.succeeded()
        return generation

    async def all(self, requests: Sequence[ChatRequest]) -> list[Generation | GenerateError]:
        """Asks the deployment for several requests by one call, which costs what the call of one does.

        Returns:
            For each request its answers, or the error that it ended with.

        Raises:
            GenerateError: The call itself failed, and no request has an answer.
        """
        call = partial(self.handle.all.remote, tuple(requests), self.tenant)
        ends: list[Generation | GenerateError] = await self._asked(call)
        for end in ends:
            if isinstance(end, GenerateError):
                self._note(end)
            else:
                self.breaker.succeeded()
        return ends

    def stream(self, request: ChatRequest) -> AsyncGenerator[Piece]:
        """Yields one answer as the LLM says it; whoever closes it stops the LLM's work."""
        return self._parts(lambda: self.handle.options(stream=True).stream.remote(request, self.tenant))

    def passed(self, body: Body) -> AsyncGenerator[Body]:
        """Yields the LLM's reply to what somebody else asks; whoever closes it stops the LLM's work."""
        traceparent = carried()
        return self._parts(lambda: self.handle.options(stream=True).passed.remote(body, self.tenant, traceparent))

    async def _parts(self, begin: Callable[[], Any]) -> AsyncGenerator[Any]:
        allowed_s = self._allowed_s()
        deadline = asyncio.get_running_loop().time() + allowed_s
        with self._watched(allowed_s), _failures():
            async with asyncio.timeout_at(deadline):
                # Of a replica that dies with the request before it said anything, nothing was heard.
                parts, part = await past_dead_replicas("generator", partial(_begun, begin))
            try:
                while part is not None:
                    yield part
                    # Not over what the listener does meanwhile.
                    async with asyncio.timeout_at(deadline):
                        part = await anext(parts, None)
            finally:
                # Of one that came to its end this does nothing.
                parts.cancel()
        self.breaker.succeeded()

    def _allowed_s(self) -> float:
        """Seconds that the LLM may take for a request, if it may be asked at all."""
        allowed_s = min(self.timeout_s, check_left("the LLM"))
        if not self.breaker.admits():
            message = f"the LLM failed {self.breaker.failures} times in a row and is not asked now"
            raise UnavailableError(message, self.breaker.waits_s)
        return allowed_s

    @contextmanager
    def _watched(self, allowed_s: float) -> Iterator[None]:
        """Lets the breaker know how the LLM fails, and says in its words that time is over."""
        try:
            with observed("generator"):
                yield
        except GenerateError as error:
            self._note(error)
            raise
        except TimeoutError as error:
            if allowed_s < self.timeout_s:
                # It may be well: the client waits for less than it may take.
                raise DeadlineError("the LLM did not answer within what was left of the request's time") from error
            self.breaker.failed()
            message = f"the generator took more than {self.timeout_s:g} s"
            raise GenerateError(message, "timeout", transient=True) from error

    def _note(self, error: GenerateError) -> None:
        if error.kind in LLM_DOWN:
            self.breaker.failed()
        elif error.final:
            self.breaker.succeeded()

    async def close(self) -> None:
        """Does nothing: the deployment goes on for others."""

    async def _asked(self, begin: Callable[[], Any]) -> Any:
        """The reply to a call of the deployment, within the time that there is."""
        allowed_s = self._allowed_s()
        with self._watched(allowed_s):
            return await asyncio.wait_for(_reply(begin), allowed_s)


async def _reply(begin: Callable[[], Any]) -> Any:
    with _failures():
        return await past_dead_replicas("generator", partial(for_its_caller, begin))


async def _begun(begin: Callable[[], Any]) -> tuple[Any, Any]:
    """A stream and its first part; None where it has none."""
    parts = begin()
    try:
        return parts, await anext(parts, None)
    except asyncio.CancelledError:
        # Serve would go on with it for nobody.
        parts.cancel()
        raise


@contextmanager
def _failures() -> Iterator[None]:
    """Makes a `GenerateError` of what the handle of the generator raises."""
    try:
        yield
    except BackPressureError as error:
        raise GenerateError("the generator's queue is full", "busy", transient=True) from error
    except GenerateError as error:
        # Ray's wrapper adds the replica's traceback to the message.
        if isinstance(cause := getattr(error, "cause", None), GenerateError):
            raise cause from error
        raise
    except TimeoutError:
        # The time of whoever waits.
        raise
    except Exception as error:
        # By gRPC what the replica raises comes as it was raised, whatever it is.
        log.warning("the generator gave no answer", exc_info=error)
        raise GenerateError("the generator is not available", "connection", transient=True) from error
