"""Ports of a method, plugged with handles of deployments; and what these can do besides."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from hydra_ray.learn.heads.online import Forgotten, Learnt
from hydra_ray.methods import Ports
from hydra_ray.methods.ports import ProfileText, StepError
from hydra_ray.models.base import ADAPTER, RERANKER
from hydra_ray.models.encodings import Encoding
from hydra_ray.records import Candidate, ChatRequest, Choice, Generation, HistoryItem, Piece, Query, Ranked, UserKey
from hydra_ray.serve.encodings.of_query import QueryEncodings
from hydra_ray.serve.faults.breaker import Breakers
from hydra_ray.serve.faults.calls import call_step, for_its_caller, past_dead_replicas, within
from hydra_ray.serve.faults.deadline import left_s
from hydra_ray.serve.faults.llm import RemoteGenerator
from hydra_ray.serve.observe.trace import belonging
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.passing import Body
from hydra_ray.store.types import FeedbackEvent

log = logging.getLogger(__name__)

Reply = TypeVar("Reply")
# What the adapter waits at most for the encoding of its query once the LLM has answered, in seconds: many times what
# one takes.
_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class RemoteSteps:
    """Calls the deployments; what goes wrong there becomes the error that a method expects.

    Where nobody asks, nothing is looked up, whatever the method: no history, no peers, no profile, no head.

    Args:
        retriever: Handle of the retriever's deployment.
        reranker: Handle of the reranker's deployment; None where there is none.
        generator: Handle of the generator's deployment.
        adapter: Handle of the adapter's deployment.
        step_timeout_s: Longest wait for any step but the generator, in seconds.
        generator_timeout_s: Longest wait for the generator, in seconds.
        profiler: Handle of the profiler's deployment.
        tenant: Tenant whose requests these are, whoever the user is.
        version: Version of the base that reranker and adapter answer by; None is whichever they serve.
        breakers: Breakers of the steps, which keep one that fails from being asked again and again.
        encodes_ahead: Whether the adapter keeps encodings, so that a query's can be made before it is needed.
        encodings: Encodings of the queries under way, which the adapter is handed.
    """

    retriever: Any
    reranker: Any
    generator: Any
    adapter: Any
    step_timeout_s: float
    generator_timeout_s: float
    profiler: Any
    tenant: str
    version: str | None
    breakers: Breakers
    encodes_ahead: bool
    encodings: QueryEncodings = field(default_factory=QueryEncodings)

    def at(self, version: str) -> RemoteSteps:
        """Return the same steps by one version of the base: all that one request asks is answered by it."""
        return replace(self, version=version)

    @property
    def scoring(self) -> dict[str, Any]:
        """Handles of the steps that hold versions of the base, by name."""
        reranker = {} if self.reranker is None else {RERANKER: self.reranker}
        return {**reranker, ADAPTER: self.adapter}

    async def prepare(self, timeout_s: float) -> None:
        """Has the steps that score load the version where they do not hold it.

        Args:
            timeout_s: Longest wait, in seconds.

        Raises:
            StepError: One of them refuses it, or does not have it in time.
        """
        timeout_s = min(timeout_s, max(0.0, left_s()))
        # Past the breakers: a version that cannot be loaded says nothing of those that are.
        loads = (
            within(name, partial(step.prepare.remote, self.version), timeout_s) for name, step in self.scoring.items()
        )
        await asyncio.gather(*loads)

    def ports(self) -> Ports:
        """Return the ports of a method."""
        return Ports(
            self.retrieve,
            self.rerank,
            self.generate,
            self.adapt,
            self.peers,
            self.profile,
            before_adapt=self.before_adapt,
            generate_all=self.generate_all,
        )

    async def retrieve(self, query: Query, k: int, by: str) -> list[Ranked]:
        """Asks the retriever."""
        if query.user.is_nobody:
            return []
        return await self._step("retriever", partial(self.retriever.remote, query, k, by))

    async def peers(self, query: Query, k: int) -> list[Ranked]:
        """Asks the retriever for history of people like the query's user."""
        if query.user.is_nobody:
            return []
        return await self._step("peers", partial(self.retriever.peers.remote, query, k))

    async def profile(self, query: Query, kind: str) -> ProfileText:
        """Asks the profiler; what takes it longer than a step may, a later request finds."""
        if query.user.is_nobody:
            return ProfileText()
        # Once: a profile that it was writing is not paid for again in a request that could hardly wait for it.
        call = partial(self.profiler.remote, query, kind)
        return await call_step("profiler", call, self.step_timeout_s, self.breakers.of("profiler"))

    async def rerank(self, query: Query, ranked: Sequence[Ranked], head: UserKey | None) -> list[Ranked]:
        """Asks the reranker."""
        if self.reranker is None:
            raise StepError("there is no reranker (method.rerank is false)")
        ask = query, tuple(ranked), _head_for(query, head)
        reply = await self._step("reranker", partial(self.reranker.remote, ask, self.version))
        self.encodings.put(self.version, query.input, reply.encoding)
        return list(reply.items)

    def before_adapt(self, query: Query) -> AbstractAsyncContextManager[None]:
        """Has a replica of the adapter encode the query while others work; `adapt` hands it to whichever chooses."""
        # Half-open, the adapter is tried by who needs it.
        if not self.encodes_ahead or self.breakers.of("adapter").state != "closed":
            return nullcontext()
        return self.encodings.ahead(self.version, query.input, partial(self._encoded, query.input))

    async def adapt(
        self, query: Query, candidates: Sequence[Candidate], history_answers: Sequence[str], head: UserKey | None
    ) -> Choice:
        """Asks the adapter."""
        encoding = await self._encoding_of(query.input)
        ask = query, tuple(candidates), tuple(history_answers), encoding, _head_for(query, head)
        return await self._step("adapter", partial(self.adapter.remote, ask, self.version))

    async def learn(
        self, user: UserKey, event: FeedbackEvent, history: Sequence[HistoryItem], deletions: int
    ) -> Learnt:
        """Has the adapter learn from what a user said, with the items whose answers it reads beside the query.

        Nothing is learnt of a user who was deleted more often than `deletions` says. Learnt twice, by its id it counts
        once.
        """
        learn = partial(self.adapter.learn.remote, user, event, tuple(history), deletions)
        return await self._step("learner", learn)

    async def forget(self, user: UserKey, item_id: str) -> Forgotten:
        """Has the adapter forget an item of a user's history."""
        # Once: what a replica removed before it died, another one does not find.
        call = partial(self.adapter.forget.remote, user, item_id)
        return await call_step("learner", call, self.step_timeout_s, self.breakers.of("learner"))

    async def generate(self, request: ChatRequest) -> Generation:
        """Asks the generator."""
        return await self._llm(belonging(request))

    async def generate_all(self, requests: Sequence[ChatRequest]) -> list[Generation | GenerateError]:
        """Asks the generator for several requests by one call."""
        return await self._llm.all([belonging(request) for request in requests])

    def stream(self, request: ChatRequest) -> AsyncGenerator[Piece]:
        """Asks the generator for one answer in pieces."""
        return self._llm.stream(belonging(request))

    def passed(self, body: Body) -> AsyncGenerator[Body]:
        """Asks the generator what somebody else asks."""
        return self._llm.passed(body)

    @property
    def _llm(self) -> RemoteGenerator:
        breaker = self.breakers.of("generator")
        return RemoteGenerator(self.generator, self.generator_timeout_s, self.tenant, breaker)

    async def look_up(self, name: str, call: Callable[[], Awaitable[Reply]]) -> Reply:
        """Asks something that requests can do without, as a step is asked."""
        return await self._step(name, call)

    async def _encoded(self, text: str) -> Encoding | None:
        """Ask the adapter for the encoding of a query; None where it fails, which costs nothing but this call."""
        call = partial(for_its_caller, partial(self.adapter.encode.remote, text, self.version))
        try:
            return await self._step("encoder", call)
        except StepError as error:
            log.warning("the query is not encoded ahead, its adapter does that", exc_info=error)
            return None

    async def _encoding_of(self, text: str) -> Encoding | None:
        """Return the encoding of a query, where it was handed over or is made in time."""
        patience_s = min(_PATIENCE_S, left_s() / 2)
        try:
            return await self.encodings.get(self.version, text, patience_s)
        except TimeoutError:
            log.warning("the encoding of the query is not there after %g s more, its adapter makes it", patience_s)
            if patience_s == _PATIENCE_S:
                self.breakers.of("encoder").failed()
            return None

    async def _step(self, name: str, call: Callable[[], Awaitable[Reply]]) -> Reply:
        return await call_step(
            name, partial(past_dead_replicas, name, call), self.step_timeout_s, self.breakers.of(name)
        )


def _head_for(query: Query, head: UserKey | None) -> UserKey | None:
    return None if query.user.is_nobody else head
