"""The HTTP endpoint and the authentication that docs/extending.md shows, added to the ingress as the page says."""

import logging

import pytest
from code_blocks import as_module, code_blocks
from made_app import SAID

from hydra_ray.records import UserKey
from hydra_ray.serve import users
from hydra_ray.store.types import ProfileFingerprint, UserProfile

METHOD, LINE, GATEWAY = code_blocks("docs/extending.md", "## An HTTP endpoint")
ANN = UserKey("zeta", "ann")


@pytest.fixture
def app(served, monkeypatch):
    """The ingress with the page's endpoint, behind the page's gateway, which knows tenant zeta."""
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
    gateway = as_module(monkeypatch, "hydra_ray.serve.http.gateway", GATEWAY)
    authenticate = gateway.TrustGateway("s1", frozenset({"zeta"}))
    app = served(method="rag", authenticate=authenticate, more={"tenants": {"zeta": {}}})
    store = app.ingress._store
    store.put_histories({ANN: []})
    yield app
    store.delete(ANN)


def by_gateway(secret="s1", tenant="zeta"):
    return {"X-Gateway-Secret": secret, "X-Tenant": tenant}


def profile(app, user="ann", kind="pag", **sent):
    return app.client.get(f"/v1/users/{user}/profiles/{kind}", headers=by_gateway(**sent))


def test_the_endpoint_gives_the_profile_of_the_named_tenants_user(app, item):
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


@pytest.mark.parametrize("secret", ["s2", "s", ""])
def test_who_is_not_the_gateway_gets_nothing(app, secret, caplog):
    with caplog.at_level(logging.INFO):
        reply = profile(app, secret=secret)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")


def test_a_tenant_that_is_not_served_is_refused(app):
    assert profile(app, tenant="beta").status_code == 403


def test_other_endpoints_are_behind_the_gateway_too(app):
    body = {"model": "hydra", "messages": SAID[-1:], "user": "ann"}
    assert app.client.post("/v1/chat/completions", json=body).status_code == 401
    reply = app.client.post("/v1/chat/completions", json=body, headers=by_gateway())
    assert reply.status_code == 200
    assert app.retriever.asked[-1][0].user == ANN
    assert app.client.get("/healthz").status_code == 200
    # Nobody administrates through it.
    assert app.client.get("/v1/admin/keys", headers=by_gateway()).status_code == 403
