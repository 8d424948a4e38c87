"""The application as tests of faults ask it."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from hydra_ray.settings import Settings

USERS = tuple(f"user-{i}" for i in range(8))
WORDS = ["calm", "storm", "silver", "window", "river", "engine", "letter", "garden", "bright", "machine"]


@dataclass(frozen=True)
class App:
    """The application as it is served.

    Attributes:
        url: Where it is, without a path.
        settings: Settings that it is served with.
        headers: Headers of every request: those of an API key, where one is wanted.
    """

    url: str
    settings: Settings
    headers: dict[str, str] = field(default_factory=dict)

    def owner(self, number: int) -> str:
        """Who asks the request of a number."""
        return USERS[number % len(USERS)]

    def chat(
        self, client: httpx.Client, number: int, headers: dict[str, str] | None = None, **more: object
    ) -> httpx.Response:
        """Asks for a completion in the way of one of the users."""
        message = {"role": "user", "content": f"Describe a {WORDS[number % len(WORDS)]} number {number}"}
        body = {"model": "hydra", "messages": [message], "user": self.owner(number), **more}
        return client.post(f"{self.url}/v1/chat/completions", json=body, headers=self.headers | (headers or {}))

    def feedback(self, client: httpx.Client, number: int) -> httpx.Response:
        """Tells of one answer that a user took; its id is `said-` and the number."""
        said = {"id": f"said-{number}", "input": f"Describe {WORDS[number % len(WORDS)]} number {number}"}
        path = f"{self.url}/v1/users/{self.owner(number)}/feedback"
        said |= {"candidates": ["Calm.", "Quiet."], "accepted": "Calm."}
        return client.post(path, json=said, headers=self.headers)

    def past(self, client: httpx.Client, number: int) -> httpx.Response:
        """Adds to the history of one of the users; the item's id is `did-` and the number."""
        user = self.owner(number)
        item = {"id": f"did-{number}", "input": f"Describe number {number}", "output": f"Number {number} ({user})"}
        return client.post(f"{self.url}/v1/users/{user}/history", json=item, headers=self.headers)

    def history(self, user: str) -> list[dict]:
        """All that the store has of a user's history."""
        found = httpx.get(f"{self.url}/v1/users/{user}/history", headers=self.headers, timeout=30)
        return found.raise_for_status().json()["data"]

    def is_well(self, **more: object) -> bool:
        """Whether all steps answer, and a request has all of it."""
        try:
            ready = httpx.get(f"{self.url}/readyz", timeout=5)
            if ready.status_code != 200 or ready.json()["status"] != "ready":
                return False
            with httpx.Client(timeout=30) as client:
                reply = self.chat(client, 0, **more)
            return reply.status_code == 200 and reply.json()["hydra"]["degraded"] == []
        except (httpx.HTTPError, ValueError):
            return False
