"""Asks the limiter whether requests may go on: those of a replica together, one call at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context

from hydra_ray.serve.limits.quotas import Admission, Limited, Quotas

log = logging.getLogger(__name__)

# For how long a limiter is waited for that did not answer before: it takes milliseconds where it is there.
_SHORT_S = 0.25

Answered = tuple[Sequence[Limited], int]
# Counts requests and answers; see `Limiter.count`.
Count = Callable[[Sequence[Sequence[Limited]], Sequence[Answered]], Awaitable[list[Admission]]]


class LimiterClient:
    """Lets requests through as far as their quotas go.

    Requests that come while a call is under way wait for it and share the next one, so that a replica asks as often as
    the limiter answers. Where it does not answer, the replica counts by itself: no more than the quota a replica. From
    then on it is waited for a moment only, until it answers again: one that died is started anew, which takes seconds.

    Args:
        count: Calls the limiter.
        timeout_s: Longest wait for the limiter, in seconds.
        failed: Called for each call that the limiter did not answer.
    """

    def __init__(self, count: Count, timeout_s: float, failed: Callable[[], None]) -> None:
        self._count, self._timeout_s, self._failed = count, timeout_s, failed
        self._asked: list[tuple[Sequence[Limited], asyncio.Future[Admission]]] = []
        self._answered: list[Answered] = []
        self._calling: asyncio.Task[None] | None = None
        self._alone, self._is_missing = Quotas(time.time, {}), False

    async def admit(self, limited: Sequence[Limited]) -> Admission:
        """Return whether a request of these subjects may go on."""
        admission: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()
        self._asked.append((limited, admission))
        self._call()
        return await admission

    def charge(self, limited: Sequence[Limited], tokens: int) -> None:
        """Have the tokens of an answer counted; nobody waits for that."""
        self._answered.append((limited, tokens))
        self._call()

    def _call(self) -> None:
        if self._calling is None:
            # In a context of its own: Serve stops what a request has asked of others when the request ends.
            self._calling = asyncio.get_running_loop().create_task(self._call_until_done(), context=Context())

    async def _call_until_done(self) -> None:
        try:
            while self._asked or self._answered:
                asked, self._asked = self._asked, []
                answered, self._answered = self._answered, []
                admissions = await self._counted([limited for limited, _ in asked], answered)
                for (_, waiting), admission in zip(asked, admissions, strict=True):
                    if not waiting.done():
                        waiting.set_result(admission)
        finally:
            self._calling = None

    async def _counted(self, asked: Sequence[Sequence[Limited]], answered: Sequence[Answered]) -> list[Admission]:
        wait_s = min(_SHORT_S, self._timeout_s) if self._is_missing else self._timeout_s
        try:
            admissions = await asyncio.wait_for(self._count(asked, answered), wait_s)
            self._is_missing = False
            return admissions
        except Exception as error:
            # Whatever it is, it is the limiter's: requests are not to fail by it.
            log.warning("the limiter did not answer; this replica counts by itself", exc_info=error)
            self._is_missing = True
            self._failed()
            for limited, tokens in answered:
                self._alone.charge(limited, tokens)
            return [self._alone.admit(limited) for limited in asked]
