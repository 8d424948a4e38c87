import pytest
from made_runs import RIGHT, STARS, TAGS, WRONG, asked, row, run, runs

from hydra_ray.evaluate.scoring.align import align_runs
from hydra_ray.records import HydraError
from hydra_ray.tasks import Task


def places(aligned):
    return [(seed, one.query.user.user, one.query.id) for seed, one in zip(aligned.seed_of, aligned.asked, strict=True)]


def test_rows_of_all_methods_stand_by_the_same_queries_whatever_the_order_of_runs():
    records = [
        run("rag", [row(asked("b", "q2"), RIGHT), row(asked("a", "q1"), WRONG)]),
        run("zero-shot", [row(asked("a", "q1"), RIGHT), row(asked("b", "q2"), WRONG)]),
    ]

    aligned = align_runs(records)

    assert places(aligned) == [(0, "a", "q1"), (0, "b", "q2")]
    assert (aligned.outputs("rag"), aligned.outputs("zero-shot")) == ([WRONG, RIGHT], [RIGHT, WRONG])
    assert list(aligned.rows) == ["zero-shot", "rag"], "as the registry has them"
    assert align_runs(records[::-1]) == aligned


def test_a_query_that_only_some_were_asked_is_missing_for_the_others():
    aligned = align_runs([run("rag", [row(asked("a", "q1"), RIGHT)]), run("icl", [row(asked("a", "q2"), RIGHT)])])

    assert aligned.rows["rag"][1] is None
    assert aligned.outputs("rag") == [RIGHT, ""]


def test_queries_of_two_users_may_share_an_id():
    aligned = align_runs([run("rag", [row(asked("a", "q"), RIGHT), row(asked("b", "q"), WRONG)])])

    assert aligned.outputs("rag") == [RIGHT, WRONG]


def test_rows_without_training_stand_for_every_seed():
    records = runs({"zero-shot": {"a": "+-"}})
    for seed in (0, 1):
        records += runs({"hydra": {"a": "-+" if seed else "++"}}, seed=seed, train_users=9)

    aligned = align_runs(records)

    assert (aligned.seeds, aligned.seed_of) == ((0, 1), (0, 0, 1, 1))
    assert aligned.outputs("zero-shot") == [RIGHT, WRONG, RIGHT, WRONG]
    assert aligned.outputs("hydra") == [RIGHT, RIGHT, WRONG, RIGHT]
    assert [aligned.hydra[seed].seed for seed in (0, 1)] == [0, 1]


@pytest.mark.parametrize(
    ("method", "train_users"), [("hydra-adapter", 9), ("hydra-adapter", 0), ("other-head", 0), ("learnt-prompt", 9)]
)
def test_a_trained_method_needs_a_run_of_every_seed(method, train_users):
    records = [
        *runs({"hydra": {"a": "+"}, method: {"a": "+"}}, train_users=train_users),
        *runs({"hydra": {"a": "+"}}, seed=1, train_users=train_users),
    ]

    with pytest.raises(HydraError, match=f"task tags: {method} has no whole run of seed 1, while other runs"):
        align_runs(records)


def test_a_smaller_run_does_not_stand_for_a_whole_one():
    records = [
        *runs({"hydra": {"a": "+"}}, train_users=50),
        *runs({"hydra": {"a": "+"}}, seed=1, train_users=5),
        *runs({"rag": {"a": "+"}}, seed=1),
    ]

    with pytest.raises(HydraError, match="hydra has no whole run of seed 1"):
        align_runs(records)


def test_the_run_with_most_training_users_counts_and_smaller_ones_are_kept():
    few, most = (runs({"hydra": {"a": signs}}, train_users=x)[0] for signs, x in (("-", 5), ("+", 50)))

    aligned = align_runs([few, most])

    assert aligned.outputs("hydra") == [RIGHT]
    assert (aligned.smaller, aligned.hydra) == ((few,), {0: most})


def test_the_same_run_twice_counts_once_and_two_unlike_ones_are_refused():
    one, other = runs({"rag": {"a": "+"}})[0], runs({"rag": {"a": "-"}})[0]

    assert align_runs([one, one]) == align_runs([one])
    with pytest.raises(HydraError, match="two different runs of rag with seed 0"):
        align_runs([one, other])


def test_cohorts_are_those_that_hydra_knows():
    records = [
        run("hydra", [row(asked("a", "q", cohort="shy"), RIGHT)]),
        run("zero-shot", [row(asked("a", "q"), RIGHT)]),
    ]

    assert [one.cohort for one in align_runs(records).asked] == ["shy"]
    assert [one.cohort for one in align_runs(records[::-1]).asked] == ["shy"]


def test_the_rerankers_scores_are_counted_once():
    records = [
        *runs({"hydra-reranker": {"a": "+"}, "hydra": {"a": "+"}}, judged=((0.5, True), (1.0, False))),
        *runs({"hydra": {"a": "+"}, "hydra-reranker": {"a": "+"}}, seed=1, judged=((2.0, True),)),
    ]

    assert align_runs(records).judged == ((0.5, True), (1.0, False), (2.0, True))
    assert align_runs([record for record in records if record.method != "hydra"]).judged == align_runs(records).judged


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (run("icl", [], TAGS), None),
        (run("icl", [], STARS), "the run of icl has another kind or other labels than that of rag"),
        (run("icl", [], Task("tags", "classification", labels=("x",))), "other labels"),
    ],
)
def test_runs_of_other_data_are_refused(second, message):
    first = run("rag", [row(asked("a", "q"), RIGHT)])
    if message is None:
        assert align_runs([first, second]).outputs("icl") == [""]
    else:
        with pytest.raises(HydraError, match=message):
            align_runs([first, second])


def test_runs_of_two_splits_are_refused():
    first = run("rag", [])
    second = type(first)(TAGS, "test", "rag", 0, ())

    with pytest.raises(HydraError, match='runs of the splits "dev" and "test"; score one split at a time'):
        align_runs([first, second])
