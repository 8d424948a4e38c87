"""The `openai` package for Python, in its newest version, against hydra-ray as it is served."""

from typing import Any

import pytest

from clients import REMEMBERED, USER
from clients.environments import cases_of
from clients.llm import FILLED, LLM, SAYS


@pytest.fixture(scope="module")
def told(url: str) -> dict[str, Any]:
    """What each case of the script came to."""
    return cases_of("openai_client.py", url)


def test_a_reply_is_the_users_own(told, llm: LLM):
    reply = told["whole"]
    assert reply["choices"][0]["message"]["content"] in SAYS
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["model"] == f"hydra@{reply['hydra']['version']}"
    assert reply["hydra"]["user"] == USER
    assert [item["input"] for item in reply["hydra"]["history"]] == [REMEMBERED]
    assert reply["hydra"]["degraded"] == []
    asked = llm.asked_about("Python, is lunch at one?")
    assert asked
    assert all(REMEMBERED in [message["content"] for message in body["messages"]] for body in asked)
    assert reply["usage"]["completion_tokens"] == sum(5 * (body.get("n") or 1) for body in asked)


def test_the_asynchronous_client(told):
    assert told["asynchronous"]["reply"]["hydra"]["user"] == USER
    assert told["asynchronous"]["streamed"] in SAYS


@pytest.mark.parametrize("case", ["streamed", "flowing"])
def test_a_stream_ends_with_its_usage(told, case):
    *chunks, last = told[case]
    assert "".join(chunk["choices"][0]["delta"]["content"] or "" for chunk in chunks) in SAYS
    assert len({chunk["id"] for chunk in told[case]}) == 1
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["hydra"]["user"] == USER
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"] > 0
    assert all(chunk["usage"] is None for chunk in chunks)


def test_with_one_candidate_the_llm_is_asked_for_a_stream(told, llm: LLM):
    assert told["flowing"][-2]["hydra"]["method"] == "rag"
    assert [body["stream"] for body in llm.asked_about("Python, word by word?")] == [True]


def test_the_helper_that_puts_a_stream_together(told):
    assert {"chunk", "content.delta", "content.done"} <= set(told["accumulated"]["kinds"])
    reply = told["accumulated"]["reply"]
    assert reply["choices"][0]["message"]["content"] in SAYS
    assert reply["choices"][0]["message"]["role"] == "assistant"


def test_several_choices(told):
    assert len(set(told["several"])) == 2
    assert set(told["several"]) <= set(SAYS)


def test_answers_of_a_form_are_parsed(told, llm: LLM):
    assert told["parsed"]["parsed"] == FILLED
    assert told["parsed"]["hydra"]["user"] == USER
    assert told["parsed"]["hydra"]["degraded"] == []
    asked = llm.asked_about("Python, the weather as JSON?")
    assert {body["response_format"]["type"] for body in asked} == {"json_schema"}


def test_fields_of_hydra_ray_go_in_extra_body(told):
    assert told["by_another_method"]["hydra"]["method"] == "rag"
    assert told["by_another_method"]["hydra"]["ignored"] == []


def test_models(told):
    assert told["models"]["one"] == "hydra"
    assert [model["id"] for model in told["models"]["list"]] == ["hydra", "hydra@production", "hydra@v1"]
    assert {model["object"] for model in told["models"]["list"]} == {"model"}


def test_errors_are_the_clients_own(told):
    errors = told["errors"]
    assert errors["no_such_model"][:5] == ["NotFoundError", 404, "invalid_request_error", "model", "model_not_found"]
    assert "there is no model 'gpt'" in errors["no_such_model"][5]
    assert errors["no_messages"][:4] == ["BadRequestError", 400, "invalid_request_error", "messages"]
    assert errors["wrong_type"][:4] == ["BadRequestError", 400, "invalid_request_error", "n"]


def test_what_is_refused_for_now_is_asked_again(told, llm: LLM):
    assert told["refused_at_once"]["type"] == "rate_limit_error"
    assert float(told["refused_at_once"]["retry_after"]) > 0
    assert told["asked_again"] in SAYS
    assert len(llm.asked_about("(busy) again?")) > len(llm.asked_about("Python, two?"))
