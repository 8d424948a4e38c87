"""`hydra-ray model ...` shows what there is and changes what is served."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from made_versions import publish_files
from typer.testing import CliRunner

from hydra_ray.cli import app
from hydra_ray.runtime.models import open_catalog
from hydra_ray.settings import parse_settings
from hydra_ray.store.aliases import CANDIDATE, PRODUCTION


@pytest.fixture
def settings_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(f"out: {tmp_path}\n")
    return str(path)


@pytest.fixture
def catalog(tmp_path):
    catalog = open_catalog(parse_settings({"out": str(tmp_path)}))
    publish_files(catalog.registry, "v1", users=3, created="2026-01-01T00:00:00+00:00")
    publish_files(catalog.registry, "v2", parent="v1", created="2026-01-02T00:00:00+00:00")
    catalog.serve_first("v1", "train")
    catalog.aliases.change(CANDIDATE, "v2", 0, "train")
    yield catalog
    catalog.close()


def run(*words):
    return CliRunner().invoke(app, ["model", *words], env={"COLUMNS": "240"})


def test_the_list_has_versions_aliases_and_who_holds_them(settings_file, catalog):
    catalog.aliases.hold("adapter 1 on here", {"v1": "ready", "v2": "refused"}, 60)
    lines = run("list", settings_file).output.splitlines()
    newest, oldest = (
        next(line for line in lines if f" {version} " in line.replace("│", " ")[:8]) for version in ("v2", "v1")
    )
    assert "candidate" in newest
    assert "adapter 1 on here refused it" in newest
    assert "production" in oldest
    assert lines.index(newest) < lines.index(oldest)


def test_show_prints_the_manifest(settings_file, catalog):
    shown = json.loads(run("show", settings_file, "production").output)
    assert (shown["version"], shown["users"]) == ("v1", 3)
    assert len(shown["files"]["base.json"]["sha256"]) == 64


def test_promote_and_rollback_say_what_is_served(settings_file, catalog):
    assert (
        "Version v2 is served from now on, v1 before" in run("promote", settings_file, "candidate", "--no-fit").output
    )
    assert catalog.aliases.current()[PRODUCTION].version == "v2"
    assert "Version v1 is served again, no longer v2" in run("rollback", settings_file).output
    assert catalog.aliases.current()[PRODUCTION].version == "v1"


@pytest.mark.parametrize(("options", "fitted"), [((), ["v1"]), (("--no-fit",), [])])
def test_rollback_fits_what_was_said_meanwhile_unless_told_otherwise(
    settings_file, catalog, monkeypatch, options, fitted
):
    from hydra_ray.learn.promote import job

    found = []

    def catch_up(settings, done, listener):
        found.append(catalog.aliases.current()[PRODUCTION].version)
        return replace(done, users=5, fitted=4)

    monkeypatch.setattr(job, "catch_up", catch_up)
    run("promote", settings_file, "candidate", "--no-fit")
    told = run("rollback", settings_file, *options).output
    assert found == fitted
    assert f"{'4 of 5' if fitted else '0 of 0'} users have a head of their own on it" in told


def test_delete_refuses_what_is_served_and_deletes_else(settings_file, catalog):
    refused = run("delete", settings_file, "v1")
    assert "version v1 is not deleted: alias production points at it" in str(refused.exception)
    catalog.aliases.change(CANDIDATE, None, 1, "clear")
    assert "Version v2 is deleted" in run("delete", settings_file, "v2").output
    assert [manifest.version for manifest in catalog.registry.versions()] == ["v1"]


def test_copy_puts_a_version_elsewhere(settings_file, catalog, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    assert "Version v1 is in" in run("copy", settings_file, "v1", str(elsewhere)).output
    assert (elsewhere / "v1" / "manifest.json").exists()
