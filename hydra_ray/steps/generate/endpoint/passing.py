"""Bodies of others at OpenAI-compatible endpoints: untouched but for the model's name, with our keys and fallbacks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from openai import AsyncStream
from openai.types.chat import ChatCompletionChunk

from hydra_ray.steps.generate.base import GenerateError
from hydra_ray.steps.generate.endpoint.failing import FAILURES, Refused, failure_of
from hydra_ray.steps.generate.endpoint.health import retry_after
from hydra_ray.steps.generate.endpoint.refusal import refusal_within
from hydra_ray.steps.generate.endpoint.rounds import Rounds
from hydra_ray.steps.generate.endpoint.target import Target
from hydra_ray.steps.generate.passing import Body, as_request

_TOLD = {"include_usage": True}


@dataclass(frozen=True, slots=True)
class _Begun:
    """A reply whose first part is there; without chunks it is the whole reply."""

    target: Target
    first: Body
    chunks: AsyncStream[ChatCompletionChunk] | None
    deadline: float


class PassThrough:
    """Asks endpoints what others ask, in their words. A refusal is theirs to mend, and teaches no dialect.

    Args:
        rounds: Which endpoint is asked when.
        params: Parameters of each request, where a body does not say otherwise.
        timeout_s: Seconds one attempt may take, from request to last byte.
        masked: Takes the keys out of a message.
    """

    def __init__(
        self, rounds: Rounds, params: Mapping[str, Any], timeout_s: float, masked: Callable[[str], str]
    ) -> None:
        self._rounds, self._params, self._timeout_s, self._masked = rounds, dict(params), timeout_s, masked

    async def __call__(self, body: Body) -> AsyncGenerator[Body]:
        """Yields the reply, or the chunks of a stream; another endpoint may be asked before the first one only."""
        async with AsyncExitStack() as held:
            begun = await self._rounds(as_request(body), lambda target: self._open(target, body), held)
            chunks = begun.chunks
            if chunks is not None:
                held.push_async_callback(chunks.close)
            yield begun.first
            while chunks is not None:
                try:
                    # Not over what the listener does meanwhile.
                    async with asyncio.timeout_at(begun.deadline):
                        chunk = await _next(chunks)
                except FAILURES as error:
                    failure = self._failure(begun.target, error)
                    begun.target.health.note(well=failure.final)
                    raise self._rounds.failure({begun.target: failure}) from None
                if chunk is None:
                    return
                yield chunk

    async def _open(self, target: Target, body: Body) -> _Begun | GenerateError:
        """Asks one endpoint, and waits for what it says first."""
        sent = {**self._params, **body, "model": target.model}
        streams = bool(body.get("stream"))
        # Quotas count what is told, whether the client asked for it or not.
        if streams and target.dialect.streams == "usage":
            sent["stream_options"] = {**(body.get("stream_options") or {}), **_TOLD}
        more = {name: value for name, value in sent.items() if name not in ("model", "stream")}
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        completions = target.client.chat.completions
        try:
            async with AsyncExitStack() as opened, asyncio.timeout_at(deadline):
                if not streams:
                    # All of the body goes beside what the client would write itself.
                    raw = await completions.with_raw_response.create(model=target.model, messages=[], extra_body=more)
                    return self._read(target, json.loads(raw.http_response.content), deadline)
                chunks = await completions.create(model=target.model, messages=[], stream=True, extra_body=more)
                opened.push_async_callback(chunks.close)
                if "event-stream" not in chunks.response.headers.get("content-type", ""):
                    return self._read(target, json.loads(await chunks.response.aread()), deadline)
                first = await _next(chunks)
                if first is None:
                    return GenerateError("the stream ended before the answer did", "connection", transient=True)
                opened.pop_all()
                return _Begun(target, first, chunks, deadline)
        except FAILURES as error:
            return self._failure(target, error)

    def _read(self, target: Target, reply: Any, deadline: float) -> _Begun | GenerateError:
        if refusal := refusal_within(reply):
            return self._refused(target, Refused(refusal, {}))
        if not isinstance(reply, dict):
            return GenerateError("the reply makes no sense: it is no object", "malformed", transient=True)
        return _Begun(target, reply, None, deadline)

    def _failure(self, target: Target, error: Exception) -> GenerateError:
        failure = failure_of(error, self._timeout_s)
        if isinstance(failure, Refused):
            return self._refused(target, failure)
        return GenerateError(self._masked(str(failure)), failure.kind, failure.transient)

    def _refused(self, target: Target, refused: Refused) -> GenerateError:
        refusal = refused.refusal
        # What no other form would mend is as of our own requests; else the request itself is at fault.
        kind = refusal.kind or "refused"
        transient = kind in ("busy", "server", "timeout")
        if transient:
            target.health.close_for(retry_after(refused.headers))
        status = f"HTTP {refusal.status}: " if refusal.status else ""
        return GenerateError(self._masked(f"{status}{refusal.reason}"), kind, transient)


async def _next(chunks: AsyncStream[ChatCompletionChunk]) -> Body | None:
    """The next chunk as it came; None after the last one."""
    try:
        chunk = await anext(chunks)
    except StopAsyncIteration:
        return None
    return chunk.to_dict(mode="json", warnings=False)
