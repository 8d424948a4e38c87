"""`hydra-ray k8s size`: what a number of users wants of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hydra_ray.k8s.settings.size import SizeSettings
from hydra_ray.k8s.sizing import Traffic, Wanted, load_calibrated, size
from hydra_ray.settings.files.read import checked

_FIELDS = SizeSettings.model_fields
_UNLESS_SAID = SizeSettings()
# More than there are people.
_MOST_USERS = 100_000_000_000


def size_users(
    measured: Annotated[Path, typer.Argument(help="JSON that benchmarks/queueing.py wrote.", metavar="MEASURED")],
    users: Annotated[
        list[int], typer.Option("--users", help="Number of users; may come again.", min=1, max=_MOST_USERS)
    ],
    requests: Annotated[float, typer.Option(help=_FIELDS["requests_a_day"].description)] = _UNLESS_SAID.requests_a_day,
    peak: Annotated[float, typer.Option(help=_FIELDS["peak"].description)] = _UNLESS_SAID.peak,
    core_price: Annotated[float, typer.Option(help=_FIELDS["core_price"].description)] = _UNLESS_SAID.core_price,
    busy: Annotated[float, typer.Option(help=_FIELDS["busy"].description)] = _UNLESS_SAID.busy,
    waiting: Annotated[float, typer.Option(help=_FIELDS["waiting"].description)] = _UNLESS_SAID.waiting,
) -> None:
    """Says how many replicas of each step some traffic wants, how they autoscale, and what their cores cost.

    Replicas are those at the mean rate and at the peak, of a core each. The LLM is not in the price.
    """
    from hydra_ray.serve.limits.fitting import ongoing_by_deployment

    given = {"requests_a_day": requests, "peak": peak, "core_price": core_price, "busy": busy, "waiting": waiting}
    settings = checked(SizeSettings, given, "k8s size")
    figures, ongoing = load_calibrated(measured), ongoing_by_deployment()
    traffic = [Traffic.of(count, settings) for count in users]
    sizes = [size(figures, one, Wanted.of(settings), ongoing) for one in traffic]
    table = Table("users", *(f"{count:,}" for count in users))
    table.add_row("requests a second at the peak", *(f"{one.peak_per_s:,.1f}" for one in traffic))
    for name in figures.deployments:
        steps = [one.steps[name] for one in sizes]
        table.add_row(f"replicas of {name}", *(f"{one.mean_replicas:,} to {one.replicas:,}" for one in steps))
    table.add_row("requests under way at the peak", *(f"{one.under_way:,.0f}" for one in sizes))
    table.add_row("price of the cores a month, autoscaled", *(f"{one.cost_a_month:,.0f}" for one in sizes))
    table.add_row("price of the cores a month, always as at the peak", *(f"{one.cost_at_peak:,.0f}" for one in sizes))
    targets = ", ".join(f"{name} {one.target_ongoing}" for name, one in sizes[0].steps.items())
    console = Console()
    console.print(table)
    console.print(f"target_ongoing_requests: {targets}")
