"""A wall clock that jumps by days, forth and back, fails no request: what waits goes by another clock."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_ray.tasks import TEXT_TASK

HERE = Path(__file__).parent


@pytest.fixture
def library():
    """libfaketime, for a child alone: this machine's clock is nobody's to set."""
    found = importlib.util.find_spec("libfaketime")
    places = list(Path(found.origin).parent.rglob("libfaketime.so.1")) if found and found.origin else []
    if not places:
        pytest.skip("libfaketime is not installed: pip install libfaketime")
    return places[0]


def test_no_request_fails_when_the_clock_jumps(bases, library, tmp_path):
    # The base is tried out in the folder, which other tests read.
    folder = shutil.copytree(bases[TEXT_TASK.name], tmp_path / "base")
    now = tmp_path / "now"
    now.write_text("+0")
    env = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(now),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parents[2]), *sys.path]),
    }
    command = [sys.executable, str(HERE / "clock_child.py"), str(folder), str(now)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [one["days"] for one in found] == [0, 3, -3, 0]
    for one in found:
        assert (one["statuses"], one["degraded"]) == ([200] * 4, []), one
