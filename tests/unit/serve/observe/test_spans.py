"""OpenTelemetry spans of requests, steps and calls of the LLM: whose part each is, and what it says."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import openai_endpoint
import pytest
from made_app import SAID, reranking
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from passing_apps import passing
from ray.exceptions import RayError

from hydra_ray.records import ChatRequest, HydraError, Message, Usage
from hydra_ray.serve import generator as hosted
from hydra_ray.serve.observe import tracer as tracers
from hydra_ray.serve.observe.observer import Observer
from hydra_ray.serve.observe.spans import LLMSpans
from hydra_ray.serve.observe.trace import RequestTrace
from hydra_ray.settings import TraceSettings, parse_settings
from hydra_ray.steps.generate import GenerateError

TRACES = {"observe": {"traces": {"otlp_endpoint": "http://collector:4318"}, "request_log": False}}
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT.removesuffix("1") + "0"


@pytest.fixture
def served(served):
    return reranking(served)


@pytest.fixture
def exported(monkeypatch):
    """Gives the spans that ended, and forgets them."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(tracers, "_sending_to", lambda endpoint: SimpleSpanProcessor(exporter))

    def take():
        spans = exporter.get_finished_spans()
        exporter.clear()
        return spans

    return take


def named(spans, name):
    (found,) = (span for span in spans if span.name == name)
    return found


def test_each_step_has_a_span_below_the_requests(served, exported):
    reply = served(more=TRACES).ask(SAID, user="ann")
    spans = exported()
    # Both requests of candidates are one call.
    steps = ["preferences", "retriever", "reranker", "generator", "adapter"]
    assert sorted(span.name for span in spans) == sorted(["chat", *steps])
    root = named(spans, "chat")
    assert (root.parent, root.kind) == (None, SpanKind.SERVER)
    assert all(span.parent.span_id == root.context.span_id for span in spans if span is not root)
    assert dict(root.attributes) == {
        "http.response.status_code": 200,
        "hydra.request_id": reply.headers["X-Request-ID"],
        "hydra.tenant": "acme",
        "hydra.method": "hydra",
        "hydra.head": "user",
        "hydra.version": "v1",
        "hydra.degraded": (),
        "hydra.llm_calls": 2,
    }


def test_a_request_is_part_of_its_callers_trace_which_goes_on_to_the_generator(served, exported):
    app = served(more=TRACES)
    asked = {"model": "hydra", "messages": SAID}
    app.client.post("/v1/chat/completions", json=asked, headers={"traceparent": PARENT})
    root = named(exported(), "chat")
    assert (f"{root.context.trace_id:032x}", f"{root.parent.span_id:016x}") == tuple(PARENT.split("-")[1:3])
    carried = {request.traceparent for request, _ in app.generator.asked}
    assert carried == {f"00-{root.context.trace_id:032x}-{root.context.span_id:016x}-01"}
    app.client.post("/v1/chat/completions", json=asked, headers={"traceparent": UNSAMPLED})
    assert exported() == ()
    assert app.generator.asked[-1][0].traceparent.endswith("-00")
    app.client.post("/v1/chat/completions", json=asked, headers={"traceparent": "whatever"})
    assert named(exported(), "chat").parent is None


def test_only_a_share_of_requests_is_traced(served, exported):
    none = {"observe": {"traces": {**TRACES["observe"]["traces"], "sample": 0}}}
    app = served(more=none)
    app.ask(SAID)
    assert exported() == ()
    app.client.post("/v1/chat/completions", json={"model": "hydra", "messages": SAID}, headers={"traceparent": PARENT})
    assert named(exported(), "chat")


def test_without_a_collector_nothing_is_traced_or_carried(served, exported):
    app = served()
    app.ask(SAID)
    assert exported() == ()
    assert app.generator.asked[-1][0].traceparent is None


def broken(*_):
    raise RayError("sesame: traceback of the replica")


def test_no_span_holds_what_was_said(served, exported):
    app = served(more=TRACES)
    app.reranker.answer = broken
    app.ask([*SAID[:-1], {"role": "user", "content": "sesame"}], user="ann@example.com")
    app.client.get("/v1/users/ann@example.com/history")
    app.client.get("/ann@example.com")
    spans = exported()
    assert {"chat", "history", "other"} < {span.name for span in spans}
    failed = named(spans, "reranker")
    assert (failed.status.status_code, failed.attributes["error.type"]) == (StatusCode.ERROR, "RayError")
    for span in spans:
        assert not span.events
        written = span.to_json()
        assert not [word for word in ("ann", "sesame", "Calm", 'kind."', "Hello") if word in written]


def ask(text: str, traceparent=None) -> ChatRequest:
    messages = (Message("user", text),)
    return ChatRequest(messages, n=2, temperature=0.5, max_tokens=4, seed=3, traceparent=traceparent)


async def test_a_call_of_the_llm_has_a_span_by_the_conventions_and_the_endpoint_is_told(exported, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with openai_endpoint.serving() as llm:
        llm.replies = [openai_endpoint.completion("fine", "good")]
        generator = {"backend": "openai", "base_url": llm.url, "model": "gpt-x", "retries": 0}
        replica = hosted.Generator.func_or_class(parse_settings({**TRACES, "generator": generator}))
        await replica(ask("sesame", PARENT), "default")
        (span,) = exported()
        assert (span.name, span.kind) == ("chat gpt-x", SpanKind.CLIENT)
        assert f"{span.parent.span_id:016x}" == PARENT.split("-")[2]
        assert dict(span.attributes) == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-x",
            "gen_ai.request.choice.count": 2,
            "gen_ai.request.temperature": 0.5,
            "gen_ai.request.max_tokens": 4,
            "gen_ai.request.seed": 3,
            "gen_ai.usage.input_tokens": 11,
            "gen_ai.usage.output_tokens": 5,
        }
        sent = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"
        assert [headers["traceparent"] for headers in llm.headers] == [sent]

        llm.replies = [(400, {"error": {"message": "sesame is refused", "type": "invalid_request_error"}})]
        with pytest.raises(GenerateError):
            await replica(ask("sesame"), "default")
        (span,) = exported()
        assert (span.attributes["error.type"], span.status.status_code) == ("refused", StatusCode.ERROR)
        assert span.parent is None
        assert "sesame" not in span.to_json()


def event(**more) -> str:
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "gpt-x", "choices": [], **more}
    return f"data: {json.dumps(chunk)}\n\n"


async def test_a_stream_is_one_call_of_the_llm(exported, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with openai_endpoint.serving() as llm:
        said = [{"index": 0, "delta": {"content": "fine"}, "finish_reason": "stop"}]
        usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
        llm.content_type = "text/event-stream"
        llm.replies = [event(choices=said) + event(usage=usage) + "data: [DONE]\n\n"]
        generator = {"backend": "openai", "base_url": llm.url, "model": "gpt-x", "retries": 0}
        replica = hosted.Generator.func_or_class(parse_settings({**TRACES, "generator": generator}))
        one = replace(ask("sesame", PARENT), n=1)
        assert "".join([piece.text async for piece in replica.stream(one, "default")]) == "fine"
        (span,) = exported()
        assert (span.attributes["gen_ai.usage.output_tokens"], span.status.status_code) == (5, StatusCode.UNSET)
        assert llm.headers[0]["traceparent"].startswith(PARENT[:36])


async def test_an_endpoint_is_told_of_no_trace_where_there_is_none(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with openai_endpoint.serving() as llm:
        generator = {"backend": "openai", "base_url": llm.url, "model": "gpt-x"}
        await hosted.Generator.func_or_class(parse_settings({"generator": generator}))(ask("Hi"), "default")
        assert llm.headers[0]["traceparent"] is None


@pytest.mark.parametrize("streams", [False, True])
async def test_a_call_in_a_clients_own_words_has_a_span_and_a_trace_as_any(exported, monkeypatch, streams):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with openai_endpoint.serving() as llm:
        usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
        llm.replies = [openai_endpoint.completion("fine")]
        if streams:
            llm.content_type = "text/event-stream"
            llm.replies = [event() + event(usage=usage) + "data: [DONE]\n\n"]
        generator = {"backend": "openai", "base_url": llm.url, "model": "gpt-x", "retries": 0}
        replica = hosted.Generator.func_or_class(parse_settings({**TRACES, "generator": generator}))
        body = {"messages": [{"role": "user", "content": "sesame"}], "stream": streams, "temperature": 0.5, "n": None}
        assert [one async for one in replica.passed({**body, "seed": "sesame"}, "default", PARENT)]
        (span,) = exported()
        assert (span.name, span.kind, f"{span.parent.span_id:016x}") == (
            "chat gpt-x",
            SpanKind.CLIENT,
            PARENT.split("-")[2],
        )
        assert dict(span.attributes) == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-x",
            "gen_ai.request.choice.count": 1,
            "gen_ai.request.temperature": 0.5,
            "gen_ai.usage.input_tokens": 11,
            "gen_ai.usage.output_tokens": 5,
        }
        sent = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"
        assert [headers["traceparent"] for headers in llm.headers] == [sent]


def test_what_is_passed_through_carries_the_requests_trace(served, exported):
    with openai_endpoint.serving() as llm:
        app = passing(served, llm, more=TRACES)
        body = {"model": "hydra", "messages": SAID[-1:], "logprobs": True}
        app.client.post("/v1/chat/completions", json=body, headers={"traceparent": PARENT})
        spans = exported()
        root = named(spans, "chat")
        assert (root.attributes["hydra.method"], root.attributes["hydra.head"]) == ("passthrough", "none")
        assert named(spans, "generator").parent.span_id == root.context.span_id
        ((_, _, carried),) = app.generator.passed.asked
        assert carried == f"00-{root.context.trace_id:032x}-{root.context.span_id:016x}-01"


class Broken:
    """A tracer that makes no spans."""

    def start_span(self, *_, **__):
        raise ValueError("no memory")


def test_steps_and_calls_whose_spans_cannot_be_made_go_on(caplog):
    with LLMSpans(Broken(), "openai", "gpt-x").call(ask("Hi")) as answered:
        answered(Usage(1, 2, 3))
    assert [record.message for record in caplog.records] == ["a span is not there"]


def test_spans_that_cannot_be_made_fail_no_request(caplog):
    seen = []
    observer = Observer([seen.append], Broken())
    for _ in range(2):
        trace = RequestTrace("r1", "chat", 0.0)
        observer.begin(trace, {})
        observer.end(trace)
    assert [trace.spans for trace in seen] == [None, None]
    assert len([record for record in caplog.records if "not observed" in record.message]) == 1


def test_the_package_that_sends_traces_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(HydraError, match=r"pip install 'hydra-ray\[traces\]'"):
        tracers.open_tracer(TraceSettings(otlp_endpoint="http://collector:4318"))


@pytest.mark.parametrize(
    "endpoint", ["http://collector:4318", "http://collector:4318/", "http://collector:4318/v1/traces"]
)
def test_traces_go_where_collectors_take_them(endpoint, monkeypatch):
    from opentelemetry.exporter.otlp.proto.http import trace_exporter

    made = []
    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", lambda endpoint: made.append(endpoint))
    monkeypatch.setattr(tracers, "BatchSpanProcessor", lambda exporter: SimpleSpanProcessor(InMemorySpanExporter()))
    assert tracers.open_tracer(TraceSettings(otlp_endpoint=endpoint)) is not None
    assert made == ["http://collector:4318/v1/traces"]
