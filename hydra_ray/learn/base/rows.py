"""Training groups as plain rows, as workers get them: which are trained on, and which are held back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.models.beside import beside_numbers, names_beside
from hydra_ray.records import UserKey
from hydra_ray.settings import BaseSettings
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
        ("beside", pa.list_(pa.list_(pa.float32()))),
    ]
)


def read_beside(groups: Iterable[RankingGroup], base: BaseSettings) -> tuple[str, ...]:
    """Return the names of the numbers beside texts that a base reads: all that are known of any of its groups."""
    return names_beside(group.beside for group in groups) if base.read_sources else ()


def group_rows(
    groups: Sequence[RankingGroup], users: Sequence[UserKey], beside: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return groups as rows of `GROUP_SCHEMA`.

    Args:
        groups: The groups.
        users: Users, whose place here stands in the rows.
        beside: Names of the numbers beside texts that are read, in their order in the rows.
    """
    place = {key: row for row, key in enumerate(users)}
    return [
        {
            "user": place[group.user],
            "judged": [candidate for candidate, _, _ in group.decisions],
            "by": [by for _, by, _ in group.decisions],
            "and_by": [list(context) for _, _, context in group.decisions],
            "scores": list(group.scores),
            "priors": list(group.priors or (0.0,) * len(group.scores)),
            **_beside(group, beside),
        }
        for group in groups
    ]


def _beside(group: RankingGroup, names: Sequence[str]) -> dict[str, list[list[float]]]:
    # Without any the row is what it was, and a training that was begun with it goes on.
    return {"beside": beside_numbers(group.beside or ({},) * len(group.scores), names)} if names else {}


def hold_back(rows: list[dict[str, Any]], seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows that are trained on, shuffled, and those that are held back to judge by."""
    order = sorted(range(len(rows)), key=lambda i: stable_seed(seed, i))
    held = set(order[: int(_VALID_SHARE * len(rows))])
    # Shuffled here, once for all: a worker shuffles only within its buffer.
    train = [rows[i] for i in reversed(order) if i not in held]
    return train, [rows[i] for i in order if i in held]
