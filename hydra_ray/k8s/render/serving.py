"""What is served: a Serve config, with what the cluster's settings say over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hydra_ray.k8s.render.sources import serve_config
from hydra_ray.k8s.settings.cluster import ClusterSettings, ReplicaSettings
from hydra_ray.records import HydraError
from hydra_ray.settings import Settings, SettingsError, parse_settings
from hydra_ray.settings.files.read import over

APP = "hydra_ray.serve.app:build"
ENGINE_APP = "hydra_ray.runtime.vllm_app:build"
PORT = 8000
# Where pods have what is kept, and what is lost with them.
DATA, OUT, STORE, CACHE = "/data", "/data/hydra", "/store", "/cache"


@dataclass(frozen=True)
class Served:
    """What is served.

    Attributes:
        config: Serve config, as plain values.
        tree: Settings tree of our application, as plain values.
        settings: The same, checked.
        engine_tree: Settings tree of the application that hosts vLLM; None where the LLM is elsewhere.
        engine: The same, checked.
    """

    config: dict[str, Any]
    tree: dict[str, Any]
    settings: Settings
    engine_tree: dict[str, Any] | None
    engine: Settings | None

    @property
    def gpus(self) -> int:
        """GPUs of one replica of vLLM, which one pod has; 0 where there are none."""
        if self.engine is None or self.engine.generator.vllm.device == "cpu":
            return 0
        v = self.engine.generator.vllm
        return v.tensor_parallel * v.pipeline_parallel

    @property
    def on_postgresql(self) -> bool:
        """Whether users are in a database that all nodes reach."""
        return self.settings.store_url.startswith("postgresql")

    @property
    def on_s3(self) -> bool:
        """Whether versions of the base are in an object store."""
        return self.settings.registry_url.startswith("s3://")


def served(cluster: ClusterSettings) -> Served:
    """Return what the cluster serves.

    Raises:
        HydraError: There is no such Serve config, or with these settings it is none.
    """
    config = serve_config(cluster.serve_config)
    config["http_options"] = {**config.get("http_options", {}), "host": "0.0.0.0", "port": PORT}
    ours = _application(config, APP)
    if ours is None:
        raise HydraError(f"serve_config: {cluster.serve_config} has no application of {APP}")
    engine = _application(config, ENGINE_APP)
    ours["args"] = over(over(ours.get("args") or {}, _args(cluster, ours.get("args") or {})), cluster.settings)
    if engine is not None:
        engine["args"] = _engine_args(cluster, engine.get("args") or {}, ours["args"])
    _scale(ours, cluster.replicas)
    settings = parse_settings(ours["args"], f"settings of {cluster.serve_config}")
    if settings.auth.mode == "off":
        raise SettingsError("settings.auth.mode: off answers the pod's own machine alone: nobody would be answered")
    if cluster.storage.access_mode == "ReadWriteMany" and not settings.store_url.startswith("postgresql"):
        raise SettingsError(
            "postgresql.url: the volume is for many nodes, and SQLite is for one: name a PostgreSQL, or set "
            "storage.access_mode=ReadWriteOnce, which keeps all pods on one node"
        )
    return Served(
        config,
        ours["args"],
        settings,
        engine["args"] if engine else None,
        parse_settings(engine["args"], f"settings of the LLM of {cluster.serve_config}") if engine else None,
    )


def _application(config: dict[str, Any], import_path: str) -> dict[str, Any] | None:
    return next((one for one in config["applications"] if one.get("import_path") == import_path), None)


def _args(cluster: ClusterSettings, args: dict[str, Any]) -> dict[str, Any]:
    """What the cluster's settings say of our application."""
    tree: dict[str, Any] = {"out": OUT, "auth": {"mode": "keys"}}
    generator = args.get("generator") or {}
    if generator.get("backend") == "openai":
        tree["generator"] = _given(base_url=cluster.llm.base_url, model=cluster.llm.model)
    elif cluster.llm.base_url is not None:
        raise SettingsError(f"llm.base_url: the LLM of {cluster.serve_config} is in the cluster: it has no URL")
    tree["store"] = _given(url=cluster.postgresql.url, max_connections=cluster.postgresql.max_connections)
    if not (args.get("store") or {}).get("url") and cluster.postgresql.url is None:
        tree["store"] = {"url": f"sqlite:///{STORE}/users.db"}
    elif not (args.get("store") or {}).get("password_env"):
        tree["store"]["password_env"] = "HYDRA_STORE_PASSWORD"
    if cluster.s3.models is not None:
        tree["registry"] = {"url": cluster.s3.models}
    return {name: value for name, value in tree.items() if value}


def _engine_args(cluster: ClusterSettings, args: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """What the cluster's settings say of the LLM's application."""
    replicas = _given(min_replicas=cluster.engines.min, max_replicas=cluster.engines.max)
    tree: dict[str, Any] = {"generator": _given(model=cluster.llm.model)}
    if replicas:
        tree["generator"]["vllm"] = replicas
    # How long a replica that is let go ends what it has begun follows from how long our requests may take.
    times = {
        name: ours["serve"][name] for name in ("timeout_s", "generator_timeout_s") if name in ours.get("serve", {})
    }
    if times:
        tree["serve"] = times
    return over(args, {name: value for name, value in tree.items() if value})


def _scale(ours: dict[str, Any], replicas: ReplicaSettings) -> None:
    """Write replicas of every step that scales."""
    bounds = _given(min_replicas=replicas.min, max_replicas=replicas.max)
    scaled = [one for one in ours.get("deployments") or () if "autoscaling_config" in one]
    if bounds and not scaled:
        raise SettingsError("replicas: the Serve config has no deployments with autoscaling_config")
    for one in scaled:
        one["autoscaling_config"] |= bounds
        scaling = one["autoscaling_config"]
        if scaling.get("min_replicas", 1) > scaling.get("max_replicas", 1):
            raise SettingsError(f"replicas: {one['name']} would have a least that is more than the most: {scaling}")


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
