"""Handles call in the way of the process that has them."""

from ray.serve._private.handle_options import DynamicHandleOptions
from ray.serve.handle import DeploymentHandle

from hydra_ray.serve.handles import own_handle


def test_a_bound_handle_calls_as_this_process_was_told():
    told = DynamicHandleOptions()
    bound = DeploymentHandle(
        "Retriever", "hydra", handle_options=DynamicHandleOptions(_by_reference=not told._by_reference)
    )
    own = own_handle(bound)
    assert (own.deployment_name, own.app_name) == ("Retriever", "hydra")
    assert own.handle_options == told != bound.handle_options


def test_what_is_no_handle_stays():
    step = object()
    assert own_handle(step) is step
    assert own_handle(None) is None
