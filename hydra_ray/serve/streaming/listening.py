"""Work for a client for as long as it listens: one that hangs up stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

Result = TypeVar("Result")


async def while_listening(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return what the work gives. Where the client hangs up before, the work is cancelled.

    Args:
        request: Request whose body was read.
        work: Work for its client.

    Raises:
        ClientDisconnect: The client hung up.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        with suppress(Exception, asyncio.CancelledError):
            # It may have more to do at its end; why it failed says nothing to a client that left.
            await working


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
