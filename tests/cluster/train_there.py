"""Trains a base as `hydra-ray train` does, on groups that are made up: `python train_there.py ENCODER STORAGE FOLDER`.

The folder gets `state.json` while it trains, and `scores.json` at the end: what each role says of each user's choices.
In the middle of an epoch, `HELD`, the training waits until there is a file `go` in the folder.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hydra_ray.atomic import write_text
from hydra_ray.learn.base import trainer
from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.records import UserKey
from hydra_ray.runtime.cluster import cluster
from hydra_ray.settings import BaseSettings, RaySettings

FILMS = tuple(f"film number {number} about {what}" for number in range(6) for what in ("robots", "mills", "snow"))
EPOCHS = 4
USERS = {"reranker": 8, "adapter": 24}
CHOICES = ("funny", "scary", "dull")
# Role, epoch and step.
HELD = ("adapter", 2, 3)
run_worker = trainer._run_worker


def groups(users: int) -> list[RankingGroup]:
    """Even users prefer "funny", odd ones "scary", whatever the film."""
    return [
        RankingGroup(
            ExampleKey("t", f"u{user}", film, pseudo=False),
            tuple((choice, film, ()) for choice in CHOICES),
            (float(user % 2 == 0), float(user % 2), 0.0),
        )
        for user in range(users)
        for film in FILMS
    ]


class HeldProgress:
    """What workers tell their progress to; whoever tells of the step `HELD` waits.

    Args:
        progress: The actor that holds the progress.
        go: File that ends the wait.
    """

    def __init__(self, progress: Any, go: Path) -> None:
        self._progress, self._go, self._at = progress, go, ("", 0)
        self.done = progress.done
        self.enter, self.step = SimpleNamespace(remote=self._enter), SimpleNamespace(remote=self._step)

    def _enter(self, rank: int, pid: int, role: str, epoch: int) -> None:
        self._at = (role, epoch)
        self._progress.enter.remote(rank, pid, role, epoch)

    def _step(self, step: int, loss: float) -> None:
        self._progress.step.remote(step, loss)
        while (*self._at, step) == HELD and not self._go.exists():
            time.sleep(0.05)


def main(encoder: str, storage: str, folder: Path) -> None:
    """Trains both roles with two workers."""
    base = BaseSettings.model_validate(
        {
            "encoder": {"name": encoder, "max_tokens": 32, "precision": "float32", "trained_layers": None},
            "batch_groups": 4,
            "lr": 1e-3,
            "head_lr": 2e-2,
            "epochs": EPOCHS,
            "workers": 2,
            "checkpoints": storage,
        }
    )

    def held_worker(config: dict[str, Any]) -> None:
        run_worker({**config, "progress": HeldProgress(config["progress"], folder / "go")})

    # It travels to the nodes as it is here, since they cannot import this file.
    trainer._run_worker = held_worker

    def show(state, steps) -> None:
        write_text(folder / "state.json", json.dumps([state.role, state.epoch, state.step, state.entered]))

    with cluster(RaySettings(address="auto")):
        fitted = trainer.fit_base(
            {role: groups(users) for role, users in USERS.items()},
            base,
            prior_weights={"reranker": None, "adapter": None},
            seed=1,
            storage=storage,
            show=show,
        )
    asked = [(choice, "a new film", ()) for choice in CHOICES]
    scores = {
        role: [
            one.scorer.score(asked, [one.heads[UserKey("t", f"u{user}")]] * len(asked)).tolist()
            for user in range(USERS[role])
        ]
        for role, one in fitted.roles.items()
    }
    write_text(folder / "scores.json", json.dumps(scores))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
