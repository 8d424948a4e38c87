"""Layers that every request passes before its route: paths, other origins' pages, bodies, and a last catch."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Coroutine, Iterable
from typing import Any
from urllib.parse import quote

from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.protocol import refusal

log = logging.getLogger(__name__)

# Each unknown key may be an error of its own.
_MOST_KEYS = 10_000
# What is nested deeper cannot be sent on to another process.
_DEEPEST = 200
_MOST_DIGITS = 18
_ASCII = "".join(map(chr, range(0x21, 0x7F)))


class EncodedPaths:
    """Hands paths on as they were sent: in an id, an encoded slash is no end of a segment."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope.get("raw_path"):
            scope = {**scope, "path": quote(scope["raw_path"], safe=_ASCII)}
        await self._app(scope, receive, send)


class CaughtErrors:
    """Answers what nobody handled with a 500 in OpenAI's form; the cause is in the log only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = has_begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            log.info("%s: the client left before its request was whole", scope["path"])
        except Exception:
            if scope["type"] != "http" or has_begun:
                raise
            log.exception("%s %s failed", scope["method"], scope["path"])
            response = refusal(500, "the server failed at this request; its log says why", "server_error")
            await response(scope, receive, send)


class Origins(CORSMiddleware):
    """Starlette's, with what it refuses in OpenAI's form."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Says what the page of an origin may ask."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return refusal(response.status_code, bytes(response.body).decode(), "invalid_request_error", kept)


class JsonRoute(APIRoute):
    """A route whose body is read as `JsonRequest` reads it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, which reads the body as `JsonRequest` does.

        Routes with a body find its value in `request.state.raw_body`, as it was sent.
        """
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            request = JsonRequest(request.scope, request.receive)
            if self.body_field is not None:
                # Before FastAPI does, which would hide what is wrong with it.
                request.state.raw_body = await request.json()
            return await handle(request)

        return strict


class JsonRequest(Request):
    """A request with a JSON body of at most `app.state.max_body` bytes, read without its parser's liberties.

    What two parsers read differently is refused: whoever checks a request before it comes here must have seen the
    same `user`.
    """

    async def body(self) -> bytes:
        """Return the body as it was sent.

        Raises:
            RequestError: The body is too large, compressed or empty, or its Content-Type is not JSON.
        """
        if not hasattr(self, "_body"):
            self._body = await self._read(self.app.state.max_body)
            kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
            encoding = self.headers.get("content-encoding", "").strip().lower()
            if encoding not in ("", "identity"):
                raise RequestError(f"the body has Content-Encoding {encoding}: send it as it is")
            if not self._body:
                raise RequestError("the body is empty: send JSON")
            if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
                raise RequestError(f"the body is {kind or 'of no type'}: send JSON with Content-Type: application/json")
        return self._body

    async def json(self) -> Any:
        """Return the body's value.

        Raises:
            RequestError: The body is no JSON, or a key is there twice.
        """
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body())
        return self._json

    async def _read(self, most: int) -> bytes:
        said = self.headers.get("content-length", "")
        # By its digits first: Python refuses to read thousands of them.
        if said.isdecimal() and (len(said) > _MOST_DIGITS or int(said) > most):
            raise _too_large(most)
        read = bytearray()
        async for chunk in self.stream():
            read += chunk
            if len(read) > most:
                raise _too_large(most)
        return bytes(read)


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        RequestError: The text is not UTF-8, no JSON by RFC 8259, nested too deeply, or has a key twice in one object.
    """
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_number, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise RequestError(f"the body is not UTF-8: byte {error.start} is wrong") from None
    except RecursionError:
        raise RequestError("the body is nested too deeply") from None
    except ValueError as error:
        raise RequestError(f"the body is no JSON: {error}") from None
    _check_depth(value)
    return value


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > _MOST_KEYS:
        raise RequestError(f"an object in the body has more than {_MOST_KEYS:,} keys")
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RequestError(f"{key!r} is in the body twice", param=key)
        found[key] = value
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _check_depth(value: Any) -> None:
    """Refuses what could not be sent on to another process."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return
    raise RequestError("the body is nested too deeply")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _too_large(most: int) -> RequestError:
    return RequestError(f"the body has more than {most:,} bytes (serve.max_body_mb)", code="too_large", status=413)
