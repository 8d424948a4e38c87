import pytest
from made_runs import STARS, asked, judged, row, run, runs, scoreboard

from hydra_ray.evaluate.scoring.ablations import by_candidates, by_users


def test_fewer_candidates_by_hand():
    # Two samples, one right; the adapter picks the right one where it has both.
    offered = judged(comedy=(1, 1.0), drama=(1, 0.0))
    rows = [row(asked(f"u{place}", "q"), "comedy", offered) for place in range(60)]

    points = by_candidates(scoreboard([run("hydra", rows)]))

    assert [point.x for point in points] == [1, 2]
    # One of two at random: 60 queries of 32 draws each.
    assert points[0].value.value == pytest.approx(0.5, abs=0.05)
    assert (points[1].value.low, points[1].value.value, points[1].value.n) == (1, 1, 60)


def test_the_last_point_is_hydra_itself():
    offered = judged(comedy=(3, 0.0), drama=(2, 0.1), **{"sci-fi": (1, 2.0)})
    answers = [row(asked("a", "q1", gold="sci-fi"), "sci-fi", offered), row(asked("b", "q2"), "sci-fi", offered)]
    # Fewer samples of this query gave an answer, and none of that one.
    answers += [row(asked("c", "q3"), "comedy", judged(comedy=(1, 0.0))), row(asked("d", "q4"), None)]
    made = scoreboard([run("hydra", answers)])

    points = by_candidates(made)

    assert [point.x for point in points] == [1, 2, 4, 6]
    assert points[-1].value.value == made.mains("hydra")[0] == 0.5


def test_an_error_is_an_expectation_too():
    offered = judged(**{"5": (1, 1.0), "1": (1, 0.0)})
    rows = [row(asked(f"u{place}", "q", gold="5"), "5", offered) for place in range(60)]

    one, both = by_candidates(scoreboard([run("hydra", rows, STARS)]))

    assert one.value.value == pytest.approx(2, abs=0.2)
    assert both.value.value == 0


def test_without_hydra_or_its_candidates_there_is_no_curve():
    assert by_candidates(scoreboard(runs({"rag": {"a": "+"}}))) == ()
    assert by_candidates(scoreboard(runs({"hydra": {"a": "+"}}))) == ()


def test_fewer_training_users_by_hand():
    records = [
        *runs({"hydra": {"a": "++", "b": "++"}}, train_users=100),
        *runs({"hydra": {"a": "++", "b": "+-"}}, seed=1, train_users=100),
        *runs({"hydra": {"a": "--", "b": "+-"}}, train_users=20),
        *runs({"hydra": {"a": "+-", "b": "+-"}}, train_users=50),
        *runs({"hydra": {"a": "++", "b": "+-"}}, seed=1, train_users=50),
    ]

    points = by_users(scoreboard(records))

    assert [(point.x, point.value.value, point.value.n) for point in points] == [
        (20, 1 / 4, 4),
        (50, 5 / 8, 8),
        (100, 7 / 8, 8),
    ]


def test_whole_runs_that_do_not_say_their_users_are_no_point():
    records = [*runs({"hydra": {"a": "++"}}), *runs({"hydra": {"a": "+-"}}, train_users=20)]

    assert [point.x for point in by_users(scoreboard(records))] == [20]
    assert by_users(scoreboard(records[:1])) == ()
