"""What `hydra-ray fit` says of what it did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hydra_ray import api
from hydra_ray.learn.heads.job import FitReport
from hydra_ray.progress import ProgressListener
from hydra_ray.runtime.users.deleted import undelete
from hydra_ray.settings import Settings
from hydra_ray.store.types import MergeReport

_NAMED = 5


def fit_lines(
    settings: Settings, listener: ProgressListener, replace_histories: bool, undeleted: Path | None
) -> Iterator[str]:
    """Fit, and give what is to be said of it line by line, as it is known.

    Args:
        settings: All of them.
        listener: Shows how far the job is.
        replace_histories: Whether records take the place of histories and feedback events.
        undeleted: File of what is undeleted before; None for nothing.

    Raises:
        HydraError: The file names nobody, or the fit cannot be made.
    """
    if undeleted is not None:
        found = undelete(settings, undeleted)
        yield f"{found.users} users and {found.items} items may come back with their records."
        if found.unknown:
            yield f"{len(found.unknown)} lines of {undeleted} name nothing that was deleted: {found.unknown[:_NAMED]}"
    report = api.fit(settings, listener, replace_histories)
    if report.merged is not None:
        yield from merge_lines(report.merged)
    if report.collected and report.collected.stopped:
        yield str(report.collected)
    yield from _heads(report)


def merge_lines(merged: MergeReport) -> Iterator[str]:
    """Give what is to be said of records that met the store."""
    if merged.losers:
        lost = f"{merged.removed} history items and {merged.events} feedback events"
        yield f"Records replaced {lost} of {len(merged.losers)} users."
    yield (
        f"Histories: {merged.added} items added, {merged.updated} updated, {merged.kept} kept that the records do not "
        f"have; {merged.users} users changed."
    )


def _heads(report: FitReport) -> Iterator[str]:
    heads = ", ".join(f"{n} {role} heads fitted, {report.kept[role]} kept" for role, n in report.heads.items())
    calls = report.collected.usage.calls if report.collected else 0
    yield (
        f"{report.users} users: {heads}; {report.events} feedback events joined; {calls} LLM calls. Users without a "
        "head get the shared one."
    )
    if left := sum(report.left.values()):
        yield f"{left} heads were left as they are, since their users went on meanwhile: the next fit takes them up."
