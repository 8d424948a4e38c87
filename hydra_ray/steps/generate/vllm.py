"""vLLM where `ray.serve.llm` hosts it, called without HTTP between."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from tenacity import AsyncRetrying, before_sleep_log, retry_if_exception, stop_after_attempt, wait_random_exponential

from hydra_ray.records import ChatRequest, Generation, Piece
from hydra_ray.steps.generate.base import FilteredError, GenerateError
from hydra_ray.steps.generate.endpoint.heard import Answering, Collected
from hydra_ray.steps.generate.endpoint.refusal import read_refusal
from hydra_ray.steps.generate.endpoint.reply import read_reply
from hydra_ray.steps.generate.passing import Body

log = logging.getLogger(__name__)

Reply = TypeVar("Reply")

# Parameters of OpenAI's that vLLM takes and does nothing with.
_UNKNOWN = frozenset({"verbosity"})
# Parameters of vLLM's that are its operator's business: whose prefixes are shared, who is served first, where caches
# come from, and what holds any of these or is read by the engine's plugins (`vllm_xargs`).
_OF_THE_OPERATOR = ("cache_salt", "ec_transfer_params", "kv_transfer_params", "priority", "request_id", "vllm_xargs")
# Quotas count what is told, whether a client asked for it or not.
_TOLD = {"include_usage": True}


class Engine(Protocol):
    """The engine: OpenAI's chat completions in and out, as plain values."""

    async def __call__(self, body: Body) -> Body:
        """The whole reply; `{"error": {...}}` where the engine refuses or fails.

        Raises:
            GenerateError: The engine cannot be reached.
        """
        ...

    def stream(self, body: Body) -> AsyncGenerator[Body]:
        """Yields the chunks of the reply, or an error. Whoever closes it stops the engine's work.

        Raises:
            GenerateError: The engine cannot be reached.
        """
        ...


# Makes an error of a body that holds one.
Refused = Callable[[Body], GenerateError]


@dataclass(frozen=True, slots=True)
class _Begun:
    """A stream whose first chunk is there."""

    first: Body
    chunks: AsyncGenerator[Body]
    deadline: float


class VLLMGenerator:
    """Asks the engine; all candidates of a request share one prefill.

    Args:
        engine: The engine.
        tenant: Prompts share cached prefixes only within a tenant.
        salt_key: The server's secret behind the tenants' salts. Empty draws one for this process, so that
            processes do not share prefixes.
        concurrency: Most requests in flight.
        timeout_s: Seconds one attempt may take.
        retries: Further attempts after one that the engine did not answer.
        send_seed: Whether samples are seeded.
        params: Further parameters of each request.
    """

    def __init__(
        self,
        engine: Engine,
        tenant: str,
        salt_key: str,
        *,
        concurrency: int,
        timeout_s: float,
        retries: int,
        send_seed: bool,
        params: Mapping[str, Any],
    ) -> None:
        self._engine = engine
        self._salt = cache_salt(salt_key or secrets.token_hex(16), tenant)
        self._timeout_s = timeout_s
        self._retries = retries
        self._send_seed = send_seed
        self._params = dict(params)
        # Forms of request (their fields) that were answered.
        self._answered: set[frozenset[str]] = set()
        # Whether it is known to reason in its answers, and whether it holds answers to a schema.
        self._reasons, self._holds = False, True
        self._slots = asyncio.Semaphore(concurrency)

    async def __call__(self, request: ChatRequest) -> Generation:
        try:
            return await self._generate(request)
        except GenerateError as error:
            if not self._is_held(request) or error.kind not in ("refused", "setting"):
                raise
            answer = await self._generate(replace(request, schema=""))
            log.warning("vLLM holds no answer to a schema; from now on JSON is asked for in words: %s", error)
            self._holds = False
            return answer

    async def _generate(self, request: ChatRequest) -> Generation:
        body = self._body(request)
        form = _form(body, request)

        async def ask() -> Generation:
            return self._read(await self._whole(body, partial(self._refused, form)), request, form)

        return await self._trying(ask)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Piece]:
        """Yields one answer as the engine says it. It is asked again before its first chunk only."""
        request = replace(request, n=1)
        body = self._body(request)
        form = _form(body, request)
        collected, answering = Collected(), Answering(reasons=self._reasons)
        streamed = {**body, "stream": True, "stream_options": _TOLD}
        async with aclosing(self._chunks(streamed, partial(self._refused, form))) as chunks:
            async for chunk in chunks:
                if more := answering.add(collected.add(chunk), collected.reasons_apart):
                    yield Piece(more)
        if not collected.finish:
            raise _ended_early()
        answer = self._read(collected.body(), request, form)
        if rest := answering.rest(answer.texts[0]):
            yield Piece(rest)
        if answering.released != answer.texts[0]:
            log.warning("vLLM: reasoning was streamed before it was known as such; from now on it is held")
        yield Piece("", answer.ends[0], answer.usage, answer.ignored)

    async def passed(self, body: Body) -> AsyncGenerator[Body]:
        """Yields the reply to what somebody else asks, in their words, as it came."""
        # As if it was not sent: the engine does not take null everywhere.
        asked = {name: value for name, value in body.items() if value is not None}
        for name in _OF_THE_OPERATOR:
            if name in asked:
                raise GenerateError(f"vLLM: {name}: clients cannot set this", "refused", param=name)
        sent = {**self._params, **asked, "cache_salt": self._salt}
        if not asked.get("stream"):
            yield await self._trying(partial(self._whole, sent, _refused_as_sent))
            return
        sent["stream_options"] = {**asked.get("stream_options", {}), **_TOLD}
        async with aclosing(self._chunks(sent, _refused_as_sent)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def close(self) -> None:
        """Does nothing: the engine lives on, since it is not this object's."""

    async def _whole(self, body: Body, refused: Refused) -> Body:
        async with self._slots:
            try:
                async with asyncio.timeout(self._timeout_s):
                    reply = await self._engine(body)
            except TimeoutError as error:
                raise self._too_late() from error
        if "error" in reply:
            raise refused(reply)
        return reply

    async def _chunks(self, body: Body, refused: Refused) -> AsyncGenerator[Body]:
        async with AsyncExitStack() as held:
            begun = await self._trying(partial(self._begin, body, refused, held))
            yield begun.first
            while (chunk := await self._next(begun.chunks, begun.deadline, refused)) is not None:
                yield chunk

    async def _begin(self, body: Body, refused: Refused, held: AsyncExitStack) -> _Begun:
        """One attempt at a stream, until its first chunk; `held` gets what is to be closed at its end."""
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(self._slots)
            deadline = asyncio.get_running_loop().time() + self._timeout_s
            chunks = await opened.enter_async_context(aclosing(self._engine.stream(body)))
            first = await self._next(chunks, deadline, refused)
            if first is None:
                raise _ended_early()
            held.push_async_callback(opened.pop_all().aclose)
            return _Begun(first, chunks, deadline)

    async def _next(self, chunks: AsyncGenerator[Body], deadline: float, refused: Refused) -> Body | None:
        """The next chunk; None after the last one."""
        try:
            # Not over what the listener does meanwhile.
            async with asyncio.timeout_at(deadline):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise self._too_late() from error
        if chunk is not None and "error" in chunk:
            raise refused(chunk)
        return chunk

    async def _trying(self, attempt: Callable[[], Awaitable[Reply]]) -> Reply:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._retries + 1),
            wait=wait_random_exponential(0.5, max=20),
            retry=retry_if_exception(lambda error: isinstance(error, GenerateError) and error.transient),
            before_sleep=before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        return await retrying(attempt)

    def _body(self, request: ChatRequest) -> Body:
        body: Body = {
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "n": request.n,
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            "cache_salt": self._salt,
        }
        if self._send_seed and request.temperature > 0:
            body["seed"] = request.seed
        held = {"response_format": request.held_to} if self._is_held(request) else {}
        wanted = request.sampling.parameters()
        # What a client wants goes before what is set for all.
        return {
            **body,
            **self._params,
            **held,
            **{name: value for name, value in wanted.items() if name not in _UNKNOWN},
        }

    def _read(self, reply: Body, request: ChatRequest, form: frozenset[str]) -> Generation:
        answer = read_reply(reply)
        self._reasons = self._reasons or answer.reasoned
        lost = dict(answer.lost)
        if not answer.texts or "server" in lost:
            # What was broken off is no answer, and would be another one if it was asked again.
            kind = next((kind for kind in ("server", "filtered") if kind in lost), "empty")
            why = lost.get(kind) or next(filter(None, lost.values()), "")
            message = f"vLLM: the reply has no choices with text{f': {why}' if why else ''}"
            if kind == "filtered":
                raise FilteredError(message, answer.usage, answer.refusal)
            raise GenerateError(message, kind, transient=kind == "server")
        self._answered.add(form)
        ignored = [name for name in request.sampling.parameters() if name in _UNKNOWN]
        if not self._send_seed and request.temperature > 0:
            ignored.append("seed")
        return Generation(answer.texts, answer.usage, answer.finishes, tuple(ignored))

    def _refused(self, form: frozenset[str], reply: Body) -> GenerateError:
        # Where others of the same form are answered it is this request; else hardly any will be.
        return _error_of(reply, "refused" if form in self._answered else "setting")

    def _is_held(self, request: ChatRequest) -> bool:
        return bool(request.schema) and self._holds

    def _too_late(self) -> GenerateError:
        return GenerateError(f"vLLM took more than {self._timeout_s:g} s", "timeout", transient=True)


def cache_salt(key: str, tenant: str) -> str:
    """A tenant's salt of vLLM's prefix cache: 64 hexadecimal digits that tell nothing about the tenant."""
    return hmac.new(key.encode(), tenant.encode(), "sha256").hexdigest()


def _form(body: Body, request: ChatRequest) -> frozenset[str]:
    """The fields of a body but for those that a client wants."""
    return frozenset(body).difference(request.sampling.parameters())


def _refused_as_sent(reply: Body) -> GenerateError:
    """Of a request in somebody else's words, which are theirs to mend."""
    return _error_of(reply, "refused", reply["error"].get("param"))


def _error_of(reply: Body, unknown: str, param: str | None = None) -> GenerateError:
    """The error in a body.

    Args:
        reply: The body.
        unknown: Kind of a refusal in words that nobody knows.
        param: Field of the request that is at fault.
    """
    refusal = read_refusal(int(reply["error"].get("code") or 500), json.dumps(reply))
    kind = refusal.kind or unknown
    transient = kind in ("server", "busy", "timeout")
    return GenerateError(f"vLLM: {refusal.reason[:300]}", kind, transient, param=param)


def _ended_early() -> GenerateError:
    return GenerateError("vLLM: the stream ended before the answer did", "connection", transient=True)
