"""The encodings of queries under way: handed from step to step, or made before a step asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from hydra_ray.bounded import BoundedCache
from hydra_ray.fingerprint import fingerprint
from hydra_ray.models.encodings import Encoding

# Of far more queries than one ingress has under way.
_MOST_BYTES = 1 << 20


class QueryEncodings:
    """Keeps the encodings of the queries that one ingress has under way, by version of the base and text.

    All of it is for one event loop.
    """

    def __init__(self) -> None:
        self._kept: BoundedCache[str, Encoding] = BoundedCache(_MOST_BYTES)
        self._making: dict[str, asyncio.Task[None]] = {}

    def put(self, version: str | None, text: str, encoding: Encoding | None) -> None:
        """Keeps what a step made; None is nothing."""
        if encoding is not None:
            kept = encoding.alone()
            self._kept.put(fingerprint(version, text), kept, kept.nbytes)

    @asynccontextmanager
    async def ahead(
        self, version: str | None, text: str, make: Callable[[], Awaitable[Encoding | None]]
    ) -> AsyncIterator[None]:
        """Has an encoding made while the body runs, unless it is there or is being made; at its end that is given up.

        Args:
            version: Version of the base whose encoder it is; None is the one served.
            text: Text of the query.
            make: Makes the encoding, or gives None where it cannot be had; it raises nothing.
        """
        key = fingerprint(version, text)
        if self._kept.get(key) is not None or key in self._making:
            yield
            return

        async def keep() -> None:
            self.put(version, text, await make())

        making = self._making[key] = asyncio.ensure_future(keep())
        try:
            yield
        finally:
            del self._making[key]
            making.cancel()
            await asyncio.wait({making})

    async def get(self, version: str | None, text: str, patience_s: float) -> Encoding | None:
        """Return the encoding of a text, once it is made where somebody makes it; None where it is not to be had.

        Args:
            version: Version of the base whose encoder it is; None is the one served.
            text: Text of the query.
            patience_s: Longest wait, in seconds.

        Raises:
            TimeoutError: It took longer, and is given up.
        """
        key = fingerprint(version, text)
        if (making := self._making.get(key)) is not None:
            _, late = await asyncio.wait({making}, timeout=patience_s)
            if late:
                making.cancel()
                raise TimeoutError
        return self._kept.get(key)
