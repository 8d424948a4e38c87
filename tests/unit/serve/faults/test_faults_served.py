"""A request's deadline, breakers and readiness, over HTTP with deployments that fail as tests say."""

import asyncio

import pytest
from clocks import Clock
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from made_app import SAID, reranking
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError
from ray.serve.exceptions import BackPressureError
from tenacity import wait_fixed

from hydra_ray.serve.faults import breaker, calls, deadline
from hydra_ray.steps.generate import GenerateError
from hydra_ray.store.types import StoreError

# The order of the steps that a request of method hydra asks and can do without.
OPTIONAL = ("retriever", "reranker", "adapter")


@pytest.fixture
def served(served):
    return reranking(served)


def down(*_):
    raise RayError("gone")


def full(*_):
    raise BackPressureError(num_queued_requests=1, max_queued_requests=1)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in (breaker, deadline):
        monkeypatch.setattr(module, "time", clock)
    return clock


def within(app, header, user="ann", **more):
    body = {"model": "hydra", "messages": SAID[-1:], "user": user, **more}
    return app.client.post("/v1/chat/completions", json=body, headers={"X-Request-Timeout": header})


def takes(clock, seconds, answer):
    """What a step answers after so long."""

    def behave(*arguments):
        clock.now += seconds
        return answer(*arguments)

    return behave


def test_what_cannot_be_answered_in_time_is_not_begun_and_the_llm_is_not_asked(served, clock):
    app = served()
    app.retriever.answer = takes(clock, 3, app.retriever.answer)
    reply = within(app, "2.5")
    assert reply.status_code == 504
    assert reply.json()["error"] == {
        "message": "the request's time was over before the LLM was asked (X-Request-Timeout, serve.timeout_s)",
        "type": "timeout_error",
        "param": None,
        "code": "deadline_exceeded",
    }
    assert app.reranker.asked == app.generator.asked == app.adapter.asked == []
    # Asked with more time, all of it is done.
    told = within(app, "60").json()["hydra"]
    assert (told["degraded"], told["head"]) == ([], "user")


def test_an_llm_that_answered_late_is_answered_by_votes(served, clock):
    app = served()
    app.generator.answer = takes(clock, 5, app.generator.answer)
    told = within(app, "4").json()["hydra"]
    assert (told["degraded"], told["head"]) == (["adapter"], "none")
    assert app.adapter.asked == []


def test_a_step_leaves_the_llm_half_of_what_is_left(served):
    app = served()
    app.retriever.answer = lambda *_: asyncio.sleep(60)
    reply = within(app, "4")
    assert (reply.status_code, reply.json()["hydra"]["degraded"]) == (200, ["retriever"])


def test_the_operator_bounds_what_clients_may_wish(served):
    app = served(timeout_s=1)
    app.generator.answer = lambda *_: asyncio.sleep(60)
    reply = within(app, "60")
    assert reply.status_code == 504
    assert reply.json()["error"]["message"] == "the LLM did not answer within what was left of the request's time"


@pytest.mark.parametrize("header", ["", "soon", "0", "-1", "nan", "inf", "1e999", "1,2"])
def test_a_time_that_is_none_is_refused(served, header):
    reply = within(served(), header)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "X-Request-Timeout")


@pytest.mark.parametrize("step", OPTIONAL)
def test_a_step_that_failed_in_a_row_is_not_asked_for_a_while_and_the_answer_names_it(served, clock, step):
    app = served(breaker={"failures": 2, "open_s": 10})
    handle = getattr(app, step)
    works, handle.answer = handle.answer, down
    for _ in range(5):
        assert app.ask(SAID[-1:], user="ann").json()["hydra"]["degraded"] == [step]
    assert len(handle.asked) == 2
    handle.answer = works
    assert app.ask(SAID[-1:], user="ann").json()["hydra"]["degraded"] == [step]
    clock.now += 10
    assert [app.ask(SAID[-1:], user="ann").json()["hydra"]["degraded"] for _ in range(2)] == [[], []]


def test_a_store_that_fails_costs_nobody_its_time_out(served, clock, monkeypatch):
    app = served(breaker={"failures": 2, "open_s": 10})
    asked = []

    class Down:
        def is_personalised(self, key):
            asked.append(key)
            raise StoreError("the store is down")

    monkeypatch.setattr(type(app.ingress._store), "records", property(lambda store: Down()))
    for _ in range(5):
        assert app.ask(SAID[-1:], user="ann").json()["hydra"]["degraded"] == ["preferences"]
    assert len(asked) == 2


def test_neither_hasty_clients_nor_full_queues_close_a_step_to_others(served):
    app = served(breaker={"failures": 1, "open_s": 10})
    works, app.retriever.answer = app.retriever.answer, lambda *_: asyncio.sleep(60)
    assert within(app, "1.5").json()["hydra"]["degraded"] == ["retriever"]
    app.retriever.answer = full
    assert app.ask(SAID[-1:], user="ann").json()["hydra"]["degraded"] == ["retriever"]
    app.retriever.answer = works
    assert app.ask(SAID[-1:], user="ann").json()["hydra"]["degraded"] == []
    app.generator.answer = lambda *_: asyncio.sleep(60)
    assert within(app, "1.5").status_code == 504
    assert app.ingress._steps.breakers.of("generator").state == "closed"


@pytest.mark.parametrize("kind", ["timeout", "connection", "server", "malformed"])
def test_an_llm_that_is_down_is_named_at_once_and_never_made_up(served, clock, kind):
    app = served(breaker={"failures": 2, "open_s": 10})
    works = app.generator.answer

    def fails(*_):
        raise GenerateError("no luck", kind, transient=True)

    app.generator.answer = fails
    # Of one candidate, so that a request is a call.
    assert [app.ask(SAID[-1:], hydra={"method": "zero-shot"}).status_code for _ in range(2)] == [502, 502]
    clock.now += 3.5
    reply = app.ask(SAID[-1:], hydra={"method": "zero-shot"})
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "7")
    assert reply.json()["error"]["message"] == "the LLM failed 2 times in a row and is not asked now: ask again"
    assert len(app.generator.asked) == 2
    clock.now += 6.5
    app.generator.answer = works
    assert app.ask(SAID[-1:], hydra={"method": "zero-shot"}).status_code == 200


def test_whatever_a_generator_raises_is_told_as_an_llm_that_is_not_there(served):
    app = served()

    def wrong(*_):
        # As it comes by gRPC.
        raise KeyError("text of the replica")

    app.generator.answer = wrong
    reply = app.ask(SAID[-1:], user="ann")
    assert (reply.status_code, reply.json()["error"]["type"]) == (502, "upstream_error")
    assert "text of the replica" not in reply.text


@pytest.mark.parametrize("kind", ["refused", "filtered", "busy", "key"])
def test_requests_that_are_at_fault_themselves_do_not_close_the_llm_to_others(served, kind):
    app = served(breaker={"failures": 1, "open_s": 10})
    works = app.generator.answer

    def fails(*_):
        raise GenerateError("no", kind)

    app.generator.answer = fails
    assert app.ask(SAID[-1:], hydra={"method": "zero-shot"}).status_code in (400, 429, 502)
    app.generator.answer = works
    assert app.ask(SAID[-1:], hydra={"method": "zero-shot"}).status_code == 200


# How a call ends whose replica is gone: by Ray's object store, and by gRPC while the replica stops or half way.
GONE = {
    "died": ActorDiedError(),
    "not reached": ActorUnavailableError("Actor is unavailable.", None),
    "stops": AioRpcError(StatusCode.CANCELLED, Metadata(), Metadata()),
    "broke off": AioRpcError(StatusCode.INTERNAL, Metadata(), Metadata()),
}


@pytest.fixture
def no_waits(monkeypatch):
    monkeypatch.setattr(calls, "_WAIT", wait_fixed(0))


@pytest.mark.parametrize("dead", [1, 4])
@pytest.mark.parametrize("error", GONE.values(), ids=GONE)
def test_replicas_of_the_generator_that_die_lose_no_request(served, no_waits, error, dead):
    app = served(method="zero-shot")
    app.generator.answer = dying_first(app.generator.answer, error, dead)
    assert app.ask(SAID[-1:]).json()["choices"][0]["message"]["content"] == "Calm."
    assert len(app.generator.asked) == dead + 1


@pytest.mark.parametrize("dead", [1, 4])
@pytest.mark.parametrize("error", GONE.values(), ids=GONE)
def test_replicas_of_the_generator_that_die_before_they_said_anything_lose_no_stream(served, no_waits, error, dead):
    app = served(method="zero-shot")
    app.generator.answer = dying_first(app.generator.answer, error, dead)
    assert "Calm." in app.ask(SAID[-1:], stream=True).text
    assert len(app.generator.stream.asked) == dead + 1


def dying_first(works, error=GONE["died"], dead=1):
    """What a step answers whose replicas die with the first so many calls, so that another one has the next."""
    died = []

    def answer(*arguments):
        if len(died) < dead:
            died.append(arguments)
            raise error
        return works(*arguments)

    return answer


@pytest.mark.parametrize("dead", [1, 4])
@pytest.mark.parametrize("error", GONE.values(), ids=GONE)
@pytest.mark.parametrize("step", OPTIONAL)
def test_replicas_of_a_step_that_die_cost_the_answer_nothing(served, no_waits, step, error, dead):
    app = served(breaker={"failures": 1, "open_s": 10})
    handle = getattr(app, step)
    handle.answer = dying_first(handle.answer, error, dead)
    assert app.ask(SAID[-1:], user="ann").json()["hydra"]["degraded"] == []
    assert len(handle.asked) == dead + 1


def test_a_message_that_is_too_long_for_grpc_is_not_sent_twice(served):
    app = served(method="zero-shot")
    app.generator.answer = dying_first(
        app.generator.answer, AioRpcError(StatusCode.RESOURCE_EXHAUSTED, Metadata(), Metadata())
    )
    assert app.ask(SAID[-1:]).status_code == 502
    assert len(app.generator.asked) == 1


def test_a_profiler_that_dies_is_not_paid_twice_by_one_request(served):
    app = served()
    app.profiler.answer = dying_first(app.profiler.answer)
    asked = {"user": "ann", "hydra": {"method": "pag"}}
    assert app.ask(SAID[-1:], **asked).json()["hydra"]["degraded"] == ["profile"]
    assert len(app.profiler.asked) == 1
    assert "profile" not in app.ask(SAID[-1:], **asked).json()["hydra"]["degraded"]


@pytest.mark.parametrize("error", GONE.values(), ids=GONE)
def test_a_step_whose_replicas_die_one_after_the_other_is_done_without(served, no_waits, error):
    app = served()
    app.reranker.answer = dying_first(app.reranker.answer, error, dead=10**9)
    assert app.ask(SAID[-1:], user="ann").json()["hydra"]["degraded"] == ["reranker"]
    assert len(app.reranker.asked) == calls._TRIES


@pytest.mark.parametrize("stream", [False, True])
def test_no_longer_than_a_request_may_take_another_replica_is_looked_for(served, monkeypatch, stream):
    monkeypatch.setattr(calls, "_WAIT", wait_fixed(600))
    app = served(method="zero-shot", generator_timeout_s=0.5)
    app.generator.answer = dying_first(app.generator.answer, dead=10**9)
    assert "took more than 0.5 s" in app.ask(SAID[-1:], stream=stream).text
    assert len(app.generator.asked) == 1
    app = served(step_timeout_s=0.5)
    app.reranker.answer = dying_first(app.reranker.answer, dead=10**9)
    assert app.ask(SAID[-1:], user="ann").json()["hydra"]["degraded"] == ["reranker"]
    assert len(app.reranker.asked) == 1


def test_feedback_is_learnt_by_another_replica_where_one_dies_and_an_item_is_not_forgotten_twice(served):
    app = served()
    app.adapter.learn.answer = dying_first(app.adapter.learn.answer)
    said = {"id": "1", "input": "And now?", "candidates": ["Calm.", "Quiet."], "accepted": "Calm."}
    reply = app.client.post("/v1/users/ann/feedback", json=said)
    assert (reply.status_code, reply.json()["learnt"]) == (200, True)
    first, second = app.adapter.learn.asked
    assert first == second
    # Whether the replica that died had removed it is not known; another one might not find it.
    app.adapter.forget.answer = dying_first(app.adapter.forget.answer)
    assert app.client.delete("/v1/users/ann/history/1").status_code == 503
    assert app.client.delete("/v1/users/ann/history/1").json()["deleted"] is True


def ready(app, asks=""):
    # Nobody looks again within a second.
    app.ingress._readiness._looked_at = float("-inf")
    reply = app.client.get(f"/readyz{asks}")
    return reply.status_code, reply.json()["status"], [k for k, v in reply.json()["steps"].items() if v == "fails"]


def test_readiness_says_which_steps_answer(served):
    app = served()
    assert ready(app) == (200, "ready", [])
    app.reranker.ready.answer = down
    assert ready(app) == (200, "degraded", ["reranker"])
    app.generator.ready.answer = down
    assert ready(app) == (503, "unavailable", ["reranker", "generator"])
    # Not the LLM: the step itself.
    assert ready(app, "?llm=optional") == (503, "unavailable", ["reranker", "generator"])
    app.generator.ready.answer = full
    assert ready(app) == (200, "degraded", ["reranker"])


def test_readiness_knows_of_an_llm_that_fails_behind_a_replica_that_answers(served, clock):
    app = served(method="zero-shot", breaker={"failures": 1, "open_s": 10})

    def fails(*_):
        raise GenerateError("no luck", "connection")

    app.generator.answer = fails
    assert app.ask(SAID[-1:]).status_code == 502
    assert ready(app) == (503, "unavailable", ["generator"])
    # What does without the LLM goes on: a pod that were not ready would get none of it.
    assert ready(app, "?llm=optional") == (200, "degraded", ["generator"])
    # Later somebody has to try, who comes to what is ready alone.
    clock.now += 11
    assert ready(app) == (200, "ready", [])


@pytest.mark.parametrize(
    ("mode", "found"), [("off", (200, "degraded", ["store"])), ("keys", (503, "unavailable", ["store"]))]
)
def test_without_the_store_nobody_with_a_key_can_be_let_in(served, monkeypatch, mode, found):
    app = served(more={"auth": {"mode": mode}})

    class Down:
        def is_personalised(self, key):
            raise StoreError("the store is down")

    monkeypatch.setattr(type(app.ingress._store), "records", property(lambda store: Down()))
    assert ready(app) == found


def test_all_who_ask_within_a_second_share_one_look(served):
    app = served()
    for _ in range(5):
        assert app.client.get("/readyz").status_code == 200
    assert len(app.generator.ready.asked) == 1


def test_an_askers_own_deadline_does_not_make_others_unready(served):
    app = served()
    assert app.client.get("/readyz", headers={"X-Request-Timeout": "0.000001"}).status_code == 200
    assert app.client.get("/readyz").json()["steps"]["store"] == "answers"
