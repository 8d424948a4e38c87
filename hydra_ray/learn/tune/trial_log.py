"""Finished trials of a search, on disk as soon as they are finished: a killed search goes on with them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray.tune

from hydra_ray.atomic import write_text
from hydra_ray.learn.heads.tuned import Trial


class TrialLog(ray.tune.Callback):
    """A folder with one file a trial. Tune's own state is not used: it is copied piece by piece, and the pieces of a
    search that was killed in between do not fit together.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Keeps one trial, stopped early or not."""
        del iteration, trials, info
        result = trial.last_result
        ended = Trial(trial.config, result["best"], result["steps"], result["training_iteration"])
        write_text(self.folder / f"{len(self.read()):05}.json", json.dumps(asdict(ended)))

    def read(self) -> list[Trial]:
        """The trials in the order in which they finished."""
        return [Trial(**json.loads(path.read_text())) for path in sorted(self.folder.glob("*.json"))]
