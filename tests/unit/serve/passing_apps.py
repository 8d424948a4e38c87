"""The ingress in front of an endpoint, whose generator's deployment runs in this process."""

from contextlib import aclosing

from made_app import StreamHandle

from hydra_ray.runtime.generators import make_backend
from hydra_ray.steps.generate import stream_of
from hydra_ray.steps.generate.passing import passed_of
from hydra_ray.tasks import CHAT_TASK

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"in": "Bonn"}'}}


def passing(served, server, fallbacks=(), more=None, **serve):
    """An app whose generator's deployment runs in this process; what is charged is remembered."""
    generator = {"backend": "openai", "base_url": server.url, "model": "m", "retries": 0}
    generator["fallbacks"] = [{"base_url": other.url} for other in fallbacks]
    return in_process(served(CHAT_TASK, more={"generator": generator, **(more or {})}, **serve))


def in_process(app):
    """The same app, whose LLM (`app.backend`) is asked in this process; what is charged is remembered."""
    app.backend = make_backend(app.ingress._settings, retries=0)

    async def passed(body, tenant, traceparent):
        async with aclosing(passed_of(app.backend, body)) as replies:
            async for reply in replies:
                yield reply

    async def stream(request, tenant):
        async with aclosing(stream_of(app.backend, request)) as pieces:
            async for piece in pieces:
                yield piece

    app.generator.passed, app.generator.stream = StreamHandle(passed), StreamHandle(stream)
    app.charged = []
    app.ingress._admit.charge = lambda principal, usage: app.charged.append(usage)
    app.ingress._pass_through._charge = app.ingress._admit.charge
    return app
