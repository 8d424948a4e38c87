"""Where pods go for what settings name: the LLM, the database, the object store, a collector of traces."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from hydra_ray.settings import Settings, SettingsError

S3 = "https://s3.amazonaws.com"
_OPENAI = "https://api.openai.com/v1"
_PORTS = {"http": 80, "https": 443, "postgresql": 5432}


def named_urls(settings: Settings, s3: str | None) -> Iterator[tuple[str, str]]:
    """Yield the URLs that processes with these settings ask, each with the setting that names it.

    Args:
        settings: Any settings.
        s3: URL of the object store; None where that is not known.
    """
    if settings.generator.backend == "openai":
        yield "generator.base_url", settings.generator.base_url or _OPENAI
        for place, one in enumerate(settings.generator.fallbacks):
            yield f"generator.fallbacks[{place}].base_url", one.base_url or _OPENAI
    if settings.store_url.startswith("postgresql"):
        yield "store.url", settings.store_url
    data = {f"data.{name}": getattr(settings.data, name) for name in ("dir", "path", "items")}
    places = {"registry.url": settings.registry_url, **data, "base.checkpoints": settings.base.checkpoints}
    named = [name for name, place in places.items() if place is not None and place.startswith("s3://")]
    if named and s3 is not None:
        yield named[0], s3
    if settings.observe.traces.otlp_endpoint is not None:
        yield "observe.traces.otlp_endpoint", settings.observe.traces.otlp_endpoint


def redis_url(address: str) -> str:
    """Return Redis' address, as Ray and KubeRay take it, as a URL."""
    return address if "://" in address else f"redis://{address}"


def host_and_port(name: str, url: str) -> tuple[str, int]:
    """Return host and port of a URL; the port that goes with its scheme where it names none.

    Args:
        name: Setting that has the URL, for the error.
        url: A URL; its password is shown to nobody.

    Raises:
        SettingsError: It has no host, or no port that is one.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    except ValueError:
        raise SettingsError(f"{name}: the port of {parts.netloc.rpartition('@')[2]} is none: 1 to 65535") from None
    if parts.hostname is None or port is None:
        shown = url.rpartition("@")[2]
        raise SettingsError(f"{name}: {shown} has no host, or no port that its scheme would tell: scheme://host:port")
    return parts.hostname, port
