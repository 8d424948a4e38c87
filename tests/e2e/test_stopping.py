"""How a command ends before its time: at once, in one line, and with nothing left running."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from killing import PATIENCE_S
from openai_endpoint import completion, serving

TAG = "HYDRA_RAY_TEST_TAG"


@pytest.fixture
def settings(tmp_path):
    records = [
        {"user_id": f"u{user}", "input": f"film {film}", "output": "drama", "ts": f"20{film:02}"}
        for user in range(6)
        for film in range(8)
    ]
    (tmp_path / "records.jsonl").write_text("\n".join(map(json.dumps, records)))

    def write(url):
        tree = {
            "out": str(tmp_path / "out"),
            "data": {
                "format": "records",
                "path": str(tmp_path / "records.jsonl"),
                "labels": ["drama", "war"],
                "instruction": "Which tag?",
                "queries_per_user": 1,
            },
            "generator": {"backend": "openai", "model": "m", "base_url": url, "retries": 0, "concurrency": 4},
            "feedback": {"pseudo_queries": 5, "items": 2},
            "ray": {"num_cpus": 2},
        }
        path = tmp_path / "settings.yaml"
        path.write_text(json.dumps(tree))
        return path

    return write


def start(path: Path, tag: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hydra_ray", "collect", str(path)]
    environment = {**os.environ, TAG: tag, "PYTHONUNBUFFERED": "1"}
    # One that tells where a cluster is would be taken for the command's own.
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
    )


def running(tag: str) -> list[str]:
    """Command lines of processes that were started with the tag, directly or by one that was."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"{TAG}={tag}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200])
        except OSError:
            # It ended meanwhile, or is somebody else's.
            continue
    return found


def left_behind(tag: str, patience_s: float = 60) -> list[str]:
    until = time.monotonic() + patience_s
    while (found := running(tag)) and time.monotonic() < until:
        time.sleep(0.1)
    return found


def test_ctrl_c_ends_a_collection_in_one_line_and_leaves_no_process_behind(settings):
    asked, tag = threading.Event(), uuid.uuid4().hex
    with serving() as server:

        def slowly(body):
            asked.set()
            time.sleep(1)
            return completion(*["drama"] * body.get("n", 1))

        server.replies = [slowly]
        command = start(settings(server.url), tag)
        assert asked.wait(PATIENCE_S), "it asked nothing"
        assert len(running(tag)) > 3, "Ray's processes are among those that are looked for"
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 130, said
    assert said.strip().splitlines() == ["Stopped. The same command goes on where it was."]
    assert left_behind(tag) == []


def test_a_collection_that_stops_by_itself_says_why_in_one_line(settings):
    tag = uuid.uuid4().hex
    with serving() as server:
        server.replies = [(503, {"error": {"message": "out of order"}})]
        command = start(settings(server.url), tag)
        _, said = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 3, said
    *logged, last = said.strip().splitlines()
    assert last.startswith("error: stopped early: the LLM answered none of the first")
    assert "out of order" in last
    assert last.endswith("The same command goes on where it was")
    assert logged == []
    assert left_behind(tag) == []
