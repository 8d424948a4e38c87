"""Clients that ask for what only the LLM can answer: tools and images are passed through to it."""

from typing import Any

import pytest

from clients import USER
from clients.environments import cases_of, node_cases_of
from clients.llm import FILLED, LLM, SAYS

ANSWER = "It is 21 degrees there."


@pytest.fixture(scope="module")
def openai_told(url: str) -> dict[str, Any]:
    """What each case of OpenAI's package came to."""
    return cases_of("openai_tools.py", url)


@pytest.fixture(scope="module")
def langchain_told(url: str) -> dict[str, Any]:
    """What each case of LangChain came to."""
    return cases_of("langchain_tools.py", url)


@pytest.fixture(scope="module")
def ai_sdk_told(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each case of the AI SDK came to."""
    return node_cases_of("ai_sdk_tools.mjs", url, tmp_path_factory.mktemp("ai_sdk_tools"))


def test_openais_package_calls_tools(openai_told):
    came = openai_told["tools"]
    assert (came["finish"], came["arguments"], came["answer"]) == ("tool_calls", {"city": FILLED["city"]}, ANSWER)
    assert came["hydra"]["method"] == "passthrough"
    assert came["hydra"]["user"] == USER
    assert openai_told["streamed_tools"] == {"finish": "tool_calls", "arguments": {"city": FILLED["city"]}}


def test_openais_package_shows_pictures(openai_told, llm: LLM):
    assert openai_told["picture"]["answer"] in SAYS
    (body,) = llm.asked_about("Python, what is this?")
    assert [part["type"] for part in body["messages"][-1]["content"]] == ["text", "image_url"]


def test_langchain_binds_tools(langchain_told):
    assert langchain_told["tools"] == {"name": "weather", "arguments": {"city": FILLED["city"]}, "answer": ANSWER}


def test_the_ai_sdk_calls_tools(ai_sdk_told):
    call = {"toolName": "weather", "input": {"city": FILLED["city"]}}
    answer = f"It is 21 degrees in {FILLED['city']} there."
    assert ai_sdk_told["tools"] == {"text": answer, "calls": [call]}
    assert ai_sdk_told["streamedTools"] == answer
