"""Tables come into being and change by revisions, whoever opens the database first and however many do at once."""

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from stores_of_0_1_0 import PROFILES_OF_0_1_0, TABLES_OF_0_1_0, path_of, write
from torch.testing import assert_close

from hydra_ray.models.heads import Head
from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.schema import revisions
from hydra_ray.store.tables import METADATA
from hydra_ray.store.types import ProfileFingerprint, UserProfile

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
HEAD = Head("facets", {"mix": torch.tensor([1.0, 2.0])})
FILM = HistoryItem("film", "a robot", "sci-fi", "2003", "f1", "title")


@pytest.fixture
def old_url(sqlite_url):
    """A database of 0.1.0 with something in each table."""
    items = [("acme", "ann", "film", 0, "a robot", "sci-fi", "2003", "f1", "title")]
    items += [("acme", "ann", "gone and back", 4, "cats", "drama", None, None, "")]
    items += [("acme", "bob", "film", 2, "a robot", "drama", None, None, "")]
    write(
        sqlite_url,
        TABLES_OF_0_1_0 + PROFILES_OF_0_1_0,
        ("insert into history values (?, ?, ?, ?, ?, ?, ?, ?, ?)", items),
        ("insert into heads values (?, ?, ?, ?, ?, ?, ?)", [(*ANN, "v1", "adapter", "mark", "stamp", HEAD.to_bytes())]),
        ("insert into evidence values (?, ?, ?, ?, ?, ?)", [(*ANN, "v1", "adapter", "film", b"told")]),
        ("insert into profiles values (?, ?, ?, ?, ?, ?, ?, ?, ?)", [(*ANN, "dpl", "how", "what", 2, "hers", 1, 3)]),
        ("insert into profile_peers values (?, ?, ?, ?)", [(*ANN, "dpl", "bob")]),
    )
    return sqlite_url


def test_a_database_of_0_1_0_opens_with_all_that_it_holds(old_url):
    store = open_store(old_url)
    assert store.history(ANN) == (FILM, HistoryItem("gone and back", "cats", "drama"))
    assert store.history(BOB) == (HistoryItem("film", "a robot", "drama"),)
    assert store.head_fingerprints("v1", "adapter") == {ANN: "mark"}
    ((stamp, head, written_at),) = store.heads([ANN], "v1", "adapter").values()
    assert (stamp, written_at) == ("stamp", None)
    assert_close(head.tensors, HEAD.tensors, atol=0, rtol=0)
    assert store.observations([ANN], "v1", "adapter") == {ANN: {"film": b"told"}}
    assert store.profile(ANN, "dpl") == UserProfile(
        "dpl", "hers", ProfileFingerprint("how", "what", 2), (BOB,), True, 3
    )
    # And goes on being written, at the end of what was there.
    store.append_history(ANN, HistoryItem("new", "dogs", "drama"))
    assert [item.id for item in store.history(ANN)] == ["film", "gone and back", "new"]
    store.close()
    again = open_store(old_url)
    assert [item.id for item in again.history(ANN)] == ["film", "gone and back", "new"]
    again.close()


def test_every_history_of_0_1_0_gets_a_version_that_changes_with_it(old_url):
    store = open_store(old_url)
    before = store.history_version(ANN), store.history_version(BOB)
    assert None not in before
    store.delete_item(ANN, "film")
    store.append_history(BOB, FILM)
    after = store.history_version(ANN), store.history_version(BOB)
    assert after[0] != before[0]
    assert after[1] != before[1]
    change = store.history_change(ANN, before[0])
    assert (change.is_whole, change.added, change.left) == (False, [], {4})
    store.close()


def test_a_store_from_before_there_were_profiles_gets_their_tables(sqlite_url):
    write(sqlite_url, TABLES_OF_0_1_0, ("insert into history values (?,?,?,?,?,?,?,?,?)", [(*ANN, *"1", 0, *"abcde")]))
    store = open_store(sqlite_url)
    assert store.put_profiles([(ANN, UserProfile("dpl", "text", ProfileFingerprint("how", "what", 1)))]) == 1
    assert [item.id for item in store.history(ANN)] == ["1"]
    store.close()


def differences(store):
    """Between the tables of a database and those of the code; and the revision that the database says it has."""
    with store._database.reading() as db:
        context = MigrationContext.configure(db, opts={"compare_type": True})
        return compare_metadata(context, METADATA), context.get_current_revision()


def test_a_new_database_has_the_tables_of_the_newest_revision(url):
    store = open_store(url)
    assert differences(store) == ([], revisions()[-1])
    store.close()


def test_all_revisions_together_give_the_tables_of_the_code(old_url, url):
    store = open_store(old_url)
    assert differences(store) == ([], revisions()[-1])
    store.close()


def test_revisions_are_named_after_their_files_and_follow_each_other():
    config = Config()
    config.set_main_option("script_location", "hydra_ray.store:migrations")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [revisions()[-1]]
    assert [script.revision for script in scripts.walk_revisions()][::-1] == revisions()


def test_a_failed_upgrade_leaves_the_old_database(old_url):
    # In the way of the new table.
    write(old_url, "create table history_versions (something)")
    with pytest.raises(Exception, match="history_versions"):
        open_store(old_url)
    write(old_url, "drop table history_versions")
    store = open_store(old_url)
    assert store.history(BOB) == (HistoryItem("film", "a robot", "drama"),)
    store.close()


def test_a_database_of_a_newer_version_is_refused_in_one_line(sqlite_url):
    open_store(sqlite_url).close()
    write(sqlite_url, "update alembic_version set version_num = '9999'")
    observed = r"^store\.url: \S+users\.db was made by a newer version of hydra-ray \(revision 9999.*update hydra-ray"
    with pytest.raises(HydraError, match=observed) as caught:
        open_store(sqlite_url)
    assert "\n" not in str(caught.value)


def test_an_upgrade_is_said_and_a_second_opening_is_none(old_url, caplog):
    caplog.set_level(logging.INFO, "hydra_ray")
    open_store(old_url).close()
    assert f"brought from revision none to {revisions()[-1]}" in caplog.text
    caplog.clear()
    open_store(old_url).close()
    assert not caplog.text


OPENED_IN_TURN = """
import sys
from hydra_ray.store.backends import open_store
for url in sys.argv[1:]:
    open_store(url).close()
    print("alembic" in sys.modules)
"""


def test_opening_takes_alembic_only_where_tables_change(old_url, tmp_path):
    def opened(*urls):
        command = [sys.executable, "-c", OPENED_IN_TURN, *urls]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    fresh = f"sqlite:///{tmp_path / 'fresh.db'}"
    assert opened(fresh, fresh, old_url) == ["False", "False", "True"]
    assert opened(old_url) == ["False"]


def open_at_once(url, number):
    """Opens a database in so many threads at the same moment; gives their histories of Bob."""
    barrier = Barrier(number)

    def open_one(_):
        barrier.wait()
        store = open_store(url)
        history = store.history(BOB)
        store.put_histories({BOB: [FILM]})
        store.close()
        return history

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(open_one, range(number)))


def test_a_new_database_may_be_opened_by_many_at_once(url):
    assert set(open_at_once(url, 8)) <= {(), (FILM,)}
    store = open_store(url)
    assert differences(store) == ([], revisions()[-1])
    store.close()


def test_an_old_database_may_be_opened_by_many_at_once(old_url):
    assert set(open_at_once(old_url, 8)) <= {(HistoryItem("film", "a robot", "drama"),), (FILM,)}
    store = open_store(old_url)
    assert differences(store) == ([], revisions()[-1])
    store.close()


# As `SqlStore` does it, without the heads that make its import long.
BROUGHT_UP_TO_DATE = """
import sys
from hydra_ray.store.database import Database
from hydra_ray.store.schema import bring_up_to_date
database = Database(sys.argv[1])
bring_up_to_date(database)
database.close()
"""


def test_processes_open_an_old_database_at_once(old_url):
    command = [sys.executable, "-c", BROUGHT_UP_TO_DATE, old_url]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    observed = [one.communicate() for one in running]
    assert [one.returncode for one in running] == [0] * 3, observed
    store = open_store(old_url)
    assert differences(store) == ([], revisions()[-1])
    assert store.history(ANN)[0] == FILM
    store.close()


def test_what_is_no_database_is_refused_in_one_line(sqlite_url):
    with open(path_of(sqlite_url), "w") as file:
        file.write("user,item\n" * 1000)
    with pytest.raises(HydraError, match=r"^store\.url: .*users\.db cannot be opened: file is not a database$"):
        open_store(sqlite_url)
