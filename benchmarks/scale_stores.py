"""Stores of as many users as are wanted, which differ in nothing else: made, measured and taken away again."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from scoring import fitted_head
from sqlalchemy import create_engine, make_url, text

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.protocol import Store

TENANT, VERSION, ROLE, WIDTH = "bench", "scale", "adapter", 384
TAGS = ("sci-fi", "comedy", "action", "twist ending", "dystopia", "classic", "psychology", "fantasy", "romance")
_USERS_AT_ONCE = 400
# Before anything is written: what a user took where this was measured, so that a disk is not filled by surprise.
_EXPECTED_BYTES, _GB = 5_000, 10**9


@dataclass(frozen=True, slots=True)
class Filled:
    """A store with users.

    Attributes:
        users: How many there are.
        store: The store, open.
        url: Database URL by which other processes open the same store.
        nbytes: What it takes on disk, its log written back.
        seconds: What writing the users took.
    """

    users: int
    store: Store
    url: str
    nbytes: int
    seconds: float

    def draw(self, count: int, seed: int) -> list[UserKey]:
        """Users by chance, each as likely; nobody twice."""
        return [user_key(number) for number in random.Random(seed).sample(range(self.users), min(count, self.users))]


class Items:
    """Made-up history items of some 30 words, quickly: words that follow Zipf's law, in pieces that come again."""

    def __init__(self) -> None:
        self._draw = random.Random(0)
        syllables = [a + b for a in "bdfgklmnprstv" for b in "aeiou"]
        words = ["".join(self._draw.choices(syllables, k=self._draw.randint(1, 3))) for _ in range(8_000)]
        weights = list(accumulate(1 / (rank + 10) for rank in range(len(words))))
        self._pieces = [" ".join(self._draw.choices(words, cum_weights=weights, k=10)) for _ in range(5_000)]

    def text(self, pieces: int = 3) -> str:
        """A text of ten words a piece."""
        return " ".join(self._draw.choices(self._pieces, k=pieces))

    def history(self, count: int) -> list[HistoryItem]:
        """A user's items, oldest first."""
        return [HistoryItem(f"i{number}", self.text(), self._draw.choice(TAGS)) for number in range(count)]


def user_key(number: int) -> UserKey:
    """User of a number."""
    return UserKey(TENANT, f"user-{number:07d}")


@contextmanager
def stores(
    folder: Path, server: str | None, sizes: Sequence[int], items: int, most_gb: float
) -> Iterator[list[Filled]]:
    """Stores of all sizes at once, so that looking them up can take turns; nothing of them stays.

    Args:
        folder: Where SQLite's files are for as long as the block runs; made if it is not there.
        server: URL of a PostgreSQL server's own database, where databases are made instead; None is SQLite.
        sizes: Users of each store.
        items: History items of each user.
        most_gb: Most gigabytes that all may take on disk.

    Raises:
        SystemExit: They would take more, or do.
    """
    expected = sum(sizes) * _EXPECTED_BYTES * max(items, 1) / 5
    if expected > most_gb * _GB:
        raise SystemExit(f"--users: {expected / _GB:.1f} GB would be written, more than --most-gb {most_gb:g}")
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="scale-", dir=folder))
    filled: list[Filled] = []
    try:
        for number, users in enumerate(sizes):
            url = f"sqlite:///{place}/{users}.db" if server is None else _new_database(server, f"{place.name}_{number}")
            filled.append(_filled(url, users, items))
            if sum(one.nbytes for one in filled) > most_gb * _GB:
                raise SystemExit(f"stores take more than --most-gb {most_gb:g}")
        yield filled
    finally:
        for one in filled:
            one.store.close()
        if server is not None:
            for number, _ in enumerate(sizes):
                _run(server, f'drop database if exists "{place.name}_{number}" with (force)')
        shutil.rmtree(place, ignore_errors=True)


def _filled(url: str, users: int, items: int) -> Filled:
    begin, store, made = time.perf_counter(), open_store(url), Items()
    head = fitted_head("bases", WIDTH)
    for start in range(0, users, _USERS_AT_ONCE):
        keys = [user_key(number) for number in range(start, min(users, start + _USERS_AT_ONCE))]
        store.put_histories({key: made.history(items) for key in keys})
        store.put_heads(VERSION, ROLE, dict.fromkeys(keys, head), dict.fromkeys(keys, "mark"))
    seconds = time.perf_counter() - begin
    if url.startswith("sqlite"):
        # The last who closes it writes the log back.
        store.close()
        nbytes = sum(path.stat().st_size for path in Path(make_url(url).database or "").parent.glob(f"{users}.db*"))
        store = open_store(url)
    else:
        _run(url, "vacuum analyze")
        nbytes = int(_run(url, "select pg_database_size(current_database())"))
    return Filled(users, store, url, nbytes, seconds)


def _new_database(server: str, name: str) -> str:
    _run(server, f'create database "{name}"')
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _run(url: str, statement: str) -> int:
    """Runs a statement outside of transactions; gives the number that it finds, if it finds any."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        found = db.execute(text(statement))
        number = int(found.scalar() or 0) if found.returns_rows else 0
    engine.dispose()
    return number
