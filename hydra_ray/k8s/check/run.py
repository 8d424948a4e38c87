"""Checks manifests, from files to a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra_ray.k8s.check.kuberay import check_kuberay
from hydra_ray.k8s.check.pods.find import pods_of
from hydra_ray.k8s.check.pods.rules import check_pod
from hydra_ray.k8s.check.pods.security import check_autoscaler, check_restricted
from hydra_ray.k8s.check.problems import Problem, Report
from hydra_ray.k8s.check.reading.files import Together, read
from hydra_ray.k8s.check.reading.objects import Thing
from hydra_ray.k8s.check.schema.check import check_schema, is_unchecked
from hydra_ray.k8s.check.schema.core import Core, core_of


def check(paths: Sequence[Path], kubernetes: str | None = None) -> Report:
    """Check all manifests of files and folders; no cluster is asked.

    Args:
        paths: Files, folders and kustomizations; what belongs together is said by `reading.files.read`.
        kubernetes: Version of Kubernetes, e.g. `1.36`; None for the newest that is known.

    Raises:
        HydraError: There is no such file, nothing in it, or no such version.
    """
    core = core_of(kubernetes)
    report = Report()
    for together in read(paths):
        _check_together(together, core, report)
    report.problems = sorted(set(report.problems))
    return report


def _check_together(together: Together, core: Core, report: Report) -> None:
    report.problems += together.problems
    report.objects += len(together.things)
    for thing in together.things:
        report.problems += check_schema(thing, core)
        if thing.shaped:
            report.problems += _of_one(thing)
        if is_unchecked(thing):
            report.notes.append(f"{thing.file}: {thing.shown}: not checked: no schema for {thing.kind} of {thing.api}")


def _of_one(thing: Thing) -> Iterator[Problem]:
    """Yield what is wrong within an object whose types are those of its schema."""
    yield from check_kuberay(thing)
    yield from check_autoscaler(thing)
    for pod in pods_of(thing):
        yield from check_pod(pod)
        yield from check_restricted(pod)
