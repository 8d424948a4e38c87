"""Comparisons over tasks and seeds: prepared, answered, resumed and scored again."""

import json
import random
from pathlib import Path

import pytest
from openai_endpoint import completion, serving
from results_file import read_result

from hydra_ray.evaluate.run import evaluate, score
from hydra_ray.evaluate.runs import read_run, read_runs
from hydra_ray.methods import METHODS
from hydra_ray.progress import SILENT
from hydra_ray.records import HydraError
from hydra_ray.settings import parse_settings

TAGS = ("comedy", "drama", "sci-fi", "war")
HEADS = {"hydra-reranker", "hydra-adapter", "hydra-ungated", "hydra", "shared-head", "other-head"}


def write_lamp(folder: Path) -> None:
    """Two tasks of made-up people, each of whom has a tag, or a first word of titles, of their own."""
    for split, users in (("train", 10), ("dev", 4)):
        for task in ("LaMP_2M", "LaMP_5"):
            questions, golds = [], []
            for user in range(users):
                own, name = TAGS[user % len(TAGS)], f"{split}-{user}"
                rows = [_row(task, f"{name}-{place}", own, place) for place in range(8)]
                for number, (row, output) in enumerate(rows[-2:]):
                    text = row["description"] if task == "LaMP_2M" else row["abstract"]
                    asked = f"{_INSTRUCTIONS[task]} {text}"
                    profile = [one for one, _ in rows[:6]]
                    about = {"id": f"{name}-q{number}", "user_id": name, "ts": "2020", "item_id": row["item_id"]}
                    questions.append({**about, "input": asked, "profile": profile})
                    golds.append({"id": f"{name}-q{number}", "output": output})
            place = folder / task
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{split}_questions.json").write_text(json.dumps(questions))
            (place / f"{split}_outputs.json").write_text(json.dumps({"task": task, "golds": golds}))


_INSTRUCTIONS = {
    "LaMP_2M": f"Which tag does this movie relate to among the following tags? tags: [{', '.join(TAGS)}] description:",
    "LaMP_5": "Generate a title for the following abstract of a paper:",
}


def _row(task, identity, own, place):
    rng = random.Random(identity)
    text = f"film {rng.choice(['of robots', 'of kings', 'of dogs'])} number {identity}"
    output = own if rng.random() < 0.8 else rng.choice(TAGS)
    about = {"id": identity, "ts": str(2000 + place), "item_id": f"film-{place}"}
    if task == "LaMP_2M":
        return {**about, "description": text, "tag": output}, output
    return {**about, "abstract": text, "title": f"{output} and more"}, f"{output} and more"


def answer(body):
    """As many answers as are wanted, the same ones for the same request."""
    rng = random.Random(json.dumps([body["messages"], body["temperature"], body.get("seed")]))
    tags = [rng.choice(TAGS) for _ in range(body.get("n") or 1)]
    titles = "abstract of a paper" in body["messages"][-1]["content"]
    return completion(*(f"{tag} and more" if titles else tag for tag in tags))


@pytest.fixture(scope="module")
def endpoint():
    with serving() as server:
        server.replies = [answer]
        yield server


@pytest.fixture(scope="module")
def settings(endpoint, tiny_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    write_lamp(folder / "lamp")
    key = folder / "key"
    key.write_text("none")
    return parse_settings(
        {
            "out": str(folder / "out"),
            "data": {"dir": str(folder / "lamp"), "split": "dev"},
            "generator": {"backend": "openai", "base_url": endpoint.url, "api_key_file": str(key), "model": "m"},
            "feedback": {"pseudo_queries": 4, "items": 3},
            "base": {"encoder": {"name": str(tiny_encoder), "max_tokens": 64, "precision": "float32"}, "epochs": 1},
            "method": {"candidates": 4, "shots": 2, "temperature": 1.0, "rerank": True},
            "fit": {"steps": 5, "min_groups": 1},
            "peers": {"tenants": ["default"], "floor": 0.0},
            "evaluate": {"tasks": ["LaMP_2M", "LaMP_5"], "workers": 2, "bootstrap": 200, "folds": 2},
        }
    )


@pytest.fixture(scope="module")
def outcome(ray_cluster, settings):
    return evaluate(settings, SILENT)


def test_every_method_answers_every_query_of_every_task(outcome, settings):
    assert [task.task for task in outcome.tasks] == ["LaMP_2M", "LaMP_5"]
    for task in outcome.tasks:
        assert set(METHODS) <= set(task.methods)
        assert set(task.methods) >= HEADS
        assert (task.users, task.queries, task.seeds) == (4, 8, (0,))
        assert not task.missing
        assert task.headline is not None
    for name in ("results.json", "results.csv", "pairs.csv", "report.html", "predictions.jsonl"):
        assert (settings.out / name).stat().st_size > 0, name


def test_what_depends_on_more_than_the_prompt_was_there(outcome, settings):
    hydra = read_run(settings.out / "LaMP_2M" / "seed-0" / "dumps" / "hydra.parquet")
    assert {row.answer.head for row in hydra.rows} == {"user"}
    assert {row.asked.seen for row in hydra.rows} == {True}, "training users have the same films"
    assert {row.asked.history_items for row in hydra.rows} == {6}
    assert hydra.judged
    assert hydra.train_users == 10, "a run of fewer is compared with it"
    assert read_run(settings.out / "LaMP_2M" / "seed-0" / "dumps" / "rag.parquet").train_users == 0
    # This LLM names no differences, so dpl's profiles are of the users' own items alone.
    for name, degraded in (("cfrag", ()), ("pag", ()), ("dpl", ("differences",))):
        rows = read_run(settings.out / "LaMP_2M" / "seed-0" / "dumps" / f"{name}.parquet").rows
        assert {row.answer.degraded for row in rows} == {degraded}, name


def test_what_is_there_is_not_answered_again(outcome, settings, endpoint):
    dumps = {path: path.stat().st_mtime_ns for path in settings.out.rglob("dumps/*.parquet")}
    assert len(dumps) == 2 * (len(METHODS) + 2)
    asked = len(endpoint.asked)
    assert evaluate(settings, SILENT) == outcome
    assert len(endpoint.asked) == asked
    assert {path: path.stat().st_mtime_ns for path in dumps} == dumps


def test_a_method_whose_run_was_lost_is_answered_from_the_cache(outcome, settings, endpoint):
    path = settings.out / "LaMP_5" / "seed-0" / "dumps" / "rag.parquet"
    before, asked = read_run(path), len(endpoint.asked)
    path.unlink()
    evaluate(settings, SILENT)
    assert len(endpoint.asked) == asked
    assert [row.output for row in read_run(path).rows] == [row.output for row in before.rows]


def test_dumps_are_scored_again_without_an_llm(outcome, settings, endpoint, tmp_path):
    asked = len(endpoint.asked)
    elsewhere = settings.model_copy(update={"out": tmp_path})
    # As the last evaluation wrote it: a run that was made again took other seconds.
    assert score(read_runs(settings.out), elsewhere) == read_result(settings.out / "results.json")
    assert len(endpoint.asked) == asked
    assert (tmp_path / "report.html").exists()


def test_corrected_answers_and_other_questions_are_noticed(outcome, settings, endpoint):
    one = settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update={"tasks": ("LaMP_2M",)})})
    path = Path(settings.data.dir) / "LaMP_2M" / "dev_outputs.json"
    before = path.read_text()
    told = json.loads(before)
    first = told["golds"][0]
    first["output"] = TAGS[TAGS.index(first["output"]) - 1]
    path.write_text(json.dumps(told))
    evaluate(one, SILENT)
    path.write_text(before)
    rows = read_run(settings.out / "LaMP_2M" / "seed-0" / "dumps" / "rag.parquet").rows
    golds = {row.asked.query.id: row.asked.gold for row in rows}
    assert golds[first["id"]] == first["output"], "what was answered before is not scored by old answers"
    fewer = one.model_copy(update={"method": one.method.model_copy(update={"shots": 1})})
    with pytest.raises(HydraError, match=r"LaMP_2M: this feedback .* \(method\.shots was 2 and is 1\)"):
        evaluate(fewer, SILENT)
