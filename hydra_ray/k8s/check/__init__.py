"""Checks manifests offline: their schemas, KubeRay's rules, what they run, and whether they fit each other."""

from hydra_ray.k8s.check.problems import Problem, Report
from hydra_ray.k8s.check.run import check

__all__ = ["Problem", "Report", "check"]
