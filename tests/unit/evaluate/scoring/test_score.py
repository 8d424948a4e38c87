import math

import pytest
from defaults import score_runs
from made_runs import RIGHT, STARS, TAGS, WRONG, asked, judged, row, run, runs, usage

from hydra_ray.evaluate.run import score as score_and_write
from hydra_ray.evaluate.runs import RunRecord, read_runs, write_run
from hydra_ray.evaluate.scoring.controls import CONTROLS
from hydra_ray.evaluate.scoring.score import calibration
from hydra_ray.records import Answer, Candidate, HydraError
from hydra_ray.settings import parse_settings
from hydra_ray.steps.generate.failures import Failure, Unanswered, UnfinishedError
from hydra_ray.tasks import Task

USERS = [f"u{place}" for place in range(6)]


def hydra_run(seed=0, task=TAGS, **about):
    """Each user's one query: two samples of the wrong answer, one of the right one, and the adapter finds it."""
    offered = judged(drama=(2, 0.0), comedy=(1, 3.0))
    rows = [row(asked(user, f"{user}0", most_frequent="drama", history_items=4), RIGHT, offered) for user in USERS]
    return run("hydra", rows, task, seed, **about)


def score(records, **how):
    return score_runs(records, **{"resamples": 100, **how})


def values(task, metric):
    return {method: found[metric].value for method, found in task.methods.items()}


def test_methods_controls_and_yardsticks_are_scored_on_the_same_queries():
    records = [hydra_run(), *runs({"rag": dict.fromkeys(USERS, "-"), "shared-head": dict.fromkeys(USERS, "-")})]

    (task,) = score(records).tasks

    found = values(task, "accuracy")
    assert found.pop("random-candidate") in [count / 6 for count in range(7)]
    assert found == {
        "rag": 0,
        "hydra": 1,
        "shared-head": 0,
        "majority-vote": 0,
        "best-candidate": 1,
        "most-frequent": 0,
    }
    # Where nothing else competed, what the adapter prefers of what was said is hydra itself.
    assert set(task.controls) == set(CONTROLS) - {"other-head", "constant", "said-only"}
    assert (task.task, task.split, task.metrics) == ("tags", "dev", ("accuracy", "macro_f1"))
    assert (task.users, task.queries, task.seeds) == (6, 6, (0,))


def test_controls_choose_among_what_the_llm_said():
    offered = judged(drama=(3, 0.0), comedy=(0, 9.0), **{"sci-fi": (1, 3.0)})
    rows = [
        row(asked(user, user, gold=gold), RIGHT, offered)
        for user, gold in zip("abcd", (RIGHT, RIGHT, "sci-fi", WRONG), strict=True)
    ]

    (task,) = score([run("hydra", rows)]).tasks

    found = values(task, "accuracy")
    # Drawn among those with votes, of which none is right for two.
    assert found.pop("random-candidate") <= 2 / 4
    assert found == {"hydra": 2 / 4, "said-only": 1 / 4, "majority-vote": 1 / 4, "best-candidate": 2 / 4}


def test_majority_of_ratings_is_a_median():
    offered = [Candidate("1", 2, 0), Candidate("3", 1, 1), Candidate("4", 1, 2), Candidate("5", 1, 3)]
    rows = [row(asked("a", "q", gold="3", most_frequent="2", history_items=1), "1", offered)]

    (task,) = score([run("hydra", rows, STARS)]).tasks

    assert values(task, "mae")["majority-vote"] == 0
    assert values(task, "mae")["constant"] == 1


def test_the_order_of_runs_changes_nothing():
    records = [hydra_run(), *runs({"rag": dict.fromkeys(USERS, "+"), "icl": dict.fromkeys(USERS, "-")})]

    assert score(records) == score(records[::-1])


def test_runs_that_were_kept_score_as_they_did(tmp_path):
    records = [hydra_run(expected=True), *runs({"rag": {**dict.fromkeys(USERS, "+"), "u3": "-"}})]
    for place, record in enumerate(records):
        write_run(tmp_path / f"{place}.parquet", record)

    assert score(read_runs(tmp_path)) == score(records)


def test_seeds_are_stacked_and_a_user_stays_one_unit():
    records = [*runs({"zero-shot": {"a": "+", "b": "-"}}), *runs({"hydra": {"a": "+", "b": "+"}}, train_users=9)]
    records += runs({"hydra": {"a": "+", "b": "-"}}, seed=1, train_users=9)

    (task,) = score(records).tasks

    assert task.by_seed["hydra"] == {0: 1, 1: 0.5}
    assert task.by_seed["zero-shot"] == {0: 0.5, 1: 0.5}
    found = task.methods["hydra"]["accuracy"]
    assert (found.value, found.n, task.users, task.queries) == (0.75, 4, 2, 2)
    # A resample is a twice, b twice or both: units of user and seed would have given 0 and 0.25 too.
    assert (found.low, found.high) == (0.5, 1)


def test_a_query_without_an_answer_is_wrong_and_counted():
    known = [asked(user, "q") for user in "abcd"]
    records = [
        run("rag", [row(known[0], RIGHT), row(known[1], None), row(known[2], " ")]),
        run("icl", [row(one, RIGHT) for one in known]),
    ]

    (task,) = score(records).tasks

    assert task.methods["rag"]["accuracy"].value == 0.25
    assert task.missing == {"rag": 3}
    assert task.unanswered == {"rag": (Unanswered("refused", 1, "too long"),)}


def test_a_run_of_which_something_is_still_to_be_asked_is_not_scored(tmp_path):
    records = [run("rag", [row(asked("a", "q"), RIGHT), row(asked("b", "q"), None, failure=Failure("server", "503"))])]
    with pytest.raises(UnfinishedError, match="no scores yet"):
        score_and_write(records, parse_settings({"out": str(tmp_path)}))
    assert not list(tmp_path.iterdir())


def test_costs_are_means_of_answered_requests():
    known = [asked(user, "q") for user in "abcd"]
    answers = [
        row(known[0], RIGHT, usage=usage(calls=2), seconds=1.0),
        row(known[1], WRONG, usage=usage(cached=1), seconds=2.0, degraded=("adapter",)),
        row(known[2], None),
    ]

    (task,) = score([run("hydra", answers), run("icl", [row(known[3], RIGHT)])]).tasks

    cost = task.costs["hydra"]
    assert (cost.calls, cost.prompt_tokens, cost.completion_tokens, cost.seconds) == (1.5, 100, 10, 1.5)
    assert (cost.failed, cost.degraded) == (0.5, 0.5)
    assert set(task.costs) == {"hydra", "icl"}, "what is chosen otherwise costs nothing of its own"


def test_costs_of_a_method_that_never_answered():
    (task,) = score([run("rag", [row(asked("a", "q"), None)])]).tasks

    assert (task.costs["rag"].calls, task.costs["rag"].failed) == (0, 1)


def test_the_headline_compares_with_the_baselines_that_ran():
    signs = dict.fromkeys(USERS, "+")
    records = [*runs({"rag": {**signs, "u0": "-"}, "icl": {**signs, "u0": "-", "u1": "-", "u2": "-"}}), hydra_run()]

    default, narrowed = score(records), score(records, baselines=["dpl", "icl"])

    assert default.tasks[0].headline.chosen == {"rag": 5}
    assert default.headline.relative.value == pytest.approx(6 / 5 - 1)
    assert narrowed.tasks[0].headline.chosen == {"icl": 5}
    assert narrowed.headline.relative.value == pytest.approx(6 / 3 - 1)
    assert default.headline.oracle_gap.value == 1
    assert [gain.gain for gain in narrowed.tasks[0].gains] == [0, 0, 0, 1, 1, 1]


def test_a_headline_is_the_mean_over_tasks_and_tasks_are_resampled_apart():
    other = Task(name="other", kind="classification", labels=TAGS.labels)
    halves = {user: "+" if place < 3 else "-" for place, user in enumerate(USERS)}
    records = [record for task in (TAGS, other) for record in (*runs({"rag": halves}, task), hydra_run(task=task))]

    result = score(records)

    first, second = (task.headline.relative for task in result.tasks)
    assert result.headline.relative.value == pytest.approx((first.value + second.value) / 2)
    widths = [found.high - found.low for found in (first, second, result.headline.relative)]
    # The same resamples for both would make the mean as wide as each.
    assert widths[2] < min(widths[:2])


def test_a_comparison_without_hydra_has_no_headline():
    result = score(runs({"rag": {"a": "+"}, "zero-shot": {"a": "-"}}))

    assert result.headline is None
    assert (result.tasks[0].headline, result.tasks[0].gains, result.tasks[0].by_candidates) == (None, (), ())
    assert result.tasks[0].fates["rag"].better == 1


def test_calibration_is_of_ten_bins_of_equal_counts():
    # Logits -4.5, -3.5, ... 4.5 twice each: one of the two helped.
    judged_items = [(place - 4.5, helped) for helped in (True, False) for place in range(10)]

    bins = calibration(judged_items)

    assert [one.n for one in bins] == [2] * 10
    assert [one.observed for one in bins] == [0.5] * 10
    assert [one.predicted for one in bins] == pytest.approx([1 / (1 + math.exp(4.5 - place)) for place in range(10)])


def test_calibration_of_few_or_extreme_judgements():
    assert calibration([]) == ()
    assert [(one.predicted, one.observed, one.n) for one in calibration([(900.0, True), (-900.0, False)])] == [
        (0, 0, 1),
        (1, 1, 1),
    ]


def test_there_must_be_runs_and_queries():
    with pytest.raises(HydraError, match="no runs to score"):
        score_runs([])
    with pytest.raises(HydraError, match="task tags: the runs on split dev have no queries"):
        score_runs([run("rag", [])])


def test_a_kind_of_task_without_metrics_is_named():
    odes = Task(name="odes", kind="poetry")
    record = RunRecord(odes, "dev", "zero-shot", 0, (row(asked("a", "q"), "roses"),))

    with pytest.raises(HydraError, match='task "odes": there are no metrics for kind "poetry"'):
        score_runs([record])


def test_hydras_failed_answers_leave_nothing_to_choose_among():
    known = asked("a", "q")
    failed = run("hydra", [row(known, None)])
    empty = run("hydra", [row(known, "")])

    for record in (failed, empty):
        (task,) = score([record]).tasks
        assert task.missing == {"hydra": 1, "majority-vote": 1, "random-candidate": 1, "best-candidate": 1}
    assert failed.rows[0].answer is None
    assert isinstance(empty.rows[0].answer, Answer)
