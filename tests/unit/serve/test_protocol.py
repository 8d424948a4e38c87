"""Requests and responses on the wire: what of a conversation is used, and which method is asked for."""

import json

import pytest
from pydantic import ValidationError

from hydra_ray.methods import METHODS
from hydra_ray.records import Answer, Candidate, Message
from hydra_ray.serve.protocol import ChatCompletionRequest, completion, no_answer, stream
from hydra_ray.steps.generate import GenerateError
from hydra_ray.tasks import CHAT_TASK, TEXT_TASK

SAID = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "And now?"},
]
ANSWER = Answer("q1", "calm", candidates=(Candidate("calm", 2), Candidate("loud")))


def request(messages=SAID, **more):
    return ChatCompletionRequest.model_validate({"model": "hydra", "messages": messages, **more})


def test_a_conversation_is_all_that_was_said_before_the_last_message():
    asked = request()
    assert asked.query == "And now?"
    assert asked.turns(CHAT_TASK) == (
        Message("system", "Be kind."),
        Message("user", "Hi there"),
        Message("assistant", "Hello"),
    )


def test_a_question_whole_in_itself_has_no_turns():
    asked = request([*SAID, {"role": "assistant", "content": "Well"}, {"role": "tool", "content": "42"}])
    assert asked.query == "And now?"
    assert asked.turns(TEXT_TASK) == ()


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        (SAID[:3], "messages: a conversation ends with a message of the user"),
        (
            [{"role": "tool", "content": "42"}, *SAID, {"role": "function", "content": "x"}],
            "messages: there are roles function, tool; a conversation has system, developer, user, assistant",
        ),
    ],
)
def test_a_conversation_that_cannot_be_continued_is_refused(messages, told):
    with pytest.raises(ValueError, match=told):
        request(messages).turns(CHAT_TASK)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_asked_for(name):
    assert request(hydra={"method": name}).hydra.method == name


@pytest.mark.parametrize("more", [{}, {"hydra": {}}, {"hydra": {"method": None}}, {"temperature": 0.3}])
def test_without_a_method_the_deployments_own_is_asked(more):
    assert request(**more).hydra.method is None


def test_an_unknown_method_is_told_with_those_there_are():
    with pytest.raises(ValidationError) as caught:
        request(hydra={"method": "magic"})
    (error,) = caught.value.errors()
    assert error["loc"] == ("hydra", "method")
    assert error["msg"] == f"there is no method 'magic'; there are {', '.join(METHODS)}"


def test_a_mistyped_option_is_not_ignored():
    with pytest.raises(ValidationError, match=r"hydra\.metod"):
        request(hydra={"metod": "rag"})


def test_the_answer_says_which_method_gave_it():
    whole = completion(ANSWER, "hydra", 1, "rag")
    assert whole["hydra"]["method"] == "rag"
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["calm"]
    *_, last, done = stream(ANSWER, "hydra", 2, "rag")
    assert json.loads(last.removeprefix("data: "))["hydra"] == whole["hydra"]
    assert done == "data: [DONE]\n\n"


@pytest.mark.parametrize("text", ["quite calm", ""])
def test_an_answer_that_tells_of_no_candidates_is_the_one_choice(text):
    answer = Answer("q1", text)
    whole = completion(answer, "hydra", 3, "newest")
    assert [choice["message"]["content"] for choice in whole["choices"]] == [text]
    assert whole["hydra"]["candidates"] == []
    *events, _, _ = stream(answer, "hydra", 3, "newest")
    choices = [json.loads(event.removeprefix("data: "))["choices"] for event in events]
    assert "".join(one["delta"].get("content", "") for (one,) in choices) == text
    assert [one["finish_reason"] for (one,) in choices][-1] == "stop"


@pytest.mark.parametrize(
    ("kind", "status", "code", "logged"),
    [
        ("refused", 400, None, False),
        ("filtered", 400, "content_filter", False),
        ("busy", 429, None, False),
        ("key", 502, None, True),
        ("quota", 502, None, True),
        ("setting", 502, None, True),
        ("other", 502, None, True),
        ("server", 502, None, False),
        ("timeout", 502, None, False),
        ("empty", 502, None, False),
    ],
)
def test_only_what_the_client_can_mend_is_the_clients_fault(kind, status, code, logged, caplog):
    response = no_answer(GenerateError("m: HTTP 404: no such model", kind))
    error = json.loads(response.body)["error"]
    assert (response.status_code, error["message"]) == (status, "m: HTTP 404: no such model")
    assert code is None or error["code"] == code
    assert ("no such model" in caplog.text) == logged
