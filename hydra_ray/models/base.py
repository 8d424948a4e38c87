"""The published base: two scorers, reranker and adapter, and the task they were trained for. No user's head."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from hydra_ray.models.gate import Gate
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import HydraError
from hydra_ray.tasks import Task

RERANKER, ADAPTER = "reranker", "adapter"
ROLES = (RERANKER, ADAPTER)
_SCHEMA = "hydra-ray/base/v5"


@dataclass(frozen=True, slots=True)
class Base:
    """A trained base.

    Attributes:
        version: Version of the base; a head is fitted for one version and means nothing to another.
        task: Task as the training data defined it.
        reranker: Scorer of (query, history item with its answer).
        adapter: Scorer of (candidate with query, history answers).
        gate: Gate of the adapter's choices; None where training had nothing to fit one on.
    """

    version: str
    task: Task
    reranker: Scorer
    adapter: Scorer
    gate: Gate | None = None

    def scorer(self, role: str) -> Scorer:
        """Return the scorer of a role."""
        return {RERANKER: self.reranker, ADAPTER: self.adapter}[role]

    def save(self, folder: Path) -> None:
        """Write the base into a folder that holds none yet; `hydra_ray.registry` publishes it whole or not at all."""
        for role in ROLES:
            (folder / role).mkdir(parents=True)
            self.scorer(role).save(folder / role)
        if self.gate is not None:
            self.gate.save(folder)
        about = {"schema": _SCHEMA, "version": self.version, "task": self.task.to_json()}
        # Last: without it there is no base.
        (folder / "base.json").write_text(json.dumps(about, indent=2))

    @classmethod
    def load(cls, folder: Path, precision: str) -> Base:
        """Read what `save` wrote.

        Args:
            folder: Folder that holds the base.
            precision: Arithmetic to run in: float32, bfloat16 or auto.

        Raises:
            HydraError: The folder holds no base of a known schema.
        """
        version, task = read_about(folder)
        reranker, adapter = (Scorer.load(folder / role, precision) for role in ROLES)
        return cls(version, task, reranker, adapter, Gate.load(folder))


def read_about(folder: Path) -> tuple[str, Task]:
    """Read version and task of a published base, without its weights.

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
    if schema != _SCHEMA:
        raise HydraError(f"model.dir: {folder}/base.json has schema {schema!r}, not {_SCHEMA!r}")
    return about["version"], Task.from_json(about["task"])
