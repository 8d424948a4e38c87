"""A line of JSON for each request: what it says, and that it says nothing of what users said."""

from __future__ import annotations

import asyncio
import json

import pytest
from made_app import SAID, reranking
from ray.exceptions import RayError

from hydra_ray.methods.ports import StepError
from hydra_ray.records import HydraError, Usage, UserKey
from hydra_ray.serve.observe.middleware import CLIENT_LEFT, ROUTES, Observed, route_of
from hydra_ray.serve.observe.observer import Observer
from hydra_ray.serve.observe.request_log import RequestLog, user_digest
from hydra_ray.serve.observe.trace import RequestTrace, StepTime, current_trace, observed, tracing
from hydra_ray.settings import ObserveSettings
from hydra_ray.steps.generate.prices import Prices

PRICES = {"generator": {"limits": {"price_in": 2, "price_out": 8}}}


@pytest.fixture
def served(served):
    return reranking(served)


@pytest.fixture
def lines(capsys):
    """Reads the lines of the request log."""

    def read():
        written = capsys.readouterr().err.splitlines()
        return [json.loads(line) for line in written if line.startswith('{"') and '"route"' in line]

    return read


def test_a_line_says_how_an_answer_came_about(served, lines):
    reply = served(more=PRICES).ask(SAID, user="ann")
    (line,) = lines()
    assert line["request_id"] == reply.headers["X-Request-ID"]
    assert line["time"].endswith("+00:00")
    told = {
        name: line[name] for name in ("route", "status", "tenant", "method", "head", "version", "degraded", "whole")
    }
    assert told == {
        "route": "chat",
        "status": 200,
        "tenant": "acme",
        "method": "hydra",
        "head": "user",
        "version": "v1",
        "degraded": [],
        "whole": True,
    }
    # Both requests of candidates.
    assert (line["calls"], line["tokens_in"], line["tokens_out"]) == (2, 10, 2)
    assert line["cost"] == pytest.approx((10 * 2 + 2 * 8) / 1e6)
    assert set(line["steps"]) == {"preferences", "retriever", "reranker", "generator", "adapter"}
    assert 0 < sum(line["steps"].values()) <= line["seconds"]
    assert (line["arm"], line["propensity"], line["first_token_s"]) == (None, 1.0, None)


def test_a_line_holds_no_text_and_no_user(served, lines, capsys):
    app = served()
    app.ask([*SAID[:-1], {"role": "user", "content": "sesame"}], user="ann@example.com")
    app.client.get("/v1/users/ann@example.com/history")
    app.client.post("/v1/users/ann@example.com/feedback", json={"input": "sesame", "accepted": "poppy"})
    app.client.get("/ann@example.com")
    written = capsys.readouterr().err
    assert [json.loads(line)["route"] for line in written.splitlines()] == ["chat", "history", "feedback", "other"]
    assert not [word for word in ("ann", "sesame", "poppy", "Calm", "kind") if word in written]


def test_users_are_told_as_digests_where_settings_say_so(served, lines, monkeypatch):
    monkeypatch.setenv("LOG_KEY", "s3cret")
    app = served(more={"observe": {"user_ids": "hashed", "user_key_env": "LOG_KEY"}})
    for user in ("ann", "ann", "bob", None):
        app.ask(SAID, **({"user": user} if user else {}))
    ann, again, bob, nobody = [line["user"] for line in lines()]
    assert ann == again == user_digest("s3cret", UserKey("acme", "ann"))
    assert (
        len({ann, bob, user_digest("other", UserKey("acme", "ann")), user_digest("s3cret", UserKey("b", "ann"))}) == 4
    )
    assert nobody is None


def test_digests_want_a_key(monkeypatch):
    monkeypatch.delenv("HYDRA_LOG_KEY", raising=False)
    with pytest.raises(HydraError, match=r"observe\.user_ids: hashed needs a key: put one into HYDRA_LOG_KEY"):
        RequestLog(ObserveSettings(user_ids="hashed"), Prices(0, 0))


def down(*_):
    raise RayError("Traceback of the replica")


def test_degraded_steps_and_failures_are_named(served, lines):
    app = served()
    app.reranker.answer = down
    app.ask(SAID, user="ann")
    app.generator.answer = down
    app.ask(SAID, user="ann")
    degraded, failed = lines()
    assert (degraded["status"], degraded["degraded"]) == (200, ["reranker"])
    assert (failed["status"], failed["method"], failed["head"], failed["calls"]) == (502, "hydra", None, 0)
    assert failed["cost"] is None


def test_what_is_refused_has_a_line_and_probes_have_none(served, lines):
    app = served()
    assert app.client.get("/healthz").status_code == 200
    app.client.post("/v1/chat/completions", json={"model": "hydra"})
    app.client_at("10.0.0.1").get("/v1/models")
    assert [(line["route"], line["status"], line["tenant"]) for line in lines()] == [
        ("chat", 400, None),
        ("models", 403, None),
    ]


def test_the_first_token_of_a_stream_is_noted(served, lines):
    served().ask(SAID, stream=True)
    (line,) = lines()
    assert line["status"] == 200
    assert 0 < line["first_token_s"] <= line["seconds"]


def test_the_log_can_be_switched_off(served, capsys):
    served(more={"observe": {"request_log": False}}).ask(SAID)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/models/hydra@production", "models"),
        ("/v1/feedback", "feedback"),
        ("/v1/users/feedback/feedback", "feedback"),
        ("/v1/users/feedback", "users"),
        ("/v1/users/ann/history/1", "history"),
        ("/v1/users/ann/export", "users"),
        ("/v1/admin/keys", "admin"),
        ("/v1", "other"),
        ("/", "other"),
    ],
)
def test_routes_are_of_few_kinds(path, route):
    assert route_of(path) == route
    assert route in ROUTES


class Seen(list):
    """Stands in for the observer: keeps traces of requests that are over."""

    def begin(self, trace, headers):
        pass

    def end(self, trace):
        self.append(trace)


async def call(app, path="/v1/models"):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request"}

    await app({"type": "http", "path": path, "method": "GET", "headers": []}, receive, send)
    return sent


async def test_a_client_that_left_and_a_failure_have_a_status():
    async def left(scope, receive, send):
        raise asyncio.CancelledError

    async def broken(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise OSError("gone")

    seen = Seen()
    with pytest.raises(asyncio.CancelledError):
        await call(Observed(left, seen))
    with pytest.raises(OSError, match="gone"):
        await call(Observed(broken, seen))
    assert [(trace.status, trace.is_whole) for trace in seen] == [(CLIENT_LEFT, False), (200, False)]


async def test_an_observer_that_fails_fails_no_request_and_says_so_once(caplog):
    def broken(trace):
        raise OSError("the disk is full")

    async def fine(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    seen = []
    app = Observed(fine, Observer([broken, seen.append], None))
    for _ in range(3):
        assert [message["type"] for message in await call(app)] == ["http.response.start", "http.response.body"]
    assert [trace.status for trace in seen] == [204] * 3
    (record,) = [record for record in caplog.records if "not observed" in record.message]
    assert isinstance(record.exc_info[1], OSError)


async def test_steps_note_their_times_wherever_they_run():
    trace = RequestTrace("r1", "chat", 0.0)
    with tracing(trace):
        await asyncio.gather(*(asyncio.create_task(stepping(name)) for name in ("generator", "generator", "adapter")))
        with pytest.raises(StepError), observed("reranker"):
            raise StepError("down")
    with observed("retriever"):
        assert current_trace() is not trace
    ended = [(call.step, call.ending) for call in trace.steps]
    assert sorted(ended) == [
        ("adapter", "answered"),
        ("generator", "answered"),
        ("generator", "answered"),
        ("reranker", "failed"),
    ]


async def stepping(name):
    with observed(name):
        await asyncio.sleep(0)


def test_calls_of_a_step_at_once_are_one_time():
    trace = RequestTrace("r1", "chat", 0.0)
    trace.steps += [StepTime("generator", 1.0, 2.0, "answered"), StepTime("generator", 1.5, 3.0, "answered")]
    assert trace.step_seconds() == {"generator": 3.5}


def test_kept_answers_cost_nothing_and_unknown_prices_are_no_cost():
    prices = Prices(1, 3)
    assert prices.of(Usage(2, 1_000_000, 1_000_000)) == 4
    assert prices.of(Usage(1, 1_000_000, 1_000_000, cached=3)) == 1
    assert prices.of(Usage(0, 1_000_000, 1_000_000, cached=1)) == 0
    assert Prices(0, 0).of(Usage(2, 10, 10)) is None
