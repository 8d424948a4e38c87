"""Requests on the wire: what of a conversation is used, what is refused, and what is ignored."""

import pytest
from defaults import SETTINGS, recipe
from pydantic import ValidationError

from hydra_ray.methods import METHODS
from hydra_ray.records import Message
from hydra_ray.serve.http.errors import RequestError, param_of
from hydra_ray.serve.http.requests import ChatCompletionRequest, reasons_to_pass_through
from hydra_ray.tasks import CHAT_TASK, TEXT_TASK

SERVE = SETTINGS.serve
TELL_SYSTEM = SERVE.tell_system
RECIPE = recipe()
SAID = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "And now?"},
]
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}], "refusal": None}


def serve(**other):
    return SERVE.model_copy(update=other)


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
    assert asked.turns(TEXT_TASK, False) == ()


def test_of_a_question_whole_in_itself_a_clients_instructions_are_told_unless_the_operator_says_no():
    asked = request([{"role": "developer", "content": " "}, *SAID[1:], SAID[0], SAID[3]])
    assert asked.turns(TEXT_TASK, TELL_SYSTEM) == (Message("system", "Be kind."),)
    assert asked.turns(TEXT_TASK, tell_system=False) == ()


def test_what_instructs_may_follow_the_question():
    asked = request([*SAID[3:], SAID[0]])
    assert reasons_to_pass_through(asked, RECIPE) == ()
    assert (
        asked.turns(TEXT_TASK, tell_system=True)
        == asked.turns(CHAT_TASK, TELL_SYSTEM)
        == (Message("system", "Be kind."),)
    )


IMAGE = {"type": "image_url", "image_url": {"url": "https://images.example.com/1.png"}}


@pytest.mark.parametrize(
    ("messages", "more", "reasons"),
    [
        (SAID, {"n": 8}, ()),
        (SAID, {"n": 9}, ("n: 9 is more than the 8 candidates",)),
        (
            SAID,
            {"tools": [{"type": "function"}], "logprobs": True},
            ("tools: tools", "logprobs: probabilities of tokens"),
        ),
        (SAID, {"web_search_options": {}}, ("web_search_options: a search of the web",)),
        (
            [SAID[1], CALL, {"role": "tool", "content": "42"}, {"role": "tool", "content": "43"}, SAID[3]],
            {},
            ("messages[1].tool_calls: the call of a tool", "messages[2].role: the result of a tool"),
        ),
        (
            [SAID[1], {"role": "assistant", "function_call": {"name": "f"}}, SAID[3]],
            {},
            ("messages[1].function_call: the call of a tool",),
        ),
        ([SAID[1], {"role": "assistant", "audio": {"id": "a1"}}, SAID[3]], {}, ("messages[1].audio: sound",)),
        (
            [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, IMAGE, IMAGE]}],
            {},
            ("messages[0].content[1]: no text but image_url",),
        ),
        (SAID[:3], {}, ("messages: they do not end with what a user asks",)),
        (SAID[:1], {}, ("messages: they do not end with what a user asks",)),
        ([{"role": "user", "content": " "}], {}, ("messages: the last one of the user has no text",)),
    ],
)
def test_what_the_llm_alone_can_answer_is_named_and_refused_until_it_is_asked(messages, more, reasons):
    asked = request(messages, **more)
    assert reasons_to_pass_through(asked, RECIPE) == reasons
    if reasons:
        with pytest.raises(RequestError) as caught:
            asked.refuse_unsupported(RECIPE, passes=False)
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", reasons[0].partition(":")[0])


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
    asked = request([{**SAID[2], **dict.fromkeys(["tool_calls", "name", "audio"])}, {**SAID[3], "name": None}], **NULLS)
    asked.refuse_unsupported(RECIPE, passes=False)
    assert (asked.n, asked.stream, asked.include_usage, asked.user, asked.hydra.method) == (1, False, False, None, None)
    assert asked.turns(CHAT_TASK, TELL_SYSTEM) == (Message("assistant", "Hello"),)
    assert asked.ignored(CHAT_TASK, SERVE) == ()


@pytest.mark.parametrize("content", ["", " \n", [{"type": "text", "text": None}]])
def test_a_last_user_message_without_text_asks_nothing(content):
    with pytest.raises(RequestError, match="there is no user message with text"):
        _ = request([SAID[1], {"role": "user", "content": content}]).query


@pytest.mark.parametrize(
    ("name", "value"),
    [
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
        request(**{name: value}).refuse_unsupported(RECIPE, passes=False)
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
    asked.refuse_unsupported(RECIPE, passes=False)
    assert asked.ignored(TEXT_TASK, serve(tell_system=False)) == ()


def test_options_of_a_stream_are_for_streams():
    with pytest.raises(RequestError) as caught:
        request(stream_options={"include_usage": True}).refuse_unsupported(RECIPE, passes=False)
    assert caught.value.param == "stream_options"
    asked = request(stream=True, stream_options={"include_usage": True, "include_obfuscation": False})
    asked.refuse_unsupported(RECIPE, passes=False)
    assert asked.include_usage
    assert asked.ignored(CHAT_TASK, SERVE) == ("stream_options.include_obfuscation",)


def test_what_changes_nothing_is_told():
    sent = {"temperature": 0.3, "top_p": None, "stop": "\n", "top_k": 5, "n": 2, "user": "ann", "metadata": {"a": "b"}}
    messages = [*SAID[:2], {**SAID[2], "name": "bot", "audio": None, "annotations": []}, SAID[3]]
    asked = request(messages, **sent)
    parameters = ("temperature", "top_k")
    assert asked.ignored(TEXT_TASK, serve(tell_system=False)) == (
        "metadata",
        *parameters,
        "messages[0] (system)",
        "messages[1] (user)",
        "messages[2] (assistant)",
    )
    assert asked.ignored(TEXT_TASK, serve(user_from=("metadata.a",))) == (
        "user",
        *parameters,
        "messages[1] (user)",
        "messages[2] (assistant)",
    )
    assert asked.ignored(CHAT_TASK, serve(user_from=("metadata.a", "user"))) == (*parameters, "messages[2].name")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [*SAID, {"role": "user", "content": 5}]}, "messages[4].content"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "tool_calls": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": "half a \ud83d sign"}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "\udfff"}]}]},
            "messages[0].content[0].text",
        ),
        ({"messages": [*SAID, *range(10_000)]}, "messages[4]"),
        ({"model": None}, "model"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
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
    assert error["msg"] == f"there is no method 'magic'; there are {', '.join(METHODS)}, passthrough"
