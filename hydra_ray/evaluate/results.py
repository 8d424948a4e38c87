"""What a comparison came to: plain values, as `results.json` has them and the report shows them.

More is better in every difference here, for errors too: their signs are turned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hydra_ray.bootstrap import Interval
from hydra_ray.steps.generate.failures import Unanswered


@dataclass(frozen=True, slots=True)
class Pair:
    """Two methods on the main metric.

    Attributes:
        first: Its name.
        second: Its name.
        difference: How much better the first is, with its 95 % interval over users.
        p: Two-sided, of the bootstrap.
        p_holm: The same after Holm's correction for all pairs of the task.
    """

    first: str
    second: str
    difference: Interval
    p: float
    p_holm: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request costs on average; answers from the cache count as calls, and so do profiles, shared out evenly.

    Attributes:
        calls: LLM calls.
        prompt_tokens: Of these calls.
        completion_tokens: Of these calls.
        seconds: In the process that evaluated, where LLM answers may come from the cache.
        failed: Share of requests without an answer.
        degraded: Share that was answered without one of its steps, or by a profile that tells of no differences.
    """

    calls: float
    prompt_tokens: float
    completion_tokens: float
    seconds: float
    failed: float
    degraded: float


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of a task's queries.

    Attributes:
        by: "history" (items), "cohort" or "item".
        name: E.g. "6 to 20", a cohort's name, "unseen".
        users: Whose queries they are.
        methods: Main metric by method; n is the number of queries.
    """

    by: str
    name: str
    users: int
    methods: Mapping[str, Interval]


@dataclass(frozen=True, slots=True)
class WinLoss:
    """What a method does to users, against zero-shot on the main metric: shares of users, which add up to 1."""

    better: float
    same: float
    worse: float


@dataclass(frozen=True, slots=True)
class UserGain:
    """What one user gains by hydra over the prompt-based method that is best for everybody."""

    user: str
    gain: float
    queries: int
    history_items: int


@dataclass(frozen=True, slots=True)
class Bin:
    """History items whose predicted chance to help the LLM is alike."""

    predicted: float
    observed: float
    n: int


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """hydra's main metric at one x: candidates a query, or users in training."""

    x: int
    value: Interval


@dataclass(frozen=True, slots=True)
class TaskHeadline:
    """The headline's part of one task; docs/evaluation.md defines it.

    Attributes:
        relative: How much better hydra is than the prompt-based method, as a share of the latter (0.1 is 10 %).
        chosen: How often each prompt-based method was chosen over the folds of users.
        oracle_gap: Share of the way from majority vote to the best of the candidates; None where there is no gap.
    """

    relative: Interval
    chosen: Mapping[str, int]
    oracle_gap: Interval | None


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task.

    Attributes:
        task: Its name.
        split: Of the data.
        metrics: Names, the main one first.
        higher_is_better: By metric.
        users: How many.
        queries: How many a seed.
        seeds: Of training.
        methods: Metrics by method, over all seeds.
        controls: Those of `methods` that are controls, no competitors.
        by_seed: Main metric by method and seed.
        pairs: Every two methods, the better one first.
        slices: Main metric on parts of the queries.
        fates: By method.
        costs: By method.
        gains: A user each, smallest gain first.
        calibration: Of the reranker, by predicted chance.
        by_candidates: Metric of hydra with fewer candidates.
        by_users: Metric of hydra with fewer users in training.
        missing: Queries without an output, by method, where there are any.
        unanswered: Those of them that the LLM refused, by method and kind.
        headline: None where hydra or prompt-based methods are absent.
        own_heads: Share of hydra's answers that were chosen under a head of the user's own; None without hydra.
    """

    task: str
    split: str
    metrics: tuple[str, ...]
    higher_is_better: Mapping[str, bool]
    users: int
    queries: int
    seeds: tuple[int, ...]
    methods: Mapping[str, Mapping[str, Interval]]
    controls: tuple[str, ...]
    by_seed: Mapping[str, Mapping[int, float]]
    pairs: tuple[Pair, ...]
    slices: tuple[Slice, ...]
    fates: Mapping[str, WinLoss]
    costs: Mapping[str, Cost]
    gains: tuple[UserGain, ...]
    calibration: tuple[Bin, ...]
    by_candidates: tuple[CurvePoint, ...]
    by_users: tuple[CurvePoint, ...]
    missing: Mapping[str, int]
    headline: TaskHeadline | None
    own_heads: float | None = None
    unanswered: Mapping[str, tuple[Unanswered, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Headline:
    """Means over tasks.

    Attributes:
        relative: Of `TaskHeadline.relative`.
        oracle_gap: Of `TaskHeadline.oracle_gap`, over tasks that have a gap.
    """

    relative: Interval
    oracle_gap: Interval | None


@dataclass(frozen=True, slots=True)
class ComparisonResult:
    """All tasks of a comparison; `headline` is None where no task has one."""

    tasks: tuple[TaskResult, ...]
    headline: Headline | None
