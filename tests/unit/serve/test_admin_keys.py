"""Keys over HTTP: made, listed, rotated and revoked by an admin of their tenant."""

import time

import pytest

from hydra_ray.serve.http.keys import KeyAuthenticate
from hydra_ray.store.identity.keys import new_key

KEYS = "/v1/admin/keys"


@pytest.fixture
def app(served, tmp_path):
    url = f"sqlite:///{tmp_path / 'users.db'}"
    authenticate = KeyAuthenticate(url, frozenset({"acme", "zeta"}), 0)
    return served(authenticate=authenticate, more={"model": {"store": url}, "tenants": {"zeta": {}}})


@pytest.fixture
def admin(app):
    """Makes an admin: what asks the app with the key of one."""

    def make(tenant="acme"):
        key, text = new_key(tenant, ["admin"], now=time.time(), user=None, name="first", expires=None)
        app.ingress._admin._keys.add(key, text, "cli:me")

        def ask(method, path="", text=text, **body):
            more = {"json": body} if method == "POST" else {}
            return app.client.request(method, KEYS + path, headers={"Authorization": f"Bearer {text}"}, **more)

        return ask

    return make


def opens(app, text, path="/v1/models"):
    return app.client.get(path, headers={"Authorization": f"Bearer {text}"}).status_code


def test_a_key_is_made_used_rotated_and_revoked(app, admin):
    ask = admin()
    made = ask("POST", scopes=["chat"], name="app", user="ann", expires_in_s=3600).json()
    assert (made["object"], made["tenant"], made["user"], made["scopes"]) == ("api_key", "acme", "ann", ["chat"])
    assert opens(app, made["key"]) == 200
    rotated = ask("POST", f"/{made['id']}/rotate").json()
    assert rotated["id"] == made["id"]
    assert [opens(app, one["key"]) for one in (made, rotated)] == [401, 200]
    graceful = ask("POST", f"/{made['id']}/rotate", grace_s=60).json()
    assert [opens(app, one["key"]) for one in (rotated, graceful)] == [200, 200]
    revoked = ask("DELETE", f"/{made['id']}").json()
    assert revoked["revoked"] is not None
    assert [opens(app, one["key"]) for one in (rotated, graceful)] == [401, 401]
    assert [entry.action for entry in app.ingress._audit.entries()] == [
        "key.create",
        "key.create",
        "key.rotate",
        "key.rotate",
        "key.revoke",
    ]


def test_a_key_is_shown_once(app, admin):
    ask = admin()
    made = ask("POST", scopes=["chat"], name="app").json()
    listed = ask("GET")
    assert [key["name"] for key in listed.json()["data"]] == ["first", "app"]
    assert made["key"] not in listed.text + ask("GET", f"/{made['id']}").text


def test_another_tenants_keys_are_as_if_they_were_not(app, admin):
    ask, other = admin(), admin("zeta")
    made = ask("POST", scopes=["chat"], name="acme's").json()
    assert [key["tenant"] for key in other("GET").json()["data"]] == ["zeta"]
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
        reply = other(method, f"/{made['id']}{path}")
        assert (reply.status_code, reply.json()["error"]["param"]) == (404, "key")
    assert opens(app, made["key"]) == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes"),
        ({"scopes": ["admin"], "user": "ann"}, "user"),
        ({"scopes": ["chat"], "user": " "}, "user"),
        ({"scopes": ["chat"], "expires_in_s": -1}, "expires_in_s"),
        ({"scopes": ["chat"], "tenant": "zeta"}, "tenant"),
    ],
)
def test_a_wrong_key_is_refused_with_its_field(admin, body, param):
    reply = admin()("POST", **body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
