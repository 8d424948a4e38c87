"""Whether a template of pods makes sense in itself: what the API server refuses beyond the schema, or fails later."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hydra_ray.k8s.check.names import is_dns_1123, label_problems
from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.pods.quantities import quantity
from hydra_ray.k8s.check.problems import Problem, shown
from hydra_ray.k8s.check.reading.objects import dig, items, mapping, mappings, text

_WHOLE = ("nvidia.com/", "amd.com/", "hugepages-")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_SLEEP = re.compile(r"\bsleep (\d{1,9})\b")
# Kubernetes' own, where nothing is said.
_GRACE_S = 30
_ACTIONS = ("exec", "httpGet", "tcpSocket", "grpc")


def check_pod(pod: Pod) -> Iterator[Problem]:
    """Yield what does not hold together in one template."""
    for key, said in label_problems(mapping(dig(pod.template, "metadata", "labels"))):
        yield pod.thing.problem(f'{pod.path.removesuffix(".spec")}.metadata.labels["{key}"]', said)
    yield from _twice(pod, "volumes", pod.spec.get("volumes"), "name")
    names = [(path, text(one.get("name"))) for path, one in pod.containers]
    for path, name in names:
        if not is_dns_1123(name):
            yield pod.thing.problem(f"{path}.name", f"{shown(name)} is no name: small letters, digits and -")
    for name, times in Counter(name for _, name in names).items():
        if times > 1:
            yield pod.problem("containers", f'the name "{name}" is there {times} times')
    used = set()
    for path, container in pod.containers:
        yield from _container(pod, path, container)
        used |= {text(one.get("name")) for _, one in mappings(container.get("volumeMounts"))}
    for place, volume in mappings(pod.spec.get("volumes")):
        if len(volume) > 2:
            kinds = ", ".join(sorted(volume.keys() - {"name"}))
            yield pod.problem(f"volumes[{place}]", f"it is of one kind, not of several: {kinds}")
        if names and text(volume.get("name")) not in used:
            yield pod.problem(f"volumes[{place}]", "no container mounts it")

    for place, one in mappings(pod.spec.get("topologySpreadConstraints")):
        if "minDomains" in one and one.get("whenUnsatisfiable") != "DoNotSchedule":
            yield pod.problem(f"topologySpreadConstraints[{place}].minDomains", "it wants DoNotSchedule")
    yield from _ending(pod)


def _ending(pod: Pod) -> Iterator[Problem]:
    """Kubernetes counts preStop in what a pod has to end; a longer one is cut off, and what it waits for lost."""
    grace = pod.spec.get("terminationGracePeriodSeconds", _GRACE_S)
    for path, container in pod.containers:
        hook = mapping(dig(container, "lifecycle", "preStop"))
        words = " ".join(text(word) for word in items(dig(hook, "exec", "command")))
        asleep = [int(found) for found in _SLEEP.findall(words)] + [int(dig(hook, "sleep", "seconds") or 0)]
        if max(asleep) >= grace:
            said = f"{grace} s is not longer than the {max(asleep)} s that {path}.lifecycle.preStop sleeps"
            yield pod.problem("terminationGracePeriodSeconds", said)


def _container(pod: Pod, path: str, container: Mapping[str, Any]) -> Iterator[Problem]:
    below = path.removeprefix(f"{pod.path}.")
    if not container.get("image") and not pod.group:
        yield pod.problem(f"{below}.image", "it is missing")
    yield from _twice(pod, f"{below}.env", container.get("env"), "name")
    for place, one in mappings(container.get("env")):
        if one.get("value") and "valueFrom" in one:
            yield pod.problem(f"{below}.env[{place}].valueFrom", "it is beside value: a variable has one of the two")
    yield from _twice(pod, f"{below}.ports", container.get("ports"), "name")
    yield from _twice(pod, f"{below}.volumeMounts", container.get("volumeMounts"), "mountPath")
    volumes = {text(one.get("name")) for _, one in mappings(pod.spec.get("volumes"))}
    for place, mount in mappings(container.get("volumeMounts")):
        if text(mount.get("name")) not in volumes:
            said = f"there is no volume {shown(mount.get('name'))} in the pod"
            yield pod.problem(f"{below}.volumeMounts[{place}].name", said)
    for place, port in mappings(container.get("ports")):
        if not 0 < port.get("containerPort", 0) < 65536:
            yield pod.problem(f"{below}.ports[{place}].containerPort", "a port is a number from 1 to 65535")
    for name in _PROBES:
        yield from _probe(pod, f"{below}.{name}", container.get(name))
    resources = mapping(container.get("resources"))
    yield from resource_problems(pod, f"{below}.resources", resources)


def resource_problems(pod: Pod, path: str, resources: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield quantities that are none, and requests that are more than their limits."""
    limits = mapping(resources.get("limits"))
    for kind in ("requests", "limits"):
        for name, value in mapping(resources.get(kind)).items():
            amount = quantity(value)
            if amount is None or amount < 0:
                yield pod.problem(f"{path}.{kind}.{name}", f"{shown(value)} is no quantity, e.g. 500m or 8Gi")
            elif name.startswith(_WHOLE) and amount != amount.to_integral_value():
                yield pod.problem(f"{path}.{kind}.{name}", f"{shown(value)} is no whole number")
    for name, value in mapping(resources.get("requests")).items():
        asked, most = quantity(value), quantity(limits.get(name))
        if asked is not None and most is not None and asked > most:
            yield pod.problem(f"{path}.requests.{name}", f"{shown(value)} is more than its limit {limits[name]}")


def _probe(pod: Pod, path: str, probe: Any) -> Iterator[Problem]:
    if not isinstance(probe, dict):
        return
    actions = [action for action in _ACTIONS if action in probe]
    if len(actions) != 1:
        yield pod.problem(path, f"a probe does one thing, of {', '.join(_ACTIONS)}")
    for action in actions:
        port = dig(probe, action, "port")
        if port is not None and not pod.has_port(port):
            yield pod.problem(f"{path}.{action}.port", f"no container has a port {shown(port)}")
    if probe.get("timeoutSeconds", 1) > probe.get("periodSeconds", 10):
        yield pod.problem(f"{path}.timeoutSeconds", "it is longer than periodSeconds: probes would overlap")


def _twice(pod: Pod, path: str, things: Any, key: str) -> Iterator[Problem]:
    for name in _repeated(text(one.get(key)) for _, one in mappings(things)):
        yield pod.problem(path, f'the {key} "{name}" is there twice')


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if name and times > 1]
