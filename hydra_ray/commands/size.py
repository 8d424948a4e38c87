"""`hydra-ray k8s size`: what a number of users wants of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hydra_ray.sizing import Traffic, Wanted, load_calibrated, size


def size_users(
    measured: Annotated[Path, typer.Argument(help="JSON that benchmarks/queueing.py wrote.", metavar="MEASURED")],
    users: Annotated[list[int], typer.Option("--users", help="Number of users; may come again.", min=1)],
    requests: Annotated[float, typer.Option(help="Requests of a user a day.", min=0)] = 5.0,
    peak: Annotated[float, typer.Option(help="Busiest hour's rate to the mean.", min=1)] = 3.0,
    core_price: Annotated[float, typer.Option(help="Price of a core for an hour, in any currency.", min=0)] = 0.04,
    busy: Annotated[float, typer.Option(help="Most share of its time that a replica works.", min=0.05, max=0.95)] = 0.7,
    waiting: Annotated[
        float, typer.Option(help="Longest mean wait for a replica, in units of its work on a request.", min=0.01)
    ] = 1.0,
) -> None:
    """Says how many replicas of each step some traffic wants, how they autoscale, and what their cores cost.

    Replicas are those at the mean rate and at the peak, of a core each. The LLM is not in the price.
    """
    figures, wanted = load_calibrated(measured), Wanted(busy, waiting, core_price)
    traffic = [Traffic(count, requests, peak) for count in users]
    sizes = [size(figures, one, wanted) for one in traffic]
    table = Table("users", *(f"{count:,}" for count in users))
    table.add_row("requests a second at the peak", *(f"{one.peak_per_s:,.1f}" for one in traffic))
    for name in figures.deployments:
        steps = [one.steps[name] for one in sizes]
        table.add_row(f"replicas of {name}", *(f"{one.mean_replicas:,} to {one.replicas:,}" for one in steps))
    table.add_row("requests that the LLM answers at once", *(f"{one.in_flight:,.0f}" for one in sizes))
    table.add_row("cores a month, autoscaled", *(f"{one.cost_a_month:,.0f}" for one in sizes))
    table.add_row("cores a month, always as at the peak", *(f"{one.cost_at_peak:,.0f}" for one in sizes))
    targets = ", ".join(f"{name} {one.target_ongoing}" for name, one in sizes[0].steps.items())
    console = Console()
    console.print(table)
    console.print(f"target_ongoing_requests: {targets}")
