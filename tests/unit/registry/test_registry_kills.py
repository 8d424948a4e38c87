"""A publication that is killed at any point leaves a registry that loads, and can be made again."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from made_versions import FILES, publish_files

from hydra_ray.registry import Registry

# Publishes version v2, and stops for good before the step that it is told, having said so.
PUBLISH = """
import os, sys, time
sys.path[:0] = sys.argv[4:]
from pathlib import Path
from hydra_ray.registry import registry as module
from hydra_ray.registry.place import Place
from made_versions import publish_files

def stop(*_, **__):
    print("there", flush=True)
    time.sleep(3600)

folder, step = sys.argv[1], sys.argv[2]
registry = module.Registry(folder, Path(folder) / "cache")
if step == "files":
    # The last of the version's files is not written.
    write = Path.write_bytes
    Path.write_bytes = lambda self, content: stop() if self.name.startswith("heads") else write(self, content)
elif step == "digests":
    module.sha256_of = stop
elif step == "manifest":
    Path.write_text = stop
elif step == "rename":
    os.rename = stop
elif step == "after":
    rename = os.rename
    os.rename = lambda *paths: (rename(*paths), stop())
publish_files(registry, "v2")
"""


@pytest.mark.parametrize("step", ["files", "digests", "manifest", "rename", "after"])
def test_a_killed_publication_leaves_what_was_there(tmp_path, step):
    folder = tmp_path / "registry"
    registry = Registry(str(folder), tmp_path / "cache")
    publish_files(registry, "v1")
    victim = subprocess.Popen(
        [sys.executable, "-c", PUBLISH, str(folder), step, "", *sys.path], stdout=subprocess.PIPE, text=True
    )
    assert victim.stdout.readline() == "there\n"
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert victim.returncode == -signal.SIGKILL
    published = ["v1", "v2"] if step == "after" else ["v1"]
    assert [manifest.version for manifest in registry.versions()] == published
    assert {path: (registry.fetch("v1") / path).read_bytes() for path in FILES} == FILES
    if step != "after":
        publish_files(registry, "v2")
    assert {path: (registry.fetch("v2") / path).read_bytes() for path in FILES} == FILES
