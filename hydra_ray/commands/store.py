"""`hydra-ray store ...`: the users' store as a whole: kept copies of, moved, and looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hydra_ray.commands.arguments import Overrides, SettingsFile, load
from hydra_ray.store.connections.target import StoreTarget

# What moves stores is imported by the command that does, since `--help` should not wait for it.

store_app = typer.Typer(no_args_is_help=True, help="Back up, restore, move and check the store of users.")
console = Console(stderr=False, soft_wrap=True)

Copy = Annotated[Path, typer.Argument(help="File (of SQLite) or folder (of Parquet).", metavar="PATH")]
Folder = Annotated[Path, typer.Argument(help="Folder of Parquet files.", metavar="FOLDER")]
ReplaceAll = Annotated[bool, typer.Option("--replace", help="Remove all that the filled store holds before.")]


@store_app.command("backup")
def backup(settings: SettingsFile, path: Copy, overrides: Overrides = None) -> None:
    """Copies the store as it is now, while it is served: SQLite to a file, PostgreSQL to a folder of Parquet."""
    from hydra_ray.store.bulk.whole import back_up

    _say(f"Written to {path}", back_up(_target(settings, overrides), path))


@store_app.command("restore")
def restore_store(settings: SettingsFile, path: Copy, overrides: Overrides = None, replace: ReplaceAll = False) -> None:
    """Fills the store with a backup of either kind, all of it or nothing; it must be empty, or --replace given."""
    from hydra_ray.store.bulk.whole import restore

    _say(f"Restored from {path}", restore(_target(settings, overrides), path, replace))


@store_app.command("migrate")
def migrate_store(
    settings: SettingsFile,
    url: Annotated[str, typer.Argument(help="SQLAlchemy URL of the store to fill.", metavar="URL")],
    overrides: Overrides = None,
    password_file: Annotated[Path | None, typer.Option(help="File with that database's password.")] = None,
    password_env: Annotated[str | None, typer.Option(help="Environment variable with it.")] = None,
    replace: ReplaceAll = False,
) -> None:
    """Copies the store into another database, e.g. from SQLite to PostgreSQL, and counts what arrived.

    The settings' store stays as it is; set store.url to the other one afterwards. Stop what writes before.
    """
    from hydra_ray.store.bulk.whole import migrate

    to = StoreTarget(url, password_file, password_env, None, None)
    _say("Copied and counted", migrate(_target(settings, overrides), to, replace))


@store_app.command("check")
def check(settings: SettingsFile, overrides: Overrides = None) -> None:
    """Looks for what does not fit together in the store, and names it; exit code 1 where there is something."""
    from hydra_ray.store.bulk.check import check_store

    report = check_store(_target(settings, overrides))
    for line in report.lines():
        console.print(line, markup=False, highlight=False)
    if report.problems:
        raise typer.Exit(1)


@store_app.command("export")
def export(
    settings: SettingsFile,
    folder: Folder,
    overrides: Overrides = None,
    tenant: Annotated[str | None, typer.Option(help="Whose users; everybody's unless given.")] = None,
    user: Annotated[list[str] | None, typer.Option(help="Only this user of the tenant; again for another.")] = None,
) -> None:
    """Writes users with all that is kept of them, as Parquet: histories, heads, observations, profiles."""
    from hydra_ray.store.bulk.users import export_users

    if user and tenant is None:
        raise typer.BadParameter("say whose users they are by --tenant")
    _say(f"Written to {folder}", export_users(_target(settings, overrides), folder, tenant, tuple(user or ())))


@store_app.command("import")
def import_(
    settings: SettingsFile,
    folder: Folder,
    overrides: Overrides = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace users who are in the store already.")] = False,
) -> None:
    """Puts exported users into the store, each as a whole; other users keep what they have."""
    from hydra_ray.store.bulk.users import import_users

    count = import_users(_target(settings, overrides), folder, replace)
    console.print(f"{count} users imported from {folder}", markup=False, highlight=False)


def _target(path: Path, overrides: list[str] | None) -> StoreTarget:
    return load(path, overrides).store_target


def _say(done: str, rows: dict[str, int]) -> None:
    counts = ", ".join(f"{number} {table}" for table, number in rows.items())
    console.print(f"{done}: {counts}", markup=False, highlight=False)
