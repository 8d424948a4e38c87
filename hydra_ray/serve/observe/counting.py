"""Counts requests that are over: what a trace says, as metrics."""

from __future__ import annotations

from hydra_ray.serve.faults.breaker import Breakers
from hydra_ray.serve.observe import names
from hydra_ray.serve.observe.metrics import Metrics
from hydra_ray.serve.observe.trace import RequestTrace
from hydra_ray.steps.generate.prices import Prices


class CountedRequests:
    """Counts each request that is over.

    Args:
        metrics: Metrics of this process.
        prices: Prices of the LLM.
        breakers: Breakers of the steps, as this process has them.
    """

    def __init__(self, metrics: Metrics, prices: Prices, breakers: Breakers) -> None:
        self._metrics, self._prices, self._breakers = metrics, prices, breakers

    def __call__(self, trace: RequestTrace) -> None:
        """Counts one request."""
        note = self._metrics.note
        note(names.REQUESTS, route=trace.route, method=trace.method, status=str(trace.status))
        note(names.REQUEST_SECONDS, trace.seconds, route=trace.route)
        if trace.first_token_s is not None:
            note(names.FIRST_TOKEN_SECONDS, trace.first_token_s, method=trace.method)
        for call in trace.steps:
            note(names.STEP_SECONDS, call.seconds, step=call.step, ending=call.ending)
        for step in trace.store_errors:
            note(names.STORE_ERRORS, step=step)
        for what in trace.degraded:
            note(names.DEGRADED, without=what)
        for step, state in self._breakers.states().items():
            note(names.BREAKER_OPEN, state != "closed", step=step)
        for (what, per), left in trace.quota_left.items():
            note(names.QUOTA_LEFT, left, tenant=trace.tenant, what=what, per=per)
        if trace.said is not None:
            note(names.FEEDBACK, said=trace.said)
        if trace.head is not None:
            note(names.HEADS, head=trace.head)
            if trace.arm is not None:
                note(names.EXPERIMENT_REQUESTS, arm=trace.arm)
        if trace.gate is not None:
            # Of several prompts each has a plain answer of its own, "recent-vote": how it was found is what counts.
            note(names.GATE_DECISIONS, answered=trace.gate.answered.rpartition("-")[2])
        # What broke off has no head, and costs as well.
        if trace.usage.calls or trace.usage.cached:
            self._count_usage(trace)

    def _count_usage(self, trace: RequestTrace) -> None:
        note, usage = self._metrics.note, trace.usage
        note(names.TOKENS, usage.prompt_tokens, tenant=trace.tenant, direction="in")
        note(names.TOKENS, usage.completion_tokens, tenant=trace.tenant, direction="out")
        note(names.COST, self._prices.of(usage) or 0, tenant=trace.tenant)
        self._metrics.lookups("answers")(usage.cached, usage.calls)
