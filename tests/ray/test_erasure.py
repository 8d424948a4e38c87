"""Users are erased from all that collect, fit, profile and evaluate have made, and the living keep what is theirs."""

import json
import sqlite3

import pytest
from marker_search import places_of, tables_of
from openai_endpoint import completion, serving

from hydra_ray.evaluate.run import evaluate
from hydra_ray.evaluate.runs import read_run
from hydra_ray.learn.collect.job import collect_feedback
from hydra_ray.learn.collect.rows import ExampleRow
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.learn.heads.job import fit_users
from hydra_ray.models.base import Base
from hydra_ray.progress import SILENT
from hydra_ray.records import UserKey
from hydra_ray.rights.erasure.job import erase_users
from hydra_ray.runtime.loading import load_data
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.types import ProfileFingerprint, UserProfile
from hydra_ray.tasks import TEXT_TASK

USERS, RECORDS = 6, 7


def word(user: str) -> str:
    """A word that this user writes in everything, and nobody else."""
    return f"quokka{user}berry"


def answer(body):
    """An LLM that says what it was told: all that people wrote comes back in its answers."""
    asked = body["messages"][-1]["content"]
    seed = body.get("seed") or 0
    return completion(*(f"{asked} number {seed + n}" for n in range(body.get("n") or 1)))


@pytest.fixture(scope="module")
def settings(ray_cluster, scorer, tiny_encoder, tmp_path_factory):
    """What is there after records were collected, fitted, profiled and evaluated."""
    folder = tmp_path_factory.mktemp("erasure")
    with (folder / "records.jsonl").open("w") as lines:
        for user in range(USERS):
            mine = word(f"u{user}")
            for day in range(RECORDS):
                record = {
                    "user_id": f"u{user}",
                    "input": f"please write about subject {day} for {mine} today",
                    "output": f"the {mine} answer about subject {day} is here",
                    "ts": f"2026-01-{day + 1:02}",
                }
                lines.write(json.dumps(record) + "\n")
    out = folder / "out"
    Base("v1", TEXT_TASK, scorer(seed=1), scorer(seed=2)).save(out / "model" / "base")
    with serving() as server:
        server.replies = [answer]
        settings = parse_settings(
            {
                "out": str(out),
                "data": {"format": "records", "path": str(folder / "records.jsonl"), "split": "dev", "dev_share": 0.5},
                "generator": {"backend": "openai", "base_url": server.url, "model": "m", "api_key_env": "NO_KEY"},
                "feedback": {"pseudo_queries": 2, "items": 2, "stop_when_alike": False},
                "method": {"candidates": 2, "shots": 2},
                "base": {"encoder": {"precision": "float32"}},
                "fit": {"mode": "zero-call", "steps": 2, "min_groups": 1},
                "peers": {"tenants": ["default"], "floor": -1.0},
                "embedder": {"name": str(tiny_encoder), "precision": "float32", "max_tokens": 64},
                "evaluate": {"methods": ["rag", "cfrag", "hydra"], "bootstrap": 100, "folds": 2},
            }
        )
        collect_feedback(settings, SILENT)
        fit_users(settings.model_copy(update={"users": "dev"}), SILENT)
        evaluate(settings, SILENT)
    store, dev = open_store(settings.store_url), [user.key for user in load_data(settings, "dev")[1].users]
    made_from = ProfileFingerprint("h", "w", 1)
    text = f"Writes less than who says {word(dev[0].user)}."
    store.put_profiles([(dev[1], UserProfile("dpl", text, made_from, (dev[0],)))])
    store.close()
    return settings


@pytest.mark.usefixtures("ray_cluster")
def test_nothing_that_an_erased_user_wrote_is_left_anywhere(settings):
    out, database = settings.out, settings.out / "users.db"
    dev = [user.key for user in load_data(settings, "dev")[1].users]
    train = [user.key for user in load_data(settings, "train")[1].users]
    gone, living = [dev[0], train[0]], [dev[1], train[1]]
    # The search finds whoever is there, in each kind of file.
    before = {key: places_of(word(key.user), out) for key in [*gone, *living]}
    for key in (dev[0], dev[1]):
        for part in ("answers/", "dumps/", "users.db", "predictions.jsonl"):
            assert any(place.startswith(part) for place in before[key]), (part, before[key])
    for key in (train[0], train[1]):
        for part in ("answers/", "feedback/"):
            assert any(place.startswith(part) for place in before[key]), (part, before[key])
    # Peers' words are in others' prompts, and in profiles.
    cfrag = read_run(out / "dumps" / "cfrag.parquet").rows
    assert any(word(dev[0].user) in str(row.answer.prompt) for row in cfrag if row.user != dev[0])
    assert {"history", "profiles"} <= set(tables_of(word(dev[0].user), database))

    report = erase_users(settings, gone)

    for key in gone:
        assert places_of(word(key.user), out) == []
        assert tables_of(word(key.user), database) == []
    assert report.left == []
    assert len(report.found_before) >= 5
    assert report.counts["history"] > 0
    assert report.counts["profiles_of_others"] > 0
    assert report.versions == {"v1": [train[0]]}
    assert "still have" in " ".join(report.notes)
    for key in living:
        files = [place for place in before[key] if not place.endswith("-wal")]
        assert set(files) <= set(places_of(word(key.user), out))
    kept = {UserKey(*row.example_id[:2]) for row in FeedbackStore(settings.feedback_dir).read(ExampleRow)}
    assert kept == set(train) - set(gone)
    # What was evaluated is scored without them.
    told = json.loads((out / "results.json").read_text())
    assert {task["users"] for task in told["tasks"]} == {len(dev) - 1}
    store = open_store(settings.store_url)
    assert store.history(dev[1])
    assert store.users_with_head("v1", "adapter") == sorted(set(dev) - set(gone))
    store.close()

    # The records still hold them.
    fit_users(settings.model_copy(update={"users": "dev"}), SILENT)
    for key in gone:
        assert places_of(word(key.user), out) == []
        assert tables_of(word(key.user), database) == []

    again = erase_users(settings, gone)
    assert (again.erased, again.left, sum(again.counts.values())) == ([], [], 0)
    with sqlite3.connect(settings.answers_dir / "default.sqlite") as answers:
        assert {user for (user,) in answers.execute("SELECT DISTINCT user FROM asked_for")} == {
            key.user for key in {*dev, *train} - set(gone)
        }
    answers.close()
