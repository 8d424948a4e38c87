"""The first query of a plan within a budget is asked alone, so that the plan knows what samples cost."""

from dataclasses import replace

import pytest
import quirky_endpoint as quirky

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.data.user_source import HeldUsers
from hydra_ray.learn.collect.example_plan import tried_items
from hydra_ray.learn.collect.first_query import ask_first, with_less
from hydra_ray.learn.collect.job import example_plan, planned_examples
from hydra_ray.learn.collect.plan import Example, calls_of
from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.learn.collect.setup import make_request_writer
from hydra_ray.records import Usage, UserKey
from hydra_ray.runtime.generators import calls_for_candidates, generator_identity, open_cache
from hydra_ray.settings import parse_settings
from hydra_ray.steps.generate.cache import ask_key


@pytest.fixture(scope="module")
def server():
    with quirky.serving() as server:
        yield server


@pytest.fixture
def settings_of(server, tmp_path):
    def make(*quirks, max_calls=40, **limits):
        generator = {"backend": "openai", "base_url": server.url(*quirks), "model": "m", "retries": 0, "limits": limits}
        feedback = {"max_calls": max_calls, "items": 2, "pseudo_queries": 9}
        return parse_settings({"out": str(tmp_path), "generator": generator, "feedback": feedback})

    return make


@pytest.fixture
def dataset(item):
    history = tuple(item(f"film {i}", "drama", ts=f"2020-01-{i + 1:02}") for i in range(9))
    return Dataset((User(UserKey("default", "ann"), history),), {})


def cost(examples: list[Example], settings, task) -> int:
    calls = calls_for_candidates(settings, task)
    return sum(calls_of(example, tried_items(settings), calls) for example in examples)


def test_a_plan_keeps_to_its_budget_where_samples_are_asked_one_by_one(server, settings_of, dataset, tag_task):
    settings = settings_of("n1")
    before = planned_examples(settings, tag_task, dataset)
    spent = ask_first(settings, tag_task, before)
    assert spent.calls == len(server.asked["n1"]) == 1 + 7
    after = planned_examples(settings, tag_task, dataset)
    assert 0 < len(after) < len(before)
    assert after == before[: len(after)], "what is dropped stands at the end"
    assert cost(after, settings, tag_task) <= 40 < cost(before, settings, tag_task)
    # The collection finds the answers, and nothing is asked twice.
    (several,) = (request for request in make_request_writer(settings, tag_task)(after[0]).several if request.n > 1)
    assert ask_key(generator_identity(settings), several) in open_cache(settings)
    assert ask_first(settings, tag_task, after) == Usage()


@pytest.mark.parametrize(("quirks", "max_calls"), [(["n1", "free"], None), (["n1", "none"], 0)])
def test_nothing_is_asked_first_where_no_plan_depends_on_it(server, settings_of, dataset, tag_task, quirks, max_calls):
    settings = settings_of(*quirks, max_calls=max_calls)
    assert ask_first(settings, tag_task, planned_examples(settings, tag_task, dataset)) == Usage()
    assert "+".join(quirks) not in server.asked


def test_what_fails_then_is_left_to_the_collection(server, settings_of, dataset, tag_task, caplog):
    settings = settings_of("nomodel")
    assert ask_first(settings, tag_task, planned_examples(settings, tag_task, dataset)).calls == 1
    assert "does not exist" in caplog.text


def test_who_was_deleted_since_the_plan_is_not_asked_about(server, settings_of, dataset, tag_task):
    settings = settings_of("n1", "deleted")
    plan = example_plan(settings, tag_task, HeldUsers(dataset))
    asked = plan[0].query.id
    left = tuple(
        item for item in dataset.users[0].history if ExampleKey.of_item(dataset.users[0].key, item.id).query_id != asked
    )
    shrunk, empty = (Dataset((replace(dataset.users[0], history=some),), {}) for some in (left, ()))
    assert ask_first(settings, tag_task, replace(plan, users=HeldUsers(empty))) == Usage()
    assert ask_first(settings, tag_task, replace(plan, users=HeldUsers(shrunk))).calls > 0


def test_limits_hold_over_both(server, settings_of, dataset, tag_task):
    settings = settings_of("n1", "limited", calls=5)
    spent = ask_first(settings, tag_task, planned_examples(settings, tag_task, dataset))
    assert spent.calls == len(server.asked["n1+limited"]) == 5
    assert with_less(settings, spent).generator.limits.calls == 0
    priced = settings_of("n1", calls=20, tokens=100, cost=1.0, price_in=1e6)
    left = with_less(priced, Usage(8, 70, 40)).generator.limits
    assert (left.calls, left.tokens, left.cost, left.price_in) == (12, 0, 0, 1e6)
    assert with_less(priced, Usage()) == priced
