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

from hydra_ray.learn.examples.features import encode_all, read_features, write_features
from hydra_ray.learn.heads.fitter import FittedHead, FitUsers
from hydra_ray.learn.heads.item_encodings import encode_texts
from hydra_ray.learn.heads.progress import EncodeProgress
from hydra_ray.learn.heads.shards import ReadShards, Shard, ShardData
from hydra_ray.models.computing import Computing
from hydra_ray.models.encodings import KeptEncodings
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import UserKey
from hydra_ray.runtime.cluster import cores_of_a_node, cores_of_all_nodes, on_this_node, on_working_nodes
from hydra_ray.runtime.models import fetch_if_missing
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.settings import Settings
from hydra_ray.store.types import Seen
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
        seen: What the store had of the users who are still as planned.
        encoder: Fingerprint of the encoder; empty where nothing is kept.
        encoded: New encodings of what the role reads of the users' items, by user.
    """

    shard: Shard
    heads: list[FittedHead]
    seen: Mapping[UserKey, Seen]
    encoder: str
    encoded: Mapping[UserKey, Sequence[ItemEncoding]]


class GroupStage:
    """Makes the groups of a shard's users: retrieval and texts.

    Args:
        read: Reference to what reads shards; batches hold places of shards.
        features: Folder of features; nothing is made again for a shard that has its file.
    """

    def __init__(self, read: ray.ObjectRef, features: Path) -> None:
        use_given_cpus()
        self._read: ReadShards = ray.get(read)
        self._features = features

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """`place` of shards in; `shard`, what was `seen` of its users, their `groups` and texts of `items` out."""
        places = [int(place) for place in batch["place"]]
        read = [self._read(place) for place in places]
        # Between two processes of one job, as all that Ray moves.
        return {
            "place": places,
            "shard": [pickle.dumps(one.shard) for one in read],
            "seen": [pickle.dumps(one.seen) for one in read],
            "groups": [pickle.dumps(self._groups(one)) for one in read],
            "items": [pickle.dumps(one.texts) for one in read],
        }

    def _groups(self, read: ShardData) -> list[Any] | None:
        if features_file(self._features, read.shard).exists():
            return None
        groups = [(user.key, read.groups(read.shard.role, user)) for user in read.users]
        # Who teaches nothing gets no head, and so the shared answer.
        return [(key, own) for key, own in groups if own]


@dataclass(frozen=True, slots=True)
class Encoding:
    """Where shards are encoded, and how.

    Attributes:
        base: Folder of the base; on a cluster one that every node sees, unless the registry is elsewhere.
        registry: URL of the registry, and the folder of each node for versions of one elsewhere.
        features: Folder of features; on a cluster one that every node sees.
        computing: How the base's encoders compute, which `Scorer.load` takes.
        encoders: Most processes that encode at once.
        progress: Handle of an `EncodeProgress` actor.
    """

    base: Path
    registry: tuple[str, Path]
    features: Path
    computing: Computing
    encoders: int
    progress: Any


class EncodeStage:
    """Encodes each text of a shard once and leaves its features as a file.

    Args:
        how: Folders of base and features, and how encoders compute.
        roles: Roles of the shards.
    """

    def __init__(self, how: Encoding, roles: Collection[str]) -> None:
        use_given_cpus()
        fetch_if_missing(how.base, *how.registry)
        self._scorers = {role: Scorer.load(how.base / role, how.computing) for role in roles}
        self._features, self._progress = how.features, how.progress
        kept = KeptEncodings(_ENCODING_BYTES)
        for scorer in self._scorers.values():
            scorer.encoder.remember(kept)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """What `GroupStage` gives in; shards with what was `encoded` of the items out, their files written."""
        shards = [pickle.loads(one) for one in batch["shard"]]
        self._write_features([int(place) for place in batch["place"]], shards, batch["groups"])
        encoded = [
            pickle.dumps(self._encoded(shard.role, pickle.loads(items)))
            for shard, items in zip(shards, batch["items"], strict=True)
        ]
        return {"shard": list(batch["shard"]), "seen": list(batch["seen"]), "encoded": encoded}

    def _encoded(self, role: str, items: Sequence[Any]) -> tuple[str, dict[UserKey, list[ItemEncoding]]]:
        encoder = self._scorers[role].encoder
        made = {key: encode_texts(encoder, texts, kept) for key, texts, kept in items}
        return encoder.fingerprint if items else "", {key: own for key, own in made.items() if own}

    def _write_features(self, places: Sequence[int], shards: Sequence[Shard], batch: Sequence[bytes]) -> None:
        for place, shard, pickled in zip(places, shards, batch, strict=True):
            groups = pickle.loads(pickled)
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
        roles: Roles of the shards.
        features: Folder of features.
    """

    def __init__(self, fit: MakeFit, base: Path, roles: Collection[str], features: Path) -> None:
        use_given_cpus()
        self._fit = {role: fit(base, role) for role in roles}
        self._features = features

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """What `EncodeStage` gives in; the same with the users' `heads` out."""
        heads = [pickle.dumps(self._heads(pickle.loads(shard))) for shard in batch["shard"]]
        return {**{name: list(batch[name]) for name in ("shard", "seen", "encoded")}, "heads": heads}

    def _heads(self, shard: Shard) -> list[FittedHead]:
        return list(self._fit[shard.role](read_features(features_file(self._features, shard))))


def features_file(folder: Path, shard: Shard) -> Path:
    """Return the path of a shard's features."""
    return folder / shard.role / f"{shard.name}.parquet"


def encoding(settings: Settings, base: Path, features: Path) -> Encoding:
    """Make the encoding of shards from settings. Wants a running Ray cluster."""
    progress = ray.remote(num_cpus=0, **on_this_node())(EncodeProgress).remote()
    registry = settings.registry_url, settings.registry_cache
    return Encoding(base, registry, features, settings.base.encoder.computing, settings.fit.encoders, progress)


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


def encode_shards(read: ReadShards, how: Encoding) -> ray.data.Dataset:
    """Leaves the features of shards as files; there is a row for each that is finished.

    A shard whose file is there already is not encoded again. Wants a running Ray cluster.

    Args:
        read: Shards, at least one.
        how: Folders of base and features, and how encoders compute.
    """
    return _run(read, _encoding_stages(read, how))


def fit_shards(read: ReadShards, how: Encoding, fit: MakeFit) -> Generator[FittedShard, None, None]:
    """Shards with their heads, as they are finished; a lost worker costs its shard a retry.

    Arguments as `encode_shards` and `FitStage`.
    """
    if not read.sizes:
        return
    fitters = max(1, cores_of_all_nodes() - 1)
    fitting = _Placed(FitStage, (fit, how.base, _roles(read), how.features), fitters, {"num_cpus": 1})
    with contextlib.closing(rows(_run(read, [*_encoding_stages(read, how), fitting]))) as found:
        for row in found:
            shard, heads, seen = (pickle.loads(row[name]) for name in ("shard", "heads", "seen"))
            yield FittedShard(shard, heads, seen, *pickle.loads(row["encoded"]))


class _Placed(NamedTuple):
    """A stage, in how many processes it runs at most, and what each of them takes of a node."""

    stage: Callable[..., Stage]
    arguments: tuple[Any, ...]
    processes: int
    resources: dict[str, Any]


def _roles(read: ReadShards) -> list[str]:
    return sorted({role for role, _ in read.sizes})


def _encoding_stages(read: ReadShards, how: Encoding) -> list[_Placed]:
    gpus = min(1, int(ray.cluster_resources().get("GPU", 0)))
    # One is left for a stage that fits.
    encoding: dict[str, Any] = {"num_gpus": gpus, "num_cpus": 1 if gpus else max(1, cores_of_a_node() - 1)}
    where = on_this_node() if read.is_here else on_working_nodes()
    return [
        _Placed(GroupStage, (ray.put(read), how.features), how.encoders, {"num_cpus": 0, **where}),
        _Placed(EncodeStage, (how, _roles(read)), how.encoders, encoding),
    ]


def _run(read: ReadShards, stages: Sequence[_Placed]) -> ray.data.Dataset:
    widest = max(stage.resources["num_cpus"] for stage in stages)
    fits = not read.is_here or _cpus_of_this_node() >= widest
    if len(read.sizes) <= _FEW_SHARDS and fits and not any(stage.resources.get("num_gpus") for stage in stages):
        each = [(stage.stage, stage.arguments) for stage in stages]
        here = on_this_node() if read.is_here else {}
        stages = [_Placed(StagesInTurn, tuple(each), 1, {"num_cpus": widest, **here})]
    # Blocks that are there already: a stage that reads would want a CPU which the others may have taken for good.
    dataset = ray.data.from_arrow([pa.table({"place": [place]}) for place in range(len(read.sizes))])
    for placed in stages:
        dataset = dataset.map_batches(
            placed.stage,
            fn_constructor_args=placed.arguments,
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=placed.processes),
            **placed.resources,
        )
    return dataset


def _cpus_of_this_node() -> float:
    here = ray.get_runtime_context().get_node_id()
    return sum(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["NodeID"] == here)


def rows(dataset: ray.data.Dataset) -> Generator[dict[str, Any], None, None]:
    """Rows as they come, none held back for a fuller batch. Close them while Ray runs."""
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from batch.to_pylist()
