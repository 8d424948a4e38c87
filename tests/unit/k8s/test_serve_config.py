"""Every Serve config, in `deployments/` and inside the manifests, says nothing that Ray or we would ignore."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import PROFILES, ROOT, rendered
from ray.serve import Deployment
from ray.serve.schema import ServeDeploySchema

from hydra_ray.k8s.check.content.serve_keys import unknown_keys
from hydra_ray.serve import app
from hydra_ray.settings import Settings, parse_settings

OURS = "hydra_ray.serve.app:build"
ENGINE = "hydra_ray.runtime.vllm_app:build"

# Each level that Ray's schema has, so that a typo can be put into each.
FULL: dict[str, Any] = {
    "proxy_location": "EveryNode",
    "http_options": {"host": "0.0.0.0", "port": 8000},
    "grpc_options": {"port": 9000},
    "logging_config": {"log_level": "INFO"},
    "applications": [
        {
            "name": "hydra",
            "route_prefix": "/",
            "import_path": OURS,
            "args": {"anything": 1},
            "runtime_env": {"env_vars": {"A": "b"}},
            "logging_config": {"log_level": "INFO"},
            "deployments": [
                {
                    "name": "Ingress",
                    "user_config": {"anything": 1},
                    "ray_actor_options": {"num_cpus": 1},
                    "autoscaling_config": {
                        "min_replicas": 1,
                        "max_replicas": 2,
                        "policy": {"policy_function": "ray.serve.autoscaling_policy:default_autoscaling_policy"},
                    },
                    "logging_config": {"log_level": "INFO"},
                    "backpressure_config": {"status_code": 429},
                    "request_router_config": {"max_backoff_s": 1},
                }
            ],
        }
    ],
}
LEVELS: list[tuple[str | int, ...]] = [
    (),
    ("http_options",),
    ("grpc_options",),
    ("logging_config",),
    ("applications", 0),
    ("applications", 0, "logging_config"),
    ("applications", 0, "deployments", 0),
    ("applications", 0, "deployments", 0, "ray_actor_options"),
    ("applications", 0, "deployments", 0, "autoscaling_config"),
    ("applications", 0, "deployments", 0, "autoscaling_config", "policy"),
    ("applications", 0, "deployments", 0, "logging_config"),
    ("applications", 0, "deployments", 0, "backpressure_config"),
    ("applications", 0, "deployments", 0, "request_router_config"),
]


def test_a_config_that_uses_every_level_has_no_unknown_key():
    ServeDeploySchema.model_validate(FULL)
    assert list(unknown_keys(FULL)) == []


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: ".".join(map(str, level)) or "top")
def test_a_misspelt_key_is_found_at_each_level(level):
    config = deepcopy(FULL)
    place: Any = config
    for step in level:
        place = place[step]
    place["max_replica"] = 1
    (found,) = unknown_keys(config)
    assert found.endswith("max_replica")


def serve_configs() -> list[Any]:
    files = sorted((ROOT / "deployments").glob("*.yaml"))
    return [pytest.param(file, id=file.name) for file in files] + [pytest.param(o, id=f"k8s/{o}") for o in PROFILES]


def read(source: Path | str) -> dict[str, Any]:
    if isinstance(source, Path):
        return yaml.safe_load(source.read_text(encoding="utf-8"))
    return rendered(source).serve_config


@pytest.mark.parametrize("source", serve_configs())
def test_a_serve_config_parses_and_has_no_unknown_key(source):
    config = read(source)
    ServeDeploySchema.model_validate(config)
    assert list(unknown_keys(config)) == []


@pytest.mark.parametrize("source", serve_configs())
def test_applications_are_ours_and_their_args_are_settings(source):
    settings = {
        a["name"]: (a["import_path"], parse_settings(a["args"], a["name"])) for a in read(source)["applications"]
    }
    assert settings["hydra"][0] == OURS
    engines = {name: tree for name, (path, tree) in settings.items() if path == ENGINE}
    assert settings.keys() == {"hydra", *engines}
    # The application whose handle ours asks for is there, and knows itself by that name.
    ours: Settings = settings["hydra"][1]
    if ours.generator.backend == "vllm":
        assert engines.keys() == {ours.generator.vllm.app}
        assert all(tree.generator.vllm.app == name for name, tree in engines.items())
    else:
        assert not engines


@pytest.mark.parametrize("source", serve_configs())
def test_only_deployments_that_there_are_get_options(source):
    ours = {thing.name for thing in vars(app).values() if isinstance(thing, Deployment)}
    assert ours == {"Ingress", "Retriever", "Reranker", "Generator", "Adapter", "Profiler", "Limiter", "Refitter"}
    for application in read(source)["applications"]:
        if application["import_path"] == OURS:
            assert {deployment["name"] for deployment in application.get("deployments", [])} <= ours
