"""A search whose trials follow the cluster: onto a node that joins, and away from one that dies."""

import subprocess
from pathlib import Path

import pytest
import yaml
from patience import PATIENCE_S, until
from ray_nodes import nodes_in

from hydra_ray.learn.heads.tuned import FALLBACK, load_tuned, tuned_file
from hydra_ray.models.base import ADAPTER, Base
from hydra_ray.tasks import TASKS

pytestmark = pytest.mark.nightly

SCRIPT = Path(__file__).with_name("tune_there.py")
TRIALS = 6
SEARCH = {
    # No cluster has so many users: one search, for everyone.
    "cohorts": {"clusters": 2, "amounts": {"all": 0}, "min_users": 29},
    "trials": TRIALS,
    "epochs": 2,
    # Each is as long as the longest.
    "grace_epochs": 2,
    "space": {"lr": {"choice": [1e-5, 0.1]}},
}


@pytest.fixture
def nodes(network, tmp_path):
    # A trial fills a node.
    with nodes_in(network, tmp_path / "nodes", [1]) as nodes:
        yield nodes


@pytest.fixture
def begun(tmp_path):
    """A folder of the trials that began; a file `go` lets them go on."""
    folder = tmp_path / "begun"
    folder.mkdir()
    return folder


@pytest.fixture
def search(nodes, scorer, begun, tmp_path):
    """A search on an untrained base, from the head."""
    Base("v1", TASKS["demo"], scorer(seed=1), scorer(seed=2)).save(tmp_path / "model" / "base")
    settings = {
        "out": str(tmp_path),
        "users": "dev",
        "data": {"format": "simulated", "task": "demo", "dev_users": 30, "history": 8},
        "fit": {"mode": "zero-call", "steps": 2},
        "ray": {"address": "auto"},
    }
    files = {tmp_path / "settings.yaml": settings, tmp_path / "search.yaml": SEARCH}
    for path, content in files.items():
        path.write_text(yaml.safe_dump(content))
    own, wanted = map(str, files)
    words = ("python", str(SCRIPT), str(begun), own, "--search", wanted)
    process = nodes.command(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    yield process
    process.kill()


def test_trials_start_on_a_node_that_joins_and_those_of_one_that_dies_begin_again(nodes, search, begun, tmp_path):
    def trials_on(place):
        return len(list(begun.glob(f"node-{place.number}-*")))

    def a_trial_on(place):
        def seen():
            assert search.poll() is None, search.communicate()[0][-4000:]
            return trials_on(place) > 0

        until(seen, f"a trial on {place.address}")

    first = nodes.workers[0]
    a_trial_on(first)
    second = nodes.add(1)
    a_trial_on(second)
    nodes.kill(first)
    (begun / "go").touch()
    said, _ = search.communicate(timeout=PATIENCE_S)

    assert search.returncode == 0, said[-4000:]
    assert trials_on(first) == 1
    assert trials_on(second) == TRIALS, "the lost one, too"
    results = load_tuned(tuned_file(tmp_path / "model", "v1"))[ADAPTER].results
    assert len(results[FALLBACK].trials) == TRIALS
