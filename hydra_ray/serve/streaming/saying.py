"""The port by which a method has an answer said, so that a client hears it while the method still waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from hydra_ray.records import Answer, ChatRequest, Generation, Piece, Usage
from hydra_ray.steps.generate.limits import estimate_tokens

# Asks the LLM for one answer in pieces.
Stream = Callable[[ChatRequest], AsyncGenerator[Piece]]


class Saying:
    """Plugs `Ports.say` for one request, and passes the pieces on.

    Args:
        stream: Asks the LLM.

    Attributes:
        said: The answer as far as it was said.
        finish: Why it ended, in OpenAI's words; "" until it did.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self._request: ChatRequest | None = None
        self._count = 0
        self.said = ""
        self.finish = ""

    async def __call__(self, request: ChatRequest) -> Generation:
        """Ask the LLM for one answer, and have it heard.

        Raises:
            GenerateError: The LLM gave no answer, or broke it off.
        """
        self._request = request
        usage = Usage(1)
        ignored: tuple[str, ...] = ()
        async with aclosing(self._stream(request)) as pieces:
            async for piece in pieces:
                if piece.text:
                    self._count += 1
                    self.said += piece.text
                    self._pieces.put_nowait(piece.text)
                if piece.usage is not None:
                    usage, self.finish, ignored = piece.usage, piece.finish, piece.ignored
        return Generation((self.said,), usage, (self.finish or "stop",), ignored)

    async def heard(self, making: asyncio.Task[Answer]) -> AsyncGenerator[str]:
        """Yields the pieces as they come, until the method has its answer or has failed; none where it says none.

        Args:
            making: The method at work, with this as its port.
        """
        making.add_done_callback(lambda _: self._pieces.put_nowait(None))
        while (text := await self._pieces.get()) is not None:
            yield text

    def spent(self) -> Usage:
        """Return what an answer that was broken off has taken, as well as it is known: a token a piece."""
        if self._request is None:
            return Usage()
        return Usage(1, estimate_tokens(self._request), self._count)
