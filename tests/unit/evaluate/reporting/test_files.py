import csv
import json
import math
from collections import Counter
from dataclasses import replace

import pytest
from defaults import score_runs
from made_runs import TAGS, asked, judged, row, run, runs
from results_file import read_result

from hydra_ray.evaluate.reporting.files import to_json, write_result
from hydra_ray.evaluate.results import ComparisonResult

USERS = [f"u{place}" for place in range(4)]


@pytest.fixture(scope="module")
def result() -> ComparisonResult:
    known = [asked(user, f"{user}0", most_frequent="drama", history_items=3, seen=True, cohort="shy") for user in USERS]
    offered = judged(drama=(2, 0.0), comedy=(1, 3.0))
    hydra = [
        run("hydra", [row(one, "comedy", offered) for one in known], seed=seed, train_users=9, judged=((0.3, True),))
        for seed in (0, 1)
    ]
    fewer = run("hydra", [row(one, "drama", offered) for one in known], train_users=3)
    # Right for one user of four, whom a third of the resamples leave out.
    signs = {"zero-shot": dict.fromkeys(USERS, "-"), "rag": {**dict.fromkeys(USERS, "-"), "u0": "+"}}
    return score_runs([*hydra, fewer, *runs(signs)], resamples=200, baselines=["rag"])


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_outcome_reads_back_as_it_was(result, tmp_path):
    task = result.tasks[0]
    assert all((task.pairs, task.slices, task.fates, task.gains, task.calibration, task.by_users, task.by_candidates))
    assert math.isinf(task.headline.relative.high), "an end that JSON does not have"

    write_result(tmp_path / "run", result)

    assert read_result(tmp_path / "run" / "results.json") == result


def test_what_was_counted_of_profiles_reads_back(tmp_path):
    # As evaluations count it.
    read = Counter({"at_once": 2, "never": 1})
    known = [asked(user, f"{user}0", history_items=3) for user in USERS]
    counted = score_runs([run("dpl", [row(one, "drama") for one in known], read=read)], resamples=100)
    assert counted.tasks[0].profiled["dpl"].read == {"at_once": 2, "never": 1}

    write_result(tmp_path / "run", counted)

    assert read_result(tmp_path / "run" / "results.json") == counted


def test_what_is_about_one_task_says_it_at_the_top_too(result, tmp_path):
    write_result(tmp_path, result)
    values = json.loads((tmp_path / "results.json").read_text())
    assert set(values) == {
        "schema",
        "task",
        "split",
        "methods",
        "improvement",
        "tasks",
        "headline",
        "against_plain",
        "cost_of_caution",
    }
    assert values["methods"] == values["tasks"][0]["methods"]
    assert values["improvement"]["relative"] == result.tasks[0].headline.relative.value
    several = replace(result, tasks=result.tasks * 2)
    assert set(to_json(several)) == {"schema", "tasks", "headline", "against_plain", "cost_of_caution"}


def test_json_is_strict_and_says_its_schema(result, tmp_path):
    write_result(tmp_path, result)

    def refuse(constant):
        raise AssertionError(constant)

    values = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    assert values == to_json(result)
    assert values["schema"] == "hydra-ray/results/v2"
    assert values["headline"]["relative"]["high"] is None
    assert set(values["tasks"][0]["methods"]["rag"]["accuracy"]) == {"value", "low", "high", "n"}


def test_results_are_a_row_a_task_method_and_metric(result, tmp_path):
    write_result(tmp_path, result)

    rows = table(tmp_path / "results.csv")
    assert [(line["method"], line["metric"]) for line in rows] == [
        (method, metric) for method in result.tasks[0].methods for metric in ("accuracy", "macro_f1")
    ]
    hydra = next(line for line in rows if line["method"] == "hydra")
    assert (hydra["task"], hydra["split"], hydra["control"]) == ("tags", "dev", "False")
    assert [float(hydra[name]) for name in ("value", "low", "high", "n", "users", "failed")] == [1, 1, 1, 8, 4, 0]
    vote = next(line for line in rows if line["method"] == "majority-vote")
    assert (vote["control"], vote["calls"]) == ("True", "")


def test_pairs_are_a_row_each(result, tmp_path):
    write_result(tmp_path, result)

    rows = table(tmp_path / "pairs.csv")
    assert len(rows) == len(result.tasks[0].pairs)
    first, pair = rows[0], result.tasks[0].pairs[0]
    assert (first["first"], first["second"], first["metric"]) == (pair.first, pair.second, "accuracy")
    numbers = [float(first[name]) for name in ("difference", "low", "high", "p", "p_holm")]
    assert numbers == [pair.difference.value, pair.difference.low, pair.difference.high, pair.p, pair.p_holm]


def test_a_name_with_a_comma_is_one_cell(tmp_path):
    odd = run("rag", [row(asked("a", "q"), "comedy")], replace(TAGS, name='films, "odd"'))
    write_result(tmp_path, score_runs([odd], resamples=50))

    assert table(tmp_path / "results.csv")[0]["task"] == 'films, "odd"'


def test_a_failed_write_leaves_the_earlier_files_whole(result, tmp_path):
    write_result(tmp_path, result)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = replace(result, tasks=(replace(result.tasks[0], task=object()),))

    with pytest.raises(TypeError):
        write_result(tmp_path, broken)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert set(before) == {"results.json", "results.csv", "pairs.csv"}


def test_a_failed_replacement_leaves_no_draft(result, tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError("disk is gone")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="disk is gone"):
        write_result(tmp_path, result)

    assert list(tmp_path.iterdir()) == []
