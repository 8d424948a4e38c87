"""`hydra-ray k8s ...`: manifests for Kubernetes and KubeRay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hydra_ray.records import HydraError

k8s_app = typer.Typer(no_args_is_help=True, help="Manifests for Kubernetes and KubeRay.")
console = Console(stderr=False)


@k8s_app.command("check")
def check_manifests(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Manifests, folders of them, kustomizations.", metavar="PATHS")],
    kubernetes: Annotated[
        str | None, typer.Option(help="Version of Kubernetes, e.g. 1.36; the newest that is known.")
    ] = None,
    elsewhere: Annotated[
        list[str] | None,
        typer.Option(
            help="An object that is made elsewhere, e.g. Secret/mine; again for another.", metavar="KIND/NAME"
        ),
    ] = None,
) -> None:
    """Checks manifests without a cluster: schemas, KubeRay's rules, what is run, and whether all of it fits.

    Prints each problem with its file, object and path, and ends with exit code 1 where there is one.
    """
    from hydra_ray.k8s.check import check

    report = check(paths, kubernetes, elsewhere or (), context.find_root().command)
    for line in report.notes:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for problem in report.problems:
        console.print(str(problem), markup=False, highlight=False, soft_wrap=True)
    if report.problems:
        raise HydraError(f"{len(report.problems)} problem(s) in {report.objects} object(s)")
    console.print(f"{report.objects} object(s), no problem.")
