"""Answers already paid for, kept on disk under what was asked."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

from hydra_ray.records import ChatRequest, Generation, Usage
from hydra_ray.steps.generate.base import Generator


class CachedGenerator:
    """Asks each distinct request once, also of those made at the same time; failures are not kept.

    Args:
        generator: Asked for what is not known yet.
        path: SQLite file, created when absent; ":memory:" keeps answers for this process only.
        identity: What else the answers depend on: model, endpoint, arithmetic.
    """

    def __init__(self, generator: Generator, path: Path | str, identity: str) -> None:
        self._generator = generator
        self._identity = identity
        self._under_way: dict[str, asyncio.Future[Generation]] = {}
        if path != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS answers (ask TEXT PRIMARY KEY, reply TEXT NOT NULL)")

    async def __call__(self, request: ChatRequest) -> Generation:
        ask = sha256(json.dumps([self._identity, asdict(request)], sort_keys=True).encode()).hexdigest()
        row = self._db.execute("SELECT reply FROM answers WHERE ask = ?", (ask,)).fetchone()
        if row:
            reply = json.loads(row[0])
            return Generation(tuple(reply["texts"]), Usage(0, reply["prompt"], reply["completion"], cached=1))
        if ask in self._under_way:
            answer = await asyncio.shield(self._under_way[ask])
            return replace(answer, usage=replace(answer.usage, calls=0, cached=1))
        self._under_way[ask] = asyncio.ensure_future(self._generator(request))
        try:
            answer = await self._under_way[ask]
        finally:
            del self._under_way[ask]
        kept = {
            "texts": answer.texts,
            "prompt": answer.usage.prompt_tokens,
            "completion": answer.usage.completion_tokens,
        }
        self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (ask, json.dumps(kept)))
        return answer

    async def close(self) -> None:
        """Closes the file and the generator behind it."""
        self._db.close()
        await self._generator.close()
