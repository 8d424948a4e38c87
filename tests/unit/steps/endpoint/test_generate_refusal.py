"""What refusals say, in the words and forms in which endpoints were reported to say it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.records import ChatRequest, Message
from hydra_ray.steps.generate.endpoint.dialect import Dialect, lessons, named_settings
from hydra_ray.steps.generate.endpoint.refusal import Refusal, plain, read_refusal, refusal_beside, refusal_within

TURNS = (Message("system", "Be brief."), Message("user", "Hello?"))
ASKED = ChatRequest(TURNS, n=4, temperature=0.7, max_tokens=32, seed=5)
SENT = Dialect().body(ASKED, "m")
GREEDY = Dialect().body(ChatRequest(TURNS, n=1, temperature=0.0), "m")
CHAT = Dialect().body(ChatRequest((*TURNS, Message("user", "Again?"))), "m")
LATE = Dialect().body(ChatRequest((*TURNS, Message("assistant", "Yes?"), Message("system", "Be kind."))), "m")
TOLD_BY_DEVELOPER = Dialect().body(ChatRequest((Message("developer", "Be brief."), Message("user", "Hello?"))), "m")
OTHER = {**SENT, "max_completion_tokens": 32}
del OTHER["max_tokens"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": {"message": "no luck", "type": "x"}}, "no luck"),
        ({"error": "no luck"}, "no luck"),
        ({"error": "no luck", "error_type": "validation"}, "no luck"),
        ({"detail": "no luck"}, "no luck"),
        ({"detail": [{"loc": ["body", "n"], "msg": "no luck", "input": "secret"}]}, "body.n: no luck"),
        ({"object": "error", "message": "no luck", "code": 400}, "no luck"),
        ({"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "no"}]}}, "body.n: no"),
        ({"message": "no luck"}, "no luck"),
        ({"Message": "no luck"}, "no luck"),
        ([{"error": {"message": "no luck"}}], "no luck"),
        ({"errors": [{"message": "no"}, {"message": "luck"}]}, "no; luck"),
        ({"msg": "no luck", "code": 1002}, "no luck"),
        ({"base_resp": {"status_code": 1004, "status_msg": "no luck"}}, "no luck"),
        ({"title": "Bad Request", "detail": "no luck"}, "no luck; Bad Request"),
        (
            {"error": {"message": "outer", "metadata": {"raw": '{"error": {"message": "inner"}}', "x": "y"}}},
            "outer; inner",
        ),
        ({"error": '{"error": {"message": "inner"}}'}, "inner"),
        ({"error": {"message": "no luck", "request": {"authorization": "secret"}}}, "no luck"),
        ({"status": "fail"}, '{"status": "fail"}'),
        ({}, "no reason given"),
        ("no luck", "no luck"),
        ("", "no reason given"),
        (" no\n luck\x00 ", "no luck"),
        (
            "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
            "a page of HTML: 502 Bad Gateway",
        ),
        ("<!DOCTYPE html><html><style>p {}</style><p>gone &amp; lost</p>", "a page of HTML: gone & lost"),
    ],
)
def test_the_reason_is_found_whatever_the_form(body, reason):
    assert read_refusal(400, body if isinstance(body, str) else json.dumps(body)).reason == reason


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["error", "message", "detail", "loc", "msg", "code", "param", "x"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from([0, 400, 404, 422, 429, 500]),
)
def test_any_body_gives_one_line_and_a_kind(body, status):
    refusal = read_refusal(status, json.dumps(body))
    assert refusal.reason
    assert refusal.reason.isprintable()
    assert isinstance(refusal.kind, str)
    assert set(lessons(refusal, SENT)) <= {"samples", "max_tokens", "temperature", "seed", "system"}


@given(st.text(max_size=200))
def test_any_text_becomes_one_line(text):
    assert plain(text).isprintable() or plain(text) == ""


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "no", "code": "content_filter"}}, "filtered"),
        (400, {"error": {"message": "no", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, "filtered"),
        (400, {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}, "filtered"),
        (403, {"error": {"message": 'Your input was flagged for "violence".'}}, "filtered"),
        (403, {"error": {"message": "Your account was flagged for review."}}, "key"),
        (401, {"error": {"message": "Incorrect API key provided"}}, "key"),
        (400, {"error": {"message": "API key not valid.", "status": "INVALID_API_KEY"}}, "key"),
        (402, {"error": {"message": "Insufficient Balance"}}, "quota"),
        (403, {"error": {"message": "insufficient_quota"}}, "quota"),
        (
            429,
            {
                "error": {
                    "message": "You exceeded your current quota, please check your plan and billing details.",
                    "code": "insufficient_quota",
                }
            },
            "quota",
        ),
        (
            429,
            {"error": {"message": "Rate limit reached: 3 requests per min. Add a payment method at x/billing."}},
            "busy",
        ),
        (429, {"error": {"message": "You exceeded your current quota. Please retry in 12s."}}, "busy"),
        (429, {"error": {"message": "Too many tokens per minute"}}, "busy"),
        (
            400,
            {"error": {"message": "m's maximum context length is 10 tokens", "code": "context_length_exceeded"}},
            "refused",
        ),
        (400, {"error": {"message": "the request exceeds the available context size"}}, "refused"),
        (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 10"}, "refused"),
        (400, {"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}, "refused"),
        (
            400,
            {
                "error": {
                    "message": "'max_tokens' is too large: 9. This model's maximum context length is 8 tokens and "
                    "your request has 7 input tokens"
                }
            },
            "refused",
        ),
        (413, "", "refused"),
        (
            400,
            {"error": {"message": "max_tokens is too large: 9. This model supports at most 8 completion tokens"}},
            "",
        ),
        (404, {"error": {"message": "The model `m` does not exist"}}, "setting"),
        (400, {"error": {"message": "Model m not found", "code": "model_not_found"}}, "setting"),
        (405, "", "setting"),
        (400, {"error": {"message": "I would rather not"}}, ""),
        (500, {"error": {"message": "it took too long"}}, "server"),
        (503, {"error": {"message": "content filter is down"}}, "server"),
        (400, {"error": {"message": "Content Exists Risk"}}, "filtered"),
        (400, {"error": {"message": "API key not valid. Please pass a valid API key."}}, "key"),
        (400, {"code": "InvalidParameter", "message": "Range of input length should be [1, 30720]"}, "refused"),
        (500, {"error": {"message": "the request exceeds the available context size."}}, "refused"),
        # What passes is no outcome, whatever status it comes with.
        (400, {"error": {"message": "Rate limit exceeded"}}, "busy"),
        (400, {"__type": "ThrottlingException", "message": "Too many requests, please wait."}, "busy"),
        (403, {"error": {"message": "no", "code": "rateLimitExceeded"}}, "busy"),
        (400, {"error": {"message": "The model is currently overloaded. You can retry your request."}}, "busy"),
        (422, {"error": "Server is busy, please try again later"}, "busy"),
        (404, "<html><title>503 Service Temporarily Unavailable</title></html>", "busy"),
        (404, {"error": {"message": "Model m is not available right now, try again later"}}, "busy"),
        (302, "", "setting"),
        (408, "", "timeout"),
    ],
)
def test_status_and_words_tell_the_kind(status, body, kind):
    assert read_refusal(status, body if isinstance(body, str) else json.dumps(body)).kind == kind


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"error": {"message": "slow down", "code": 429}}, 429, "busy"),
        ({"error": "overloaded"}, 0, "server"),
        ({"object": "error", "message": "no such model", "code": 404, "choices": None}, 404, "setting"),
        ([{"error": {"message": "no", "code": 400, "status": "INVALID_ARGUMENT"}}], 400, ""),
        ({"error": {"message": "no", "code": "content_filter"}}, 0, "filtered"),
    ],
)
def test_an_error_may_come_as_a_success(body, status, kind):
    refusal = refusal_within(body)
    assert (refusal.status, refusal.kind) == (status, kind)


@pytest.mark.parametrize(
    "body", [{}, [], None, 5, {"choices": []}, {"choices": [{}], "error": "x"}, {"error": None}, {"usage": {}}]
)
def test_what_is_no_error_is_none(body):
    assert refusal_within(body) is None


@pytest.mark.parametrize(
    ("error", "answered", "kind"),
    [
        ({"code": 503, "message": "overloaded"}, False, "server"),
        ({"code": 503, "message": "overloaded"}, True, "server"),
        ({"message": "overloaded"}, True, "server"),
        ({"message": "no", "code": "content_filter"}, True, "filtered"),
        ("overloaded", False, "server"),
        ("none", True, None),
        ("", False, None),
        (None, False, None),
        ({}, False, None),
        ({"message": ""}, True, None),
        ({"code": 0, "message": "success"}, True, None),
        ({"code": "OK", "message": "fine"}, False, None),
        (5, True, None),
    ],
)
def test_an_error_may_come_beside_choices(error, answered, kind):
    refusal = refusal_beside({"choices": [{}], "error": error}, answered)
    assert (refusal.kind if refusal else None) == kind


def said(message, **more):
    return read_refusal(400, json.dumps({"error": {"message": message, **more}}))


@pytest.mark.parametrize(
    ("message", "learnt"),
    [
        ("'n' : number must be at most 1", {"samples": 1}),
        ("n: must be exactly 1", {"samples": 1}),
        ("Invalid n value (currently only n = 1 is supported)", {"samples": 1}),
        ("Multiple candidates is not enabled for this model", {"samples": 1}),
        ("Only one completion choice is allowed", {"samples": 1}),
        ("n must be 1 when using greedy sampling, got 4.", {"samples": 1}),
        ("invalid n: only 1 is allowed when temperature is 0.7", {"samples": 1}),
        ("Range of n should be [1, 1]", {"samples": 1}),
        ("Unsupported parameter(s): `n`", {"samples": 1}),
        (
            "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
            {"max_tokens": "max_completion_tokens"},
        ),
        ("max_completion_tokens is required", {"max_tokens": "max_completion_tokens"}),
        (
            "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is.",
            {"temperature": "omitted"},
        ),
        ("Unsupported parameter: 'temperature' is not supported with this model.", {"temperature": "omitted"}),
        ("invalid temperature: only 1 is allowed for this model", {"temperature": "omitted"}),
        ("`temperature` is deprecated for this model.", {"temperature": "omitted"}),
        ("temperature must be 1", {"temperature": "omitted"}),
        ("seed: Extra inputs are not permitted", {"seed": False}),
        ("property 'seed' is unsupported", {"seed": False}),
        ('Invalid JSON payload received. Unknown name "seed": Cannot find field.', {"seed": False}),
        ("Unrecognized request argument supplied: seed", {"seed": False}),
        ("Additional properties are not allowed ('seed' was unexpected)", {"seed": False}),
        ('Unknown name "seed": Cannot find field. Unknown name "n": Cannot find field.', {"seed": False, "samples": 1}),
        ("Unrecognized request argument supplied", {"seed": False}),
        ("System role not supported", {"system": "user"}),
        ("Unsupported value: 'messages[0].role' does not support 'system' with this model.", {"system": "user"}),
        ('messages: Unexpected role "system".', {"system": "user"}),
        ("Conversation roles must alternate user/assistant/user/assistant/...", {"system": "user"}),
        ("Developer instruction is not enabled for this model", {"system": "user"}),
        # What it would take is not what it refuses.
        ("Unknown parameter: top_p. Supported parameters are: model, messages, n, seed, temperature", {}),
        ("unknown field `seed`, expected one of `model`, `messages`, `n`, `max_tokens`", {"seed": False}),
        ("'temperature' must be between 0 and 0.5", {}),
        ("temperature: Input should be less than or equal to 0.5", {}),
        ("'max_tokens' must be at most 16", {}),
        ("I would rather not", {}),
        ("Invalid line\\nbreak", {}),
    ],
)
def test_each_wording_teaches_what_it_says(message, learnt):
    assert lessons(said(message), SENT) == learnt


@pytest.mark.parametrize(
    ("refusal", "sent", "learnt"),
    [
        (Refusal(422, "Extra inputs are not permitted", "", ("n",)), SENT, {"samples": 1}),
        (Refusal(422, "Extra inputs are not permitted", "", ("seed", "n")), SENT, {"samples": 1, "seed": False}),
        (
            Refusal(422, "Extra inputs are not permitted", "", ("max_completion_tokens",)),
            OTHER,
            {"max_tokens": "max_tokens"},
        ),
        (
            Refusal(400, "Use 'max_tokens' instead", "unsupported_parameter", ("max_completion_tokens",)),
            OTHER,
            {"max_tokens": "max_tokens"},
        ),
        (
            Refusal(400, "does not support 'system'", "unsupported_value", ("messages.0.role",)),
            SENT,
            {"system": "user"},
        ),
        (Refusal(422, "Input should be 'user' or 'assistant'", "", ("messages.0.role",)), SENT, {"system": "user"}),
        (Refusal(400, "'temperature' must be strictly positive"), GREEDY, {"temperature": "positive"}),
        (Refusal(400, "temperature must be in (0, 1]"), GREEDY, {"temperature": "positive"}),
        (
            Refusal(400, "Invalid 'temperature': below minimum. Expected a value >= 0.01, but got 0."),
            GREEDY,
            {"temperature": "positive"},
        ),
        (
            Refusal(400, "'developer' is not one of ['system', 'user'] - 'messages.0.role'"),
            TOLD_BY_DEVELOPER,
            {"developer": False},
        ),
        (Refusal(400, "Conversation roles must alternate"), CHAT, {"alternate": True}),
        (Refusal(400, 'roles must alternate, found multiple "user" roles in a row'), CHAT, {"alternate": True}),
        (Refusal(400, "System message must be at the beginning."), LATE, {"system": "first"}),
        # Nothing of it was sent.
        (Refusal(400, "'n' must be at most 1"), GREEDY, {}),
        (Refusal(400, "seed is not supported"), GREEDY, {}),
    ],
)
def test_a_lesson_changes_what_was_refused(refusal, sent, learnt):
    assert lessons(refusal, sent) == learnt


def test_which_setting_a_refusal_is_about():
    sent = {**SENT, "top_p": 0.5, "top_k": 3}
    assert named_settings(said("top_k is not supported"), sent, ["top_p", "top_k"]) == ["top_k"]
    assert named_settings(said("no", param="top_p"), sent, ["top_p", "top_k"]) == ["top_p"]
    # `temperature` was not refused by itself, and only a person can choose between the two.
    both = said("`temperature` and `top_p` cannot both be specified for this model.")
    assert lessons(both, sent) == {}
    assert named_settings(both, sent, ["top_p", "top_k"]) == ["top_p"]
