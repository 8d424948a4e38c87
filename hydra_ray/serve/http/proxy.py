"""Gives OpenAI's form to what Serve's HTTP proxy answers by itself (a queue is full, a replica died).

`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=hydra_ray.serve.http.proxy:middleware` in the environment of Ray's nodes has
the proxies use it. They import this module, so it needs nothing that takes long.
"""

from __future__ import annotations

import json

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hydra_ray.serve.http.request_ids import RequestIds

# The proxy's own words hold tracebacks, which are for its log. Of statuses that are not here it has none of its own.
_TOLD = {
    404: ("nothing is served at this path", "invalid_request_error"),
    408: ("the request took too long", "timeout_error"),
    429: ("the server's queue is full: ask again", "rate_limit_error"),
    503: ("the server is not ready: ask again", "server_error"),
}
_FAILED = ("the server failed at this request; its log says why", "server_error")
_DIED = "the process that worked on this request ended, and what became of it is not known: ask again"


class OpenAIErrors:
    """Turns errors in plain text into OpenAI's form; those that have it already pass.

    Where the replica dies with a request, the proxy says nothing at all; then this does.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        start: Message | None = None
        has_begun = False

        async def shaped(message: Message) -> None:
            nonlocal start, has_begun
            has_begun = True
            if message["type"] == "http.response.start" and _is_plain_error(message):
                start = message
            elif start is None:
                await send(message)
            elif not message.get("more_body"):
                body = _body(start["status"])
                await send({**start, "headers": [*_others(start), *_about(body)]})
                await send({"type": "http.response.body", "body": body})

        # Probes of load balancers read Serve's own paths.
        is_ours = scope["type"] == "http" and not scope["path"].startswith("/-/")
        await self._app(scope, receive, shaped if is_ours else send)
        if is_ours and not has_begun:
            # To a client that left it goes nowhere.
            body = _error(_DIED, "server_error")
            headers = [(b"retry-after", b"1"), *_about(body)]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": body})


def middleware() -> list[Middleware]:
    """Return the middleware that Serve's proxies put around every request, innermost first."""
    return [Middleware(OpenAIErrors), Middleware(RequestIds)]


def _is_plain_error(start: Message) -> bool:
    return start["status"] >= 400 and Headers(raw=start["headers"]).get("content-type", "").startswith("text/plain")


def _body(status: int) -> bytes:
    return _error(*_TOLD.get(status, _FAILED))


def _error(message: str, kind: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": None}}).encode()


def _others(start: Message) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in start["headers"] if not name.lower().startswith(b"content-")]


def _about(body: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
