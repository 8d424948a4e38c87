"""The translation of CRD schemas forbids what it should, and no more."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from crd_schema import problems, strict
from jsonschema import Draft202012Validator

QUANTITY = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": "^[0-9]+(m|Mi|Gi)?$",
    "x-kubernetes-int-or-string": True,
}
CONTAINER = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "limits": {"type": "object", "additionalProperties": QUANTITY},
        "stdin": {"type": "boolean"},
    },
}
SCHEMA = {
    "type": "object",
    "properties": {
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "properties": {
                "replicas": {"type": "integer", "format": "int32", "minimum": 0},
                "seen": {"type": "string", "format": "date-time", "nullable": True},
                "free": {
                    "type": "object",
                    "properties": {"known": {"type": "string"}},
                    "x-kubernetes-preserve-unknown-fields": True,
                },
                "containers": {"type": "array", "items": CONTAINER, "x-kubernetes-list-type": "map"},
            },
        },
    },
}
GOOD: dict[str, Any] = {
    "metadata": {"name": "any"},
    "spec": {
        "replicas": 1,
        "seen": None,
        "free": {"known": "a", "other": 1},
        "containers": [{"name": "a", "limits": {"cpu": 2, "memory": "8Gi"}, "stdin": True}],
    },
}


def check(change: dict[str, Any]) -> list[str]:
    thing = deepcopy(GOOD)
    thing["spec"] |= change
    return problems(Draft202012Validator(strict(SCHEMA)), thing)


def test_what_the_schema_allows_passes():
    assert check({}) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"replica": 1}, "$.spec"),
        ({"containers": [{"name": "a", "limit": {}}]}, "$.spec.containers[0]"),
        ({"containers": [{"stdin": True}]}, "$.spec.containers[0]"),
        ({"containers": [{"name": "a", "stdin": "true"}]}, "$.spec.containers[0].stdin"),
        ({"containers": {"name": "a"}}, "$.spec.containers"),
        ({"replicas": "1"}, "$.spec.replicas"),
        ({"replicas": -1}, "$.spec.replicas"),
        ({"replicas": 2**31}, "$.spec.replicas"),
        ({"replicas": None}, "$.spec.replicas"),
        ({"seen": 5}, "$.spec.seen"),
        ({"free": {"known": 1}}, "$.spec.free.known"),
        ({"containers": [{"name": "a", "limits": {"cpu": 1.5}}]}, "$.spec.containers[0].limits.cpu"),
        ({"containers": [{"name": "a", "limits": {"cpu": "two"}}]}, "$.spec.containers[0].limits.cpu"),
    ],
)
def test_what_the_schema_does_not_allow_is_named_with_its_place(change, place):
    (problem,) = check(change)
    assert problem.startswith(f"{place}: ")


def test_a_keyword_that_is_not_translated_is_an_error():
    with pytest.raises(ValueError, match="not translated: oneOf"):
        strict({"type": "object", "properties": {"a": {"oneOf": []}}})
