"""The store of earlier versions, in the model's folder, is found and moved whole, however many look for it at once."""

import logging
import sqlite3
import stat
import subprocess
import sys

import pytest
from read_only import who_may_only_read

from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
FILM = HistoryItem("film", "a robot", "sci-fi")


@pytest.fixture
def settings(tmp_path):
    return parse_settings({"out": str(tmp_path / "out"), "model": {"dir": str(tmp_path / "model-1")}})


@pytest.fixture
def former(settings, tmp_path):
    """A store as earlier versions kept it."""
    path = settings.model_dir / "users.db"
    path.parent.mkdir()
    store = open_store(f"sqlite:///{path}")
    store.put_histories({ANN: [FILM]})
    store.put_observations("v1", "adapter", {ANN: {"film": b"told"}})
    store.close()
    return path


def test_a_store_in_the_models_folder_moves_to_out_and_stays_when_the_model_changes(settings, former, caplog):
    with caplog.at_level(logging.WARNING):
        store = open_store(settings.store_target)
    assert f"the store of users was moved from {former} to {settings.out / 'users.db'}" in caplog.text
    assert store.history(ANN) == (FILM,)
    assert store.observations([ANN], "v1", "adapter") == {ANN: {"film": b"told"}}
    # Nothing stays that a deletion would not reach.
    assert list(former.parent.iterdir()) == []
    store.append_history(BOB, FILM)
    store.close()
    upgraded = settings.model_copy(update={"model": settings.model.model_copy(update={"dir": former.parent / "v2"})})
    caplog.clear()
    again = open_store(upgraded.store_target)
    assert (again.history(ANN), again.history(BOB)) == ((FILM,), (FILM,))
    assert not caplog.text
    again.close()


def test_what_its_last_writer_left_in_the_wal_moves_too(settings, former):
    # A writer that was killed.
    writes = f"import os, sqlite3\ndb = sqlite3.connect({str(former)!r}, isolation_level=None)\n"
    writes += "db.execute(\"update history set output = 'drama'\")\nos._exit(0)"
    subprocess.run([sys.executable, "-c", writes], check=True)
    assert former.with_name("users.db-wal").stat().st_size > 0
    store = open_store(settings.store_target)
    assert [item.output for item in store.history(ANN)] == ["drama"]
    store.close()
    assert list(former.parent.iterdir()) == []


OPENS = """
import os, sys, traceback
from pathlib import Path
from hydra_ray.records import UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.connections.target import StoreTarget
target = StoreTarget("sqlite:///" + sys.argv[1], None, None, None, Path(sys.argv[2]))
for _ in range(8):
    if os.fork() == 0:
        code = 1
        try:
            store = open_store(target)
            code = len(store.history(UserKey("acme", "ann"))) - 1
            store.close()
        except BaseException:
            traceback.print_exc()
        os._exit(code)
sys.exit(max(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(8)))
"""


def test_eight_processes_move_it_at_once(settings, former):
    settings.out.mkdir()
    command = [sys.executable, "-c", OPENS, str(settings.out / "users.db"), str(former)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert not former.exists()
    # SQLite leaves a log where two processes close at the very same time.
    left = {path.name for path in settings.out.iterdir()} - {"users.db-wal", "users.db-shm"}
    assert left == {"users.db"}


def test_a_move_that_was_cut_off_is_ended(settings, former):
    settings.out.mkdir()
    for path in former.parent.iterdir():
        (settings.out / path.name).write_bytes(path.read_bytes())
    store = open_store(settings.store_target)
    assert store.history(ANN) == (FILM,)
    store.close()
    assert not former.exists()


def test_users_in_both_places_are_refused_in_one_line_and_left_alone(settings, former):
    settings.out.mkdir()
    other = open_store(settings.store_url)
    other.put_histories({BOB: [FILM]})
    other.close()
    with pytest.raises(
        HydraError, match=r"^store\.url: users are in \S+users\.db and, .*hydra-ray store migrate"
    ) as caught:
        open_store(settings.store_target)
    assert "\n" not in str(caught.value)
    for path, user in ((former, "ann"), (settings.out / "users.db", "bob")):
        db = sqlite3.connect(path)
        assert db.execute("select user from history").fetchall() == [(user,)]
        db.close()


def test_a_store_whose_url_is_told_is_opened_alone(settings, former, tmp_path):
    told = settings.model_copy(
        update={"store": settings.store.model_copy(update={"url": f"sqlite:///{tmp_path}/a.db"})}
    )
    store = open_store(told.store_target)
    assert store.history(ANN) == ()
    store.close()
    assert former.exists()


def test_in_a_read_only_place_it_is_used_where_it_is(settings, former, caplog, tmp_path):
    # Other users of the machine may not enter pytest's folders.
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(0o755)
    with who_may_only_read(former.parent):
        store = open_store(settings.store_target)
        assert store.history(ANN) == (FILM,)
        store.close()
    assert f"used where earlier versions kept it, a read-only place: {former}" in caplog.text
    assert former.exists()
    assert not settings.out.exists()


@pytest.mark.parametrize("is_link", [False, True])
def test_where_out_is_the_models_folder_the_store_stays(former, tmp_path, is_link):
    out = former.parent
    if is_link:
        out = tmp_path / "link"
        out.symlink_to(former.parent)
    settings = parse_settings({"out": str(out), "model": {"dir": str(former.parent)}})
    for _ in range(2):
        store = open_store(settings.store_target)
        assert store.history(ANN) == (FILM,)
        store.close()
    assert former.exists()
