"""Errors of every route, in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from hydra_ray.records import HydraError
from hydra_ray.serve.http.protocol import refusal

log = logging.getLogger(__name__)

# How OpenAI names what is wrong, where the status alone does not say it.
_CODES = {404: "unknown_url", 405: "method_not_supported"}


class RequestError(Exception):
    """A request that cannot be answered as it is.

    Args:
        message: What is wrong with it.
        param: The parameter that is wrong, e.g. `messages[0].content`.
        code: A word for programs, e.g. "model_not_found".
        status: HTTP status of the response.
    """

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


def add_error_handlers(app: FastAPI) -> None:
    """Gives an application's errors OpenAI's form; what nobody handles is `middleware.CaughtErrors`' part."""
    app.add_exception_handler(RequestError, _as_said)
    app.add_exception_handler(RequestValidationError, _wrong_fields)
    app.add_exception_handler(HTTPException, _by_status)
    app.add_exception_handler(SQLAlchemyError, _store_down)
    # What else it says is one of these, and methods' errors are handled where they are called.
    app.add_exception_handler(HydraError, _store_down)


def param_of(place: Sequence[Any]) -> str:
    """The path of a parameter as OpenAI writes it: `("messages", 0, "role")` is `messages[0].role`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


async def _as_said(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    return refusal(error.status, str(error), "invalid_request_error", param=error.param, code=error.code)


async def _wrong_fields(request: Request, error: Exception) -> JSONResponse:
    """Names every field that is wrong in the message, and the first one as the parameter."""
    assert isinstance(error, RequestValidationError)
    # The first part of a place says where it stands: in the body, or in the path.
    fields = [(param_of(e["loc"][1:]), e["msg"]) for e in error.errors()]
    told = "; ".join(f"{field or 'the body'}: {reason}" for field, reason in fields)
    return refusal(400, told, "invalid_request_error", param=fields[0][0] or None)


async def _by_status(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    asked = f"{request.method} {request.scope['path']}"
    told = {404: f"there is no {asked}", 405: f"{asked}: not by this method"}.get(error.status_code, error.detail)
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    return refusal(error.status_code, told, kind, dict(error.headers or {}), code=_CODES.get(error.status_code))


async def _store_down(request: Request, error: Exception) -> JSONResponse:
    log.warning("the store of users did not answer %s %s", request.method, request.scope["path"], exc_info=error)
    return refusal(503, "the store of users did not do as asked: ask again", "upstream_error")
