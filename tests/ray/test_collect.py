"""Collection as a Ray Data pipeline: nothing is asked twice, lost or there twice, also when it is killed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
import ray
from film_records import write_films
from killing import PATIENCE_S
from openai_endpoint import Server, completion, serving

from hydra_ray.learn.collect import pipeline
from hydra_ray.learn.collect.job import collect_feedback, estimate_feedback
from hydra_ray.learn.collect.rows import AdapterRow, ExampleRow, RerankerRow
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.progress import SILENT
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.steps.generate.failures import UnfinishedError

LABELS = ("comedy", "drama", "horror")
CONCURRENCY = 8
USERS, RECORDS, PSEUDO = 6, 9, 5


class LLM:
    """Answers by a hash of what it is asked, counts every request, and can call out after each."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.on_request = lambda count: None
        self.status = 200
        self.fails = lambda count: False
        server.replies = [self.reply]

    def reply(self, asked: dict) -> tuple[int, dict]:
        with self.lock:
            self.asked[json.dumps(asked, sort_keys=True)] += 1
            count = self.asked.total()
        self.on_request(count)
        if self.status != 200 or self.fails(count):
            return 503, {"error": {"message": "out of order"}}
        with self.lock:
            self.answered[json.dumps(asked, sort_keys=True)] += 1
        digest = hashlib.sha256(json.dumps([asked["messages"], asked.get("seed")]).encode()).digest()
        return 200, completion(*(LABELS[digest[i] % len(LABELS)] for i in range(asked.get("n", 1))))


@pytest.fixture
def llm():
    with serving() as server:
        yield LLM(server)


@pytest.fixture
def tree(llm: LLM, tmp_path: Path) -> dict:
    """Settings of people who tag films; the same film has the same text for everybody."""
    path = write_films(
        tmp_path, USERS, range(RECORDS), lambda user, film: (f"film {film} of all", LABELS[(user + film) % 3])
    )
    return {
        "out": str(tmp_path / "out"),
        "method": {"rerank": True},
        "data": {
            "format": "records",
            "path": path,
            "labels": list(LABELS),
            "instruction": "Which tag?",
            "queries_per_user": 2,
        },
        "generator": {
            "backend": "openai",
            "model": "m",
            "base_url": llm.url,
            "concurrency": CONCURRENCY,
            "retries": 0,
            "timeout_s": 30,
        },
        "feedback": {"pseudo_queries": PSEUDO, "items": 3},
        "users": "train",
    }


def quiet(settings: Settings):
    return collect_feedback(settings, SILENT)


def rows(settings: Settings, kind: type) -> list:
    return FeedbackStore(settings.feedback_dir).read(kind)


@pytest.mark.usefixtures("ray_cluster")
def test_a_dry_run_tells_exactly_what_will_be_asked_and_nothing_is_asked_twice(llm, tree):
    settings = parse_settings(tree)
    ahead = estimate_feedback(settings)
    assert not llm.asked
    assert not settings.answers_dir.exists()
    report = quiet(settings)
    assert report.examples == ahead.examples > 20
    assert report.usage.calls == ahead.requests == llm.asked.total() == len(llm.asked)
    # Everybody saw the same films: without history the same question is asked for all.
    assert report.usage.cached == ahead.repeated > 0
    assert report.failed.total() == report.unfinished == report.left == 0
    again = estimate_feedback(settings)
    assert (again.examples, again.kept, again.requests) == (0, ahead.examples, 0)
    assert quiet(settings).kept == ahead.examples
    assert llm.asked.total() == ahead.requests


@pytest.mark.usefixtures("ray_cluster")
def test_killed_again_and_again_nothing_is_missing_there_twice_or_asked_twice(llm, tree, tmp_path):
    whole = parse_settings({**tree, "out": str(tmp_path / "whole")})
    quiet(whole)
    distinct = len(llm.asked)
    llm.asked.clear()

    settings = parse_settings(tree)
    path = tmp_path / "settings.yaml"
    path.write_text(json.dumps(tree))
    command = [sys.executable, "-m", "hydra_ray", "collect", str(path)]
    command.append(f"ray.address={ray.get_runtime_context().gcs_address}")
    kills = 0
    for share in (0.25, 0.6):
        victim = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        dying = threading.Event()

        def kill(count: int, victim=victim, dying=dying, at=int(share * distinct)) -> None:
            if count >= at and not dying.is_set():
                dying.set()
                os.kill(victim.pid, signal.SIGKILL)

        llm.on_request = kill
        output, _ = victim.communicate(timeout=PATIENCE_S)
        assert victim.returncode == -signal.SIGKILL, output.decode()
        kills += 1
    llm.on_request = lambda count: None
    quiet(settings)

    assert len(llm.asked) == distinct
    assert llm.asked.total() - distinct <= kills * CONCURRENCY, "only what was in flight is asked again"
    for kind in (ExampleRow, RerankerRow, AdapterRow):
        assert rows(settings, kind) == rows(whole, kind)
    assert estimate_feedback(settings).requests == 0


@pytest.mark.usefixtures("ray_cluster")
def test_a_long_plan_in_few_blocks_is_asked_as_any_other(llm, tree, tmp_path, monkeypatch):
    whole = parse_settings({**tree, "out": str(tmp_path / "whole")})
    quiet(whole)
    monkeypatch.setattr(pipeline, "_MOST_BLOCKS", 2)
    settings = parse_settings({**tree, "generator": {**tree["generator"], "limits": {"calls": 40}}})
    first = quiet(settings)
    assert first.usage.calls == 40, "one budget over all batches of all blocks"
    assert first.left > 0
    quiet(parse_settings(tree)).check()
    for kind in (ExampleRow, RerankerRow, AdapterRow):
        assert rows(settings, kind) == rows(whole, kind)


@pytest.mark.usefixtures("ray_cluster")
def test_a_budget_stops_the_job_and_the_next_run_goes_on(llm, tree):
    settings = parse_settings({**tree, "generator": {**tree["generator"], "limits": {"calls": 40}}})
    first = quiet(settings)
    assert llm.asked.total() == first.usage.calls == 40
    assert first.left > 0
    assert "generator.limits.calls" in first.stopped
    second = quiet(parse_settings(tree))
    assert (second.kept, second.examples) == (first.examples, first.left)
    assert llm.asked.total() == len(llm.asked), "what the first run paid for is not asked again"


@pytest.mark.usefixtures("ray_cluster")
def test_several_labelers_share_the_work_and_lose_none_of_it(llm, tree):
    tree["feedback"]["labelers"] = 2
    settings = parse_settings(tree)
    ahead = estimate_feedback(settings)
    report = quiet(settings)
    assert (report.examples, report.unfinished) == (ahead.examples, 0)
    assert report.usage.calls + report.usage.cached == ahead.requests + ahead.repeated
    # Two processes may ask the same at the same moment, but no more than two.
    assert max(llm.asked.values()) <= 2
    keys = [row.key for row in rows(settings, AdapterRow)]
    assert len(keys) == len(set(keys)) == ahead.examples


@pytest.mark.usefixtures("ray_cluster")
def test_an_endpoint_that_is_down_is_said_and_costs_nothing_later(llm, tree):
    llm.status = 503
    settings = parse_settings(tree)
    with pytest.raises(UnfinishedError, match=r"answered none of the first .* out of order"):
        quiet(settings)
    assert FeedbackStore(settings.feedback_dir).done() == set()
    llm.status = 200
    report = quiet(settings)
    assert (report.kept, report.failed.total()) == (0, 0)
    assert report.examples == estimate_feedback(settings).kept


@pytest.mark.usefixtures("ray_cluster")
def test_calls_that_failed_for_now_leave_the_collection_unfinished_and_are_asked_alone(llm, tree):
    llm.fails = lambda count: count % 10 == 0
    settings = parse_settings(tree)
    report = quiet(settings)
    assert 0 < report.unfinished < report.unfinished + report.examples
    with pytest.raises(UnfinishedError, match=r"server \(most often: .*out of order"):
        report.check()
    asked = llm.asked.total()
    llm.fails = lambda count: False
    again = quiet(settings)
    again.check()
    assert again.examples == report.unfinished
    assert 0 < again.usage.calls == llm.asked.total() - asked < asked / 2
    assert set(llm.answered.values()) == {1}, "what was answered is not asked again"


@pytest.mark.usefixtures("ray_cluster")
def test_ray_leaves_the_signal_that_ends_a_command_alone():
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
