"""Streams of the ingress over a real connection, as a client reads them."""

import json
from contextlib import contextmanager

import httpx
from made_app import SAID
from running import running_app


@contextmanager
def streamed(app, **more):
    """The response to a request for a stream."""
    body = {"model": "hydra", "messages": SAID[-1:], "stream": True, **more}
    with (
        running_app(app.ingress.__serve_build_asgi_app__()) as url,
        httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=30) as response,
    ):
        yield response


def events(response):
    """The events of a stream as they come."""
    return (json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {"))
