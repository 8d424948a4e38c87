"""The application on a cluster, deployed by a Serve config as operators do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from node_places import Place
from patience import until
from ray_nodes import Nodes
from served_app import USERS, WORDS, App

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store

STEPS = ("Ingress", "Retriever", "Generator", "Adapter", "Profiler")
_STATES = """
from ray import serve
from ray.exceptions import RayError
try:
    application = serve.status().applications.get("hydra")
except (RayError, serve.exceptions.RayServeException):
    # A controller that starts again does not answer yet.
    application = None
if application is None:
    say(["UNKNOWN", {}, ""])
else:
    states = {name: one.replica_states for name, one in application.deployments.items()}
    say([application.status, states, application.message])
"""


class ServedCluster:
    """The application on a cluster.

    Args:
        nodes: The cluster.
        folder: Folder for the settings file and the Serve configs.
        tree: Settings, as in a settings file.
        options: What the Serve config says of a step beside the number of its replicas, by its name.
    """

    def __init__(
        self, nodes: Nodes, folder: Path, tree: dict[str, Any], options: dict[str, dict[str, Any]] | None = None
    ) -> None:
        self.nodes, self._folder, self._options = nodes, folder, options or {}
        self.tree = {**tree, "auth": {"mode": "keys"}}
        self.settings = folder / "settings.yaml"
        self.settings.write_text(yaml.safe_dump(self.tree))
        self._put_histories()
        scopes = [word for scope in ("chat", "users", "admin") for word in ("--scope", scope)]
        made = json.loads(nodes.run("hydra-ray", "keys", "create", str(self.settings), *scopes, "--json"))
        self._headers = {"Authorization": f"Bearer {made['key']}"}

    def deploy(self, replicas: int = 2, **changed: dict[str, Any]) -> None:
        """Deploys the application, or changes it.

        Args:
            replicas: Replicas of each step.
            changed: Sections of the settings in which something differs, with what does.
        """
        tree = {**self.tree, **{name: {**self.tree.get(name, {}), **section} for name, section in changed.items()}}
        application = {
            "name": "hydra",
            "route_prefix": "/",
            "import_path": "hydra_ray.serve.app:build",
            "args": tree,
            "deployments": [{"name": step, "num_replicas": replicas, **self._options.get(step, {})} for step in STEPS],
        }
        config = self._folder / "serve.yaml"
        config.write_text(
            yaml.safe_dump({"http_options": {"host": "0.0.0.0"}, "applications": [application]}, sort_keys=False)
        )
        self.nodes.run("serve", "run", "--non-blocking", str(config))

    def through(self, place: Place) -> App:
        """The application as it is asked through the proxy of a node."""
        return App(f"http://{place.address}:8000", parse_settings(self.tree), self._headers)

    def is_whole(self, replicas: int = 2) -> bool:
        """Whether Serve has so many replicas of each step, and no others."""
        status, states, message = self.nodes.ask(_STATES)
        assert status != "DEPLOY_FAILED", message
        return status == "RUNNING" and all(states[step] == {"RUNNING": replicas} for step in STEPS)

    def wait_until_whole(self, through: Place) -> App:
        """Waits until all replicas are there and a request through a node's proxy has all of an answer."""
        app = self.through(through)
        until(app.is_well, f"whole answers through {through.address}")
        until(self.is_whole, "all replicas")
        return app

    def steps_on(self, place: Place) -> set[str]:
        """Names of the steps that have a replica on a node."""
        titles = place.titles()
        return {step for step in STEPS if f"ray::ServeReplica:hydra:{step}" in titles}

    def _put_histories(self) -> None:
        settings = parse_settings(self.tree)
        store = open_store(settings.store_target)
        store.put_histories({UserKey(settings.tenant, user): _items_of(user) for user in USERS})
        store.close()


def _items_of(user: str) -> list[HistoryItem]:
    """A history that says whose it is."""
    return [HistoryItem(f"h{i}", f"Describe a {word}", f"A {word}, calm ({user})") for i, word in enumerate(WORDS)]
