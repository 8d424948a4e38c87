"""Files without some users: their rows and lines go, and what others' rows say of them is blanked."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.atomic import replacing
from hydra_ray.records import UserKey
from hydra_ray.rights.erasure.search import holds, kind_of, tables_of
from hydra_ray.rights.erasure.telltale import Telltale, strings
from hydra_ray.steps.generate.cache import AnswerCache
from hydra_ray.store.shards import drop_from_shard

_KEY = ("tenant", "user")
# Names under which files tell of a user without the tenant.
_NAMES = ("user_id", "user")
# Columns of feedback, run records and evidence that hold what a person wrote.
_WRITTEN = ("query", "item_input", "item_output", "gold", "history", "input")
_FEATURES = {"width", "z", "sizes"}
_LARGE = 1 << 62


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased in one file.

    Attributes:
        path: The file.
        what: Kind of what was erased there, e.g. `rows`.
        count: Number of them.
    """

    path: Path
    what: str
    count: int

    def __str__(self) -> str:
        return f"{self.path}: {self.count} {self.what}"


def texts_in(path: Path) -> Iterator[tuple[UserKey, str]]:
    """Yield the texts that people wrote in a file whose rows belong to users, each with its user.

    Not what an LLM said to them, which may be the same for everybody, and not prompts, which hold one's texts and an
    LLM's together.
    """
    if kind_of(path) != "parquet":
        return
    for batch in _batches(path):
        names = set(batch.schema.names)
        if not set(_KEY) <= names:
            return
        for row in batch.select([name for name in batch.schema.names if name in (*_KEY, *_WRITTEN)]).to_pylist():
            key = UserKey(row.pop("tenant"), row.pop("user"))
            for text in strings(row):
                yield key, text


def erase_in(path: Path, users: Collection[UserKey], telltale: Telltale) -> list[Erased]:
    """Rewrite a file without the users, whole or not at all; a file without them is left as it is."""
    if (kind := kind_of(path)) == "gone":
        return []
    if path.name.endswith(".partial"):
        # A killed writer's: nobody reads it.
        return _without_file(path, "unfinished file") if holds(path, telltale) else []
    if path.suffix == ".safetensors":
        count = drop_from_shard(path, users)
        return [Erased(path, "heads", count)] if count else []
    if kind == "parquet":
        return _in_parquet(path, users, telltale)
    if kind == "sqlite":
        return _in_database(path, users, telltale)
    if path.suffix == ".jsonl":
        return _in_lines(path, lambda line: _json_line(line, users, telltale))
    if path.name == "users.txt":
        ids = {key.user for key in users}
        return _in_lines(path, lambda line: None if line.strip() in ids else line)
    return []


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=256)
    except pa.ArrowException:
        return


def _in_parquet(path: Path, users: Collection[UserKey], telltale: Telltale) -> list[Erased]:
    try:
        schema = pq.read_schema(path)
    except pa.ArrowException:
        return []
    keyed, dropped, blanked = set(_KEY) <= set(schema.names), 0, 0
    batches = list[pa.RecordBatch]()
    for batch in _batches(path):
        rows = batch.to_pylist()
        kept = [row for row in rows if not (keyed and UserKey(row["tenant"], row["user"]) in users)]
        dropped += len(rows) - len(kept)
        holding = [telltale.in_value(row) for row in kept]
        blanked += sum(holding)
        kept = [telltale.blanked(row) if holds_it else row for row, holds_it in zip(kept, holding, strict=True)]
        batches.append(pa.RecordBatch.from_pylist(kept, schema=schema))
    if not dropped and not blanked:
        return []
    if set(schema.names) >= _FEATURES:
        # A fit that goes on would take a shard with less for whole.
        return _without_file(path, "file of features")
    with pq.ParquetFile(path) as file:
        compression = file.metadata.row_group(0).column(0).compression.lower() if file.metadata.num_row_groups else None
    with replacing(path) as partial:
        pq.write_table(pa.Table.from_batches(batches, schema), partial, compression=compression or "snappy")
    found = (("rows", dropped), ("rows of others that told of them", blanked))
    return [Erased(path, what, count) for what, count in found if count]


def _in_lines(path: Path, kept: Callable[[str], str | None]) -> list[Erased]:
    # JSON may hold other signs raw that Python takes for ends of lines.
    lines = re.findall(r"[^\n]*\n|[^\n]+", path.read_bytes().decode("utf-8", "surrogateescape"))
    after = [kept(line) for line in lines]
    if after == lines:
        return []
    with replacing(path) as partial:
        text = "".join(line for line in after if line is not None)
        partial.write_bytes(text.encode("utf-8", "surrogateescape"))
    return [Erased(path, "lines", sum(one != line for one, line in zip(after, lines, strict=True)))]


def _json_line(line: str, users: Collection[UserKey], telltale: Telltale) -> str | None:
    try:
        record = json.loads(line)
    except ValueError:
        return line
    if not isinstance(record, dict):
        return line
    name = next((record[name] for name in _NAMES if isinstance(record.get(name), str)), None)
    tenants = {key.tenant for key in users if key.user == name}
    if tenants and record.get("tenant", next(iter(tenants))) in tenants:
        return None
    return json.dumps(telltale.blanked(record), ensure_ascii=False) + "\n" if telltale.in_value(record) else line


def _in_database(path: Path, users: Collection[UserKey], telltale: Telltale) -> list[Erased]:
    """Removes the users' rows of a database that is no open store: a file of answers, or a copy of a store."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as db:
            tables = tables_of(db)
            if "answer" in tables:
                return _in_answers(path, users, telltale)
            db.execute("PRAGMA secure_delete = ON")
            db.execute("BEGIN IMMEDIATE")
            count = sum(_rows_removed(db, table, users) for table in tables)
            db.execute("COMMIT")
            if count:
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error:
        # Damaged or in use; the search that follows says what it still holds.
        return []
    return [Erased(path, "rows", count)] if count else []


def _rows_removed(db: sqlite3.Connection, table: str, users: Collection[UserKey]) -> int:
    columns = {str(row[1]) for row in db.execute(f'PRAGMA table_info("{table}")')}
    if not set(_KEY) <= columns:
        return 0
    by_peer = f'DELETE FROM "{table}" WHERE tenant = ? AND peer = ?'
    count = 0
    for key in users:
        count += db.execute(f'DELETE FROM "{table}" WHERE tenant = ? AND user = ?', key).rowcount
        if "peer" in columns:
            count += _profiles_removed(db, key)
            count += db.execute(by_peer, key).rowcount
    return count


def _profiles_removed(db: sqlite3.Connection, key: UserKey) -> int:
    made_with = "SELECT user, kind FROM profile_peers WHERE tenant = ? AND peer = ?"
    return sum(
        db.execute("DELETE FROM profiles WHERE tenant = ? AND user = ? AND kind = ?", (key.tenant, *of)).rowcount
        for of in db.execute(made_with, key).fetchall()
    )


def _in_answers(path: Path, users: Collection[UserKey], telltale: Telltale) -> list[Erased]:
    cache = AnswerCache(path, _LARGE)
    try:
        count = cache.forget(tuple(users), telltale.in_value)
    finally:
        cache.close()
    return [Erased(path, "answers of the LLM", count)] if count else []


def _without_file(path: Path, what: str) -> list[Erased]:
    path.unlink()
    return [Erased(path, what, 1)]
