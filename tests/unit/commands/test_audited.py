"""What commands do is in the audit log, with who did it."""

from __future__ import annotations

import json

import pytest
from made_versions import publish_files
from typer.testing import CliRunner

from hydra_ray.cli import app
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.runtime.models import open_catalog
from hydra_ray.settings import parse_settings
from hydra_ray.store.audit import this_person
from hydra_ray.store.backends import open_store


@pytest.fixture
def settings_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(f"tenant: acme\nout: {tmp_path / 'out'}\ndata: {{format: store}}\n")
    return str(path)


def run(*words):
    done = CliRunner().invoke(app, [*words], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.stdout


def noted(settings_file):
    entries = [json.loads(line) for line in run("audit", "export", settings_file).splitlines()]
    assert {entry["actor"] for entry in entries} <= {this_person()}
    return [(entry["tenant"], entry["action"], entry["target"]) for entry in entries]


def test_promotions_rollbacks_and_deletions_of_versions(settings_file, tmp_path):
    catalog = open_catalog(parse_settings({"out": str(tmp_path / "out")}))
    publish_files(catalog.registry, "v1", created="2026-01-01T00:00:00+00:00")
    publish_files(catalog.registry, "v2", created="2026-01-02T00:00:00+00:00")
    catalog.serve_first("v1", "train")
    catalog.close()
    run("model", "promote", settings_file, "v2", "--no-fit")
    run("model", "rollback", settings_file)
    run("model", "delete", settings_file, "v2")
    assert noted(settings_file) == [
        ("", "model.promote", "v2"),
        ("", "model.rollback", "v1"),
        ("", "model.delete", "v2"),
    ]
    refused = CliRunner().invoke(app, ["model", "delete", settings_file, "v1"])
    assert refused.exit_code == 1
    assert len(noted(settings_file)) == 3, "what was refused was not done"


def test_exports_and_erasures_of_users_without_what_they_said(settings_file, tmp_path):
    store = open_store(parse_settings({"out": str(tmp_path / "out")}).store_target)
    store.append_history(UserKey("acme", "ann"), HistoryItem("1", "quokkas are what ann writes about", "x"))
    store.close()
    run("users", "export", settings_file, "ann", str(tmp_path / "ann.json"))
    run("users", "erase", settings_file, "ann")
    assert noted(settings_file) == [("acme", "user.export", "ann"), ("acme", "user.erase", "ann")]
    assert "quokka" not in run("audit", "export", settings_file)
