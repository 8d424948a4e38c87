"""Answers already paid for, kept on disk under what was asked."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hydra_ray.records import ChatRequest, Generation, Piece, Usage, UserKey
from hydra_ray.steps.generate.base import Generator, stream_of, whole
from hydra_ray.steps.generate.passing import Body, passed_of

log = logging.getLogger(__name__)

# A use is noted at most this often, so that hits seldom write.
_NOTE_USE_S = 3600
# Answers between two looks at the file's size.
_LOOK_EVERY = 64

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS answer (ask TEXT PRIMARY KEY, reply TEXT NOT NULL, used REAL NOT NULL)",
    # Whose texts were asked about; answers of before it was kept have no row.
    "CREATE TABLE IF NOT EXISTS asked_for (tenant TEXT, user TEXT, ask TEXT, PRIMARY KEY (tenant, user, ask))"
    " WITHOUT ROWID",
)


def tenant_file(folder: Path, tenant: str) -> Path:
    """Return the file of one tenant's answers: another tenant's are never looked at."""
    return folder / f"{quote(tenant, safe='')}.sqlite"


def ask_key(identity: str, request: ChatRequest) -> str:
    """Return the key that an answer is kept under. A greedy answer does not depend on the seed."""
    asked = asdict(request if request.temperature > 0 else replace(request, seed=0))
    del asked["users"], asked["traceparent"]
    # Answers that were kept before there were such parameters stay good.
    if sampling := request.sampling.parameters():
        asked["sampling"] = sampling
    else:
        del asked["sampling"]
    if not request.schema:
        del asked["schema"]
    return sha256(json.dumps([identity, asked], sort_keys=True).encode()).hexdigest()


class AnswerCache:
    """A file of answers with a size bound; several processes of one machine may share it.

    An answer is on disk when `put` returns: a killed process loses nothing that was paid for.

    Args:
        path: SQLite file, created when absent; ":memory:" keeps answers for this process only.
        max_bytes: Size of the file at which the answers used longest ago are dropped.
    """

    def __init__(self, path: Path | str, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._puts = 0
        if path != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60)
        self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        self._db.execute("PRAGMA journal_mode=WAL")
        # Enough against a killed process; only a crash of the machine may lose the last answers.
        self._db.execute("PRAGMA synchronous=NORMAL")
        # What is removed is overwritten.
        self._db.execute("PRAGMA secure_delete=ON")
        for table in _SCHEMA:
            self._db.execute(table)

    def __contains__(self, ask: str) -> bool:
        return self._db.execute("SELECT 1 FROM answer WHERE ask = ?", (ask,)).fetchone() is not None

    def get(self, ask: str, whose: Iterable[UserKey] = ()) -> Generation | None:
        """Return the answer, its usage counted as cached; it is noted for whose texts it was asked."""
        row = self._db.execute("SELECT reply, used FROM answer WHERE ask = ?", (ask,)).fetchone()
        if row is None:
            return None
        if time.time() - row[1] > _NOTE_USE_S:
            self._db.execute("UPDATE answer SET used = ? WHERE ask = ?", (time.time(), ask))
        self._note(ask, whose)
        reply = json.loads(row[0])
        usage = Usage(0, reply["prompt"], reply["completion"], reply.get("calls", 1), *reply.get("of_these", (0, 0)))
        more = (tuple(reply.get(name, ())) for name in ("finishes", "ignored"))
        return Generation(tuple(reply["texts"]), usage, *more)

    def put(self, ask: str, answer: Generation, whose: Iterable[UserKey] = ()) -> None:
        """Keeps an answer, and for whose texts it was asked."""
        usage = answer.usage
        reply: dict[str, Any] = {
            "texts": answer.texts,
            "prompt": usage.prompt_tokens,
            "completion": usage.completion_tokens,
        }
        # Samples that were asked for one by one took several; some of them may have been known.
        if (calls := usage.calls + usage.cached) > 1:
            reply["calls"] = calls
        if usage.cached_tokens or usage.reasoning_tokens:
            reply["of_these"] = usage.cached_tokens, usage.reasoning_tokens
        reply |= {name: value for name in ("finishes", "ignored") if (value := getattr(answer, name))}
        self._db.execute("INSERT OR REPLACE INTO answer VALUES (?, ?, ?)", (ask, json.dumps(reply), time.time()))
        self._note(ask, whose)
        self._puts += 1
        if self._puts % _LOOK_EVERY == 0:
            self._keep_within_bound()

    def forget(self, users: Sequence[UserKey], is_theirs: Callable[[str], bool]) -> int:
        """Removes the answers that were asked for users' texts, and those that say them; gives their number.

        Args:
            users: Users who are forgotten.
            is_theirs: Tells of a text whether it says what only these users said. Answers that were kept before it was
                noted whom they are about are known by that alone.
        """
        about = "SELECT ask FROM asked_for WHERE tenant = ? AND user = ?"
        doomed = {ask for key in users for (ask,) in self._db.execute(about, key)}
        for ask, reply in self._db.execute("SELECT ask, reply FROM answer"):
            if ask not in doomed and any(map(is_theirs, json.loads(reply)["texts"])):
                doomed.add(ask)
        self._db.execute("BEGIN IMMEDIATE")
        count = sum(self._db.execute("DELETE FROM answer WHERE ask = ?", (ask,)).rowcount for ask in doomed)
        self._db.executemany("DELETE FROM asked_for WHERE ask = ?", [(ask,) for ask in doomed])
        self._db.executemany("DELETE FROM asked_for WHERE tenant = ? AND user = ?", users)
        self._db.execute("COMMIT")
        self._db.execute("VACUUM")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return count

    def size(self) -> int:
        """Bytes in use."""
        pages, free, size = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def _note(self, ask: str, whose: Iterable[UserKey]) -> None:
        for key in whose:
            # Looked up first, so that hits seldom write.
            known = self._db.execute("SELECT 1 FROM asked_for WHERE tenant = ? AND user = ? AND ask = ?", (*key, ask))
            if known.fetchone() is None:
                self._db.execute("INSERT OR IGNORE INTO asked_for VALUES (?, ?, ?)", (*key, ask))

    def _keep_within_bound(self) -> None:
        while self.size() > self._max_bytes:
            oldest = "SELECT ask FROM answer ORDER BY used LIMIT max(1, (SELECT count(*) / 10 FROM answer))"
            dropped = self._db.execute(f"DELETE FROM answer WHERE ask IN ({oldest})").rowcount
            if dropped == 0:
                return
            self._db.execute("DELETE FROM asked_for WHERE ask NOT IN (SELECT ask FROM answer)")
            log.info("%d answers were dropped from the cache, which is full (generator.cache_max_mb)", dropped)
        self._db.execute("PRAGMA incremental_vacuum").fetchall()


class CachedGenerator:
    """Asks each distinct request once, also of those made at the same time; failures are not kept.

    Args:
        generator: LLM that is asked for what is not known yet.
        cache: Known answers.
        identity: Name of what else the answers depend on: model, endpoint, arithmetic.
    """

    def __init__(self, generator: Generator, cache: AnswerCache, identity: str) -> None:
        self._generator = generator
        self._cache = cache
        self._identity = identity
        self._under_way: dict[str, asyncio.Future[Generation]] = {}

    async def __call__(self, request: ChatRequest) -> Generation:
        ask = ask_key(self._identity, request)
        known = self._cache.get(ask, request.users)
        if known is not None:
            return known
        if ask in self._under_way:
            answer = await asyncio.shield(self._under_way[ask])
            self._cache.get(ask, request.users)
            return replace(
                answer, usage=replace(answer.usage, calls=0, cached=answer.usage.calls + answer.usage.cached)
            )
        asking = asyncio.ensure_future(self._ask(ask, request))
        self._under_way[ask] = asking
        # A caller who gives up must not cost others the answer, nor the cache one that is paid for.
        return await asyncio.shield(asking)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Piece]:
        """Yields an answer as the LLM says it, at once where it is known; one that is broken off is not kept."""
        ask = ask_key(self._identity, request)
        if known := self._cache.get(ask, request.users):
            for piece in whole(known):
                yield piece
            return
        said: list[str] = []
        async with aclosing(stream_of(self._generator, request)) as pieces:
            async for piece in pieces:
                said.append(piece.text)
                if piece.usage is not None:
                    answer = Generation(("".join(said),), piece.usage, (piece.finish,), piece.ignored)
                    self._cache.put(ask, answer, request.users)
                yield piece

    def passed(self, body: Body) -> AsyncGenerator[Body]:
        """Yields the LLM's reply to what somebody else asks; such replies are not kept."""
        return passed_of(self._generator, body)

    async def _ask(self, ask: str, request: ChatRequest) -> Generation:
        try:
            answer = await self._generator(request)
            self._cache.put(ask, answer, request.users)
            return answer
        finally:
            del self._under_way[ask]

    async def close(self) -> None:
        """Closes the file and the generator behind it, and gives up what nobody waits for any more."""
        left = list(self._under_way.values())
        for asking in left:
            asking.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._cache.close()
        await self._generator.close()
