"""Writes each method's answers, one a line, for those who score in ways of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra_ray.atomic import replacing
from hydra_ray.evaluate.runs import RunRecord


def write_predictions(path: Path, records: Sequence[RunRecord]) -> None:
    """Write one line `{id, user_id, method, output}` for each answer, as a whole or not at all.

    Lines also have `task`, `seed` or `train_users` where the records differ in it.
    """
    several = {
        name: len({getattr(record, name) if name != "task" else record.task.name for record in records}) > 1
        for name in ("task", "seed", "train_users")
    }
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        for record in records:
            run = {"task": record.task.name, "seed": record.seed, "train_users": record.train_users}
            more: dict[str, Any] = {name: value for name, value in run.items() if several[name]}
            for row in record.rows:
                line = {
                    "id": row.asked.query.id,
                    "user_id": row.user.user,
                    "method": record.method,
                    "output": row.output,
                }
                file.write(json.dumps({**line, **more}) + "\n")
