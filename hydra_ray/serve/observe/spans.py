"""Spans of requests, of their steps and of calls of the LLM: names and numbers, never a text."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from opentelemetry.context import Context
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes, http_attributes
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from hydra_ray.records import ChatRequest, Usage
from hydra_ray.serve.observe.trace import RequestTrace
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.onward import sending
from hydra_ray.steps.generate.passing import Body

log = logging.getLogger(__name__)

_W3C = TraceContextTextMapPropagator()
_Attributes = dict[str, str | int | float]


class RequestSpans:
    """The span of one request, and those of its steps.

    No span becomes "the current one": a stream's generator may be closed in another task than it began in.

    Args:
        tracer: Tracer of this process.
        trace: Trace of the request.
        headers: Headers of the request; its `traceparent`, if there is one, says whose part it is.
    """

    def __init__(self, tracer: Tracer, trace: RequestTrace, headers: Mapping[str, str]) -> None:
        self._tracer = tracer
        self._span = tracer.start_span(trace.route, context=_W3C.extract(headers), kind=SpanKind.SERVER)
        self._context = set_span_in_context(self._span)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Has a span of a step for as long as the body runs."""
        with _span(self._tracer, name, self._context, SpanKind.INTERNAL):
            yield

    def carried(self) -> str:
        """Return the `traceparent` of what this request asks of others."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, self._context)
        return carrier["traceparent"]

    def end(self, trace: RequestTrace) -> None:
        """Ends the request's span, with what is known of the request."""
        known = {
            http_attributes.HTTP_RESPONSE_STATUS_CODE: trace.status,
            "hydra.request_id": trace.request_id,
            "hydra.tenant": trace.tenant,
            "hydra.method": trace.method,
            "hydra.arm": trace.arm,
            "hydra.head": trace.head,
            "hydra.version": trace.version,
            "hydra.degraded": trace.degraded,
            "hydra.first_token_s": trace.first_token_s,
            "hydra.llm_calls": trace.usage.calls,
        }
        self._span.set_attributes({name: value for name, value in known.items() if value is not None})
        if trace.status is None or trace.status >= 500:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def end_spans(trace: RequestTrace) -> None:
    """Ends the span of a request that is over."""
    if isinstance(trace.spans, RequestSpans):
        trace.spans.end(trace)


class LLMSpans:
    """Spans of calls of the LLM, by OpenTelemetry's conventions for generative AI.

    Args:
        tracer: Tracer of this process; None makes no spans.
        provider: Name of whose API it is, e.g. "openai".
        model: Name of the model.
    """

    def __init__(self, tracer: Tracer | None, provider: str, model: str) -> None:
        self._tracer, self._provider, self._model = tracer, provider, model

    def call(self, request: ChatRequest) -> AbstractContextManager[Callable[[Usage], None]]:
        """Return a context with a span of one call, in which the endpoint is asked with its `traceparent`.

        What it gives notes the tokens of the call, once they are known.

        Args:
            request: The request; its `traceparent` says what the call belongs to.
        """
        known: _Attributes = {
            gen_ai.GEN_AI_REQUEST_CHOICE_COUNT: request.n,
            gen_ai.GEN_AI_REQUEST_TEMPERATURE: request.temperature,
            gen_ai.GEN_AI_REQUEST_MAX_TOKENS: request.max_tokens,
            gen_ai.GEN_AI_REQUEST_SEED: request.seed,
        }
        return self._call(known, request.traceparent)

    def passed(self, body: Body, traceparent: str | None) -> AbstractContextManager[Callable[[Usage], None]]:
        """Return the same of a call in somebody else's words.

        Args:
            body: The request as it came; nobody has checked all of it.
            traceparent: What the call belongs to.
        """
        most = body.get("max_completion_tokens") or body.get("max_tokens")
        known = {
            gen_ai.GEN_AI_REQUEST_CHOICE_COUNT: body.get("n") or 1,
            gen_ai.GEN_AI_REQUEST_TEMPERATURE: body.get("temperature"),
            gen_ai.GEN_AI_REQUEST_MAX_TOKENS: most,
            gen_ai.GEN_AI_REQUEST_SEED: body.get("seed"),
        }
        # A text there would be somebody's.
        numbers: _Attributes = {name: value for name, value in known.items() if isinstance(value, int | float)}
        return self._call(numbers, traceparent)

    @contextmanager
    def _call(self, known: _Attributes, traceparent: str | None) -> Iterator[Callable[[Usage], None]]:
        if self._tracer is None:
            yield lambda usage: None
            return
        parent = _W3C.extract({} if traceparent is None else {"traceparent": traceparent})
        with _span(self._tracer, f"chat {self._model}", parent, SpanKind.CLIENT) as span:
            span.set_attributes(
                {
                    gen_ai.GEN_AI_OPERATION_NAME: "chat",
                    gen_ai.GEN_AI_PROVIDER_NAME: self._provider,
                    gen_ai.GEN_AI_REQUEST_MODEL: self._model,
                    **known,
                }
            )
            onward: dict[str, str] = {}
            _W3C.inject(onward, set_span_in_context(span))
            with sending(onward):
                yield lambda usage: span.set_attributes(_answered(usage))


@contextmanager
def _span(tracer: Tracer, name: str, parent: Context, kind: SpanKind) -> Iterator[Span]:
    span = _begun(tracer, name, parent, kind)
    try:
        yield span
    except Exception as error:
        # Its message may hold what somebody wrote.
        named = error.kind if isinstance(error, GenerateError) else type(error).__name__
        span.set_attribute(error_attributes.ERROR_TYPE, named)
        span.set_status(StatusCode.ERROR)
        raise
    finally:
        span.end()


def _begun(tracer: Tracer, name: str, parent: Context, kind: SpanKind) -> Span:
    try:
        return tracer.start_span(name, context=parent, kind=kind)
    except Exception as error:
        # No request is to fail by it.
        log.warning("a span is not there", exc_info=error)
        return INVALID_SPAN


def _answered(usage: Usage) -> dict[str, int]:
    return {
        gen_ai.GEN_AI_USAGE_INPUT_TOKENS: usage.prompt_tokens,
        gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS: usage.completion_tokens,
    }
