"""A file of one record, read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from defaults import read_records, split_of

from hydra_ray.data.dataset import Dataset
from hydra_ray.records import HistoryItem
from hydra_ray.tasks import TEXT_TASK

EVERYBODY = split_of("train", queries_per_user=1, dev_share=1e-9, seed=0)
GOOD = {"user_id": "u", "input": "hi", "output": "ho", "ts": "2026"}


def read(path: Path) -> Dataset:
    return read_records(path, TEXT_TASK, EVERYBODY)


def line(folder: Path, text: str) -> Path:
    path = folder / "r.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


def parquet(folder: Path, **columns: Any) -> Path:
    arrays = {name: pa.array([value]) for name, value in GOOD.items()} | columns
    pq.write_table(pa.table(arrays), folder / "r.parquet")
    return folder / "r.parquet"


def only(data: Dataset) -> tuple[str, HistoryItem]:
    (user,) = data.users
    return user.key.user, user.history[0]
