"""OpenTelemetry's tracer of one process, as settings want it."""

from __future__ import annotations

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Tracer

from hydra_ray.records import HydraError
from hydra_ray.settings import TraceSettings

_PATH = "/v1/traces"


def open_tracer(settings: TraceSettings) -> Tracer | None:
    """Return the tracer; None where settings want no traces.

    It is this application's own: spans that Ray Serve makes hold paths, in which users' ids stand.

    Raises:
        HydraError: The package that sends traces is not installed.
    """
    if settings.otlp_endpoint is None:
        return None
    # A caller that decided for its own trace decides for ours.
    sampler = ParentBased(TraceIdRatioBased(settings.sample))
    provider = TracerProvider(sampler=sampler, resource=Resource.create({"service.name": "hydra-ray"}))
    provider.add_span_processor(_sending_to(settings.otlp_endpoint))
    return provider.get_tracer("hydra_ray")


def _sending_to(endpoint: str) -> SpanProcessor:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise HydraError("observe.traces wants a package that is not there: pip install 'hydra-ray[traces]'") from None
    url = endpoint.rstrip("/")
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=url if url.endswith(_PATH) else url + _PATH))
