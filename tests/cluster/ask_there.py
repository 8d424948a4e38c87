"""Runs `hydra-ray collect` or `profile` with processes on all nodes: `python ask_there.py COMMAND SETTINGS ...`.

What only waits for an endpoint stays beside the command. Here each process takes a CPU, as one with a model of its own
does, and yet it asks an endpoint, which counts.
"""

from __future__ import annotations

from dataclasses import replace

from hydra_ray.cli import main
from hydra_ray.learn.collect import job as collecting
from hydra_ray.learn.collect.pipeline import GeneratorPool
from hydra_ray.learn.profiles import job as profiling
from hydra_ray.settings import Settings
from hydra_ray.tasks import Task

make_pool = collecting.make_generator_pool


def pool_of_all_nodes(settings: Settings, task: Task) -> GeneratorPool:
    """The pool that settings describe, each of its processes with a CPU."""
    return replace(make_pool(settings, task), cpus=1)


if __name__ == "__main__":
    collecting.make_generator_pool = profiling.make_generator_pool = pool_of_all_nodes
    main()
