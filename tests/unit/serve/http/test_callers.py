"""Who a request is from: which source names the user, and what is no name."""

import pytest
from starlette.datastructures import Headers

from hydra_ray.serve.http.callers import named_user
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.requests import ChatCompletionRequest

ALL = ("header:X-User", "metadata.end.user", "safety_identifier", "user")


def named(sources, headers=(), **body):
    sent = {"model": "hydra", "messages": [{"role": "user", "content": "x"}], **body}
    raw = [(name.lower().encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers]
    return named_user(sources, ChatCompletionRequest.model_validate(sent), Headers(raw=raw))


@pytest.mark.parametrize(
    ("headers", "body", "user"),
    [
        ([], {}, None),
        ([], {"user": "ann"}, "ann"),
        ([], {"user": " ann\n"}, "ann"),
        ([], {"user": "ann", "safety_identifier": "bob"}, "bob"),
        ([], {"user": "ann", "metadata": {"end.user": "eve"}}, "eve"),
        ([], {"user": "ann", "metadata": {"end": {"user": "eve"}}, "safety_identifier": None}, "ann"),
        ([("X-USER", "王 ")], {"user": "ann", "metadata": {"end.user": "eve"}}, "王"),
        ([("X-User", "é"), ("x-user", "é")], {}, "é"),
        # Whoever sets a blank one means nobody.
        ([("X-User", "")], {"user": "ann"}, None),
        ([], {"user": "ann", "safety_identifier": " \t"}, None),
        ([], {"user": ""}, None),
    ],
)
def test_the_first_source_that_was_sent_names_the_user(headers, body, user):
    assert named(ALL, headers, **body) == user


def test_a_source_that_is_not_set_names_nobody():
    assert named(("user",), [("X-User", "eve")], safety_identifier="bob", metadata={"user": "eve"}) is None
    assert named(("header:X-User",), user="ann") is None
    assert named(("user",), metadata=["whatever"], safety_identifier=7, user="ann") == "ann"


@pytest.mark.parametrize(
    ("headers", "body", "param", "told"),
    [
        ([], {"user": 7}, "user", "by text"),
        ([], {"user": ["ann"]}, "user", "by text"),
        ([], {"user": "a\ud800"}, "user", "half a surrogate pair"),
        ([], {"user": "a\0"}, "user", "zero"),
        ([], {"safety_identifier": "\udfff"}, "safety_identifier", "half a surrogate pair"),
        ([], {"metadata": {"end.user": "\ud800"}}, "metadata.end.user", "half a surrogate pair"),
        ([], {"metadata": {"end.user": 7}}, "metadata.end.user", "by text"),
        ([], {"metadata": ["ann"]}, "metadata", "object"),
        ([("X-User", b"\xff")], {}, "header:X-User", "UTF-8"),
        ([("X-User", "ann"), ("X-User", "eve")], {}, "header:X-User", "different values"),
    ],
)
def test_what_cannot_name_a_user_is_refused(headers, body, param, told):
    with pytest.raises(RequestError, match=told) as caught:
        named(ALL, headers, **body)
    assert (caught.value.param, caught.value.status) == (param, 400)
