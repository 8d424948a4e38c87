"""Result of a comparison: plain values, as `results.json` has them and the report shows them.

More is better in every difference here, for errors too: their signs are turned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hydra_ray.bootstrap import Interval
from hydra_ray.evaluate.never_worse import AgainstPlain, AgainstPlainOverTasks, Caution, GateUse
from hydra_ray.steps.generate.failures import Unanswered
from hydra_ray.steps.profiles.profile import Readable


@dataclass(frozen=True, slots=True)
class Pair:
    """Comparison of two methods on the main metric.

    Attributes:
        first: Name of the better method.
        second: Name of the other method.
        difference: Gain of the first over the second, with its 95 % interval over users.
        p: Two-sided p value of the bootstrap.
        p_holm: The p value after Holm's correction for all pairs of the task.
    """

    first: str
    second: str
    difference: Interval
    p: float
    p_holm: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Mean cost of one request.

    Answers from the cache count as calls. So do profiles, shared out evenly over requests.

    Attributes:
        calls: Number of LLM calls.
        prompt_tokens: Tokens of these calls' prompts.
        completion_tokens: Tokens of these calls' completions.
        seconds: Seconds from query to answer; LLM answers may come from the cache.
        failed: Share of requests without an answer.
        degraded: Share of requests answered without one of their steps, or by a profile that names no differences.
    """

    calls: float
    prompt_tokens: float
    completion_tokens: float
    seconds: float
    failed: float
    degraded: float


@dataclass(frozen=True, slots=True)
class Profiled:
    """Profiles of a method that tells the LLM what sets users apart from others.

    Attributes:
        users: Number of users whose profile was told.
        apart: Number of those whose profiles all name differences; the others' are as pag's.
        read: Items that were compared with others', by when the LLM's answer could be read; none where the profiles
            were there already, or were written for another method.
    """

    users: int
    apart: int
    read: Mapping[Readable, int]


@dataclass(frozen=True, slots=True)
class Slice:
    """Main metric on some of a task's queries.

    Attributes:
        by: Sort of slice: "history" (items), "cohort" or "item".
        name: Name of the slice, e.g. "6 to 20", a cohort's name, "unseen".
        users: Number of users whose queries they are.
        methods: Main metric by method; n is the number of queries.
    """

    by: str
    name: str
    users: int
    methods: Mapping[str, Interval]


@dataclass(frozen=True, slots=True)
class WinLoss:
    """Shares of users with a better, equal or worse main metric than under zero-shot; they add up to 1."""

    better: float
    same: float
    worse: float


@dataclass(frozen=True, slots=True)
class UserGain:
    """Gain of one user by hydra over the prompt-based method that is best for everybody."""

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
    """hydra's main metric at one x: candidates a query (then without its gate), or users in training."""

    x: int
    value: Interval


@dataclass(frozen=True, slots=True)
class TaskHeadline:
    """One task's part of the headline; docs/evaluation.md defines it.

    Attributes:
        relative: Gain of hydra over the prompt-based method, as a share of the latter (0.1 is 10 %).
        chosen: Number of folds of users that chose each prompt-based method.
        oracle_gap: Share of the way from majority vote to the best of the candidates; None where there is no gap.
    """

    relative: Interval
    chosen: Mapping[str, int]
    oracle_gap: Interval | None


@dataclass(frozen=True, slots=True)
class TaskResult:
    """Result of one task.

    Attributes:
        task: Name of the task.
        split: Split of the data that was evaluated.
        metrics: Names of the metrics, the main one first.
        higher_is_better: Whether more is better, by metric.
        users: Number of users.
        queries: Number of distinct queries, whatever the seed.
        seeds: Training seeds.
        methods: Metrics by method, over all seeds.
        controls: Names of those of `methods` that are controls, not competitors.
        by_seed: Main metric by method and seed.
        pairs: Every two competitors, and hydra with each control; the better one first.
        slices: Main metric on parts of the queries.
        fates: Shares of users who win and lose, by method.
        costs: Mean cost of a request, by method.
        gains: Gain of each user, smallest first.
        calibration: Calibration of the reranker, in bins of predicted chance.
        by_candidates: Main metric of hydra with fewer candidates.
        by_users: Main metric of hydra with fewer users in training.
        missing: Number of queries without an output, by method; methods without any are left out.
        unanswered: Number of queries that the LLM refused, by method and kind.
        profiled: Profiles of methods that tell what sets users apart.
        headline: The task's part of the headline; None where hydra or prompt-based methods are absent.
        own_heads: Share of hydra's answers that were chosen under a head of the user's own; None without hydra.
        against_plain: What each method with a base does to users, against the best plain method.
        gate: What the gate decided; None where it was never asked.
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
    profiled: Mapping[str, Profiled] = field(default_factory=dict)
    against_plain: Mapping[str, AgainstPlain] = field(default_factory=dict)
    gate: GateUse | None = None


@dataclass(frozen=True, slots=True)
class Headline:
    """Headline of a comparison: means over tasks.

    Attributes:
        relative: Mean of `TaskHeadline.relative`.
        oracle_gap: Mean of `TaskHeadline.oracle_gap` over tasks that have a gap; None where none has.
    """

    relative: Interval
    oracle_gap: Interval | None


@dataclass(frozen=True, slots=True)
class ComparisonResult:
    """Results of all tasks of a comparison.

    Attributes:
        tasks: Results of each task.
        headline: Headline over tasks; None where no task has one.
        against_plain: What each method with a base does to users, over tasks.
        cost_of_caution: What the gate's caution costs; None where no task tells.
    """

    tasks: tuple[TaskResult, ...]
    headline: Headline | None
    against_plain: Mapping[str, AgainstPlainOverTasks] = field(default_factory=dict)
    cost_of_caution: Caution | None = None
