"""Headers that go on to the LLM's endpoint with whatever is asked of it within a request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import httpx

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


async def add_headers(request: httpx.Request) -> None:
    """Adds the headers to a request that is about to be sent; httpx calls it."""
    request.headers.update(_headers.get() or {})
