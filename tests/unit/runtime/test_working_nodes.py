"""Where stages go that ask for no CPU."""

from types import SimpleNamespace

import pytest
from ray._private.label_utils import validate_label_selector

from hydra_ray.runtime import cluster


@pytest.mark.parametrize(
    ("cpus", "kept_off"),
    [
        ({"head": 0, "one": 4, "two": 4}, "!in(head)"),
        ({"head": 0, "one": 4, "gone": None, "two": 0}, "!in(head, two)"),
        ({"head": 4, "one": 4}, None),
        ({"head": 0}, None),
    ],
)
def test_a_node_that_says_it_has_no_cpus_runs_no_stage_where_another_one_can(monkeypatch, cpus, kept_off):
    nodes = [
        {"NodeID": name, "Alive": count is not None, "Resources": {"CPU": float(count)} if count else {}}
        for name, count in cpus.items()
    ]
    monkeypatch.setattr(cluster, "ray", SimpleNamespace(nodes=lambda: nodes))
    options = cluster.on_working_nodes()
    assert options.get("label_selector", {}).get("ray.io/node-id") == kept_off
    assert validate_label_selector(options.get("label_selector")) is None
