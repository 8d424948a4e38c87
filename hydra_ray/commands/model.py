"""`hydra-ray model ...`: looks at published versions of the base, and says which one is served."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hydra_ray import api
from hydra_ray.commands.arguments import Overrides, SettingsFile, load
from hydra_ray.commands.audited import note
from hydra_ray.terminal import TerminalProgress

model_app = typer.Typer(
    no_args_is_help=True, help="Published versions of the base: which there are, and which is served."
)
console = Console(stderr=False)

Name = Annotated[str, typer.Argument(help="production, candidate or a version.", metavar="VERSION")]


@model_app.command("list")
def list_versions(settings: SettingsFile, overrides: Overrides = None) -> None:
    """Lists all versions, newest first, with the aliases that mean them and the replicas that hold them."""
    from hydra_ray.runtime.models import catalog_of

    with catalog_of(load(settings, overrides)) as catalog:
        aliases, uses = catalog.aliases.current(), catalog.aliases.uses()
        table = Table("version", "alias", "published", "task", "users", "parent", "held by")
        for manifest in reversed(catalog.registry.versions()):
            version = manifest.version
            called = ", ".join(name for name, change in aliases.items() if change.version == version)
            holders = [
                f"{use.holder}{'' if use.state == 'ready' else ' refused it'}" for use in uses if use.version == version
            ]
            users = "not known" if manifest.users is None else str(manifest.users)
            about = (called, manifest.created, manifest.task.name, users, manifest.parent or "")
            table.add_row(version, *about, "\n".join(holders))
        console.print(table)


@model_app.command("show")
def show_version(settings: SettingsFile, name: Name, overrides: Overrides = None) -> None:
    """Prints the manifest of a version as JSON: what it was trained with and on, and the digest of each file."""
    from hydra_ray.runtime.models import catalog_of

    with catalog_of(load(settings, overrides)) as catalog:
        print(json.dumps(json.loads(catalog.find(name).to_json()), indent=2))


@model_app.command("promote")
def promote(
    settings: SettingsFile,
    name: Name,
    overrides: Overrides = None,
    fit: Annotated[bool, typer.Option(help="Fit the heads that are missing first, from what the store holds.")] = True,
) -> None:
    """Serves a version from now on: running services take it up within seconds, without a restart.

    Refused where too few of the users who have a head now would have one (registry.min_heads).
    """
    tree = load(settings, overrides)
    done = api.promote(tree, name, TerminalProgress(console), fit=fit)
    note(tree, "", "model.promote", done.version, {"before": done.before})
    console.print(
        f"Version {done.version} is served from now on, {done.before or 'none'} before; "
        f"{done.fitted} of {done.users} users keep a head of their own."
    )


@model_app.command("rollback")
def rollback(
    settings: SettingsFile,
    overrides: Overrides = None,
    fit: Annotated[
        bool, typer.Option(help="Fit its heads afterwards, so that what users said meanwhile counts.")
    ] = True,
) -> None:
    """Serves the version again that was served before: running services take it up within seconds."""
    from hydra_ray.learn.promote.job import catch_up, roll_back

    tree = load(settings, overrides)
    done = roll_back(tree)
    note(tree, "", "model.rollback", done.version, {"before": done.before})
    console.print(f"Version {done.version} is served again, no longer {done.before}.")
    if fit:
        done = catch_up(tree, done, TerminalProgress(console))
    console.print(f"{done.fitted} of {done.users} users have a head of their own on it.")


@model_app.command("delete")
def delete(settings: SettingsFile, name: Name, overrides: Overrides = None) -> None:
    """Deletes a version for good; refused while an alias or a running service points at it."""
    from hydra_ray.runtime.models import catalog_of, delete_version

    tree = load(settings, overrides)
    with catalog_of(tree) as catalog:
        version = delete_version(catalog, name)
        note(tree, "", "model.delete", version)
        console.print(f"Version {version} is deleted from {catalog.registry.shown}.")


@model_app.command("copy")
def copy(
    settings: SettingsFile,
    name: Name,
    url: Annotated[str, typer.Argument(help="Folder or URI of the other registry.", metavar="URL")],
    overrides: Overrides = None,
) -> None:
    """Copies a version into another registry, as it is."""
    from hydra_ray.runtime.models import catalog_of, copy_version

    tree = load(settings, overrides)
    with catalog_of(tree) as catalog:
        version = copy_version(catalog, name, url, tree.registry_cache)
        console.print(f"Version {version} is in {url}, too.")
