"""The cap on connections holds over processes that know nothing of each other, and nobody fails by it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from sqlalchemy import create_engine, make_url, text
from store_processes import counted_connections, run_at_once

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.connections import slots
from hydra_ray.store.connections.slots import Slots
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.database import Database
from hydra_ray.store.types import StoreError

WRITES = """
store = open_store(target)
for turn in range(20):
    # One user of all, and one of its own.
    store.append_history(UserKey("acme", "all"), HistoryItem(f"{number} {turn}", "a robot", "sci-fi"))
    store.append_history(UserKey("acme", f"user {number}"), HistoryItem(str(turn), "a robot", "sci-fi"))
    assert len(store.history(UserKey("acme", f"user {number}"))) == turn + 1
store.close()
"""


def capped(url, most):
    return StoreTarget(url, None, None, most, None)


def test_twenty_processes_write_within_the_cap_and_without_an_error(postgres_url):
    with counted_connections(postgres_url) as seen:
        run_at_once(20, WRITES, postgres_url, most=8)
    print(f"20 processes that write, cap 8: a peak of {max(seen)} connections in {len(seen)} looks, 0 errors")
    assert 4 <= max(seen) <= 8
    store = open_store(postgres_url)
    assert len(store.history(UserKey("acme", "all"))) == 400
    assert store.history_version(UserKey("acme", "all")).next_place == 400
    assert len(store.histories("acme")) == 21
    store.close()


def test_the_threads_of_one_process_keep_to_the_cap_too(postgres_url):
    store = open_store(capped(postgres_url, 4))
    with counted_connections(postgres_url) as seen, ThreadPoolExecutor(16) as threads:
        list(
            threads.map(
                lambda n: store.append_history(UserKey("acme", "ann"), HistoryItem(str(n), "a", "b")), range(64)
            )
        )
    assert max(seen) <= 4
    assert len(store.history(UserKey("acme", "ann"))) == 64
    store.close()


def test_connections_that_nobody_uses_are_given_to_who_waits(postgres_url):
    idle = Database(capped(postgres_url, 4))
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(idle.reading())
    # Both slots are held by the pool of this process, and another one wants them.
    lines = run_at_once(1, "store = open_store(target); print(store.histories('acme'))", postgres_url, most=4)
    assert lines == ["{}"]
    with idle.reading() as db:
        assert db.execute(text("select 1")).scalar() == 1
    idle.close()


def test_who_waits_for_a_connection_in_vain_is_told_the_setting_in_one_line(postgres_url, monkeypatch):
    taken, other = Database(capped(postgres_url, 4)), Database(capped(f"{postgres_url}&connect_timeout=9", 4))
    monkeypatch.setattr(slots, "WAIT_S", 0.2)
    with taken.reading(), taken.reading():
        with pytest.raises(StoreError, match=r"^store\.max_connections: none of the 4 connections came free") as caught:
            other.read(lambda db: db.execute(text("select 1")).scalar())
        assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert other.read(lambda db: db.execute(text("select 1")).scalar()) == 1
    for one in (taken, other):
        one.close()


def test_a_process_that_is_killed_leaves_its_slots_to_others(postgres_url):
    killed = (
        "import os, signal; store = open_store(target); store.histories('acme'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with pytest.raises(AssertionError):
        run_at_once(2, killed, postgres_url, most=4)
    assert run_at_once(1, "print(open_store(target).histories('acme'))", postgres_url, most=4) == ["{}"]


def test_limits_of_the_server_itself_are_waited_for(postgres_server, postgres_url):
    name = f"limited_{make_url(postgres_url).database}"
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.execute(text(f"create role {name} login connection limit 2"))
        db.execute(text(f"grant all on schema public to {name}"))
    limited = make_url(postgres_url).set(username=name).render_as_string(hide_password=False)
    # The server allows two, the setting more.
    run_at_once(6, WRITES.replace("range(20)", "range(5)"), limited, most=32)
    with engine.connect() as db:
        assert db.execute(text("select count(*) from history")).scalar() == 60
        db.execute(text(f"drop owned by {name}"))
        db.execute(text(f"drop role {name}"))
    engine.dispose()


def test_slots_and_doors_are_the_cap():
    for most in (4, 8, 32, 100):
        doors = most - Slots("somewhere", most).count
        assert doors >= 2
        assert most // 8 <= doors <= max(2, most // 2)


def test_a_wanted_connection_ends_with_its_transaction_and_not_before(postgres_url):
    holder, waiter = Database(capped(postgres_url, 4)), Database(capped(f"{postgres_url}&connect_timeout=9", 4))
    began, got = threading.Event(), threading.Event()

    def wait():
        began.set()
        waiter.read(lambda db: db.execute(text("select 1")).scalar())
        got.set()

    with ThreadPoolExecutor(1) as threads:
        with holder.reading() as one, holder.reading():
            waiting = threads.submit(wait)
            assert began.wait(60)
            time.sleep(0.3)
            assert not got.is_set()
            # Still good for what goes on.
            assert one.execute(text("select 1")).scalar() == 1
        waiting.result(60)
    assert got.is_set()
    for one in (holder, waiter):
        one.close()
