"""What a replica holds: it takes up a promotion, refuses what fails, and lets go of what nobody asks for."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from made_versions import publish_files

from hydra_ray.records import HydraError
from hydra_ray.registry import NoVersionError, Registry
from hydra_ray.registry.catalog import Catalog
from hydra_ray.serve.versions.held import HeldVersions, HoldLimits, RefusedVersionError
from hydra_ray.store.aliases import PRODUCTION, SqlAliases, VersionInUseError
from hydra_ray.store.schema import open_database
from hydra_ray.store.types import StoreError

# The poll is called by hand.
NEVER_S = 3600.0


@pytest.fixture
def catalog(tmp_path):
    registry = Registry(str(tmp_path / "registry"), tmp_path / "cache")
    for version in ("v1", "v2", "v3", "v4"):
        publish_files(registry, version)
    catalog = Catalog(registry, SqlAliases(open_database(f"sqlite:///{tmp_path / 'users.db'}")))
    catalog.aliases.change(PRODUCTION, "v1", 0, "train")
    yield catalog
    catalog.close()


class Replica:
    """A replica whose versions are their names."""

    def __init__(self, tmp_path, loaded=3, keep_s=NEVER_S):
        self.bad, self.loads, self.became = set(), [], []
        registry = Registry(str(tmp_path / "registry"), tmp_path / "cache")
        self.catalog = Catalog(registry, SqlAliases(open_database(f"sqlite:///{tmp_path / 'users.db'}")))
        self._limits = HoldLimits(loaded, NEVER_S, keep_s)

    def start(self):
        self.held = HeldVersions(self.catalog, "adapter", self.load, self._limits, self.became.append)
        return self

    def load(self, manifest, folder):
        self.loads.append(manifest.version)
        assert (folder / "base.json").exists()
        if manifest.version in self.bad:
            raise HydraError(f"version {manifest.version} fails its check")
        return f"loaded {manifest.version}"


@pytest.fixture
def replica(catalog, tmp_path):
    made = []

    def make(**how):
        made.append(Replica(tmp_path, **how))
        return made[-1]

    yield make
    for one in made:
        if hasattr(one, "held"):
            one.held.close()


def promote(catalog, version):
    catalog.aliases.change(PRODUCTION, version, catalog.aliases.revision(PRODUCTION), "promote")


def states(catalog):
    return {use.version: use.state for use in catalog.aliases.uses()}


def test_it_begins_with_the_version_served_and_says_so(catalog, replica):
    held = replica().start().held
    assert held.production == "v1"
    assert asyncio.run(held.ready(None)) == "loaded v1"
    assert states(catalog) == {"v1": "ready"}


def test_a_promotion_is_taken_up_and_rolled_back_and_the_old_one_still_answers(catalog, replica):
    one = replica().start()
    promote(catalog, "v2")
    assert one.held.production == "v1"
    one.held.poll()
    assert one.held.production == "v2"
    assert asyncio.run(one.held.ready("v1")) == "loaded v1"
    catalog.aliases.change(PRODUCTION, "v1", 2, "rollback")
    one.held.poll()
    assert one.held.production == "v1"
    assert one.loads == ["v1", "v2"]
    assert states(catalog) == {"v1": "ready", "v2": "ready"}
    assert one.became == ["loaded", "loaded"]


def test_a_promotion_is_taken_up_once_all_replicas_hold_it(catalog, replica):
    one, other = replica().start(), replica().start()
    promote(catalog, "v2")
    one.held.poll()
    assert (one.held.production, one.loads) == ("v1", ["v1", "v2"])
    other.held.poll()
    assert other.held.production == "v2"
    one.held.poll()
    assert one.held.production == "v2"
    assert one.loads == other.loads == ["v1", "v2"]


def test_what_another_replica_refuses_is_not_taken_up(catalog, replica):
    one, other = replica().start(), replica().start()
    other.bad.add("v2")
    promote(catalog, "v2")
    for each in (one, other, one):
        each.held.poll()
    assert (one.held.production, other.held.production) == ("v1", "v1")
    # It is mended there, and promoted again.
    other.bad.clear()
    promote(catalog, "v2")
    for each in (one, other, one, other, one):
        each.held.poll()
    assert (one.held.production, other.held.production) == ("v2", "v2")


def test_all_go_back_where_one_that_starts_refuses_what_is_served(catalog, replica):
    promote(catalog, "v2")
    one, starting = replica().start(), replica()
    assert one.held.production == "v2"
    starting.bad.add("v2")
    assert starting.start().held.production == "v1"
    one.held.poll()
    assert one.held.production == "v1"


def test_a_version_that_fails_is_refused_said_and_counted_and_the_old_one_stays(catalog, replica, caplog):
    one = replica().start()
    one.bad.add("v2")
    promote(catalog, "v2")
    one.held.poll()
    one.held.poll()
    assert one.held.production == "v1"
    assert one.loads == ["v1", "v2"]
    assert one.became == ["loaded", "refused"]
    assert states(catalog) == {"v1": "ready", "v2": "refused"}
    assert "version v2 is refused" in caplog.text
    with pytest.raises(RefusedVersionError, match="version v2 fails its check"):
        asyncio.run(one.held.ready("v2"))


def test_a_damaged_version_is_refused_and_taken_up_once_it_is_mended_and_promoted_anew(catalog, replica, tmp_path):
    one = replica().start()
    file = tmp_path / "registry/v2/base.json"
    whole = file.read_bytes()
    file.write_bytes(b"damaged")
    promote(catalog, "v2")
    one.held.poll()
    assert (one.held.production, states(catalog)["v2"]) == ("v1", "refused")
    file.write_bytes(whole)
    one.held.poll()
    assert one.held.production == "v1"
    promote(catalog, "v2")
    one.held.poll()
    assert (one.held.production, states(catalog)["v2"]) == ("v2", "ready")


def test_one_that_starts_while_a_bad_version_is_promoted_answers_by_the_one_before(catalog, replica):
    promote(catalog, "v2")
    one = replica()
    one.bad.add("v2")
    assert one.start().held.production == "v1"


def test_without_any_version_that_loads_it_does_not_start(catalog, replica):
    one = replica()
    one.bad.add("v1")
    with pytest.raises(HydraError, match="can be served: version v1 fails its check"):
        one.start()


def test_a_store_that_is_down_for_a_moment_refuses_nothing(catalog, replica, monkeypatch):
    one = replica().start()
    promote(catalog, "v2")

    def down(*_):
        raise StoreError("down")

    with monkeypatch.context() as broken:
        broken.setattr(one, "_load", down, raising=False)
        broken.setattr(one.catalog.registry, "fetch", down)
        with pytest.raises(StoreError):
            one.held.poll()
    assert one.held.production == "v1"
    one.held.poll()
    assert one.held.production == "v2"


def test_many_who_ask_for_a_version_have_it_loaded_once(replica):
    one = replica().start()
    slow = threading.Event()
    load = one.held._load

    def slowly(manifest, folder):
        slow.wait(30)
        return load(manifest, folder)

    one.held._load = slowly
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(one.held.get, "v2") for _ in range(8)]
        # What is there goes on answering meanwhile.
        assert asyncio.run(one.held.ready("v1")) == "loaded v1"
        slow.set()
        assert {one.result() for one in asked} == {"loaded v2"}
    assert one.loads == ["v1", "v2"]


def test_of_versions_that_requests_name_those_used_last_are_kept(replica, catalog):
    one = replica(loaded=3).start()
    for version in ("v2", "v3", "v2", "v4"):
        one.held.get(version)
    # The one served is kept, however long nobody named it.
    assert set(states(catalog)) == {"v1", "v2", "v4"}
    one.held.get("v3")
    assert one.loads == ["v1", "v2", "v3", "v4", "v3"]


def test_a_version_that_nobody_asks_for_is_let_go_and_can_then_be_deleted(replica, catalog):
    one = replica(keep_s=-1.0).start()
    promote(catalog, "v2")
    one.held.poll()
    # Requests still get it: an ingress has not taken up the new one yet.
    catalog.aliases.hold("ingress 1 on here", {"v1": "ready"}, 60)
    one.held.get("v1")
    with pytest.raises(VersionInUseError, match="the running adapter"):
        catalog.aliases.remove("v1", lambda: None)
    catalog.aliases.hold("ingress 1 on here", {"v2": "ready"}, 60)
    one.held.get("v3")
    assert states(catalog) == {"v2": "ready"}
    catalog.aliases.remove("v1", lambda: catalog.registry.remove("v1"))
    with pytest.raises(NoVersionError):
        one.held.get("v1")


def test_who_ends_holds_nothing(replica, catalog):
    one = replica().start()
    one.held.close()
    one.held.close()
    assert catalog.aliases.uses() == []


def test_it_polls_by_itself(catalog, tmp_path):
    one = Replica(tmp_path)
    one._limits = HoldLimits(3, 0.01, NEVER_S)
    held, taken_up = one.start().held, threading.Event()
    load = held._load

    def seen(manifest, folder):
        found = load(manifest, folder)
        taken_up.set()
        return found

    held._load = seen
    promote(catalog, "v2")
    assert taken_up.wait(60)
    held.close()
    assert held.production == "v2"
    assert os.listdir(tmp_path / "registry")
