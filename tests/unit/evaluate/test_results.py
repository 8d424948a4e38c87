import json

import pytest

from hydra_ray.evaluate.results import Results, score_methods, write_results
from hydra_ray.records import HydraError, UserKey
from hydra_ray.tasks import Task

TAGS = Task(name="tags", kind="classification", labels=("comedy", "dark comedy", "sci-fi"))
STARS = Task(name="stars", kind="rating", labels=("1", "2", "3", "4", "5"))

GOLDS = {f"q{place}": "comedy" for place in range(8)}
USERS = {query_id: UserKey("tenant", f"u{place // 2}") for place, query_id in enumerate(GOLDS)}


def right(*places: int) -> dict[str, str]:
    """Outputs that are right in these places and wrong in the others."""
    return {query_id: "Comedy." if place in places else "dark comedy" for place, query_id in enumerate(GOLDS)}


OUTPUTS = {
    "zero-shot": right(0),
    "icl": right(0, 2, 4),
    "rag": right(0, 2, 4, 6),
    "hydra": right(0, 1, 2, 4, 6),
    "oracle": right(*range(8)),
}


@pytest.fixture
def results() -> Results:
    return score_methods(TAGS, "dev", OUTPUTS, GOLDS, USERS, controls=["oracle", "majority"])


def test_every_method_has_every_metric_with_its_interval(results):
    rag = results.methods["rag"]

    assert list(rag) == ["accuracy", "macro_f1"]
    # Every user has one right and one wrong answer, so resampling users changes nothing.
    assert (rag["accuracy"].low, rag["accuracy"].value, rag["accuracy"].high) == (0.5, 0.5, 0.5)
    assert rag["accuracy"].n == 8
    assert results.users == 4


def test_improvement_is_over_the_best_prompt_based_method(results):
    assert results.improvement is not None
    assert (results.improvement.baseline, results.improvement.metric) == ("rag", "accuracy")
    assert results.improvement.relative == pytest.approx(0.25)
    # Only one of the four users gains: a resample may leave them out, or draw them several times.
    assert results.improvement.low == 0
    assert 0.5 <= results.improvement.high <= 1


def test_a_lower_error_is_an_improvement():
    golds = dict.fromkeys(GOLDS, "4")
    outputs = {
        "zero-shot": dict.fromkeys(GOLDS, "1"),
        "rag": dict.fromkeys(GOLDS, "2"),
        "hydra": dict.fromkeys(GOLDS, "3"),
    }

    results = score_methods(STARS, "dev", outputs, golds, USERS)

    assert results.improvement is not None
    assert (results.improvement.baseline, results.improvement.metric) == ("rag", "mae")
    assert results.improvement.relative == pytest.approx(0.5)
    assert results.paired["zero-shot"].value == 2


@pytest.mark.parametrize("methods", [["rag", "icl"], ["hydra", "oracle"]])
def test_without_hydra_or_a_prompt_based_method_there_is_no_improvement(methods):
    results = score_methods(TAGS, "dev", {method: OUTPUTS[method] for method in methods}, GOLDS, USERS)

    assert results.to_json()["improvement"] is None


def test_there_is_no_share_of_nothing():
    results = score_methods(TAGS, "dev", {"rag": right(), "hydra": right(1)}, GOLDS, USERS)

    assert results.improvement is None
    assert results.paired["rag"].value == pytest.approx(1 / 8)


def test_an_improvement_without_an_upper_end_is_null_in_json():
    # The baseline is right for one user of four, whom a third of the resamples leave out.
    results = score_methods(TAGS, "dev", {"rag": right(0), "hydra": right(*range(8))}, GOLDS, USERS)

    improvement = json.loads(json.dumps(results.to_json(), allow_nan=False))["improvement"]
    assert improvement["high"] is None
    assert improvement["low"] > 0


def test_differences_are_paired(results):
    assert set(results.paired) == {"zero-shot", "icl", "rag", "oracle"}
    assert results.paired["rag"].value == pytest.approx(1 / 8)
    assert results.paired["oracle"].value == pytest.approx(-3 / 8)
    assert results.paired["oracle"].high < 0


def test_a_missing_output_is_wrong_and_counted():
    results = score_methods(TAGS, "dev", {"rag": {"q0": "comedy", "q1": " "}, "icl": right(0)}, GOLDS, USERS)

    assert results.methods["rag"]["accuracy"].value == pytest.approx(1 / 8)
    assert results.missing == {"rag": 7}


def test_a_split_without_answers_cannot_be_scored():
    with pytest.raises(HydraError, match='split "test" has no gold answers'):
        score_methods(TAGS, "test", OUTPUTS, {}, USERS)


def test_json_follows_the_schema():
    work = {"rag": {"calls": 8, "failures": 1}}
    values = score_methods(TAGS, "dev", {**OUTPUTS, "icl": {}}, GOLDS, USERS, controls=["oracle"], work=work).to_json()

    extras = {"users", "paired", "missing", "work", "controls"}
    assert set(values) == {"schema", "task", "split", "methods", "improvement"} | extras
    assert (values["schema"], values["task"], values["split"]) == ("hydra-ray/results/v1", "tags", "dev")
    assert set(values["methods"]["rag"]["accuracy"]) == {"value", "low", "high", "n"}
    assert set(values["improvement"]) == {"metric", "method", "baseline", "relative", "low", "high"}
    assert (values["improvement"]["method"], values["improvement"]["baseline"]) == ("hydra", "rag")
    assert (values["work"], values["controls"], values["missing"]) == (work, ["oracle"], {"icl": 8})


def test_extras_are_left_out_when_empty():
    values = score_methods(TAGS, "dev", {"rag": OUTPUTS["rag"]}, GOLDS, USERS).to_json()

    assert set(values) == {"schema", "task", "split", "methods", "improvement", "users"}


def test_json_reads_back(results):
    assert Results.from_json(json.loads(json.dumps(results.to_json()))) == results


def test_another_schema_is_refused():
    with pytest.raises(HydraError, match="results/v9"):
        Results.from_json({"schema": "hydra-ray/results/v9"})


def test_files_hold_results_and_predictions(results, tmp_path):
    write_results(tmp_path / "run", results, {"rag": right(0), "icl": {"q1": "comédie"}}, USERS)

    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results.to_json()
    lines = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()]
    assert [(line["method"], line["id"]) for line in lines] == [(m, q) for m in ("icl", "rag") for q in USERS]
    assert lines[0] == {"id": "q0", "user_id": "u0", "method": "icl", "output": ""}
    assert lines[1]["output"] == "comédie"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["predictions.jsonl", "results.json"]


def test_a_failed_write_leaves_the_earlier_files_whole(results, tmp_path):
    write_results(tmp_path, results, OUTPUTS, USERS)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = score_methods(TAGS, "dev", OUTPUTS, GOLDS, USERS, work={"rag": {"calls": object()}})

    with pytest.raises(TypeError):
        write_results(tmp_path, broken, OUTPUTS, USERS)
    with pytest.raises(TypeError):
        write_results(tmp_path, results, {"rag": {"q0": object()}}, USERS)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_failed_replacement_leaves_no_draft(results, tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError("disk is gone")

    monkeypatch.setattr("hydra_ray.evaluate.results.os.replace", refuse)
    with pytest.raises(OSError, match="disk is gone"):
        write_results(tmp_path, results, OUTPUTS, USERS)

    assert list(tmp_path.iterdir()) == []
