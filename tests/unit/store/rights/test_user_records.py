"""Rows of one user, whatever table they are in: none is left out of counts, export and deletion."""

import sqlite3

import pytest
from sqlalchemy import Boolean, Float, Integer, LargeBinary, create_engine, insert, select

from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.rights.protocol import OUTLIVE
from hydra_ray.store.rights.sql import user_tables
from hydra_ray.store.tables import METADATA

ANN, BOB, NAMESAKE = UserKey("acme", "ann"), UserKey("acme", "bob"), UserKey("zeta", "ann")

# Tables of a tenant's own, in which a user may only be named: a key that is bound to one is the tenant's to revoke.
ONLY_NAMED = {"api_keys"}


def value(column, text):
    kind = type(column.type)
    plain = {Boolean: False, Float: 1.5, Integer: 7, LargeBinary: text.encode()}
    return next((one for known, one in plain.items() if issubclass(kind, known)), text)


@pytest.fixture
def filled(tmp_path):
    """A store in which each user has a row in each table that belongs to users."""
    url = f"sqlite:///{tmp_path / 'users.db'}"
    store = open_store(url)
    engine = create_engine(url)
    with engine.begin() as db:
        for key in (ANN, BOB, NAMESAKE):
            for table in user_tables():
                # What outlives a user has no text of theirs.
                said = "" if table.name in OUTLIVE else f"{table.name} {key}"
                row = {column.name: value(column, said) for column in table.c}
                db.execute(insert(table), [{**row, **key._asdict()}])
    engine.dispose()
    yield store
    store.close()


def test_every_table_that_speaks_of_users_begins_with_their_key():
    assert {"history", "heads", "evidence", "profiles", "user_preferences"} <= {one.name for one in user_tables()}
    astray = [table.name for table in METADATA.sorted_tables if {"tenant", "user"} <= set(table.c.keys())]
    assert set(astray) - {table.name for table in user_tables()} <= ONLY_NAMED


def test_a_users_rows_are_of_every_table_and_of_nobody_else(filled):
    rows, names = filled.records.rows(ANN), {table.name for table in user_tables()}
    assert {name: len(of) for name, of in rows.items()} == filled.records.counts(ANN) == dict.fromkeys(names, 1)
    for name, (row,) in rows.items():
        assert not {"tenant", "user"} & row.keys()
        assert str(BOB) not in str(row), name


def test_deletion_leaves_no_row_in_any_table_and_counts_each(filled, tmp_path):
    counts = filled.delete(ANN)
    left = {name: count for name, count in filled.records.counts(ANN).items() if count}
    assert set(left) <= OUTLIVE
    assert {name for name in filled.records.counts(ANN) if name not in OUTLIVE} <= counts.keys()
    assert all(count == 1 for name, count in counts.items() if name != "profiles_of_others")
    for key in (BOB, NAMESAKE):
        assert set(filled.records.counts(key).values()) == {1}
    assert not any(filled.delete(ANN).values())


def test_what_was_deleted_is_in_no_byte_of_database_and_log(filled, tmp_path):
    def found(text):
        return [path.name for path in sorted(tmp_path.iterdir()) if text.encode() in path.read_bytes()]

    assert found("history UserKey(tenant='acme', user='ann')")
    filled.delete(ANN)
    assert found("tenant='acme', user='ann'") == []
    assert found("tenant='acme', user='bob'")


def test_pages_that_an_older_version_gave_free_are_gone_once_the_store_is_compact(tmp_path):
    path = tmp_path / "users.db"
    store = open_store(f"sqlite:///{path}")
    store.put_histories({ANN: [HistoryItem(str(number), f"MARKER {number}" * 20, "x") for number in range(200)]})
    store.close()
    with sqlite3.connect(path) as old:
        old.execute("PRAGMA secure_delete = OFF")
        old.execute("DELETE FROM history")
    old.close()
    assert b"MARKER" in path.read_bytes()
    store = open_store(f"sqlite:///{path}")
    store.records.compact()
    assert b"MARKER" not in path.read_bytes()
    store.close()


def test_rows_that_were_put_back_give_what_was_there(filled):
    rows = filled.records.rows(ANN)
    filled.delete(ANN)
    assert filled.records.put_rows(ANN, rows) == filled.records.counts(ANN)
    again = filled.records.rows(ANN)
    # Caches must not take what they read before for what is there now.
    changed = {
        (name, column) for name in rows for column in rows[name][0] if rows[name][0][column] != again[name][0][column]
    }
    assert changed == {("history_versions", "epoch"), ("heads", "stamp")}


def test_rows_are_put_back_for_a_user_of_whom_nothing_is_known_only(filled):
    rows = filled.records.rows(ANN)
    with pytest.raises(HydraError, match=r"user 'ann' of tenant 'acme'.*delete them first"):
        filled.records.put_rows(ANN, rows)
    filled.delete(ANN)
    with pytest.raises(HydraError, match=r"table 'diaries'.*newer version"):
        filled.records.put_rows(ANN, {"diaries": [{}]})
    with pytest.raises(HydraError, match=r"column\(s\) \['mood'\] of history"):
        filled.records.put_rows(ANN, {"history": [{"mood": "calm"}]})
    assert not any(count for name, count in filled.records.counts(ANN).items() if name not in OUTLIVE)


def test_a_user_is_personalised_until_they_say_otherwise_and_another_process_knows(tmp_path):
    url = f"sqlite:///{tmp_path / 'users.db'}"
    one, other = open_store(url), open_store(url)
    assert other.records.is_personalised(ANN)
    for wanted in (False, False, True, False):
        one.records.personalise(ANN, wanted)
        assert other.records.is_personalised(ANN) is wanted
        assert other.records.is_personalised(BOB) is other.records.is_personalised(NAMESAKE) is True
    one.delete(ANN)
    assert other.records.is_personalised(ANN)
    one.close()
    other.close()


def test_an_item_keeps_the_time_at_which_it_was_first_written(tmp_path):
    url = f"sqlite:///{tmp_path / 'users.db'}"
    store, engine = open_store(url), create_engine(url)
    store.put_histories({ANN: [HistoryItem("a", "one", "x"), HistoryItem("b", "two", "y")]})
    with engine.begin() as db:
        db.exec_driver_sql("UPDATE history SET stored_at = 5")
    store.put_histories({ANN: [HistoryItem("b", "two", "y"), HistoryItem("c", "three", "z")]})
    found = {one.item_id: one.stored_at for one in store.records.stored_items()}
    assert found["b"] == 5
    assert found["c"] > 1e9
    with engine.connect() as db:
        assert len(db.execute(select(METADATA.tables["history"])).all()) == 2
    engine.dispose()
    store.close()
