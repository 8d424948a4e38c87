"""The metrics that Prometheus gets of a served application are those that the page documents, labels included."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import openai_endpoint
import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families
from running import free_port

from hydra_ray.models.gate_fit import fit_gate
from hydra_ray.serve.local import serving
from hydra_ray.serve.observe.names import METRICS, SERVE_METRICS
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.steps.gating import FEATURES, VOTE
from hydra_ray.tasks import TEXT_TASK

# There only once something went wrong, or an experiment runs.
RARE = {
    "ray_hydra_degraded_total",
    "ray_hydra_store_errors_total",
    "ray_hydra_limiter_failures_total",
    "ray_hydra_completions_lost_total",
    "ray_hydra_experiment_requests_total",
    "ray_hydra_encodings_dropped_total",
    "ray_hydra_refits_total",
    # Nobody is compared with others here.
    "ray_hydra_differences_total",
}
# What Ray adds.
RAYS = {"Component", "NodeAddress", "SessionName", "Version", "WorkerId", "application", "deployment", "replica"}


@pytest.fixture(scope="module")
def settings(scorer, tmp_path_factory) -> Iterator[Settings]:
    """A small base that nobody trained, quotas and prices; the LLM is an endpoint in this process."""
    from hydra_ray.models.base import Base

    out = tmp_path_factory.mktemp("observed")
    # Of nobody it has learnt anything, so it lets nothing through.
    gate = fit_gate((), VOTE, FEATURES, caution=0.9, least_users=2, among=0)
    Base("v1", TEXT_TASK, scorer(seed=1), scorer(seed=2), gate).save(out / "model" / "base")
    with openai_endpoint.serving() as llm:
        generator = {
            "backend": "openai",
            "base_url": llm.url,
            "model": "llm",
            "limits": {"price_in": 1, "price_out": 1},
        }
        limits = {"tenant": {"requests_per_day": 1000}}
        yield parse_settings(
            {
                "out": str(out),
                "tenant": "acme",
                "generator": generator,
                "auth": {"limits": limits},
                "fit": {"head": {"kind": "bases"}},
            }
        )


def scraped() -> dict[str, set[str]]:
    """Labels of each metric of ours, and of Ray's that we document, by name."""
    (node,) = ray.nodes()
    text = httpx.get(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics", timeout=30).text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name.startswith("ray_hydra_") or name in SERVE_METRICS:
            labels = {label for sample in family.samples for label in sample.labels}
            found[name] = {label for label in labels if not label.startswith("otel_")} - {"le"}
    return found


def awaited(look: Callable[[], dict[str, set[str]]], names: set[str]) -> dict[str, set[str]]:
    """What is there once these names are, or after a minute and a half."""
    deadline = time.monotonic() + 90
    while True:
        found = look()
        if names <= set(found) or time.monotonic() > deadline:
            return found
        time.sleep(1)


def test_what_is_scraped_is_what_is_documented(ray_cluster, settings):
    with serving(settings, "127.0.0.1", free_port()) as url:
        ask = {"model": "hydra", "user": "ann", "messages": [{"role": "user", "content": "Hi"}]}
        with httpx.Client(base_url=f"{url}/", timeout=120) as client:
            said = {"input": "Hello", "candidates": ["fine", "well"], "accepted": "fine"}
            assert client.post("users/ann/feedback", json=said).status_code == 200
            assert client.post("chat/completions", json=ask).status_code == 200
            assert client.post("chat/completions", json={**ask, "stream": True}).status_code == 200
            assert client.post("chat/completions", json={**ask, "hydra": {"method": "dpl"}}).status_code == 200
            assert client.post("chat/completions", json={}).status_code == 400
        documented = {metric.exported: set(metric.labels) for metric in METRICS}
        found = awaited(scraped, {*documented, *SERVE_METRICS} - RARE)
    ours = {name: labels - RAYS for name, labels in found.items() if name in documented}
    assert ours == {name: labels for name, labels in documented.items() if name in ours}
    assert set(documented) - set(found) <= RARE
    assert {name for name in found if name.startswith("ray_hydra_")} <= set(documented)
    assert all(set(labels) <= found[name] for name, labels in SERVE_METRICS.items())
