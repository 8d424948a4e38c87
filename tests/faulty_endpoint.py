"""An OpenAI-compatible endpoint over raw sockets, which misbehaves byte by byte as tests tell it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request as it came.

    Attributes:
        at: What the endpoint's clock showed when its last byte was there.
        key: The bearer token.
        body: The JSON of the request.
    """

    at: float
    key: str
    body: dict[str, Any]

    @property
    def text(self) -> str:
        """The last message."""
        return self.body["messages"][-1]["content"]


# Writes what it likes. A connection is closed after one reply.
Behaviour = Callable[["FaultyEndpoint", Asked, asyncio.StreamWriter], Awaitable[None]]


class FaultyEndpoint:
    """Behaves as `behave` says of each request; `async with` starts and stops it.

    Args:
        behaviours: Towards the first request, the second and so on; the last towards all further ones.
        clock: Gives the time of a request.

    Attributes:
        asked: All requests, in the order they came.
        served: Good replies that went out whole.
        in_flight: Requests that wait for the rest of their reply.
        most_in_flight: The most there ever were.
    """

    def __init__(self, *behaviours: Behaviour, clock: Callable[[], float] = time.monotonic) -> None:
        self.asked: list[Asked] = []
        self._clock = clock
        self.served = self.in_flight = self.most_in_flight = 0
        self.behave: Callable[[Asked], Behaviour] = lambda _: behaviours[min(len(self.asked), len(behaviours)) - 1]
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> FaultyEndpoint:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        # Its behaviours end by themselves; a task cancelled with the event loop would be reported.
        for _ in range(1000):
            if not self.in_flight:
                break
            await asyncio.sleep(0.005)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            key = next(line.split()[-1] for line in head if line.lower().startswith("authorization:"))
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            self.asked.append(Asked(self._clock(), key, body))
            await self.behave(self.asked[-1])(self, self.asked[-1], writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client hung up first.
        finally:
            self.in_flight -= 1
            self._writers.discard(writer)
            writer.close()


def http(body: bytes, status: int = 200, **headers: object) -> bytes:
    """The bytes of a whole response; underscores in names of headers are dashes."""
    lines = {"content-type": "application/json", "content-length": len(body), "connection": "close"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} So\r\n{head}\r\n".encode() + body


def completion(text: str, usage: object = None) -> bytes:
    """The body of a good reply."""
    reply = {"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}
    return json.dumps(reply | {"usage": usage or {"prompt_tokens": 7, "completion_tokens": 3}}).encode()


async def good(server: FaultyEndpoint, asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Repeats the request's last message."""
    writer.write(http(completion(f"echo {asked.text}")))
    await writer.drain()
    server.served += 1


def says(payload: bytes) -> Behaviour:
    """Sends the bytes, whatever they are, and hangs up."""

    async def behave(_server: FaultyEndpoint, _asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(payload)

    return behave


def fails(status: int, message: str = "no luck", **headers: object) -> Behaviour:
    """An error as OpenAI words it."""
    return says(http(json.dumps({"error": {"message": message}}).encode(), status, **headers))


def after(event: Awaitable[object], then: Behaviour) -> Behaviour:
    """Lets the client wait for something; for one request."""

    async def behave(server: FaultyEndpoint, asked: Asked, writer: asyncio.StreamWriter) -> None:
        await event
        await then(server, asked, writer)

    return behave


async def drip(_server: FaultyEndpoint, _asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Sends a byte every 20 ms until the client hangs up, so that no single read takes long."""
    writer.write(http(b"", content_length=10**9))
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


hang_up = says(b"")
reset_head = says(b"HTTP/1.1 200 So\r\ncontent-le")
cut_length = says(http(completion("half of a rep"), content_length=1000))
cut_chunks = says(
    b"HTTP/1.1 200 So\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1a\r\n"
    + completion("half")[:26]
)
not_http = says(b"220 smtp.example.org ESMTP\r\n")
garbage = says(http(b'{"choices": [{"mess'))
no_choices = says(http(b'{"object": "chat.completion", "choices": []}'))
welcome_page = says(http(b"<html>Welcome to nginx!</html>", content_type="text/html"))
deep_nesting = says(http(b'{"choices": ' + b"[" * 100_000))
