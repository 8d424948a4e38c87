"""Ports of a method, plugged with handles of deployments; and what these can do besides."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from ray.serve.exceptions import BackPressureError

from hydra_ray.learn.heads.online import Forgotten, Learnt
from hydra_ray.methods import Ports
from hydra_ray.methods.ports import ProfileText, StepError
from hydra_ray.models.encodings import Encoding
from hydra_ray.records import Candidate, ChatRequest, Choice, Generation, HistoryItem, Piece, Query, Ranked, UserKey
from hydra_ray.serve.encodings.of_query import QueryEncodings
from hydra_ray.serve.faults.breaker import Breaker, Breakers, UnavailableError
from hydra_ray.serve.faults.calls import call_step, past_dead_replicas, within
from hydra_ray.serve.faults.deadline import DeadlineError, check_left, left_s
from hydra_ray.serve.observe.trace import belonging, carried, observed
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.passing import Body
from hydra_ray.store.types import FeedbackEvent

log = logging.getLogger(__name__)

Reply = TypeVar("Reply")
# Kinds of failure that say that the LLM is not there, rather than that one request is at fault or too many come.
LLM_DOWN = frozenset({"timeout", "connection", "server", "malformed"})

# What the adapter waits at most for the encoding of its query once the LLM has answered, in seconds: many times what
# one takes.
_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class RemoteSteps:
    """Calls the deployments; what goes wrong there becomes the error that a method expects.

    Where nobody asks, nothing is looked up, whatever the method: no history, no peers, no profile, no head.

    Args:
        retriever: Handle of the retriever's deployment.
        reranker: Handle of the reranker's deployment.
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

    async def prepare(self, timeout_s: float) -> None:
        """Has reranker and adapter load the version where they do not hold it.

        Args:
            timeout_s: Longest wait, in seconds.

        Raises:
            StepError: One of them refuses it, or does not have it in time.
        """
        steps = {"reranker": self.reranker, "adapter": self.adapter}
        timeout_s = min(timeout_s, max(0.0, left_s()))
        # Past the breakers: a version that cannot be loaded says nothing of those that are.
        loads = (within(name, partial(step.prepare.remote, self.version), timeout_s) for name, step in steps.items())
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
        breaker = self.breakers.of("generator")
        generator = RemoteGenerator(self.generator, self.generator_timeout_s, self.tenant, breaker)
        return await generator(belonging(request))

    def stream(self, request: ChatRequest) -> AsyncGenerator[Piece]:
        """Asks the generator for one answer in pieces."""
        breaker = self.breakers.of("generator")
        generator = RemoteGenerator(self.generator, self.generator_timeout_s, self.tenant, breaker)
        return generator.stream(belonging(request))

    def passed(self, body: Body) -> AsyncGenerator[Body]:
        """Asks the generator what somebody else asks."""
        breaker = self.breakers.of("generator")
        return RemoteGenerator(self.generator, self.generator_timeout_s, self.tenant, breaker).passed(body)

    async def look_up(self, name: str, call: Callable[[], Awaitable[Reply]]) -> Reply:
        """Asks something that requests can do without, as a step is asked."""
        return await self._step(name, call)

    async def _encoded(self, text: str) -> Encoding | None:
        """Ask the adapter for the encoding of a query; None where it fails, which costs nothing but this call."""
        call = partial(_for_its_caller, partial(self.adapter.encode.remote, text, self.version))
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


@dataclass(frozen=True, slots=True)
class RemoteGenerator:
    """The generator's deployment as a generator.

    Args:
        handle: Handle of the deployment.
        timeout_s: Longest wait for an answer, in seconds; a later one is a failure.
        tenant: Tenant for whom it is asked.
        breaker: Breaker of the LLM.
    """

    handle: Any
    timeout_s: float
    tenant: str
    breaker: Breaker

    async def __call__(self, request: ChatRequest) -> Generation:
        """Asks the deployment; what goes wrong there becomes a `GenerateError`."""
        allowed_s = self._allowed_s()
        with self._watched(allowed_s):
            return await asyncio.wait_for(self._ask(request), allowed_s)

    def stream(self, request: ChatRequest) -> AsyncGenerator[Piece]:
        """Yields one answer as the LLM says it; whoever closes it stops the LLM's work."""
        return self._parts(lambda: self.handle.options(stream=True).stream.remote(request, self.tenant))

    def passed(self, body: Body) -> AsyncGenerator[Body]:
        """Yields the LLM's reply to what somebody else asks; whoever closes it stops the LLM's work."""
        traceparent = carried()
        return self._parts(lambda: self.handle.options(stream=True).passed.remote(body, self.tenant, traceparent))

    async def _parts(self, begin: Callable[[], Any]) -> AsyncGenerator[Any]:
        allowed_s = self._allowed_s()
        deadline = asyncio.get_running_loop().time() + allowed_s
        with self._watched(allowed_s), _failures():
            async with asyncio.timeout_at(deadline):
                # Of a replica that dies with the request before it said anything, nothing was heard.
                parts, part = await past_dead_replicas("generator", partial(_begun, begin))
            try:
                while part is not None:
                    yield part
                    # Not over what the listener does meanwhile.
                    async with asyncio.timeout_at(deadline):
                        part = await anext(parts, None)
            finally:
                # Of one that came to its end this does nothing.
                parts.cancel()

    def _allowed_s(self) -> float:
        """Seconds that the LLM may take for a request, if it may be asked at all."""
        allowed_s = min(self.timeout_s, check_left("the LLM"))
        if not self.breaker.admits():
            message = f"the LLM failed {self.breaker.failures} times in a row and is not asked now"
            raise UnavailableError(message, self.breaker.waits_s)
        return allowed_s

    @contextmanager
    def _watched(self, allowed_s: float) -> Iterator[None]:
        """Lets the breaker know how the LLM does, and says in its words that time is over."""
        try:
            with observed("generator"):
                yield
        except GenerateError as error:
            if error.kind in LLM_DOWN:
                self.breaker.failed()
            elif error.final:
                self.breaker.succeeded()
            raise
        except TimeoutError as error:
            if allowed_s < self.timeout_s:
                # It may be well: the client waits for less than it may take.
                raise DeadlineError("the LLM did not answer within what was left of the request's time") from error
            self.breaker.failed()
            message = f"the generator took more than {self.timeout_s:g} s"
            raise GenerateError(message, "timeout", transient=True) from error
        self.breaker.succeeded()

    async def close(self) -> None:
        """Does nothing: the deployment goes on for others."""

    async def _ask(self, request: ChatRequest) -> Generation:
        with _failures():
            return await past_dead_replicas("generator", partial(self._call, request))

    async def _call(self, request: ChatRequest) -> Generation:
        generation: Generation = await _for_its_caller(partial(self.handle.remote, request, self.tenant))
        return generation


async def _for_its_caller(begin: Callable[[], Any]) -> Any:
    """The reply to a call that ends with who waits for it."""
    response = begin()
    try:
        return await response
    except asyncio.CancelledError:
        # Serve would go on with it for nobody.
        response.cancel()
        raise


async def _begun(begin: Callable[[], Any]) -> tuple[Any, Any]:
    """A stream and its first part; None where it has none."""
    parts = begin()
    try:
        return parts, await anext(parts, None)
    except asyncio.CancelledError:
        # Serve would go on with it for nobody.
        parts.cancel()
        raise


@contextmanager
def _failures() -> Iterator[None]:
    """Makes a `GenerateError` of what the handle of the generator raises."""
    try:
        yield
    except BackPressureError as error:
        raise GenerateError("the generator's queue is full", "busy", transient=True) from error
    except GenerateError as error:
        # Ray's wrapper adds the replica's traceback to the message.
        if isinstance(cause := getattr(error, "cause", None), GenerateError):
            raise cause from error
        raise
    except TimeoutError:
        # The time of whoever waits.
        raise
    except Exception as error:
        # By gRPC what the replica raises comes as it was raised, whatever it is.
        log.warning("the generator gave no answer", exc_info=error)
        raise GenerateError("the generator is not available", "connection", transient=True) from error


def _head_for(query: Query, head: UserKey | None) -> UserKey | None:
    return None if query.user.is_nobody else head
