"""The small form of KubeRay's CRDs says what the full ones say, and reducing forgets nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hydra_ray.k8s.check.schema.core import KUBERAY_CORE, core_of
from hydra_ray.k8s.check.schema.custom import RAY_KINDS
from hydra_ray.k8s.check.schema.reduce import SMALL, read_full, reduce

# Where KubeRay's own files are, 3.3 MB of them; nothing else here needs them.
FULL = Path(os.environ.get("HYDRA_KUBERAY_CRDS", Path(__file__).parents[5] / "shared" / "kuberay"))


def small(kind: str) -> dict[str, Any]:
    return json.loads((SMALL / f"{kind.lower()}.json").read_text(encoding="utf-8"))


def spelt_out(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema as a CRD has it, with no reference."""
    types = core_of(KUBERAY_CORE).types
    while "$ref" in schema:
        schema = types[schema["$ref"].rsplit("/", 1)[1]]
    if "oneOf" in schema:
        return {"x-kubernetes-int-or-string": True}
    out = {key: value for key, value in schema.items() if key not in ("properties", "items", "additionalProperties")}
    if isinstance(out.get("type"), list):
        out["type"] = out["type"][0]
    if "properties" in schema:
        out["properties"] = {name: spelt_out(one) for name, one in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            out[key] = spelt_out(schema[key])
    return out


@pytest.fixture(scope="module")
def full_cluster() -> dict[str, Any]:
    return spelt_out(small("RayCluster"))


def test_a_spelt_out_form_is_reduced_to_the_small_one(full_cluster):
    assert len(json.dumps(full_cluster)) > 20 * len(json.dumps(small("RayCluster")))
    assert reduce(full_cluster, core_of(KUBERAY_CORE)) == small("RayCluster")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda container: container["properties"].update(newest={"type": "string"}), id="one field more"),
        pytest.param(lambda container: container["properties"].pop("tty"), id="one field less"),
        pytest.param(lambda container: container["properties"]["tty"].update(type="string"), id="another type"),
        pytest.param(lambda container: container["required"].append("image"), id="one more is required"),
    ],
)
def test_what_is_not_kubernetes_own_type_stays_spelt_out(change, full_cluster):
    # Parts of it are the same lists; a copy by way of JSON has none.
    full = json.loads(json.dumps(full_cluster))
    head = full["properties"]["spec"]["properties"]["headGroupSpec"]["properties"]["template"]
    change(head["properties"]["spec"]["properties"]["containers"]["items"])
    reduced = reduce(full, core_of(KUBERAY_CORE))
    pod = reduced["properties"]["spec"]["properties"]["headGroupSpec"]["properties"]["template"]["properties"]["spec"]
    assert "$ref" not in pod["properties"]["containers"]["items"]
    assert "$ref" in pod["properties"]["initContainers"]["items"]


if FULL.is_dir():

    @pytest.mark.parametrize("file", sorted(FULL.glob("ray.io_*.yaml")), ids=lambda file: file.stem)
    def test_the_small_form_is_that_of_kuberays_own_files(file):
        kind, full = read_full(file)
        assert kind in RAY_KINDS
        assert reduce(full, core_of(KUBERAY_CORE)) == small(kind)
