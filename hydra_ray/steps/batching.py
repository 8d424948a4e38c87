"""Joins calls that wait at the same time into one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Reply = TypeVar("Reply")


class MicroBatcher(Generic[Item, Reply]):
    """Makes an async call of a blocking batch function, which runs in a thread.

    While one batch runs the next calls gather; nobody waits for company. A batch that fails fails
    for each of its callers.

    Args:
        run: Takes a batch, gives one reply for each ask, in order.
        max_batch_size: Most asks handed to `run` at once.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Sequence[Reply]], max_batch_size: int) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._waiting: list[tuple[Item, asyncio.Future[Reply]]] = []
        self._drainer: asyncio.Task[None] | None = None

    async def __call__(self, ask: Item) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, future))
        if self._drainer is None or self._drainer.done():
            self._drainer = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._max_batch_size], self._waiting[self._max_batch_size :]
            try:
                replies = await asyncio.to_thread(self._run, [ask for ask, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), reply in zip(batch, replies, strict=True):
                    if not future.done():
                        future.set_result(reply)
