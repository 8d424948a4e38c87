"""Features of users' groups: encoded once, kept as Parquet, a row a user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from hydra_ray.atomic import replacing
from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.models.features import UserFeatures
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import UserKey

# Features in float16: their entries are about 1, and hold more than an encoder in bfloat16 gives.
_SCHEMA = pa.schema(
    [
        ("tenant", pa.string()),
        ("user", pa.string()),
        ("width", pa.int32()),
        ("z", pa.binary()),
        ("sizes", pa.list_(pa.int32())),
        ("scores", pa.list_(pa.float32())),
        ("priors", pa.list_(pa.float32())),
        ("evidence_ids", pa.list_(pa.string())),
    ]
)


def encode_all(
    scorer: Scorer,
    users: Sequence[Sequence[RankingGroup]],
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[UserFeatures]:
    """Return the features of several users; each distinct text is encoded once for all of them.

    Args:
        scorer: Scorer of the groups' role.
        users: Groups of each user, at least one, oldest first.
        advance: Called after each batch with how many texts are encoded, and how many there are.
    """
    texts = [texts for groups in users for group in groups for texts in group.decisions]
    beside = [known for groups in users for group in groups for known in group.beside or ({},) * len(group.decisions)]
    z = scorer.features(texts, beside, advance).half()
    features, start = [], 0
    for groups in users:
        sizes = torch.tensor([len(group.decisions) for group in groups])
        end = start + int(sizes.sum())
        features.append(
            UserFeatures(
                z[start:end],
                sizes,
                torch.tensor([score for group in groups for score in group.scores]),
                torch.tensor([p for group in groups for p in group.priors or (0.0,) * len(group.decisions)]),
                tuple(group.key.observation_id for group in groups),
            )
        )
        start = end
    return features


def write_features(path: Path, users: Iterable[tuple[UserKey, UserFeatures]]) -> None:
    """Writes users' features; a reader sees the whole file or none."""
    rows = [
        {
            **key._asdict(),
            "width": one.z.shape[1],
            "z": one.z.half().numpy().tobytes(),
            "sizes": one.sizes.tolist(),
            "scores": one.scores.tolist(),
            "priors": one.priors.tolist(),
            "evidence_ids": list(one.observation_ids),
        }
        for key, one in users
    ]
    with replacing(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), partial, row_group_size=64)


def read_features(path: Path) -> Iterator[tuple[UserKey, UserFeatures]]:
    """Users with their features, in the file's order, 64 users in memory at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=64):
            for row in batch.to_pylist():
                z = np.frombuffer(row["z"], np.float16).reshape(-1, row["width"])
                yield (
                    UserKey(row["tenant"], row["user"]),
                    UserFeatures(
                        torch.from_numpy(z.copy()),
                        torch.tensor(row["sizes"]),
                        torch.tensor(row["scores"]),
                        torch.tensor(row["priors"]),
                        _observation_ids(UserKey(row["tenant"], row["user"]), row),
                    ),
                )


def _observation_ids(user: UserKey, row: Mapping[str, Any]) -> tuple[str, ...]:
    if "evidence_ids" in row:
        return tuple(row["evidence_ids"])
    # A fit that was killed may have left a file of before, with the ids of queries instead.
    return tuple(ExampleKey.of_bare_id(user, query).observation_id for query in row["queries"])
