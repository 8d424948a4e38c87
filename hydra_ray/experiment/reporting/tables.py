"""An online experiment as tables on a terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from hydra_ray.experiment.online import OnlineReport
from hydra_ray.experiment.reporting.rows import HEADINGS, explained, rows, title

_STYLES = {"better": "green", "worse": "red", "differs": "bold", "": ""}


def online_tables(report: OnlineReport) -> list[Table]:
    """Return a table for each slice; what a reader has to know stands under the last one."""
    tables = []
    for part in report.slices:
        table = Table(*HEADINGS, title=escape(title(report, part)))
        measure = ""
        for row in rows(part):
            if row.cells[0] != measure and measure:
                table.add_section()
            # Each measure's name stands once.
            shown = ("" if row.cells[0] == measure else row.cells[0], *row.cells[1:])
            measure = row.cells[0]
            table.add_row(*map(escape, shown), style=_STYLES[row.tone])
        tables.append(table)
    tables[-1].caption = escape("\n".join(explained(report)))
    return tables
