"""An online experiment as one page that needs nothing else: no network, no scripts."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from hydra_ray.atomic import write_text
from hydra_ray.experiment.measures import MEASURES
from hydra_ray.experiment.online import OnlineReport
from hydra_ray.experiment.reporting.rows import HEADINGS, explained, rows, title


def write_page(path: Path, report: OnlineReport) -> None:
    """Write the page, as a whole or not at all.

    Args:
        path: File to write.
        report: What is shown.
    """
    write_text(path, render(report))


def render(report: OnlineReport) -> str:
    """Return the page as HTML. Names of arms, tenants and the experiment are escaped."""
    page = Environment(loader=PackageLoader("hydra_ray.experiment"), autoescape=True, undefined=StrictUndefined)
    slices = [(title(report, part), list(rows(part))) for part in report.slices]
    return page.get_template("online.html.jinja").render(
        report=report, slices=slices, headings=HEADINGS, explained=explained(report), measures=MEASURES
    )
