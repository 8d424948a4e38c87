"""Requests on the wire: what of a conversation is used, what is refused, and what is ignored."""

import pytest
from defaults import SETTINGS
from pydantic import ValidationError

from hydra_ray.methods import METHODS
from hydra_ray.records import Message
from hydra_ray.serve.http.errors import RequestError, param_of
from hydra_ray.serve.http.requests import ChatCompletionRequest
from hydra_ray.tasks import CHAT_TASK, TEXT_TASK

TELL_SYSTEM = SETTINGS.serve.tell_system
SAID = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "And now?"},
]
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}], "refusal": None}


def request(messages=SAID, **more):
    return ChatCompletionRequest.model_validate({"model": "hydra", "messages": messages, **more})


def test_a_conversation_is_all_that_was_said_before_the_last_message():
    asked = request()
    assert asked.query == "And now?"
    assert asked.turns(CHAT_TASK, TELL_SYSTEM) == (
        Message("system", "Be kind."),
        Message("user", "Hi there"),
        Message("assistant", "Hello"),
    )


def test_a_question_whole_in_itself_has_no_turns():
    asked = request([*SAID, {"role": "assistant", "content": "Well"}, {"role": "tool", "content": "42"}])
    assert asked.query == "And now?"
    assert asked.turns(TEXT_TASK, TELL_SYSTEM) == ()


def test_of_a_question_whole_in_itself_a_clients_instructions_are_told_where_the_operator_says_so():
    asked = request([{"role": "developer", "content": " "}, *SAID[1:], SAID[0], SAID[3]])
    assert asked.turns(TEXT_TASK, tell_system=True) == (Message("system", "Be kind."),)
    assert asked.turns(TEXT_TASK, TELL_SYSTEM) == ()


@pytest.mark.parametrize(
    ("messages", "told", "param"),
    [
        (SAID[:3], "messages: a conversation ends with a message of the user", "messages"),
        (
            [SAID[1], CALL, {"role": "tool", "content": "42"}, SAID[3]],
            r"messages\[2\].role: a conversation has system, developer, user, assistant, not tool",
            "messages[2].role",
        ),
    ],
)
def test_a_conversation_that_cannot_be_continued_is_refused(messages, told, param):
    with pytest.raises(RequestError, match=told) as caught:
        request(messages).turns(CHAT_TASK, TELL_SYSTEM)
    assert caught.value.param == param


NULLS = dict.fromkeys(
    [
        "user",
        "n",
        "stream",
        "stream_options",
        "hydra",
        "metadata",
        "temperature",
        "tools",
        "response_format",
        "logprobs",
    ]
)


def test_what_is_null_was_not_sent():
    asked = request([CALL, {**SAID[3], "name": None}], **NULLS)
    asked.refuse_unsupported()
    assert (asked.n, asked.stream, asked.include_usage, asked.user, asked.hydra.method) == (1, False, False, None, None)
    assert asked.turns(CHAT_TASK, TELL_SYSTEM) == ()
    assert asked.ignored(CHAT_TASK, False, ["user"]) == ("messages[0] (assistant)",)


@pytest.mark.parametrize("content", [None, "", " \n", [], [{"type": "text", "text": None}]])
def test_a_last_user_message_without_text_asks_nothing(content):
    with pytest.raises(RequestError, match="there is no user message with text"):
        _ = request([SAID[1], {"role": "user", "content": content}]).query


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {}}),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function"}),
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy"}),
    ],
)
def test_what_changes_an_answers_shape_is_refused(name, value):
    with pytest.raises(RequestError) as caught:
        request(**{name: value}).refuse_unsupported()
    assert (caught.value.param, caught.value.code, caught.value.status) == (name, "unsupported_parameter", 400)


def test_shapes_that_answers_have_anyway_are_no_matter():
    same = {
        "response_format": {"type": "text"},
        "tools": [],
        "tool_choice": "auto",
        "functions": [],
        "function_call": "none",
        "logprobs": False,
        "top_logprobs": 0,
        "modalities": ["text"],
    }
    asked = request(SAID[3:], **same)
    asked.refuse_unsupported()
    assert asked.ignored(TEXT_TASK, False, ["user"]) == ()


def test_options_of_a_stream_are_for_streams():
    with pytest.raises(RequestError) as caught:
        request(stream_options={"include_usage": True}).refuse_unsupported()
    assert caught.value.param == "stream_options"
    asked = request(stream=True, stream_options={"include_usage": True, "include_obfuscation": False})
    asked.refuse_unsupported()
    assert asked.include_usage
    assert asked.ignored(CHAT_TASK, False, ["user"]) == ("stream_options.include_obfuscation",)


def test_what_changes_nothing_is_told():
    sent = {"temperature": 0.3, "top_p": None, "stop": "\n", "top_k": 5, "n": 2, "user": "ann", "metadata": {"a": "b"}}
    messages = [*SAID[:2], {**SAID[2], "tool_calls": [{"id": "1"}], "audio": None, "annotations": []}, SAID[3]]
    asked = request(messages, **sent)
    parameters = ("temperature", "stop", "top_k")
    assert asked.ignored(TEXT_TASK, False, ["user"]) == (
        "metadata",
        *parameters,
        "messages[0] (system)",
        "messages[1] (user)",
        "messages[2] (assistant)",
    )
    assert asked.ignored(TEXT_TASK, True, ["metadata.a"]) == (
        "user",
        *parameters,
        "messages[1] (user)",
        "messages[2] (assistant)",
    )
    assert asked.ignored(CHAT_TASK, False, ["metadata.a", "user"]) == (*parameters, "messages[2].tool_calls")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [*SAID, {"role": "user", "content": 5}]}, "messages[4].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": "half a \ud83d sign"}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "\udfff"}]}]},
            "messages[0].content[0].text",
        ),
        ({"messages": [*SAID, *range(10_000)]}, "messages[4]"),
        ({"model": None}, "model"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": "2"}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"hydra": {"metod": "rag"}}, "hydra.metod"),
        ({"hydra": {"method": "magic"}}, "hydra.method"),
    ],
)
def test_what_is_wrong_is_named_as_openai_names_it(changes, param):
    with pytest.raises(ValidationError) as caught:
        request(**changes)
    assert [param_of(error["loc"]) for error in caught.value.errors()] == [param]


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
    assert error["msg"] == f"there is no method 'magic'; there are {', '.join(METHODS)}"
