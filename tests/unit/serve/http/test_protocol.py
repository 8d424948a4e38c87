"""Responses on the wire: whole, and streamed word by word."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.records import Answer, Candidate, Usage
from hydra_ray.serve.http.chunks import pieces, stream
from hydra_ray.serve.http.protocol import AsciiJSON, about, completion, no_answer
from hydra_ray.steps.generate import GenerateError

CANDIDATES = Candidate("calm", 2), Candidate("quite loud", finish="length")
ANSWER = Answer("q1", "calm", candidates=CANDIDATES, usage=Usage(1, 10, 3, 0, 4, 2))
HYDRA = about(ANSWER, "rag", "ann", ["temperature"], "v1", personalised=True, arm=("cheap", 0.25), detail=True)
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 3,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def events(answer=ANSWER, n=1, include_usage=False):
    """The chunks of a stream, which ends as OpenAI's do."""
    *told, done = stream("chatcmpl-1", answer, "hydra", n, HYDRA, include_usage)
    assert done == "data: [DONE]\n\n"
    assert all(event.startswith("data: ") and event.endswith("\n\n") for event in told)
    return [json.loads(event.removeprefix("data: ")) for event in told]


def said(chunks, index=0):
    """What a client puts together for one choice."""
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(delta.get("content", "") for delta in deltas)


def test_the_answer_says_for_whom_and_how_it_came_about():
    whole = completion("chatcmpl-1", ANSWER, "hydra", 1, HYDRA)
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["calm"]
    assert whole["usage"] == USAGE
    assert (whole["hydra"]["method"], whole["hydra"]["user"], whole["hydra"]["ignored"]) == (
        "rag",
        "ann",
        ["temperature"],
    )


def test_there_are_as_many_choices_as_were_asked_for_and_each_says_why_it_ended():
    choices = completion("chatcmpl-1", ANSWER, "hydra", 3, HYDRA)["choices"]
    assert [(choice["index"], choice["message"]["content"], choice["finish_reason"]) for choice in choices] == [
        (0, "calm", "stop"),
        (1, "quite loud", "length"),
        (2, "calm", "stop"),
    ]
    ends = [chunk["choices"][0]["finish_reason"] for chunk in events(n=3)]
    assert [end for end in ends if end] == ["stop", "length", "stop"]


def test_history_candidates_and_arm_are_left_out_for_who_may_not_see_them():
    less = about(ANSWER, "rag", "ann", ["temperature"], "v1", personalised=True, arm=("cheap", 0.25), detail=False)
    assert HYDRA.keys() - less.keys() == {"history", "candidates", "arm", "propensity"}
    assert {**HYDRA, **less} == HYDRA


def test_the_last_finish_carries_hydra_and_every_chunk_has_a_choice():
    chunks = events(n=2)
    assert all(len(chunk["choices"]) == 1 and "usage" not in chunk for chunk in chunks)
    assert [chunk.get("hydra") for chunk in chunks if chunk["choices"][0]["finish_reason"]] == [None, HYDRA]
    assert [chunk for chunk in chunks if "hydra" in chunk] == chunks[-1:]
    assert [said(chunks, index) for index in (0, 1)] == ["calm", "quite loud"]


def test_each_choice_begins_with_its_role():
    chunks = events(n=2)
    begun = [chunk["choices"][0] for chunk in chunks if "role" in chunk["choices"][0]["delta"]]
    assert [(choice["index"], choice["delta"]["role"]) for choice in begun] == [(0, "assistant"), (1, "assistant")]
    assert chunks[0]["choices"][0] == begun[0]


def test_usage_comes_last_and_only_when_asked_for():
    *chunks, last = events(include_usage=True)
    assert (last["choices"], last["usage"]) == ([], USAGE)
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in chunks)
    assert chunks[-1]["hydra"] == HYDRA


def test_a_response_has_one_id():
    assert {chunk["id"] for chunk in events()} == {"chatcmpl-1"}
    assert completion("chatcmpl-1", ANSWER, "hydra", 1, HYDRA)["id"] == "chatcmpl-1"


@pytest.mark.parametrize("text", ["quite calm", ""])
def test_an_answer_that_tells_of_no_candidates_is_every_choice(text):
    answer = Answer("q1", text)
    whole = completion("chatcmpl-1", answer, "hydra", 3, HYDRA)
    assert [choice["message"]["content"] for choice in whole["choices"]] == [text] * 3
    chunks = events(answer, n=3)
    assert said(chunks) == text
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("It's fine,  really\n", ["It's", " fine", ",", "  really", "\n"]),
        ("你好世界", ["你", "好", "世", "界"]),
        ("สวัสดี ครับ", ["ส", "วั", "ส", "ดี", " ค", "รั", "บ"]),
        ("नमस्ते दुनिया", ["नमस्ते", " दुनिया"]),
        ("👨‍👩‍👧🇩🇪!", ["👨‍👩‍👧", "🇩🇪", "!"]),
        ("", []),
    ],
)
def test_words_of_every_script_are_sent_one_by_one(text, parts):
    assert list(pieces(text)) == parts


@given(st.text())
def test_the_pieces_together_are_the_text(text):
    assert "".join(pieces(text)) == text
    assert all(pieces(text))


def test_half_a_surrogate_pair_breaks_no_response():
    answer = Answer("q1", "half a \ud83d sign")
    body = AsciiJSON(completion("chatcmpl-1", answer, "hydra", 1, HYDRA)).body
    assert json.loads(body)["choices"][0]["message"]["content"] == answer.text
    assert said(events(answer)) == answer.text


@pytest.mark.parametrize(
    "told",
    [
        "the prompt has 53 tokens: with max_tokens 12 it exceeds the context length of 64",
        "m: HTTP 400: This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
        "vLLM: The decoder prompt (length 900) is longer than the maximum model length of 512: max_model_len",
    ],
)
def test_a_conversation_that_is_too_long_is_named_as_openai_names_it(told):
    response = no_answer(GenerateError(told, "refused"))
    error = json.loads(response.body)["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")


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
    assert error["code"] == code
    assert ("no such model" in caplog.text) == logged
