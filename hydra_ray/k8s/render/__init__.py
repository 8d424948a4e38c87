"""From settings of a cluster and a Serve config to manifests, ready to be applied."""

from hydra_ray.k8s.render.load import PROFILES, load_cluster_settings
from hydra_ray.k8s.render.manifests import render, write
from hydra_ray.k8s.render.settings import ClusterSettings

__all__ = ["PROFILES", "ClusterSettings", "load_cluster_settings", "render", "write"]
