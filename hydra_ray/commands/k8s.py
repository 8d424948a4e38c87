"""`hydra-ray k8s ...`: manifests for Kubernetes and KubeRay."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hydra_ray.records import HydraError

k8s_app = typer.Typer(no_args_is_help=True, help="Manifests for Kubernetes and KubeRay.")
console = Console(stderr=False)

Profile = Annotated[str, typer.Option(help="openai, gpu, cluster or dev.")]


@k8s_app.command("render")
def render_manifests(
    profile: Profile,
    out: Annotated[Path | None, typer.Option(help="Folder of the manifests; to the terminal unless given.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="A single setting; again for another.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="Settings of the cluster that go over the profile's.")
    ] = None,
) -> None:
    """Writes ready manifests of a profile: `kubectl apply -k` takes the folder (docs/kubernetes.md)."""
    from hydra_ray.k8s.render import render, write
    from hydra_ray.k8s.settings import load_cluster_settings

    files = render(load_cluster_settings(profile, overrides or (), settings))
    if out is None:
        sys.stdout.write("---\n".join(text for path, text in files.items() if not path.endswith("kustomization.yaml")))
        return
    try:
        write(files, out)
    except OSError as error:
        raise HydraError(f"--out: {out} cannot be written: {error.strerror}") from None
    console.print(f"{len(files)} files are in {out}", markup=False, highlight=False, soft_wrap=True)


@k8s_app.command("settings")
def list_settings(
    profile: Profile, below: Annotated[str, typer.Argument(help="Only this setting, or those of this section.")] = ""
) -> None:
    """Lists the settings of `render` as a profile has them, and what each is."""
    from hydra_ray.k8s.settings import load_cluster_settings
    from hydra_ray.settings.files.listing import table_of

    console.print(table_of(load_cluster_settings(profile), below))


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
