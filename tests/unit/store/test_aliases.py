"""Aliases of versions: compared and set, with a history, and what protects a version from deletion."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.records import HydraError
from hydra_ray.store.aliases import (
    CANDIDATE,
    PRODUCTION,
    AliasChange,
    AliasConflictError,
    SqlAliases,
    VersionInUseError,
    VersionUse,
    line_of_succession,
)
from hydra_ray.store.schema import open_database

# Two processes, each with a version of its own, that all want the next revision.
RACE = """
import sys
from hydra_ray.store.aliases import AliasConflictError, SqlAliases
from hydra_ray.store.schema import open_database
aliases = SqlAliases(open_database(sys.argv[1]))
won = 0
print("ready", flush=True)
sys.stdin.readline()
for revision in range(40):
    while aliases.revision("production") < revision:
        pass
    try:
        aliases.change("production", sys.argv[2], revision, "promote")
        won += 1
    except AliasConflictError:
        pass
print(won)
"""


@pytest.fixture
def aliases(url):
    aliases = SqlAliases(open_database(url))
    yield aliases
    aliases.close()


def versions(aliases):
    return {name: change.version for name, change in aliases.current().items()}


def test_an_alias_means_what_it_was_set_to_last(aliases):
    assert aliases.current() == {}
    assert aliases.change(PRODUCTION, "v1", 0, "train").revision == 1
    aliases.change(CANDIDATE, "v2", 0, "train")
    aliases.change(PRODUCTION, "v2", 1, "promote")
    aliases.change(CANDIDATE, None, 1, "clear")
    assert versions(aliases) == {PRODUCTION: "v2"}
    assert [(change.revision, change.version, change.action) for change in aliases.changes(PRODUCTION)] == [
        (1, "v1", "train"),
        (2, "v2", "promote"),
    ]
    assert aliases.revision(CANDIDATE) == 2


def test_who_does_not_know_of_the_latest_change_changes_nothing(aliases):
    aliases.change(PRODUCTION, "v1", 0, "train")
    for revision in (0, 2):
        with pytest.raises(AliasConflictError, match="alias production was changed by somebody else meanwhile"):
            aliases.change(PRODUCTION, "v2", revision, "promote")
    assert versions(aliases) == {PRODUCTION: "v1"}


def test_of_threads_that_set_an_alias_at_once_one_does(url):
    many, barrier = [SqlAliases(open_database(url)) for _ in range(6)], Barrier(6)

    def set_it(number: int) -> bool:
        barrier.wait()
        try:
            many[number].change(PRODUCTION, f"v{number}", 0, "promote")
        except AliasConflictError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(set_it, range(6)))
    assert sum(won) == 1
    assert versions(many[0]) == {PRODUCTION: f"v{won.index(True)}"}
    for one in many:
        one.close()


def test_of_processes_that_set_an_alias_at_once_one_does_each_time(url, aliases):
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, url, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in ("a", "b")
    ]
    for one in racing:
        assert one.stdout.readline() == "ready\n"
    for one in racing:
        one.stdin.write("go\n")
        one.stdin.flush()
    won = [int(one.communicate()[0]) for one in racing]
    assert [one.returncode for one in racing] == [0, 0]
    assert sum(won) == 40
    assert [change.revision for change in aliases.changes(PRODUCTION)] == list(range(1, 41))


def test_a_version_that_something_points_at_is_not_deleted(aliases):
    aliases.change(PRODUCTION, "v1", 0, "train")
    aliases.hold("adapter 1 on here", {"v1": "ready", "v2": "ready", "v3": "refused"}, 60)
    deleted: list[str] = []
    with pytest.raises(VersionInUseError, match=r"version v1 is not deleted: alias production, the running adapter 1"):
        aliases.remove("v1", lambda: deleted.append("v1"))
    with pytest.raises(
        VersionInUseError, match="version v2 is not deleted: the running adapter 1 on here points at it"
    ):
        aliases.remove("v2", lambda: deleted.append("v2"))
    aliases.remove("v3", lambda: deleted.append("v3"))
    assert deleted == ["v3"]
    aliases.hold("adapter 1 on here", {"v1": "ready"}, 60)
    aliases.remove("v2", lambda: deleted.append("v2"))
    assert deleted == ["v3", "v2"]


def test_nothing_points_at_a_deleted_version_any_more(aliases):
    aliases.remove("v1", lambda: None)
    assert aliases.is_removed("v1")
    with pytest.raises(HydraError, match="version v1 was deleted"):
        aliases.change(PRODUCTION, "v1", 0, "promote")
    assert aliases.current() == {}


def test_a_deletion_that_fails_is_none(aliases):
    def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        aliases.remove("v1", fail)
    assert not aliases.is_removed("v1")


def test_what_a_replica_said_holds_for_its_time(aliases):
    aliases.hold("gone", {"v1": "ready"}, -1)
    aliases.hold("there", {"v1": "ready", "v2": "refused"}, 60)
    assert aliases.uses() == [VersionUse("there", "v1", "ready"), VersionUse("there", "v2", "refused")]
    aliases.hold("there", {}, 60)
    assert aliases.uses() == []


def changes(*said):
    return [
        AliasChange(PRODUCTION, number, version, action, "") for number, (action, version) in enumerate(said, start=1)
    ]


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ([], []),
        ([("train", "1")], ["1"]),
        ([("train", "1"), ("promote", "2")], ["2", "1"]),
        ([("train", "1"), ("promote", "2"), ("rollback", "1")], ["1"]),
        ([("train", "1"), ("promote", "2"), ("rollback", "1"), ("promote", "2")], ["2", "1"]),
        ([("train", "1"), ("promote", "2"), ("promote", "3"), ("rollback", "2")], ["2", "1"]),
        ([("train", "1"), ("promote", "2"), ("promote", "1")], ["1", "2"]),
    ],
)
def test_rolling_back_leads_to_what_was_served_before(said, line):
    assert line_of_succession(changes(*said)) == line


@given(st.lists(st.tuples(st.sampled_from(["promote", "rollback"]), st.sampled_from("abc")), max_size=12))
def test_the_line_begins_with_what_is_served_and_names_each_version_once(said):
    line = line_of_succession(changes(*said))
    assert line[:1] == [version for _, version in said[-1:]]
    assert len(set(line)) == len(line)
