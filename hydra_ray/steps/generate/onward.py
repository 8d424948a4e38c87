"""Headers that go on to the LLM's endpoint with whatever is asked of it within a request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

_headers: ContextVar[Mapping[str, str] | None] = ContextVar("onward_headers", default=None)


@contextmanager
def sending(headers: Mapping[str, str]) -> Iterator[None]:
    """Has endpoints asked with these headers within the body, and in tasks that begin there."""
    former = _headers.get()
    _headers.set(headers)
    try:
        yield
    finally:
        # No token: a stream may be closed in another task than it began in.
        _headers.set(former)


class Outgoing(Protocol):
    """A request of whichever HTTP client the `openai` client uses."""

    @property
    def headers(self) -> MutableMapping[str, str]:
        """Return its headers, which can be changed."""


async def add_headers(request: Outgoing) -> None:
    """Adds the headers to a request that is about to be sent; the HTTP client calls it."""
    request.headers.update(_headers.get() or {})
