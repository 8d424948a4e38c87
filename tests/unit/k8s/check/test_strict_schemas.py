"""The translation of CRD schemas forbids what it should, and no more; their rules in CEL are evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from hydra_ray.k8s.check.schema.cel import broken_rules
from hydra_ray.k8s.check.schema.custom import RAY_KINDS, ray_schema
from hydra_ray.k8s.check.schema.errors import schema_errors
from hydra_ray.k8s.check.schema.strict import strict

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
    "spec": {
        "replicas": 1,
        "seen": None,
        "free": {"known": "a", "other": 1},
        "containers": [{"name": "a", "limits": {"cpu": 2, "memory": "8Gi"}, "stdin": True}],
    },
}


def found(change: dict[str, Any]) -> tuple[list[tuple[str, str]], bool]:
    thing = deepcopy(GOOD)
    thing["spec"] |= change
    return schema_errors(Draft202012Validator(strict(SCHEMA)), thing)


def test_what_the_schema_allows_passes():
    assert found({}) == ([], True)


@pytest.mark.parametrize(
    ("change", "place", "said", "shaped"),
    [
        ({"replica": 1}, "spec.replica", "no such field: replicas is meant?", True),
        ({"containers": [{"name": "a", "limit": {}}]}, "spec.containers[0].limit", "limits is meant?", True),
        ({"containers": [{"stdin": True}]}, "spec.containers[0].name", "it is missing", False),
        ({"containers": [{"name": "a", "stdin": "true"}]}, "spec.containers[0].stdin", "not true or false", False),
        ({"containers": {"name": "a"}}, "spec.containers", "is a mapping, not list", False),
        ({"replicas": "1"}, "spec.replicas", "is text, not integer", False),
        ({"replicas": -1}, "spec.replicas", "out of range (minimum 0)", False),
        ({"replicas": 2**31}, "spec.replicas", "out of range (maximum 2147483647)", False),
        ({"replicas": None}, "spec.replicas", "not integer", False),
        ({"seen": 5}, "spec.seen", "5 is a whole number, not nothing or text", False),
        ({"free": {"known": 1}}, "spec.free.known", "not text", False),
        ({"containers": [{"name": "a", "limits": {"cpu": 1.5}}]}, "spec.containers[0].limits.cpu", "number", False),
        ({"containers": [{"name": "a", "limits": {"cpu": "two"}}]}, "spec.containers[0].limits.cpu", "match", True),
    ],
)
def test_what_the_schema_does_not_allow_is_named_with_its_place(change, place, said, shaped):
    ((path, text),), relied_on = found(change)
    assert path == place
    assert said in text
    # Rules that count on types are looked at only where types are right.
    assert relied_on is shaped


def test_a_keyword_that_is_not_translated_is_an_error():
    with pytest.raises(ValueError, match="not translated: oneOf"):
        strict({"type": "object", "properties": {"a": {"oneOf": []}}})


def rules(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from (rule["rule"] for rule in schema.get("x-kubernetes-validations", ()))
        for one in schema.values():
            yield from rules(one)


# Each rule of KubeRay's CRDs that is about one state: a value that keeps it, and one that does not.
CEL = {
    "self in ['ray.io/kuberay-operator', 'kueue.x-k8s.io/multikueue']": ("ray.io/kuberay-operator", "me"),
    "!((has(self.onSuccess) || has(self.onFailure)) && has(self.deletionRules))": (
        {"onSuccess": {}, "onFailure": {}},
        {"onSuccess": {}, "deletionRules": []},
    ),
    "((has(self.onSuccess) && has(self.onFailure)) || has(self.deletionRules))": (
        {"onSuccess": {}, "onFailure": {}},
        {"onSuccess": {}},
    ),
    "!(has(self.jobStatus) && has(self.jobDeploymentStatus))": (
        {"jobStatus": "a"},
        {"jobStatus": "a", "jobDeploymentStatus": "b"},
    ),
    "has(self.jobStatus) || has(self.jobDeploymentStatus)": ({"jobDeploymentStatus": "b"}, {"ttlSeconds": 1}),
}


def test_all_rules_in_cel_are_known():
    there = {rule for kind in RAY_KINDS for rule in rules(ray_schema(kind))}
    assert {rule for rule in there if "oldSelf" not in rule} == set(CEL)


@pytest.mark.parametrize("rule", CEL)
def test_a_rule_in_cel_is_evaluated(rule):
    schema = {"properties": {"a": {"items": {"x-kubernetes-validations": [{"rule": rule, "message": "no"}]}}}}
    good, bad = CEL[rule]
    assert list(broken_rules(schema, {"a": [good]})) == []
    assert [path for path, _ in broken_rules(schema, {"a": [good, bad]})] == ["a[1]"]
