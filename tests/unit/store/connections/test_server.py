"""A process has one pool for a server; lost connections fail nobody, and passwords stay where they are kept."""

import logging
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text
from store_processes import counted_connections, run_at_once, terminate_connections

from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.database import Database
from hydra_ray.store.schema import open_database
from hydra_ray.store.types import LostError

ANN = UserKey("acme", "ann")


def film(number):
    return HistoryItem(f"film {number}", "a robot", "sci-fi")


def target(url, most=8):
    return StoreTarget(url, None, None, most, None)


def test_all_who_open_a_store_in_a_process_share_its_connections(postgres_url):
    stores = [open_store(target(postgres_url)) for _ in range(6)]
    with counted_connections(postgres_url) as seen:
        for number in range(60):
            stores[number % 6].append_history(ANN, film(number))
        assert max(seen) == 1
        for store in stores[1:]:
            store.close()
            # Once more is no other opener's loss.
            store.close()
        assert len(stores[0].history(ANN)) == 60
        stores[0].close()
    assert open_store(target(postgres_url)).history(ANN)[0] == film(0)


def test_sixteen_processes_open_an_empty_database_at_once(postgres_url):
    opens = "store = open_store(target); print(f'{len(store.histories(UserKey.__name__))}\\n', end='')"
    lines = run_at_once(16, opens, postgres_url, most=32)
    print(f"{len(lines)} of 16 processes opened an empty PostgreSQL")
    assert lines == ["0"] * 16


def test_no_call_fails_while_connections_are_ended(postgres_url):
    store, ended = open_store(target(postgres_url)), threading.Event()
    counts = [0, 0]

    def write():
        number = 0
        while not ended.is_set():
            store.append_history(ANN, film(number))
            number += 1
        counts[0] = number

    def read():
        while not ended.is_set():
            store.history_version(ANN)
            counts[1] += 1

    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(work) for work in (write, read)]
        killed = 0
        while killed < 30 and not any(one.done() for one in running):
            killed += terminate_connections(postgres_url)
        ended.set()
        for one in running:
            one.result()
    print(f"{killed} connections ended under {counts[0]} writes and {counts[1]} reads: 0 errors")
    assert [item.id for item in store.history(ANN)] == [film(number).id for number in range(counts[0])]
    store.close()


def test_an_idle_connection_that_was_ended_is_made_anew(postgres_url):
    for most in (8, None):
        store = open_store(target(postgres_url, most))
        store.put_histories({ANN: [film(0)]})
        assert terminate_connections(postgres_url) >= 1
        assert store.history(ANN) == (film(0),)
        store.close()


def test_a_transaction_that_is_cut_off_is_run_again_as_a_whole(postgres_url):
    database, runs = open_database(target(postgres_url)), []

    def work(db):
        runs.append(1)
        db.execute(text("insert into deletions values (:run, 1)"), {"run": f"run {len(runs)}"})
        if len(runs) == 1:
            terminate_connections(postgres_url)
        return db.execute(text("select digest from deletions")).scalars().all()

    assert database.write(work) == ["run 2"]
    database.close()


def test_a_block_that_is_cut_off_says_that_it_may_be_run_again(postgres_url):
    store = open_store(target(postgres_url))

    def update():
        with store.updating_observations(ANN, "v1", "adapter") as update:
            update.append_history(film(0))
            terminate_connections(postgres_url)
            update.append_history(film(1))

    with pytest.raises(LostError, match="cannot be written") as caught:
        update()
    assert "\n" not in str(caught.value)
    assert store.history(ANN) == ()
    store.close()


def test_transactions_in_each_others_way_are_run_again(postgres_url):
    database, both = open_database(target(postgres_url)), threading.Barrier(2)
    with database.writing() as db:
        db.execute(text("insert into deletions values ('a', 0), ('b', 0)"))

    def add(first, second):
        tried = []

        def work(db):
            tried.append(1)
            raise_by_one = "update deletions set number = number + 1 where digest = :digest"
            db.execute(text(raise_by_one), {"digest": first})
            if len(tried) == 1:
                both.wait(60)
            db.execute(text(raise_by_one), {"digest": second})

        database.write(work)
        return len(tried)

    with ThreadPoolExecutor(2) as threads:
        # A deadlock: the server ends one of them, and may do so again while the other is only waking.
        assert max(threads.map(add, "ab", "ba")) > 1
    assert database.read(lambda db: db.execute(text("select sum(number) from deletions")).scalar()) == 4
    database.close()


@pytest.fixture
def guarded(postgres_url):
    """URL, without a password, of a database whose owner needs one."""
    name = f"checked_{make_url(postgres_url).database}"
    # A new connection each time, since tests end those that are there.
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)

    def run(statement):
        with engine.connect() as db:
            found = db.execute(text(statement))
            return found.scalar() if found.returns_rows else None

    rules = Path(run("show hba_file"))
    before = rules.read_text()
    rules.write_text(f"local all {name} scram-sha-256\n{before}")
    run("select pg_reload_conf()")
    run(f"create role {name} login password 'se:cr@et'")
    run(f"grant all on schema public to {name}")
    yield make_url(postgres_url).set(username=name).render_as_string(hide_password=False)
    run(f"drop owned by {name}")
    run(f"drop role {name}")
    rules.write_text(before)
    run("select pg_reload_conf()")


def test_a_password_comes_from_a_file_or_variable_when_it_is_needed(guarded, tmp_path, monkeypatch):
    path = tmp_path / "password"
    path.write_text("se:cr@et\n")
    settings = parse_settings({"store": {"url": guarded, "password_file": str(path)}})
    store = open_store(settings.store_target)
    store.append_history(ANN, film(0))
    store.close()
    monkeypatch.setenv("STORE_PASSWORD", "se:cr@et")
    store = open_store(parse_settings({"store": {"url": guarded, "password_env": "STORE_PASSWORD"}}).store_target)
    assert store.history(ANN) == (film(0),)
    # Changed while the store is open: it holds from the next connection on.
    engine = create_engine(make_url(guarded).set(username="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.execute(text(f"alter role {make_url(guarded).username} password 'another'"))
    engine.dispose()
    terminate_connections(make_url(guarded).set(username="postgres").render_as_string(hide_password=False))
    with pytest.raises(HydraError, match="password authentication failed"):
        store.history(ANN)
    monkeypatch.setenv("STORE_PASSWORD", "another")
    assert store.history(ANN) == (film(0),)
    store.close()


def test_passwords_are_in_no_log_error_setting_or_pickle(guarded, tmp_path, caplog):
    path = tmp_path / "password"
    path.write_text("wr0ng-one")
    settings = parse_settings({"store": {"url": guarded, "password_file": str(path)}})
    with caplog.at_level(logging.DEBUG), pytest.raises(HydraError, match="password authentication failed") as caught:
        open_store(settings.store_target)
    assert "\n" not in str(caught.value)
    shown = [str(caught.value), caplog.text, repr(settings), repr(settings.store_target), settings.model_dump_json()]
    assert [text for text in shown if "wr0ng" in text] == []
    assert b"wr0ng" not in pickle.dumps((settings, settings.store_target))


def test_a_password_in_the_url_is_not_shown(caplog):
    url = "postgresql+psycopg://ann:secret@localhost:1/none"
    settings = parse_settings({"store": {"url": url}})
    assert "secret" not in repr(settings) + repr(settings.store_target)
    with caplog.at_level(logging.DEBUG), pytest.raises(HydraError, match=r"ann:\*\*\*@") as caught:
        open_store(settings.store_target)
    assert "secret" not in str(caught.value) + caplog.text


def test_a_password_that_is_not_there_is_said_in_one_line(tmp_path, monkeypatch):
    url = "postgresql+psycopg://localhost:1/none"
    monkeypatch.delenv("NO_SUCH", raising=False)
    for told, said in (("password_file", str(tmp_path / "none")), ("password_env", "NO_SUCH")):
        settings = parse_settings({"store": {"url": url, told: said}})
        with pytest.raises(HydraError, match=rf"^store\.{told}: {said} ") as caught:
            Database(settings.store_target).read(lambda db: None)
        assert "\n" not in str(caught.value)
