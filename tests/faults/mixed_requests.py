"""Requests of all kinds in one row: what a deployment is asked in its life, mistakes of clients included."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
from llm_process import ENDLESS

# Those that are sent at once.
TOGETHER = 8
_PATIENCE_S = 120.0
# Shorter than any answer takes.
_HASTY_S = 0.03


class Mixed:
    """Sends requests by their numbers; each kind comes again after as many as there are kinds.

    Args:
        url: Where the application is, without a path.
        users: Users with a history. Others are new, and come once.
    """

    def __init__(self, url: str, users: tuple[str, ...]) -> None:
        self._url, self._users = url, users
        self._client = httpx.AsyncClient(base_url=url, timeout=_PATIENCE_S)
        self._kinds = (
            *(self._personal, self._stranger, self._personal, self._nobody, self._by_method, self._by_method),
            *(self._streamed, self._streamed, self._left_amid_a_stream, self._left_before_the_answer),
            *(self._passed, self._profile, self._feedback, self._feedback_by_id, self._history, self._export),
            *(self._wrong_model, self._no_json, self._no_path, self._no_user),
        )

    async def send(self, first: int, count: int) -> None:
        """Sends so many requests, some of them at once.

        Args:
            first: Number of the first one. Users who come once and what is said once are named after numbers.
            count: How many there are.
        """
        numbers = iter(range(first, first + count))

        async def one_by_one() -> None:
            for number in numbers:
                await self._kinds[number % len(self._kinds)](number)

        await asyncio.gather(*(one_by_one() for _ in range(TOGETHER)))

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    def _user(self, number: int) -> str:
        return self._users[number // len(self._kinds) % len(self._users)]

    def _body(self, number: int, about: str = "thing", **more: Any) -> dict[str, Any]:
        message = {"role": "user", "content": f"Describe {about} number {number}"}
        return {"model": "hydra", "messages": [message], **more}

    async def _post(self, path: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
        reply = await self._client.post(path, json=body)
        assert reply.status_code == status, (path, body, reply.text)
        return reply.json()

    async def _chat(self, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
        return await self._post("/v1/chat/completions", body, status)

    async def _personal(self, number: int) -> None:
        await self._chat(self._body(number, user=self._user(number)))

    async def _stranger(self, number: int) -> None:
        await self._chat(self._body(number, user=f"user-once-{number}"))

    async def _nobody(self, number: int) -> None:
        await self._chat(self._body(number))

    async def _by_method(self, number: int) -> None:
        method = ("rag", "zero-shot")[number % 2]
        await self._chat(self._body(number, user=self._user(number), hydra={"method": method}))

    async def _streamed(self, number: int) -> None:
        body = self._body(number, user=self._user(number), stream=True, hydra={"method": "rag"})
        async with self._client.stream("POST", "/v1/chat/completions", json=body) as reply:
            lines = [line async for line in reply.aiter_lines() if line]
        assert lines[-1] == "data: [DONE]", lines

    async def _left_amid_a_stream(self, number: int) -> None:
        body = self._body(number, ENDLESS, user=self._user(number), stream=True, hydra={"method": "rag"})
        async with self._client.stream("POST", "/v1/chat/completions", json=body) as reply:
            assert reply.status_code == 200
            async for _ in reply.aiter_lines():
                break

    async def _left_before_the_answer(self, number: int) -> None:
        body = self._body(number, user=self._user(number))
        try:
            await self._client.post("/v1/chat/completions", json=body, timeout=_HASTY_S)
        except httpx.TimeoutException:
            return

    async def _passed(self, number: int) -> None:
        body = await self._chat(self._body(number, user=self._user(number), logprobs=True))
        assert body["hydra"]["method"] == "passthrough"

    async def _profile(self, number: int) -> None:
        await self._chat(self._body(number, user=self._user(number), hydra={"method": "pag"}))

    async def _feedback(self, number: int) -> None:
        said = {"id": f"said-{number}", "input": f"Describe number {number}", "candidates": ["Calm.", "Quiet."]}
        await self._post(f"/v1/users/user-once-{number}/feedback", {**said, "accepted": "Calm."})

    async def _feedback_by_id(self, number: int) -> None:
        answer = await self._chat(self._body(number, user=self._user(number)))
        await self._post("/v1/feedback", {"id": answer["id"], "rating": 1})

    async def _history(self, number: int) -> None:
        user = f"user-once-{number}"
        items = [{"id": f"{i}", "input": f"Describe {number} and {i}", "output": f"It is ({user})"} for i in range(5)]
        await self._post(f"/v1/users/{user}/history", {"items": items})
        await self._chat(self._body(number, user=user))
        assert (await self._client.delete(f"/v1/users/{user}/history/3")).json()["deleted"]
        assert (await self._client.delete(f"/v1/users/{user}")).json()["deleted"]

    async def _export(self, number: int) -> None:
        reply = await self._client.get(f"/v1/users/{self._user(number)}/export")
        assert reply.json()["tables"]["history"]

    async def _wrong_model(self, number: int) -> None:
        await self._chat({**self._body(number), "model": f"none-{number}"}, 404)

    async def _no_json(self, number: int) -> None:
        text = json.dumps(self._body(number))[:-1]
        headers = {"Content-Type": "application/json"}
        assert (await self._client.post("/v1/chat/completions", content=text, headers=headers)).status_code == 400

    async def _no_path(self, number: int) -> None:
        assert (await self._client.get(f"/v1/none/{number}")).status_code == 404

    async def _no_user(self, number: int) -> None:
        assert (await self._client.get(f"/v1/users/user-none-{number}")).status_code == 200
