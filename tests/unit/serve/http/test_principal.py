"""Who a request is from: one caller, found before the route, and one principal, of whom all takes the user."""

from dataclasses import dataclass, field

import pytest
from made_app import SAID
from routes import REQUESTS, request

from hydra_ray.records import UserKey
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.principal import Caller, Principal, TrustThisMachine, is_loopback
from hydra_ray.store.identity.keys import SCOPES

OF_USERS = [route for route in REQUESTS if "{user}" in route[1] or "chat" in route[1]]


@dataclass
class Callers:
    """Somebody's own authentication: `Bearer NAME` is a caller of that name."""

    known: dict[str, Caller]
    asked: list[str | None] = field(default_factory=list)

    async def __call__(self, headers, peer):
        name = headers.get("authorization", "").removeprefix("Bearer ")
        self.asked.append(name)
        if name not in self.known:
            raise RequestError("there is no such caller", code="invalid_api_key", status=401)
        return self.known[name]


@pytest.fixture
def callers():
    every = frozenset(SCOPES)
    return Callers({"k1": Caller("acme", "k1", every, None), "anns": Caller("acme", "k2", every, "ann")})


@pytest.fixture
def app(served, callers):
    return served(method="rag", authenticate=callers)


@pytest.mark.parametrize("route", REQUESTS, ids=" ".join)
def test_who_is_not_known_gets_nothing_from_any_route(app, route):
    reply = request(app, route, key="guessed")
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    asked = app.retriever, app.generator, app.adapter, app.adapter.learn, app.adapter.forget
    assert [handle.asked for handle in asked] == [[]] * 5


@pytest.mark.parametrize("route", REQUESTS, ids=" ".join)
def test_who_asks_is_decided_once(app, callers, route):
    assert request(app, route).status_code in (200, 204, 404)
    assert callers.asked == ["k1"]


@pytest.mark.parametrize("route", OF_USERS, ids=" ".join)
def test_a_caller_who_is_one_users_acts_for_nobody_else(app, route):
    refused = request(app, route, user="bob", key="anns")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert request(app, route, user="ann", key="anns").status_code in (200, 204)


def test_where_such_a_caller_names_nobody_it_is_for_their_user(app):
    body = {"model": "hydra", "messages": SAID[-1:]}
    reply = app.client.post("/v1/chat/completions", json=body, headers={"Authorization": "Bearer anns"})
    assert reply.json()["hydra"]["user"] == "ann"
    assert app.retriever.asked[-1][0].user == UserKey("acme", "ann")


def test_all_that_is_done_is_for_the_principals_user(app):
    key = UserKey("acme", "ann")
    told = request(app, ("POST", "/v1/chat/completions")).json()["hydra"]
    assert told["user"] == "ann"
    assert app.retriever.asked[-1][0].user == key
    request(app, ("POST", "/v1/users/{user}/feedback"))
    assert app.adapter.learn.asked[-1][0] == app.retriever.asked[-1][0].user == key
    request(app, ("DELETE", "/v1/users/{user}/history/{item}"))
    assert app.adapter.forget.asked == [(key, "1")]


def test_the_store_is_asked_for_the_principals_user(app, item):
    store = app.ingress._store
    store.put_histories({UserKey(tenant, "ann"): [item("a", tenant)] for tenant in ("acme", "zeta")})
    listed = request(app, ("GET", "/v1/users/{user}/history")).json()["data"]
    assert [one["output"] for one in listed] == ["acme"]
    request(app, ("DELETE", "/v1/users/{user}"))
    assert store.history(UserKey("acme", "ann")) == ()
    assert store.history(UserKey("zeta", "ann")) == (item("a", "zeta"),)
    store.delete(UserKey("zeta", "ann"))


def test_deletions_are_in_the_audit_log_with_who_asked(app):
    request(app, ("DELETE", "/v1/users/{user}/history/{item}"))
    request(app, ("DELETE", "/v1/users/{user}"))
    *_, item, user = app.ingress._audit.entries()
    assert (item.tenant, item.actor, item.action, item.target, item.detail) == (
        "acme",
        "k1",
        "item.delete",
        "ann",
        {"item": "1"},
    )
    assert (user.actor, user.action, user.target) == ("k1", "user.delete", "ann")


# Without keys: this machine alone.


@pytest.mark.parametrize(
    ("peer", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("10.0.0.5", False),
        ("::ffff:10.0.0.5", False),
        ("fe80::1", False),
        ("0.0.0.0", False),
        ("example.com", False),
        ("", False),
        (None, False),
    ],
)
def test_what_is_of_this_machine(peer, is_ours):
    assert is_loopback(peer) == is_ours


@pytest.mark.parametrize("route", REQUESTS, ids=" ".join)
def test_without_keys_nobody_else_than_this_machine_is_answered(served, route):
    app = served(method="rag")
    app.client = app.client_at("10.0.0.5")
    reply = request(app, route)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "loopback_only")
    assert app.generator.asked == []
    assert app.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_without_keys_nothing_that_a_proxy_hands_on_is_answered(served, header):
    app = served(method="rag")
    assert app.client.get("/v1/models").status_code == 200
    assert app.client.get("/v1/models", headers={header: "127.0.0.1"}).status_code == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example:8000", 403),
        ("localhost.evil.example", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_without_keys_a_name_of_somebody_elses_is_not_answered(served, host, status):
    """A page may let its own name point at this machine and have its visitors' browsers ask here."""
    app = served(method="rag")
    assert app.client.get("/v1/models", headers={"Host": host}).status_code == status


async def test_who_is_trusted_may_do_everything_and_has_no_key():
    found = await TrustThisMachine("acme")({"Authorization": "Bearer k1"}, "127.0.0.1")
    assert found == Caller("acme", None, frozenset(SCOPES), None)
    assert found.acting_for("ann") == Principal("acme", None, UserKey("acme", "ann"), frozenset(SCOPES))
    assert found.acting_for(None).user_id is None
