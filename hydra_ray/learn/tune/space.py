"""Reads what a search may try from `tune_configs/*.yaml`; tells every error at once, with its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hydra_ray.learn.heads.tuned import fit_with
from hydra_ray.settings import FitSettings, SettingsError
from hydra_ray.settings.files.yaml_file import YAMLFileError, read_yaml

Search = TypeVar("Search", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CohortRules(_Section):
    """Rules that group users: clusters of their tastes crossed with amounts of data."""

    clusters: int = Field(2, ge=1, description="k-means clusters of user vectors.")
    amounts: dict[str, int] = Field(
        {"little": 0, "some": 12, "much": 36}, description="Names of amounts, and the groups a user has from there on."
    )
    most: int = Field(4, ge=1, description="Cohorts that are searched, the largest first; others take the fallback.")
    min_users: int = Field(12, ge=4, description="Cohorts with fewer users take the fallback.")

    @model_validator(mode="after")
    def _amounts_begin_at_none(self) -> CohortRules:
        if min(self.amounts.values(), default=1) != 0:
            raise ValueError("amounts: one has to begin at 0")
        return self


class Parameter(_Section):
    """Values of one setting: `choice`, or a range from `low` to `high`."""

    choice: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = Field(False, description="Drawn evenly over orders of magnitude.")

    @model_validator(mode="after")
    def _is_a_choice_or_a_range(self) -> Parameter:
        ranged = self.low is not None and self.high is not None
        if bool(self.choice) == ranged or (self.low is None) != (self.high is None):
            raise ValueError("write either choice: [...] or low: and high:")
        if ranged and (self.low > self.high or (self.log and self.low <= 0)):  # type: ignore[operator]
            raise ValueError("low is more than high, or log of a range that begins at 0")
        return self

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values that stand for all of them when settings are checked."""
        return self.choice or (self.low, self.high)


class SearchSettings(_Section):
    """One search: how long, on whom, over what."""

    cohorts: CohortRules = CohortRules()
    trials: int = Field(24, ge=1, description="Settings tried for each cohort; the first are those there are.")
    epochs: int = Field(12, ge=1, description="Longest fit of a trial; hopeless ones end earlier (ASHA).")
    steps_per_epoch: int = Field(10, ge=1)
    grace_epochs: int = Field(2, ge=1, description="Epochs before a trial may be ended.")
    held_back: float = Field(0.3, gt=0, lt=1, description="Share of a user's latest groups that a trial is scored on.")
    unseen: float = Field(0.3, gt=0, lt=1, description="Share of a cohort's users the search does not see.")
    concurrent: int | None = Field(None, ge=1, description="Trials at once; null: as many as find a CPU.")
    max_failures: int = Field(2, ge=0, description="Restarts of a trial, as after its node is lost, before giving up.")
    roles: tuple[str, ...] = Field(("adapter",), description="Whose heads are searched: adapter, reranker.")
    space: dict[str, Parameter] = Field(description="Settings of fit by their path, and prior_weight.")

    @model_validator(mode="after")
    def _values_can_be_set(self) -> SearchSettings:
        wrong = []
        for name, parameter in self.space.items():
            for value in parameter.samples:
                try:
                    fit_with(FitSettings(), {name: value})
                except (ValidationError, KeyError, TypeError) as error:
                    reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "no setting of fit"
                    wrong.append(f"space.{name}: {value!r}: {reason}")
        if set(self.roles) - {"adapter", "reranker"}:
            wrong.append(f"roles: there are adapter and reranker, not {self.roles}")
        if {"steps", "held_back"} & set(self.space):
            wrong.append("space: steps is searched by epochs and steps_per_epoch; held_back has no meaning here")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def load_search(path: Path) -> SearchSettings:
    """Reads a search; `cohorts` may name another file beside it.

    Raises:
        SettingsError: Names every wrong key and value with its path.
    """
    return read_search(path, SearchSettings)


def read_search(path: Path, kind: type[Search]) -> Search:
    """Reads one kind of search, as `load_search`."""
    tree = _read(path)
    if isinstance(tree.get("cohorts"), str):
        tree["cohorts"] = _read(path.parent / tree["cohorts"])
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc'])) or '(top)'}: {e['msg']}" for e in error.errors()]
        raise SettingsError(f"{path}:\n" + "\n".join(lines)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = read_yaml(path)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; --search and --asked name the file of a search") from None
    except YAMLFileError as error:
        raise SettingsError(f"{path}: {error}") from None
    if not isinstance(tree, dict):
        raise SettingsError(f"{path}: is to hold keys and values")
    return tree
