"""What only a store in a database does: versions of tables, URLs, indexes, statements of many users."""

import sqlite3

import pytest
import torch
from sqlalchemy import event, insert, select

from hydra_ray.models.heads import Head
from hydra_ray.records import HydraError, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.rows import among
from hydra_ray.store.sql import SqlStore
from hydra_ray.store.tables import HEADS, HISTORY
from hydra_ray.store.types import HistoryChange

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
HER_NAMESAKE = UserKey("zeta", "ann")


def number(value):
    """A head that is told apart by one number."""
    return Head("facets", {"mix": torch.tensor([float(value)])})


@pytest.fixture
def sql_store(url):
    store = SqlStore(url)
    yield store
    store.close()


def test_more_users_than_a_statement_takes_are_asked_for_in_parts(sql_store, monkeypatch):
    monkeypatch.setattr("hydra_ray.store.rows.KEYS_AT_ONCE", 2)
    keys = [UserKey("acme", f"user {number}") for number in range(5)]
    sql_store.put_heads("v1", "adapter", {key: number(place) for place, key in enumerate(keys)})
    found = sql_store.heads(keys, "v1", "adapter")
    assert {key: int(head.tensors["mix"]) for key, (_, head, _) in found.items()} == {k: n for n, k in enumerate(keys)}
    assert set(sql_store.stamps(keys, "v1", "adapter")) == set(keys)


@pytest.mark.parametrize("columns", ["tenant, user, version, role, head", "tenant, user, version, role, mark, head"])
def test_a_database_of_another_version_is_refused_with_a_way_out(sqlite_url, columns):
    url = sqlite_url
    with sqlite3.connect(url.removeprefix("sqlite:///")) as db:
        db.execute(f"create table heads ({columns})")
    db.close()
    with pytest.raises(HydraError, match=rf"^store\.url: {url} was made by another version.*fit into a new store"):
        open_store(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:////no/such/folder/users.db", "sqlite:////no/such/folder/users.db cannot be opened: unable to open"),
        ("nosuch://host/users", "nosuch://host/users cannot be opened: Can't load plugin"),
    ],
)
def test_a_database_that_cannot_be_opened_is_named(url, message):
    with pytest.raises(HydraError, match=rf"^store\.url: {message}"):
        open_store(url)


def test_a_password_is_never_in_an_error():
    with pytest.raises(HydraError) as caught:
        open_store("nosuch://ann:secret@host/users")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "users.db", "postgresql://ann:secret@host:port/users"])
def test_a_malformed_url_is_named(url):
    with pytest.raises(HydraError, match=r"^store\.url: ") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_users_are_found_in_the_index_however_many_there_are(sqlite_url):
    store = open_store(sqlite_url)
    with store._database.reading() as db:
        query = select(HEADS.c.stamp).where(among(HEADS, [ANN, BOB, HER_NAMESAKE]), HEADS.c.version == "v1")
        text = str(query.compile(db, compile_kwargs={"literal_binds": True}))
        plan = " ".join(str(row) for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}"))
    assert "SEARCH" in plan
    assert "SCAN" not in plan
    many = [UserKey(f"tenant {number}", "ann") for number in range(2_000)]
    store.put_heads("v1", "adapter", dict.fromkeys(many, number(1)))
    assert set(store.stamps(many, "v1", "adapter")) == set(many)


def test_what_was_added_is_found_in_an_index_however_long_the_history_is(sqlite_url, item):
    store, plans = open_store(sqlite_url), []
    store.put_histories({ANN: [item("a")]})
    before = store.history_version(ANN)
    store.append_history(ANN, item("b"))
    store.delete_item(ANN, "a")

    def explain(connection, cursor, statement, parameters, context, executemany):
        if "FROM history " in statement.replace("\n", " "):
            plans.append(
                " ".join(map(str, connection.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)))
            )

    event.listen(store._database._engine, "before_cursor_execute", explain)
    assert store.history_change(ANN, before).left == frozenset()
    assert [("history_by_place" in plan, "TEMP B-TREE" in plan) for plan in plans] == [(True, False)] * 2, plans
    store.close()


def test_items_that_came_without_a_version_are_read_and_get_one(sql_store, item):
    # As a 0.1.0 writes them that still runs.
    with sql_store._database.writing() as db:
        row = {"id": "a", "input": "a", "output": "fine", "context": ""}
        db.execute(insert(HISTORY), [{**ANN._asdict(), "place": 4, **row}])
    assert sql_store.history_change(ANN, None) == HistoryChange(None, True, [(4, item("a", "fine"))])
    sql_store.append_history(ANN, item("b"))
    assert sql_store.history(ANN) == (item("a", "fine"), item("b"))
    assert sql_store.history_version(ANN).next_place == 6
