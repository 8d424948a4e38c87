"""A training on two nodes, its checkpoints in S3: one of them dies, another one joins, and the base is the same."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import s3
from patience import PATIENCE_S, until
from ray_nodes import nodes_in
from train_there import EPOCHS, HELD

pytestmark = pytest.mark.nightly

SCRIPT = Path(__file__).with_name("train_there.py")


@pytest.fixture
def storage(network, monkeypatch):
    """A bucket, with a client that sees what is in it."""
    with s3.serving(network.address) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server}")
        yield s3.client_with(server, "checkpoints", monkeypatch)


@pytest.fixture
def nodes(network, storage, tmp_path):
    # A worker of the training fills a node.
    with nodes_in(network, tmp_path / "nodes", [1, 1]) as nodes:
        yield nodes


@pytest.fixture
def train(nodes, tiny_encoder, tmp_path):
    started = []

    def start(name):
        folder = tmp_path / name
        folder.mkdir()
        words = ("python", str(SCRIPT), str(tiny_encoder), f"s3://checkpoints/{name}", str(folder))
        started.append(nodes.command(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return started[-1], folder

    yield start
    for process in started:
        process.kill()


def ended(process, folder):
    """Scores of a training, and the epochs that its roles entered."""
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, out[-4000:]
    *_, entered = json.loads((folder / "state.json").read_text())
    return {role: np.array(own) for role, own in json.loads((folder / "scores.json").read_text()).items()}, entered


def names(client):
    return [one["Key"] for one in client.list_objects_v2(Bucket="checkpoints").get("Contents", [])]


def test_a_node_that_dies_in_mid_epoch_costs_that_epoch_and_another_one_takes_its_place(nodes, train, storage):
    alone, undisturbed = train("undisturbed")
    (undisturbed / "go").touch()
    wanted, _ = ended(alone, undisturbed)
    process, folder = train("disturbed")
    state = folder / "state.json"

    def in_mid_epoch():
        assert process.poll() is None, process.communicate()[0][-4000:]
        if not state.exists():
            return False
        *at, _ = json.loads(state.read_text())
        return tuple(at) == HELD

    until(in_mid_epoch, "the middle of an epoch")
    assert any("disturbed" in name for name in names(storage)), "checkpoints are in S3"
    nodes.kill(nodes.workers[1])
    (folder / "go").touch()
    nodes.add(1)
    found, entered = ended(process, folder)

    epochs = [epoch for role, epoch in entered if role == "adapter"]
    assert sorted(set(epochs)) == list(range(EPOCHS))
    assert len(epochs) > EPOCHS, "an epoch was begun again"
    assert [epoch for role, epoch in entered if role == "reranker"] == list(range(EPOCHS)), "what was done stays done"
    for role, scores in wanted.items():
        assert np.abs(scores - found[role]).max() < 0.1 * np.abs(scores).max()
        assert (scores.argmax(1) == found[role].argmax(1)).all()
    assert [name for name in names(storage) if not name.endswith("/")] == [], "and gone once they are of no use"
