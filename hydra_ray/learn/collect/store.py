"""The folder that keeps feedback."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.atomic import replacing, write_text
from hydra_ray.learn.collect.example_plan import Digests, id_digest
from hydra_ray.learn.collect.labeler import CollectedFeedback
from hydra_ray.learn.collect.rows import AdapterRow, ExampleId, ExampleKey, ExampleRow, RerankerRow
from hydra_ray.records import HydraError, UserKey
from hydra_ray.settings.files.renamed import RENAMED

# Setting that says whether the LLM is asked about single items, too.
RERANK = "method.rerank"
_SETTINGS = "asked_with.json"
_Row = TypeVar("_Row", RerankerRow, AdapterRow, ExampleRow)


class FeedbackStore:
    """A folder of Parquet parts. A part counts once its file of finished examples is there, which is written last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep_to(self, collection_settings: Mapping[str, Any]) -> None:
        """Binds the folder to the settings that its feedback is collected with; the first call decides them.

        Args:
            collection_settings: Settings that the LLM's answers depend on, by path.

        Raises:
            HydraError: The feedback here was collected with other settings; both would teach as if they were one.
        """
        before = self._collected_with()
        if before is not None:
            changed = [
                f"{name} was {before.get(name)!r} and is {value!r}"
                for name, value in collection_settings.items()
                # What was asked for a reranker, too, serves without one.
                if before.get(name) != value and not (name == RERANK and before[RERANK])
            ]
            if changed:
                raise HydraError(
                    f"{self._folder}: this feedback was collected with other settings ({'; '.join(changed)}): set "
                    "feedback.dir or out to another folder, or remove this one"
                )
            return
        self._write_settings(collection_settings)

    def note_added(self, collection_settings: Mapping[str, Any]) -> None:
        """Notes that feedback is added: once some of it is without a reranker, no more than that is whole."""
        before = self._collected_with()
        if before is not None and before[RERANK] and not collection_settings.get(RERANK, True):
            self._write_settings({**before, RERANK: False})

    def _collected_with(self) -> dict[str, Any] | None:
        path = self._folder / _SETTINGS
        if not path.exists():
            return None
        before = json.loads(path.read_text(encoding="utf-8"))
        # All feedback was for a reranker, too, before one could do without.
        return {RERANK: True, **{RENAMED.get(name, name): value for name, value in before.items()}}

    def _write_settings(self, collection_settings: Mapping[str, Any]) -> None:
        write_text(self._folder / _SETTINGS, json.dumps(dict(collection_settings), indent=1))

    def parts(self) -> list[int]:
        """Numbers of the complete parts."""
        return sorted(int(path.name.split(".")[0]) for path in self._folder.glob("*.units.parquet"))

    def done_digests(self) -> Digests:
        """Return digests of the ids of the examples whose feedback is kept, in order."""
        found = [np.array([], "S16")]
        for part in self.parts():
            columns = pq.read_table(self._path(part, ExampleRow), schema=ExampleRow.SCHEMA).to_pylist()
            found.append(np.array([id_digest(ExampleRow.from_columns(row).example_id) for row in columns], "S16"))
        return np.unique(np.concatenate(found))

    def rows(self, kind: type[_Row]) -> Iterator[_Row]:
        """Yield all rows of a kind, part by part, in the order in which they were answered."""
        for part in self.parts():
            for columns in pq.read_table(self._path(part, kind), schema=kind.SCHEMA).to_pylist():
                yield kind.from_columns(columns)

    def done(self) -> set[ExampleId]:
        """Return the ids of the examples whose feedback is kept."""
        return {row.example_id for row in self.read(ExampleRow)}

    def read(self, kind: type[_Row], users: Iterable[UserKey] | None = None) -> list[_Row]:
        """Return the rows of a kind, of the given users only; None is all users.

        Rows are ordered by user and query: examples are answered in whatever order the LLM takes them, and what
        is learnt must not depend on it.
        """
        rows = list(self.rows(kind))
        rows.sort(key=lambda row: row.example_id)
        if users is None:
            return rows
        wanted = set(users)
        return [row for row in rows if row.example_id[:2] in wanted]

    def write(self, part: int, feedback: Sequence[tuple[ExampleKey, CollectedFeedback]]) -> None:
        """Writes the feedback of finished examples as one part."""
        self._write(part, RerankerRow, [row for _, one in feedback for row in one.reranker])
        self._write(part, AdapterRow, [row for _, one in feedback for row in one.adapter])
        self._write(part, ExampleRow, [ExampleRow(*key.example_id, one.failed.total()) for key, one in feedback])

    def _write(self, part: int, kind: type[_Row], rows: Sequence[_Row]) -> None:
        columns = [row.to_columns() for row in rows]
        # What came later is in the file only where there is any of it.
        there = {name for one in columns for name in one}
        schema = pa.schema([column for column in kind.SCHEMA if column.name not in kind.SINCE or column.name in there])
        table = pa.Table.from_pylist(columns, schema=schema)
        with replacing(self._path(part, kind)) as partial:
            pq.write_table(table, partial)

    def _path(self, part: int, kind: type[_Row]) -> Path:
        return self._folder / f"{part:05d}.{kind.NAME}.parquet"
