"""Asks for streams as clients do, reads each to its end, and tells when its first token was there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import open_loop
from open_loop import Arrival, Ask, Sample


class Streams:
    """Streams of answers.

    Args:
        client: Client that asks.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._begun: list[asyncio.Task[None]] = []

    async def first_token(self, url: str, body: Mapping[str, Any]) -> None:
        """Returns when the first token is there; the others are read meanwhile: see `ended`.

        Args:
            url: Base URL of the endpoint.
            body: A request for a chat completion.
        """
        first = asyncio.Event()
        reading, hearing = asyncio.create_task(self._read(url, body, first)), asyncio.create_task(first.wait())
        await asyncio.wait({reading, hearing}, return_when=asyncio.FIRST_COMPLETED)
        hearing.cancel()
        if first.is_set():
            self._begun.append(reading)
        else:
            await reading
            raise RuntimeError("the stream ended without a token")

    async def ended(self) -> None:
        """Waits until all streams are read to their ends; raises what broke one off."""
        begun, self._begun = self._begun, []
        await asyncio.gather(*begun)

    async def _read(self, url: str, body: Mapping[str, Any], first: asyncio.Event) -> None:
        finish = None
        request = {**body, "stream": True}
        async with self._client.stream("POST", f"{url}/chat/completions", json=request) as reply:
            reply.raise_for_status()
            async for line in reply.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line[6:])
                if wrong := chunk.get("error") or chunk.get("hydra", {}).get("degraded"):
                    raise RuntimeError(f"no good answer: {wrong}")
                for choice in chunk["choices"]:
                    if choice["delta"].get("content"):
                        first.set()
                    finish = choice.get("finish_reason") or finish
        if finish is None:
            raise RuntimeError("the stream ended before the answer did")


async def in_turn(sides: Mapping[str, Ask], rounds: int, streams: Streams) -> list[Sample]:
    """Asks each side so often, one request at a time: each when the former is answered to its end."""
    samples = []
    for _ in range(rounds):
        for kind, ask in sides.items():
            samples += await open_loop.run([Arrival(0, kind, ask)])
            await streams.ended()
    return samples
