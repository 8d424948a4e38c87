"""What clients wish of their answers, from the request over the method to the LLM and back."""

import json

import pytest
from made_app import SAID

from hydra_ray.records import Generation, Usage

SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "mood", "schema": {"type": "object", "required": ["mood"]}},
}
ASKED = SAID[-1:]


def requests(app):
    return [request for request, _ in app.generator.asked]


def test_parameters_reach_the_llm_and_nothing_is_ignored(served):
    app = served()
    sent = {"top_p": 0.5, "stop": "END", "frequency_penalty": 0.5, "logit_bias": {"7": -100}}
    reply = app.ask(ASKED, user="ann", seed=7, n=2, max_completion_tokens=9, **sent).json()
    assert reply["hydra"]["ignored"] == []
    for request in requests(app):
        assert request.sampling.parameters() == {**sent, "stop": ["END"]}
        assert request.max_tokens == 9
    assert [choice["message"]["content"] for choice in reply["choices"]] == ["Calm.", "Calm."]


@pytest.mark.parametrize("method", ["hydra", "rag"])
def test_the_same_seed_samples_alike_and_another_otherwise(served, method):
    app = served(method=method)
    for more in ({}, {}, {"seed": 1}, {"seed": 1}, {"seed": 2}):
        app.ask(ASKED, **more)
    seeds = [request.seed for request in requests(app)]
    each = [tuple(seeds[i : i + len(seeds) // 5]) for i in range(0, len(seeds), len(seeds) // 5)]
    assert (each[0], each[2]) == (each[1], each[3])
    assert len(set(each)) == 3


@pytest.mark.parametrize(
    ("method", "temperature", "asked"),
    [
        # In three prompts, which are one chat for who has no history: its greedy answer is asked for once.
        ("hydra", None, [(1, 0.0), (1, 0.7), (2, 0.7), (2, 0.7)]),
        ("hydra", 1.5, [(1, 0.0), (1, 1.5), (2, 1.5), (2, 1.5)]),
        ("hydra", 0, [(1, 0.0)]),
        ("rag", None, [(1, 0.0)]),
        ("rag", 1.5, [(1, 1.5)]),
        ("rag", 0, [(1, 0.0)]),
    ],
)
def test_a_clients_temperature_counts_where_the_operator_says_so(served, method, temperature, asked):
    app = served(method=method, sampling="client")
    assert app.ask(ASKED, temperature=temperature).json()["hydra"]["ignored"] == []
    assert sorted((request.n, request.temperature) for request in requests(app)) == sorted(asked)


def test_a_method_of_one_answer_is_asked_for_as_many_as_are_wanted(served):
    app = served(method="rag")
    app.generator.answer = lambda request, tenant: Generation(tuple("abc"[: request.n]), Usage(1, 5, 1))
    reply = app.ask(ASKED, n=3).json()
    assert [(request.n, request.temperature) for request in requests(app)] == [(1, 0.0), (2, 0.7)]
    assert len(reply["choices"]) == 3


def test_what_the_llm_was_not_told_is_named(served):
    app = served(method="rag")
    app.generator.answer = lambda request, tenant: Generation(("Calm.",), Usage(1, 5, 1), (), ("verbosity", "seed"))
    assert app.ask(ASKED, verbosity="low", top_p=0.3).json()["hydra"]["ignored"] == ["verbosity"]


def test_an_answer_that_was_cut_says_so_and_usage_is_the_llms(served):
    app = served(method="rag")
    app.generator.answer = lambda request, tenant: Generation(("Calm",), Usage(1, 50, 9, 0, 40, 3), ("length",))
    reply = app.ask(ASKED, max_tokens=1).json()
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"] == {
        "prompt_tokens": 50,
        "completion_tokens": 9,
        "total_tokens": 59,
        "prompt_tokens_details": {"cached_tokens": 40},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }


@pytest.mark.parametrize(("method", "votes"), [("hydra", 6), ("rag-vote", 5)])
def test_of_json_only_valid_candidates_compete(served, method, votes):
    texts = ('{"mood": "calm"}', "calm", '{ "mood":"calm" }', '{"mod": 1}')
    app = served(method=method)
    app.generator.answer = lambda request, tenant: Generation((texts * 2)[: request.n], Usage(1, 5, 1))
    told = app.ask(ASKED, response_format=SCHEMA).json()
    assert json.loads(told["choices"][0]["message"]["content"]) == {"mood": "calm"}
    # The greedy ones, of one prompt or of three, and of the samples those that say the same.
    assert [(one["text"], one["votes"]) for one in told["hydra"]["candidates"]] == [(texts[0], votes)]
    assert told["hydra"]["degraded"] == []
    assert all(request.sampling.parameters() == {"response_format": SCHEMA} for request in requests(app))


def test_where_no_candidate_has_the_form_that_is_said(served):
    app = served(method="rag")
    told = app.ask(ASKED, response_format={"type": "json_object"}).json()
    assert (told["choices"][0]["message"]["content"], told["hydra"]["degraded"]) == ("Calm.", ["response_format"])


def test_a_schema_that_is_none_is_refused(served):
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 1}}}
    reply = served().ask(ASKED, response_format=wanted)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "response_format")
