"""A full disk refuses writes in OpenAI's form, loses nothing that was acknowledged, and is found empty again."""

import os
import subprocess

import pytest
from made_app import Handle, Served

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store
from hydra_ray.tasks import TEXT_TASK


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Writes until there is no room, and returns the file to be deleted."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            os.fsync(file.fileno())
    return ballast


def test_a_full_disk_loses_nothing_that_was_acknowledged(small_disk, bases, scorer):
    # In this process, with the true store and the true learner: what fails here is the disk.
    from hydra_ray.learn.heads.online import OnlineLearner

    url = f"sqlite:///{small_disk / 'users.db'}"
    folder = str(bases[TEXT_TASK.name])
    tree = {"out": folder, "model": {"dir": folder}, "store": {"url": url}, "fit": {"head": {"kind": "bases"}}}
    # As soon as there is room, it is tried.
    serve = {"breaker": {"open_s": 0.001}}
    settings = parse_settings({**tree, "tenant": "acme", "auth": {"mode": "off"}, "serve": serve})
    app = Served(settings)
    store = open_store(settings.store_target)
    store.put_histories({UserKey("acme", "ann"): [HistoryItem("h1", "Then?", "Wait.")]})
    learner = OnlineLearner(store, "v1", TEXT_TASK, scorer(seed=2), settings)
    app.adapter.learn = Handle(learner.learn)

    def say(number):
        long = f"number {number} " + "x" * 3000
        body = {"id": f"said-{number}", "input": long, "accepted": "Calm.", "candidates": ["No."]}
        return app.client.post("/v1/users/ann/feedback", json=body)

    acknowledged = {number for number in range(3) if say(number).status_code == 200}
    assert acknowledged == {0, 1, 2}
    ballast = fill(small_disk)
    refused = set()
    for number in range(3, 40):
        reply = say(number)
        if reply.status_code == 200:
            acknowledged.add(number)
        else:
            assert (reply.status_code, reply.json()["error"]["type"]) == (503, "upstream_error")
            refused.add(number)
    assert refused
    # Answers go on: nothing has to be written for them.
    assert app.ask([{"role": "user", "content": "And now?"}], user="ann").status_code == 200
    ballast.unlink()
    for number in refused:
        assert say(number).status_code == 200
    kept = {item["id"] for item in app.client.get("/v1/users/ann/history").json()["data"]}
    assert {f"said-{number}" for number in acknowledged | refused} <= kept
    store.close()
