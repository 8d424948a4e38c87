"""Heads in bulk: sharded safetensors, to move users between stores and clusters."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hydra_ray.atomic import replacing
from hydra_ray.models.heads import HEAD_KINDS, Head
from hydra_ray.records import HydraError, UserKey
from hydra_ray.store.protocol import Store
from hydra_ray.store.user_rows.gone import who_is_gone

_SCHEMA = "hydra-ray/heads/v1"
_OBSERVATIONS = pa.schema(
    [("tenant", pa.string()), ("user", pa.string()), ("item", pa.string()), ("told", pa.binary())]
)


def export_heads(store: Store, version: str, role: str, folder: Path, users_per_shard: int = 10_000) -> int:
    """Writes all heads of a role and version to `<role>-<number>.safetensors`; gives their number.

    A shard holds users whose heads have the same kind and shapes, each parameter stacked over them; the
    metadata says who they are and what they were fitted from. What heads of kind `bases` depend on stands
    beside it as Parquet, so that they go on learning where they are imported.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (*folder.glob(f"{role}-*.safetensors"), *folder.glob(f"{role}-*.evidence.parquet")):
        stale.unlink()
    fingerprints, keys = store.head_fingerprints(version, role), store.users_with_head(version, role)
    written, shard = 0, 0
    for start in range(0, len(keys), users_per_shard):
        found = store.heads(keys[start : start + users_per_shard], version, role)
        heads = sorted(((_form(head), key, head) for key, (_, head, _) in found.items()), key=lambda one: one[:2])
        for (kind, numbers, _), members in groupby(heads, key=lambda one: one[0]):
            same = [(key, head) for _, key, head in members]
            users = [[*key, fingerprints[key]] for key, _ in same]
            about = {"schema": _SCHEMA, "version": version, "role": role, "kind": kind, "numbers": json.loads(numbers)}
            stacked = {name: torch.stack([head.tensors[name] for _, head in same]) for name in same[0][1].tensors}
            path = folder / f"{role}-{shard:05d}.safetensors"
            save_file(stacked, path, metadata={"about": json.dumps({**about, "users": users})})
            _write_observations(path, store.observations([key for key, _ in same], version, role))
            written, shard = written + len(same), shard + 1
    return written


def import_heads(store: Store, version: str, role: str, folder: Path) -> int:
    """Puts the heads that `export_heads` wrote into a store; gives their number. Who was deleted since is left out.

    Raises:
        HydraError: A shard is damaged, of another base or role, or there is none.
    """
    paths = sorted(folder.glob(f"{role}-*.safetensors"))
    if not paths:
        raise HydraError(f"{folder}: there is no {role}-*.safetensors; `hydra-ray heads export` writes them")
    read = 0
    for path in paths:
        heads, fingerprints = _read(path, version, role)
        # Observations first: a head without them would not be known to be wrong.
        observed, gone = _read_observations(path), who_is_gone(store, heads)
        heads = {key: head for key, head in heads.items() if key not in gone}
        store.put_observations(version, role, {key: observed.get(key, {}) for key in heads})
        store.put_heads(version, role, heads, fingerprints)
        read += len(heads)
    return read


def drop_from_shard(path: Path, users: Collection[UserKey]) -> int:
    """Rewrites a shard of heads without some users; gives the number of their heads, 0 for files that are no shard.

    What lies beside it as Parquet is left as it is.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            if not isinstance(about, dict) or about.get("schema") != _SCHEMA:
                return 0
            rows = [row for row, (tenant, user, _) in enumerate(about["users"]) if UserKey(tenant, user) not in users]
            gone = len(about["users"]) - len(rows)
            if not gone:
                return 0
            tensors = {name: file.get_tensor(name)[rows].clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError, OSError):
        # Not one of ours, or damaged.
        return 0
    if not rows:
        path.unlink()
        return gone
    about["users"] = [about["users"][row] for row in rows]
    with replacing(path) as partial:
        save_file(tensors, partial, metadata={"about": json.dumps(about)})
    return gone


def _read(path: Path, version: str, role: str) -> tuple[dict[UserKey, Head], dict[UserKey, str]]:
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            about = about if isinstance(about, dict) else {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise HydraError(f"{path}: damaged: {error}") from None
    if about.get("schema") != _SCHEMA or about.get("kind") not in HEAD_KINDS:
        raise HydraError(f"{path}: schema {about.get('schema')!r}, kind {about.get('kind')!r} are not known")
    try:
        if (about["version"], about["role"]) != (version, role):
            of = f"{about['role']} of base {about['version']}"
            raise HydraError(f"{path}: heads of the {of} mean nothing to the {role} of base {version}")
        users = list(_users(about["users"], tensors, path))
        numbers = {name: float(number) for name, number in about["numbers"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HydraError(f"{path}: damaged: {error!r}") from None
    heads = {
        key: Head(about["kind"], {name: tensor[row].clone() for name, tensor in tensors.items()}, numbers)
        for row, (key, _) in enumerate(users)
    }
    return heads, dict(users)


def _write_observations(shard: Path, observed: Mapping[UserKey, Mapping[str, bytes]]) -> None:
    rows = [
        {**key._asdict(), "item": item, "told": blob}
        for key, by_item in observed.items()
        for item, blob in by_item.items()
    ]
    if rows:
        pq.write_table(pa.Table.from_pylist(rows, schema=_OBSERVATIONS), shard.with_suffix(".evidence.parquet"))


def _read_observations(shard: Path) -> dict[UserKey, dict[str, bytes]]:
    path, observed = shard.with_suffix(".evidence.parquet"), dict[UserKey, dict[str, bytes]]()
    if path.exists():
        try:
            rows = pq.read_table(path, schema=_OBSERVATIONS).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise HydraError(f"{path}: damaged: {error}") from None
        for row in rows:
            observed.setdefault(UserKey(row["tenant"], row["user"]), {})[row["item"]] = row["told"]
    return observed


def _users(users: list[list[str]], tensors: dict[str, torch.Tensor], path: Path) -> Iterator[tuple[UserKey, str]]:
    if not tensors or any(len(tensor) != len(users) for tensor in tensors.values()):
        raise HydraError(f"{path}: damaged: it names {len(users)} users, and has parameters of another number")
    for tenant, user, fingerprint in users:
        yield UserKey(tenant, user), fingerprint


def _form(head: Head) -> tuple[str, str, str]:
    shapes = [(name, tuple(tensor.shape)) for name, tensor in sorted(head.tensors.items())]
    return head.kind, json.dumps(head.about, sort_keys=True), str(shapes)
