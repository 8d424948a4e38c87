"""A version is served once its users have heads; who is killed on the way leaves what was served."""

from __future__ import annotations

import subprocess
import sys
from shutil import copyfile, copytree

import pytest
import torch
from made_versions import publish_files

from hydra_ray.learn.promote.job import catch_up, promote_version, roll_back
from hydra_ray.models.base import ADAPTER
from hydra_ray.models.heads import Head
from hydra_ray.progress import SILENT
from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.registry import DamagedVersionError
from hydra_ray.runtime.models import catalog_of, delete_version, open_catalog
from hydra_ray.settings import parse_settings
from hydra_ray.store.aliases import CANDIDATE, PRODUCTION, AliasConflictError
from hydra_ray.store.backends import open_store
from hydra_ray.tasks import TEXT_TASK

USERS = [UserKey("default", f"user {number}") for number in range(10)]


@pytest.fixture
def settings(tmp_path):
    return parse_settings({"out": str(tmp_path)})


@pytest.fixture
def catalog(settings):
    """v1 is served and has heads of ten users, v2 is the candidate and has none."""
    catalog = open_catalog(settings)
    publish_files(catalog.registry, "v1", created="2026-01-01T00:00:00+00:00")
    publish_files(catalog.registry, "v2", created="2026-01-02T00:00:00+00:00")
    catalog.serve_first("v1", "train")
    catalog.aliases.change(CANDIDATE, "v2", 0, "train")
    put_heads(settings, "v1", len(USERS))
    store = open_store(settings.store_target)
    store.append_history(USERS[0], HistoryItem("1", "a", "b"))
    store.close()
    yield catalog
    catalog.close()


def put_heads(settings, version, count):
    store = open_store(settings.store_target)
    # Some taught too little for a head: they, too, were fitted.
    heads = {user: Head("facets", {"mix": torch.ones(6)}) for user in USERS[:count]}
    if version == "v2":
        heads[USERS[0]] = None
    store.put_heads(version, ADAPTER, heads)
    store.close()


def served(catalog):
    return {name: change.version for name, change in catalog.aliases.current().items()}


def test_a_version_whose_users_have_heads_is_served_and_the_candidate_is_gone(settings, catalog):
    put_heads(settings, "v2", 9)
    done = promote_version(settings, "candidate", SILENT, fit=False)
    assert (done.version, done.before, done.fitted, done.users) == ("v2", "v1", 9, 10)
    assert served(catalog) == {PRODUCTION: "v2"}


def test_below_the_share_that_settings_state_nothing_changes_and_the_command_is_told(settings, catalog):
    put_heads(settings, "v2", 8)
    with pytest.raises(HydraError) as refused:
        promote_version(settings, "candidate", SILENT, fit=False)
    told = str(refused.value)
    assert "8 of 10 users who have a head on v1 have one on it (80%, registry.min_heads wants 90%)" in told
    assert "`hydra-ray fit SETTINGS.yaml model.version=v2 data.format=store`" in told
    assert served(catalog) == {PRODUCTION: "v1", CANDIDATE: "v2"}
    lenient = settings.model_copy(update={"registry": settings.registry.model_copy(update={"min_heads": 0.8})})
    promote_version(lenient, "v2", SILENT, fit=False)
    assert served(catalog) == {PRODUCTION: "v2"}


def test_heads_that_are_missing_are_fitted_for_that_version_from_the_store(settings, catalog, monkeypatch):
    fitted_with, store = [], open_store(settings.store_target)
    other = UserKey("zeta", "ann")
    store.put_heads("v1", ADAPTER, {other: Head("facets", {"mix": torch.ones(6)})})
    store.append_history(other, HistoryItem("1", "a", "b"))
    store.close()

    def fit(how, listener):
        fitted_with.append((how.model.version, how.data.format, how.data.max_users, how.tenant))
        put_heads(settings, "v2", 10)
        store = open_store(settings.store_target)
        store.put_heads("v2", ADAPTER, {other: Head("facets", {"mix": torch.ones(6)})})
        store.close()

    monkeypatch.setattr("hydra_ray.learn.heads.job.fit_users", fit)
    done = promote_version(settings, "candidate", SILENT, fit=True)
    # Of all tenants whose users would lose theirs.
    assert fitted_with == [("v2", "store", None, tenant) for tenant in ("default", "zeta")]
    assert done.share == 1
    roll_back(settings)
    # All have theirs, and may have said something since.
    promote_version(settings, "v2", SILENT, fit=True)
    assert len(fitted_with) == 4


def test_who_promoted_meanwhile_is_not_overruled(settings, catalog, monkeypatch):
    publish_files(catalog.registry, "v3")

    def fit(how, listener):
        put_heads(settings, "v2", 10)
        catalog.aliases.change(PRODUCTION, "v3", 1, "promote")

    monkeypatch.setattr("hydra_ray.learn.heads.job.fit_users", fit)
    with pytest.raises(AliasConflictError, match="changed by somebody else meanwhile"):
        promote_version(settings, "v2", SILENT, fit=True)
    assert served(catalog)[PRODUCTION] == "v3"


def test_rolling_back_goes_to_what_was_served_before_and_no_further(settings, catalog):
    put_heads(settings, "v2", 10)
    promote_version(settings, "v2", SILENT, fit=False)
    done = roll_back(settings)
    assert (done.version, done.before, done.users, done.fitted) == ("v1", "v2", 9, 9)
    assert served(catalog)[PRODUCTION] == "v1"
    with pytest.raises(HydraError, match="there is no version to roll back to"):
        roll_back(settings)
    assert [change.action for change in catalog.aliases.changes(PRODUCTION)] == ["train", "promote", "rollback"]


def test_after_rolling_back_what_was_said_meanwhile_is_fitted(settings, catalog, monkeypatch):
    put_heads(settings, "v2", 10)
    promote_version(settings, "v2", SILENT, fit=False)
    store = open_store(settings.store_target)
    newcomer = UserKey("default", "newcomer")
    store.put_heads("v2", ADAPTER, {newcomer: Head("facets", {"mix": torch.ones(6)})})
    store.append_history(newcomer, HistoryItem("1", "a", "b"))
    store.close()
    fitted_on = []

    def fit(how, listener):
        fitted_on.append((how.model.version, how.data.format, how.tenant, served(catalog)[PRODUCTION]))
        store = open_store(settings.store_target)
        store.put_heads("v1", ADAPTER, {newcomer: Head("facets", {"mix": torch.ones(6)})})
        store.close()

    monkeypatch.setattr("hydra_ray.learn.heads.job.fit_users", fit)
    done = roll_back(settings)
    assert (done.users, done.fitted) == (10, 9)
    done = catch_up(settings, done, SILENT)
    # Served first, then fitted.
    assert fitted_on == [("v1", "store", "default", "v1")]
    assert (done.version, done.before, done.users, done.fitted) == ("v1", "v2", 10, 10)


def test_a_deleted_version_is_skipped_on_the_way_back(settings, catalog):
    put_heads(settings, "v2", 10)
    publish_files(catalog.registry, "v3")
    lenient = settings.model_copy(update={"registry": settings.registry.model_copy(update={"min_heads": 0.0})})
    promote_version(settings, "v2", SILENT, fit=False)
    promote_version(lenient, "v3", SILENT, fit=False)
    assert delete_version(catalog, "v2") == "v2"
    assert roll_back(settings).version == "v1"


@pytest.mark.parametrize(
    ("name", "told"),
    [("v1", "is what is served already"), ("v9", "holds no version 'v9'"), ("text", "data.task: the data is text")],
)
def test_what_cannot_be_served_is_refused(settings, catalog, name, told):
    publish_files(catalog.registry, "text", task_values=TEXT_TASK.to_json())
    with pytest.raises(HydraError, match=told):
        promote_version(settings, name, SILENT, fit=False)


def test_a_damaged_version_is_not_promoted(settings, catalog, tmp_path):
    put_heads(settings, "v2", 10)
    (tmp_path / "model/registry/v2/base.json").write_bytes(b"damaged")
    with pytest.raises(DamagedVersionError, match="version v2 is refused"):
        promote_version(settings, "v2", SILENT, fit=False)
    assert served(catalog)[PRODUCTION] == "v1"


# Promotes v2 in each folder, in a process of its own that is killed at a step: before anything is written, in the
# transaction, and when it is served already and still the candidate. One program, since it takes seconds to import.
PROMOTE = """
import os, signal, sys, time
from hydra_ray.learn.promote import job
from hydra_ray.progress import SILENT
from hydra_ray.settings import parse_settings
from hydra_ray.store import aliases

def promote(folder, step):
    def stop(*_, **__):
        os.write(out, b"there")
        time.sleep(3600)

    if step == "before":
        job._serve = stop
    elif step == "within":
        aliases.insert = stop
    else:
        change = aliases.SqlAliases.change
        aliases.SqlAliases.change = lambda self, alias, *a: stop() if alias == "candidate" else change(self, alias, *a)
    job.promote_version(parse_settings({"out": folder}), "candidate", SILENT, fit=False)

for step in ("before", "within", "between"):
    inp, out = os.pipe()
    child = os.fork()
    if not child:
        promote(f"{sys.argv[1]}/{step}", step)
    os.close(out)
    there = os.read(inp, 5)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print(step, there.decode(), os.WTERMSIG(status))
"""


def test_a_promotion_that_is_killed_is_made_or_not_made(settings, catalog, tmp_path):
    put_heads(settings, "v2", 10)
    for step in ("before", "within", "between"):
        copytree(tmp_path / "model", tmp_path / step / "model")
        for part in tmp_path.glob("users.db*"):
            copyfile(part, tmp_path / step / part.name)
    command = [sys.executable, "-c", PROMOTE, str(tmp_path)]
    killed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    assert killed[:3] == [f"{step} there 9" for step in ("before", "within", "between")]
    for step in ("before", "within", "between"):
        left = settings.model_copy(update={"out": tmp_path / step})
        with catalog_of(left) as found:
            after = {PRODUCTION: "v1"} if step != "between" else {PRODUCTION: "v2"}
            assert served(found) == {**after, CANDIDATE: "v2"}
            assert [found.registry.fetch(version).name for version in ("v1", "v2")] == ["v1", "v2"]
            if step != "between":
                promote_version(left, "candidate", SILENT, fit=False)
                assert served(found) == {PRODUCTION: "v2"}
            assert roll_back(left).version == "v1"
