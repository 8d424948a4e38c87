"""A store is backed up while it is written, comes back whole or not at all, and moves between databases."""

import sqlite3
from dataclasses import replace

import pytest
from stored_users import ANN, BOB, content, without_encodings
from stores_of_0_1_0 import TABLES_OF_0_1_0, write

from hydra_ray.records import HistoryItem, HydraError
from hydra_ray.store.backends import open_store
from hydra_ray.store.bulk.whole import back_up, migrate, restore
from hydra_ray.store.connections.target import StoreTarget

COUNTS = {
    "history": 4,
    "history_versions": 3,
    "heads": 3,
    "evidence": 2,
    "item_encodings": 2,
    "profiles": 1,
    "profile_peers": 1,
    "tombstones": 1,
}


def counts(rows):
    return {name: number for name, number in rows.items() if number}


def test_a_backup_restores_everything_of_the_moment_it_was_made(filled, empty, tmp_path):
    assert counts(back_up(filled, tmp_path / "copy")) == COUNTS
    before, marks = content(filled)
    store = open_store(filled)
    store.append_history(BOB, HistoryItem("later", "a", "b"))
    store.close()
    is_folder = (tmp_path / "copy").is_dir()
    restored = counts(restore(empty(), tmp_path / "copy", replace=False))
    assert restored == (COUNTS if not is_folder else {k: v for k, v in COUNTS.items() if k != "item_encodings"})
    after, new_marks = content(empty())
    assert after == (before if not is_folder else without_encodings(before))
    # Whoever kept something by the old ones reads anew.
    assert all(new_marks[key] != marks[key] for key in marks)
    store = open_store(empty())
    store.append_history(ANN, HistoryItem("new", "a", "b"))
    assert [place for place, _ in store.history_change(ANN, None).added] == [0, 2, 3]
    store.close()


def test_a_backup_goes_back_into_its_own_store_only_when_it_may_replace(filled, tmp_path):
    back_up(filled, tmp_path / "copy")
    before, _ = content(filled)
    store = open_store(filled)
    store.delete(ANN)
    store.append_history(BOB, HistoryItem("later", "a", "b"))
    store.close()
    with pytest.raises(HydraError, match=r"is not empty \(table \w+\): --replace removes") as caught:
        restore(filled, tmp_path / "copy", replace=False)
    assert "\n" not in str(caught.value)
    restore(filled, tmp_path / "copy", replace=True)
    is_folder = (tmp_path / "copy").is_dir()
    assert content(filled)[0] == (before if not is_folder else without_encodings(before))


def test_a_backup_is_a_file_or_folder_that_was_not_there(filled, tmp_path):
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(HydraError, match="is there already"):
        back_up(filled, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_a_damaged_backup_leaves_the_store_as_it_was(filled, tmp_path):
    folder = tmp_path / "copy"
    back_up(filled, folder)
    if folder.is_file():
        folder.write_bytes(b"no database")
    else:
        path = folder / "heads.parquet"
        path.write_bytes(path.read_bytes()[:40])
    before, _ = content(filled)
    with pytest.raises(HydraError, match=r"damaged|cannot be read") as caught:
        restore(filled, folder, replace=True)
    assert "\n" not in str(caught.value)
    assert content(filled)[0] == before


@pytest.mark.parametrize("way", ["there", "and back"])
def test_users_move_from_sqlite_to_postgres_and_back(way, postgres_url, sqlite_url, tmp_path):
    here, there = StoreTarget.of(sqlite_url), StoreTarget.of(postgres_url)
    if way == "and back":
        here, there = there, here
    store = open_store(here)
    items = [HistoryItem(str(number), "text " * 20, "drama") for number in range(50)]
    store.put_histories({user_of(number): items for number in range(60)})
    store.close()
    moved = migrate(here, there, replace=False)
    print(f"{counts(moved)} moved from {here.scheme} to {there.scheme}")
    assert counts(moved) == {"history": 3_000, "history_versions": 60}
    source, copy = open_store(here), open_store(there)
    assert copy.histories("acme") == source.histories("acme")
    for one in (source, copy):
        one.close()
    with pytest.raises(HydraError, match="is not empty"):
        migrate(here, there, replace=False)
    assert migrate(here, there, replace=True) == moved


def user_of(number):
    return ANN._replace(user=f"user {number}")


def test_a_store_is_not_moved_onto_itself(filled):
    with pytest.raises(HydraError, match="the same"):
        migrate(filled, replace(filled, max_connections=8), replace=True)


def test_a_backup_of_0_1_0_is_restored_and_stays_as_it_was(empty, tmp_path):
    path = tmp_path / "old.db"
    row = (*ANN, "1", 0, "a robot", "sci-fi", None, None, "")
    write(f"sqlite:///{path}", TABLES_OF_0_1_0, ("insert into history values (?, ?, ?, ?, ?, ?, ?, ?, ?)", [row]))
    before = path.read_bytes()
    assert restore(empty(), path, replace=False)["history"] == 1
    assert path.read_bytes() == before
    store = open_store(empty())
    assert store.history(ANN) == (HistoryItem("1", "a robot", "sci-fi"),)
    assert store.history_version(ANN).next_place == 1
    store.close()


def test_a_copy_of_sqlite_is_a_database_of_its_own(sqlite_url, tmp_path):
    store = open_store(sqlite_url)
    store.append_history(ANN, HistoryItem("1", "a", "b"))
    # Open, with its last writes in the WAL.
    back_up(StoreTarget.of(sqlite_url), tmp_path / "copy.db")
    store.close()
    db = sqlite3.connect(tmp_path / "copy.db")
    assert db.execute("select count(*) from history").fetchone() == (1,)
    assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    db.close()
