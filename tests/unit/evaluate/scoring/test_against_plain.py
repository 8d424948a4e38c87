from dataclasses import replace

import pytest
from defaults import score_runs
from made_runs import RIGHT, STARS, WRONG, asked, row, run, runs, scoreboard, usage

from hydra_ray.evaluate.scoring.against_plain import against_plain, over_tasks
from hydra_ray.evaluate.scoring.gate_use import caution, gate_use
from hydra_ray.records import GateDecision

PLAIN = {"a": "++--", "b": "++--", "c": "+---", "d": "++++"}
# a gains, b loses, of c and d every answer is the plain one.
OWN = {"a": "+++-", "b": "+---", "c": "+---", "d": "++++"}


def compared(records, plain=("rag",), calls=None):
    board = scoreboard(records)
    calls = calls or dict.fromkeys(board.outputs, 2.0)
    return {one.method: one for one in against_plain(board, plain, calls, folds=5, seed=0)}


def gated(answered: dict[str, str]):
    """hydra's run of one user a query: by query what was answered, "+" for right, and the answer's name."""
    rows = []
    for user, said in answered.items():
        sign, name = said[0], said[1:]
        text = RIGHT if sign == "+" else WRONG
        decision = GateDecision(name, text, 0.1, -0.1) if name else None
        rows.append(row(asked(user, f"{user}0"), text, gate=decision))
    return run("hydra", rows)


def test_shares_of_users_by_hand():
    found = compared(runs({"rag": PLAIN, "hydra": OWN}))["hydra"].summary()
    assert found.gain.value == 0
    assert found.relative.value == 0
    assert (found.worse.value, found.worse.n) == (1 / 4, 4)
    # Of the two users whom anything happens to one loses for each who gains; of none is that sure.
    assert found.expected_worse.value == pytest.approx(1 / 4)
    assert found.surely_worse.value == 0
    assert sum(found.chosen.values()) == 4


def test_whom_the_plain_answer_is_given_cannot_lose():
    found = compared(runs({"rag": PLAIN, "hydra": PLAIN}))["hydra"].summary()
    assert (found.worse.value, found.expected_worse.value, found.surely_worse.value) == (0, 0, 0)


def test_who_loses_at_every_query_surely_loses():
    plain = dict.fromkeys("abcdef", "+" * 20)
    own = {**dict.fromkeys("abc", "+" * 20), **dict.fromkeys("def", "-" * 18 + "++")}
    found = compared(runs({"rag": plain, "hydra": own}))["hydra"].summary()
    assert (found.worse.value, found.surely_worse.value) == (0.5, 0.5)
    assert found.relative.value == pytest.approx(-0.45)


def test_seeds_of_training_do_not_make_more_queries():
    one = runs({"rag": PLAIN}) + runs({"hydra": OWN}, seed=0)
    twice = one + runs({"hydra": OWN}, seed=1)
    assert compared(twice)["hydra"].expected_worse[0] == pytest.approx(compared(one)["hydra"].expected_worse[0])


def test_plain_methods_at_more_calls_do_not_count():
    records = runs({"rag": PLAIN, "rag-vote": dict.fromkeys(PLAIN, "++++"), "hydra": OWN, "hydra-reranker": OWN})
    calls = {"rag": 1.0, "rag-vote": 2.1, "hydra": 2.0, "hydra-reranker": 1.0}
    found = compared(records, ("rag", "rag-vote"), calls)
    assert set(found["hydra"].chosen) == {"rag-vote"}
    assert set(found["hydra-reranker"].chosen) == {"rag"}
    assert compared(records, ("rag-vote",), calls).keys() == {"hydra"}


def test_the_plain_method_is_chosen_on_other_users():
    # icl is better for a alone, by so much that it is best of all: a itself must not be who says so.
    records = runs(
        {"icl": {"a": "++++", "b": "+---"}, "rag": {"a": "----", "b": "++--"}, "hydra": {"a": "++", "b": "+-"}}
    )
    found = compared(records, ("icl", "rag"))["hydra"]
    assert found.chosen == {"icl": 1, "rag": 1}
    assert found.worse[0] == 0


def test_fewer_errors_are_no_loss():
    known = [asked(user, f"{user}0", gold="5") for user in "ab"]
    records = [
        run("rag", [row(one, "2") for one in known], STARS),
        run("hydra", [row(one, "4") for one in known], STARS),
    ]
    found = compared(records)["hydra"].summary()
    assert (found.gain.value, found.relative.value, found.worse.value) == (2, pytest.approx(2 / 3), 0)


def test_over_tasks_users_weigh_alike_and_the_worst_task_is_named():
    (better,) = compared(
        runs({"rag": {"a": "+-", "b": "+-", "c": "+-"}, "hydra": {"a": "++", "b": "++", "c": "++"}})
    ).values()
    (worse,) = compared(runs({"rag": {"z": "+-"}, "hydra": {"z": "--"}})).values()
    found = over_tasks([better, replace(worse, task="LaMP_5")])["hydra"]
    assert (found.worse.value, found.worse.n) == (1 / 4, 4)
    assert found.relative.value == pytest.approx(0)
    assert (found.worst_task, found.worst.value) == ("LaMP_5", -1)


def test_methods_that_only_prompt_are_not_compared():
    assert compared(runs({"rag": PLAIN, "icl": OWN}), ("rag", "icl")) == {}


def test_what_the_gate_decided():
    own = gated({"a": "+hydra", "b": "-vote", "c": "+vote", "d": "-greedy", "e": "+"})
    ungated = runs({"hydra-ungated": {"a": "+", "b": "+", "c": "+", "d": "-", "e": "+"}})
    found = gate_use(scoreboard([own, *ungated]))
    assert (found.requests, found.answered) == (4, {"vote": 2, "hydra": 1, "greedy": 1})
    assert (found.passed.value, found.passed.n) == (1 / 4, 4)
    # Of five answers one is another, and it is the worse one.
    assert (found.held_back, found.cost.value) == (pytest.approx(1 / 5), pytest.approx(1 / 5))


def test_without_hydra_ungated_the_cost_is_not_known():
    found = gate_use(scoreboard([gated({"a": "+hydra", "b": "-vote"})]))
    assert (found.held_back, found.cost) == (None, None)


@pytest.mark.parametrize("records", [[gated({"a": "+"})], runs({"rag": {"a": "+"}})])
def test_without_a_gate_nothing_was_decided(records):
    assert gate_use(scoreboard(records)) is None


def test_the_cost_of_caution_is_a_share_of_what_is_gained_without_it():
    users = [f"u{place}" for place in range(30)]
    records = runs(
        {
            "rag": dict.fromkeys(users, "+---"),
            "hydra": dict.fromkeys(users, "++--"),
            "hydra-ungated": dict.fromkeys(users, "+++-"),
        }
    )
    found = caution(list(compared(records).values()))
    assert (found.cost.value, found.share.value) == (pytest.approx(1), pytest.approx(1 / 2))
    # Where nothing is gained a share of it says nothing.
    same = runs({name: dict.fromkeys(users, "+---") for name in ("rag", "hydra", "hydra-ungated")})
    assert caution(list(compared(same).values())).share is None
    assert caution([compared(records)["hydra"]]) is None


def test_equal_calls_are_counted_with_the_cache():
    records = [
        run("rag-vote", [row(asked("a", "a0"), WRONG, usage=usage(cached=2))]),
        run("hydra", [row(asked("a", "a0"), RIGHT, usage=usage(calls=2))]),
    ]
    (task,) = score_runs(records, resamples=50).tasks
    assert set(task.against_plain["hydra"].chosen) == {"rag-vote"}
