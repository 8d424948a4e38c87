"""A CRD's OpenAPI schema as strict JSON Schema, which forbids what the API server would silently drop."""

from __future__ import annotations

from typing import Any

# Carried over as they are; the rest is translated, or says nothing about validity.
_SAME = {
    *("type", "enum", "pattern", "required", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("multipleOf", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties"),
    "$ref",
}
_TRANSLATED = {"properties", "additionalProperties", "items", "format", "anyOf", "nullable"} | {
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
}
# x-kubernetes-validations are rules in CEL: `cel.py` evaluates them.
_SILENT = {
    *("description", "default", "title", "example", "x-kubernetes-validations", "x-kubernetes-embedded-resource"),
    *("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"),
}
_RANGES = {"int32": 31, "int64": 63}


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Return one schema of a CRD as JSON Schema: an object with `properties` has no others, unless it says so.

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
