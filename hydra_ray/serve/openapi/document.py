"""Completes FastAPI's OpenAPI document: what routes answer, errors, who may ask, and what bodies take besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from hydra_ray.serve.feedback.history import History, PastItem
from hydra_ray.serve.http.guard import OPEN
from hydra_ray.serve.http.messages import ChatMessage, Part
from hydra_ray.serve.openapi import shapes

# What each route answers with status 200.
ANSWERS: Mapping[tuple[str, str], type[BaseModel]] = {
    ("post", "/v1/chat/completions"): shapes.ChatAnswer,
    ("get", "/v1/models"): shapes.ModelList,
    ("get", "/v1/models/{model}"): shapes.ModelShape,
    ("get", "/healthz"): shapes.Health,
    ("get", "/readyz"): shapes.Ready,
    ("post", "/v1/feedback"): shapes.FeedbackKept,
    ("post", "/v1/users/{user}/feedback"): shapes.FeedbackKept,
    ("get", "/v1/users/{user}/history"): shapes.HistoryList,
    ("post", "/v1/users/{user}/history"): shapes.HistoryAdded,
    ("delete", "/v1/users/{user}/history/{item}"): shapes.ItemDeleted,
    ("get", "/v1/users/{user}"): shapes.UserKnown,
    ("patch", "/v1/users/{user}"): shapes.PreferencesKept,
    ("delete", "/v1/users/{user}"): shapes.UserDeleted,
    ("get", "/v1/users/{user}/export"): shapes.UserExport,
    ("get", "/v1/admin/personalisation"): shapes.PersonalisationSwitch,
    ("patch", "/v1/admin/personalisation"): shapes.PersonalisationSwitch,
    ("post", "/v1/admin/keys"): shapes.ApiKeyMade,
    ("get", "/v1/admin/keys"): shapes.ApiKeyList,
    ("get", "/v1/admin/keys/{key}"): shapes.ApiKeyShape,
    ("delete", "/v1/admin/keys/{key}"): shapes.ApiKeyShape,
    ("post", "/v1/admin/keys/{key}/rotate"): shapes.ApiKeyMade,
}
# What is answered beside that, or in place of it.
_BESIDE: Mapping[tuple[str, str], tuple[str, Mapping[str, Any]]] = {
    ("post", "/v1/chat/completions"): (
        "text/event-stream",
        {"type": "string", "description": "Where `stream` is true: events, the data of each a ChatCompletionChunk."},
    ),
    ("get", "/v1/users/{user}/export"): (
        "application/vnd.apache.parquet",
        {"type": "string", "format": "binary", "description": "Where `format` is parquet."},
    ),
}
_ERRORS = {
    "400": "The request is wrong as it is; `param` says where.",
    "401": "No API key was sent, or it does not hold.",
    "403": "The key may not do this, or not for this user.",
    "404": "There is nothing of this name.",
    "409": "The user is not personalised, so nothing is learnt.",
    "410": "It is too late to say something of this answer.",
    "413": "The body is too large.",
    "429": "A quota or a queue is full; Retry-After says when to ask again.",
    "500": "Something that nobody foresaw.",
    "502": "The LLM gave no answer.",
    "503": "A step or the store does not answer; Retry-After says when to ask again.",
    "504": "The request cannot be answered in time.",
}
_HEADERS = (
    {
        "name": "X-Request-ID",
        "in": "header",
        "required": False,
        "description": "Id of the request, 1 to 128 printable ASCII characters; else one is made.",
        "schema": {"type": "string"},
    },
    {
        "name": "X-Request-Timeout",
        "in": "header",
        "required": False,
        "description": "Seconds for which the client waits.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
)


def complete(app: FastAPI) -> None:
    """Has an application answer `/openapi.json` with the whole document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(get_openapi(title=app.title, version=app.version, routes=app.routes))
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def document(made: dict[str, Any]) -> dict[str, Any]:
    """Return the document of an application, completed.

    Args:
        made: The document as FastAPI makes it of the routes; it is changed.
    """
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        # FastAPI's own form of errors, which nobody sees.
        schemas.pop(name, None)
    for name, schema in schemas.items():
        schemas[name] = _as_it_is_read(name, schema)
    wanted = [(model, "validation") for model in (*ANSWERS.values(), shapes.ChatCompletionChunk, shapes.Error)]
    _, generated = models_json_schema(wanted, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas |= generated["$defs"]
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}}
    for verb, path, operation in operations(made):
        operation["responses"] = {"200": _answer(verb, path), **_errors(operation["responses"])}
        operation["parameters"] = [*operation.get("parameters", ()), *_HEADERS]
        operation["security"] = [] if path in OPEN else [{"key": []}]
    return made


def operations(made: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield each operation of a document with its verb and path."""
    for path, of_path in made["paths"].items():
        for verb, operation in of_path.items():
            yield verb, path, operation


def _answer(verb: str, path: str) -> dict[str, Any]:
    model = ANSWERS.get((verb, path))
    content: dict[str, Any] = {"application/json": {"schema": _ref(model) if model else {}}}
    if (verb, path) in _BESIDE:
        kind, schema = _BESIDE[verb, path]
        content[kind] = {"schema": schema}
    return {"description": "It is done.", "headers": _ID_BACK, "content": content}


def _errors(made: Mapping[str, Any]) -> dict[str, Any]:
    # 422 is FastAPI's own; here it is 400.
    kept = {status: of for status, of in made.items() if status not in ("200", "422")}
    content = {"application/json": {"schema": _ref(shapes.Error)}}
    found = {status: {"description": why, "headers": _ID_BACK, "content": content} for status, why in _ERRORS.items()}
    return {**found, **kept}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _as_it_is_read(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A body's schema with what is read leniently: null is as if it was not sent, and one text stands for a list."""
    if schema.get("type") != "object" or name == "HydraOptions":
        return schema
    properties = dict(schema.get("properties", {}))
    parts = {"type": "array", "minItems": 1, "items": _ref(Part)}
    if name == ChatMessage.__name__:
        properties["content"] = {"anyOf": [{"type": "string"}, parts]}
    if "stop" in properties:
        properties["stop"] = {"anyOf": [{"type": "string", "minLength": 1}, properties["stop"]]}
    for field, of_field in properties.items():
        if field not in schema.get("required", ()) and of_field.get("type", "") != "null":
            properties[field] = {"anyOf": [of_field, {"type": "null"}]}
    read = {**schema, "properties": properties}
    # One item may stand alone in place of the list.
    return {"anyOf": [read, _ref(PastItem)]} if name == History.__name__ else read


_ID_BACK = {"X-Request-ID": {"description": "Id of the request.", "schema": {"type": "string"}}}
