"""Checks manifests, from files to a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra_ray.k8s.check.api.check import check_api
from hydra_ray.k8s.check.content.check import Content, check_content
from hydra_ray.k8s.check.content.reach import check_reach
from hydra_ray.k8s.check.kuberay import check_kuberay
from hydra_ray.k8s.check.names import check_metadata
from hydra_ray.k8s.check.pods.find import pods_of
from hydra_ray.k8s.check.pods.probes import check_probes
from hydra_ray.k8s.check.pods.rules import check_pod
from hydra_ray.k8s.check.pods.security import check_autoscaler, check_restricted
from hydra_ray.k8s.check.problems import Report
from hydra_ray.k8s.check.reading.files import Together, read
from hydra_ray.k8s.check.relations.known import known_of, namespaces
from hydra_ray.k8s.check.relations.nodes import check_nodes
from hydra_ray.k8s.check.relations.references import check_pod_references, check_thing_references
from hydra_ray.k8s.check.relations.routes import check_routes
from hydra_ray.k8s.check.relations.selectors import check_own_selectors, check_selectors
from hydra_ray.k8s.check.schema.check import check_schema, is_unchecked
from hydra_ray.k8s.check.schema.core import Core, core_of
from hydra_ray.k8s.check.sums.check import check_sums
from hydra_ray.k8s.check.sums.volumes import check_volumes


def check(
    paths: Sequence[Path], kubernetes: str | None = None, elsewhere: Sequence[str] = (), program: Any = None
) -> Report:
    """Check all manifests of files and folders; no cluster is asked.

    Args:
        paths: Files, folders and kustomizations; what belongs together is said by `reading.files.read`.
        kubernetes: Version of Kubernetes, e.g. `1.36`; None for the newest that is known.
        elsewhere: Objects that are made elsewhere and may be referred to, as KIND/NAME.
        program: hydra-ray's command line, a click group, by which its command lines are read; None: they are not.

    Raises:
        HydraError: There is no such file, nothing in it, or no such version.
    """
    core = core_of(kubernetes)
    report = Report()
    for together in read(paths):
        check_together(together, core, elsewhere, program, report)
    report.problems = sorted(set(report.problems))
    return report


def check_together(together: Together, core: Core, elsewhere: Sequence[str], program: Any, report: Report) -> None:
    """Check objects that are applied together, and add what is found to a report; arguments are those of `check`."""
    report.problems += together.problems
    report.objects += len(together.things)
    for thing in together.things:
        report.problems += check_schema(thing, core)
        if is_unchecked(thing):
            report.notes.append(f"{thing.file}: {thing.shown}: not checked: no schema for {thing.kind} of {thing.api}")
        if thing.kind == "RayCronJob":
            report.notes.append(
                f"{thing.file}: {thing.shown}: it wants KubeRay's feature gate RayCronJob, off by default"
            )
    known, problems = known_of(together.things, elsewhere)
    report.problems += problems
    report.problems += namespaces(together.things)
    shaped = [thing for thing in together.things if thing.shaped]
    pods = {thing: list(pods_of(thing)) for thing in shaped}
    for thing in shaped:
        report.problems += check_metadata(thing)
        report.problems += check_kuberay(thing)
        report.problems += check_api(thing)
        report.problems += check_autoscaler(thing)
        report.problems += check_thing_references(thing, known)
        for pod in pods[thing]:
            report.problems += check_pod(pod)
            report.problems += check_probes(pod)
            report.problems += check_restricted(pod)
            report.problems += check_pod_references(pod, known)
            report.problems += check_own_selectors(pod)
    content = Content()
    report.problems += check_content(shaped, pods, known, program, content)
    if len(shaped) + sum(map(is_unchecked, together.things)) < len(together.things):
        # What could not be read may be what others select, or share a database with.
        return
    for thing in together.things:
        report.problems += check_selectors(thing, [pod for one in pods.values() for pod in one])
        report.problems += check_routes(thing, known)
    for thing in shaped:
        report.problems += check_volumes(thing, pods[thing], known)
    report.problems += check_nodes(together.things, pods, known)
    report.problems += check_reach(together.things, pods, content, known)
    for found in check_sums(shaped, pods, content):
        if isinstance(found, str):
            report.notes.append(found)
        else:
            report.problems.append(found)
