"""The completions of an online experiment as the completion log has them, made into columns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from hydra_ray.experiment.observed import Observed
from hydra_ray.records import UserKey
from hydra_ray.steps.gating import HYDRA
from hydra_ray.steps.generate.prices import Prices
from hydra_ray.store.completions.records import Completion, Statement
from hydra_ray.text.edits import edit_share

Scale = Literal["thumbs", "stars"]

_NOTHING = math.nan
_NAMES = (
    "accepted",
    "edited",
    "rejected",
    "rated",
    "accepted_of_rated",
    "edit_distance",
    "rating",
    "tokens",
    "seconds",
    "cost",
    "passed_gate",
)


@dataclass(slots=True)
class Logged:
    """Completions of one experiment, read one after the other; no text is kept.

    Attributes:
        experiment: Name of the experiment.
        scale: Scale of ratings, `serve.ratings`.
        prices: Prices of tokens.
        users: Number of each user, in the order in which they were first served.
        first_s: Seconds since 1970 of the first completion; None where there is none.
        left_out: Completions by arm that are not compared: requests of a form that only the LLM can answer. Every arm
            leaves out the same ones, also an arm that passes all requests through.
    """

    experiment: str
    scale: Scale
    prices: Prices
    users: dict[UserKey, int] = field(default_factory=dict)
    first_s: float | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    _of_user: list[int] = field(default_factory=list)
    _arms: list[str] = field(default_factory=list)
    _propensities: list[float] = field(default_factory=list)
    _values: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, completions: Iterable[Completion]) -> None:
        """Adds completions; those of no arm of the experiment are left out."""
        for one in completions:
            experiment, found, arm = (one.arm or "").partition("/")
            if not found or experiment != self.experiment or one.key is None:
                continue
            if one.passed_for == "form":
                self.left_out[arm] += 1
                continue
            self.first_s = one.created_s if self.first_s is None else min(self.first_s, one.created_s)
            self._of_user.append(self.users.setdefault(one.key, len(self.users)))
            self._arms.append(arm)
            self._propensities.append(one.propensity)
            self._values.append(self._measured(one))

    def observed(self) -> Observed:
        """Return the completions as columns; measures that none of them has are left out."""
        columns = np.array(self._values, dtype=float).reshape(-1, len(_NAMES)).T
        values = {
            name: column for name, column in zip(_NAMES, columns, strict=True) if not bool(np.isnan(column).all())
        }
        users, arms = np.array(self._of_user, dtype=int), np.array(self._arms, dtype=np.str_)
        return Observed(users, arms, np.array(self._propensities, dtype=float), values)

    def _measured(self, one: Completion) -> tuple[float, ...]:
        statement = one.statement or Statement()
        rating = _NOTHING if statement.rating is None else self._rating(statement.rating)
        became = _became(one, statement, rating)
        is_known = became in ("accepted", "edited", "rejected")
        tokens = one.usage.prompt_tokens + one.usage.completion_tokens
        cost = self.prices.of(one.usage)
        return (
            float(became == "accepted"),
            float(became == "edited"),
            float(became == "rejected"),
            float(one.statement is not None),
            float(became == "accepted") if is_known else _NOTHING,
            _changed(one, statement) if became == "edited" else _NOTHING,
            rating,
            float(tokens),
            one.seconds,
            _NOTHING if cost is None else cost,
            _NOTHING if one.gate is None else float(one.gate.answered == HYDRA),
        )

    def _rating(self, rating: int) -> float:
        return float(rating) if self.scale == "thumbs" else (rating - 3) / 2


def _became(one: Completion, statement: Statement, rating: float) -> str:
    """What became of the answer: "accepted", "edited", "rejected", or "" where nothing is known of that."""
    if statement.reaction == "edited":
        return "edited"
    if statement.chosen not in (None, one.answered):
        # Another candidate was taken: this one was not the right choice.
        return "rejected"
    if statement.reaction == "regenerated":
        # Who has an answer made again would not have it.
        return "rejected"
    if statement.reaction is not None:
        return statement.reaction
    return "accepted" if rating > 0 else "rejected" if rating < 0 else ""


def _changed(one: Completion, statement: Statement) -> float:
    place = one.answered if statement.chosen is None else statement.chosen
    if statement.edited is None or place >= len(one.candidates):
        return _NOTHING
    return edit_share(one.candidates[place].text, statement.edited)
