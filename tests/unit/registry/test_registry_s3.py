"""A registry in S3, as a server on this machine keeps it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import s3
from made_versions import FILES, publish_files

from hydra_ray.records import HydraError, UserKey
from hydra_ray.registry import DamagedVersionError, Registry
from hydra_ray.registry.manifest import MANIFEST, USERS, users_text
from hydra_ray.registry.place import Place, UnreachableError

ANN = UserKey("acme", "ann")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3.serving() as server:
        yield server


@pytest.fixture
def client(server, monkeypatch) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server}")
    client = s3.client_with(server, "models", monkeypatch)
    yield client
    for key in keys(client):
        client.delete_object(Bucket="models", Key=key)


@pytest.fixture
def registry(client, tmp_path) -> Registry:
    return Registry("s3://models/hydra", tmp_path / "cache")


def keys(client: Any) -> list[str]:
    found = client.list_objects_v2(Bucket="models").get("Contents", [])
    return sorted(one["Key"] for one in found if not one["Key"].endswith("/"))


def test_a_version_is_published_and_comes_back_through_the_cache(registry, client, tmp_path):
    assert registry.versions() == []
    published = publish_files(registry, "v1", users=2)
    assert keys(client) == sorted(f"hydra/v1/{path}" for path in (*FILES, MANIFEST))
    folder = registry.fetch("v1")
    assert folder == tmp_path / "cache" / "v1"
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    assert registry.versions() == [published]
    with pytest.raises(HydraError, match="versions never change"):
        publish_files(registry, "v1")


# Publishes version v2, and stops for good once the file that it is told is to be written, having said so.
PUBLISH = """
import sys, time
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from hydra_ray.registry import Registry
from hydra_ray.registry.place import Place
from made_versions import publish_files

def stopping(how):
    def call(self, one, *more):
        if sys.argv[2] in (one, *more):
            print("there", flush=True)
            time.sleep(3600)
        return how(self, one, *more)
    return call

Place.put, Place.write = stopping(Place.put), stopping(Place.write)
publish_files(Registry("s3://models/hydra", Path(sys.argv[1])), "v2")
"""


@pytest.mark.parametrize("file", ["v2/reranker/heads.safetensors", f"v2/{MANIFEST}"])
def test_a_killed_publication_is_no_version_and_can_be_made_again(registry, client, tmp_path, file):
    publish_files(registry, "v1")
    command = [sys.executable, "-c", PUBLISH, str(tmp_path), file, *sys.path]
    victim = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert victim.stdout.readline() == "there\n"
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert any(key.startswith("hydra/v2/") for key in keys(client))
    assert [manifest.version for manifest in registry.versions()] == ["v1"]
    publish_files(registry, "v2")
    assert {path: (registry.fetch("v2") / path).read_bytes() for path in FILES} == FILES


def test_what_is_kept_is_not_read_again_and_what_was_damaged_on_disk_is(registry, client, monkeypatch, caplog):
    publish_files(registry, "v1")
    folder = registry.fetch("v1")
    client.delete_object(Bucket="models", Key="hydra/v1/base.json")
    assert registry.fetch("v1") == folder
    client.put_object(Bucket="models", Key="hydra/v1/base.json", Body=FILES["base.json"])
    (folder / "base.json").write_bytes(b"other")
    assert (registry.fetch("v1") / "base.json").read_bytes() == FILES["base.json"]
    assert "the version is read from the registry again" in caplog.text


def test_a_damaged_object_is_refused_and_not_kept(registry, client, tmp_path):
    publish_files(registry, "v1")
    client.put_object(Bucket="models", Key="hydra/v1/base.json", Body=b"other")
    with pytest.raises(DamagedVersionError, match=r"s3://models/hydra/v1/base\.json is not the file"):
        registry.fetch("v1")
    assert not (tmp_path / "cache" / "v1").exists()


def test_many_at_once_read_a_version_once(registry, monkeypatch, tmp_path):
    publish_files(registry, "v1")
    read, lock, get = [], threading.Lock(), Place.get

    def counted(self: Place, path: str, target: Path) -> None:
        with lock:
            read.append(path)
        get(self, path, target)

    monkeypatch.setattr(Place, "get", counted)
    with ThreadPoolExecutor(6) as pool:
        folders = set(pool.map(lambda _: registry.fetch("v1"), range(6)))
    assert folders == {tmp_path / "cache" / "v1"}
    assert sorted(read) == sorted(f"v1/{path}" for path in FILES)


def test_a_removed_version_is_gone_from_bucket_and_cache(registry, client, tmp_path):
    publish_files(registry, "v1")
    publish_files(registry, "v2")
    registry.fetch("v1")
    registry.remove("v1")
    assert not any(key.startswith("hydra/v1/") for key in keys(client))
    assert not (tmp_path / "cache" / "v1").exists()
    assert [manifest.version for manifest in registry.versions()] == ["v2"]


def test_a_version_is_copied_between_a_folder_and_a_bucket(registry, tmp_path):
    local = Registry(str(tmp_path / "local"), tmp_path / "cache")
    publish_files(local, "v1", {**FILES, USERS: users_text("v1", [ANN]).encode()})
    local.copy("v1", registry)
    back = Registry(str(tmp_path / "back"), tmp_path / "cache")
    registry.copy("v1", back)
    assert back.manifest("v1") == local.manifest("v1")
    assert registry.fitted_with(ANN) == {"v1": True}


def test_a_server_that_does_not_answer_is_one_line(client, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UnreachableError, match=r"^registry\.url: s3://models/hydra cannot be") as caught:
        Registry("s3://models/hydra?region=us-east-1", tmp_path).versions()
    assert "\n" not in str(caught.value)
