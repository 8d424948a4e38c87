import pytest
from made_runs import RIGHT, STARS, TAGS, WRONG, asked, row, run, runs

from hydra_ray.evaluate.scoring.align import stack_runs
from hydra_ray.records import HydraError
from hydra_ray.tasks import Task


def places(stack):
    return [(seed, one.query.user.user, one.query.id) for seed, one in zip(stack.seed_of, stack.asked, strict=True)]


def test_rows_of_all_methods_stand_by_the_same_queries_whatever_the_order_of_runs():
    dumps = [
        run("rag", [row(asked("b", "q2"), RIGHT), row(asked("a", "q1"), WRONG)]),
        run("zero-shot", [row(asked("a", "q1"), RIGHT), row(asked("b", "q2"), WRONG)]),
    ]

    stack = stack_runs(dumps)

    assert places(stack) == [(0, "a", "q1"), (0, "b", "q2")]
    assert (stack.outputs("rag"), stack.outputs("zero-shot")) == ([WRONG, RIGHT], [RIGHT, WRONG])
    assert list(stack.rows) == ["zero-shot", "rag"], "as the registry has them"
    assert stack_runs(dumps[::-1]) == stack


def test_a_query_that_only_some_were_asked_is_missing_for_the_others():
    stack = stack_runs([run("rag", [row(asked("a", "q1"), RIGHT)]), run("icl", [row(asked("a", "q2"), RIGHT)])])

    assert stack.rows["rag"][1] is None
    assert stack.outputs("rag") == [RIGHT, ""]


def test_queries_of_two_users_may_share_an_id():
    stack = stack_runs([run("rag", [row(asked("a", "q"), RIGHT), row(asked("b", "q"), WRONG)])])

    assert stack.outputs("rag") == [RIGHT, WRONG]


def test_rows_without_training_stand_for_every_seed():
    dumps = runs({"zero-shot": {"a": "+-"}})
    for seed in (0, 1):
        dumps += runs({"hydra": {"a": "-+" if seed else "++"}}, seed=seed, train_users=9)

    stack = stack_runs(dumps)

    assert (stack.seeds, stack.seed_of) == ((0, 1), (0, 0, 1, 1))
    assert stack.outputs("zero-shot") == [RIGHT, WRONG, RIGHT, WRONG]
    assert stack.outputs("hydra") == [RIGHT, RIGHT, WRONG, RIGHT]
    assert [stack.hydra[seed].seed for seed in (0, 1)] == [0, 1]


@pytest.mark.parametrize(
    ("method", "train_users"), [("hydra-adapter", 9), ("hydra-adapter", 0), ("other-head", 0), ("learnt-prompt", 9)]
)
def test_a_trained_method_needs_a_run_of_every_seed(method, train_users):
    dumps = [
        *runs({"hydra": {"a": "+"}, method: {"a": "+"}}, train_users=train_users),
        *runs({"hydra": {"a": "+"}}, seed=1, train_users=train_users),
    ]

    with pytest.raises(HydraError, match=f"task tags: {method} has no whole run of seed 1, while other runs"):
        stack_runs(dumps)


def test_a_smaller_run_does_not_stand_for_a_whole_one():
    dumps = [
        *runs({"hydra": {"a": "+"}}, train_users=50),
        *runs({"hydra": {"a": "+"}}, seed=1, train_users=5),
        *runs({"rag": {"a": "+"}}, seed=1),
    ]

    with pytest.raises(HydraError, match="hydra has no whole run of seed 1"):
        stack_runs(dumps)


def test_the_run_with_most_training_users_counts_and_smaller_ones_are_kept():
    few, most = (runs({"hydra": {"a": signs}}, train_users=x)[0] for signs, x in (("-", 5), ("+", 50)))

    stack = stack_runs([few, most])

    assert stack.outputs("hydra") == [RIGHT]
    assert (stack.smaller, stack.hydra) == ((few,), {0: most})


def test_the_same_run_twice_counts_once_and_two_unlike_ones_are_refused():
    one, other = runs({"rag": {"a": "+"}})[0], runs({"rag": {"a": "-"}})[0]

    assert stack_runs([one, one]) == stack_runs([one])
    with pytest.raises(HydraError, match="two different runs of rag with seed 0"):
        stack_runs([one, other])


def test_cohorts_are_those_that_hydra_knows():
    dumps = [
        run("hydra", [row(asked("a", "q", cohort="shy"), RIGHT)]),
        run("zero-shot", [row(asked("a", "q"), RIGHT)]),
    ]

    assert [one.cohort for one in stack_runs(dumps).asked] == ["shy"]
    assert [one.cohort for one in stack_runs(dumps[::-1]).asked] == ["shy"]


def test_the_rerankers_scores_are_counted_once():
    dumps = [
        *runs({"hydra-reranker": {"a": "+"}, "hydra": {"a": "+"}}, judged=((0.5, True), (1.0, False))),
        *runs({"hydra": {"a": "+"}, "hydra-reranker": {"a": "+"}}, seed=1, judged=((2.0, True),)),
    ]

    assert stack_runs(dumps).judged == ((0.5, True), (1.0, False), (2.0, True))
    assert stack_runs([dump for dump in dumps if dump.method != "hydra"]).judged == stack_runs(dumps).judged


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
        assert stack_runs([first, second]).outputs("icl") == [""]
    else:
        with pytest.raises(HydraError, match=message):
            stack_runs([first, second])


def test_runs_of_two_splits_are_refused():
    first = run("rag", [])
    second = type(first)(TAGS, "test", "rag", 0, ())

    with pytest.raises(HydraError, match='runs of the splits "dev" and "test"; score one split at a time'):
        stack_runs([first, second])
