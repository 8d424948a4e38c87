"""An OpenAI-compatible LLM of fixed speed, in a process of its own: what it answers is made up of the prompt.

Every call waits as long, whatever its prompt and n. It remembers what it was asked, for those who ask it again.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

_REMEMBERED = 2_000
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class FixedLLM:
    """How the LLM answers.

    Attributes:
        seconds: Until its first token of a stream, and until its last of every other call.
        answers: Texts that it answers with; none lets it make up a new one each time.
        gap_s: Between the tokens of a stream, in seconds.
    """

    seconds: float
    answers: tuple[str, ...]
    gap_s: float = 0.0

    def texts(self, body: dict[str, Any]) -> list[str]:
        """Answers to one request, the same to the same prompt where `answers` are given."""
        return [self._text(body, number) for number in range(body.get("n") or 1)]

    def _text(self, body: dict[str, Any], number: int) -> str:
        drawn = blake2b(json.dumps([body["messages"], number]).encode(), digest_size=16).digest()
        if self.answers:
            return self.answers[drawn[0] % len(self.answers)]
        return " ".join(f"word{byte}" for byte in drawn[:10])

    def application(self) -> Starlette:
        """The endpoint as ASGI."""
        asked: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)

        async def chat(request: Request) -> Response:
            body = await request.json()
            asked.append(body)
            await asyncio.sleep(self.seconds)
            texts = self.texts(body)
            if body.get("stream"):
                return StreamingResponse(_events(texts[0], self.gap_s), media_type="text/event-stream")
            return JSONResponse(_completion(texts))

        async def remembered(request: Request) -> Response:
            found = list(asked)
            asked.clear()
            return JSONResponse(found)

        routes = [Route("/v1/chat/completions", chat, methods=["POST"]), Route("/asked", remembered)]
        return Starlette(routes=routes)


@contextmanager
def running(llm: FixedLLM, host: str = "127.0.0.1") -> Iterator[str]:
    """The LLM in a process of its own, at an address of this machine; gives its base URL."""
    place = free_place()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(llm, host, place), daemon=True)
    process.start()
    try:
        _wait(f"http://{host}:{place}/asked")
        yield f"http://{host}:{place}/v1"
    finally:
        process.terminate()
        process.join()


def free_place() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _serve(llm: FixedLLM, host: str, place: int) -> None:
    uvicorn.run(llm.application(), host=host, port=place, log_level="error")


def _wait(url: str) -> None:
    until = time.monotonic() + _START_S
    while True:
        try:
            httpx.get(url)
            return
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def _completion(texts: Sequence[str]) -> dict[str, Any]:
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for i, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 100, "completion_tokens": len(texts), "total_tokens": 100 + len(texts)}
    return {
        "id": "fixed",
        "object": "chat.completion",
        "created": 0,
        "model": "fixed",
        "choices": choices,
        "usage": usage,
    }


async def _events(text: str, gap_s: float) -> AsyncIterator[str]:
    chunk = {"id": "fixed", "object": "chat.completion.chunk", "created": 0, "model": "fixed"}
    for number, word in enumerate(text.split()):
        if number and gap_s:
            await asyncio.sleep(gap_s)
        choice = {"index": 0, "delta": {"role": "assistant", "content": word + " "}, "finish_reason": None}
        yield f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n"
    done = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield f"data: {json.dumps({**chunk, 'choices': [done]})}\n\n"
    yield "data: [DONE]\n\n"
