import math

import numpy as np
import pytest
from made_runs import STARS, asked, row, run, runs, scoreboard

from hydra_ray.evaluate.scoring.headline import HeadlineRows, closed_gap, over_tasks, task_headline


def test_the_prompt_based_method_is_chosen_on_other_users():
    # a's best is rag and b's is icl; two folds of one user each, so each gets what is best for the other one.
    records = runs(
        {
            "icl": {"a": "+---", "b": "++--"},
            "rag": {"a": "+++-", "b": "+---"},
            "hydra": {"a": "++--", "b": "++--"},
        }
    )

    rows = task_headline(scoreboard(records), ["icl", "rag"], folds=2, seed=0)

    assert rows.chosen == {"icl": 1, "rag": 1}
    # hydra has 4 of 8, the method chosen on other users 1 + 1 of 8.
    assert rows.relative[0] == pytest.approx(1.0)


def test_a_fold_chooses_by_all_other_users_and_not_by_its_own():
    users = {f"u{place}": "+-" for place in range(9)}
    records = runs(
        {
            "icl": {**dict.fromkeys(users, "+-"), "odd": "++++++++++++++++++++++++"},
            "rag": {**dict.fromkeys(users, "++"), "odd": "------------------------"},
            "hydra": {**users, "odd": "++++++++++++++++++++++++"},
        }
    )

    rows = task_headline(scoreboard(records), ["icl", "rag"], folds=10, seed=0)

    # Only the fold of `odd` does not see that icl is best for everybody.
    assert rows.chosen == {"icl": 9, "rag": 1}
    assert rows.relative[0] == pytest.approx((9 + 24) / 9 - 1)


def test_ties_go_to_the_first_baseline():
    records = runs({"icl": {"a": "+", "b": "-"}, "rag": {"a": "+", "b": "-"}, "hydra": {"a": "+", "b": "+"}})

    assert task_headline(scoreboard(records), ["rag", "icl"], folds=2, seed=0).chosen == {"rag": 2}


def test_fewer_errors_are_an_improvement():
    known = [asked(user, "q", gold="5") for user in "abc"]
    answers = {"zero-shot": "1", "rag": "3", "hydra": "4"}
    records = [run(method, [row(one, output) for one in known], STARS) for method, output in answers.items()]

    rows = task_headline(scoreboard(records), ["zero-shot", "rag"], folds=3, seed=0)

    assert (rows.chosen, rows.relative[0]) == ({"rag": 3}, pytest.approx(0.5))


def test_a_user_alone_is_compared_with_what_is_best_for_them():
    records = runs({"icl": {"a": "+-"}, "rag": {"a": "--"}, "hydra": {"a": "++"}})

    assert task_headline(scoreboard(records), ["icl", "rag"], folds=5, seed=0).relative[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("outputs", "baselines"),
    [({"rag": "+"}, ["rag"]), ({"hydra": "+"}, []), ({"rag": "-", "hydra": "+"}, ["rag"])],
    ids=["no hydra", "no baseline", "a baseline at 0"],
)
def test_there_is_no_headline_of_nothing(outputs, baselines):
    records = runs({method: {"a": signs} for method, signs in outputs.items()})

    assert task_headline(scoreboard(records), baselines, folds=5, seed=0) is None


def test_the_share_of_the_oracle_gap_by_hand():
    records = runs(
        {
            "rag": {"a": "+---"},
            "hydra": {"a": "++--"},
            "majority-vote": {"a": "+---"},
            "best-candidate": {"a": "++++"},
        }
    )

    rows = task_headline(scoreboard(records), ["rag"], folds=5, seed=0)

    assert rows.oracle_gap[0] == pytest.approx(1 / 3)


def test_without_a_gap_there_is_no_share_of_it():
    records = runs({method: {"a": "+-"} for method in ("rag", "hydra", "majority-vote", "best-candidate")})

    rows = task_headline(scoreboard(records), ["rag"], folds=5, seed=0)

    assert rows.oracle_gap is None
    assert rows.summary().oracle_gap is None


@pytest.mark.parametrize(
    ("hydra", "majority", "best", "share"),
    [(0.55, 0.5, 0.7, 0.25), (0.45, 0.5, 0.7, -0.25), (0.4, 0.5, 0.3, 0.5), (0.5, 0.5, 0.5, math.nan)],
)
def test_closed_gap(hydra, majority, best, share):
    assert closed_gap(np.array(hydra), np.array(majority), np.array(best)) == pytest.approx(share, nan_ok=True)


def rows_of(relative, gap=None):
    return HeadlineRows(np.array(relative), {"rag": 5}, None if gap is None else np.array(gap), items=10)


def test_tasks_weigh_the_same_resample_by_resample():
    found = over_tasks([rows_of([0.1, 0.0, 0.2]), rows_of([0.3, 0.2, 0.0], [0.5, 0.4, 0.6])])

    assert (found.relative.value, found.relative.n) == (pytest.approx(0.2), 20)
    # Each mean is 0.1, though each task's own resamples lie 0.2 apart.
    assert (found.relative.low, found.relative.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert found.oracle_gap.value == pytest.approx(0.5), "of the only task that has one"


def test_a_resample_without_a_gap_in_some_task_is_left_out():
    found = over_tasks([rows_of([0.0] * 4, [0.5, math.nan, 0.2, 0.4]), rows_of([0.0] * 4, [0.5, 0.9, 0.4, 0.6])])

    assert (found.oracle_gap.low, found.oracle_gap.high) == (pytest.approx(0.3), pytest.approx(0.5))


def test_no_task_no_headline():
    assert over_tasks([]) is None
