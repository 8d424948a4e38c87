"""Ids in paths and texts in bodies, as they may be stored."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from hydra_ray.dates import span
from hydra_ray.records import as_user_id


def storable(text: str) -> str:
    """Return the text; JSON can hold what UTF-8 and databases cannot, which is refused."""
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise PydanticCustomError("signs", "holds a zero or half a surrogate pair")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "there is no text")
    return text


def _dated(text: str) -> str:
    try:
        span(text)
    except ValueError as error:
        raise PydanticCustomError("date", "{text} {error}", {"text": repr(text), "error": str(error)}) from None
    return text


def _decoded(segment: str) -> str:
    try:
        return storable(unquote(segment, errors="strict"))
    except UnicodeDecodeError:
        raise PydanticCustomError("id", "not the percent-encoding of UTF-8") from None


def _known(user: str) -> str:
    try:
        return as_user_id(user)
    except ValueError as error:
        raise PydanticCustomError("user", f"{error}") from None


Id = Annotated[str, AfterValidator(_decoded)]
UserId = Annotated[Id, AfterValidator(_known)]
StoredText = Annotated[str, AfterValidator(storable), AfterValidator(_not_blank)]
Dated = Annotated[StoredText, AfterValidator(_dated)]
