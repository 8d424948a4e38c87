"""How many threads a process computes with, and how they wait."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray
import yaml

from hydra_ray.runtime.start.environment import CALLS_BY_GRPC
from hydra_ray.runtime.threads import PASSIVE_WAITS, cores, threads_for, use_given_cpus, wait_passively


@pytest.mark.parametrize(
    ("cpus", "omp", "most", "threads"),
    [
        (2.0, "", 8, 2),
        (0.2, "", 8, 1),
        (0.0, "", 8, 1),
        (1.9, "", 8, 1),
        # Ray's logical CPUs may be more than the machine has.
        (6.0, "", 2, 2),
        (4.0, "1", 8, 1),
        (1.0, "4", 8, 1),
        # As OpenMP does: what is no number says nothing.
        (2.0, "0", 8, 2),
        (2.0, "many", 8, 2),
    ],
)
def test_threads_are_the_whole_cpus_that_ray_gave(cpus, omp, most, threads):
    assert threads_for(cpus, omp, most) == threads


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, 16),
        ({"cpu.max": "max 100000\n"}, 16),
        ({"cpu.max": "400000 100000\n"}, 4),
        # Half a CPU more is a core that computes half of the time.
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 16),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
    ],
)
def test_a_container_has_the_cores_that_it_gets_the_time_of(monkeypatch, tmp_path, files, found):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores(tmp_path) == found


def test_a_cluster_that_is_started_here_has_the_cores_of_its_container(monkeypatch):
    from hydra_ray.runtime import cluster
    from hydra_ray.settings import RaySettings

    asked = {}
    monkeypatch.setattr(cluster, "cores", lambda: 4)
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster.ray, "shutdown", lambda: None)
    monkeypatch.setattr(cluster, "start_ray", lambda address, **options: asked.update(options))
    with cluster.cluster(RaySettings()):
        assert asked["num_cpus"] == 5


def test_outside_of_rays_workers_nothing_is_changed(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = ray.is_initialized()
    assert use_given_cpus() is None
    assert ray.is_initialized() == before, "asking must not start a cluster"
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize(("said", "found"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waits_are_passive_unless_somebody_says_otherwise(monkeypatch, said, found):
    # Set first, so that what was there comes back after the test.
    monkeypatch.setenv("OMP_WAIT_POLICY", said or "")
    if said is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == found


def test_the_command_line_says_how_to_wait_before_torch_is_loaded():
    """OpenMP reads it once, as it is loaded."""
    code = (
        "import os, sys, unittest.mock; os.environ.pop('OMP_WAIT_POLICY', None)\n"
        "import hydra_ray.cli as cli\n"
        "assert 'torch' not in sys.modules\n"
        "with unittest.mock.patch.object(cli, 'app'): cli.main()\n"
        "assert 'torch' not in sys.modules\n"
        "print(os.environ['OMP_WAIT_POLICY'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == PASSIVE_WAITS["OMP_WAIT_POLICY"], done.stderr


ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", sorted((ROOT / "deployments").glob("*.yaml")), ids=lambda path: path.name)
def test_replicas_of_a_served_application_wait_passively_and_call_by_grpc(path):
    """`serve run` and `serve deploy` start them from a cluster that knows nothing of the command line."""
    applications = yaml.safe_load(path.read_text())["applications"]
    (ours,) = (one for one in applications if one["import_path"] == "hydra_ray.serve.app:build")
    assert ours["runtime_env"]["env_vars"] == {**PASSIVE_WAITS, **CALLS_BY_GRPC}


@pytest.mark.parametrize("name", ["service/service.yaml", "jobs/train.yaml"])
def test_pods_wait_passively(name):
    (manifest,) = (one for one in yaml.safe_load_all((ROOT / "k8s/gpu" / name).read_text()) if one)
    spec = manifest["spec"].get("rayClusterConfig") or manifest["spec"]["rayClusterSpec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        (container, *_) = group["template"]["spec"]["containers"]
        told = {one["name"]: one.get("value") for one in container["env"]}
        assert told.items() >= PASSIVE_WAITS.items()
