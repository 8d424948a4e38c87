"""Quotas over HTTP: what passes, what is refused and how, and whose counters a request goes into."""

import time
from itertools import count

import openai
import pytest
from made_app import SAID, Handle
from openai import OpenAI
from routes import REQUESTS, request

from hydra_ray.serve.admit import _duration
from hydra_ray.serve.http.principal import Caller
from hydra_ray.serve.limits.quotas import Quotas
from hydra_ray.store.identity.keys import SCOPES


class ByName:
    """Callers say who they are: `Bearer TENANT KEY`."""

    async def __call__(self, headers, peer):
        _, tenant, key = headers["authorization"].split(" ")
        return Caller(tenant, key, frozenset(SCOPES), None)


class Counting:
    """The limiter in this process."""

    def __init__(self):
        self.quotas = Quotas(time.time, {})
        self.count = Handle(self._count)

    def _count(self, asked, answered):
        for limited, tokens in answered:
            self.quotas.charge(limited, tokens)
        return [self.quotas.admit(limited) for limited in asked]


@pytest.fixture
def app(served):
    def make(limits, **tenants):
        more = {"auth": {"limits": limits}, "tenants": {"zeta": {}, **tenants}}
        return served(method="zero-shot", authenticate=ByName(), limiter=Counting(), more=more)

    return make


def chat(app, who="acme k1", user="ann"):
    return request(app, ("POST", "/v1/chat/completions"), user=user, key=who)


def passed(app, many, **who):
    return sum(chat(app, **who).status_code == 200 for _ in range(many))


@pytest.mark.parametrize("route", REQUESTS, ids=" ".join)
def test_every_route_counts(app, route):
    app = app({"tenant": {"requests_per_minute": 1}})
    assert request(app, route, key="acme k1").status_code != 429
    assert request(app, route, key="acme k1").status_code == 429


def test_a_refusal_has_openais_form_and_says_when_to_come_back(app):
    app = app({"key": {"requests_per_minute": 1}})
    first = chat(app)
    assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-remaining-requests"]) == ("1", "0")
    reply = chat(app)
    assert reply.status_code == 429
    assert 55 <= int(reply.headers["Retry-After"]) <= 61
    error = reply.json()["error"]
    assert error.pop("message").startswith("the key's limit of requests a minute is reached: ask again in ")
    assert error == {"type": "requests", "param": None, "code": "rate_limit_exceeded"}
    client = OpenAI(base_url="http://localhost/v1", api_key="acme k1", http_client=app.client, max_retries=0)
    with pytest.raises(openai.RateLimitError) as caught:
        client.models.list()
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["x-ratelimit-reset-requests"]


def test_tenants_keys_and_users_are_counted_apart(app):
    app = app(
        {"tenant": {"requests_per_minute": 9}, "key": {"requests_per_minute": 6}, "user": {"requests_per_day": 4}}
    )
    assert passed(app, 10) == 4
    assert passed(app, 10, user="bob") == 2
    assert passed(app, 10, who="acme k2", user="cid") == 3
    # Another tenant's user of the same name has a counter of their own.
    assert passed(app, 10, who="zeta k3") == 4


def test_a_tenant_may_have_quotas_of_its_own(app):
    app = app({"tenant": {"requests_per_minute": 2}}, zeta={"limits": {"tenant": {"requests_per_minute": 5}}})
    assert (passed(app, 9), passed(app, 9, who="zeta k1")) == (2, 5)


def test_tokens_of_answers_count(app):
    # Each answer takes six.
    app = app({"user": {"tokens_per_minute": 13}})
    assert passed(app, 9) == 3
    reply = chat(app)
    assert (reply.json()["error"]["type"], reply.headers["x-ratelimit-remaining-tokens"]) == ("tokens", "0")


def test_without_quotas_nobody_is_counted(app):
    app = app({"user": {"requests_per_minute": 1}})
    body = {"model": "hydra", "messages": SAID[-1:]}
    for _ in range(3):
        reply = app.client.post("/v1/chat/completions", json=body, headers={"Authorization": "Bearer acme k1"})
        assert reply.status_code == 200
        assert not [name for name in reply.headers if name.startswith("x-ratelimit")]


def test_a_stream_counts_as_any_answer(app):
    app = app({"user": {"tokens_per_minute": 6}})
    body = {"model": "hydra", "messages": SAID[-1:], "user": "ann", "stream": True}
    sent = {"json": body, "headers": {"Authorization": "Bearer acme k1"}}
    assert [app.client.post("/v1/chat/completions", **sent).status_code for _ in range(2)] == [200, 429]


def test_where_the_limiter_is_down_the_replica_counts_by_itself(app, monkeypatch, caplog):
    app = app({"tenant": {"requests_per_minute": 3}})
    failures = count()
    monkeypatch.setattr(app.ingress._admit._limiter, "_failed", lambda: next(failures))

    def down(*_):
        raise RuntimeError("no such actor")

    app.ingress._admit._limiter._count = Handle(down).remote
    assert passed(app, 6) == 3
    assert next(failures) >= 6
    assert "limiter did not answer" in caplog.text


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.25, "250ms"), (0, "0ms"), (1, "1s"), (1.5, "1.5s"), (59.9994, "59.999s"), (60, "1m0s"), (86_399, "23h59m59s")],
)
def test_times_are_written_as_openai_writes_them(seconds, written):
    assert _duration(seconds) == written
