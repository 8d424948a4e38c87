import pytest
from made_runs import STARS, asked, row, run, runs, scoreboard

from hydra_ray.evaluate.scoring.pairs import pairs_of


def named(pairs):
    return {(pair.first, pair.second): pair for pair in pairs}


def test_every_two_competitors_and_hydra_with_each_control_are_compared():
    outputs = {"rag": "+-", "icl": "--", "hydra": "++", "shared-head": "+-", "other-head": "--"}
    pairs = named(pairs_of(scoreboard(runs({method: {"a": signs} for method, signs in outputs.items()}))))

    assert set(pairs) == {
        ("hydra", "rag"),
        ("hydra", "icl"),
        ("rag", "icl"),
        ("hydra", "shared-head"),
        ("hydra", "other-head"),
    }


def test_the_better_one_comes_first_with_a_p_of_its_resamples():
    users = [f"u{place}" for place in range(12)]
    records = runs({"zero-shot": dict.fromkeys(users, "+--"), "rag": dict.fromkeys(users, "++-")})

    (pair,) = pairs_of(scoreboard(records, resamples=199))

    assert (pair.first, pair.second) == ("rag", "zero-shot")
    # Every user gains the same, so no resample sees anything else.
    assert (pair.difference.low, pair.difference.high, pair.difference.n) == (
        pytest.approx(1 / 3),
        pytest.approx(1 / 3),
        36,
    )
    assert pair.p == pair.p_holm == pytest.approx(2 / 200)


def test_a_lower_error_is_better():
    known = [asked(user, "q", gold="5") for user in "ab"]
    records = [
        run(method, [row(one, output) for one in known], STARS) for method, output in (("icl", "1"), ("rag", "4"))
    ]

    (pair,) = pairs_of(scoreboard(records))

    assert (pair.first, pair.difference.value) == ("rag", 3)


def test_p_values_are_corrected_for_all_pairs_of_the_task():
    users = [f"u{place}" for place in range(12)]
    signs = {"zero-shot": "---", "icl": "+--", "rag": "++-"}

    pairs = pairs_of(
        scoreboard(runs({method: dict.fromkeys(users, own) for method, own in signs.items()}), resamples=199)
    )

    assert [pair.p for pair in pairs] == [pytest.approx(0.01)] * 3
    assert [pair.p_holm for pair in pairs] == [pytest.approx(0.03)] * 3


def test_methods_that_answer_alike_do_not_differ():
    (pair,) = pairs_of(scoreboard(runs({"icl": {"a": "+-", "b": "--"}, "rag": {"a": "+-", "b": "--"}})))

    assert (pair.difference.value, pair.p, pair.p_holm) == (0, 1, 1)
