"""All metrics of the served application: their names, what they say, and their labels with their values.

docs/observability.md shows them as tables. Ray prefixes each name with `ray_`, ends those of counters with `_total`,
and adds labels of its own, such as `deployment` and `replica`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hydra_ray.methods import METHODS
from hydra_ray.serve.observe.middleware import ROUTES
from hydra_ray.steps.profiles.writer import KINDS

Kind = Literal["counter", "gauge", "histogram"]

# In place of a value that is not listed: what a client writes never becomes a label.
OTHER = "other"
# Values by label. Those of `tenant` and `arm` are the names in the settings of the deployment.
VALUES: dict[str, tuple[str, ...] | None] = {
    "route": ROUTES,
    "method": (*METHODS, "passthrough", "none", OTHER),
    "status": (
        *("200", "400", "401", "403", "404", "405", "409", "413", "422", "429"),
        *("499", "500", "502", "503", "504", OTHER),
    ),
    "step": (
        *("preferences", "store", "retriever", "peers", "profiler", "reranker", "encoder", "generator", "adapter"),
        *("learner", OTHER),
    ),
    "ending": ("answered", "failed", "cancelled"),
    "without": (
        *("preferences", "retriever", "peers", "profile", "differences", "reranker", "adapter", "experiment"),
        *("response_format", OTHER),
    ),
    "head": ("user", "shared", "other", "none"),
    "answered": ("hydra", "vote", "greedy", OTHER),
    "said": ("accepted", "edited", "rejected", "regenerated", "rated", OTHER),
    "direction": ("in", "out"),
    "cache": ("heads", "indexes", "answers", "encodings", "stored_encodings", OTHER),
    "found": ("yes", "no"),
    "what": ("requests", "tokens"),
    "per": ("minute", "day"),
    "role": ("reranker", "adapter"),
    "became": ("loaded", "refused", "fitted", "failed", OTHER),
    "kind": tuple(KINDS),
    "differences": ("yes", "no"),
    "read": ("at_once", "again", "never"),
    "outcome": (
        *("answered", "refused", "filtered", "empty", "busy", "timeout", "connection", "server", "malformed", "key"),
        *("quota", "setting", OTHER),
    ),
    "tenant": None,
    "arm": None,
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Attributes:
        name: Name by which it is made.
        kind: What it is to Prometheus.
        meaning: What it says.
        labels: Names of its labels, each in `VALUES`.
        bounds: Upper bounds of a histogram's buckets.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()

    @property
    def exported(self) -> str:
        """Name by which Prometheus has it; a histogram's series end with `_bucket`, `_sum` and `_count` besides."""
        return f"ray_{self.name}{'_total' if self.kind == 'counter' else ''}"


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

# What requests were, and how they ended.
REQUESTS = Metric("hydra_requests", "counter", "Requests that are over.", ("route", "method", "status"))
REQUEST_SECONDS = Metric(
    "hydra_request_seconds",
    "histogram",
    "From a request's arrival to the end of its response.",
    ("route",),
    _SECONDS,
)
FIRST_TOKEN_SECONDS = Metric(
    "hydra_first_token_seconds",
    "histogram",
    "From a request's arrival to the first token of its stream.",
    ("method",),
    _SECONDS,
)
STEP_SECONDS = Metric(
    "hydra_step_seconds",
    "histogram",
    "Calls of steps, waiting for a replica included.",
    ("step", "ending"),
    _SECONDS,
)
DEGRADED = Metric("hydra_degraded", "counter", "What answers were made without.", ("without",))
STORE_ERRORS = Metric("hydra_store_errors", "counter", "Steps that the store of users failed.", ("step",))
BREAKER_OPEN = Metric(
    "hydra_breaker_open", "gauge", "Whether a step is not asked, since it failed in a row.", ("step",)
)
FEEDBACK = Metric("hydra_feedback", "counter", "Feedback that was taken.", ("said",))
LIMITER_FAILURES = Metric("hydra_limiter_failures", "counter", "Calls that the limiter did not answer.", ())
COMPLETIONS_LOST = Metric("hydra_completions_lost", "counter", "Completions that the log does not have.", ())
QUOTA_LEFT = Metric(
    "hydra_quota_left", "gauge", "Share that is left of a tenant's quota, 0 to 1.", ("tenant", "what", "per")
)

# What answers are made of, and what they cost.
HEADS = Metric("hydra_heads", "counter", "Answers by whose head judged them.", ("head",))
GATE_DECISIONS = Metric(
    "hydra_gate_decisions",
    "counter",
    "Answers that a gate was asked about: hydra's own choice, or which plain answer instead.",
    ("answered",),
)
HEAD_AGE_HOURS = Metric(
    "hydra_head_age_hours",
    "histogram",
    "Age of users' own heads as they judge, since they were last written.",
    ("role",),
    (0.01, 0.1, 1.0, 6.0, 24.0, 72.0, 168.0, 336.0, 720.0, 2160.0),
)
TOKENS = Metric(
    "hydra_tokens", "counter", "Tokens of answered requests, all candidates counted.", ("tenant", "direction")
)
COST = Metric("hydra_cost", "counter", "What answered requests cost, by the prices of the settings.", ("tenant",))
EXPERIMENT_REQUESTS = Metric("hydra_experiment_requests", "counter", "Answered requests of an experiment.", ("arm",))
CACHE_LOOKUPS = Metric(
    "hydra_cache_lookups",
    "counter",
    "What was looked for in memory, among kept answers or in the store.",
    ("cache", "found"),
)
MODEL_VERSIONS = Metric(
    "hydra_model_versions", "counter", "Versions of the base that replicas loaded or refused.", ("role", "became")
)
ENCODINGS_DROPPED = Metric(
    "hydra_encodings_dropped", "counter", "New history items that are left to requests to encode.", ()
)
REFITS = Metric("hydra_refits", "counter", "Heads that were fitted again while serving.", ("became",))

# What profilers have written.
PROFILES = Metric(
    "hydra_profiles",
    "counter",
    "Profiles that were written, and whether they name differences from others.",
    ("kind", "differences"),
)
DIFFERENCES = Metric(
    "hydra_differences",
    "counter",
    "Items compared with others' for profiles, by when the LLM's answer could be read.",
    ("read",),
)

# What the LLM is asked, by replicas of the generator.
GENERATOR_CALLS = Metric("hydra_generator_calls", "counter", "Requests to the LLM, by how they ended.", ("outcome",))
GENERATOR_TOKENS = Metric("hydra_generator_tokens", "counter", "Tokens in and out.", ("direction",))
GENERATOR_SECONDS = Metric(
    "hydra_generator_seconds",
    "histogram",
    "From request to answer, retries included.",
    (),
    (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0),
)

METRICS = (
    *(REQUESTS, REQUEST_SECONDS, FIRST_TOKEN_SECONDS, STEP_SECONDS, DEGRADED, STORE_ERRORS, BREAKER_OPEN, FEEDBACK),
    *(LIMITER_FAILURES, COMPLETIONS_LOST, QUOTA_LEFT, HEADS, GATE_DECISIONS, HEAD_AGE_HOURS, TOKENS, COST),
    *(EXPERIMENT_REQUESTS, CACHE_LOOKUPS, MODEL_VERSIONS, ENCODINGS_DROPPED, REFITS, PROFILES, DIFFERENCES),
    *(GENERATOR_CALLS, GENERATOR_TOKENS, GENERATOR_SECONDS),
)
# Ray's own that the dashboard and the alerts use, with the labels of theirs.
SERVE_METRICS = {
    "ray_serve_deployment_queued_queries": ("deployment",),
    "ray_serve_replica_processing_queries": ("deployment",),
    "ray_serve_deployment_replica_healthy": ("deployment",),
    # Of Serve's proxies, which count what they answer by themselves, too.
    "ray_serve_num_http_requests_total": ("status_code",),
    "ray_serve_num_http_error_requests_total": ("error_code",),
}
