"""Finds the store of versions before, which stood in the model's folder, and moves it to where it outlives models."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path

from hydra_ray.records import HydraError
from hydra_ray.store.connections.target import StoreTarget

log = logging.getLogger(__name__)

# As long as writers wait for each other.
_WAIT_S = 30.0


def placed(target: StoreTarget) -> StoreTarget:
    """Return where the store is to be opened, once users of an earlier layout have been moved there.

    A move is whole or does not happen, however many processes begin it at once. In a read-only place the earlier store
    is used where it is.

    Raises:
        HydraError: Users are in both places, or an earlier store cannot be moved, or the folder cannot be made.
    """
    if target.former is None:
        return target
    place = Path(target.url.partition(":///")[2])
    if place.exists() and target.former.exists() and place.samefile(target.former):
        # `out` is the model's folder, or leads there.
        return target
    if not target.former.exists():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HydraError(f"store.url: {place.parent} cannot be made: {error.strerror}") from None
        return target
    if not place.exists() and not (_may_write(place.parent) and _may_write(target.former.parent)):
        log.warning("the store is used where earlier versions kept it, a read-only place: %s", target.former)
        return replace(target, url=f"sqlite:///{target.former}", former=None)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _move(target.former, place)
    except (sqlite3.Error, OSError) as error:
        raise HydraError(f"store.url: {target.former} cannot be moved to {place}: {error}") from error
    return target


def _may_write(folder: Path) -> bool:
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)


def _move(former: Path, place: Path) -> None:
    with _locked(former) as source:
        # Whoever was first may be done by now, and is then followed.
        if source is None:
            _remove(former)
            return
        if place.exists():
            if not _are_equal(former, place):
                raise HydraError(
                    f"store.url: users are in {place} and, as earlier versions kept them, in {former}, and not the "
                    "same ones. Take away the one that is not wanted, or set store.url; `hydra-ray store migrate` with "
                    f"store.url=sqlite:///{former} brings the users of one into another store"
                )
        else:
            partial = place.with_name(f"{place.name}.{uuid.uuid4().hex}.partial")
            try:
                with closing(_opened(former)) as reader, closing(sqlite3.connect(partial)) as copy:
                    reader.backup(copy)
                _flush(partial)
                # Unlike a rename it never takes the place of a file that came there meanwhile.
                os.link(partial, place)
                _flush(place.parent)
            finally:
                partial.unlink(missing_ok=True)
            log.warning("the store of users was moved from %s to %s, where it outlives models", former, place)
        # No copy stays that deletions would not reach. Who waits for the lock sees that the file is gone.
        _remove(former)


@contextmanager
def _locked(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Keep other writers from a database; None where it is gone once they ended."""
    try:
        opened = _opened(path)
    except sqlite3.OperationalError:
        if path.exists():
            raise
        yield None
        return
    with closing(opened) as connection:
        until = time.monotonic() + _WAIT_S
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                break
            except sqlite3.OperationalError as error:
                # Also where it was taken away meanwhile, of which SQLite says that it cannot be written.
                if path.exists() and ("locked" not in str(error) or time.monotonic() > until):
                    raise
                if not path.exists():
                    break
                time.sleep(0.01)
        yield connection if path.exists() else None
        if connection.in_transaction:
            connection.rollback()


def _opened(path: Path) -> sqlite3.Connection:
    # Never made anew where somebody has just taken it away.
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None)


def _are_equal(one: Path, other: Path) -> bool:
    """Whether two databases hold the same rows, as the two of a move that was cut off do."""
    with closing(_opened(one)) as left, closing(_opened(other)) as right:
        named = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        tables = left.execute(named).fetchall()
        if tables != right.execute(named).fetchall():
            return False
        queries = [f'SELECT * FROM "{name}"' for (name,) in tables]
        pairs = chain.from_iterable(zip_longest(left.execute(query), right.execute(query)) for query in queries)
        return all(row == same for row, same in pairs)


def _remove(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
