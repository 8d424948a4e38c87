"""The benchmarks that need no Ray run where it is not installed, and what they count holds at any size."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_ray.models.computing import missing
from hydra_ray.records import UserKey

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def run_small(tmp_path):
    """Runs one benchmark with `--small` where importing Ray fails; gives what it wrote."""
    # Found before the installed package, in child processes too.
    (tmp_path / "ray.py").write_text("raise ImportError('a benchmark of heads imports Ray')")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}

    def run(name: str, *further: str) -> dict:
        told = tmp_path / "folder" / f"{name}.json"
        command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--small", "--device", "cpu", "--json", str(told)]
        done = subprocess.run([*command, *further], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(told.read_text())

    return run


def test_heads(run_small):
    told = run_small("heads")
    assert told["schema"] == "hydra-ray/benchmark/heads/v1"
    assert told["machine"]["cores"] >= 1
    assert {"scoring", "ratios", "sizes", "times", "moves", "goals"} <= told.keys()
    by_batch: dict[tuple, set[int]] = {}
    for row in told["scoring"]:
        if row["side"] == "ours":
            by_batch.setdefault((row["kind"], row["dtype"], row["present"]), set()).add(row["bytes_read"])
    # However many users there are, the batch's own heads are read and no others.
    assert all(len(counts) == 1 for counts in by_batch.values())
    assert by_batch["lowrank", "bfloat16", 64] == {64 * 2 * (8 * 384 + 8)}
    assert by_batch["lowrank", "bfloat16", 8] == {8 * 2 * (8 * 384 + 8)}
    assert by_batch["bases", "float32", 64] == {64 * 4 * 16}
    assert by_batch["dense", "float32", 8] == {8 * 4 * (96 * 96 + 2 * 96)}
    # The mask is multiplied with everybody's.
    hot = [row for row in told["scoring"] if row["side"] == "one-hot" and row["kind"] == "lowrank"]
    assert {row["bytes_read"] // row["users"] for row in hot} == {2 * (8 * 384 + 8), 4 * (8 * 384 + 8)}


def test_heads_curve(run_small):
    told = run_small("heads_curve", "--worlds", "tastes", "--kinds", "bases")
    assert told["schema"] == "hydra-ray/benchmark/heads_curve/v1"
    rows = {(row["head"], row["items"]): row for row in told["worlds"]["tastes"]}
    assert {name for name, _ in rows} == {"shared", "truth", "bases", "best"}
    assert {items for _, items in rows} == {2, 8}
    # Nobody meets more than who knows the users; the shared head has nothing to learn from.
    assert all(row["met"] <= rows["truth", 2]["met"] for row in rows.values())
    assert rows["shared", 2] == {**rows["shared", 8], "items": 2}
    assert rows["shared", 2]["gain"] == rows["shared", 2]["reach"] == 0


def test_gate(run_small):
    told = run_small("gate", "--worlds", "large gain", "harm")
    assert told["schema"] == "hydra-ray/benchmark/gate/v1"
    rows = {row["world"]: row for row in told["worlds"]}
    assert rows.keys() == {"large gain", "harm"}
    assert rows["large gain"]["ungated"] > 0 > rows["harm"]["ungated"]
    # Who is let through only gains.
    assert rows["large gain"]["gain"] > 0
    assert all(row["worse"] <= row["ungated_worse"] for row in told["worlds"])


def test_encoder(run_small):
    told = run_small("encoder")
    assert told["schema"] == "hydra-ray/benchmark/encoder/v1"
    assert {"flags", "limits", "cpu"} <= told["machine"].keys()
    assert {(row["threads"], row["texts"]) for row in told["speeds"]} == {
        (threads, kind) for threads in (1, 2) for kind in ("short", "films", "long")
    }
    for row in told["speeds"]:
        assert row["chosen"] in row["texts_per_s"]
        assert row["texts_per_s"].keys() == {"float32", "bfloat16"}
        assert row["ratio"] == row["texts_per_s"]["bfloat16"] / row["texts_per_s"]["float32"] > 0
    (goal,) = told["goals"]
    assert goal["met"] == (goal["measured"] >= goal["bound"])


def test_runtimes(run_small):
    lacking = missing()
    told = run_small("runtimes", *(["--only-torch"] if lacking else []))
    assert told["schema"] == "hydra-ray/benchmark/runtimes/v1"
    assert [row["side"] for row in told["rows"]] == ["torch", "bfloat16", *([] if lacking else ["onnx"])]
    assert all(min(row["query_ms"], row["label_ms"]) > 0 for row in told["rows"])
    for row in told["rows"]:
        if row["side"] != "bfloat16":
            assert (row["cosine"], row["same"]) == (pytest.approx(1), 1)
    assert told["starts_s"].keys() == (set() if lacking else {"written", "kept"})


def test_train(run_small):
    told = run_small("train", "--sides", "ours", "--texts", "mixed")
    assert told["schema"] == "hydra-ray/benchmark/train/v1"
    (one,) = told["speeds"]
    assert one["sides"]["ours"]["tokens_per_s"] > 0
    # Five candidates of one group, of which one is right, before anything is learnt.
    assert 1 < one["first_loss"]["ours"] < 3


def test_fit(run_small):
    told = run_small("fit")
    assert told["schema"] == "hydra-ray/benchmark/fit/v1"
    assert {"texts", "features", "memory", "goals"} <= told.keys()
    labels, distinct = told["texts"]["answers of 15 labels"], told["texts"]["all texts distinct"]
    assert labels["pairs"] == 50 * labels["users"]
    # Each film is described and each pair answered by a text of its own; past answers are out of 15 labels.
    assert distinct["texts"] == distinct["users"] * (50 + 10) + 15
    assert all(one["users_per_s"] > 0 for one in told["features"].values())
    assert [one["users"] for one in told["memory"].values()] == [300, 600, 300]
    assert all(one["peak_bytes"] > 0 for one in told["memory"].values())


def test_retrieval(run_small):
    told = run_small("retrieval")
    assert told["schema"] == "hydra-ray/benchmark/retrieval/v1"
    # Both sides found the same, or it would have ended.
    assert {"again", "after_append", "after_delete"} <= told["times"]["anew"].keys() & told["times"]["kept"].keys()
    assert all(ratio > 0 for ratio in told["ratios"].values())


def test_text(run_small):
    told = run_small("text")
    assert told["schema"] == "hydra-ray/benchmark/text/v1"
    # It compares scores and words of both sides before it times them.
    assert set(told["rouge"]) == {"12 by 12 words", "120 by 120 words"}
    assert {side for sides in (*told["rouge"].values(), *told["words"].values()) for side in sides} == {
        "library",
        "ours",
    }
    assert told["retrieval"] == {}


def test_limits(run_small):
    found = run_small("limits")
    assert found["schema"] == "hydra-ray/benchmark/limits/v1"
    assert found["seconds_a_request"].keys() == {"memory", "rows"}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_scale(kind, run_small, tmp_path, request):
    folder, server = tmp_path / "stores", []
    if kind == "postgresql":
        server = ["--postgres", request.getfixturevalue("postgres_server")]
    told = run_small("scale", "--folder", str(folder), *server)
    assert told["schema"] == "hydra-ray/benchmark/scale/v1"
    assert told["database"] == kind
    # It looks whether everybody is found, and everybody's head.
    for part in ("store", "history", "head", "retrieve, first", "fit", "peers", "cohorts"):
        assert set(told["parts"][part]) == {"20", "60"}
    assert all(one["bytes"] > 0 for one in told["parts"]["store"].values())
    assert list(folder.iterdir()) == []


def test_planning(run_small, tmp_path):
    told = run_small("planning", "--folder", str(tmp_path / "stores"))
    assert told["schema"] == "hydra-ray/benchmark/planning/v1"
    # Each item of each user is asked about, and each user wants a head of the adapter.
    assert [(one["users"], one["examples"], one["heads"]) for one in told["plans"]] == [(30, 150, 30), (90, 450, 90)]
    assert all(one["peak_bytes"] >= one["before_bytes"] > 0 for one in told["plans"])


def test_scale_writes_no_more_than_it_may(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    scale_stores = importlib.import_module("scale_stores")
    with (
        pytest.raises(SystemExit, match="more than --most-gb 1"),
        scale_stores.stores(tmp_path, None, [1_000_000], 5, most_gb=1),
    ):
        raise AssertionError("stores of 5 GB were made")
    assert list(tmp_path.iterdir()) == []


def test_scale_draws_the_same_vectors_in_every_process(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    draw = importlib.import_module("scale").Drawn()
    # CRC-32 of "123456789", the check value of its definition.
    assert (draw(["123456789"])[0] == draw._pool[0xCBF43926 % len(draw._pool)]).all()


def test_what_benchmarks_of_serving_serve_can_be_written(monkeypatch, tmp_path):
    """They need Ray and a quiet machine; this much of them does not."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    served_base = importlib.import_module("served_base")
    from hydra_ray.runtime.models import chosen_base
    from hydra_ray.store.backends import open_store

    settings = served_base.make_settings(tmp_path, "http://127.0.0.1/v1")
    served_base.prepare(settings, served_base.film_task(), 3, 4, big=0, heads=3)
    assert chosen_base(settings).version == "bench-1"
    store = open_store(settings.store_target)
    user = UserKey("bench", "user-2")
    assert len(store.history(user)) == 4
    assert store.head(user, "bench-1", "adapter") is not None
    store.close()
