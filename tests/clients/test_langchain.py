"""The `langchain-openai` package against hydra-ray as it is served."""

from typing import Any

import pytest

from clients import REMEMBERED
from clients.environments import cases_of
from clients.llm import FILLED, LLM, SAYS


@pytest.fixture(scope="module")
def told(url: str) -> dict[str, Any]:
    """What each case of the script came to."""
    return cases_of("langchain_client.py", url)


def test_a_reply_is_the_users_own(told, llm: LLM):
    assert told["invoked"]["content"] in SAYS
    assert told["invoked"]["usage"]["total_tokens"] > 0
    assert told["invoked"]["about"]["model_name"] == "hydra@v1"
    assert told["invoked"]["about"]["finish_reason"] == "stop"
    asked = llm.asked_about("LangChain?")
    assert asked
    assert all(REMEMBERED in [message["content"] for message in body["messages"]] for body in asked)


def test_a_system_message_reaches_the_llm(told, llm: LLM):
    assert told["asynchronous"] in SAYS
    asked = llm.asked_about("LangChain async?")
    assert asked
    assert all(body["messages"][0] == {"role": "system", "content": "Be brief."} for body in asked)


def test_a_stream_ends_with_its_usage(told):
    assert told["streamed"]["content"] in SAYS
    assert len([piece for piece in told["streamed"]["pieces"] if piece]) > 1
    assert told["streamed"]["usage"]["total_tokens"] > 0


def test_a_batch(told):
    assert len(told["batched"]) == 2
    assert set(told["batched"]) <= set(SAYS)


@pytest.mark.parametrize("case", ["by_schema", "by_json"])
def test_structured_output(told, case):
    assert told[case] == FILLED


def test_what_is_refused_for_now_is_asked_again(told):
    assert told["asked_again"] in SAYS
