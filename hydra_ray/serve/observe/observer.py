"""Tells of requests that are over to whoever is to know; whatever fails there, no request fails by it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry.trace import Tracer

from hydra_ray.serve.faults.breaker import Breakers
from hydra_ray.serve.observe.counting import CountedRequests
from hydra_ray.serve.observe.metrics import Metrics
from hydra_ray.serve.observe.request_log import RequestLog
from hydra_ray.serve.observe.spans import RequestSpans, end_spans
from hydra_ray.serve.observe.trace import RequestTrace
from hydra_ray.serve.observe.tracer import open_tracer
from hydra_ray.settings import Settings
from hydra_ray.steps.generate.prices import Prices

log = logging.getLogger(__name__)

Listener = Callable[[RequestTrace], None]


class Observer:
    """Tells each trace to all listeners. A listener that fails is logged once, and the others are told nevertheless.

    Args:
        listeners: What is called with the trace of each request that is over.
        tracer: Makes spans of requests; None makes none.
    """

    def __init__(self, listeners: Sequence[Listener], tracer: Tracer | None) -> None:
        self._listeners, self._tracer = listeners, tracer
        self._failed: set[int] = set()

    def begin(self, trace: RequestTrace, headers: Mapping[str, str]) -> None:
        """Begins the spans of a request, where there are any; it never raises.

        Args:
            trace: Trace of the request.
            headers: Headers of the request.
        """
        with self._careful(-1):
            if self._tracer is not None:
                trace.spans = RequestSpans(self._tracer, trace, headers)

    def end(self, trace: RequestTrace) -> None:
        """Tells of a request that is over; it never raises."""
        for place, listener in enumerate(self._listeners):
            with self._careful(place):
                listener(trace)

    @contextmanager
    def _careful(self, place: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if place not in self._failed:
                self._failed.add(place)
                log.warning("requests are not observed as they should be (told once)", exc_info=error)


def make_observer(settings: Settings, metrics: Metrics, breakers: Breakers) -> Observer:
    """Make the observer that settings describe, in the process that answers the requests.

    Args:
        settings: All settings.
        metrics: Metrics of this process.
        breakers: Breakers of the steps.

    Raises:
        HydraError: Settings want a key, or a package, that is not there.
    """
    limits = settings.generator.limits
    prices = Prices(limits.price_in, limits.price_out)
    listeners: list[Listener] = [CountedRequests(metrics, prices, breakers)]
    if settings.observe.request_log:
        listeners.append(RequestLog(settings.observe, prices))
    tracer = open_tracer(settings.observe.traces)
    if tracer is not None:
        listeners.append(end_spans)
    return Observer(listeners, tracer)
