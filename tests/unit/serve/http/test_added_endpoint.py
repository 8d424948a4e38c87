"""The HTTP endpoint and the keys that docs/extending.md shows, added to the ingress as the page says."""

import logging
from hashlib import sha256

import pytest
from code_blocks import as_module, code_blocks
from made_app import SAID

from hydra_ray.records import UserKey
from hydra_ray.serve import users
from hydra_ray.store.types import ProfileFingerprint, UserProfile

METHOD, LINE, KEYS = code_blocks("docs/extending.md", "## An HTTP endpoint")
ANN = UserKey("zeta", "ann")


@pytest.fixture
def app(served, monkeypatch):
    """The ingress with the page's endpoint and keys; key k1 is of tenant zeta."""
    names = dict(vars(users))
    # As a line of the file that it is added to.
    exec(compile(METHOD, "docs/extending.md", "exec", dont_inherit=True), names)
    monkeypatch.setattr(users.UserEndpoints, "profile", names["profile"], raising=False)
    routes = users.UserEndpoints.user_routes

    def user_routes(self):
        router = routes(self)
        eval(LINE, {"router": router, "self": self})
        return router

    monkeypatch.setattr(users.UserEndpoints, "user_routes", user_routes)
    keys = as_module(monkeypatch, "hydra_ray.serve.http.keys", KEYS)
    app = served(method="rag", authenticate=keys.ApiKeys({sha256(b"k1").hexdigest(): "zeta"}))
    store = app.ingress._store
    store.put_histories({ANN: []})
    yield app
    store.delete(ANN)


def profile(app, user="ann", kind="pag", authorization="Bearer k1"):
    return app.client.get(f"/v1/users/{user}/profiles/{kind}", headers={"Authorization": authorization})


def test_the_endpoint_gives_the_profile_of_the_keys_tenants_user(app, item):
    store = app.ingress._store
    for tenant in ("acme", "zeta"):
        key = UserKey(tenant, "ann")
        store.put_histories({key: [item("a", "b")]})
        store.put_profiles([(key, UserProfile("pag", f"Likes {tenant}.", ProfileFingerprint("h", "w", 1)))])
    reply = profile(app)
    assert reply.status_code == 200
    assert reply.json() == {"object": "profile", "kind": "pag", "text": "Likes zeta.", "degraded": False}
    store.delete(UserKey("acme", "ann"))


def test_a_profile_that_is_not_there_is_a_404_that_names_the_parameter(app):
    reply = profile(app, kind="dpl")
    assert (reply.status_code, reply.json()["error"]["param"]) == (404, "kind")


@pytest.mark.parametrize("authorization", ["Bearer k2", "Basic k1", "k1", "Bearer", ""])
def test_who_has_no_key_gets_nothing(app, authorization, caplog):
    with caplog.at_level(logging.INFO):
        reply = profile(app, authorization=authorization)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert "k2" not in reply.text + caplog.text


def test_the_key_is_asked_for_by_the_other_endpoints_too(app):
    body = {"model": "hydra", "messages": SAID[-1:], "user": "ann"}
    assert app.client.post("/v1/chat/completions", json=body).status_code == 401
    reply = app.client.post("/v1/chat/completions", json=body, headers={"Authorization": "Bearer k1"})
    assert reply.status_code == 200
    assert app.retriever.asked[-1][0].user == ANN
    assert app.client.get("/healthz").status_code == 200
