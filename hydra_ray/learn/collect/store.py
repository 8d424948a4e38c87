"""What the LLM is asked about one query, what its answers teach, and where that is kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.atomic import replacing, write_text
from hydra_ray.learn.collect.labeler import Told
from hydra_ray.learn.collect.plan import Unit
from hydra_ray.learn.collect.requests import _about
from hydra_ray.records import (
    ADAPTER_FEEDBACK,
    RERANKER_FEEDBACK,
    HydraError,
    UserKey,
)

log = logging.getLogger(__name__)


_UNITS = pa.schema(
    [("tenant", pa.string()), ("user", pa.string()), ("query_id", pa.string()), ("failed_calls", pa.int32())]
)


_SCHEMAS = {"reranker": RERANKER_FEEDBACK, "adapter": ADAPTER_FEEDBACK, "units": _UNITS}


UnitKey = tuple[str, str, str]


class FeedbackStore:
    """A folder of Parquet parts. A part counts once its units file is there, which is written last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep_to(self, asked_with: Mapping[str, Any]) -> None:
        """Says how what is kept here is asked for; the first to say it decides.

        Args:
            asked_with: Settings that the LLM's answers depend on, by path.

        Raises:
            HydraError: What is here was asked for in another way; both would teach as if they were one.
        """
        path = self._folder / "asked_with.json"
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = [
                f"{name} was {before.get(name)!r} and is {value!r}"
                for name, value in asked_with.items()
                if before.get(name) != value
            ]
            if changed:
                raise HydraError(
                    f"{self._folder}: this feedback was collected with other settings ({'; '.join(changed)}): set "
                    "feedback.dir or out to another folder, or remove this one"
                )
            return
        write_text(path, json.dumps(dict(asked_with), indent=1))

    def parts(self) -> list[int]:
        """Numbers of the complete parts."""
        return sorted(int(path.name.split(".")[0]) for path in self._folder.glob("*.units.parquet"))

    def done(self) -> set[UnitKey]:
        """Units whose feedback is kept."""
        rows = self.read("units")
        return {(row["tenant"], row["user"], row["query_id"]) for row in rows}

    def read(self, what: str, users: Iterable[UserKey] | None = None) -> list[dict[str, Any]]:
        """Rows of `reranker`, `adapter` or `units`, of the given users only.

        Rows are ordered by user and query: units are answered in whatever order the LLM takes them, and what
        is learnt must not depend on it.
        """
        tables = [pq.read_table(self._path(part, what), schema=_SCHEMAS[what]) for part in self.parts()]
        rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist() if tables else []
        rows.sort(key=lambda row: (row["tenant"], row["user"], row["query_id"]))
        if users is None:
            return rows
        wanted = set(users)
        return [row for row in rows if (row["tenant"], row["user"]) in wanted]

    def write(self, part: int, told: Sequence[tuple[Unit, Told]]) -> None:
        """Writes the feedback of finished units as one part."""
        rows: dict[str, list[dict[str, Any]]] = {
            "reranker": [row for _, rows in told for row in rows.reranker],
            "adapter": [row for _, rows in told for row in rows.adapter],
            "units": [{**_about(unit), "failed_calls": rows.failed.total()} for unit, rows in told],
        }
        for what in ("reranker", "adapter", "units"):
            with replacing(self._path(part, what)) as partial:
                pq.write_table(pa.Table.from_pylist(rows[what], schema=_SCHEMAS[what]), partial)

    def _path(self, part: int, what: str) -> Path:
        return self._folder / f"{part:05d}.{what}.parquet"


def unit_key(unit: Unit) -> UnitKey:
    """What a unit is known by in the store."""
    return (*unit.query.user, unit.query.id)
