"""How many processes of a cluster fit heads."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from hydra_ray.learn.heads import pipeline
from hydra_ray.learn.heads.shards import HeldShards, Shard
from hydra_ray.runtime import cluster


@pytest.mark.parametrize(("nodes", "fitters"), [([3], 1), ([8], 6), ([4, 4, 4], 10)])
def test_heads_are_fitted_on_all_nodes(monkeypatch, nodes, fitters):
    """Of each CPU but what feeds them, and what encodes."""
    ray = SimpleNamespace(
        put=lambda one: one,
        cluster_resources=lambda: {"CPU": float(sum(nodes))},
        nodes=lambda: [{"Alive": True, "Resources": {"CPU": float(cpus)}} for cpus in nodes],
    )
    stages = []
    monkeypatch.setattr(cluster, "ray", ray)
    monkeypatch.setattr(pipeline, "ray", ray)
    monkeypatch.setattr(pipeline, "_run", lambda shards, placed: stages.extend(placed) or ())
    monkeypatch.setattr(pipeline, "rows", lambda dataset: (row for row in dataset))
    how = pipeline.Encoding(Path("base"), ("", Path()), Path("features"), "float32", 1, None)
    assert list(pipeline.fit_shards(HeldShards([Shard("adapter", ())], None), how, None)) == []
    assert stages[-1].processes == fitters
