"""All that the objects of a set have others run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hydra_ray.k8s.check.content.commands import check_commands
from hydra_ray.k8s.check.content.serve import ServeConfig, read_serve
from hydra_ray.k8s.check.content.wanted import check_wanted
from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing
from hydra_ray.k8s.check.relations.known import Known


def check_content(
    thing: Thing, pods: Sequence[Pod], known: Known, program: Any
) -> tuple[ServeConfig | None, Iterator[Problem]]:
    """Return the Serve config of an object, if it has one that can be read, and what is wrong with what it runs.

    Args:
        thing: An object whose types are those of its schema.
        pods: Its own templates of pods.
        known: What else there is.
        program: hydra-ray's command line, a click group; None: command lines are not looked at.
    """
    config, problems = read_serve(thing) if thing.kind == "RayService" else (None, [])

    def found() -> Iterator[Problem]:
        yield from problems
        if config is not None:
            for _, _, settings in config.ours:
                # Replicas may be on any node, but on a head only where it has CPUs to give.
                for pod in pods:
                    yield from check_wanted(settings, pod)
        if program is not None:
            yield from check_commands(thing, pods, known, program)

    return config, found()
