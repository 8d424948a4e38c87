"""Results of searches, kept beside the base that they were found for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hydra_ray.atomic import write_text
from hydra_ray.learn.heads.cohorts import Cohorts
from hydra_ray.learn.heads.fitter import FitChoice
from hydra_ray.models.features import UserFeatures
from hydra_ray.records import HydraError
from hydra_ray.settings import FitSettings

_SCHEMA = "hydra-ray/tuned/v1"
FALLBACK = "everyone"


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting that was tried.

    Attributes:
        values: Values by path, named like the parameters of the search's space.
        score: Mean held-back score of the users whom the search saw, at its best epoch.
        steps: Steps of the fit up to that epoch.
        epochs: Epochs before the trial ended, or was ended.
    """

    values: dict[str, Any]
    score: float
    steps: int
    epochs: int


@dataclass(frozen=True, slots=True)
class CohortResult:
    """Result of the search of one cohort.

    Attributes:
        values: Values of the winner, `steps` among them.
        used: Whether the winner beats the settings there were beyond chance on the users whom the search saw;
            otherwise the cohort is too small to tell.
        users: Number of users whom the search saw.
        unseen: Number of other users, on whom the winner is compared with the settings there were.
        default: Mean held-back score of these under those settings.
        tuned: Mean held-back score of these under the winner.
        gain: Mean difference with its 95 % interval: value, low, high.
        trials: Trials in the order in which they finished.
    """

    values: dict[str, Any]
    used: bool
    users: int
    unseen: int
    default: float
    tuned: float
    gain: tuple[float, float, float]
    trials: list[Trial] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TunedRole:
    """Cohorts of one role and what is best for each; `everyone` is for those too small to tell."""

    cohorts: Cohorts
    results: dict[str, CohortResult]

    def choose(self, features: UserFeatures, fit: FitSettings) -> FitChoice:
        """Choose how a user's head is fitted: as is best for the cohort, for everyone, or as settings say."""
        for name in (self.cohorts.of(features), FALLBACK):
            result = self.results.get(name)
            if result is not None and result.used:
                return FitChoice(fit_with(fit, result.values), result.values.get(PRIOR_WEIGHT))
        return FitChoice(fit)


def tuned_file(model_dir: Path, version: str) -> Path:
    """Return the path of a base's tuned settings."""
    return model_dir / f"tuned-{version}.json"


def save_tuned(path: Path, roles: dict[str, TunedRole]) -> None:
    """Writes tuned settings with all their trials; a reader sees the old ones or the new ones."""
    tree = {
        "schema": _SCHEMA,
        "roles": {
            role: {
                "centroids": tuned.cohorts.centroids.tolist(),
                "amounts": dict(tuned.cohorts.amounts),
                "results": {name: asdict(result) for name, result in tuned.results.items()},
            }
            for role, tuned in roles.items()
        },
    }
    write_text(path, json.dumps(tree, indent=1))


def load_tuned(path: Path) -> dict[str, TunedRole]:
    """Tuned settings by role; none where no search was made.

    Raises:
        HydraError: The file is damaged or of another version.
    """
    if not path.exists():
        return {}
    try:
        tree = json.loads(path.read_text())
        if tree["schema"] != _SCHEMA:
            raise HydraError(f"{path}: schema {tree['schema']!r} is not {_SCHEMA!r}; tune again")
        return {role: _role(values) for role, values in tree["roles"].items()}
    except (ValueError, KeyError, TypeError) as error:
        raise HydraError(f"{path}: damaged ({error}); tune again, or remove it") from None


def _role(values: dict[str, Any]) -> TunedRole:
    cohorts = Cohorts(np.array(values["centroids"], np.float32), values["amounts"])
    results = {
        name: CohortResult(
            **{
                **result,
                "gain": tuple(result["gain"]),
                "trials": [Trial(**trial) for trial in result["trials"]],
            }
        )
        for name, result in values["results"].items()
    }
    return TunedRole(cohorts, results)


PRIOR_WEIGHT = "prior_weight"


def fit_with(fit: FitSettings, values: dict[str, Any]) -> FitSettings:
    """Settings of a fit with some of them, named by their path, set anew; `prior_weight` is none of them.

    Raises:
        KeyError: There is no setting of that name.
        ValidationError: A value cannot be used.
    """
    tree = fit.model_dump()
    for path, value in values.items():
        *parents, last = path.split(".")
        if path == PRIOR_WEIGHT:
            continue
        section = tree
        for parent in parents:
            section = section[parent]
        if last not in section:
            raise KeyError(path)
        section[last] = value
    return FitSettings.model_validate(tree)
