"""The published base: its scorers, adapter and maybe reranker, and the task they were trained for. No user's head."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hydra_ray.models.computing import Computing
from hydra_ray.models.gate import Gate
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import HydraError
from hydra_ray.tasks import Task

RERANKER, ADAPTER = "reranker", "adapter"
# All that a base may have.
ROLES = (RERANKER, ADAPTER)
_SCHEMA = "hydra-ray/base/v6"
# It named no roles: a base had both.
_WITH_BOTH = "hydra-ray/base/v5"


def roles_for(rerank: bool) -> tuple[str, ...]:
    """Return the roles that are wanted with a reranker (`method.rerank`), or without one."""
    return tuple(role for role in ROLES if rerank or role != RERANKER)


def roles_of(version: str, there: Collection[str], *, rerank: bool) -> tuple[str, ...]:
    """Return the roles of a version that are used: a reranker that is not wanted is left alone.

    Args:
        version: Name of the version.
        there: Roles that it has.
        rerank: Whether a reranker is wanted.

    Raises:
        HydraError: It is, and the version has none.
    """
    if rerank and RERANKER not in there:
        raise HydraError(
            f"method.rerank: version {version} has no reranker. Train again with method.rerank: true (collect first, "
            "which then asks about single items), or set it to false"
        )
    return roles_for(rerank)


@dataclass(frozen=True, slots=True)
class Base:
    """A trained base.

    Attributes:
        version: Version of the base; a head is fitted for one version and means nothing to another.
        task: Task as the training data defined it.
        reranker: Scorer of (query, history item with its answer); None where the base was trained without.
        adapter: Scorer of (candidate with query, history answers).
        gate: Gate of the adapter's choices; None where training had nothing to fit one on.
    """

    version: str
    task: Task
    reranker: Scorer | None
    adapter: Scorer
    gate: Gate | None = None

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that it has."""
        return roles_for(self.reranker is not None)

    def scorer(self, role: str) -> Scorer:
        """Return the scorer of a role.

        Raises:
            HydraError: The base has no such role.
        """
        if role == ADAPTER:
            return self.adapter
        roles_of(self.version, self.roles, rerank=True)
        assert self.reranker is not None
        return self.reranker

    def save(self, folder: Path) -> None:
        """Write the base into a folder that holds none yet; `hydra_ray.registry` publishes it whole or not at all."""
        for role in self.roles:
            (folder / role).mkdir(parents=True)
            self.scorer(role).save(folder / role)
        if self.gate is not None:
            self.gate.save(folder)
        about = {"schema": _SCHEMA, "version": self.version, "roles": self.roles, "task": self.task.to_json()}
        # Last: without it there is no base.
        (folder / "base.json").write_text(json.dumps(about, indent=2))

    @classmethod
    def load(cls, folder: Path, computing: Computing) -> Base:
        """Read what `save` wrote.

        Args:
            folder: Folder that holds the base.
            computing: How the encoders compute.

        Raises:
            HydraError: The folder holds no base of a known schema.
        """
        about = read_about(folder)
        scorers = {role: Scorer.load(folder / role, computing) for role in about.roles}
        return cls(about.version, about.task, scorers.get(RERANKER), scorers[ADAPTER], Gate.load(folder))


class AboutBase(NamedTuple):
    """Version, task and roles of a published base."""

    version: str
    task: Task
    roles: tuple[str, ...]


def read_about(folder: Path) -> AboutBase:
    """Read what a published base says of itself, without its weights.

    Raises:
        HydraError: The folder holds no base of a known schema.
    """
    try:
        about = json.loads((folder / "base.json").read_text())
    except FileNotFoundError:
        raise HydraError(f"model.dir: {folder} holds no trained base; run `hydra-ray train` first") from None
    except ValueError as error:
        raise HydraError(f"model.dir: {folder}/base.json is damaged: {error}; train again") from None
    schema = about.get("schema") if isinstance(about, dict) else None
    if schema not in (_SCHEMA, _WITH_BOTH):
        raise HydraError(f"model.dir: {folder}/base.json has schema {schema!r}, not {_SCHEMA!r}")
    roles = ROLES if schema == _WITH_BOTH else tuple(about["roles"])
    return AboutBase(about["version"], Task.from_json(about["task"]), roles)
