"""Which version a request gets: by its name, and once every replica holds what was promoted."""

from __future__ import annotations

import pytest
from made_versions import publish_files

from hydra_ray.registry import Registry
from hydra_ray.registry.catalog import Catalog
from hydra_ray.serve.versions.names import ServedNames, UnknownModelError
from hydra_ray.store.aliases import CANDIDATE, PRODUCTION, SqlAliases
from hydra_ray.store.schema import open_database
from hydra_ray.tasks import TEXT_TASK

NEVER_S = 3600.0


def open_in(folder):
    return Catalog(
        Registry(str(folder / "registry"), folder / "cache"),
        SqlAliases(open_database(f"sqlite:///{folder / 'users.db'}")),
    )


@pytest.fixture
def catalog(tmp_path):
    catalog = open_in(tmp_path)
    publish_files(catalog.registry, "v1", created="2026-01-01T00:00:00+00:00")
    publish_files(catalog.registry, "v2", created="2026-01-02T00:00:00+00:00")
    publish_files(catalog.registry, "text", task_values=TEXT_TASK.to_json(), created="2026-01-03T00:00:00+00:00")
    catalog.aliases.change(PRODUCTION, "v1", 0, "train")
    yield catalog
    catalog.close()


@pytest.fixture
def names(catalog, tmp_path):
    names = ServedNames(open_in(tmp_path), "hydra", NEVER_S)
    yield names
    names.close()


def promote(catalog, version):
    catalog.aliases.change(PRODUCTION, version, catalog.aliases.revision(PRODUCTION), "promote")


def test_a_name_is_an_alias_or_a_version(catalog, names):
    catalog.aliases.change(CANDIDATE, "v2", 0, "train")
    names.poll()
    found = {asked: names.find(asked).version for asked in ("hydra", "hydra@production", "hydra@candidate", "hydra@v1")}
    assert found == {"hydra": "v1", "hydra@production": "v1", "hydra@candidate": "v2", "hydra@v1": "v1"}
    assert [name for name, _ in names.all()] == [
        "hydra",
        "hydra@production",
        "hydra@candidate",
        "hydra@v1",
        "hydra@v2",
    ]
    assert dict(names.all())["hydra@v2"] == 1767312000


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("gpt", "there is no model 'gpt'; this is 'hydra'"),
        ("hydra@", "there is no model 'hydra@'; this is 'hydra'"),
        ("gpt@v1", "there is no model 'gpt@v1'; this is 'hydra'"),
        ("hydra@v9", "there is no model 'hydra@v9': the registry has no such version"),
        ("hydra@../v1", "model 'hydra@../v1' cannot be served here: '../v1' is no version"),
        ("hydra@candidate", "there is no model 'hydra@candidate': no version is the candidate"),
        ("hydra@text", "model 'hydra@text' cannot be served here: data.task"),
    ],
)
def test_other_names_are_no_models(names, asked, told):
    with pytest.raises(UnknownModelError, match=f"^{told}"):
        names.find(asked)


def test_a_promotion_is_for_requests_once_every_replica_holds_it(catalog, names):
    catalog.aliases.hold("adapter 1", {"v1": "ready"}, 60)
    catalog.aliases.hold("reranker 1", {"v1": "ready"}, 60)
    promote(catalog, "v2")
    names.poll()
    assert names.production.version == "v1"
    catalog.aliases.hold("adapter 1", {"v1": "ready", "v2": "ready"}, 60)
    names.poll()
    assert names.production.version == "v1"
    catalog.aliases.hold("reranker 1", {"v1": "ready", "v2": "ready"}, 60)
    names.poll()
    assert names.production.version == "v2"
    catalog.aliases.change(PRODUCTION, "v1", 2, "rollback")
    names.poll()
    assert names.production.version == "v1"


def test_what_one_replica_refuses_is_for_nobody(catalog, names):
    catalog.aliases.hold("adapter 1", {"v1": "ready", "v2": "ready"}, 60)
    catalog.aliases.hold("adapter 2", {"v1": "ready", "v2": "refused"}, 60)
    promote(catalog, "v2")
    names.poll()
    assert names.production.version == "v1"
    # One that ended without a word is not waited for for ever.
    catalog.aliases.hold("adapter 2", {"v1": "ready", "v2": "refused"}, -1)
    names.poll()
    assert names.production.version == "v2"


def test_another_ingress_is_not_waited_for(catalog, names):
    catalog.aliases.hold("ingress 7 on there", {"v1": "ready"}, 60)
    promote(catalog, "v2")
    names.poll()
    assert names.production.version == "v2"


def test_it_says_which_version_requests_get(catalog, names):
    (use,) = catalog.aliases.uses()
    assert (use.holder.split()[0], use.version) == ("ingress", "v1")
    promote(catalog, "v2")
    names.poll()
    assert [use.version for use in catalog.aliases.uses()] == ["v2"]


def test_where_nothing_was_promoted_the_newest_is_served(tmp_path):
    catalog = open_in(tmp_path)
    publish_files(catalog.registry, "old", created="2026-01-01T00:00:00+00:00")
    publish_files(catalog.registry, "new", created="2026-01-02T00:00:00+00:00")
    names = ServedNames(catalog, "hydra", NEVER_S)
    assert names.production.version == "new"
    names.close()
