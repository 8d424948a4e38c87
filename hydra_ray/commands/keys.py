"""`hydra-ray keys`: API keys of a deployment, made, listed, rotated and revoked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from hydra_ray.commands.arguments import Overrides, SettingsFile, load
from hydra_ray.commands.durations import moment_of, seconds_of
from hydra_ray.records import HydraError
from hydra_ray.settings import Settings
from hydra_ray.store.audit import this_person
from hydra_ray.store.identity.key_store import KeyStore, SqlKeyStore
from hydra_ray.store.identity.keys import SCOPES, ApiKey, new_key
from hydra_ray.store.schema import open_database

app = typer.Typer(
    no_args_is_help=True,
    help="API keys of a deployment, in the database that its settings name (docs/serving.md).",
)

KeyId = Annotated[str, typer.Argument(help="Id of the key, as `list` shows it.", metavar="KEY_ID")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_SCOPES = "; ".join(f"{name}: {what}" for name, what in SCOPES.items())


@app.command("create")
def create(
    settings: SettingsFile,
    overrides: Overrides = None,
    scope: Annotated[list[str] | None, typer.Option(help=f"May be given again. {_SCOPES}.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose it is; the settings' own tenant unless given.")] = None,
    user: Annotated[str | None, typer.Option(help="The one user whom it may act for.")] = None,
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    expires: Annotated[str | None, typer.Option(help="When it ends: 90d, 12h, or a date.")] = None,
    as_json: AsJson = False,
) -> None:
    """Makes a key and shows it, this once: the database holds a hash of it only."""
    tree = load(settings, overrides)
    whose, now = tenant or tree.tenant, time.time()
    if whose not in tree.served_tenants:
        raise HydraError(
            f"--tenant: {whose!r} is not served; name it in the settings' tenants, e.g. tenants: {{{whose}: {{}}}}"
        )
    ends = None if expires is None else moment_of(expires, now, 1, "--expires")
    key, text = new_key(whose, scope or ["chat"], now=now, user=user, name=name, expires=ends)
    _keys(tree).add(key, text, this_person())
    _show_once(key, text, as_json)


@app.command("list")
def list_keys(
    settings: SettingsFile,
    overrides: Overrides = None,
    tenant: Annotated[str | None, typer.Option(help="Only this one's; all tenants' unless given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Lists the keys, with those that hold no longer."""
    keys = _keys(load(settings, overrides)).keys(tenant)
    if as_json:
        typer.echo(json.dumps([key.as_dict() for key in keys]))
    else:
        Console().print(_table(keys, time.time()))


@app.command("rotate")
def rotate(
    settings: SettingsFile,
    key_id: KeyId,
    overrides: Overrides = None,
    grace: Annotated[str, typer.Option(help="How long the former key still holds: 24h, 15m.")] = "0s",
    as_json: AsJson = False,
) -> None:
    """Gives a key another text and shows it, this once; id, scopes and expiry stay."""
    keys = _keys(load(settings, overrides))
    _show_once(*keys.rotate(None, key_id, this_person(), seconds_of(grace, "--grace")), as_json)


@app.command("revoke")
def revoke(settings: SettingsFile, key_id: KeyId, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Revokes a key for good; replicas know within `serve.key_cache_s`."""
    key = _keys(load(settings, overrides)).revoke(None, key_id, this_person())
    typer.echo(json.dumps(key.as_dict()) if as_json else f"Key {key.id} ({key.prefix}...) of {key.tenant} is revoked.")


def _keys(settings: Settings) -> KeyStore:
    return SqlKeyStore(open_database(settings.store_target))


def _show_once(key: ApiKey, text: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**key.as_dict(), "key": text}))
        return
    typer.echo(text)
    typer.echo(
        f"This is key {key.id} of {key.tenant}. It is not shown again: keep it where secrets are kept.", err=True
    )


def _table(keys: Iterable[ApiKey], now: float) -> Table:
    # The id is what other commands take: it is never cut.
    table = Table(Column("id", no_wrap=True, min_width=20), "tenant", "begins with", "scopes", "user", "name", "state")
    for key in keys:
        shown = key.as_dict()
        state = f"until {shown['expires']}" if key.expires else "holds"
        if not key.holds(now):
            state = f"revoked {shown['revoked']}" if key.revoked else f"expired {shown['expires']}"
        columns = (key.id, key.tenant, key.prefix, " ".join(shown["scopes"]), key.user or "", key.name, state)
        table.add_row(*map(escape, columns))
    return table
