"""No route without a key, none with a wrong scope: tried with every route that the OpenAPI document has."""

import time

import pytest
from routes import OPEN, REQUESTS, in_document, request

from hydra_ray.serve.http.guard import SCOPE_OF
from hydra_ray.serve.http.keys import KeyAuthenticate
from hydra_ray.store.identity.keys import SCOPES, new_key
from hydra_ray.store.types import StoreError


@pytest.fixture
def app(served, tmp_path):
    url = f"sqlite:///{tmp_path / 'users.db'}"
    authenticate = KeyAuthenticate(url, frozenset({"acme"}), 0)
    app = served(method="rag", authenticate=authenticate, more={"model": {"store": url}})
    app.authenticate, app.keys = authenticate, {}
    for scope in SCOPES:
        key, text = new_key("acme", [scope], now=time.time(), user=None, name="", expires=None)
        app.ingress._admin._keys.add(key, text, "me")
        app.keys[scope] = text
    return app


def wanted(path):
    """The scopes of which a path wants one."""
    return next(scopes for below, scopes in SCOPE_OF.items() if path.startswith(below))


def error_of(reply):
    assert set(reply.json()) == {"error"}
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    return reply.json()["error"]


def test_every_route_of_the_document_is_tried(app):
    assert in_document(app) == {*REQUESTS, *OPEN}


@pytest.mark.parametrize("key", [None, "", "guessed", "hydra_" + "x" * 43, "x" * 10_000])
def test_without_a_key_no_route_answers(app, key):
    for route in sorted(in_document(app) - OPEN):
        reply = request(app, route, key=key)
        assert reply.status_code == 401, route
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert error_of(reply)["code"] == ("invalid_api_key" if key else None)


@pytest.mark.parametrize("header", ["Basic {}", "{}", "Bearer", "Bearer {} {}"])
def test_a_key_that_is_sent_in_another_way_is_none(app, header):
    sent = header.format(app.keys["chat"], app.keys["chat"])
    assert app.client.get("/v1/models", headers={"Authorization": sent}).status_code == 401


def test_a_key_that_is_sent_twice_is_none(app):
    twice = [("Authorization", f"Bearer {app.keys[name]}") for name in ("chat", "admin")]
    assert app.client.get("/v1/models", headers=twice).status_code == 401


def test_a_wrong_scope_opens_no_route(app):
    for route in sorted(in_document(app) - OPEN):
        for scope in SCOPES.keys() - set(wanted(route[1])):
            reply = request(app, route, key=app.keys[scope])
            assert (reply.status_code, error_of(reply)["code"]) == (403, "missing_scope"), (route, scope)
    assert app.retriever.asked == app.generator.asked == app.adapter.asked == []


def test_the_right_scope_opens_every_route(app):
    for route in sorted(in_document(app) - OPEN, key=lambda route: route[0] == "DELETE"):
        for scope in wanted(route[1]):
            reply = request(app, route, key=app.keys[scope])
            # There is no key, and no completion, of the id that is asked for.
            missing = "key_1" in reply.text or "chatcmpl-1" in reply.text
            assert reply.status_code in (200, 204) or missing, (route, reply.text)


def test_anybody_may_ask_whether_it_lives(app):
    for _, path in OPEN:
        assert app.client.get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/embeddings", "/v1/usersx", "/openapi.json", "/", "/v1", "/V1/users/ann", "//v1/models"]
)
def test_what_is_not_listed_is_there_for_admins_alone(app, path):
    assert app.client.get(path).status_code == 401
    for scope in ("chat", "users"):
        reply = app.client.get(path, headers={"Authorization": f"Bearer {app.keys[scope]}"})
        assert (reply.status_code, error_of(reply)["code"]) == (404, "unknown_url")
    reply = app.client.get(path, headers={"Authorization": f"Bearer {app.keys['admin']}"})
    assert reply.status_code == (200 if path == "/openapi.json" else 404)


def test_a_route_below_another_path_is_guarded_by_its_own(app):
    """Paths reach the routes as they were sent, and the guard sees the same."""
    for path in ("/v1/%75sers/ann/history", "/v1/chat/../users/ann/history", "/v1/models/..%2Fusers"):
        reply = app.client.get(path, headers={"Authorization": f"Bearer {app.keys['chat']}"})
        assert reply.status_code in (403, 404), path


def test_where_the_store_is_down_nobody_is_let_in(app, monkeypatch, caplog):
    def down(text):
        raise StoreError("postgresql://u:hunter2@db is down")

    monkeypatch.setattr(app.authenticate, "_look_up", down)
    reply = app.client.get("/v1/models", headers={"Authorization": f"Bearer {app.keys['chat']}"})
    assert (reply.status_code, error_of(reply)["type"]) == (503, "upstream_error")
    assert "hunter2" not in reply.text


def test_a_body_is_not_read_before_the_key_is(app):
    reply = app.client.post("/v1/chat/completions", content=b"{" * 9_000_000)
    assert reply.status_code == 401
