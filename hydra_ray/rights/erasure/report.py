"""What an erasure came to, in words."""

from __future__ import annotations

from collections.abc import Iterator

from hydra_ray.rights.document import summary
from hydra_ray.rights.erasure.job import ErasureReport


def lines(report: ErasureReport) -> Iterator[str]:
    """Yield the report line by line, what is left last."""
    yield f"Store: {summary(report.counts)} removed"
    yield from map(str, report.erased)
    for version, users in report.versions.items():
        if users is None:
            yield f"Base {version}: it is not known whether it was fitted with their data"
        else:
            yield f"Base {version} was fitted with data of {', '.join(key.user for key in users)} and stays as it is"
    yield from (f"Note: {note}" for note in report.notes)
    if not report.pieces:
        yield "Nothing that they wrote is long enough and theirs alone: only rows under their ids could be looked for"
    else:
        before = len(report.found_before)
        yield f"Search for {report.pieces} pieces of what they wrote: {before} place(s) before, {len(report.left)} now"
    yield from (f"Left: {place}" for place in report.left)
