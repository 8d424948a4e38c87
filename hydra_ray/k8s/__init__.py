"""Manifests for Kubernetes and KubeRay: made of settings, and checked without a cluster."""
