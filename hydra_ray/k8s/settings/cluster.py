"""Settings of one cluster: what runs there, from where, and who may reach it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from hydra_ray.k8s.settings.sizes import GroupSettings, NodeSettings, PodSize
from hydra_ray.k8s.settings.values import CIDR, Address, Name, Namespace, ObjectName, SecretKey
from hydra_ray.settings.section import Section


class LLMSettings(Section):
    """The LLM, where it is not the Serve config's."""

    base_url: str | None = Field(None, description="URL of an OpenAI-compatible endpoint; null: the Serve config's.")
    model: str | None = Field(None, description="Name of the model; null: the Serve config's.")


class PostgresSettings(Section):
    """The database of users, where it is not the Serve config's."""

    url: str | None = Field(
        None, description="SQLAlchemy URL without a password; null: the Serve config's, or else SQLite on the volume."
    )
    max_connections: int | None = Field(None, ge=4, description="Most connections; null: the Serve config's.")
    holds: int = Field(
        97, ge=1, description="Connections that the server takes; `hydra-ray k8s check` looks whether all fit."
    )


class S3Settings(Section):
    """The registry of models in an object store, where it is not the Serve config's."""

    models: str | None = Field(
        None, description="URI, e.g. s3://bucket/models; null: the Serve config's, or else a folder of the volume."
    )
    endpoint: str | None = Field(None, description="URL of a server other than AWS.")
    region: str | None = Field(None, description="Region.")


class RedisSettings(Section):
    """Where Ray's head keeps the books of the cluster, so that another head goes on with them."""

    address: Address | None = Field(
        None, description="host:port, or a URL; null: the service restarts when its head is lost."
    )
    password_key: SecretKey = Field("HYDRA_REDIS_PASSWORD", description="Key of the Secret with its password.")


class StorageSettings(Section):
    """The volume of records, feedback, models and weights, /data in all pods."""

    size: str = Field("100Gi", pattern=r"^[1-9][0-9]*(Gi|Ti)$", description="How large it is.")
    class_name: ObjectName | None = Field(None, description="Storage class; null: the cluster's default.")
    access_mode: Literal["ReadWriteMany", "ReadWriteOnce"] = Field(
        "ReadWriteMany", description="ReadWriteOnce: all pods are on one node."
    )


class ReplicaSettings(Section):
    """Replicas, where they are not the Serve config's."""

    min: int | None = Field(None, ge=1, description="Fewest.")
    max: int | None = Field(None, ge=1, description="Most.")


class UpgradeSettings(Section):
    """How a changed cluster takes over from the one that serves."""

    type: Literal["NewCluster", "NewClusterWithIncrementalUpgrade", "None"] = Field(
        "NewCluster",
        description="NewCluster: all requests at once, when it is ready; NewClusterWithIncrementalUpgrade: in steps, "
        "through a Gateway; None: never by itself.",
    )
    step_percent: int = Field(10, ge=1, le=100, description="In steps: share of the requests that a step moves.")
    surge_percent: int = Field(20, ge=1, le=100, description="In steps: share of the replicas started beforehand.")
    interval_s: int = Field(60, ge=1, description="In steps: seconds between two of them.")

    @model_validator(mode="after")
    def _steps_have_room(self) -> UpgradeSettings:
        if self.step_percent > self.surge_percent:
            raise ValueError(f"step_percent ({self.step_percent}) is more than surge_percent ({self.surge_percent})")
        return self


class GatewaySettings(Section):
    """From where requests come in."""

    namespace: Namespace | None = Field(
        None,
        description="Namespace of the pods that may send requests; null: gateway-system, or for an upgrade in steps "
        "the service's own, where KubeRay makes the Gateway.",
    )
    class_name: ObjectName | None = Field(None, description="GatewayClass, for an upgrade in steps.")
    name: ObjectName | None = Field(None, description="Gateway in that namespace to be reached through; null: none.")
    host: ObjectName | None = Field(None, description="Host name by which clients reach it, with `name`.")

    @model_validator(mode="after")
    def _host_is_of_a_gateway(self) -> GatewaySettings:
        if (self.name is None) != (self.host is None):
            raise ValueError("name and host belong together: requests for a host come through a Gateway")
        return self


class NetworkSettings(Section):
    """Who may talk with the pods, besides the gateway and each other."""

    enabled: bool = Field(True, description="false: no NetworkPolicy.")
    operator_namespace: Namespace = Field("kuberay-system", description="Namespace of KubeRay's operator.")
    monitoring_namespace: Namespace = Field("monitoring", description="Namespace of Prometheus.")
    dns_namespace: Namespace = Field("kube-system", description="Namespace of the cluster's DNS.")
    dns_addresses: CIDR | None = Field(
        None, description="Addresses of a DNS cache on each node, e.g. 169.254.20.10/32 of NodeLocal DNSCache."
    )
    outside: CIDR = Field("0.0.0.0/0", description="Addresses of what is outside of the cluster, as a CIDR.")
    api_server: CIDR = Field("0.0.0.0/0", description="Addresses of Kubernetes' API, which Ray's autoscaler asks.")
    credentials: CIDR | None = Field(
        None,
        description="Addresses that hand pods credentials at port 80, e.g. 169.254.170.23/32 of EKS Pod "
        "Identity, 169.254.169.254/32 of a machine; null: none are reached.",
    )


class PrioritySettings(Section):
    """Who gives way where nodes are short of room."""

    serving: int = Field(100_000, ge=1, le=1_000_000_000, description="Of pods that answer.")
    learning: int = Field(1_000, ge=0, le=1_000_000_000, description="Of jobs, which never push others out.")


class JobSettings(Section):
    """Jobs that learn, each on a cluster of its own."""

    queue: Namespace | None = Field(None, description="LocalQueue of Kueue; null: jobs start at once.")
    retries: int = Field(2, ge=0, description="Further clusters that a failed job is tried on.")
    deadline_s: int = Field(86_400, ge=60, description="Longest time of a job.")
    start_deadline_s: int = Field(3_600, ge=60, description="Longest time until it runs.")
    kept_s: int = Field(600, ge=0, description="Seconds for which the cluster of a job that ended is kept.")
    kept_failed_s: int = Field(3_600, ge=0, description="As long for one that failed, without a queue.")
    own_cpus: int = Field(1, ge=0, description="CPUs of the command itself on a worker; 0: it runs on the head.")
    head: PodSize = PodSize(cpu=2, memory="8Gi")
    workers: GroupSettings = GroupSettings(cpu=8, memory="32Gi", max_pods=2)
    engines: int = Field(1, ge=1, description="Of vLLM, in a job that asks the LLM.")
    search: str = Field("quick", description="What `tune` searches: a name of tune_configs.")


class RefitSettings(Section):
    """The fit of heads, again and again, from what the store holds."""

    schedule: str = Field("17 3 * * *", pattern=r"^\S+( \S+){4}$", description="When, in cron's form.")
    time_zone: str = Field("Etc/UTC", description="Of the schedule.")
    suspended: bool = Field(False, description="true: not now.")
    size: PodSize = PodSize(cpu=4, memory="16Gi")


class ClusterSettings(Section):
    """All settings of `hydra-ray k8s render`."""

    profile: str = Field("", description="Which profile these began as.")
    serve_config: str = Field(description="Serve config: a name of deployments/, or the path of a file.")
    image: str | None = Field(
        None,
        min_length=1,
        description="Image of all pods, with registry and tag; null: hydra-ray:<version>, with -gpu for GPUs.",
    )
    pull_secrets: tuple[ObjectName, ...] = Field((), description="Secrets with which images are pulled.")
    name: Name = Field("hydra-ray", description="Name of the service; all others begin with it.")
    namespace: Namespace = Field("hydra-ray", description="Namespace, which is made.")
    service_account: ObjectName | None = Field(
        None,
        description="ServiceAccount of Ray pods, e.g. one with rights to the object store; null: the namespace's own.",
    )
    secret: ObjectName = Field("hydra-ray", description="Secret with keys and passwords, named as variables.")
    llm: LLMSettings = LLMSettings()
    postgresql: PostgresSettings = PostgresSettings()
    s3: S3Settings = S3Settings()
    redis: RedisSettings = RedisSettings()
    storage: StorageSettings = StorageSettings()
    head: PodSize = PodSize(cpu=2, memory="8Gi")
    workers: GroupSettings = GroupSettings(cpu=4, memory="16Gi", min_pods=2, max_pods=8)
    engine: PodSize = Field(
        PodSize(cpu=8, memory="32Gi", disk="40Gi"), description="Of a pod with GPUs: one replica of vLLM, or training."
    )
    replicas: ReplicaSettings = Field(ReplicaSettings(), description="Of each step that scales.")
    engines: ReplicaSettings = Field(ReplicaSettings(), description="Of vLLM.")
    nodes: NodeSettings = NodeSettings()
    idle_s: int = Field(300, ge=1, description="A pod without work goes after so many seconds.")
    upgrade: UpgradeSettings = UpgradeSettings()
    gateway: GatewaySettings = GatewaySettings()
    network: NetworkSettings = NetworkSettings()
    priority: PrioritySettings = PrioritySettings()
    jobs: JobSettings = JobSettings()
    refit: RefitSettings = RefitSettings()
    settings: dict[str, Any] = Field({}, description="Settings of hydra-ray that go over the Serve config's.")
    learning: dict[str, Any] = Field({}, description="Settings of hydra-ray that go over those, for jobs.")

    @model_validator(mode="after")
    def _steps_go_through_a_gateway(self) -> ClusterSettings:
        if self.upgrade.type == "NewClusterWithIncrementalUpgrade":
            if self.gateway.class_name is None:
                raise ValueError("gateway.class_name: an upgrade in steps needs a GatewayClass")
            if self.gateway.name is not None:
                raise ValueError("gateway.name: KubeRay makes the Gateway of an upgrade in steps by itself")
        return self

    def priority_class(self, component: str) -> str:
        """Return the name of the priority of pods that are for something.

        Priorities are of no namespace, and another service of this name may be in another one.
        """
        return f"{self.name}-{component}.{self.namespace}"

    @property
    def gateway_namespace(self) -> str:
        """Namespace of the pods that may send requests."""
        own = self.namespace if self.upgrade.type == "NewClusterWithIncrementalUpgrade" else "gateway-system"
        return self.gateway.namespace or own
