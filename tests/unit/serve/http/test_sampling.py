"""Parameters of sampling: what a client wishes, as far as the deployment follows it."""

import json
from dataclasses import replace

import pytest
from defaults import SETTINGS
from pydantic import ValidationError

from hydra_ray.records import LEFT_TO_THE_LLM, Sampling, Wishes
from hydra_ray.serve.http.errors import param_of
from hydra_ray.serve.http.sampling import SamplingParameters

SERVE = SETTINGS.serve
CLIENTS = SERVE.model_copy(update={"sampling": "client"})
SCHEMA = {"type": "json_schema", "json_schema": {"name": "tag", "schema": {"type": "object"}}}
PARAMETERS = {
    "top_p": 0.5,
    "frequency_penalty": -2,
    "presence_penalty": 2,
    "stop": ["\n", "END"],
    "logit_bias": {"50256": -100, "7": 0.5},
    "response_format": SCHEMA,
    "reasoning_effort": "low",
    "verbosity": "high",
}


def wishes(serve=SERVE, **sent):
    return SamplingParameters.model_validate(sent).wishes(serve)


def test_without_parameters_nothing_is_wished():
    assert wishes() == wishes(**dict.fromkeys(SamplingParameters.model_fields)) == Wishes()
    assert Wishes().sampling.parameters() == {}


def test_all_else_is_handed_on_as_it_was_sent():
    handed_on = wishes(**PARAMETERS).sampling.parameters()
    assert handed_on == PARAMETERS
    assert json.loads(json.dumps(handed_on)) == PARAMETERS


def test_text_is_the_form_that_answers_have_anyway():
    assert wishes(response_format={"type": "text"}).sampling == LEFT_TO_THE_LLM


def test_one_stop_is_a_list_of_one():
    assert wishes(stop="END").sampling == Sampling(stop=("END",))


def test_the_smaller_of_both_limits_counts_and_none_above_the_deployments():
    assert wishes(max_tokens=7, max_completion_tokens=9).max_tokens == 7
    assert wishes(max_completion_tokens=9).max_tokens == 9
    longest = SERVE.max_tokens
    asked = SamplingParameters(max_tokens=longest + 1)
    assert asked.wishes(SERVE).max_tokens == longest
    assert asked.without_effect(SERVE, ()) == [f"max_tokens (above serve.max_tokens, {longest})"]


def test_a_clients_temperature_counts_where_the_operator_says_so():
    asked = SamplingParameters(temperature=0, seed=5)
    assert (asked.wishes(SERVE), asked.without_effect(SERVE, ())) == (Wishes(seed=5), ["temperature"])
    assert (asked.wishes(CLIENTS), asked.without_effect(CLIENTS, ())) == (Wishes(temperature=0, seed=5), [])


def test_what_the_llm_was_not_told_had_no_effect_if_it_was_sent():
    asked = SamplingParameters(top_p=0.5, temperature=0.3)
    assert asked.without_effect(CLIENTS, ("top_p", "seed", "temperature")) == ["temperature", "top_p"]


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "0"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [""]}, "stop[0]"),
        ({"stop": ""}, "stop[0]"),
        ({"stop": ["half a \ud83d sign"]}, "stop[0]"),
        ({"stop": 5}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"seed": True}, "seed"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"presence_penalty": -3}, "presence_penalty"),
        ({"logit_bias": {"7": 101}}, "logit_bias.7"),
        ({"logit_bias": {"seven": 1}}, "logit_bias.seven.[key]"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "text"}}}},
            "response_format",
        ),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"verbosity": 1}, "verbosity"),
    ],
)
def test_what_is_wrong_is_named(sent, param):
    with pytest.raises(ValidationError) as caught:
        SamplingParameters.model_validate(sent)
    assert [param_of(error["loc"]) for error in caught.value.errors()] == [param]


def test_wishes_are_equal_where_they_wish_the_same():
    one = wishes(logit_bias={"1": 1, "2": 2}, response_format=SCHEMA)
    other = wishes(logit_bias={"2": 2, "1": 1}, response_format=dict(reversed(SCHEMA.items())))
    assert hash(one) == hash(other)
    assert one == other != replace(one, seed=1)
