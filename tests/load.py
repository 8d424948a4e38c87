"""Open-loop load: requests begin when their time has come, whether or not former ones were answered."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

# Longer than anything may take: what is not answered by then is lost.
_PATIENCE_S = 240.0


@dataclass(frozen=True)
class Reply:
    """What became of one request.

    Attributes:
        status: HTTP status; 0 where the connection broke.
        body: JSON of the response, or what broke the connection.
        headers: Headers of the response.
        request: Number of the request.
    """

    status: int
    body: dict
    headers: dict
    request: int

    @property
    def degraded(self) -> list[str]:
        """What the answer was made without."""
        return self.body.get("hydra", {}).get("degraded", [])


@dataclass
class Load:
    """Requests under way, and their replies.

    Args:
        ask: Sends the request of a number.
        per_s: Requests that begin in a second.
    """

    ask: Callable[[httpx.Client, int], httpx.Response]
    per_s: float
    replies: list[Reply] = field(default_factory=list)
    begun: int = 0

    @property
    def statuses(self) -> Counter[int]:
        """How many replies had each status."""
        return Counter(reply.status for reply in self.replies)

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Asks for as long as the body runs, and then waits for the last reply."""
        over = threading.Event()
        threads: list[threading.Thread] = []

        def begin() -> None:
            first = time.monotonic()
            for number in itertools.count():
                if over.wait(max(0.0, first + number / self.per_s - time.monotonic())):
                    return
                self.begun += 1
                threads.append(threading.Thread(target=self._one, args=(number,)))
                threads[-1].start()

        beginning = threading.Thread(target=begin)
        beginning.start()
        try:
            yield self
        finally:
            over.set()
            beginning.join()
            for thread in threads:
                thread.join()

    def _one(self, number: int) -> None:
        try:
            with httpx.Client(timeout=_PATIENCE_S) as client:
                response = self.ask(client, number)
                reply = Reply(response.status_code, response.json(), dict(response.headers), number)
        except (httpx.HTTPError, ValueError) as error:
            reply = Reply(0, {"error": {"message": repr(error)}}, {}, number)
        self.replies.append(reply)
