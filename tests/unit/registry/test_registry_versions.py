"""Versions are published whole, checked when they are loaded, and never change."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_versions import FILES, about, publish_files

from hydra_ray.records import HydraError, UserKey
from hydra_ray.registry import DamagedVersionError, Manifest, NoVersionError, Registry, user_digest
from hydra_ray.registry.manifest import USERS, users_text, without_secrets

ANN, BOB, NAMESAKE = UserKey("acme", "ann"), UserKey("acme", "bob"), UserKey("other", "ann")


@pytest.fixture
def registry(tmp_path):
    return Registry(str(tmp_path / "registry"), tmp_path / "cache")


def test_what_was_published_comes_back_with_its_manifest(registry):
    published = publish_files(
        registry, "v1", users=3, parent="v0", settings={"seed": 7}, metrics={"adapter": {"l": 0.5}}
    )
    folder = registry.fetch("v1")
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    assert registry.manifest("v1") == published
    assert (published.users, published.parent, published.task.name) == (3, "v0", "demo")
    assert set(published.files) == set(FILES)


def test_versions_are_listed_oldest_first_and_a_registry_that_is_not_there_yet_has_none(registry):
    assert registry.versions() == []
    assert registry.is_empty()
    publish_files(registry, "b", created="2026-01-01T00:00:00+00:00")
    publish_files(registry, "a", created="2026-01-02T00:00:00+00:00")
    assert [manifest.version for manifest in registry.versions()] == ["b", "a"]


def test_a_version_is_never_published_over_another(registry):
    publish_files(registry, "v1")
    with pytest.raises(HydraError, match="holds a version 'v1' already, and versions never change"):
        publish_files(registry, "v1", {"base.json": b"other"})
    assert (registry.fetch("v1") / "base.json").read_bytes() == b"{}"


def test_a_publication_that_breaks_off_leaves_nothing(registry, tmp_path):
    def write(folder: Path) -> None:
        (folder / "base.json").write_text("{}")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        registry.publish(about("v1"), write)
    assert registry.versions() == []
    assert os.listdir(tmp_path / "registry") == []


@given(path=st.sampled_from(sorted(FILES)), place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_single_bit_that_differs_is_found_and_named(tmp_path_factory, path, place, bit):
    folder = tmp_path_factory.mktemp("registry")
    registry = Registry(str(folder), folder / "cache")
    publish_files(registry, "v1")
    content = bytearray(FILES[path])
    content[place % len(content)] ^= 1 << bit
    (folder / "v1" / path).write_bytes(content)
    with pytest.raises(DamagedVersionError, match=rf"version v1 is refused: .*{path} is not the file"):
        registry.fetch("v1")


def test_a_file_that_is_missing_or_was_added_is_named(registry, tmp_path):
    publish_files(registry, "v1")
    added = tmp_path / "registry/v1/adapter/adapter_config.json"
    added.write_text("{}")
    with pytest.raises(DamagedVersionError, match=r"adapter/adapter_config\.json was not published with it"):
        registry.fetch("v1")
    added.unlink()
    (tmp_path / "registry/v1/base.json").unlink()
    with pytest.raises(DamagedVersionError, match=r"base\.json is missing"):
        registry.fetch("v1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"schema": "hydra-ray/model/v1"}', "is damaged"),
        ('{"schema": "hydra-ray/model/v9"}', "has schema 'hydra-ray/model/v9'"),
    ],
)
def test_a_damaged_manifest_is_refused_and_the_other_versions_are_there(registry, tmp_path, text, told, caplog):
    publish_files(registry, "good")
    publish_files(registry, "bad")
    (tmp_path / "registry/bad/manifest.json").write_text(text)
    with pytest.raises(HydraError, match=told):
        registry.fetch("bad")
    assert [manifest.version for manifest in registry.versions()] == ["good"]
    assert "bad/manifest.json" in caplog.text


def test_a_manifest_that_was_put_under_another_name_is_refused(registry, tmp_path):
    publish_files(registry, "v1")
    os.rename(tmp_path / "registry/v1", tmp_path / "registry/v2")
    with pytest.raises(HydraError, match="says that it is of version 'v1'"):
        registry.manifest("v2")


@pytest.mark.parametrize("name", ["../v1", "", ".hidden", "a/b", "x" * 65, "v 1"])
def test_a_name_that_is_no_folder_is_no_version(registry, name):
    with pytest.raises(HydraError, match="is no version"):
        registry.manifest(name)


def test_a_version_that_is_not_there_is_named(registry):
    with pytest.raises(NoVersionError, match=r"registry\.url: .* holds no version 'v9'"):
        registry.fetch("v9")


def test_a_removed_version_is_gone(registry, tmp_path):
    publish_files(registry, "v1")
    registry.remove("v1")
    assert not registry.has("v1")
    assert os.listdir(tmp_path / "registry") == []
    registry.remove("v1")


def test_a_copy_is_the_same_version_elsewhere(registry, tmp_path):
    publish_files(registry, "v1", users=5)
    other = Registry(str(tmp_path / "other"), tmp_path / "cache")
    registry.copy("v1", other)
    assert other.manifest("v1") == registry.manifest("v1")
    assert (other.fetch("v1") / "base.json").read_bytes() == b"{}"
    (tmp_path / "registry/v1/base.json").write_bytes(b"damaged")
    third = Registry(str(tmp_path / "third"), tmp_path / "cache")
    with pytest.raises(DamagedVersionError):
        registry.copy("v1", third)
    assert not third.has("v1")


def test_versions_say_whose_data_they_were_fitted_on_without_naming_anybody(registry):
    publish_files(registry, "v1", {**FILES, USERS: users_text("v1", [ANN, BOB, ANN]).encode()})
    publish_files(registry, "v2", {**FILES, USERS: users_text("v2", [NAMESAKE]).encode()})
    publish_files(registry, "old", users=None)
    assert registry.fitted_with(ANN) == {"v1": True, "v2": False, "old": None}
    assert registry.fitted_with(NAMESAKE) == {"v1": False, "v2": True, "old": None}
    assert b"ann" not in (registry.fetch("v1") / USERS).read_bytes()
    # Two lists cannot be joined by their digests.
    assert user_digest("v1", ANN) != user_digest("v2", ANN)


def test_what_a_killed_publication_left_is_swept_away_later(registry, tmp_path):
    publish_files(registry, "v1")
    left, fresh = (tmp_path / "registry" / f".{name}.partial" for name in ("left", "fresh"))
    for folder in (left, fresh):
        folder.mkdir()
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(left, (long_ago, long_ago))
    publish_files(registry, "v2")
    assert not left.exists()
    assert fresh.exists()
    assert [manifest.version for manifest in registry.versions()] == ["v1", "v2"]


def test_logins_are_no_part_of_a_manifest():
    tree = {
        "store": "postgresql://me:secret@host/db",
        "path": "s3://key:hush@bucket/x?access_key=a&secret_key=b&region=eu",
        "list": ["https://token@host"],
        "seed": 7,
    }
    cleaned = without_secrets(tree)
    assert cleaned["seed"] == 7
    assert cleaned["path"] == "s3://***@bucket/x?access_key=***&secret_key=***&region=eu"
    assert not any(word in json.dumps(cleaned) for word in ("secret@", "hush", "token", "=a&", "=b&"))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HydraError, match=r"registry\.url: .*file/registry cannot be"):
        publish_files(Registry(str(tmp_path / "file" / "registry"), tmp_path), "v1")


def test_an_unknown_file_system_is_named_without_its_login(tmp_path):
    with pytest.raises(HydraError, match=r"registry\.url: nosuch://\*\*\*@host/x: no place") as caught:
        Registry("nosuch://me:secret@host/x?password=hush", tmp_path)
    assert "secret" not in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_manifest_survives_json():
    manifest = about("v1", users=None)
    assert Manifest.from_json(manifest.to_json(), "x") == manifest
