from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.learn.collect.plan import Example, calls_of, plan_examples, pseudo_example, user_examples
from hydra_ray.records import HistoryItem, Query, UserKey

ITEMS = 3


def make_user(name, history, queries=0):
    key = UserKey("acme", name)
    return User(
        key,
        tuple(HistoryItem(f"{name}-{n}", f"film {n}", f"tag {n}", ts=str(2000 + n)) for n in range(history)),
        tuple(Query(f"{name}-q{n}", key, f"film q{n}") for n in range(queries)),
    )


def make_data(*sizes):
    """Users with this many history items each, and two queries with known answers."""
    users = tuple(make_user(f"user {number}", size, queries=2) for number, size in enumerate(sizes))
    return Dataset(users, {query.id: f"gold of {query.id}" for user in users for query in user.queries})


def plan(data, **changes):
    options = {
        "pseudo_queries": 4,
        "use_golds": False,
        "items": ITEMS,
        "candidate_calls": 1,
        "max_calls": None,
        "seed": 0,
        **changes,
    }
    return plan_examples(data, **options)


def calls(examples):
    return sum(calls_of(example, ITEMS, 1) for example in examples)


sizes = st.lists(st.integers(0, 7), max_size=6)
budgets = st.integers(0, 100)


@given(sizes=sizes, max_calls=budgets, use_golds=st.booleans())
def test_the_budget_is_never_exceeded_nor_left_where_it_would_do(sizes, max_calls, use_golds):
    every = plan(make_data(*sizes), use_golds=use_golds)
    kept = plan(make_data(*sizes), use_golds=use_golds, max_calls=max_calls)
    assert calls(kept) <= max_calls
    assert kept == every or calls(every[: len(kept) + 1]) > max_calls


@given(sizes=sizes, max_calls=budgets, use_golds=st.booleans())
def test_the_budget_is_spread_evenly_over_users(sizes, max_calls, use_golds):
    data = make_data(*sizes)
    counts = Counter(example.query.user for example in plan(data, use_golds=use_golds, max_calls=max_calls))
    most = max(counts.values(), default=0)
    for user in data.users:
        available = len(user_examples(data, user, 4, use_golds, 0))
        assert counts[user.key] >= min(available, most - 1)


@given(sizes=sizes, smaller=budgets, larger=budgets)
def test_a_larger_budget_extends_the_smaller_ones_plan(sizes, smaller, larger):
    smaller, larger = sorted((smaller, larger))
    kept = plan(make_data(*sizes), max_calls=smaller)
    assert plan(make_data(*sizes), max_calls=larger)[: len(kept)] == kept


def test_a_unit_costs_a_call_without_history_one_an_item_and_one_for_candidates():
    user = make_user("ann", 9)
    assert [calls_of(pseudo_example(user, place), ITEMS, 1) for place in (0, 1, 3, 8)] == [2, 3, 5, 5]


def test_without_a_reranker_to_teach_an_example_costs_its_candidates():
    user = make_user("ann", 9)
    assert [calls_of(pseudo_example(user, place), 0, 2) for place in (0, 1, 8)] == [2, 2, 2]


@given(sizes=sizes, seed=st.integers(0, 5))
def test_a_pseudo_query_sees_neither_itself_nor_what_came_later(sizes, seed):
    data = make_data(*sizes)
    for example in plan(data, pseudo_queries=9, seed=seed):
        assert example.pseudo
        (user,) = (user for user in data.users if user.key == example.query.user)
        place = [item.input for item in user.history].index(example.query.input)
        assert example.gold == user.history[place].output
        assert example.history == user.history[:place]


def test_a_pseudo_query_does_not_see_what_may_be_later():
    stamps = ("2021", "2021-3-8", "2021-03-09", "2021-3-9", None, "2021-03-09")
    history = tuple(HistoryItem(str(place), f"film {place}", "tag", ts) for place, ts in enumerate(stamps))
    user = User(UserKey("acme", "ann"), history)
    assert [item.id for item in pseudo_example(user, 5, same_time=False).history] == ["1", "4"]
    assert [item.id for item in pseudo_example(user, 5).history] == ["1", "2", "3", "4"]
    data = Dataset((user,), same_time=False)
    asked = {example.query.id: example for example in plan(data, pseudo_queries=9)}
    assert [item.id for item in asked["5@pseudo"].history] == ["1", "4"]


def test_a_pseudo_query_is_the_item_without_its_answer():
    item = HistoryItem("i", "a film", "drama", ts="2001", item_id="tt1", context="its title")
    example = pseudo_example(User(UserKey("acme", "ann"), (item,)), 0)
    assert example == Example(
        Query("i@pseudo", UserKey("acme", "ann"), "a film", "2001", "tt1"), "drama", (), pseudo=True
    )


@pytest.mark.parametrize(("pseudo_queries", "count"), [(0, 0), (2, 2), (9, 5)])
def test_each_history_item_is_asked_at_most_once(pseudo_queries, count):
    examples = plan(make_data(5), pseudo_queries=pseudo_queries)
    assert len({example.query.id for example in examples}) == len(examples) == count


def test_answers_of_dev_users_are_never_used():
    examples = plan(make_data(3, 5, 0), use_golds=False, pseudo_queries=9)
    assert len(examples) == 8
    assert not [
        example for example in examples if example.gold.startswith("gold") or example.query.id.endswith(("-q0", "-q1"))
    ]


def test_training_users_real_queries_come_first():
    data = make_data(3)
    examples = plan(data, use_golds=True)
    assert [(example.query, example.gold) for example in examples[:2]] == [
        (q, f"gold of {q.id}") for q in data.users[0].queries
    ]
    assert [example.pseudo for example in examples] == [False, False, True, True, True]


def test_a_query_without_an_answer_is_not_asked():
    data = make_data(1)
    examples = plan(Dataset(data.users, {"user 0-q1": "drama"}), use_golds=True, pseudo_queries=0)
    assert [example.query.id for example in examples] == ["user 0-q1"]


def test_a_real_query_sees_what_it_may_see():
    data = make_data(3)
    data = Dataset(data.users, data.golds, visible={"user 0-q1": frozenset({"user 0-2", "user 0-0"})})
    first, second = plan(data, use_golds=True, pseudo_queries=0)
    assert first.history == data.users[0].history
    assert [item.id for item in second.history] == ["user 0-0", "user 0-2"]


def test_the_plan_depends_on_the_seed():
    data = make_data(*[7] * 6)
    assert plan(data, seed=1) == plan(data, seed=1)
    assert plan(data, seed=1) != plan(data, seed=2)


def test_what_a_user_is_asked_does_not_depend_on_the_other_users():
    alone, together = make_data(7), make_data(7, 5, 6)
    key = alone.users[0].key
    assert [example for example in plan(together) if example.query.user == key] == plan(alone)


def test_history_without_answers_is_never_asked_again():
    data = replace(make_data(5, 3), pairs=False)
    assert plan(data) == []
    assert [example.pseudo for example in plan(data, use_golds=True)] == [False] * 4
