"""What settings want of the pods that they are used in: variables and mounted places."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from hydra_ray.k8s.check.content.mounts import absolute, mount_of
from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import items, mappings, text
from hydra_ray.settings import EndpointSettings, Settings


def wanted_variables(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the variables that must be set, each with the setting that names it."""
    if settings.store.password_env is not None:
        yield "store.password_env", settings.store.password_env
    generator = settings.generator
    if generator.backend == "openai":
        endpoints: list[tuple[str, EndpointSettings]] = [("generator", generator)]
        endpoints += [(f"generator.fallbacks[{place}]", one) for place, one in enumerate(generator.fallbacks)]
        for path, endpoint in endpoints:
            if endpoint.api_key_file is None:
                yield f"{path}.api_key_env", endpoint.api_key_env


def wanted_places(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Yield the files and folders of other pods or of people that must be mounted, each with its setting."""
    yield "out", settings.out
    if settings.model.dir is not None:
        yield "model.dir", settings.model.dir
    if settings.store.password_file is not None:
        yield "store.password_file", settings.store.password_file
    if settings.generator.backend == "openai" and settings.generator.api_key_file is not None:
        yield "generator.api_key_file", settings.generator.api_key_file
    url = urlsplit(settings.store.url or "")
    if url.scheme.startswith("sqlite") and url.path.startswith("//"):
        yield "store.url", Path(url.path[1:])


def check_wanted(settings: Settings, pod: Pod) -> Iterator[Problem]:
    """Yield what settings want and a pod does not have."""
    if not pod.containers:
        return
    container = pod.containers[0][1]
    env = {text(one.get("name")) for _, one in mappings(container.get("env"))}
    # What a whole ConfigMap or Secret brings is not looked into: it may be elsewhere.
    brings_more = bool(items(container.get("envFrom")))
    for path, variable in wanted_variables(settings):
        if variable not in env and not brings_more:
            said = f"{path} names the variable {variable}, which this container does not have"
            yield pod.problem("containers[0].env", said)
    for path, place in wanted_places(settings):
        where = absolute(pod, PurePosixPath(place))
        if where is not None and mount_of(pod, where) is None:
            said = f"{path} is {where}, which is in no volume of this container: it would be gone with the pod"
            yield pod.problem("containers[0].volumeMounts", said)
