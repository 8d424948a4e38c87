"""KubeRay's own rules: what its operator refuses although the schema allows it.

Each names the function of the operator's `validation.go` (KubeRay 1.7) that has it. Rules of parts that need a feature
gate which is off unless somebody turns it on (history server, mTLS, embedded storage) are that the gate is needed.
"""

from hydra_ray.k8s.check.kuberay.check import check_kuberay, ray_clusters

__all__ = ["check_kuberay", "ray_clusters"]
