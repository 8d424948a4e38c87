"""Schemas of objects: Kubernetes' own by `kubernetes-validate`, KubeRay's by their CRDs in a small form."""
