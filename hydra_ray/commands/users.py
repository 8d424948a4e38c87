"""`hydra-ray users`: users' rights on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hydra_ray.atomic import replacing
from hydra_ray.commands.arguments import Overrides, SettingsFile, load
from hydra_ray.commands.audited import note
from hydra_ray.records import HydraError, UserKey, as_user_id
from hydra_ray.settings import Settings

# The job is imported where it is called: torch and Ray take seconds.

users_app = typer.Typer(no_args_is_help=True, help="Users' rights: export, import, erase, expire.")
console = Console()

Set = Annotated[
    list[str] | None, typer.Option("--set", help="A single setting, e.g. tenant=acme.", metavar="KEY=VALUE")
]


@users_app.command("export")
def export(
    settings: SettingsFile,
    user: Annotated[str, typer.Argument(help="Id of the user.")],
    file: Annotated[Path, typer.Argument(help="File to write; .parquet for Parquet, else JSON.")],
    overrides: Overrides = None,
) -> None:
    """Writes all that the store knows of one user to a file, which `users import` reads.

    Unlike the export over HTTP it names the users whose texts were read for this one's profiles: it is for moving a
    user, not for handing out.
    """
    from hydra_ray.rights.document import export_user, summary, to_parquet
    from hydra_ray.store.backends import open_store

    tree = load(settings, overrides)
    store = open_store(tree.store_target)
    document = export_user(store, _key(tree, user), others=True)
    store.close()
    note(tree, tree.tenant, "user.export", user, {"file": str(file)})
    with replacing(file) as partial:
        if file.suffix == ".parquet":
            partial.write_bytes(to_parquet(document))
        else:
            partial.write_text(json.dumps(document, indent=1), encoding="utf-8")
    counts = {name: len(rows) for name, rows in document["tables"].items()}
    console.print(f"{summary(counts)} written to {file}", markup=False)


@users_app.command("import")
def import_(
    settings: SettingsFile,
    file: Annotated[Path, typer.Argument(help="File that `users export` or the HTTP export wrote.")],
    overrides: Overrides = None,
) -> None:
    """Puts an exported user into a store that knows nothing of them."""
    from hydra_ray.rights.document import import_user, read_document, summary
    from hydra_ray.store.backends import open_store

    tree = load(settings, overrides)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise HydraError(f"{file}: cannot be read: {error.strerror}") from None
    store = open_store(tree.store_target)
    try:
        key, counts = import_user(store, read_document(content, str(file)))
    except HydraError as error:
        raise HydraError(f"{file}: {error}") from None
    finally:
        store.close()
    console.print(f"User {key.user} of tenant {key.tenant}: {summary(counts)}", markup=False)


@users_app.command("expire")
def expire(settings: SettingsFile, overrides: Overrides = None) -> None:
    """Forgets what is older than store.retention_days, of all users of the store. To be run each night."""
    from hydra_ray.rights.retention import expire as forget_old

    console.print(str(forget_old(load(settings, overrides))), markup=False)


@users_app.command("erase")
def erase(
    settings: SettingsFile,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of the users.", metavar="USER...")] = None,
    file: Annotated[Path | None, typer.Option(help="File of more ids, one a line.")] = None,
    folder: Annotated[list[Path] | None, typer.Option(help="One more folder to clean; again for another.")] = None,
    overrides: Set = None,
) -> None:
    """Removes users from the store and from every file below `out` and the configured folders.

    Ends with a search for what they wrote, and with exit code 1 where something is left.
    """
    from hydra_ray.rights.erasure.job import erase_users
    from hydra_ray.rights.erasure.report import lines
    from hydra_ray.runtime.users.id_files import listed_users

    tree = load(settings, overrides)
    wanted = [*(ids or []), *(listed_users(file, "--file") if file else [])]
    if not wanted:
        raise HydraError("nobody is named: give ids of users, or a file of them with --file")
    report = erase_users(tree, [_key(tree, user) for user in wanted], folder or [])
    for user in wanted:
        note(tree, tree.tenant, "user.erase", user, {"left": len(report.left)})
    for line in lines(report):
        console.print(line, markup=False, soft_wrap=True)
    if report.left:
        raise typer.Exit(1)


def _key(settings: Settings, user: str) -> UserKey:
    try:
        return UserKey(settings.tenant, as_user_id(user))
    except ValueError as error:
        raise HydraError(f"the user id {user!r} {error}") from None
