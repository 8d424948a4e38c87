"""Replicas call each other by gRPC, whatever the process knew that bound their handles."""

import pytest
from ray import serve
from ray.serve._private.handle_options import DynamicHandleOptions
from ray.serve.handle import DeploymentHandle

from hydra_ray.serve.handles import own_handle

# Pickled by value: replicas do not know this file.
FEW = {"num_cpus": 0.1}


@serve.deployment(ray_actor_options=FEW)
class Step:
    def __call__(self):
        return "called"


@serve.deployment(ray_actor_options=FEW)
class Caller:
    def __init__(self, step):
        self.bound, self.own = step, own_handle(step)

    async def __call__(self):
        by_reference = [handle.handle_options._by_reference for handle in (self.bound, self.own)]
        return by_reference, await self.own.remote()


@pytest.fixture
def bound_before_told(ray_cluster, monkeypatch):
    """Has handles that are bound here call through the object store, as where Serve was imported first."""
    through_store = DynamicHandleOptions(_by_reference=True)
    init = DeploymentHandle.__init__

    def bind(self, *args, **options):
        init(self, *args, **{"handle_options": through_store, **options})

    monkeypatch.setattr(DeploymentHandle, "__init__", bind)


def test_a_replica_calls_by_grpc_though_its_handle_was_bound_otherwise(bound_before_told):
    handle = serve.run(Caller.bind(Step.bind()), name="handles", route_prefix="/handles")
    try:
        assert handle.remote().result(timeout_s=60) == ([True, False], "called")
    finally:
        # Others start Serve with a port of their own.
        serve.shutdown()
