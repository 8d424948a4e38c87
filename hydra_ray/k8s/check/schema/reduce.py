"""Makes the small form of KubeRay's CRDs: types of Kubernetes are spelt out in full ones, and named in small ones.

`python -m hydra_ray.k8s.check.schema.reduce FOLDER` reads the full CRDs of a folder (KubeRay's
`ray-operator/config/crd/bases`) and writes the small ones beside this module.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from hydra_ray.atomic import write_text
from hydra_ray.k8s.check.schema.core import KUBERAY_CORE, Core, core_of

SMALL = Path(__file__).with_name("crds")
# What the API server keeps of an embedded object's metadata, in a CRD's words; Kubernetes' own type has more.
_METADATA = {"annotations", "finalizers", "labels", "name", "namespace"}
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
# For people, or of what only the API server does.
_DROPPED = {"description", "title", "example", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"} | {
    "x-kubernetes-map-type"
}


def read_full(file: Path) -> tuple[str, dict[str, Any]]:
    """Return the kind of a full CRD, and the schema of the version that is stored.

    Raises:
        ValueError: Not one version is stored.
    """
    # Of libyaml: 30,000 lines take PyYAML's own parser seconds.
    spec = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)["spec"]
    stored = [version for version in spec["versions"] if version["storage"]]
    if len(stored) != 1:
        raise ValueError(f"{file.name}: {len(stored)} stored versions")
    return spec["names"]["kind"], stored[0]["schema"]["openAPIV3Schema"]


def reduce(schema: Mapping[str, Any], core: Core) -> dict[str, Any]:
    """Return a schema in which each part that is a type of Kubernetes refers to that type.

    Args:
        schema: Full schema of an object.
        core: Kubernetes' types in the version that the schema was generated with.
    """
    properties = {**schema["properties"], "metadata": {"type": "object"}}
    if "status" in properties:
        # Nobody writes it.
        properties["status"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    by_fields: dict[frozenset[str], list[str]] = {}
    for name, one in sorted(core.types.items()):
        by_fields.setdefault(frozenset(one.get("properties", ())), []).append(name)
    return _reduced({**schema, "properties": properties}, core, by_fields)


def _reduced(schema: Mapping[str, Any], core: Core, by_fields: Mapping[frozenset[str], list[str]]) -> dict[str, Any]:
    fields = frozenset(schema.get("properties", ()))
    if len(fields) > 1 and "x-kubernetes-validations" not in schema:
        for name in by_fields.get(fields, ()):
            if next(differences(schema, core.types[name], core), None) is None:
                return {"$ref": core.uri(name)}
    out = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "properties" in out:
        out["properties"] = {name: _reduced(one, core, by_fields) for name, one in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = _reduced(out[key], core, by_fields)
    return out


def differences(full: Mapping[str, Any], core_type: Mapping[str, Any], core: Core, path: str = "") -> Iterator[str]:
    """Yield where a full schema and a type of Kubernetes are not the same: fields, their types, what is required."""
    while "$ref" in core_type:
        core_type = core.types[core_type["$ref"].rsplit("/", 1)[1]]
    if full.get("x-kubernetes-int-or-string"):
        if "oneOf" not in core_type:
            yield f"{path}: integer or text"
        return
    type_ = core_type.get("type")
    if (type_[0] if isinstance(type_, list) else type_) != full.get("type"):
        yield f"{path}: {full.get('type')} is {type_}"
        return
    fields, others = full.get("properties", {}), core_type.get("properties", {})
    embedded = set(fields) == _METADATA and core_type is core.types[_OBJECT_META]
    for name in sorted(fields.keys() | others.keys()):
        if name in fields and name in others:
            yield from differences(fields[name], others[name], core, f"{path}.{name}")
        elif name in fields or not embedded:
            yield f"{path}.{name}: in one of them"
    if not embedded and set(full.get("required", ())) != set(core_type.get("required", ())):
        yield f"{path}: required {full.get('required')} is {core_type.get('required')}"
    for key in ("items", "additionalProperties"):
        if isinstance(full.get(key), dict):
            inner = core_type.get(key)
            yield from differences(full[key], inner if isinstance(inner, dict) else {}, core, f"{path}[]")


def main(folder: Path) -> None:
    """Write the small form of each CRD of a folder."""
    core = core_of(KUBERAY_CORE)
    for file in sorted(folder.glob("ray.io_*.yaml")):
        kind, schema = read_full(file)
        small = reduce(schema, core)
        write_text(SMALL / f"{kind.lower()}.json", json.dumps(small, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
