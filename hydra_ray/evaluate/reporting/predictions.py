"""What each method answered, a line each, for those who score in ways of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra_ray.atomic import replacing
from hydra_ray.evaluate.runs import Dump


def write_predictions(path: Path, dumps: Sequence[Dump]) -> None:
    """Writes `{id, user_id, method, output}` a line, as a whole or not at all.

    Of several tasks, training seeds or numbers of training users, lines also have `task`, `seed` and `train_users`.
    """
    several = {
        name: len({getattr(dump, name) if name != "task" else dump.task.name for dump in dumps}) > 1
        for name in ("task", "seed", "train_users")
    }
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        for dump in dumps:
            run = {"task": dump.task.name, "seed": dump.seed, "train_users": dump.train_users}
            more: dict[str, Any] = {name: value for name, value in run.items() if several[name]}
            for row in dump.rows:
                line = {"id": row.asked.query.id, "user_id": row.user.user, "method": dump.method, "output": row.output}
                file.write(json.dumps({**line, **more}) + "\n")
