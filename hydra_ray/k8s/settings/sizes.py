"""Settings of pods: how large they are, how many there may be, and which nodes take them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from hydra_ray.settings.section import Section

Quantity = Annotated[str, Field(pattern=r"^[1-9][0-9]*(Mi|Gi|Ti)$")]
CPUs = Annotated[str, Field(pattern=r"^[1-9][0-9]*m?$")]


class PodSize(Section):
    """What one pod may use. It asks for all of that, unless it says less."""

    cpu: int = Field(ge=1, description="CPUs of the pod, and of its Ray node.")
    memory: Quantity = Field(description="Memory, e.g. 16Gi.")
    disk: Quantity = Field("20Gi", description="Ephemeral storage: logs, spilled objects, versions of the base.")
    cpu_request: CPUs | None = Field(None, description="CPUs that it asks for, where that is less, e.g. 500m.")
    memory_request: Quantity | None = Field(None, description="Memory that it asks for, where that is less.")

    def resources(self, gpus: int = 0) -> dict[str, Any]:
        """Return requests and limits as Kubernetes wants them."""
        limits = {"cpu": str(self.cpu), "memory": self.memory, "ephemeral-storage": self.disk}
        requests = {**limits, "cpu": self.cpu_request or limits["cpu"], "memory": self.memory_request or self.memory}
        devices = {"nvidia.com/gpu": str(gpus)} if gpus else {}
        return {"requests": requests | devices, "limits": limits | devices}


class GroupSettings(PodSize):
    """Pods of one kind, of which the autoscaler adds and removes some."""

    min_pods: int = Field(1, ge=0, description="Fewest pods.")
    max_pods: int = Field(1, ge=1, description="Most pods.")

    @model_validator(mode="after")
    def _make_a_range(self) -> GroupSettings:
        if self.min_pods > self.max_pods:
            raise ValueError(f"min_pods ({self.min_pods}) is more than max_pods ({self.max_pods})")
        return self


class NodeSettings(Section):
    """Which nodes take pods, and how far apart these are."""

    cpu_labels: dict[str, str] = Field({}, description="Labels of the nodes for pods without GPUs; empty: any node.")
    gpu_labels: dict[str, str] = Field({}, description="Labels of the nodes for pods with GPUs.")
    gpu_taint: str | None = Field("nvidia.com/gpu", description="Key of the taint of GPU nodes; null: they have none.")
    apart: bool = Field(
        False, description="true: pods of a kind wait for a node rather than share one; false: where there is one."
    )
