"""Who a request is from."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers

from hydra_ray.records import as_user_id, is_blank
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.requests import ChatCompletionRequest


def named_user(sources: Sequence[str], request: ChatCompletionRequest, headers: Headers) -> str | None:
    """The user's id as the first source that was sent gives it; None where nobody is named.

    A blank value names nobody and ends the search: whoever set it meant that, and the sources after it are trusted
    less.

    Args:
        sources: What may name the user, in the order and words of `serve.user_from`.
        request: The parsed body of the request.
        headers: The HTTP headers of the request.

    Raises:
        RequestError: What names the user is no text that can be an id.
    """
    for source in sources:
        value = _sent(source, request, headers)
        if value is None:
            continue
        if not isinstance(value, str):
            raise RequestError(f"{source}: a user is named by text", source)
        if is_blank(value):
            return None
        try:
            return as_user_id(value)
        except ValueError as error:
            raise RequestError(f"{source}: {error}", source) from None
    return None


def _sent(source: str, request: ChatCompletionRequest, headers: Headers) -> object:
    if source.startswith("header:"):
        return _header(source, headers)
    if not source.startswith("metadata."):
        return request.user if source == "user" else request.safety_identifier
    if not isinstance(request.metadata, dict | None):
        raise RequestError("metadata: an object is wanted", "metadata")
    return (request.metadata or {}).get(source.removeprefix("metadata."))


def _header(source: str, headers: Headers) -> str | None:
    values = set(headers.getlist(source.removeprefix("header:")))
    if len(values) > 1:
        # One is the gateway's and one the client's, and nothing tells which.
        raise RequestError(f"{source}: it was sent with different values", source)
    try:
        # Servers decode headers as Latin-1, whatever their bytes are.
        return values.pop().encode("latin-1").decode() if values else None
    except UnicodeDecodeError:
        raise RequestError(f"{source}: it is not UTF-8", source) from None
