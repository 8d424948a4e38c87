"""Settings of what is told to operators of each request, and to whom."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hydra_ray.settings.section import Section


class TraceSettings(Section):
    """OpenTelemetry traces: a span for each request, step and call of the LLM."""

    otlp_endpoint: str | None = Field(
        None, description="URL of a collector that takes OTLP over HTTP, e.g. http://collector:4318; null: no traces."
    )
    sample: float = Field(
        1.0, ge=0, le=1, description="Share of requests that are traced, where their own traceparent does not say."
    )


class ObserveSettings(Section):
    """What is told of each request that is served: never a text."""

    request_log: bool = Field(True, description="Write a line of JSON for each request on the replica's stderr.")
    user_ids: Literal["none", "hashed"] = Field(
        "none", description="hashed: the request log has a keyed digest of the user's id; none: nothing of it."
    )
    user_key_env: str = Field("HYDRA_LOG_KEY", description="Variable with the key of those digests.")
    traces: TraceSettings = TraceSettings()
