"""Replicas that are let go have time for whatever they have begun; those that die are missed soon."""

import pytest

from hydra_ray.runtime.draining import drain_s
from hydra_ray.serve.app import build_app
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.tasks import TEXT_TASK


@pytest.mark.parametrize("serve", [{}, {"timeout_s": 400}, {"generator_timeout_s": 700}, {"step_timeout_s": 90}])
def test_what_answers_requests_outlives_the_longest_generation(bases, serve):
    folder = str(bases[TEXT_TASK.name])
    tree = {"out": folder, "model": {"dir": folder}, "auth": {"mode": "off"}, "method": {"rerank": True}}
    settings = parse_settings({**tree, "serve": serve})
    ingress = build_app(settings)._bound_deployment
    bound = [ingress, *(one._bound_deployment for one in ingress.init_args if hasattr(one, "_bound_deployment"))]
    timeouts = {one.name: one._deployment_config.graceful_shutdown_timeout_s for one in bound}
    assert timeouts.keys() >= {"Ingress", "Generator", "Profiler", "Retriever", "Reranker", "Adapter", "Refitter"}
    # Serve gives everybody 20 seconds, which is less than a generation may take, and than a step may be told to take.
    for name, timeout in timeouts.items():
        assert timeout == drain_s(settings.serve), name
    assert drain_s(settings.serve) > max(settings.serve.timeout_s, settings.serve.generator_timeout_s)
    # Until Serve looks, requests wait for a replica that died, or are done without it.
    assert all(one._deployment_config.health_check_period_s < Settings().serve.step_timeout_s / 2 for one in bound)
