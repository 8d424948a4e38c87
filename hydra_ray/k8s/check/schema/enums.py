"""Values that fields of Kubernetes' own types may have: generated schemas call them any text."""

from __future__ import annotations

_CORE = "io.k8s.api.core.v1"
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")

ENUMS: dict[str, dict[str, tuple[str, ...]]] = {
    f"{_CORE}.PodSpec": {
        "restartPolicy": ("Always", "OnFailure", "Never"),
        "dnsPolicy": ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"),
        "preemptionPolicy": ("PreemptLowerPriority", "Never"),
    },
    f"{_CORE}.Container": {"imagePullPolicy": ("Always", "IfNotPresent", "Never")},
    f"{_CORE}.ContainerPort": {"protocol": ("TCP", "UDP", "SCTP")},
    f"{_CORE}.ServicePort": {"protocol": ("TCP", "UDP", "SCTP")},
    f"{_CORE}.ServiceSpec": {"type": ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")},
    f"{_CORE}.Toleration": {
        "operator": ("Exists", "Equal", "Lt", "Gt"),
        "effect": ("NoSchedule", "PreferNoSchedule", "NoExecute"),
    },
    f"{_CORE}.TopologySpreadConstraint": {"whenUnsatisfiable": ("DoNotSchedule", "ScheduleAnyway")},
    f"{_CORE}.NodeSelectorRequirement": {"operator": (*_OPERATORS, "Gt", "Lt")},
    f"{_CORE}.SeccompProfile": {"type": ("RuntimeDefault", "Localhost", "Unconfined")},
    f"{_CORE}.PodSecurityContext": {"fsGroupChangePolicy": ("OnRootMismatch", "Always")},
    f"{_CORE}.PersistentVolumeClaimSpec": {"volumeMode": ("Filesystem", "Block")},
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement": {"operator": _OPERATORS},
    "io.k8s.api.batch.v1.CronJobSpec": {"concurrencyPolicy": ("Allow", "Forbid", "Replace")},
    "io.k8s.api.policy.v1.PodDisruptionBudgetSpec": {"unhealthyPodEvictionPolicy": ("IfHealthyBudget", "AlwaysAllow")},
    "io.k8s.api.networking.v1.NetworkPolicyPort": {"protocol": ("TCP", "UDP", "SCTP")},
    "io.k8s.api.scheduling.v1.PriorityClass": {"preemptionPolicy": ("PreemptLowerPriority", "Never")},
}
