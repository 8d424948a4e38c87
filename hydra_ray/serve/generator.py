"""Hosts the black-box LLM, whichever backend it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ray import serve

from hydra_ray.logs import set_up_logging
from hydra_ray.records import ChatRequest, Generation, Piece
from hydra_ray.runtime.generators import generator_identity, make_backend, open_cache
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.serve.observe.metrics import metrics_of
from hydra_ray.serve.observe.names import GENERATOR_CALLS, GENERATOR_SECONDS, GENERATOR_TOKENS
from hydra_ray.serve.observe.spans import LLMSpans
from hydra_ray.serve.observe.tracer import open_tracer
from hydra_ray.settings import Settings
from hydra_ray.steps.generate import GenerateError, stream_of
from hydra_ray.steps.generate import Generator as GeneratorStep
from hydra_ray.steps.generate.cache import CachedGenerator
from hydra_ray.steps.generate.metered import CallOutcome, MeteredGenerator
from hydra_ray.steps.generate.passing import Body, passed_of, usage_in


# The slowest step: as many in flight as the backend batches by default, and a queue of what each process that calls may
# ask more, three calls a request of a text; what comes on top is told to come back later (429). A call may hold several
# requests: how many of them the LLM has at once is bounded by `generator.concurrency`.
@serve.deployment(max_ongoing_requests=32, max_queued_requests=128, ray_actor_options={"num_cpus": 0.5})
class Generator:
    """Samples answers and reports calls, tokens, failures and latency as metrics of the cluster."""

    def __init__(self, settings: Settings) -> None:
        set_up_logging(settings.logging)
        use_given_cpus()
        self._settings = settings
        self._metrics = metrics_of(settings)
        self._spans = LLMSpans(
            open_tracer(settings.observe.traces), settings.generator.backend, settings.generator.model
        )
        self._backend = self._metered(settings)
        self._of_tenants = {settings.tenant: self._for_tenant(settings, self._backend)}

    async def __call__(self, request: ChatRequest, tenant: str) -> Generation:
        """Up to `request.n` answers; raises `GenerateError` when the LLM gives none."""
        with self._spans.call(request) as answered:
            generation = await self._of(tenant)(request)
            answered(generation.usage)
        return generation

    async def all(self, requests: tuple[ChatRequest, ...], tenant: str) -> list[Generation | GenerateError]:
        """Answers to several requests, which are asked at once; in place of them the error of a request without any."""

        async def end(request: ChatRequest) -> Generation | GenerateError:
            try:
                return await self(request, tenant)
            except GenerateError as error:
                return error

        return list(await asyncio.gather(*(end(request) for request in requests)))

    async def stream(self, request: ChatRequest, tenant: str) -> AsyncGenerator[Piece]:
        """Yields the pieces of one answer as the LLM says it; raises `GenerateError` when the LLM breaks it off."""
        with self._spans.call(request) as answered:
            async with aclosing(stream_of(self._of(tenant), request)) as pieces:
                async for piece in pieces:
                    if piece.usage is not None:
                        answered(piece.usage)
                    yield piece

    async def passed(self, body: Body, tenant: str, traceparent: str | None) -> AsyncGenerator[Body]:
        """Yields the LLM's reply to what somebody else asks: whole, or the chunks of a stream."""
        with self._spans.passed(body, traceparent) as answered:
            async with aclosing(passed_of(self._of(tenant), body)) as replies:
                async for reply in replies:
                    if (usage := usage_in(reply)) is not None:
                        answered(usage)
                    yield reply

    def _of(self, tenant: str) -> GeneratorStep:
        """The LLM as one tenant asks it."""
        if tenant not in self._of_tenants:
            settings = self._settings.of_tenant(tenant)
            # Of vLLM, which keeps prefixes of prompts by tenant, each tenant has an asker of its own.
            backend = self._metered(settings) if settings.generator.backend == "vllm" else self._backend
            self._of_tenants[tenant] = self._for_tenant(settings, backend)
        return self._of_tenants[tenant]

    async def ready(self) -> None:
        """Answers while this replica takes requests."""

    def _metered(self, settings: Settings) -> GeneratorStep:
        # A full queue of vLLM is the client's to wait out: trying again here would only hide it.
        retries = 0 if settings.generator.backend == "vllm" else None
        return MeteredGenerator(make_backend(settings, retries=retries), self._observe)

    def _for_tenant(self, settings: Settings, backend: GeneratorStep) -> GeneratorStep:
        """The LLM behind the tenant's own answers, where they are kept."""
        if not settings.generator.cache:
            return backend
        return CachedGenerator(backend, open_cache(settings), generator_identity(settings))

    def _observe(self, outcome: CallOutcome) -> None:
        self._metrics.note(GENERATOR_CALLS, outcome=outcome.error or "answered")
        self._metrics.note(GENERATOR_SECONDS, outcome.seconds)
        for direction, tokens in (("in", outcome.usage.prompt_tokens), ("out", outcome.usage.completion_tokens)):
            self._metrics.note(GENERATOR_TOKENS, tokens, direction=direction)
