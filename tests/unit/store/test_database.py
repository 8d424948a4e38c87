"""Transactions wait for each other and for nothing else, and what stops a process leaves a store that can be read."""

import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from read_only import who_may_only_read
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from hydra_ray.models.heads import Head
from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.store import database, sql
from hydra_ray.store.backends import open_store
from hydra_ray.store.types import ProfileFingerprint, StoreError, UserProfile

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
HEAD = Head("facets", {"mix": torch.ones(6)})
MANY = [UserKey("bulk", f"user {number}") for number in range(600)]
TOLD = {"item": b"told" * 50}


def film(number=0, text="a robot"):
    return HistoryItem(f"film {number}", text, "sci-fi")


def put_histories(store):
    store.put_histories({key: [film(number) for number in range(10)] for key in MANY})


def put_heads(store):
    store.put_heads("v1", "adapter", dict.fromkeys(MANY, HEAD))


def put_observations(store):
    store.put_observations("v1", "adapter", dict.fromkeys(MANY, TOLD))


def put_profiles(store):
    store.put_profiles((key, UserProfile("pag", "text", ProfileFingerprint("how", "what", 1))) for key in MANY)


@pytest.fixture
def few_at_once(monkeypatch):
    """Bulk writes in many small transactions."""
    monkeypatch.setattr(sql, "_ROWS_AT_ONCE", 200)
    monkeypatch.setattr(sql, "_BYTES_AT_ONCE", 2_000)
    monkeypatch.setattr(sql, "_PROFILES_AT_ONCE", 20)


@pytest.mark.parametrize(
    "bulk", [put_histories, put_heads, put_observations, put_profiles], ids=lambda bulk: bulk.__name__
)
def test_updates_beside_a_bulk_write_all_get_in(url, bulk, few_at_once):
    writer, updater, ended = open_store(url), open_store(url), threading.Event()
    put_histories(writer)

    def write():
        while not ended.is_set():
            bulk(writer)

    failed = []
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        for number in range(120):
            try:
                with updater.updating_observations(ANN, "v1", "adapter") as update:
                    # What is read goes first: that is what was refused, however long it had waited.
                    update.head()
                    update.append_history(film(number))
                    update.put(f"film {number}", b"told")
                    update.put_head(HEAD)
            except Exception as error:
                failed.append(error)
        ended.set()
        writing.result()
    assert failed == []
    assert len(updater.history(ANN)) == 120
    assert len(updater.observations([ANN], "v1", "adapter")[ANN]) == 120
    for store in (writer, updater):
        store.close()


class Gate:
    """Stops whoever writes at a moment of the test's choosing."""

    def __init__(self, store):
        self._store, self.holds, self.lets_go = store, threading.Event(), threading.Event()

    def __call__(self):
        with self._store.updating_observations(BOB, "v1", "adapter") as update:
            update.append_history(film())
            self.holds.set()
            assert self.lets_go.wait(60)


@pytest.fixture
def held(sqlite_url):
    """A store beside which somebody writes until told to end."""
    store, other = open_store(sqlite_url), open_store(sqlite_url)
    store.put_histories({ANN: [film(1)]})
    gate = Gate(other)
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(gate)
        assert gate.holds.wait(60)
        yield store, gate
        gate.lets_go.set()
        writing.result()
    store.close()
    other.close()


def test_readers_do_not_wait_for_a_writer_and_see_nothing_half_done(held):
    store, _ = held
    assert store.history(ANN) == (film(1),)
    assert store.history(BOB) == ()


def test_a_writer_waits_for_the_one_before_it(held):
    store, gate = held
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(store.append_history, BOB, film(2))
        time.sleep(0.05)
        assert not writing.done()
        gate.lets_go.set()
        writing.result(60)
    assert store.history(BOB) == (film(), film(2))


def test_a_writer_that_waited_too_long_says_so_in_one_line(held, monkeypatch):
    store, gate = held
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    with pytest.raises(StoreError, match=r"^store\.url: \S+ cannot be written: another process has been writing for"):
        store.append_history(BOB, film(2))
    gate.lets_go.set()
    monkeypatch.undo()
    # The connection is as good as before.
    store.append_history(ANN, film(3))
    assert store.history(ANN) == (film(1), film(3))


def test_a_reader_keeps_the_state_that_it_began_with(sqlite_url):
    store, other = open_store(sqlite_url), open_store(sqlite_url)
    store.put_histories({ANN: [film(1)]})
    with store._database.reading() as db:
        count = "select count(*) from history"
        assert db.exec_driver_sql(count).scalar() == 1
        other.append_history(ANN, film(2))
        assert db.exec_driver_sql(count).scalar() == 1
    assert len(store.history(ANN)) == 2
    for one in (store, other):
        one.close()


def test_a_bulk_write_is_in_short_transactions_each_whole_for_its_users(url, few_at_once, monkeypatch):
    store, begun = open_store(url), []
    writing = store._database.writing
    monkeypatch.setattr(store._database, "writing", lambda: begun.append(1) or writing())
    counts = {}
    for bulk in (put_histories, put_heads, put_observations, put_profiles):
        begun.clear()
        bulk(store)
        counts[bulk.__name__] = len(begun)
    assert all(count >= 20 for count in counts.values()), counts
    # A user is never in two.
    begun.clear()
    store.put_histories({ANN: [film(number) for number in range(1_000)]})
    assert len(begun) == 1
    store.close()


WRITES = """
import sys
from itertools import count
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.backends import open_store
store = open_store({url!r})
for turn in count():
    items = [HistoryItem(str(number), f"turn {{turn}}", "text " * 20) for number in range(20)]
    store.put_histories({{UserKey("acme", f"user {{number}}"): items for number in range(400)}})
    print(turn, flush=True)
"""


@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.3])
def test_a_process_killed_in_a_bulk_write_leaves_every_user_whole(sqlite_url, seconds):
    process = subprocess.Popen([sys.executable, "-c", WRITES.format(url=sqlite_url)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"0\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store = open_store(sqlite_url)
    histories = store.histories("acme")
    assert len(histories) == 400
    for items in histories.values():
        assert [item.id for item in items] == [str(number) for number in range(20)]
        assert len({item.input for item in items}) == 1
    store.put_histories({ANN: [film()]})
    assert store.history(ANN) == (film(),)
    store.close()


def test_a_database_in_memory_is_one_for_all_threads():
    store = open_store("sqlite://")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: store.append_history(ANN, film(number)), range(40)))
    assert {item.id for item in store.history(ANN)} == {film(number).id for number in range(40)}
    store.close()


def test_a_database_that_was_written_before_is_put_into_wal_mode(sqlite_url):
    open_store(sqlite_url).close()
    db = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    assert db.execute("pragma journal_mode").fetchone() == ("wal",)
    assert db.execute("pragma journal_mode = delete").fetchone() == ("delete",)
    db.close()
    store = open_store(sqlite_url)
    with store._database.reading() as connection:
        assert connection.exec_driver_sql("pragma journal_mode").scalar() == "wal"
    store.close()


@pytest.fixture
def place():
    """A folder that other users of the machine may enter, too."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def stored(place):
    """The URL of a store, and the store."""
    url = f"sqlite:///{place / 'users.db'}"
    store = open_store(url)
    store.put_histories({ANN: [film(1)]})
    yield url, store
    store.close()


def test_a_store_in_a_read_only_place_can_be_read(place, stored, caplog):
    url, store = stored
    store.close()
    with who_may_only_read(place):
        reading = open_store(url)
        assert reading.history(ANN) == (film(1),)
        with pytest.raises(HydraError, match=r"users\.db is read-only: nothing can be written there$"):
            reading.append_history(ANN, film(2))
        reading.close()
    assert "stands in a read-only place" in caplog.text


def test_a_store_in_a_read_only_place_that_nobody_closed_is_refused_in_one_line(place, stored):
    observed = r"^store\.url: \S+ .* its last writer did not close it: open it once where it may be written$"
    with who_may_only_read(place), pytest.raises(HydraError, match=observed):
        open_store(stored[0])


def test_an_old_store_in_a_read_only_place_is_refused_in_one_line(place, stored):
    url, store = stored
    store.close()
    db = sqlite3.connect(url.removeprefix("sqlite:///"))
    db.execute("update alembic_version set version_num = '0001'")
    db.commit()
    db.close()
    observed = r"^store\.url: \S+ is read-only and older than this version: open it once writable$"
    with who_may_only_read(place), pytest.raises(HydraError, match=observed):
        open_store(url)


def test_who_gets_no_connection_in_time_is_told_by_the_stores_own_error(monkeypatch):
    store = open_store("sqlite://")
    # There is one connection to what is in memory.
    monkeypatch.setattr(store._database._engine.pool, "_timeout", 0.01)
    with (
        store.updating_observations(ANN, "v1", "adapter"),
        pytest.raises(StoreError, match=r"sqlite:// cannot be read: "),
    ):
        store.history(ANN)
    assert store.history(ANN) == ()
    store.close()


def test_a_wrong_statement_is_a_bug_and_no_outage(sqlite_url):
    store = open_store(sqlite_url)
    with pytest.raises(OperationalError, match="no such table"), store._database.reading() as db:
        db.execute(text("select * from nowhere"))
    store.close()
