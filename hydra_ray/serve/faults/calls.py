"""One call of a step: within its own time and the request's, and not at all where its breaker is open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential

from hydra_ray.methods.ports import StepError
from hydra_ray.serve.faults.breaker import Breaker
from hydra_ray.serve.faults.deadline import left_s
from hydra_ray.serve.observe.trace import observed

log = logging.getLogger(__name__)

Reply = TypeVar("Reply")
# States of a call by gRPC whose replica went away with it. Of "unavailable" Ray makes an error of its own; the others,
# a message that is too long for one, would come again.
_BROKEN_OFF = frozenset({grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL})
# Of what is left of a request, what a step may take that can be done without: the LLM needs the rest.
_SHARE = 0.5
# Of a node that dies several replicas are gone at once, and Serve may name them again until it has noticed: at most two
# seconds of waiting in all, within what the call may take.
_TRIES = 7
_WAIT = wait_exponential(multiplier=0.05, max=0.5)


async def call_step(name: str, call: Callable[[], Awaitable[Reply]], timeout_s: float, breaker: Breaker) -> Reply:
    """Ask a step that methods can do without.

    Args:
        name: Name of the step, for messages.
        call: Begins the call.
        timeout_s: Longest wait, in seconds; less where little is left of the request.
        breaker: Breaker of the step.

    Raises:
        StepError: The breaker is open, or the step failed or took too long.
    """
    allowed_s = min(timeout_s, _SHARE * left_s())
    if allowed_s <= 0:
        raise StepError(f"the request's time was over before the {name} was asked")
    if not breaker.admits():
        raise StepError(f"the {name} failed {breaker.failures} times in a row and is not asked now")
    try:
        reply = await within(name, call, allowed_s)
    except StepError as error:
        # A client that waits for a moment only must not close a step to others; a full queue is no failure of it.
        is_hasty = isinstance(error.__cause__, TimeoutError) and allowed_s < timeout_s
        if not is_hasty and not isinstance(error.__cause__, BackPressureError):
            breaker.failed()
        raise
    breaker.succeeded()
    return reply


def replica_is_gone(error: BaseException) -> bool:
    """Return whether a call ended so because its replica died with it, so that another one may be asked."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() in _BROKEN_OFF
    return isinstance(error, RayActorError)


async def past_dead_replicas(name: str, call: Callable[[], Awaitable[Reply]]) -> Reply:
    """Ask a step, and other replicas of it for as long as those that were asked die with the call.

    It ends after some tries. Whoever asks bounds the time.

    Args:
        name: Name of the step, for the log.
        call: Begins the call, which may be made several times.

    Raises:
        RayActorError, AioRpcError: The last one died, too.
    """

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("a replica of the %s died while it was asked: another one is", name, exc_info=error)

    retrying = AsyncRetrying(
        retry=retry_if_exception(replica_is_gone),
        stop=stop_after_attempt(_TRIES),
        wait=_WAIT,
        before_sleep=tell,
        reraise=True,
    )
    # A call that is a coroutine of its own: the library tells by its kind whether to await it.
    return await retrying(_awaited, call)


async def for_its_caller(begin: Callable[[], Any]) -> Any:
    """Return the reply to a call of a handle. It ends with who waits for it: Serve would go on with it for nobody."""
    response = begin()
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise


async def _awaited(call: Callable[[], Awaitable[Reply]]) -> Reply:
    return await call()


async def within(name: str, call: Callable[[], Awaitable[Reply]], timeout_s: float) -> Reply:
    """Ask a step, and turn what goes wrong into the error that methods expect.

    Args:
        name: Name of the step, for messages.
        call: Begins the call.
        timeout_s: Longest wait, in seconds.

    Raises:
        StepError: The step failed or took too long; the cause is the error's.
    """
    try:
        with observed(name):
            return await asyncio.wait_for(call(), timeout_s)
    except TimeoutError as error:
        log.warning("the %s took more than %g s", name, timeout_s)
        raise StepError(f"the {name} took more than {timeout_s:g} s") from error
    except Exception as error:
        # By gRPC what a replica raises comes as it was raised, whatever it is; else in Ray's wrapper, whose words hold
        # the replica's traceback, and clients may be told these.
        log.warning("the %s gave no answer", name, exc_info=error)
        raise StepError(f"the {name} gave no answer") from error
