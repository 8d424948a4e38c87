"""Pods of Ray nodes: who they run as, what they see, and how one says that it is well."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hydra_ray import __version__
from hydra_ray.k8s.render.serving import CACHE, DATA, PORT, STORE, Served
from hydra_ray.k8s.settings.cluster import ClusterSettings
from hydra_ray.k8s.settings.sizes import PodSize
from hydra_ray.runtime.draining import drain_s
from hydra_ray.runtime.start.environment import SERVING
from hydra_ray.runtime.threads import PASSIVE_WAITS

Component = Literal["serving", "learning"]

# Of the image, as of those of Ray.
USER, GROUP = 1000, 100
# Ray's agent, which answers for the node that it is on.
_AGENT_PORT = 52365
# What a pod, or an old cluster, takes to end once its requests have.
MOMENT_S = 20
_HUB = "/huggingface"
SETTINGS = "/etc/hydra-ray"

CONTAINER_SECURITY: Mapping[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
POD_SECURITY: Mapping[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": GROUP,
    "fsGroup": GROUP,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True)
class Pods:
    """Makes the pods of one cluster.

    Attributes:
        cluster: Settings of the cluster.
        served: What it serves.
        component: What the pods are for.
        config_map: Name of the ConfigMap that jobs read; "" for none.
    """

    cluster: ClusterSettings
    served: Served
    component: Component
    config_map: str = ""

    def labels(self) -> dict[str, str]:
        """Return the labels that all of them have; KubeRay adds its own."""
        return {
            "app.kubernetes.io/part-of": self.cluster.name,
            "app.kubernetes.io/component": self.component,
        }

    def head(self, size: PodSize) -> dict[str, Any]:
        """Return the template of the head, which keeps the books and does no work."""
        ports = [
            {"name": "gcs-server", "containerPort": 6379},
            {"name": "dashboard", "containerPort": 8265},
            # KubeRay learns from here which port the Service has.
            *([{"name": "serve", "containerPort": PORT}] if self.component == "serving" else []),
        ]
        container = self._container("ray-head", size, 0) | {"ports": ports}
        return self._template(container, 0, "headgroup", automount=True)

    def worker(self, group: str, size: PodSize, gpus: int = 0) -> dict[str, Any]:
        """Return the template of a group of workers."""
        container = self._container("ray-worker", size, gpus)
        if self.component == "serving":
            container["ports"] = [{"name": "serve", "containerPort": PORT}]
            # A pod gets requests where they can be answered, and its events say which step cannot.
            # An LLM that is out is out for all pods: without one that is ready, nobody could even give feedback.
            ask = ["python", "-m", "hydra_ray.k8s.probe", f"http://127.0.0.1:{PORT}/readyz?llm=optional"]
            container["readinessProbe"] = _probe({"exec": {"command": ask}}, period=5, failures=2, timeout=5)
            container["lifecycle"] = {"preStop": {"exec": {"command": ["bash", "-c", self._leave()]}}}
        return self._template(container, gpus, group, automount=False)

    @property
    def longest_s(self) -> int:
        """Seconds in which a replica ends what it has begun: longer than the longest generation."""
        return math.ceil(drain_s(self.served.settings.serve))

    @property
    def image(self) -> str:
        """Image of all pods: those of one Ray cluster want the same Python and Ray."""
        return self.cluster.image or f"hydra-ray:{__version__}{'-gpu' if self.served.gpus else ''}"

    def environment(self) -> list[dict[str, Any]]:
        """Return the variables of a container: plain ones, and those of the Secret."""
        hub = _HUB if self._has_hub else f"{CACHE}/huggingface"
        plain = {
            "HF_HOME": hub,
            "XDG_CACHE_HOME": CACHE,
            "RAY_USAGE_STATS_ENABLED": "0",
            **PASSIVE_WAITS,
        }
        if self.component == "serving":
            plain |= SERVING
        if self.served.on_s3:
            s3 = {"AWS_ENDPOINT_URL": self.cluster.s3.endpoint, "AWS_DEFAULT_REGION": self.cluster.s3.region}
            plain |= {name: value for name, value in s3.items() if value is not None}
        return [
            *({"name": name, "value": value} for name, value in plain.items()),
            *self._from_secret(),
        ]

    def volumes(self) -> list[dict[str, Any]]:
        """Return the volumes of a pod."""
        found: list[dict[str, Any]] = [
            {"name": "data", "persistentVolumeClaim": {"claimName": f"{self.cluster.name}-data"}},
            {"name": "cache", "emptyDir": {"sizeLimit": "10Gi"}},
        ]
        if self.config_map:
            found.append({"name": "settings", "configMap": {"name": self.config_map}})
        return found

    def mounts(self) -> list[dict[str, Any]]:
        """Return where a container has them. Who serves writes nothing to the data but what is said here."""
        data: dict[str, Any] = {"name": "data", "mountPath": DATA}
        found = [data | {"readOnly": True} if self.component == "serving" else data]
        if self._has_hub:
            found.append({"name": "data", "mountPath": _HUB, "subPath": "huggingface"})
        if not self.served.on_postgresql:
            found.append({"name": "data", "mountPath": STORE, "subPath": "store"})
        found.append({"name": "cache", "mountPath": CACHE})
        if self.config_map:
            found.append({"name": "settings", "mountPath": SETTINGS, "readOnly": True})
        return found

    @property
    def _has_hub(self) -> bool:
        """Whether weights of a hub are kept for the next pod: those of vLLM, and what a job may fetch."""
        return self.component == "learning" or self.served.engine is not None

    def _container(self, name: str, size: PodSize, gpus: int) -> dict[str, Any]:
        healthy = {"httpGet": {"path": "/api/healthz", "port": _AGENT_PORT}}
        return {
            "name": name,
            "image": self.image,
            "env": self.environment(),
            "securityContext": dict(CONTAINER_SECURITY),
            "resources": size.resources(gpus),
            "volumeMounts": self.mounts(),
            # A node that is only slow is not to be killed: ten minutes, as KubeRay gives it.
            "livenessProbe": _probe(healthy, period=5, failures=120, timeout=5, delay=30),
            "readinessProbe": _probe(healthy, period=5, failures=10, timeout=5, delay=10),
        }

    def _template(self, container: dict[str, Any], gpus: int, group: str, automount: bool) -> dict[str, Any]:
        nodes = self.cluster.nodes
        spec: dict[str, Any] = {
            # The head's autoscaler alone talks to Kubernetes.
            "automountServiceAccountToken": automount,
            "priorityClassName": self.cluster.priority_class(self.component),
            "securityContext": dict(POD_SECURITY),
            "terminationGracePeriodSeconds": self.longest_s + MOMENT_S,
        }
        if self.cluster.service_account is not None:
            spec["serviceAccountName"] = self.cluster.service_account
        if self.cluster.pull_secrets:
            spec["imagePullSecrets"] = [{"name": name} for name in self.cluster.pull_secrets]
        if labels := nodes.gpu_labels if gpus else nodes.cpu_labels:
            spec["nodeSelector"] = dict(labels)
        if gpus and nodes.gpu_taint:
            spec["tolerations"] = [{"key": nodes.gpu_taint, "operator": "Exists", "effect": "NoSchedule"}]
        if group != "headgroup":
            spec["topologySpreadConstraints"] = self._spread(group)
            if self.cluster.nodes.apart and self.component == "serving":
                term = {**self._of_its_kind(group), "topologyKey": "kubernetes.io/hostname"}
                spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        spec |= {"containers": [container], "volumes": self.volumes()}
        return {"metadata": {"labels": self.labels()}, "spec": spec}

    def _spread(self, group: str) -> Sequence[dict[str, Any]]:
        """Nodes first, then zones."""
        common = {
            **self._of_its_kind(group),
            # Nodes that would not take the pod are not counted as empty.
            "nodeTaintsPolicy": "Honor",
        }
        places = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
        soft = "ScheduleAnyway"
        return [{"maxSkew": 1, "topologyKey": place, "whenUnsatisfiable": soft, **common} for place in places]

    def _of_its_kind(self, group: str) -> dict[str, Any]:
        """Pods of one group. Those of an old and of a new cluster are counted apart."""
        return {
            "labelSelector": {"matchLabels": {**self.labels(), "ray.io/group": group}},
            "matchLabelKeys": ["ray.io/cluster"],
        }

    def _leave(self) -> str:
        """Has Serve start replicas elsewhere and end those here, for as long as requests may take."""
        reason = "--reason DRAIN_NODE_REASON_PREEMPTION --reason-message 'the pod was told to go'"
        return (
            f"ray drain-node {reason} \\\n"
            f"  --deadline-remaining-seconds {self.longest_s} || exit 0\n"
            # The raylet ends when nothing is left on its node. `ray start` goes on without it, and so would the pod.
            f"for _ in $(seq {self.longest_s}); do\n"
            "  grep -qsx raylet /proc/[0-9]*/comm || exit 0\n"
            "  sleep 1\n"
            "done\n"
        )

    def _from_secret(self) -> Iterator[dict[str, Any]]:
        for name, is_needed in self.secret_keys().items():
            key = {"name": self.cluster.secret, "key": name} | ({} if is_needed else {"optional": True})
            yield {"name": name, "valueFrom": {"secretKeyRef": key}}

    def secret_keys(self) -> dict[str, bool]:
        """Return the keys of the Secret that pods have as variables, and whether they start without."""
        settings = self.served.settings
        found: dict[str, bool] = {}
        if settings.generator.backend == "openai":
            found |= {
                one.api_key_env: True
                for one in (settings.generator, *settings.generator.fallbacks)
                if one.api_key_file is None
            }
        if self.served.engine is not None:
            found |= {settings.generator.vllm.salt_key_env: False, "HF_TOKEN": False}
        if self.served.on_postgresql and settings.store.password_env is not None:
            found[settings.store.password_env] = True
        if self.served.on_s3:
            found |= {"AWS_ACCESS_KEY_ID": False, "AWS_SECRET_ACCESS_KEY": False}
        if settings.observe.user_ids == "hashed":
            found[settings.observe.user_key_env] = True
        if settings.serve.experiment.key_env is not None:
            found[settings.serve.experiment.key_env] = True
        return found


def _probe(
    ask: Mapping[str, Any], *, period: int, failures: int, timeout: int, delay: int | None = None
) -> dict[str, Any]:
    first = {} if delay is None else {"initialDelaySeconds": delay}
    return {**ask, **first, "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures}
