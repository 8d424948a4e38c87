"""The ingress over HTTP in this process, with deployments that only remember what they were asked."""

from __future__ import annotations

import asyncio
from inspect import isawaitable

from fastapi.testclient import TestClient

from hydra_ray.learn.heads.online import Forgotten, Learnt
from hydra_ray.methods.ports import ProfileText
from hydra_ray.records import Choice, Generation, HistoryItem, Ranked, Usage
from hydra_ray.serve import ingress
from hydra_ray.serve.http.principal import Authenticate, TrustThisMachine
from hydra_ray.serve.reranker import Reranked
from hydra_ray.settings import Settings
from hydra_ray.steps.generate.base import GenerateError, whole

SAID = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "And now?"},
]
ITEM = HistoryItem("1", "Then?", "Wait.")
# The class as it is written, below what Serve makes of it.
PLAIN = ingress.Ingress.func_or_class.__bases__[0]


class Handle:
    """Stands in for a deployment's handle."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    @property
    def peers(self):
        return self

    def options(self, stream):
        return self

    def remote(self, *arguments):
        self.asked.append(arguments)
        return asyncio.ensure_future(self._answered(arguments))

    async def _answered(self, arguments):
        answer = self.answer(*arguments)
        return await answer if isawaitable(answer) else answer


class Pieces:
    """What the call of a streaming deployment gives."""

    def __init__(self, pieces):
        self.pieces, self.asking = pieces, None

    async def __anext__(self):
        self.asking = asyncio.ensure_future(anext(self.pieces))
        return await self.asking

    def cancel(self):
        if self.asking.done():
            self.closing = asyncio.ensure_future(self.pieces.aclose())
        else:
            self.asking.cancel()


class StreamHandle:
    """Stands in for a handle whose method yields: `stream` makes a generator of the call's arguments."""

    def __init__(self, stream):
        self.stream, self.asked = stream, []

    def remote(self, *arguments):
        self.asked.append(arguments)
        return Pieces(self.stream(*arguments))


def reranking(served):
    """Makes what another maker of apps makes, with a reranker."""

    def make(*arguments, more=None, **serve):
        return served(*arguments, more={"method": {"rerank": True}, **(more or {})}, **serve)

    return make


class Served:
    """The ingress over HTTP, of one task and without Ray."""

    def __init__(self, settings: Settings, authenticate: Authenticate | None = None, limiter=None):
        self.retriever = Handle(lambda query, *_: [Ranked(ITEM, 1.0)])
        self.generator = Handle(lambda request, tenant: Generation(("Calm.",), Usage(1, 5, 1)))
        self.generator.stream = StreamHandle(self._stream)
        self.generator.all = Handle(self._all)
        self.reranker = Handle(lambda ask, version: Reranked(list(ask[1]), None))
        self.adapter = Handle(lambda ask, version: Choice(ask[1], personal=ask[-1] is not None))
        self.adapter.encode = Handle(lambda text, version: None)
        self.adapter.learn = Handle(lambda *_: Learnt("created", True))
        self.adapter.forget = Handle(lambda *_: Forgotten(True, {}))
        self.profiler = Handle(lambda query, kind: ProfileText("Quiet.", degraded=True))
        for step in (self.retriever, self.generator, self.reranker, self.adapter):
            step.ready = Handle(lambda: None)
        for step in (self.reranker, self.adapter):
            step.encode_ahead = Handle(lambda *_: None)
        self.refitter = Handle(lambda *_: None)
        self.refitter.note = Handle(lambda *_: None)
        reranker = self.reranker if settings.method.rerank else None
        steps = self.retriever, reranker, self.generator, self.adapter, self.profiler
        self.ingress = PLAIN(
            settings, *steps, authenticate or TrustThisMachine(settings.tenant), limiter, self.refitter
        )
        self.client = self.client_at("127.0.0.1")

    async def _all(self, requests, tenant):
        """The generator's answers to several requests, or their errors."""
        return await asyncio.gather(*(self._end(request, tenant) for request in requests))

    async def _end(self, request, tenant):
        try:
            return await self.generator.remote(request, tenant)
        except GenerateError as error:
            return error

    async def _stream(self, request, tenant):
        """The generator's whole answer, in pieces."""
        for piece in whole(await self.generator.remote(request, tenant)):
            yield piece

    def client_at(self, peer: str) -> TestClient:
        """A client whose connections come from an address."""
        return TestClient(self.ingress.__serve_build_asgi_app__(), base_url="http://localhost", client=(peer, 50_000))

    def ask(self, messages, **more):
        return self.client.post("/v1/chat/completions", json={"model": "hydra", "messages": messages, **more})

    @property
    def prompt(self):
        """The messages that the LLM was asked last."""
        return self.generator.asked[-1][0].messages
