"""A plan of numbers holds the examples that a plan of examples does, however many users are looked at together."""

import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_plan import make_data, make_user

from hydra_ray.data.dataset import Dataset
from hydra_ray.data.user_source import HeldUsers
from hydra_ray.learn.collect import example_plan
from hydra_ray.learn.collect.example_plan import ExampleRules, GoneError, PlannedOfUsers, id_digest, plan_users
from hydra_ray.learn.collect.plan import plan_examples, pseudo_example

RULES = ExampleRules(pseudo_queries=4, use_golds=False, items=3, candidate_calls=1, max_calls=None, seed=0)


def both(data, users_at_once=2, **changes):
    rules = replace(RULES, **changes)
    of_numbers = plan_users(HeldUsers(data), rules, users_at_once)
    options = {name: getattr(rules, name) for name in ("pseudo_queries", "use_golds", "items", "candidate_calls")}
    return of_numbers, plan_examples(data, **options, max_calls=rules.max_calls, seed=rules.seed)


@given(
    sizes=st.lists(st.integers(0, 7), max_size=6),
    max_calls=st.none() | st.integers(0, 100),
    use_golds=st.booleans(),
    at_once=st.integers(1, 7),
    seed=st.integers(0, 3),
)
def test_the_same_examples_are_planned_in_the_same_order(sizes, max_calls, use_golds, at_once, seed):
    ours, examples = both(make_data(*sizes), at_once, max_calls=max_calls, use_golds=use_golds, seed=seed)
    assert list(ours) == examples
    assert list(pickle.loads(pickle.dumps(ours))) == examples


def test_parts_of_a_plan_are_plans():
    ours, examples = both(make_data(3, 5, 2))
    assert ours[1] == examples[1]
    assert list(ours[2:5]) == examples[2:5]
    done = np.unique(np.array([id_digest(example.key.example_id) for example in examples[::2]], "S16"))
    assert list(ours.without(done)) == examples[1::2]


def test_what_is_planned_is_found_by_user():
    data = make_data(3, 5, 2)
    ours, examples = both(data, max_calls=20, use_golds=True)
    planned = ours.by_user()
    for place, user in enumerate(data.users):
        every = [example.key for example in plan_users(HeldUsers(data), replace(RULES, use_golds=True))]
        mine = {example.key for example in examples if example.query.user == user.key}
        assert {key for key in every if key in planned.of([place])} == mine
    assert {example.key for example in examples} == {key for key in every if key in planned.of([0, 1, 2])}


def test_a_look_up_by_user_copies_nothing_that_grows_with_the_plan():
    places = np.arange(1_000_000, dtype=np.int32)
    planned = PlannedOfUsers(places, np.zeros(len(places), "S16"), np.ones(len(places), bool))
    tracemalloc.start()
    planned.of([7, 500_000])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < places.nbytes / 10


def test_a_history_that_grew_has_the_examples_that_were_planned_and_one_that_shrank_says_so():
    data = make_data(5)
    ours, examples = both(data)
    grown = Dataset((make_user("user 0", 9, queries=2),))
    assert list(replace(ours, users=HeldUsers(grown))) == examples
    (asked,) = {example.query.id.removesuffix("@pseudo") for example in examples[:1]}
    less = replace(data.users[0], history=tuple(item for item in data.users[0].history if item.id != asked))
    shrunk = replace(ours, users=HeldUsers(Dataset((less,))))
    with pytest.raises(GoneError):
        shrunk[0]
    assert len(list(shrunk)) == len(examples) - 1


def test_only_the_example_that_is_wanted_is_made(monkeypatch):
    data = make_data(7, 5)
    ours, examples = both(data)
    made = []

    def making(user, place, same_time):
        made.append(place)
        return pseudo_example(user, place, same_time)

    monkeypatch.setattr(example_plan, "pseudo_example", making)
    assert list(ours) == examples
    assert len(made) == len(examples)
