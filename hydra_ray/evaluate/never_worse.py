"""What methods do to users against the best plain method, and what the gate decided, as plain values of a result.

More is better in every gain here, for errors too: their signs are turned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hydra_ray.bootstrap import Interval


@dataclass(frozen=True, slots=True)
class AgainstPlain:
    """What a method does to users, against the plain method at equal LLM calls that is best on other users.

    Attributes:
        chosen: Number of folds of users that chose each plain method.
        gain: Gain on the main metric.
        relative: Gain as a share of the plain method's value; None where that is 0.
        worse: Share of users whose metric is worse, as it was measured; n is the number of users.
        expected_worse: Share of users who can be expected to lose (empirical Bayes; docs/evaluation.md).
        surely_worse: Share of users who lose with a probability of at least 0.95.
    """

    chosen: Mapping[str, int]
    gain: Interval
    relative: Interval | None
    worse: Interval
    expected_worse: Interval
    surely_worse: Interval


@dataclass(frozen=True, slots=True)
class GateUse:
    """What hydra's gate decided, and what its caution cost.

    Attributes:
        requests: Number of requests at which the gate was asked, over all seeds.
        passed: Share of those at which hydra's choice was answered.
        answered: Number of requests by the answer that was given: "hydra", or the name of the plain answer.
        held_back: Share of all queries at which hydra's answer is not hydra-ungated's; None without the latter.
        cost: Main metric of hydra-ungated less that of hydra on the same queries: what the caution costs, below 0 where
            it gains; None without hydra-ungated.
    """

    requests: int
    passed: Interval
    answered: Mapping[str, int]
    held_back: float | None
    cost: Interval | None


@dataclass(frozen=True, slots=True)
class AgainstPlainOverTasks:
    """What a method does to users of all tasks, against the best plain method of each.

    Attributes:
        relative: Mean over tasks of `AgainstPlain.relative`; None where no task has one.
        worse: Share of all tasks' users whose metric is worse; n is the number of users.
        expected_worse: Share of them who can be expected to lose.
        surely_worse: Share of them who surely lose.
        worst_task: Name of the task with the least gain, as a share of the plain method's value.
        worst: Gain there, as a share of the plain method's value; None where that is 0.
    """

    relative: Interval | None
    worse: Interval
    expected_worse: Interval
    surely_worse: Interval
    worst_task: str
    worst: Interval | None


@dataclass(frozen=True, slots=True)
class Caution:
    """What the gate's caution costs over all tasks that have both hydra and hydra-ungated.

    Attributes:
        cost: Mean over tasks of hydra-ungated's relative gain over the best plain method, less hydra's; below 0 where
            the caution gains.
        share: Cost as a share of hydra-ungated's gain; None unless that gain is above 0 beyond chance.
    """

    cost: Interval
    share: Interval | None
