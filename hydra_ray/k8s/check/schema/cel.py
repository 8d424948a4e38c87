"""The rules in CEL that CRDs have beside their schemas (`x-kubernetes-validations`)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from hydra_ray.k8s.check.reading.plain import joined
from hydra_ray.records import HydraError


def broken_rules(schema: Mapping[str, Any], value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the message of each rule that does not hold, with its place.

    Rules of changes (`oldSelf`) are left out, since nothing here was there before.

    Args:
        schema: A CRD's.
        value: What is to hold to it; its types are the schema's.
        path: Where the value is.
    """
    for rule in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" not in rule["rule"] and not _holds(rule["rule"], value):
            yield path, f"{rule['message']} (CRD's rule: {rule['rule']})"
    if isinstance(value, dict):
        rest = schema.get("additionalProperties")
        for key, one in value.items():
            inner = schema.get("properties", {}).get(key, rest)
            if isinstance(inner, dict):
                yield from broken_rules(inner, one, joined(path, key))
    elif isinstance(value, list) and "items" in schema:
        for place, one in enumerate(value):
            yield from broken_rules(schema["items"], one, f"{path}[{place}]")


def _holds(rule: str, value: Any) -> bool:
    import celpy

    return bool(_program(rule).evaluate({"self": celpy.json_to_cel(value)}))


@functools.cache
def _program(rule: str) -> Any:
    try:
        import celpy
    except ImportError as error:
        raise HydraError(f'rules in CEL cannot be evaluated ({error}); pip install "hydra-ray[k8s]"') from None
    environment = celpy.Environment()
    return environment.program(environment.compile(rule))
