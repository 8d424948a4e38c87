"""From settings of a cluster and a Serve config to manifests, ready to be applied."""

from hydra_ray.k8s.render.manifests import render, write

__all__ = ["render", "write"]
