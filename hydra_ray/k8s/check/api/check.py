"""The API server's rules over one object of Kubernetes' own kinds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from hydra_ray.k8s.check.api.policies import budget_problems, policy_problems
from hydra_ray.k8s.check.kuberay.cron import schedule_problems
from hydra_ray.k8s.check.problems import Problem, shown
from hydra_ray.k8s.check.reading.objects import Thing, dig, mapping, text

_SECURITY = "pod-security.kubernetes.io/"
_LEVELS = ("privileged", "baseline", "restricted")
_VERSION = re.compile(r"latest|v1\.\d+")
# Above it are the priorities of the cluster's own.
_HIGHEST = 1_000_000_000
_MOST_BYTES = 2**20


def check_api(thing: Thing) -> Iterator[Problem]:
    """Yield what the API server refuses in an object whose types are those of its schema."""
    group = thing.api.partition("/")[0] if "/" in thing.api else ""
    rule = _RULES.get((group, thing.kind))
    if rule is not None:
        for path, said in rule(thing):
            yield thing.problem(path, said)


def _cron_job(thing: Thing) -> Iterator[tuple[str, str]]:
    for path, said in schedule_problems(mapping(thing.tree.get("spec")), "Kubernetes: CronJob"):
        yield f"spec.{path}", said
    yield from _ends(thing, "spec", "jobTemplate", "spec")


def _job(thing: Thing) -> Iterator[tuple[str, str]]:
    yield from _ends(thing, "spec")


def _ends(thing: Thing, *keys: str) -> Iterator[tuple[str, str]]:
    keys = (*keys, "template", "spec")
    policy = dig(thing.tree, *keys, "restartPolicy")
    if policy not in ("OnFailure", "Never"):
        yield f"{'.'.join(keys)}.restartPolicy", "a job's pods end: write Never or OnFailure"


def _data(thing: Thing) -> Iterator[tuple[str, str]]:
    parts = [mapping(thing.tree.get(part)) for part in ("data", "binaryData", "stringData")]
    size = sum(len(text(value).encode()) for part in parts for value in part.values())
    if size > _MOST_BYTES:
        yield "data", f"it has {size} bytes; a {thing.kind} holds 1 MiB ({_MOST_BYTES})"


def _priority(thing: Thing) -> Iterator[tuple[str, str]]:
    value = thing.tree.get("value", 0)
    if value > _HIGHEST and not thing.name.startswith("system-"):
        yield "value", f"{value} is above {_HIGHEST}: higher ones are the cluster's own"


def _namespace(thing: Thing) -> Iterator[tuple[str, str]]:
    for key, value in thing.labels.items():
        mode = key.removeprefix(_SECURITY)
        if mode == key:
            continue
        path = f'metadata.labels["{key}"]'
        if mode in ("enforce", "warn", "audit"):
            if value not in _LEVELS:
                yield path, f"{shown(value)} is no level of pod security: {', '.join(_LEVELS)}"
        elif mode in ("enforce-version", "warn-version", "audit-version"):
            if not _VERSION.fullmatch(text(value)):
                yield path, f"{shown(value)} is no version of pod security: latest, or e.g. v1.36"
        else:
            yield path, "there is no such label of pod security: enforce, warn, audit, and their -version"


_RULES: dict[tuple[str, str], Callable[[Thing], Iterator[tuple[str, str]]]] = {
    ("batch", "CronJob"): _cron_job,
    ("batch", "Job"): _job,
    ("", "ConfigMap"): _data,
    ("", "Secret"): _data,
    ("scheduling.k8s.io", "PriorityClass"): _priority,
    ("", "Namespace"): _namespace,
    ("networking.k8s.io", "NetworkPolicy"): policy_problems,
    ("policy", "PodDisruptionBudget"): budget_problems,
}
