"""An LLM's endpoint that knows which node asks, and holds requests until a test lets them go."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from typing import Any
from zlib import crc32

from openai_endpoint import Server, completion


class HeldLLM(Server):
    """Answers some requests at once and holds all that come after them.

    Args:
        host: Address to listen on.
        at_once: How many are answered at once.
        answers: One of these is the answer, always the same one to the same request.

    Attributes:
        times: How often each request was asked.
        held: Requests that are held, by the address of the node that asked.
    """

    def __init__(self, host: str, at_once: int, answers: tuple[str, ...]) -> None:
        super().__init__(host)
        self._at_once, self._answers = at_once, answers
        self._lock, self._go, self._asker = threading.Lock(), threading.Event(), threading.local()
        self.times = Counter[str]()
        self.held: dict[str, list[str]] = defaultdict(list)
        self.replies = [self._reply]

    def release(self) -> None:
        """Answers what is held, and whatever comes from now on."""
        self._go.set()

    def holds(self) -> int:
        """How many requests are held."""
        with self._lock:
            return sum(map(len, self.held.values()))

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Notes who asks, which a reply is not told."""
        self._asker.address = client_address[0]
        super().process_request_thread(request, client_address)

    def _reply(self, asked: dict[str, Any]) -> dict[str, Any]:
        request = json.dumps(asked, sort_keys=True)
        with self._lock:
            self.times[request] += 1
            number = self.times.total()
            if number > self._at_once and not self._go.is_set():
                self.held[self._asker.address].append(request)
        if number > self._at_once:
            self._go.wait()
        first = crc32(request.encode())
        return completion(*(self._answers[(first + n) % len(self._answers)] for n in range(asked.get("n") or 1)))
