"""The `litellm` package, and its proxy in front of hydra-ray, against hydra-ray as it is served."""

from typing import Any

import pytest

from clients import REMEMBERED, USER
from clients.environments import cases_of
from clients.llm import SAYS
from clients.proxy import Proxy


@pytest.fixture(scope="module")
def told(url: str) -> dict[str, Any]:
    """What each case of the package's script came to."""
    return cases_of("litellm_client.py", url)


@pytest.fixture(scope="module")
def told_by_proxy(url: str, proxy: Proxy) -> dict[str, Any]:
    """What each case of a client of the proxy came to."""
    return cases_of("litellm_proxy_client.py", url, {"PROXY_URL": proxy.url, "LITELLM_MASTER_KEY": proxy.key})


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"]["content"] or "" for chunk in chunks for choice in chunk["choices"])


def test_a_reply_is_the_users_own(told):
    assert told["whole"]["choices"][0]["message"]["content"] in SAYS
    assert told["whole"]["hydra"]["user"] == USER
    assert [item["input"] for item in told["whole"]["hydra"]["history"]] == [REMEMBERED]
    assert told["whole"]["usage"]["total_tokens"] > 0
    assert told["asynchronous"] in SAYS


def test_a_stream_ends_with_its_usage(told):
    assert text_of(told["streamed"]) in SAYS
    assert told["streamed"][-1]["usage"]["total_tokens"] > 0


def test_without_being_told_litellm_sends_no_user(told):
    # docs/clients.md says so; where this fails, litellm has changed for the better.
    assert told["nobody"]["hydra"]["user"] is None


def test_errors_are_litellms_own(told):
    status, message = told["errors"]
    assert status == 404
    assert "there is no model 'gpt'" in message


def test_what_is_refused_for_now_is_asked_again(told):
    assert told["asked_again"] in SAYS


def test_the_user_reaches_us_through_the_proxy(told_by_proxy):
    reply = told_by_proxy["whole"]
    assert reply["choices"][0]["message"]["content"] in SAYS
    assert reply["hydra"]["user"] == USER
    assert [item["input"] for item in reply["hydra"]["history"]] == [REMEMBERED]
    assert told_by_proxy["by_another_method"]["hydra"]["method"] == "rag"


def test_a_stream_passes_the_proxy(told_by_proxy):
    assert text_of(told_by_proxy["streamed"]) in SAYS
    assert told_by_proxy["streamed"][-1]["usage"]["total_tokens"] > 0


def test_errors_pass_the_proxy(told_by_proxy):
    status, message = told_by_proxy["errors"]
    assert status == 404
    assert "there is no model 'hydra@gone'" in message
