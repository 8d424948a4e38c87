"""Whatever is sent, nothing is answered by a 5xx, and what is refused is refused in OpenAI's form.

`make fuzz` asks 10,000 times, at random; `make test` 1,500 times and else it is 150 times, the same each time.
"""

import contextlib
import json
import os

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

REQUESTS = int(os.environ.get("HYDRA_RAY_FUZZ", "150"))
MOST_THE_SAME = 1500
# As many by the document as by bodies that no document thinks of.
HALF = REQUESTS // 2
PATHS = (
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/users/ann/feedback"),
    ("PATCH", "/v1/users/ann"),
    ("POST", "/v1/admin/keys"),
)
ANYHOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example]


def fuzz(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=REQUESTS <= MOST_THE_SAME,
        suppress_health_check=[*ANYHOW, HealthCheck.function_scoped_fixture],
    )


TEXTS = st.one_of(
    # Half surrogates and control characters among them.
    st.text(st.characters(), max_size=40),
    st.sampled_from(
        ["", " ", "\0", "\x1b[2J", "\ud800", "\udfff\ud800", "\u202e", "\ufeff", "a\u0301" * 500, "𝔘" * 99]
    ),
    st.sampled_from(
        ["a" * 1_000_000, "王" * 300_000, "\n" * 100_000, "<|im_end|>", "{{7*7}}", "'; drop table users;--"]
    ),
)
NUMBERS = st.one_of(
    st.integers(), st.sampled_from([0, -1, 2**31, 2**63, 10**400, 0.1, -0.0, 1e308, 5e-324]), st.floats(-10, 10)
)
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
)
ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "USER", ""])
PARTS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("text"), "text": PLAIN}),
        st.fixed_dictionaries({"type": st.just("image_url"), "image_url": VALUES}),
        st.fixed_dictionaries({"type": VALUES}),
        VALUES,
    ),
    max_size=3,
)
MESSAGES = st.one_of(
    st.lists(
        st.fixed_dictionaries(
            {"role": ROLES | VALUES, "content": TEXTS | PARTS | VALUES},
            optional={"name": VALUES, "tool_calls": VALUES, "tool_call_id": VALUES, "refusal": VALUES},
        )
        | VALUES,
        max_size=5,
    ),
    st.just([{"role": "user", "content": "And now?"}]),
    VALUES,
)
FIELDS = (
    "user",
    "n",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "seed",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "metadata",
    "store",
    "service_tier",
    "modalities",
    "audio",
    "reasoning_effort",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "frequency_penalty",
    "safety_identifier",
    "verbosity",
    "hydra",
    "nonsense",
)
CHATS = st.fixed_dictionaries(
    {"model": st.sampled_from(["hydra", "hydra@v1", "hydra@none", "gpt"]) | VALUES, "messages": MESSAGES},
    optional=dict.fromkeys(FIELDS, VALUES),
)
FEEDBACK = st.fixed_dictionaries(
    {"input": TEXTS},
    optional={
        **dict.fromkeys(("accepted", "edited", "rejected", "id", "ts", "completion_id", "method"), TEXTS),
        "candidates": st.lists(TEXTS, max_size=4) | VALUES,
        "votes": st.lists(NUMBERS, max_size=4) | VALUES,
        "propensity": NUMBERS | VALUES,
    },
)
KEYS = st.fixed_dictionaries(
    {"scopes": st.lists(st.sampled_from(["chat", "users", "admin", "root"]), max_size=4) | VALUES},
    optional={"name": VALUES, "user": VALUES, "expires_in_s": VALUES},
)
PREFERENCES = st.fixed_dictionaries({"personalisation": VALUES})
DEEP = st.integers(1, 200_000).map(lambda depth: b"[" * depth + b"]" * depth)
WIDE = st.integers(1, 30_000).map(lambda keys: json.dumps({str(key): 0 for key in range(keys)}).encode())


@st.composite
def spoilt(draw, bodies):
    """Bytes of a body, some cut off, doubled, or with a byte of something else."""
    whole = json.dumps(draw(bodies)).encode()
    at = draw(st.integers(0, min(len(whole), 400)))
    how = draw(st.sampled_from(["whole", "whole", "whole", "cut", "byte", "twice", "latin"]))
    return {
        "whole": whole,
        "cut": whole[:at],
        "byte": whole[:at] + draw(st.binary(min_size=1, max_size=2)) + whole[at:],
        "twice": whole + whole,
        "latin": whole.replace(b"\\u00", b"\xe9"),
    }[how]


@st.composite
def requests(draw):
    """Method, path, headers and body of a request."""
    method, path = draw(st.sampled_from((*PATHS, PATHS[0], PATHS[0])))
    meant = dict(zip((path for _, path in PATHS), (CHATS, FEEDBACK, PREFERENCES, KEYS), strict=True))[path]
    body = draw(st.one_of(spoilt(meant), spoilt(meant), spoilt(VALUES), DEEP, WIDE, st.binary(max_size=50)))
    headers = {"Content-Type": draw(st.sampled_from(["application/json"] * 6 + ["text/plain", "application/json;;"]))}
    if draw(st.booleans()):
        headers["X-Request-Timeout"] = draw(st.sampled_from(["60", "nan", "-1", "1e5", "", "zero", "\x7f"]))
    return method, path, headers, body


@pytest.fixture(scope="module")
def app(served):
    return served()


def check(reply):
    assert reply.status_code < 500, reply.text[:500]
    if reply.status_code >= 400:
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


@fuzz(REQUESTS - HALF)
@given(request=requests())
def test_no_body_makes_the_server_fail(app, request):
    method, path, headers, body = request
    check(app.client.request(method, path, headers=headers, content=body))


def test_no_request_by_the_document_makes_the_server_fail(app):
    document = schemathesis.openapi.from_dict(app.client.app.openapi())
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) > 10
    modes = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
    asked = set()
    for operation in operations:
        for mode in modes:

            @fuzz(max(4, HALF // (len(modes) * len(operations))))
            @given(case=operation.as_strategy(generation_mode=mode))
            def answers(case):
                asked.add((case.method, case.path))
                check(send(app.client, case))

            # Of a route without parameters no request can be wrong.
            with contextlib.suppress(Unsatisfiable):
                answers()
    assert len(asked) == len(operations)


def send(client, case):
    """Sends a case of schemathesis; what HTTP itself cannot carry is left out."""
    # A time-out that leaves no time is answered by 504, and so it should be.
    sent = {name: value for name, value in (case.headers or {}).items() if name.lower() != "x-request-timeout"}
    headers = {name: value for name, value in sent.items() if f"{name}{value}".isascii()}
    has_body = isinstance(case.body, dict | list | str | int | float | bool | None)
    content = json.dumps(case.body).encode() if has_body and case.media_type else b""
    if content:
        headers = {"Content-Type": case.media_type, **headers}
    return client.request(case.method, case.formatted_path, headers=headers, params=case.query or None, content=content)
