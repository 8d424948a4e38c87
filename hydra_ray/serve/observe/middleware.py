"""The layer that watches requests: makes the trace of each, and hands it on when the request is over."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hydra_ray.serve.observe.trace import RequestTrace, tracing

# Kinds of routes; paths themselves hold ids of users.
ROUTES = ("chat", "models", "feedback", "history", "users", "admin", "other")
# Asked every few seconds by whoever watches the replicas: they are no requests of anybody.
_PROBES = ("/healthz", "/readyz")
# What nginx writes where the client left before there was a response.
CLIENT_LEFT = 499


class Watcher(Protocol):
    """Is told when requests begin and end. Neither may raise."""

    def begin(self, trace: RequestTrace, headers: Mapping[str, str]) -> None:
        """Takes note that a request came, with these headers."""

    def end(self, trace: RequestTrace) -> None:
        """Takes note that a request is over."""


class Observed:
    """Has each request traced and told to a watcher.

    Args:
        app: What answers.
        watcher: Is told of each request.
    """

    def __init__(self, app: ASGIApp, watcher: Watcher) -> None:
        self._app, self._watcher = app, watcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        path = scope.get("path", "").removeprefix(scope.get("root_path", "").rstrip("/"))
        if scope["type"] != "http" or path in _PROBES:
            await self._app(scope, receive, send)
            return
        trace = RequestTrace(scope.get("state", {}).get("request_id"), route_of(path), time.perf_counter())

        async def watched(message: Message) -> None:
            _note(trace, message)
            await send(message)

        self._watcher.begin(trace, Headers(scope=scope))
        with tracing(trace):
            try:
                await self._app(scope, receive, watched)
            except Exception:
                trace.status = trace.status or 500
                raise
            finally:
                trace.status = trace.status or CLIENT_LEFT
                trace.seconds = time.perf_counter() - trace.began
                self._watcher.end(trace)


def route_of(path: str) -> str:
    """Return the kind of a path, one of `ROUTES`."""
    match path.strip("/").split("/"):
        case ["v1", "chat", *_]:
            return "chat"
        case ["v1", "feedback", *_] | ["v1", "users", _, "feedback", *_]:
            return "feedback"
        case ["v1", "users", _, "history", *_]:
            return "history"
        case ["v1", ("models" | "users" | "admin") as kind, *_]:
            return kind
        case _:
            return "other"


def _note(trace: RequestTrace, message: Message) -> None:
    """Notes what a part of the response tells: its status, its first token, its end."""
    if message["type"] == "http.response.start":
        trace.status = message["status"]
        kind = Headers(raw=message.get("headers", [])).get("content-type", "")
        trace.is_stream = kind.startswith("text/event-stream")
    elif message["type"] == "http.response.body":
        # Whoever streams what the LLM still writes notes the first token itself, before this.
        if trace.is_stream and message.get("body"):
            trace.note_first_token()
        trace.is_whole = not message.get("more_body", False)
