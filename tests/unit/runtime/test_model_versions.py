"""The version that a command works on, and what becomes of folders from before there was a registry."""

from __future__ import annotations

import pytest
from defaults import load_base
from made_versions import publish_files

from hydra_ray.models.base import ROLES, Base
from hydra_ray.records import HydraError, UserKey
from hydra_ray.registry import Registry
from hydra_ray.registry.catalog import set_alias
from hydra_ray.runtime.models import (
    catalog_of,
    chosen_base,
    chosen_manifest,
    delete_version,
    first_served,
    open_catalog,
    publish,
)
from hydra_ray.settings import parse_settings
from hydra_ray.store.aliases import CANDIDATE, PRODUCTION

ANN = UserKey("acme", "ann")


@pytest.fixture
def settings(tmp_path):
    return parse_settings({"out": str(tmp_path)})


@pytest.fixture
def catalog(settings):
    catalog = open_catalog(settings)
    yield catalog
    catalog.close()


def at(settings, version):
    return settings.model_copy(update={"model": settings.model.model_copy(update={"version": version})})


def test_commands_work_on_the_candidate_or_else_on_what_is_served_or_else_on_the_newest(settings, catalog):
    for number, version in enumerate(("v1", "v2", "v3")):
        publish_files(catalog.registry, version, created=f"2026-01-0{number + 1}T00:00:00+00:00")
    assert chosen_manifest(settings).version == "v3"
    catalog.serve_first("v1", "train")
    assert chosen_manifest(settings).version == "v1"
    set_alias(catalog, CANDIDATE, "v2", "train")
    assert chosen_manifest(settings).version == "v2"
    assert chosen_manifest(at(settings, "production")).version == "v1"
    assert chosen_base(at(settings, "v3")).folder.name == "v3"
    set_alias(catalog, CANDIDATE, None, "clear")
    with pytest.raises(HydraError, match=r"no version is the candidate; `hydra-ray model list`"):
        chosen_manifest(at(settings, "candidate"))


def test_a_place_without_any_version_is_named_and_nothing_is_made_there(settings, tmp_path):
    with pytest.raises(HydraError, match=rf"^registry\.url: {tmp_path}/model/registry holds no trained base; run"):
        chosen_base(settings)
    with pytest.raises(HydraError, match="holds no trained base"):
        first_served(settings)
    assert list(tmp_path.iterdir()) == []


def test_the_first_version_is_served_and_no_later_one_by_itself(settings, catalog):
    publish_files(catalog.registry, "v1")
    assert first_served(settings).version == "v1"
    assert not catalog.serve_first("v2", "train")
    assert catalog.aliases.current()[PRODUCTION].version == "v1"
    assert first_served(settings).version == "v1"


def test_a_base_of_the_old_layout_becomes_a_version_once(scorer, tag_task, settings, tmp_path, caplog):
    base = Base("old", tag_task, scorer(seed=1), scorer(seed=2))
    base.save(tmp_path / "model" / "base")
    chosen = chosen_base(settings)
    assert (chosen.version, chosen.task, chosen.manifest.users) == ("old", tag_task, None)
    assert chosen.folder == tmp_path / "model/registry/old"
    assert load_base(chosen.folder).version == "old"
    assert f"{tmp_path}/model/base is now version old of the registry" in caplog.text
    caplog.clear()
    assert chosen_base(settings).version == "old"
    assert caplog.text == ""
    with catalog_of(settings) as catalog:
        assert catalog.aliases.current()[PRODUCTION].action == "import"
        assert catalog.registry.fitted_with(ANN) == {"old": None}
        publish_files(catalog.registry, "new")
        set_alias(catalog, PRODUCTION, "new", "promote")
        delete_version(catalog, "old")
    # What was deleted is not imported anew.
    assert chosen_base(settings).version == "new"


def test_who_imports_an_old_base_at_the_same_moment_finds_it_imported(
    scorer, tag_task, settings, tmp_path, monkeypatch
):
    Base("old", tag_task, scorer(seed=1), scorer(seed=2)).save(tmp_path / "model" / "base")
    assert chosen_base(settings).version == "old"
    # As another process sees it that looked before, twice: when it began, and when it published.
    seen, has = iter([False, False]), Registry.has
    monkeypatch.setattr(Registry, "has", lambda self, version: next(seen, None) is not False and has(self, version))
    assert chosen_base(settings).version == "old"
    assert next(seen, None) is None
    with catalog_of(settings) as catalog:
        assert len(catalog.aliases.changes(PRODUCTION)) == 1
        assert [manifest.version for manifest in catalog.registry.versions()] == ["old"]


def test_what_is_published_says_how_it_came_about(scorer, tag_task, settings, catalog):
    base = Base("v1", tag_task, scorer(seed=1), scorer(seed=2))
    first = publish(catalog, base, settings, [ANN], {"adapter": {"loss": 0.5}})
    assert (first.users, first.parent, first.metrics, first.task) == (1, None, {"adapter": {"loss": 0.5}}, tag_task)
    assert first.settings["base"]["epochs"] == settings.base.epochs
    assert set(first.probes) == set(ROLES)
    assert set(first.settings["generator"]) == {"backend", "model"}
    assert catalog.registry.fitted_with(ANN) == {"v1": True}
    assert catalog.aliases.current() == {}
    catalog.serve_first("v1", "train")
    second = Base("v2", tag_task, scorer(seed=1), scorer(seed=2))
    assert publish(catalog, second, settings, [], {}).parent == "v1"


def test_a_folder_that_cannot_be_written_is_no_obstacle_where_registry_and_store_are_elsewhere(tmp_path):
    publish_files(Registry(str(tmp_path / "registry"), tmp_path / "cache"), "v1")
    (tmp_path / "file").write_text("")
    elsewhere = {
        "out": str(tmp_path / "file" / "out"),
        "registry": {"url": str(tmp_path / "registry")},
        "store": {"url": f"sqlite:///{tmp_path}/users.db"},
    }
    assert first_served(parse_settings(elsewhere)).version == "v1"
    with pytest.raises(HydraError, match=r"^store\.url: .*/file/out cannot be made: Not a directory$"):
        first_served(parse_settings({**elsewhere, "store": {}}))
