"""Serves on this machine, for `hydra-ray serve`, the demo and the tests."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator

from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig

from hydra_ray.records import HydraError
from hydra_ray.runtime.cluster import cluster
from hydra_ray.runtime.vllm_app import engine_running
from hydra_ray.serve.app import build_app
from hydra_ray.serve.http.principal import is_loopback
from hydra_ray.settings import Settings


@contextlib.contextmanager
def serving(settings: Settings, host: str, port: int) -> Iterator[str]:
    """Serves for as long as the body runs; gives the base URL that OpenAI clients take.

    Raises:
        HydraError: Others than this machine are to be served, and no keys are wanted of them; or Serve already runs on
            the cluster.
    """
    settings = with_auth(settings, host)
    with cluster(settings.ray):
        # It would keep its own host and port, and all that it serves would end with us.
        if serve.status().proxies:
            raise HydraError(
                "Serve already runs on this cluster: deploy there with `serve deploy`, or end it with `serve shutdown`"
            )
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(http_options=HTTPOptions(host=host, port=port), logging_config=LoggingConfig(log_level="WARNING"))
        try:
            with engine_running(settings.generator):
                serve.run(build_app(settings), name="hydra", route_prefix="/")
                yield f"http://{host}:{port}/v1"
        finally:
            serve.shutdown()


def with_auth(settings: Settings, host: str) -> Settings:
    """Return settings that say whether keys are wanted: by default of everybody but this machine.

    Raises:
        HydraError: Settings say that none are, and others than this machine could ask.
    """
    mode = settings.auth.mode or ("off" if is_loopback(host) else "keys")
    if mode == "off" and not is_loopback(host):
        raise HydraError(f"auth.mode: off is for this machine alone: with --host {host} set it to keys")
    return settings.model_copy(update={"auth": settings.auth.model_copy(update={"mode": mode})})


def serve_until_interrupted(settings: Settings, host: str, port: int, started: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        settings: Settings of the application that is served.
        host: Address to listen on.
        port: Port to listen on.
        started: Called once requests are answered, with the base URL that OpenAI clients take.
    """
    stop = threading.Event()
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(serving(settings, host, port))
        started(url)
        # While it starts, signals end it as any command.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        stack = stack.pop_all()
    with stack:
        stop.wait()
