"""The `openai` package for Node against hydra-ray as it is served."""

from typing import Any

import pytest

from clients import REMEMBERED, USER
from clients.environments import node_cases_of
from clients.llm import SAYS


@pytest.fixture(scope="module")
def told(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each case of the script came to."""
    return node_cases_of("openai_client.mjs", url, tmp_path_factory.mktemp("openai_node"))


def test_a_reply_is_the_users_own(told):
    reply = told["whole"]
    assert reply["choices"][0]["message"]["content"] in SAYS
    assert reply["hydra"]["user"] == USER
    assert [item["input"] for item in reply["hydra"]["history"]] == [REMEMBERED]


def test_a_stream_ends_with_its_usage(told):
    *chunks, last = told["streamed"]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) in SAYS
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["hydra"]["user"] == USER
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] > 0


def test_the_helper_that_puts_a_stream_together(told):
    message = told["accumulated"]["choices"][0]["message"]
    assert message["role"] == "assistant"
    assert message["content"] in SAYS


def test_fields_of_hydra_ray_go_into_the_request(told):
    assert told["byAnotherMethod"]["hydra"]["method"] == "rag"


def test_models(told):
    assert told["models"] == {"listed": ["hydra", "hydra@production", "hydra@v1"], "one": "hydra"}


def test_errors_are_the_clients_own(told):
    wrong = "invalid_request_error"
    assert told["errors"]["noSuchModel"] == ["NotFoundError", 404, wrong, "model", "model_not_found"]
    assert told["errors"]["noMessages"][:4] == ["BadRequestError", 400, wrong, "messages"]


def test_what_is_refused_for_now_is_asked_again(told):
    assert told["askedAgain"] in SAYS
