import pytest
from made_runs import STARS, asked, row, run, runs, scoreboard

from hydra_ray.evaluate.scoring.win_loss import fates_of, gains_of


def test_fates_by_hand():
    records = runs(
        {
            "zero-shot": {"a": "+-", "b": "+-", "c": "++", "d": "--"},
            "rag": {"a": "++", "b": "-+", "c": "+-", "d": "--"},
        }
    )

    fates = fates_of(scoreboard(records))

    assert list(fates) == ["rag"]
    assert (fates["rag"].better, fates["rag"].same, fates["rag"].worse) == (0.25, 0.5, 0.25)


def test_a_users_fate_is_over_all_seeds():
    records = runs({"zero-shot": {"a": "+-", "b": "+-"}})
    records += runs({"hydra": {"a": "++", "b": "--"}}, seed=0, train_users=9)
    records += runs({"hydra": {"a": "+-", "b": "++"}}, seed=1, train_users=9)

    fate = fates_of(scoreboard(records))["hydra"]

    assert (fate.better, fate.same, fate.worse) == (0.5, 0.5, 0)


def test_fewer_errors_are_better():
    known = asked("a", "q", gold="5")
    records = [run("zero-shot", [row(known, "2")], STARS), run("rag", [row(known, "4")], STARS)]

    assert fates_of(scoreboard(records))["rag"].better == 1


def test_without_zero_shot_there_are_no_fates():
    assert fates_of(scoreboard(runs({"rag": {"a": "+"}}))) == {}


def test_gains_are_over_the_best_prompt_based_method_smallest_first():
    records = [
        *runs({"icl": {"a": "---+", "b": "----"}, "rag": {"a": "++--", "b": "+---"}}),
        *runs({"hydra": {"a": "+---", "b": "+++-"}}),
    ]

    gains = gains_of(scoreboard(records), ["icl", "rag"])

    assert [(one.user, one.gain, one.queries) for one in gains] == [
        ("a", pytest.approx(-0.25), 4),
        ("b", pytest.approx(0.5), 4),
    ]


def test_a_gain_tells_queries_and_history_once_whatever_the_seeds():
    known = [asked("a", "q1", history_items=3), asked("a", "q2", history_items=8)]
    records = [run("rag", [row(one, "comedy") for one in known])]
    records += [run("hydra", [row(one, "comedy") for one in known], seed=seed, train_users=9) for seed in (0, 1)]

    (gain,) = gains_of(scoreboard(records), ["rag"])

    assert (gain.queries, gain.history_items, gain.gain) == (2, 8, 0)


@pytest.mark.parametrize(("methods", "baselines"), [(["hydra", "rag"], []), (["rag"], ["rag"])])
def test_without_hydra_or_a_baseline_nobody_gains(methods, baselines):
    assert gains_of(scoreboard(runs({method: {"a": "+"} for method in methods})), baselines) == ()
