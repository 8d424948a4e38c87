"""Errors of every route, in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from hydra_ray.serve.http.protocol import refusal
from hydra_ray.serve.observe.trace import current_trace
from hydra_ray.store.types import StoreError

log = logging.getLogger(__name__)

# How OpenAI names what is wrong, where the status alone does not say it.
_CODES = {404: "unknown_url", 405: "method_not_supported"}
# How OpenAI names what is wrong with a parameter, by pydantic's names.
_WRONG = {
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
    "literal_error": "invalid_value",
    "string_pattern_mismatch": "invalid_value",
    "finite_number": "invalid_value",
    "too_short": "empty_array",
    "too_long": "array_above_max_length",
    "string_too_short": "empty_string",
    "string_too_long": "string_above_max_length",
    # Ours.
    "role": "invalid_value",
    "part": "invalid_value",
    "method": "invalid_value",
    "value": "invalid_value",
    "content": "invalid_type",
}
_BOUNDS = {"ge": "below_min_value", "gt": "below_min_value", "le": "above_max_value", "lt": "above_max_value"}


class RequestError(Exception):
    """A request that cannot be answered as it is.

    Args:
        message: What is wrong with it.
        param: The parameter that is wrong, e.g. `messages[0].content`.
        code: A word for programs, e.g. "model_not_found".
        status: HTTP status of the response.
        kind: OpenAI's `type`.
        headers: Further headers of the response.
    """

    def __init__(
        self,
        message: str,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
        *,
        kind: str = "invalid_request_error",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.param, self.code, self.status, self.kind, self.headers = param, code, status, kind, headers


def add_error_handlers(app: FastAPI) -> None:
    """Gives an application's errors OpenAI's form; what nobody handles is `middleware.CaughtErrors`' part."""
    app.add_exception_handler(RequestError, _as_said)
    app.add_exception_handler(RequestValidationError, _wrong_fields)
    app.add_exception_handler(HTTPException, _by_status)
    app.add_exception_handler(StoreError, _store_down)


def param_of(place: Sequence[Any]) -> str:
    """The path of a parameter as OpenAI writes it: `("messages", 0, "role")` is `messages[0].role`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def as_response(error: RequestError) -> JSONResponse:
    """Return the response to a request that cannot be answered as it is."""
    return refusal(error.status, str(error), error.kind, error.headers, param=error.param, code=error.code)


def store_down(method: str, path: str, error: Exception) -> JSONResponse:
    """Return the response where the store of users did not answer; why is in the log only."""
    log.warning("the store of users did not answer %s %s", method, path, exc_info=error)
    current_trace().store_errors.append("other")
    return refusal(503, "the store of users did not do as asked: ask again", "upstream_error")


async def _as_said(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    return as_response(error)


async def _wrong_fields(request: Request, error: Exception) -> JSONResponse:
    """Names every field that is wrong in the message, and the first one as the parameter."""
    assert isinstance(error, RequestValidationError)
    # The first part of a place says where it stands: in the body, or in the path.
    wrong = error.errors()
    fields = [(param_of(e["loc"][1:]), e["msg"]) for e in wrong]
    message = "; ".join(f"{field or 'the body'}: {reason}" for field, reason in fields)
    return refusal(400, message, "invalid_request_error", param=fields[0][0] or None, code=_code(wrong[0]))


def _code(wrong: Mapping[str, Any]) -> str | None:
    """OpenAI's word for what is wrong with a parameter, where it has one."""
    kind: str = wrong["type"]
    for bound, what in _BOUNDS.items():
        if (value := wrong.get("ctx", {}).get(bound)) is not None:
            return f"{'decimal' if isinstance(value, float) else 'integer'}_{what}"
    return "invalid_type" if kind.endswith(("_type", "_parsing")) else _WRONG.get(kind)


async def _by_status(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    asked = f"{request.method} {request.scope['path']}"
    message = {404: f"there is no {asked}", 405: f"{asked}: not by this method"}.get(error.status_code, error.detail)
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    return refusal(error.status_code, message, kind, dict(error.headers or {}), code=_CODES.get(error.status_code))


async def _store_down(request: Request, error: Exception) -> JSONResponse:
    return store_down(request.method, request.scope["path"], error)
