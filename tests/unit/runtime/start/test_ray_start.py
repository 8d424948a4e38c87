"""Ray is started again where it did not come up, and an end is one line."""

import logging
import os

import pytest
import ray

from hydra_ray.records import HydraError
from hydra_ray.runtime.cluster import cluster
from hydra_ray.runtime.start import ray_start
from hydra_ray.runtime.start.ray_start import start_ray
from hydra_ray.settings import RaySettings

TIME_OUT = "RAY_raylet_start_wait_time_s"
SLOW = Exception("The current node timed out during startup.\nThis could happen because some of the raylet failed.")


@pytest.fixture
def starts(monkeypatch):
    """Starts of Ray that were tried: address, options, and the time-out for its processes. The first `fail` fail."""
    for name in ray_start._PATIENCE:
        # Set first, so that what was there comes back after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    tried, ended = [], []

    def make(fail, error=SLOW):
        def init(address, **options):
            tried.append((address, options, os.environ.get(TIME_OUT)))
            if len(tried) <= fail:
                raise error

        monkeypatch.setattr(ray, "init", init)
        monkeypatch.setattr(ray, "shutdown", lambda: ended.append(len(tried)))
        return tried, ended

    return make


def test_a_start_that_works_is_the_only_one(starts):
    tried, ended = starts(fail=0)
    start_ray(None, num_cpus=3)
    assert tried == [("local", {"num_cpus": 3}, None)]
    assert ended == []


def test_a_start_that_fails_is_tried_again_with_more_time_and_logged(starts, caplog):
    tried, ended = starts(fail=2)
    with caplog.at_level(logging.WARNING, ray_start.__name__):
        start_ray(None, num_cpus=3)
    assert [patience for *_, patience in tried] == [None, "180", "180"]
    assert {(address, *options) for address, options, _ in tried} == {("local", "num_cpus")}
    assert ended == [1, 2], "what came up of a failed start is ended before the next"
    assert len(caplog.messages) == 2
    assert "timed out during startup" in caplog.messages[0]


def test_what_an_operator_set_is_left(starts, monkeypatch):
    tried, _ = starts(fail=1)
    monkeypatch.setenv(TIME_OUT, "7")
    start_ray(None)
    assert [patience for *_, patience in tried] == ["7", "7"]


def test_after_the_last_try_the_error_is_one_line_that_says_what_to_do(starts):
    tried, ended = starts(fail=99)
    with pytest.raises(HydraError) as raised:
        start_ray(None)
    assert len(tried) == len(ended) == 3
    message = str(raised.value)
    assert message.startswith(
        "Ray did not start on this machine in 3 tries: The current node timed out during startup."
    )
    assert "end other work and run the command again" in message
    assert "\n" not in message


@pytest.mark.parametrize("error", [TypeError("no such option"), ValueError("num_cpus")])
def test_a_wrong_call_is_a_bug_and_not_tried_again(starts, error):
    tried, _ = starts(fail=99, error=error)
    with pytest.raises(type(error)):
        start_ray(None)
    assert len(tried) == 1


@pytest.mark.parametrize("error", [ConnectionError("nobody there"), RuntimeError("wrong version"), TimeoutError()])
def test_a_cluster_that_is_not_there_is_one_line_that_names_the_setting(starts, error):
    tried, _ = starts(fail=99, error=error)
    with pytest.raises(HydraError, match=r"^ray\.address: no cluster could be reached at '10\.0\.0\.1:6379': [^\n]+$"):
        start_ray("10.0.0.1:6379")
    assert len(tried) == 1


def test_workers_elsewhere_are_told_how_to_wait_and_to_call(starts, monkeypatch):
    tried, _ = starts(fail=0)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    # Tests of whole flows in this process may have left their cluster.
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with cluster(RaySettings(address="10.0.0.1:6379")):
        pass
    (address, options, _) = tried[0]
    assert address == "10.0.0.1:6379"
    # Whether an arithmetic is forced is said to them, too.
    told = {"OMP_WAIT_POLICY": "PASSIVE", "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1", "HYDRA_PRECISION": "float32"}
    assert options["runtime_env"] == {"env_vars": told}
