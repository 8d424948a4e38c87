"""Request ids: a client's own is taken, else one is made, and every response tells it.

Serve's proxies import this module, so it needs nothing that takes long.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-request-id"
# Printable ASCII, which can stand in a line of a log and in a header.
_SANE = re.compile(r"[!-~](?:[ -~]{0,126}[!-~])?")


class RequestIds:
    """Gives every request an id: `request.state.request_id`, and the header `X-Request-ID` of the response.

    Around the application it stands outermost, so that what is refused at the door has an id, too. Around Serve's
    proxies it makes the id that Serve itself logs, and sees to it that a response tells one id once.

    Args:
        app: Application whose requests get ids.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = chosen(Headers(scope=scope).getlist(HEADER))

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                # In place of all that stand there: Serve's proxy adds one of its own.
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        headers = [(name, value) for name, value in scope["headers"] if name.lower() != HEADER.encode()]
        headers.append((HEADER.encode(), request_id.encode()))
        state = {**scope.get("state", {}), "request_id": request_id}
        await self._app({**scope, "headers": headers, "state": state}, receive, with_id)


def chosen(sent: Sequence[str]) -> str:
    """Return the id of a request.

    Args:
        sent: Values of the header that the request came with. One that is 1 to 128 printable ASCII characters is taken;
            where there is none, another, or several, an id is made.
    """
    if len(set(sent)) == 1 and _SANE.fullmatch(sent[0]):
        return sent[0]
    return f"req_{uuid.uuid4().hex}"
