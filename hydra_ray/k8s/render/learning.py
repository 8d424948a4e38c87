"""What jobs learn with: one settings file for all of them, which says what the service says, and their commands."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hydra_ray.k8s.render.pods import SETTINGS
from hydra_ray.k8s.render.serving import Served
from hydra_ray.k8s.render.sources import search_files
from hydra_ray.k8s.render.yaml_text import to_file
from hydra_ray.k8s.settings.cluster import ClusterSettings
from hydra_ray.settings import SettingsError, parse_settings
from hydra_ray.settings.files.read import over

_FILE = f"{SETTINGS}/settings.yaml"
_HEADER = (
    "What jobs learn from and with: the settings of the service and of its LLM, and those of the cluster's `learning` "
    "over them. The keys are those of any settings file of hydra-ray."
)


@dataclass(frozen=True)
class Command:
    """One job.

    Attributes:
        name: Name of the command.
        words: The command as a shell reads it.
        asks_llm: Whether it asks the LLM, which a cluster without an endpoint has to host.
        trains: Whether it trains the base, on GPUs where the settings say so.
        is_wide: Whether more workers make it faster.
    """

    name: str
    words: str
    asks_llm: bool
    trains: bool
    is_wide: bool


COMMANDS = (
    Command("collect", f"hydra-ray collect {_FILE} users=train", True, False, False),
    Command("train", f"hydra-ray train {_FILE}", False, True, False),
    Command("tune", f"hydra-ray tune {_FILE} users=dev --search {SETTINGS}/search.yaml", False, False, True),
    Command("fit", f"hydra-ray fit {_FILE} users=dev", True, False, True),
    Command("evaluate", f"hydra-ray evaluate {_FILE} data.split=dev", True, False, False),
)

# Heads of the version that is served, from what the store holds: on the pod's own small cluster, since the settings
# name one that a job has.
REFIT = ("hydra-ray", "fit", _FILE, "users=train", "data.format=store", "model.version=production", "ray.address=null")


def learning_tree(cluster: ClusterSettings, served: Served) -> dict[str, Any]:
    """Return the settings tree of jobs.

    Raises:
        HydraError: It is none.
    """
    # Who may ask, and where a browser's page comes from, is nothing to a job.
    tree = {name: value for name, value in served.tree.items() if name not in ("auth", "tenants")}
    if served.engine_tree is not None:
        tree = over(tree, {"generator": served.engine_tree["generator"]})
        scaled = {"min_replicas": 1, "max_replicas": cluster.jobs.engines}
        tree = over(tree, {"generator": {"vllm": scaled}})
    tree = over(over(tree, {"ray": {"address": "auto"}}), cluster.learning)
    settings = parse_settings(tree, "settings of jobs")
    for name in ("model_dir", "store_url", "registry_url", "tenant"):
        if getattr(settings, name) != getattr(served.settings, name):
            raise SettingsError(f"learning: jobs would leave their work elsewhere than it is served from ({name})")
    return tree


def learner(cluster: ClusterSettings, served: Served) -> Served:
    """Return what jobs work with: as what is served, with the settings of jobs.

    Raises:
        HydraError: They are none.
    """
    tree = learning_tree(cluster, served)
    settings = parse_settings(tree, "settings of jobs")
    engine = settings if settings.generator.backend == "vllm" else None
    return replace(served, tree=tree, settings=settings, engine_tree=None, engine=engine)


def config_map(cluster: ClusterSettings, learner: Served) -> dict[str, Any]:
    """Return the ConfigMap that jobs mount.

    Its name ends in a digest of its content, so that no pod reads other settings than it was started for.
    """
    data = {"settings.yaml": to_file([_HEADER], [learner.tree]), **search_files(cluster.jobs.search)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{cluster.name}-settings-{_digest(data)}"},
        "immutable": True,
        "data": data,
    }


def _digest(data: Mapping[str, str]) -> str:
    whole = hashlib.sha256()
    for name, text in data.items():
        whole.update(f"{name}\0{text}\0".encode())
    return whole.hexdigest()[:10]
