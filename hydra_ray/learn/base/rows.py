"""Training groups as plain rows, as workers get them: which are trained on, and which are held back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.records import UserKey
from hydra_ray.steps.seeds import stable_seed

_VALID_SHARE = 0.08

GROUP_SCHEMA = pa.schema(
    [
        ("user", pa.int32()),
        ("judged", pa.list_(pa.string())),
        ("by", pa.list_(pa.string())),
        ("and_by", pa.list_(pa.list_(pa.string()))),
        ("scores", pa.list_(pa.float32())),
        ("priors", pa.list_(pa.float32())),
    ]
)


def group_rows(groups: Sequence[RankingGroup], users: Sequence[UserKey]) -> list[dict[str, Any]]:
    """Groups as rows of `GROUP_SCHEMA`; users become their place in `users`."""
    place = {key: row for row, key in enumerate(users)}
    return [
        {
            "user": place[group.user],
            "judged": [candidate for candidate, _, _ in group.decisions],
            "by": [by for _, by, _ in group.decisions],
            "and_by": [list(context) for _, _, context in group.decisions],
            "scores": list(group.scores),
            "priors": list(group.priors or (0.0,) * len(group.scores)),
        }
        for group in groups
    ]


def hold_back(rows: list[dict[str, Any]], seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows that are trained on, shuffled, and those that are held back to judge by."""
    order = sorted(range(len(rows)), key=lambda i: stable_seed(seed, i))
    held = set(order[: int(_VALID_SHARE * len(rows))])
    # Shuffled here, once for all: a worker shuffles only within its buffer.
    train = [rows[i] for i in reversed(order) if i not in held]
    return train, [rows[i] for i in order if i in held]
