"""Handles of deployments, as the process that calls makes them."""

from __future__ import annotations

from typing import Any

from ray.serve.handle import DeploymentHandle


def own_handle(handle: Any) -> Any:
    """Return a handle of the same deployment that calls it in the way which this process was told.

    A handle that is bound brings the way of the process that bound it. Where that one had imported Serve before it was
    told to call by gRPC, all replicas would go on calling through Ray's object store.

    Args:
        handle: A bound handle; None stays None, and what is no handle stays what it is.
    """
    if not isinstance(handle, DeploymentHandle):
        return handle
    return DeploymentHandle(handle.deployment_name, handle.app_name)
