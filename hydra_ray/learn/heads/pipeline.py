"""The Ray Data pipeline of a fit: groups, features, heads, a shard of users at a time."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import ray
import ray.data

from hydra_ray.fingerprint import records_fingerprint
from hydra_ray.learn.examples.features import encode_all, read_features, write_features
from hydra_ray.learn.examples.training_data import TrainingData
from hydra_ray.learn.heads.fitter import FittedHead, FitUsers
from hydra_ray.learn.heads.item_encodings import ReadTexts, encode_texts
from hydra_ray.learn.heads.progress import EncodeProgress
from hydra_ray.models.encodings import KeptEncodings
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import UserKey
from hydra_ray.runtime.cluster import cores_of_a_node
from hydra_ray.runtime.models import fetch_if_missing
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.settings import Settings
from hydra_ray.store.user_rows.encodings import ItemEncoding

# Told the base's folder and the role.
MakeFit = Callable[[Path, str], FitUsers]
# A batch in, a batch out.
Stage = Callable[[dict[str, Any]], dict[str, Any]]
# So few shards go through one process: to start one takes seconds, which is more than a second one would save them.
_FEW_SHARDS = 4
# What is read of items is read of queries and answers as well: 100,000 encodings of width 384.
_ENCODING_BYTES = 200_000_000


class FittedShard(NamedTuple):
    """What came of a shard.

    Attributes:
        shard: The shard.
        heads: Heads of its users.
        encoder: Fingerprint of the encoder; empty where nothing is kept.
        encoded: New encodings of what the role reads of the users' items, by user.
    """

    shard: Shard
    heads: list[FittedHead]
    encoder: str
    encoded: Mapping[UserKey, Sequence[ItemEncoding]]


@dataclass(frozen=True, slots=True)
class ItemsToKeep:
    """Whose items are encoded beside what heads are fitted from.

    Attributes:
        allowed_answers: Size of the largest answer set all of which competes.
        kept: Digests of the texts that are kept already, by user.
    """

    allowed_answers: int
    kept: Mapping[UserKey, Collection[bytes]]


@dataclass(frozen=True, slots=True)
class Shard:
    """Users whose features are one file.

    Attributes:
        role: Role whose heads are fitted.
        users: Users, each with the fingerprint of what they teach.
    """

    role: str
    users: tuple[tuple[UserKey, str], ...]

    @property
    def name(self) -> str:
        """Name of the shard's file: the same for the same users teaching the same."""
        return records_fingerprint([(self.role, self.users)], size=8)


def make_shards(role: str, fingerprints: dict[UserKey, str], users_per_shard: int) -> list[Shard]:
    """Return shards of users in the order of their keys."""
    users = sorted(fingerprints.items())
    return [Shard(role, tuple(users[at : at + users_per_shard])) for at in range(0, len(users), users_per_shard)]


class GroupStage:
    """Makes the groups of a shard's users: retrieval and texts.

    Args:
        training_data: Reference to the training data of the shards' users.
        shards: The plan; batches hold places in it.
        features: Folder of features; nothing is made again for a shard that has its file.
        items: Reference to `ItemsToKeep`; None keeps no encodings.
    """

    def __init__(
        self, training_data: ray.ObjectRef, shards: Sequence[Shard], features: Path, items: ray.ObjectRef | None
    ) -> None:
        use_given_cpus()
        self._training_data: TrainingData = ray.get(training_data)
        self._users = {user.key: user for user in self._training_data.dataset.users}
        self._shards, self._features = shards, features
        self._items: ItemsToKeep | None = None if items is None else ray.get(items)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """`shard` (places in the plan) in; the same with its users' `groups` and the texts of their `items` out."""
        shards = [self._shards[int(place)] for place in batch["shard"]]
        # Between two processes of one job, as all that Ray moves.
        return {
            "shard": [int(place) for place in batch["shard"]],
            "groups": [pickle.dumps(self._groups(shard)) for shard in shards],
            "items": [pickle.dumps(self._texts(shard)) for shard in shards],
        }

    def _texts(self, shard: Shard) -> list[Any]:
        """Texts of each user's items, with the digests of those that are kept."""
        if self._items is None:
            return []
        read = ReadTexts(shard.role, self._training_data.task, self._items.allowed_answers)
        kept = self._items.kept
        return [(key, read(self._users[key].history), kept.get(key, ())) for key, _ in shard.users]

    def _groups(self, shard: Shard) -> list[Any] | None:
        if features_file(self._features, shard).exists():
            return None
        groups = [(key, self._training_data.groups(shard.role, self._users[key])) for key, _ in shard.users]
        # Who teaches nothing gets no head, and so the shared answer.
        return [(key, own) for key, own in groups if own]


@dataclass(frozen=True, slots=True)
class Encoding:
    """Where and in which precision shards are encoded.

    Attributes:
        base: Folder of the base; on a cluster one that every node sees, unless the registry is elsewhere.
        registry: URL of the registry, and the folder of each node for versions of one elsewhere.
        features: Folder of features; on a cluster one that every node sees.
        precision: Precision that the base's encoders run in, which `Scorer.load` takes.
        encoders: Most processes that encode at once.
        progress: Handle of an `EncodeProgress` actor.
    """

    base: Path
    registry: tuple[str, Path]
    features: Path
    precision: str
    encoders: int
    progress: Any


class EncodeStage:
    """Encodes each text of a shard once and leaves its features as a file.

    Args:
        how: Folders of base and features, and the precision to encode in.
        shards: The plan.
    """

    def __init__(self, how: Encoding, shards: Sequence[Shard]) -> None:
        use_given_cpus()
        fetch_if_missing(how.base, *how.registry)
        self._scorers = {role: Scorer.load(how.base / role, how.precision) for role in {one.role for one in shards}}
        self._shards, self._features, self._progress = shards, how.features, how.progress
        kept = KeptEncodings(_ENCODING_BYTES)
        for scorer in self._scorers.values():
            scorer.encoder.remember(kept)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """`shard`, `groups` and `items` in; `shard` with what was `encoded` of the items out, its file written."""
        places = [int(place) for place in batch["shard"]]
        self._write_features(places, batch["groups"])
        encoded = [
            pickle.dumps(self._encoded(self._shards[place].role, pickle.loads(items)))
            for place, items in zip(places, batch["items"], strict=True)
        ]
        return {"shard": places, "encoded": encoded}

    def _encoded(self, role: str, items: Sequence[Any]) -> tuple[str, dict[UserKey, list[ItemEncoding]]]:
        encoder = self._scorers[role].encoder
        made = {key: encode_texts(encoder, texts, kept) for key, texts, kept in items}
        return encoder.fingerprint if items else "", {key: own for key, own in made.items() if own}

    def _write_features(self, places: Sequence[int], batch: Sequence[bytes]) -> None:
        for place, pickled in zip(places, batch, strict=True):
            shard, groups = self._shards[place], pickle.loads(pickled)
            if groups is not None:
                data = partial(self._tell, place)
                features = encode_all(self._scorers[shard.role], [own for _, own in groups], data)
                keys = [key for key, _ in groups]
                write_features(features_file(self._features, shard), zip(keys, features, strict=True))
            self._tell(place, 1, 1)

    def _tell(self, place: int, done: int, total: int) -> None:
        self._progress.encoded.remote(place, done / total)


class FitStage:
    """Fits the heads of a shard from its features.

    Args:
        fit: Makes the fitter of a role.
        base: Folder of the base.
        shards: The plan.
        features: Folder of features.
    """

    def __init__(self, fit: MakeFit, base: Path, shards: Sequence[Shard], features: Path) -> None:
        use_given_cpus()
        self._fit = {role: fit(base, role) for role in {shard.role for shard in shards}}
        self._shards, self._features = shards, features

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """`shard` and what was `encoded` in; the same with its users' `heads` out."""
        places = [int(place) for place in batch["shard"]]
        heads = [pickle.dumps(self._heads(self._shards[place])) for place in places]
        return {"shard": places, "encoded": list(batch["encoded"]), "heads": heads}

    def _heads(self, shard: Shard) -> list[FittedHead]:
        return list(self._fit[shard.role](read_features(features_file(self._features, shard))))


def features_file(folder: Path, shard: Shard) -> Path:
    """Return the path of a shard's features."""
    return folder / shard.role / f"{shard.name}.parquet"


def encoding(settings: Settings, base: Path, features: Path) -> Encoding:
    """Make the encoding of shards from settings. Wants a running Ray cluster."""
    progress = ray.remote(num_cpus=0)(EncodeProgress).remote()
    registry = settings.registry_url, settings.registry_cache
    return Encoding(base, registry, features, settings.base.encoder.precision, settings.fit.encoders, progress)


class StagesInTurn:
    """Runs stages one after the other in one process.

    Args:
        stages: Classes of the stages in their order, each with its arguments.
    """

    def __init__(self, *stages: tuple[Callable[..., Stage], tuple[Any, ...]]) -> None:
        self._stages = [make(*arguments) for make, arguments in stages]

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """What the first stage takes in; what the last one gives out."""
        for stage in self._stages:
            batch = stage(batch)
        return batch


def encode_shards(shards: Sequence[Shard], data: TrainingData, how: Encoding) -> ray.data.Dataset:
    """Leaves the features of shards as files; rows hold the places of those that are finished.

    A shard whose file is there already is not encoded again. Wants a running Ray cluster.

    Args:
        shards: Shards, at least one.
        data: Training data of the shards' users.
        how: Folders of base and features, and the precision to encode in.
    """
    return _run(shards, _encoding_stages(shards, data, how, None))


def fit_shards(
    shards: Sequence[Shard], data: TrainingData, how: Encoding, fit: MakeFit, items: ItemsToKeep | None
) -> Generator[FittedShard, None, None]:
    """Shards with their heads, as they are finished; a lost worker costs its shard a retry.

    Arguments as `encode_shards` and `FitStage`; `items` says what is encoded besides, None is nothing.
    """
    if not shards:
        return
    fitters = max(1, cores_of_a_node() - 1)
    fitting = _Placed(FitStage, (fit, how.base, shards, how.features), fitters, {"num_cpus": 1})
    with contextlib.closing(rows(_run(shards, [*_encoding_stages(shards, data, how, items), fitting]))) as found:
        for row in found:
            yield FittedShard(shards[row["shard"]], pickle.loads(row["heads"]), *pickle.loads(row["encoded"]))


class _Placed(NamedTuple):
    """A stage, in how many processes it runs at most, and what each of them takes of a node."""

    stage: Callable[..., Stage]
    arguments: tuple[Any, ...]
    processes: int
    resources: dict[str, float]


def _encoding_stages(
    shards: Sequence[Shard], data: TrainingData, how: Encoding, items: ItemsToKeep | None
) -> list[_Placed]:
    gpus = min(1, int(ray.cluster_resources().get("GPU", 0)))
    # One is left for a stage that fits.
    encoding: dict[str, float] = {"num_gpus": gpus, "num_cpus": 1 if gpus else max(1, cores_of_a_node() - 1)}
    grouping = ray.put(data), shards, how.features, None if items is None else ray.put(items)
    return [
        _Placed(GroupStage, grouping, how.encoders, {"num_cpus": 0}),
        _Placed(EncodeStage, (how, shards), how.encoders, encoding),
    ]


def _run(shards: Sequence[Shard], stages: Sequence[_Placed]) -> ray.data.Dataset:
    if len(shards) <= _FEW_SHARDS and not any(stage.resources.get("num_gpus") for stage in stages):
        each = [(stage.stage, stage.arguments) for stage in stages]
        widest = max(stage.resources["num_cpus"] for stage in stages)
        stages = [_Placed(StagesInTurn, tuple(each), 1, {"num_cpus": widest})]
    # Blocks that are there already: a stage that reads would want a CPU which the others may have taken for good.
    dataset = ray.data.from_arrow([pa.table({"shard": [place]}) for place in range(len(shards))])
    for placed in stages:
        dataset = dataset.map_batches(
            placed.stage,
            fn_constructor_args=placed.arguments,
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=placed.processes),
            **placed.resources,
        )
    return dataset


def rows(dataset: ray.data.Dataset) -> Generator[dict[str, Any], None, None]:
    """Rows as they come, none held back for a fuller batch. Close them while Ray runs."""
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from batch.to_pylist()
