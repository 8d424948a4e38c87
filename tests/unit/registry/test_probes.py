"""The smoke check holds across arithmetics, and tells a scorer that computes something else."""

from __future__ import annotations

import pytest
import torch

from hydra_ray.models.base import ADAPTER, RERANKER, ROLES, Base
from hydra_ray.records import HydraError
from hydra_ray.registry.probes import check_probes, probe_decisions, take_probes
from hydra_ray.tasks import TASKS, TEXT_TASK


@pytest.fixture
def base(scorer, tag_task):
    return Base("v1", tag_task, scorer(seed=1), scorer(seed=2))


@pytest.mark.parametrize("published", ["float32", "bfloat16"])
@pytest.mark.parametrize("loaded", ["float32", "bfloat16"])
def test_a_base_passes_its_own_check_in_either_arithmetic(base, monkeypatch, published, loaded):
    monkeypatch.setenv("HYDRA_PRECISION", published)
    probes = take_probes(base)
    assert {probes[role].precision for role in ROLES} == {published}
    monkeypatch.setenv("HYDRA_PRECISION", loaded)
    for role in ROLES:
        check_probes("v1", role, base.scorer(role), probes[role])


@pytest.mark.parametrize("task", [TASKS["demo"], TEXT_TASK], ids=["closed", "free"])
def test_scores_of_probes_are_spread_out(scorer, task):
    probes = take_probes(Base("v1", task, scorer(seed=1), scorer(seed=2)))
    for role in ROLES:
        assert torch.tensor(probes[role].scores).std() > 0.01
        assert len(set(probes[role].decisions)) == len(probes[role].decisions) >= 8


def test_another_scorer_fails(base, scorer):
    probes = take_probes(base)
    other = scorer(seed=2)
    with torch.no_grad():
        other.heads.shared.out.weight.mul_(4)
    with pytest.raises(HydraError, match="version v1 fails its check: the adapter's scores are off by"):
        check_probes("v1", ADAPTER, other, probes[ADAPTER])
    with pytest.raises(HydraError, match="the reranker's scores"):
        check_probes("v1", RERANKER, base.adapter, probes[RERANKER])


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_no_number_fails(base, broken):
    probes = take_probes(base)
    with torch.no_grad():
        base.adapter.heads.shared.out.weight.fill_(broken)
    with pytest.raises(HydraError, match="fails its check"):
        check_probes("v1", ADAPTER, base.adapter, probes[ADAPTER])


def test_probes_hold_the_tasks_own_answers(tag_task):
    assert {texts[0] for texts in probe_decisions(tag_task, ADAPTER)} == set(tag_task.labels)
