"""For how long what is let go may end what it has begun."""

from __future__ import annotations

from hydra_ray.settings import ServeSettings

_MOMENT_S = 10.0


def drain_s(serve: ServeSettings) -> float:
    """Return for how long a replica that is let go may end what it has begun: longer than any request takes."""
    return max(serve.timeout_s, serve.generator_timeout_s) + _MOMENT_S
