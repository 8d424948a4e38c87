"""`hydra-ray personalisation`: one switch for everybody, which running services obey within a second."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated

import typer

from hydra_ray.commands.arguments import Overrides, SettingsFile, load
from hydra_ray.records import HydraError
from hydra_ray.settings import Settings
from hydra_ray.store.audit import this_person
from hydra_ray.store.rights.switches import ALL_TENANTS, Switches
from hydra_ray.store.schema import open_database

app = typer.Typer(
    no_args_is_help=True,
    help="Switch personalisation off for everybody at once, and on again, while it is served (docs/experiments.md).",
)

Whose = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's users; everybody unless given.")]


@app.command("off")
def off(settings: SettingsFile, overrides: Overrides = None, tenant: Whose = None) -> None:
    """Answers everybody as nobody, from the next second on: no history, no heads, no profiles, no experiment."""
    _turn(load(settings, overrides), tenant, on=False)


@app.command("on")
def on(settings: SettingsFile, overrides: Overrides = None, tenant: Whose = None) -> None:
    """Answers everybody in their own way again."""
    _turn(load(settings, overrides), tenant, on=True)


@app.command("status")
def status(settings: SettingsFile, overrides: Overrides = None) -> None:
    """Says for whom personalisation is on, and since when it is off for the others."""
    _say(load(settings, overrides))


def _turn(tree: Settings, tenant: str | None, on: bool) -> None:
    if tenant is not None and tenant not in tree.served_tenants:
        raise HydraError(f"--tenant: {tenant!r} is not served; there are {', '.join(tree.served_tenants)}")
    with closing(Switches(open_database(tree.store_target))) as switches:
        switches.turn(ALL_TENANTS if tenant is None else tenant, on, this_person())
    _say(tree)


def _say(tree: Settings) -> None:
    with closing(Switches(open_database(tree.store_target))) as switches:
        state = switches.state()
    if ALL_TENANTS in state.off:
        typer.echo(f"off for all tenants since {_moment(state.off[ALL_TENANTS])}")
    for tenant in tree.served_tenants:
        if tenant in state.off:
            typer.echo(f"off for tenant {tenant} since {_moment(state.off[tenant])}")
    still = [tenant for tenant in tree.served_tenants if state.is_on(tenant)]
    if still:
        typer.echo(f"on for {', '.join(still)}")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
