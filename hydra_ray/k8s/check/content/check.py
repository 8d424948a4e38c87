"""All that the objects of a set have others run, and whether it fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra_ray.k8s.check.content.commands import Used, check_commands
from hydra_ray.k8s.check.content.ports import check_port
from hydra_ray.k8s.check.content.serve import ServeConfig, read_serve
from hydra_ray.k8s.check.content.wanted import check_wanted
from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing
from hydra_ray.k8s.check.relations.known import Known


@dataclass(slots=True)
class Content:
    """What objects have others run.

    Attributes:
        configs: Serve configs that can be read.
        used: Settings of commands.
    """

    configs: list[ServeConfig] = field(default_factory=list)
    used: list[Used] = field(default_factory=list)


def check_content(
    things: Sequence[Thing], pods: Mapping[Thing, Sequence[Pod]], known: Known, program: Any, content: Content
) -> Iterator[Problem]:
    """Yield what is wrong with what objects have others run.

    Args:
        things: Objects whose types are those of their schemas.
        pods: Templates of pods of each.
        known: What else there is.
        program: hydra-ray's command line, a click group; None: command lines are not looked at.
        content: Takes what can be read.
    """
    for thing in things:
        if thing.kind == "RayService":
            config, problems = read_serve(thing)
            yield from problems
            if config is not None:
                content.configs.append(config)
                yield from check_port(config, pods[thing])
                for _, _, settings in config.ours:
                    for pod in pods[thing]:
                        yield from check_wanted(settings, pod)
        if program is not None:
            yield from check_commands(thing, pods[thing], known, program, content.used)
