"""Settings of a Kubernetes cluster: what runs there, and in which size; each cluster profile fills them."""

from hydra_ray.k8s.settings.cluster import ClusterSettings
from hydra_ray.k8s.settings.load import PROFILES, load_cluster_settings

__all__ = ["PROFILES", "ClusterSettings", "load_cluster_settings"]
