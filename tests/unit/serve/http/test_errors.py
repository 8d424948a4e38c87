"""Errors of every route: OpenAI's form, a status that says whose fault it is, and no cause that is not for clients."""

import contextlib
import gzip
import json
import logging
import sqlite3

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import OpenAI

from hydra_ray.records import UserKey
from hydra_ray.store import database
from hydra_ray.store.types import StoreError

ASKED = {"model": "hydra", "messages": [{"role": "user", "content": "x"}]}
GZIPPED = gzip.compress(json.dumps(ASKED).encode(), mtime=0)
JSON = {"Content-Type": "application/json"}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def app(served):
    return served(method="rag")


def error_of(reply, status):
    """The error in OpenAI's form, and nothing beside it."""
    assert reply.status_code == status, reply.text
    assert reply.headers["Content-Type"] == "application/json"
    (error,) = reply.json().values()
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["param"] is None or isinstance(error["param"], str)
    assert error["code"] is None or isinstance(error["code"], str)
    return error


@pytest.mark.parametrize(
    ("verb", "path", "status", "code"),
    [
        ("POST", "/v1/completions", 404, "unknown_url"),
        ("POST", "/v1/embeddings", 404, "unknown_url"),
        ("GET", "/", 404, "unknown_url"),
        ("GET", "/v1/users//history", 404, "unknown_url"),
        ("GET", "/docs", 404, "unknown_url"),
        ("GET", CHAT, 405, "method_not_supported"),
        ("DELETE", "/v1/models", 405, "method_not_supported"),
        ("PUT", "/v1/users/ann/history", 405, "method_not_supported"),
        ("GET", "/v1/models/gpt-5", 404, "model_not_found"),
        ("GET", "/v1/models/%FF", 400, None),
        ("GET", "/v1/users/%20/history", 400, None),
        ("GET", "/v1/users/%ED%A0%80/history", 400, None),
        ("DELETE", "/v1/users/%00", 400, None),
    ],
)
def test_every_path_and_verb_fails_in_openais_form(app, verb, path, status, code):
    reply = app.client.request(verb, path, json=ASKED)
    assert error_of(reply, status)["code"] == code
    assert status != 405 or reply.headers["Allow"]


@pytest.mark.parametrize("path", [CHAT, "/v1/users/ann/feedback"])
@pytest.mark.parametrize(
    ("body", "headers", "told"),
    [
        (b"", JSON, "empty"),
        (b"{", JSON, "no JSON"),
        (b'{"model": "\xff"}', JSON, "UTF-8"),
        ('{"model": "hydra"}'.encode("utf-16"), JSON, "UTF-8"),
        (b'{"user": "ann", "model": "hydra", "user": "eve"}', JSON, "'user' is in the body twice"),
        (b'{"hydra": {"a": 1, "a": 1}}', JSON, "'a' is in the body twice"),
        (b'{"n": NaN}', JSON, "NaN"),
        (b'{"n": -Infinity}', JSON, "Infinity"),
        (b'{"n": ' + b"1" * 5000 + b"}", JSON, "no JSON"),
        (b"[" * 100_000 + b"]" * 100_000, JSON, "nested"),
        (json.dumps({"hydra": dict.fromkeys(map(str, range(20_000)))}).encode(), JSON, "more than 10,000 keys"),
        (b"[]", JSON, "the body"),
        (b'"hi"', JSON, "the body"),
        (b"null", JSON, ""),
        (json.dumps(ASKED).encode(), {"Content-Type": "text/plain"}, "application/json"),
        (b"model=hydra", {"Content-Type": "application/x-www-form-urlencoded"}, "application/json"),
        (json.dumps(ASKED).encode(), {}, "application/json"),
        (GZIPPED, {**JSON, "Content-Encoding": "gzip"}, "Content-Encoding gzip"),
        (json.dumps(ASKED).encode(), {**JSON, "Content-Encoding": "br"}, "Content-Encoding br"),
    ],
)
def test_what_is_no_json_object_is_refused(app, path, body, headers, told):
    error = error_of(app.client.post(path, content=body, headers=headers), 400)
    assert error["type"] == "invalid_request_error"
    assert told in error["message"]


def test_json_is_known_by_any_of_its_names(app):
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/problem+json"):
        reply = app.client.post(CHAT, content="\ufeff" + json.dumps(ASKED), headers={"Content-Type": kind})
        assert reply.status_code == 200, reply.text


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"user": "\ud800"}, "user"),
        ({"n": 0}, "n"),
        ({"tools": [{}]}, "tools"),
        ({"stream_options": {}}, "stream_options"),
        ({"hydra": {"method": "magic"}}, "hydra.method"),
    ],
)
def test_the_wrong_parameter_is_named(app, changes, param):
    reply = app.client.post(CHAT, content=json.dumps({**ASKED, **changes}), headers=JSON)
    assert error_of(reply, 400)["param"] == param


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"messages": None}, "missing_required_parameter"),
        ({"messages": []}, "empty_array"),
        ({"messages": "hi"}, "invalid_type"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "invalid_value"),
        ({"messages": [{"role": "user", "content": None}]}, "invalid_type"),
        ({"n": 0}, "integer_below_min_value"),
        ({"n": "2"}, "invalid_type"),
        ({"temperature": 3}, "decimal_above_max_value"),
        ({"max_tokens": 0}, "integer_below_min_value"),
        ({"stop": list("abcde")}, "array_above_max_length"),
        ({"verbosity": "loud"}, "invalid_value"),
        ({"hydra": {"metod": "rag"}}, "unknown_parameter"),
        ({"tools": [{}]}, "unsupported_parameter"),
    ],
)
def test_what_is_wrong_has_openais_word(app, changes, code):
    assert error_of(app.client.post(CHAT, json={**ASKED, **changes}), 400)["code"] == code


def test_a_body_that_is_too_large_is_refused_whether_its_length_was_said_or_not(served):
    app, body = served(max_body_mb=0.001), json.dumps(ASKED).encode()
    fits = body + b" " * (1000 - len(body))
    assert app.client.post(CHAT, content=fits, headers=JSON).status_code == 200
    assert error_of(app.client.post(CHAT, content=fits + b" ", headers=JSON), 413)["code"] == "too_large"

    said = {**JSON, "Content-Length": "9" * 5000}
    assert error_of(app.client.post(CHAT, content=body, headers=said), 413)["code"] == "too_large"

    def chunks():
        for _ in range(100):
            yield b" " * 100

    assert "serve.max_body_mb" in error_of(app.client.post(CHAT, content=chunks(), headers=JSON), 413)["message"]


def test_what_nobody_foresaw_is_the_servers_fault_and_its_cause_is_in_the_log(served, caplog, monkeypatch):
    app = served(method="rag")

    def broken(*_args, **_named):
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(app.ingress._store, "history", broken)
    with caplog.at_level(logging.ERROR, "hydra_ray"):
        reply = app.client.get("/v1/users/ann/history")
    error = error_of(reply, 500)
    assert error["type"] == "server_error"
    assert "hunter2" not in reply.text
    assert "hunter2" in caplog.text


def test_a_fault_of_the_generators_replica_is_a_generator_that_is_not_available(served, caplog):
    app = served(method="rag")

    def broken(*_):
        raise RuntimeError("the password is hunter2")

    app.generator.answer = broken
    with caplog.at_level(logging.WARNING, "hydra_ray"):
        reply = app.client.post(CHAT, json=ASKED)
    assert error_of(reply, 502)["type"] == "upstream_error"
    assert "hunter2" not in reply.text
    assert "hunter2" in caplog.text


def test_a_store_that_is_down_is_told_and_logged(app, caplog, monkeypatch):
    def down(key):
        raise StoreError("store.url: sqlite:///users.db cannot be read: disk I/O error")

    monkeypatch.setattr(app.ingress._store, "history", down)
    reply = app.client.get("/v1/users/ann/history")
    assert error_of(reply, 503)["type"] == "upstream_error"
    assert "disk I/O error" in caplog.text
    assert "disk" not in reply.text


def test_a_writer_that_does_not_end_is_no_fault_of_the_server(app, monkeypatch):
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    path = app.ingress._settings.store_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("begin immediate")
        assert error_of(app.client.delete("/v1/users/ann"), 503)["type"] == "upstream_error"
    assert app.client.delete("/v1/users/ann").status_code == 200


def test_openais_client_knows_the_errors(app):
    client = OpenAI(base_url="http://localhost/v1", api_key="none", http_client=app.client, max_retries=0)
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="hydra", prompt="x")
    assert caught.value.code == "unknown_url"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="hydra", messages=[{"role": "robot", "content": "x"}])
    assert wrong.value.param == "messages[0].role"
    assert "there is no role 'robot'" in wrong.value.message


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
signs = st.text(st.characters(codec=None), max_size=6)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "robot"]) | values},
        optional={"content": signs | values | st.lists(st.fixed_dictionaries({"type": values, "text": signs}))},
    )
    | values,
    max_size=3,
)
names = ["user", "n", "stream", "stream_options", "hydra", "metadata", "safety_identifier", "tools", "tool_choice"]
names += ["response_format", "logprobs", "top_logprobs", "modalities", "temperature", "stop", "\ud800"]
bodies = st.fixed_dictionaries(
    {"model": st.just("hydra") | values, "messages": messages | values},
    optional=dict.fromkeys(names, signs | values),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(body=bodies | values)
def test_whatever_json_is_sent_there_is_an_answer_or_an_error_in_openais_form(app, body):
    reply = app.client.post(CHAT, content=json.dumps(body), headers=JSON)
    if reply.status_code != 200:
        error_of(reply, 404 if reply.status_code == 404 else 400)


told = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(["input", "accepted", "edited", "rejected", "id", "ts", "candidates", "x"], signs | values),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(body=told | values)
def test_whatever_feedback_is_sent_it_is_kept_or_an_error_in_openais_form(app, body):
    reply = app.client.post("/v1/users/ann/feedback", content=json.dumps(body), headers=JSON)
    if reply.status_code != 200:
        error_of(reply, 400)


@pytest.mark.parametrize("nulls", [{}, dict.fromkeys(["id", "ts", "candidates", "edited", "rejected"])])
def test_feedback_that_is_null_was_not_given(app, nulls):
    reply = app.client.post("/v1/users/%20ann/feedback", json={"input": "x", "accepted": "y", **nulls})
    assert reply.status_code == 200, reply.text
    assert reply.json()["learnt"]
    assert app.adapter.learn.asked[-1][0] == UserKey("acme", "ann")


@settings(max_examples=100)
@given(body=st.binary(max_size=60), kind=st.sampled_from(["application/json", "text/plain", ""]))
def test_whatever_bytes_are_sent_there_is_an_error_in_openais_form(app, body, kind):
    error_of(app.client.post(CHAT, content=body, headers={"Content-Type": kind}), 400)


def test_streamed_errors_come_before_the_stream(app):
    reply = app.client.post(CHAT, json={**ASKED, "stream": True, "n": 0})
    assert error_of(reply, 400)["param"] == "n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"model": "hydra", "messages": [], "x": 1e999}', "1e999 is too large a number"),
        ('{"x": ' + "[" * 500 + "]" * 500 + "}", "nested too deeply"),
    ],
)
def test_what_could_not_be_sent_on_is_refused_at_the_door(app, body, message):
    reply = app.client.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert message in reply.json()["error"]["message"]
