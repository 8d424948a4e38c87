"""Whatever keys and routes are tried in whatever order, no byte of one tenant's texts reaches another."""

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_app import Handle, Served
from routes import OPEN, in_document

from hydra_ray.learn.heads.online import Forgotten, Learnt
from hydra_ray.records import Generation, HistoryItem, Ranked, Usage, UserKey
from hydra_ray.serve.completions import writer
from hydra_ray.serve.http.keys import KeyAuthenticate
from hydra_ray.settings import parse_settings
from hydra_ray.store.identity.keys import SCOPES, new_key
from hydra_ray.tasks import TEXT_TASK

TENANTS = ("acme", "zeta")
USERS = ("ann", "bob", "team/ann")
METHODS = ("hydra", "rag", "zero-shot")
# Of keys: whole tenants' of every scope, one user's, revoked, and none.
KEYS = [*((tenant, kind) for tenant in TENANTS for kind in (*SCOPES, "all", "anns", "revoked")), ("", "guessed")]


def secret_of(tenant, user):
    """What only this user ever said: it is in all of their texts."""
    return f"{tenant}-{user.replace('/', '-')}-says"


class World:
    """The ingress over a real store; the LLM repeats its whole prompt, so that whatever reaches it is in the answer."""

    def __init__(self, base, folder):
        tree = {"tenant": "acme", "tenants": {"zeta": {}}, "peers": {"tenants": list(TENANTS)}}
        url = f"sqlite:///{folder / 'users.db'}"
        tree |= {"model": {"dir": str(base), "store": url}}
        self.app = Served(parse_settings(tree), KeyAuthenticate(url, frozenset(TENANTS), 0))
        self.store = self.app.ingress._store
        self.texts, self.spare, self.numbers = {("", "guessed"): "hydra_guessed"}, {}, itertools.count()
        for tenant in TENANTS:
            for kind in (*SCOPES, "all", "anns", "revoked"):
                self._make(tenant, kind)
            # What routes about one key are tried with; item "0" stands for acme's, "1" for zeta's.
            self.spare[str(len(self.spare))] = self._make(tenant, "spare")
            for user in USERS:
                self.say(UserKey(tenant, user), "0")
        self._plug()
        # As with keys: item "0" stands for a completion of acme's Ann, "1" for one of zeta's.
        self.completions = dict.fromkeys("01", "")
        chat = ("POST", "/v1/chat/completions")
        made = [self.ask((tenant, "all"), chat, "ann", "0", "rag").json()["id"] for tenant in TENANTS]
        self.completions = dict(zip("01", made, strict=True))

    def _make(self, tenant, kind):
        scopes = [kind] if kind in SCOPES else ["chat", "users"] if kind == "anns" else list(SCOPES)
        user, keys = "ann" if kind == "anns" else None, self.app.ingress._admin._keys
        key, text = new_key(tenant, scopes, now=time.time(), user=user, name=secret_of(tenant, kind), expires=None)
        keys.add(key, text, "me")
        if kind == "revoked":
            keys.revoke(None, key.id, "me")
        self.texts[tenant, kind] = text
        return key.id

    def say(self, key, item):
        secret = secret_of(*key)
        self.store.append_history(key, HistoryItem(item, f"{secret} in {next(self.numbers)}", f"{secret} out"))

    def _plug(self):
        app, store = self.app, self.store

        def learn(user, event, *_):
            store.append_history(user, event.item)
            return Learnt("created", True)

        app.retriever.answer = lambda query, *_: [Ranked(item, 1.0) for item in store.history(query.user)]
        app.generator.answer = lambda request, _: Generation((" ".join(m.content for m in request.messages),), Usage(1))
        app.adapter.learn = Handle(learn)
        app.adapter.forget = Handle(lambda user, item: Forgotten(store.delete_item(user, item), {}))

    def ask(self, who, route, user, item, method):
        """Asks a route with a key, and returns the response with all that it says."""
        verb, path = route
        tenant = who[0] or "acme"
        names = {
            "user": user.replace("/", "%2F"),
            "item": item,
            "model": "hydra",
            "key": self.spare[item],
        }
        for name, value in names.items():
            path = path.replace(f"{{{name}}}", value)
        said = f"{secret_of(tenant, user)} now {next(self.numbers)}"
        bodies = {
            "/v1/chat/completions": {
                "model": "hydra",
                "messages": [{"role": "user", "content": said}],
                "user": user,
                "hydra": {"method": method},
            },
            "/v1/feedback": {"id": self.completions[item], "edited": said},
            "/v1/users/{user}": {"personalisation": True},
            "/v1/users/{user}/history": {"id": f"told {item}", "input": said, "output": said},
            "/v1/users/{user}/feedback": {"input": said, "accepted": said, "id": item},
            "/v1/admin/keys": {"scopes": ["chat"], "name": secret_of(tenant, "made")},
            "/v1/admin/keys/{key}/rotate": {"grace_s": 3600},
            "/v1/admin/personalisation": {"personalisation": True},
        }
        more = {"json": bodies[route[1]]} if verb in ("POST", "PATCH") else {}
        headers = {"Authorization": f"Bearer {self.texts[who]}"}
        return self.app.client.request(verb, path, headers=headers, **more)


@pytest.fixture(scope="module")
def world(bases, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # Another tenant's completion is waited for as one that is not there yet.
        patch.setattr(writer, "_LOOK_AGAIN_S", (0.0,))
        yield World(bases[TEXT_TASK.name], tmp_path_factory.mktemp("tenants"))


def steps(routes):
    return st.lists(
        st.tuples(
            st.sampled_from(KEYS),
            st.sampled_from(sorted(routes)),
            st.sampled_from(USERS),
            st.sampled_from(["0", "1"]),
            st.sampled_from(METHODS),
        ),
        min_size=1,
        max_size=12,
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_byte_of_one_tenant_reaches_another(world, data):
    for who, route, user, item, method in data.draw(steps(in_document(world.app) - OPEN)):
        before = {
            key: world.store.history(key) for key in map(UserKey, *zip(*itertools.product(TENANTS, USERS), strict=True))
        }
        reply = world.ask(who, route, user, item, method)
        told = reply.text + str(reply.headers)
        tenant, kind = who
        assert reply.status_code < 500
        for other in TENANTS:
            if other != tenant:
                assert f"{other}-" not in told
        if kind == "anns":
            assert not any(f"{tenant}-{name}-" in told for name in ("bob", "team-ann"))
        if kind in ("guessed", "revoked"):
            assert reply.status_code == 401
        # Nothing of another tenant was changed, either.
        assert all(world.store.history(key) == items for key, items in before.items() if key.tenant != tenant)
        for key in before:
            if not world.store.history(key):
                world.say(key, "0")


def test_what_would_be_found_is_found(world):
    """The search above finds what a tenant may see: a leak would not go unseen."""
    for tenant in TENANTS:
        for key in (UserKey(tenant, user) for user in USERS):
            world.say(key, f"again {next(world.numbers)}")
        for route in (("POST", "/v1/chat/completions"), ("GET", "/v1/users/{user}/history")):
            for user in USERS:
                reply = world.ask((tenant, "all"), route, user, "0", "rag")
                assert f"{secret_of(tenant, user)} out" in reply.text
        assert f"{tenant}-all-says" in world.ask((tenant, "admin"), ("GET", "/v1/admin/keys"), "ann", "0", "rag").text
