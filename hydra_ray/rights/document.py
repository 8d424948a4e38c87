"""All that is known of one user as a document: JSON, or one Parquet file with a row for each row of the store."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.records import HydraError, UserKey
from hydra_ray.store.protocol import Store
from hydra_ray.store.rights.protocol import Row

SCHEMA = "hydra-ray/user/v1"
# Rows that name other users: whose texts were read for a profile.
OTHERS = "profile_peers"
_ABOUT = b"hydra-ray"
_ROWS = pa.schema([("table", pa.string()), ("row", pa.string())])
_BYTES = "base64"


def export_user(store: Store, key: UserKey, *, others: bool) -> dict[str, Any]:
    """Return all that the store knows of exactly this user, as plain JSON values.

    Bytes (heads as safetensors, observations) stand as `{"base64": "..."}`.

    Args:
        store: Store of users.
        key: The user.
        others: Whether other users are named whose texts were read for this one's profiles. Without them the document
            may be handed to the user, and an import leaves out these profiles: with an unknown peer they could not be
            removed when that peer is.
    """
    tables = store.records.rows(key)
    left_out = {} if others else {OTHERS: len(tables.pop(OTHERS, ()))}
    return {
        "object": "user.export",
        "schema": SCHEMA,
        **key._asdict(),
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tables": {name: [_plain(row) for row in rows] for name, rows in tables.items()},
        "left_out": {name: count for name, count in left_out.items() if count},
    }


def import_user(store: Store, document: Mapping[str, Any]) -> tuple[UserKey, dict[str, int]]:
    """Put an exported user into a store that knows nothing of them; return who it is, and the rows written by table.

    Raises:
        HydraError: It is no such document, or the user is known already.
    """
    if document.get("schema") != SCHEMA:
        raise HydraError(f"schema {document.get('schema')!r}: this version reads {SCHEMA!r}")
    try:
        key = UserKey(str(document["tenant"]), str(document["user"]))
        tables = {str(name): [_values(row) for row in rows] for name, rows in document["tables"].items()}
        left_out = document["left_out"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HydraError(f"damaged: {error!r}") from None
    if left_out:
        tables["profiles"] = []
    # Replicas make them anew: they share them between all users of the same text, so a document is not trusted.
    tables["item_encodings"] = []
    return key, store.records.put_rows(key, tables)


def to_parquet(document: Mapping[str, Any]) -> bytes:
    """Return a document as a Parquet file: columns `table` and `row` (its values as JSON); the rest is metadata."""
    rows = [{"table": name, "row": json.dumps(row)} for name, of in document["tables"].items() for row in of]
    about = {name: value for name, value in document.items() if name != "tables"}
    about["empty"] = [name for name, of in document["tables"].items() if not of]
    table = pa.Table.from_pylist(rows, schema=_ROWS).replace_schema_metadata({_ABOUT: json.dumps(about)})
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def read_document(content: bytes, name: str) -> dict[str, Any]:
    """Read a document in either form.

    Args:
        content: Bytes of the file.
        name: Name of the file, for messages.

    Raises:
        HydraError: It is neither.
    """
    try:
        if content[:4] != b"PAR1":
            document = json.loads(content)
            if not isinstance(document, dict):
                raise ValueError("it is no JSON object")
            return document
        table = pq.read_table(io.BytesIO(content))
        about = json.loads((table.schema.metadata or {}).get(_ABOUT, b"{}"))
        tables: dict[str, list[Any]] = {one: [] for one in about.pop("empty", ())}
        for row in table.to_pylist():
            tables.setdefault(row["table"], []).append(json.loads(row["row"]))
        return {**about, "tables": tables}
    except (ValueError, KeyError, pa.ArrowException) as error:
        raise HydraError(f"{name}: not what `hydra-ray users export` writes: {error}") from None


def _plain(row: Row) -> dict[str, Any]:
    return {
        name: {_BYTES: base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in row.items()
    }


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: base64.b64decode(value[_BYTES]) if isinstance(value, dict) and value.keys() == {_BYTES} else value
        for name, value in row.items()
    }


def summary(counts: Mapping[str, int]) -> str:
    """Return counts by table in words, without those that are 0."""
    return ", ".join(f"{count} of {name}" for name, count in counts.items() if count) or "nothing"
