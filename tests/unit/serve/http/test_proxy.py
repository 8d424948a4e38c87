"""Errors of Serve's own proxy: OpenAI's form, and none of the proxy's words."""

import re
from pathlib import Path

import pytest
from ray._common.utils import import_attr
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.testclient import TestClient

from hydra_ray.serve.http.proxy import middleware


def test_every_pod_that_serves_has_the_proxies_use_it():
    manifest = (Path(__file__).parents[4] / "k8s" / "gpu" / "service" / "service.yaml").read_text()
    found = re.search(r"name: RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH\n\s*value: (\S+)", manifest)
    assert import_attr(found[1])()[0].cls is middleware()[0].cls


def asked(response, path="/v1/models"):
    """What a client gets where the proxy answers so."""
    app = response
    for one in middleware():
        app = one.cls(app, *one.args, **one.kwargs)
    return TestClient(app).get(path)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, "rate_limit_error"), (503, "server_error"), (500, "server_error"), (404, "invalid_request_error")],
)
def test_plain_errors_get_openais_form_and_keep_their_headers(status, kind):
    reply = asked(PlainTextResponse("Traceback: hunter2", status, {"Retry-After": "1", "X-Kept": "7"}))
    assert (reply.status_code, reply.headers["Retry-After"], reply.headers["X-Kept"]) == (status, "1", "7")
    error = reply.json()["error"]
    assert (error["type"], error["param"], error["code"]) == (kind, None, None)
    assert "hunter2" not in reply.text
    assert int(reply.headers["Content-Length"]) == len(reply.content)


def test_a_plain_error_in_pieces_is_one_error():
    reply = asked(StreamingResponse(iter(["Trace", "back"]), 500, media_type="text/plain"))
    assert reply.json()["error"]["type"] == "server_error"


async def nothing(scope, receive, send):
    """The proxy whose replica died with the request."""


def test_a_request_whose_replica_died_is_told_to_come_again():
    reply = asked(nothing)
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")
    assert reply.json()["error"]["type"] == "server_error"
    assert reply.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("response", "path"),
    [
        (JSONResponse({"error": {"message": "no"}}, 400), "/v1/models"),
        (PlainTextResponse("fine"), "/v1/models"),
        (PlainTextResponse("unhealthy", 503), "/-/healthz"),
    ],
)
def test_all_else_passes_as_it_is(response, path):
    reply = asked(response, path)
    assert (reply.status_code, reply.content) == (response.status_code, response.body)
