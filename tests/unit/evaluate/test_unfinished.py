"""Evaluations whose LLM fails: nothing of that is a result, and the next run asks just the rest."""

import json
import threading
from collections import Counter

import pytest
from film_records import write_films
from openai_endpoint import completion, serving
from results_file import read_result

from hydra_ray.evaluate.run import evaluate
from hydra_ray.evaluate.runs import read_run
from hydra_ray.progress import SILENT
from hydra_ray.settings import parse_settings
from hydra_ray.steps.generate.failures import UnfinishedError

LABELS = ("comedy", "drama", "war")
USERS = 5
QUERIES = USERS * 2


class Endpoint:
    """Answers with a label, or as `ends` says of a request's number and text; counts what it answered."""

    def __init__(self, server):
        self.url = server.url
        self.ends = lambda number, text: None
        self.number, self.answered = 0, Counter()
        self._lock = threading.Lock()
        server.replies = [self._reply]

    def _reply(self, body):
        text = json.dumps(body["messages"])
        with self._lock:
            self.number += 1
            failure = self.ends(self.number, text)
            self.answered[text] += not failure
        return failure or completion(*[LABELS[len(text) % 3]] * (body.get("n") or 1))


def status(code, message):
    return code, {"error": {"message": message}}


@pytest.fixture
def endpoint():
    with serving() as server:
        yield Endpoint(server)


@pytest.fixture
def tree(endpoint, tmp_path):
    path = write_films(tmp_path, USERS, range(6), lambda user, film: (f"film {user} {film}", LABELS[(user + film) % 3]))
    return {
        "out": str(tmp_path / "out"),
        "data": {
            "format": "records",
            "path": path,
            "labels": list(LABELS),
            "instruction": "Which tag?",
            "split": "train",
            "queries_per_user": 2,
            "dev_share": 0.01,
        },
        "generator": {"backend": "openai", "model": "m", "base_url": endpoint.url, "retries": 0, "concurrency": 4},
        "evaluate": {"methods": ["zero-shot", "rag"], "bootstrap": 100, "folds": 2},
    }


def run(tree, **generator):
    settings = parse_settings({**tree, "generator": {**tree["generator"], **generator}})
    return evaluate(settings, SILENT), settings


def written(tree, tmp_path):
    return sorted(path.name for path in (tmp_path / "out").glob("*") if path.is_file())


def test_a_dead_endpoint_gives_no_scores_and_one_that_is_back_is_asked_everything(tree, endpoint, tmp_path):
    endpoint.ends = lambda number, text: status(503, "out of order")
    with pytest.raises(UnfinishedError, match=r"20 |no scores yet.* 503.* out of order"):
        run(tree)
    assert written(tree, tmp_path) == []
    endpoint.ends = lambda number, text: None
    result, settings = run(tree)
    (task,) = result.tasks
    assert task.methods["rag"]["accuracy"].n == QUERIES
    assert not task.missing
    assert endpoint.answered.total() == 2 * QUERIES
    assert read_result(settings.out / "results.json") == result


def test_a_run_of_which_every_third_request_failed_asks_just_those_again(tree, endpoint, tmp_path):
    endpoint.ends = lambda number, text: status(503, "no luck") if number % 3 == 0 else None
    with pytest.raises(UnfinishedError, match=r"zero-shot \d+, rag \d+; why: 6 server \(most often: .*no luck"):
        run(tree)
    assert written(tree, tmp_path) == []
    first = dict(+endpoint.answered)
    assert len(first) == 2 * QUERIES - 6
    kept = read_run(tmp_path / "out" / "dumps" / "rag.parquet")
    assert {row.failure.kind for row in kept.rows if row.answer is None} == {"server"}
    # Without the cache, so that what is asked shows what was kept of the run itself.
    for path in (tmp_path / "out" / "answers").iterdir():
        path.unlink()
    endpoint.number, endpoint.ends = 0, lambda number, text: None
    result, _ = run(tree)
    assert endpoint.number == 6
    assert set(endpoint.answered.values()) == {1}, "nothing that was answered is asked again"
    assert not result.tasks[0].missing


def test_an_endpoint_that_turns_the_key_away_is_given_up_at_once(tree, endpoint, tmp_path):
    endpoint.ends = lambda number, text: status(401, "no such key")
    with pytest.raises(UnfinishedError, match=r"stopped early: .*\(key\): .*no such key.* The same command goes on"):
        run(tree)
    assert endpoint.number < QUERIES
    assert written(tree, tmp_path) == []


def test_refusals_are_results_and_stand_apart_in_every_table(tree, endpoint, tmp_path):
    endpoint.ends = lambda number, text: (
        status(400, "the prompt is too long [really]") if "Which tag? film 0" in text else None
    )
    result, settings = run(tree)
    (task,) = result.tasks
    # One user's two queries, by either method.
    assert {(method, one.kind, one.count) for method, found in task.unanswered.items() for one in found} == {
        ("zero-shot", "refused", 2),
        ("rag", "refused", 2),
    }
    assert "the prompt is too long [really]" in (settings.out / "results.json").read_text()
    assert "the prompt is too long [really]" in (settings.out / "report.html").read_text()
    asked = endpoint.number
    run(tree)
    assert endpoint.number == asked, "what was refused once is refused"


def test_an_endpoint_that_refuses_everything_is_no_result(tree, endpoint, tmp_path):
    endpoint.ends = lambda number, text: status(400, "unknown parameter")
    with pytest.raises(UnfinishedError, match="unknown parameter"):
        run(tree)
    assert written(tree, tmp_path) == []
    endpoint.ends = lambda number, text: None
    result, _ = run(tree)
    assert not result.tasks[0].missing


def test_a_profile_that_failed_for_now_leaves_its_queries_unfinished(tree, endpoint, tmp_path):
    tree["evaluate"]["methods"] = ["pag"]
    endpoint.ends = lambda number, text: (
        status(503, "no luck") if "Which tag" not in text and "u" and number == 1 else None
    )
    with pytest.raises(UnfinishedError, match=r"pag \d; why: .*no luck"):
        run(tree)
    endpoint.ends = lambda number, text: None
    result, _ = run(tree)
    assert result.tasks[0].costs["pag"].degraded == 0


def test_a_spent_budget_leaves_the_evaluation_unfinished(tree, endpoint, tmp_path):
    with pytest.raises(UnfinishedError, match=r"generator\.limits\.calls"):
        run(tree, limits={"calls": 7})
    assert endpoint.number == 7
    result, _ = run(tree)
    assert endpoint.number == 2 * QUERIES
    assert not result.tasks[0].missing
