"""How long a request may still take: `X-Request-Timeout`, bounded by `serve.timeout_s`. It travels with the request."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from hydra_ray.serve.http.errors import RequestError, as_response
from hydra_ray.steps.generate import GenerateError

HEADER = "X-Request-Timeout"
# Tasks that a request starts have a copy; what goes on without the request has a context of its own, and none.
_ends_at: ContextVar[float] = ContextVar("ends_at", default=math.inf)


class DeadlineError(GenerateError):
    """The request's time is over: what would come later is not begun."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "deadline")

    def __reduce__(self) -> tuple[type[DeadlineError], tuple[str]]:
        """Keeps it what it is on the way between Ray's processes."""
        return type(self), (str(self),)


class Deadlines:
    """Gives every request a deadline.

    Args:
        app: What answers requests.
        most_s: Longest time for a request, in seconds, whatever it asks for.
    """

    def __init__(self, app: ASGIApp, most_s: float) -> None:
        self._app, self._most_s = app, most_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            seconds = min(wanted_s(Headers(scope=scope)), self._most_s)
        except RequestError as error:
            await as_response(error)(scope, receive, send)
            return
        token = _ends_at.set(time.monotonic() + seconds)
        try:
            await self._app(scope, receive, send)
        finally:
            _ends_at.reset(token)


def wanted_s(headers: Headers) -> float:
    """Return for how long the client waits, in seconds; infinite where it does not say.

    Raises:
        RequestError: The header is no number of seconds.
    """
    text = headers.get(HEADER)
    if text is None:
        return math.inf
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise RequestError(f"{HEADER}: {text!r} is no number of seconds above 0", param=HEADER)
    return seconds


@contextmanager
def without_deadline() -> Iterator[None]:
    """Has the body take its own time, whatever the request under way has left."""
    token = _ends_at.set(math.inf)
    try:
        yield
    finally:
        _ends_at.reset(token)


def left_s() -> float:
    """Return the seconds that are left of the request under way: 0 or less where none are, infinite without one."""
    return _ends_at.get() - time.monotonic()


def check_left(what: str) -> float:
    """Return the seconds that are left for something that is about to be begun.

    Args:
        what: Name of what would be begun, for the message.

    Raises:
        DeadlineError: There are none.
    """
    left = left_s()
    if left <= 0:
        raise DeadlineError(f"the request's time was over before {what} was asked ({HEADER}, serve.timeout_s)")
    return left
