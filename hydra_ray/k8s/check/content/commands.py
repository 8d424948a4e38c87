"""Command lines of hydra-ray in manifests: entrypoints of jobs and commands of containers, with their settings."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hydra_ray.k8s.check.content.mounts import MountedFile, absolute, mount_of, mounted_file
from hydra_ray.k8s.check.content.program import Command, CommandError, read_command
from hydra_ray.k8s.check.content.serve import settings_errors
from hydra_ray.k8s.check.content.shell import ShellError, is_operator, our_commands, words_of
from hydra_ray.k8s.check.content.wanted import check_wanted
from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing, dig, items, mapping, text
from hydra_ray.k8s.check.relations.known import Known
from hydra_ray.settings import Settings, SettingsError, load_settings

_JOBS = {"RayJob": ("spec",), "RayCronJob": ("spec", "jobTemplate")}
# Commands that leave what they make in `out`.
_WRITING = {"collect", "train", "fit", "tune", "evaluate"}
_PLACED = ("entrypointNumCpus", "entrypointNumGpus", "entrypointResources")


@dataclass(frozen=True, slots=True)
class Run:
    """A command line and where it is.

    Attributes:
        thing: Object that it is in.
        path: Where in the object the command line is, e.g. `spec.entrypoint`.
        arguments: All that follows the program's name.
        pods: Pods of which any may run it.
    """

    thing: Thing
    path: str
    arguments: list[str]
    pods: Sequence[Pod]


@dataclass(frozen=True, slots=True)
class Used:
    """Settings that a command is given.

    Attributes:
        run: The command line.
        name: The command, e.g. `train`.
        settings: What hydra-ray reads from the settings file and `key=value` words of the command line.
    """

    run: Run
    name: str
    settings: Settings


def check_commands(
    thing: Thing, pods: Sequence[Pod], known: Known, program: Any, used: list[Used]
) -> Iterator[Problem]:
    """Yield what is wrong with the commands of one object.

    Args:
        thing: An object whose types are those of its schema.
        pods: Templates of pods that are in this object; commands of their containers are read, too.
        known: What else there is.
        program: hydra-ray's command line, a click group.
        used: Takes the settings of each command that can be read.
    """
    for found in _runs(thing, pods):
        if isinstance(found, Problem):
            yield found
        else:
            yield from _check(found, known, program, used)


def _runs(thing: Thing, pods: Sequence[Pod]) -> Iterator[Run | Problem]:
    if thing.kind in _JOBS:
        path = ".".join([*_JOBS[thing.kind], "entrypoint"])
        spec = mapping(dig(thing.tree, *_JOBS[thing.kind]))
        nodes = [pod for pod in pods if pod.group]
        # Ray starts it on the head, unless it asks for resources: then on any node that has them.
        heads = [pod for pod in nodes if pod.group == "headgroup"]
        places = nodes if any(spec.get(field) for field in _PLACED) else heads
        try:
            words = words_of(text(spec.get("entrypoint")))
            yield from (thing.problem(path, said) for said in _shell_problems(words, spec))
            yield from (Run(thing, path, arguments, places) for arguments in our_commands(words))
        except ShellError as error:
            yield thing.problem(path, str(error))
    for pod in pods:
        for path, container in pod.containers:
            words = [text(word) for field in ("command", "args") for word in items(container.get(field))]
            try:
                yield from (Run(thing, f"{path}.command", arguments, [pod]) for arguments in our_commands(words))
            except ShellError as error:
                yield thing.problem(f"{path}.command", str(error))


def _shell_problems(words: Sequence[str], spec: Mapping[str, Any]) -> Iterator[str]:
    """KubeRay puts an entrypoint into a line of the shell of the pod that submits it."""
    if spec.get("submissionMode", "K8sJobMode") not in ("K8sJobMode", "SidecarMode"):
        return
    operators = sorted({word for word in words if is_operator(word)})
    if operators:
        yield f'what follows {" ".join(operators)} would run in the pod that submits: write bash -c "..." around it'
    signs = [sign for sign in ("$", "`") if sign in text(spec.get("entrypoint"))]
    if signs:
        yield f"the shell of the pod that submits would take {' and '.join(signs)} for its own: leave it out"


def _check(run: Run, known: Known, program: Any, used: list[Used]) -> Iterator[Problem]:
    shown = " ".join(["hydra-ray", *run.arguments])
    try:
        command = read_command(program, run.arguments)
    except CommandError as error:
        yield run.thing.problem(run.path, f"`{shown}`: {error}")
        return
    if command is None:
        return
    for pod in run.pods:
        if not pod.containers:
            continue
        for path in command.files:
            file = _found(pod, path, known)
            if file is not None and not file.key:
                said = f"`{shown}`: the ConfigMap {file.config_map} puts no {path} there"
                yield run.thing.problem(run.path, said)
        if command.settings is not None:
            yield from _settings(run, pod, command, known, used)


def _settings(run: Run, pod: Pod, command: Command, known: Known, used: list[Used]) -> Iterator[Problem]:
    path = command.settings or Path()
    place = absolute(pod, PurePosixPath(path))
    file = _found(pod, path, known)
    if file is None:
        if place is not None and place.is_relative_to("/etc"):
            yield run.thing.problem(run.path, f"{path} is in no volume of the pod at {pod.path}")
        return
    if not file.key:
        said = f"the ConfigMap {file.config_map} puts no {path} there"
        yield run.thing.problem(run.path, said)
    if file.content is None:
        return
    try:
        settings = _load(file.content, command.overrides)
    except SettingsError as error:
        for inner, said in settings_errors(error):
            where = f"ConfigMap/{file.config_map} data.{file.key}, for `{command.name}`"
            yield run.thing.problem(run.path, f"{where}: {f'{inner}: ' if inner else ''}{said}")
        return
    if pod.group and settings.ray.address != "auto":
        said = f"`{command.name}` would start a cluster of its own: set ray.address: auto"
        yield run.thing.problem(run.path, said)
    if not any(one.run is run for one in used):
        used.append(Used(run, command.name, settings))
    yield from check_wanted(settings, pod)
    out = absolute(pod, PurePosixPath(settings.out))
    if command.name in _WRITING and out is not None and mapping(mount_of(pod, out)).get("readOnly"):
        said = f"`{command.name}` writes to out ({out}), which the pod at {pod.path} mounts readOnly"
        yield run.thing.problem(run.path, said)


def _load(content: str, overrides: Sequence[str]) -> Settings:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "settings.yaml"
        file.write_text(content, encoding="utf-8")
        try:
            return load_settings(file, overrides)
        except SettingsError as error:
            # Where it lies for a moment is nobody's business.
            raise SettingsError(str(error).replace(f"{file}: ", "")) from None


def _found(pod: Pod, path: Path, known: Known) -> MountedFile | None:
    place = absolute(pod, PurePosixPath(path))
    return mounted_file(pod, place, known) if place is not None else None
