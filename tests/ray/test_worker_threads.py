"""Threads of processes that Ray starts, and how those of Serve call each other."""

import os

import pytest
import ray
import torch

from hydra_ray.runtime.threads import cores, use_given_cpus


@ray.remote
class Computing:
    def __init__(self):
        self._told = use_given_cpus()

    def threads(self):
        return self._told, torch.get_num_threads(), os.environ.get("OMP_WAIT_POLICY")


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("cpus", "wanted"), [(0, 1), (0.2, 1), (1, 1), (2, 2), (4, 4)])
def test_an_actor_computes_with_the_cpus_that_ray_gave_it_and_waits_passively(cpus, wanted):
    actor = Computing.options(num_cpus=cpus).remote()
    most = min(cores(), int(os.environ.get("OMP_NUM_THREADS", cores())))
    threads = min(wanted, most)
    assert ray.get(actor.threads.remote()) == (threads, threads, "PASSIVE")
    ray.kill(actor)


@ray.remote
def calls_by_reference():
    # What every handle that is made in this process has; Ray shows it nowhere else.
    from ray.serve._private.handle_options import DynamicHandleOptions

    return DynamicHandleOptions()._by_reference


@pytest.mark.usefixtures("ray_cluster")
def test_replicas_call_each_other_by_grpc():
    assert ray.get(calls_by_reference.remote()) is False
