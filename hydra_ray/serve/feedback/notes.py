"""Notes to other deployments that something is new of a user; nobody waits for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.serve.ports import RemoteSteps

log = logging.getLogger(__name__)


class Notes:
    """Tells who fits heads again, and who encodes items ahead. What goes wrong there harms nobody here.

    Args:
        refitter: Handle of what fits heads again; None where nothing does.
        steps: Steps that encode items.
        timeout_s: Longest wait for each, in seconds.
        dropped: Called with the number of items that nobody encodes ahead.
    """

    def __init__(self, refitter: Any, steps: RemoteSteps, timeout_s: float, dropped: Callable[[int], None]) -> None:
        self._refitter, self._steps, self._timeout_s, self._dropped = refitter, steps, timeout_s, dropped
        self._under_way = set[asyncio.Task[None]]()

    def tell(self, key: UserKey, items: Sequence[HistoryItem]) -> None:
        """Notes that something is new of a user.

        Args:
            key: The user.
            items: Items that are in the history now and were not, as they are.
        """
        if self._refitter is not None:
            self._begin(self._refit(key))
        for step in self._steps.scoring.values() if items else ():
            self._begin(self._encode(step, key, tuple(items)))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        # In a context of its own: Serve stops what a request has asked of others when the request ends.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _refit(self, key: UserKey) -> None:
        try:
            await asyncio.wait_for(self._refitter.note.remote(key), self._timeout_s)
        except Exception as error:
            # Whatever it is, it is the refitter's, which looks through the store from time to time.
            log.warning("the refitter does not know yet that something is new of a user", exc_info=error)

    async def _encode(self, step: Any, key: UserKey, items: tuple[HistoryItem, ...]) -> None:
        try:
            await asyncio.wait_for(step.encode_ahead.remote(key, items), self._timeout_s)
        except Exception as error:
            # A request that meets the items encodes them.
            log.warning("items of a user are not encoded ahead", exc_info=error)
            self._dropped(len(items))
