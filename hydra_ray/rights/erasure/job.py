"""Erases users: from settings to a store and files that hold nothing of them, and a search that says so."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

from hydra_ray.data.dataset import Dataset
from hydra_ray.evaluate.run import score
from hydra_ray.evaluate.runs import read_runs
from hydra_ray.records import HydraError, UserKey
from hydra_ray.rights.erasure.files import Erased, erase_in, texts_in
from hydra_ray.rights.erasure.search import files_below, holds
from hydra_ray.rights.erasure.telltale import Telltale
from hydra_ray.rights.erasure.versions import versions_fitted_with
from hydra_ray.runtime.loading import load_data
from hydra_ray.settings import Settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.protocol import Store
from hydra_ray.store.rights.protocol import OUTLIVE

log = logging.getLogger(__name__)

# Columns of the store that hold what a person wrote.
_WRITTEN = ("input", "output", "context", "text", "edited")
# What an LLM wrote of a user may be what it wrote of another.
_BY_LLM = "profiles"


@dataclass(slots=True)
class ErasureReport:
    """Report of an erasure.

    Attributes:
        users: Users who were erased.
        counts: Rows removed from the store, by table.
        erased: What was erased in files.
        pieces: Number of pieces of the users' texts that were looked for; 0 where nothing they wrote is theirs alone.
        found_before: Places in which the search found them before; what it finds shows that it works.
        left: Places in which the search still finds them, the store's tables among them.
        versions: Published versions, each with the users whose data it was fitted with; None where that is not known.
        notes: Sentences about what was left alone, and why.
    """

    users: tuple[UserKey, ...]
    counts: Counter[str] = field(default_factory=Counter)
    erased: list[Erased] = field(default_factory=list)
    pieces: int = 0
    found_before: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    versions: dict[str, list[UserKey] | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def erase_users(settings: Settings, users: Sequence[UserKey], folders: Sequence[Path] = ()) -> ErasureReport:
    """Removes users from the store and from all files below `out`, the configured folders and some more.

    Files go first and the store last, since the store says best which texts are theirs: who is interrupted and erases
    again finishes the work. Records (`data`) are not touched.

    Args:
        settings: Say where everything is.
        users: Users who are erased.
        folders: More folders to clean, e.g. of exported heads or backups.

    Raises:
        HydraError: The store cannot be opened.
        StoreError: The store does not answer; nothing in it was changed.
    """
    report, erased = ErasureReport(tuple(dict.fromkeys(users))), frozenset(users)
    if settings.out.is_dir():
        # Who has only collected has no store yet.
        settings.model_dir.mkdir(parents=True, exist_ok=True)
    store = open_store(settings.store_target)
    try:
        places = _places(settings, folders)
        data = _records(settings, report)
        telltale = _telltale(store, places, data, erased)
        report.pieces = len(telltale.found)
        report.found_before = _search(store, places, telltale, frozenset())
        report.versions = _versions(settings, report.users, data)
        kept = _files_of_store(settings) | _files_of_records(settings)
        for path in files_below(places):
            if path not in kept:
                report.erased += erase_in(path, erased, telltale)
        for key in report.users:
            report.counts.update(store.delete(key))
        try:
            store.records.compact()
        except HydraError as error:
            report.notes.append(str(error))
        _score_again(settings, report)
        checkpoints = settings.model_dir / "training"
        if files_below([checkpoints]):
            report.notes.append(
                f"{checkpoints} holds checkpoints of a training that was killed; they may have been fitted with their "
                "data: remove the folder if it is not to go on"
            )
        if settings.base.checkpoints:
            report.notes.append(
                f"base.checkpoints ({settings.base.checkpoints}) is not looked at: what a killed training left there "
                "may have been fitted with their data"
            )
        report.left = _search(store, places, telltale, erased)
    finally:
        store.close()
    return report


def _places(settings: Settings, folders: Sequence[Path]) -> list[Path]:
    places = [settings.out, settings.model_dir, settings.feedback_dir, settings.answers_dir, *folders]
    return [*places, *_files_of_store(settings)]


def _files_of_store(settings: Settings) -> set[Path]:
    scheme, found, path = settings.store_url.partition(":///")
    if not found or not scheme.startswith("sqlite"):
        return set()
    file = Path(path).resolve()
    return {file, *(file.with_name(f"{file.name}{end}") for end in ("-wal", "-shm", "-journal"))}


def _files_of_records(settings: Settings) -> set[Path]:
    """Return the files of the records on this machine: somebody else's, even where they stand below `out`."""
    named = [place for place in (settings.data.path, settings.data.dir, settings.data.items) if place is not None]
    return set(files_below(Path(found) for place in named for found in glob(str(place), recursive=True)))


def _records(settings: Settings, report: ErasureReport) -> dict[str, Dataset]:
    """Return the records by split, as far as they can be read."""
    data = dict[str, Dataset]()
    if settings.data.format == "store":
        return data
    for split in ("train", "dev"):
        try:
            _, data[split] = load_data(settings, split)
        except HydraError as error:
            log.info("the records of split %s are not looked at: %s", split, error)
    there = {user.key for dataset in data.values() for user in dataset.users}
    if known := [key.user for key in report.users if key in there]:
        place = settings.data.path or settings.data.dir or f"data.format {settings.data.format}"
        report.notes.append(f"the records ({place}) still have {', '.join(known)}: remove them there yourself")
    return data


def _telltale(store: Store, places: Sequence[Path], data: dict[str, Dataset], erased: Collection[UserKey]) -> Telltale:
    telltale = Telltale()
    # Twice over all texts: others' are not kept, and there may be many.
    telltale.add(text for key, text in _written(store, places, data) if key in erased)
    telltale.take_away(text for key, text in _written(store, places, data) if key not in erased)
    return telltale


def _written(store: Store, places: Sequence[Path], data: dict[str, Dataset]) -> Iterable[tuple[UserKey, str]]:
    """Yield all that people wrote, wherever it stands, with who wrote it."""
    for one in store.records.texts():
        if one.column in _WRITTEN and one.table != _BY_LLM:
            yield one.key, one.text
    for path in files_below(places):
        yield from texts_in(path)
    for dataset in data.values():
        for user in dataset.users:
            for item in user.history:
                yield from ((user.key, text) for text in (item.input, item.output, item.context))
            for query in user.queries:
                yield from ((user.key, text) for text in (query.input, dataset.golds.get(query.id, "")))


def _search(store: Store, places: Sequence[Path], telltale: Telltale, gone: Collection[UserKey]) -> list[str]:
    """Return the places that hold the pieces, and the tables that have rows of those who should be gone."""
    found = [str(path) for path in files_below(places) if holds(path, telltale)]
    tables = {one.table for one in store.records.texts() if telltale.in_text(one.text)}
    for key in gone:
        tables |= {name for name, count in store.records.counts(key).items() if count and name not in OUTLIVE}
    return [*found, *(f"the store's table {name}" for name in sorted(tables))]


def _versions(
    settings: Settings, users: Sequence[UserKey], data: dict[str, Dataset]
) -> dict[str, list[UserKey] | None]:
    training = {user.key for user in data["train"].users} if "train" in data else None
    found = dict[str, list[UserKey] | None]()
    for key in users:
        for version, was_used in versions_fitted_with(settings, key, training).items():
            if was_used is None:
                found[version] = None
            elif was_used:
                found[version] = [*(found.get(version) or []), key]
    return found


def _score_again(settings: Settings, report: ErasureReport) -> None:
    """Has results of a comparison, which count everybody, computed from what is left of its run records."""
    if (
        not any(one.path.parent.name == "dumps" for one in report.erased)
        or not (settings.out / "results.json").exists()
    ):
        return
    try:
        records = read_runs(settings.out)
        if all(record.rows for record in records):
            score(records, settings)
            return
        why = "nobody is left in them"
    except HydraError as error:
        why = str(error)
    report.notes.append(f"{settings.out / 'results.json'} and report.html still count them: {why}")
