"""A CRD's OpenAPI schema as strict JSON Schema, which forbids what the API server would silently drop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

# Carried over as they are; the rest is translated, or says nothing about validity.
_SAME = {
    *("type", "enum", "pattern", "required", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("multipleOf", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties"),
}
_TRANSLATED = {"properties", "additionalProperties", "items", "format", "anyOf", "nullable"} | {
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
}
# x-kubernetes-validations are rules in CEL, which nothing here evaluates.
_SILENT = {
    "description",
    "default",
    "title",
    "example",
    "x-kubernetes-validations",
    "x-kubernetes-embedded-resource",
} | {
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
}
_RANGES = {"int32": 31, "int64": 63}


def load_validator(crd: Path) -> Draft202012Validator:
    """A validator of whole objects against the version of the CRD that is stored.

    Args:
        crd: File of one CustomResourceDefinition.

    Raises:
        ValueError: No version is stored, or the schema has a keyword that is not translated.
    """
    # Of libyaml: 30,000 lines take PyYAML's own parser seconds.
    versions = yaml.load(crd.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)["spec"]["versions"]
    stored = [version for version in versions if version["storage"]]
    if len(stored) != 1:
        raise ValueError(f"{crd.name}: {len(stored)} stored versions")
    return Draft202012Validator(strict(stored[0]["schema"]["openAPIV3Schema"]))


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """One schema of a CRD as JSON Schema: an object with `properties` has no others, unless it says so.

    Raises:
        ValueError: There is a keyword that is not translated.
    """
    unknown = schema.keys() - _SAME - _TRANSLATED - _SILENT
    if unknown:
        raise ValueError(f"not translated: {', '.join(sorted(unknown))}")
    out = {key: schema[key] for key in _SAME & schema.keys()}
    if "properties" in schema:
        out["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        out["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    if "additionalProperties" in schema:
        rest = schema["additionalProperties"]
        out["additionalProperties"] = rest if isinstance(rest, bool) else strict(rest)
    if "items" in schema:
        out["items"] = strict(schema["items"])
    if schema.get("x-kubernetes-int-or-string"):
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    elif "anyOf" in schema:
        out["anyOf"] = [strict(part) for part in schema["anyOf"]]
    if bits := _RANGES.get(schema.get("format", "")):
        out["minimum"] = max(-(2**bits), schema.get("minimum", -(2**bits)))
        out["maximum"] = min(2**bits - 1, schema.get("maximum", 2**bits - 1))
    return {"anyOf": [{"type": "null"}, out]} if schema.get("nullable") else out


def problems(validator: Draft202012Validator, thing: Any) -> list[str]:
    """What is wrong with an object, each with its path; empty when nothing is."""
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(thing)]
