"""Who a request is from: one object, made once a request, of which everything that is done for it takes the user."""

from dataclasses import dataclass, field

import pytest
from fastapi.routing import APIRoute
from made_app import SAID

from hydra_ray.learn.heads.online import Forgotten
from hydra_ray.records import UserKey
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.principal import Principal, TrustEveryone

FEEDBACK = {"input": "x", "accepted": "y"}
# Requests by method and template of the path.
REQUESTS = {
    ("POST", "/v1/chat/completions"): {"json": {"model": "hydra", "messages": SAID[-1:], "user": "ann"}},
    ("GET", "/v1/models"): {},
    ("GET", "/v1/models/{model:path}"): {},
    ("POST", "/v1/users/{user}/feedback"): {"json": FEEDBACK},
    ("GET", "/v1/users/{user}/history"): {},
    ("DELETE", "/v1/users/{user}/history/{item}"): {},
    ("DELETE", "/v1/users/{user}"): {},
    ("GET", "/v1/users/{user}"): {},
    ("PATCH", "/v1/users/{user}"): {"json": {"personalisation": True}},
    ("GET", "/v1/users/{user}/export"): {},
}
OPEN = ("GET", "/healthz")


@dataclass
class Keys:
    """Somebody's own authentication: keys belong to tenants, and a tenant's key may act for all but its boss."""

    tenants: dict[str, str]
    made: list[Principal] = field(default_factory=list)

    async def __call__(self, headers, user):
        key = headers.get("authorization", "").removeprefix("Bearer ")
        if key not in self.tenants:
            raise RequestError("there is no such key", code="invalid_api_key", status=401)
        if user == "boss":
            raise RequestError("this key may not act for 'boss'", "user", "forbidden", status=403)
        tenant = self.tenants[key]
        self.made.append(Principal(tenant, key, user and UserKey(tenant, user)))
        return self.made[-1]


@pytest.fixture
def keys():
    return Keys({"k1": "zeta"})


@pytest.fixture
def app(served, keys):
    app = served(method="rag", authenticate=keys)
    app.adapter.forget = type(app.adapter)(lambda *_: Forgotten(True, {}))
    return app


def request(app, route, user="ann", key="k1"):
    method, path = route
    path = path.replace("{user}", user).replace("{item}", "1").replace("{model:path}", "hydra")
    more = REQUESTS[route]
    if "user" in more.get("json", {}):
        more = {"json": {**more["json"], "user": user}}
    return app.client.request(method, path, headers={"Authorization": f"Bearer {key}"}, **more)


def test_every_route_is_among_those_that_are_tried(app):
    routes = {
        (method, route.path)
        for route in app.client.app.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert routes == {*REQUESTS, OPEN}


@pytest.mark.parametrize("route", REQUESTS, ids=" ".join)
def test_who_is_not_known_gets_nothing_from_any_route(app, route):
    reply = request(app, route, key="guessed")
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    asked = app.retriever, app.generator, app.adapter, app.adapter.learn, app.adapter.forget
    assert [handle.asked for handle in asked] == [[]] * 5


def test_whether_it_lives_is_told_to_anybody(app, keys):
    assert app.client.get(OPEN[1]).status_code == 200
    assert keys.made == []


@pytest.mark.parametrize("route", REQUESTS, ids=" ".join)
def test_a_request_has_one_principal(app, keys, route):
    assert request(app, route).status_code == 200
    user = None if "models" in route[1] else UserKey("zeta", "ann")
    assert keys.made == [Principal("zeta", "k1", user)]


@pytest.mark.parametrize("route", [route for route in REQUESTS if "models" not in route[1]], ids=" ".join)
def test_whom_a_key_may_not_act_for_is_refused(app, route):
    assert request(app, route, user="boss").status_code == 403


def test_all_that_is_done_is_for_the_principals_user(app):
    key = UserKey("zeta", "ann")
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
    assert [one["output"] for one in listed] == ["zeta"]
    request(app, ("DELETE", "/v1/users/{user}"))
    assert store.history(UserKey("zeta", "ann")) == ()
    assert store.history(UserKey("acme", "ann")) == (item("a", "acme"),)
    store.delete(UserKey("acme", "ann"))


@pytest.mark.parametrize(("user", "key"), [("ann", UserKey("acme", "ann")), (None, None)])
async def test_everyone_is_trusted_where_nobody_is_authenticated(user, key):
    found = await TrustEveryone("acme")({"Authorization": "Bearer k1"}, user)
    assert found == Principal("acme", None, key)
    assert found.user_id == user
