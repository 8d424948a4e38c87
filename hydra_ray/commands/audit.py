"""`hydra-ray audit`: the audit log, as lines of JSON."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from hydra_ray.commands.arguments import Overrides, SettingsFile, load
from hydra_ray.commands.durations import moment_of
from hydra_ray.store.audit import AuditLog
from hydra_ray.store.schema import open_database

app = typer.Typer(no_args_is_help=True, help="Who changed what: keys, deletions, exports, promotions.")


@app.callback()
def _group() -> None:
    """Keeps `export` a command of its own, though it is the only one."""


@app.command("export")
def export(
    settings: SettingsFile,
    overrides: Overrides = None,
    since: Annotated[str | None, typer.Option(help="Only from then on: a date, or 30d for the last 30 days.")] = None,
) -> None:
    """Prints the audit log, oldest first, one JSON object a line."""
    tree = load(settings, overrides)
    begin = None if since is None else moment_of(since, time.time(), -1, "--since")
    for entry in AuditLog(open_database(tree.store_target)).entries(begin):
        typer.echo(entry.as_json())
