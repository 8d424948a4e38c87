"""Vercel's `ai` with `@ai-sdk/openai-compatible` against hydra-ray as it is served."""

from typing import Any

import pytest

from clients import REMEMBERED, USER
from clients.environments import node_cases_of
from clients.llm import FILLED, LLM, SAYS


@pytest.fixture(scope="module")
def told(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each case of the script came to."""
    return node_cases_of("ai_sdk_client.mjs", url, tmp_path_factory.mktemp("ai_sdk"))


def test_generated_text_is_the_users_own(told):
    generated = told["generated"]
    assert generated["text"] in SAYS
    assert generated["finishReason"] == "stop"
    assert generated["usage"]["totalTokens"] == generated["usage"]["inputTokens"] + generated["usage"]["outputTokens"]
    assert generated["warnings"] == []
    assert generated["hydra"]["user"] == USER
    assert [item["input"] for item in generated["hydra"]["history"]] == [REMEMBERED]


def test_a_stream_ends_with_its_usage(told):
    streamed = told["streamed"]
    assert "".join(streamed["pieces"]) in SAYS
    assert len(streamed["pieces"]) > 1
    assert streamed["finishReason"] == "stop"
    assert streamed["usage"]["outputTokens"] > 0


def test_a_conversation_reaches_the_llm(told, llm: LLM):
    assert told["conversed"] in SAYS
    said = [[message["content"] for message in body["messages"]] for body in llm.asked_about("AI SDK, two?")]
    assert said
    assert all({"Be brief.", "AI SDK, one?", "Yes."} <= set(texts) for texts in said)


def test_an_object_of_a_schema(told, llm: LLM):
    assert told["object"] == FILLED
    asked = llm.asked_about("AI SDK, an object?")
    assert {body["response_format"]["type"] for body in asked} == {"json_schema"}


def test_errors_are_the_sdks_own(told):
    message = told["errors"].pop("message")
    assert told["errors"] == {"name": "AI_APICallError", "status": 404, "again": False}
    assert message.startswith("there is no model 'gpt'")


def test_what_is_refused_for_now_is_asked_again(told):
    assert told["askedAgain"] in SAYS
