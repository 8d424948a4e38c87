"""What a cross-validation came to, as plain values: what `results.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hydra_ray.bootstrap import Interval
from hydra_ray.evaluate.never_worse import AgainstPlain


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference of the main metric.

    Attributes:
        to: What the recipe is compared with: a recipe, a control, a plain method, or "best plain", which is chosen on
            other users.
        gain: How much better the recipe is; more than 0 is better for errors, too.
        p: Two-sided p value, not corrected for the number of differences.
    """

    to: str
    gain: Interval
    p: float


@dataclass(frozen=True, slots=True)
class GatedResult:
    """Result of a recipe whose gate may give a plain answer of the same samples instead.

    Attributes:
        metrics: Values by metric.
        plain: Main metric of the plain answers that its gates can give, chosen on other users.
        over_plain: Paired difference to these: what its gates promise not to be below 0.
        against_plain: What it gains over the best plain method, chosen on other users, and whom it makes worse.
        over_ungated: Paired difference to the recipe without its gate: less than 0 is what the caution costs.
        differs: Share of the answers at which the recipe's choice and the plain answer differ.
        passes: Share of the answers at which they differ and the recipe's choice is given.
        closed: Share of the answers whose gate lets nothing through.
    """

    metrics: Mapping[str, Interval]
    plain: Interval
    over_plain: Difference
    against_plain: AgainstPlain
    over_ungated: Difference
    differs: float
    passes: float
    closed: float


@dataclass(frozen=True, slots=True)
class RecipeResult:
    """Result of one recipe on one task.

    Attributes:
        metrics: Values by metric.
        by_repeat: Main metric by the number of the repeat.
        controls: Main metric of each control, of this recipe's candidates or heads.
        relative: Relative improvement over the best plain method, chosen on other users; None where that is at 0.
        oracle_gap: Share of the way from the candidates' majority vote to their oracle; None without a gap.
        differences: Paired differences.
        against_plain: The gain over the best plain method once more, and whom the recipe makes worse than it.
        gated: The same recipe with its gate.
        own_heads: Share of the queries that were answered under a head of the user's own.
        samples: Answers of the LLM that a query costs.
    """

    metrics: Mapping[str, Interval]
    by_repeat: Mapping[int, float]
    controls: Mapping[str, Interval]
    relative: Interval | None
    oracle_gap: Interval | None
    differences: tuple[Difference, ...]
    against_plain: AgainstPlain
    gated: GatedResult
    own_heads: float
    samples: int


@dataclass(frozen=True, slots=True)
class TaskValidation:
    """Results of one task.

    Attributes:
        task: Name of the task.
        metrics: Names of its metrics, the main one first.
        higher_is_better: Whether more is better, by metric.
        users: Number of users.
        queries: Number of queries.
        repeats: Number of times that users were split into folds.
        plain: Main metric of each plain method, and of yardsticks that need no LLM.
        plain_samples: Answers of the LLM that a query costs, by plain method.
        best_plain: Main metric of the best plain method, chosen on other users.
        chosen: Number of folds of users that chose each plain method.
        recipes: Results by recipe.
        seconds: Seconds that each recipe took on this machine, by recipe.
    """

    task: str
    metrics: tuple[str, ...]
    higher_is_better: Mapping[str, bool]
    users: int
    queries: int
    repeats: int
    plain: Mapping[str, Interval]
    plain_samples: Mapping[str, int]
    best_plain: Interval
    chosen: Mapping[str, int]
    recipes: Mapping[str, RecipeResult]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Overall:
    """A recipe's means over tasks of equal weight: relative improvement, and share of the oracle gap."""

    relative: Interval
    oracle_gap: Interval | None


@dataclass(frozen=True, slots=True)
class Validation:
    """Results of a cross-validation.

    Attributes:
        tasks: Results by task.
        overall: Means over all tasks that have one, by recipe, and by `RECIPE/gated`.
        calls: LLM requests that were made now.
        known: LLM requests that were answered before.
        encoded: Texts that were encoded now.
    """

    tasks: tuple[TaskValidation, ...]
    overall: Mapping[str, Overall]
    calls: int
    known: int
    encoded: int
