"""Ids of requests: taken where they are sane, else made; told by every response, whatever it is."""

from __future__ import annotations

import re

import pytest
from made_app import SAID
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from hydra_ray.serve.http.proxy import middleware
from hydra_ray.serve.http.request_ids import RequestIds, chosen

MADE = re.compile(r"req_[0-9a-f]{32}")
BODY = {"model": "hydra", "messages": SAID[-1:]}


@pytest.mark.parametrize("sent", ["7", "a b", "!~", "x" * 128])
def test_a_sane_id_is_taken(sent):
    assert chosen([sent]) == chosen([sent, sent]) == sent


@pytest.mark.parametrize("sent", [[], [""], [" "], ["a "], ["x" * 129], ["a\tb"], ["a\nb"], ["ä"], ["a", "b"]])
def test_else_one_is_made(sent):
    assert MADE.fullmatch(chosen(sent))
    assert chosen(sent) != chosen(sent)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (("POST", "/v1/chat/completions", {"json": BODY}), 200),
        (("POST", "/v1/chat/completions", {"json": {**BODY, "stream": True}}), 200),
        (("POST", "/v1/chat/completions", {"content": "{"}), 400),
        (("GET", "/healthz", {}), 200),
        (("GET", "/v1/nowhere", {}), 404),
        (("PUT", "/v1/models", {}), 405),
        (("GET", "/v1/models", {"headers": {"Host": "example.com"}}), 403),
    ],
)
def test_every_response_tells_the_id_that_was_sent_or_one_that_is_made(served, asked, status):
    app = served(method="rag")
    method, path, more = asked
    made = app.client.request(method, path, **more)
    assert (made.status_code, bool(MADE.fullmatch(made.headers["X-Request-ID"]))) == (status, True)
    headers = {**more.get("headers", {}), "X-Request-ID": "order-17"}
    taken = app.client.request(method, path, **{**more, "headers": headers})
    assert (taken.status_code, taken.headers.get_list("X-Request-ID")) == (status, ["order-17"])


def test_who_is_not_known_and_what_nobody_foresaw_have_an_id_and_pages_may_read_it(served):
    async def fails(headers, peer):
        raise RuntimeError("nobody foresaw this")

    app = served(authenticate=fails, cors_origins=["https://app.example.com"])
    reply = app.client.get("/v1/models", headers={"X-Request-ID": "a", "Origin": "https://app.example.com"})
    assert (reply.status_code, reply.headers["X-Request-ID"]) == (500, "a")
    assert "X-Request-ID" in reply.headers["Access-Control-Expose-Headers"]
    asks = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    assert MADE.fullmatch(app.client.options("/v1/models", headers=asks).headers["X-Request-ID"])


async def tells(scope, receive, send):
    """What Serve's proxy does: it adds the id of the request, taken as it is, to what the application answers."""
    request_id = Request(scope).headers["x-request-id"]
    inner = PlainTextResponse(Request(scope).state.request_id, headers={"X-Request-ID": request_id})

    async def with_one_more(message):
        if message["type"] == "http.response.start":
            message["headers"].append((b"x-request-id", request_id.encode()))
        await send(message)

    await inner(scope, receive, with_one_more)


@pytest.mark.parametrize("sent", ["order-17", "x" * 500])
def test_around_serves_proxy_the_application_hears_the_same_id_and_a_response_tells_it_once(sent):
    app = tells
    for one in middleware():
        app = one.cls(app, *one.args, **one.kwargs)
    reply = TestClient(app).get("/", headers={"X-Request-ID": sent})
    assert reply.headers.get_list("X-Request-ID") == [reply.text]
    assert (reply.text == sent) == (len(sent) <= 128)


def test_other_connections_pass_as_they_are():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)

    scope = {"type": "lifespan"}
    coroutine = RequestIds(app)(scope, None, None)
    with pytest.raises(StopIteration):
        coroutine.send(None)
    assert seen == [scope]
