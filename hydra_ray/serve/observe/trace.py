"""What is noted of one request while it is under way; whoever knows something of it finds it here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from hydra_ray.records import Answer, ChatRequest, Usage, UserKey
from hydra_ray.store.types import StoreError


class Spans(Protocol):
    """Spans of one request."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Has a span of a step for as long as the body runs."""

    def carried(self) -> str:
        """Return the `traceparent` of what the request asks of others."""


Ending = Literal["answered", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class StepTime:
    """One call of a step.

    Attributes:
        step: Name of the step, e.g. "reranker".
        begin_s: When it began, in seconds after the request came.
        seconds: How long it took, in seconds.
        ending: How it ended.
    """

    step: str
    begin_s: float
    seconds: float
    ending: Ending


@dataclass(frozen=True, slots=True)
class GateNote:
    """What the gate decided, without the answer.

    Attributes:
        answered: Name of the method whose answer was given, "hydra" where the gate let its choice through.
        gain: Expected gain of hydra's choice over the plain answer, in the task's score.
        low: Lower bound of the expected gain.
    """

    answered: str
    gain: float
    low: float


@dataclass(slots=True)
class RequestTrace:
    """What is known of a request: never a text.

    Attributes:
        request_id: Id of the request, as `X-Request-ID` has it; None where it has none.
        route: Kind of the route, one of `ROUTES`.
        began: When it came, by `time.perf_counter`.
        tenant: Tenant of the caller; None before it is known.
        key: Id of the API key that was presented.
        user: User whom the request is for.
        method: Method that answered.
        arm: Arm of the experiment that the request fell into.
        propensity: Probability with which it fell into the arm.
        head: The kind of owner whose head judged: "user", "shared", "other" or "none".
        gate: Decision of the gate; None where none was asked.
        version: Version of the base that answered.
        steps: Calls of steps, in the order of their ends.
        store_errors: Steps in which the store of users failed.
        said: What feedback said, e.g. "accepted", once it was taken.
        degraded: Names of what was done without.
        quota_left: Share that is left of the tenant's quotas, by what is limited and in which time.
        usage: LLM calls and tokens.
        status: HTTP status of the response; None before it began.
        is_stream: Whether the response is a stream of events.
        first_token_s: When the first token of a stream left, in seconds after the request came.
        seconds: How long the whole took, in seconds.
        is_whole: Whether the response was sent to its end.
        spans: Spans of the request; None where it is not traced.
    """

    request_id: str | None
    route: str
    began: float
    tenant: str | None = None
    key: str | None = None
    user: UserKey | None = None
    method: str | None = None
    arm: str | None = None
    propensity: float | None = None
    head: str | None = None
    gate: GateNote | None = None
    version: str | None = None
    steps: list[StepTime] = field(default_factory=list)
    store_errors: list[str] = field(default_factory=list)
    said: str | None = None
    degraded: tuple[str, ...] = ()
    quota_left: Mapping[tuple[str, str], float] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    status: int | None = None
    is_stream: bool = False
    first_token_s: float | None = None
    seconds: float = 0.0
    is_whole: bool = False
    spans: Spans | None = None

    def note_answer(self, answer: Answer) -> None:
        """Note how an answer came about."""
        self.head, self.degraded, self.usage = answer.head, answer.degraded, answer.usage
        if (decision := answer.gate) is not None:
            self.gate = GateNote(decision.answered, round(decision.gain, 4), round(decision.low, 4))

    def note_first_token(self) -> None:
        """Note that the first token of the answer leaves now; later calls change nothing."""
        if self.first_token_s is None:
            self.first_token_s = time.perf_counter() - self.began

    def step_seconds(self) -> dict[str, float]:
        """Return how long each step took, from the begin of its first call to the end of its last."""
        spans: dict[str, tuple[float, float]] = {}
        for call in self.steps:
            end = call.begin_s + call.seconds
            first, last = spans.get(call.step, (call.begin_s, end))
            spans[call.step] = min(first, call.begin_s), max(last, end)
        return {step: last - first for step, (first, last) in spans.items()}


_current: ContextVar[RequestTrace | None] = ContextVar("request_trace", default=None)


def current_trace() -> RequestTrace:
    """Return the trace of the request that is answered now; one that nobody reads where none is."""
    return _current.get() or RequestTrace(None, "other", time.perf_counter())


@contextmanager
def tracing(trace: RequestTrace) -> Iterator[None]:
    """Has `current_trace` give this trace within the body, and in tasks that begin there."""
    token = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def observed(step: str) -> Iterator[None]:
    """Notes in the request's trace how long the body takes and how it ends.

    Args:
        step: Name of the step, e.g. "reranker".
    """
    trace, begin = current_trace(), time.perf_counter()
    ending: Ending = "cancelled"
    try:
        with nullcontext() if trace.spans is None else trace.spans.step(step):
            yield
        ending = "answered"
    except Exception as error:
        ending = "failed"
        if isinstance(error, StoreError):
            trace.store_errors.append(step)
        raise
    finally:
        end = time.perf_counter()
        trace.steps.append(StepTime(step, begin - trace.began, end - begin, ending))


def carried() -> str | None:
    """Return the `traceparent` of what the request of our endpoint that is answered now asks of others, if any."""
    spans = current_trace().spans
    return None if spans is None else spans.carried()


def belonging(request: ChatRequest) -> ChatRequest:
    """Return the request as one that belongs to the request of our endpoint that is answered now."""
    traceparent = carried()
    return request if traceparent is None else replace(request, traceparent=traceparent)
