"""Sentences that say what a comparison came to."""

from __future__ import annotations

from collections.abc import Sequence

from hydra_ray.bootstrap import Interval
from hydra_ray.evaluate.reporting.formatting import (
    HYDRA,
    ZERO_SHOT,
    amount,
    count,
    gained_and_lost,
    percent,
    pooled_fates,
    prompted,
    signed,
)
from hydra_ray.evaluate.results import ComparisonResult, Cost, TaskResult
from hydra_ray.steps.profiles.profile import in_words


def headline(result: ComparisonResult) -> str:
    """Say how much better hydra is than prompting, and whether that may be chance."""
    if result.headline is None:
        return (
            f"There is no headline: it takes {HYDRA}, prompt-based methods (evaluate.methods) and a result of theirs "
            "other than 0."
        )
    relative = result.headline.relative
    tasks = sum(task.headline is not None for task in result.tasks)
    who = f"Over {tasks} tasks {HYDRA} is on average" if tasks > 1 else f"{HYDRA} is"
    than = f"than the prompt-based method that is best on other users ({_ends(relative)})"
    return f"{who} {improvement(relative)} {than}, which {chance(relative)}."


def sentences(result: ComparisonResult) -> list[str]:
    """Return the sentences beside the headline: single tasks, oracle gap, users who gain and lose, gate, cost."""
    said = [_tasks(result), _gap(result), _fates(result), _lost(result), never_worse(result), _cost(result)]
    return [sentence for sentence in said if sentence]


def profiles(task: TaskResult) -> str:
    """Say how many users' profiles name differences from others, by method; "" where none was to."""
    return " ".join(
        f"{method}: {found.apart} of {count(found.users, 'user')} had a profile that names differences from others, "
        f"the rest one as pag's.{f' {in_words(found.read)}' if found.read else ''}"
        for method, found in task.profiled.items()
    )


def never_worse(result: ComparisonResult) -> str:
    """Say what hydra does to users against the best plain method, where it does worst, and what caution costs."""
    found = result.against_plain.get(HYDRA)
    said = []
    if found is not None:
        said.append(
            f"Against the plain method at equal LLM calls that is best on other users, {percent(found.worse.value)} of "
            f"{count(found.worse.n, 'user')} have it worse as measured; {percent(found.expected_worse.value)} can be "
            f"expected to lose, {percent(found.surely_worse.value)} surely."
        )
        if found.worst is not None and len(result.tasks) > 1:
            said.append(f"Its worst task is {found.worst_task}: {improvement(found.worst)} ({_ends(found.worst)}).")
    if result.cost_of_caution is not None:
        cost, share = result.cost_of_caution.cost, result.cost_of_caution.share
        points = f"{percent(cost.value)} of the plain method's score ({_ends(cost)})"
        part = f", {percent(share.value)} of what hydra-ungated gains ({_ends(share)})" if share else ""
        said.append(f"The gate's caution costs {points}{part}.")
    return " ".join(said)


def gate(task: TaskResult) -> str:
    """Say which answers the gate gave on a task and what its caution cost; "" where no gate was asked."""
    if task.gate is None:
        return ""
    use, metric = task.gate, task.metrics[0]
    plain = ", ".join(f"{name} {amount(number)}" for name, number in use.answered.items() if name != HYDRA)
    said = [
        f"hydra's own choice passed the gate in {percent(use.passed.value)} of {count(use.requests, 'request')} "
        f"({_ends(use.passed)}){f'; the plain answers that were given: {plain}' if plain else ''}."
    ]
    if use.held_back is not None and use.cost is not None:
        ends = f"95 % interval {signed(use.cost.low, metric)} to {signed(use.cost.high, metric)}"
        said.append(
            f"{percent(use.held_back)} of its answers are others than those of hydra-ungated, which is "
            f"{signed(use.cost.value, metric)} better in {metric} ({ends})."
        )
    return " ".join(said)


def improvement(relative: Interval) -> str:
    """Say an improvement in percent, e.g. "8.7 % better"."""
    return f"{percent(abs(relative.value))} {'worse' if relative.value < 0 else 'better'}"


def chance(difference: Interval) -> str:
    """Say whether a difference is beyond chance: its whole interval is on one side of 0."""
    return "is beyond chance" if difference.low > 0 or difference.high < 0 else "may be chance"


def _tasks(result: ComparisonResult) -> str:
    measured = [task.headline.relative for task in result.tasks if task.headline is not None]
    if len(measured) < 2:
        return ""
    better, worse = sum(one.low > 0 for one in measured), sum(one.high < 0 for one in measured)
    return f"Beyond chance it is better in {better} and worse in {worse} of {len(measured)} tasks."


def _gap(result: ComparisonResult) -> str:
    if result.headline is None:
        return ""
    gap = result.headline.oracle_gap
    if gap is None:
        return "The best of its candidates is no better than their majority vote, so there was nothing to choose."
    return (
        f"From majority vote to the best of the same candidates it goes {percent(gap.value)} of the way ({_ends(gap)})."
    )


def _fates(result: ComparisonResult) -> str:
    shares = pooled_fates(result, HYDRA)
    if shares is None:
        return ""
    better, worse = shares
    return f"Against the LLM alone ({ZERO_SHOT}) it makes {percent(worse)} of users worse and {percent(better)} better."


def _lost(result: ComparisonResult) -> str:
    users = sum(len(task.gains) for task in result.tasks)
    # What is told at equal calls, with a baseline that others chose, says it better.
    if not users or HYDRA in result.against_plain:
        return ""
    lost = sum(gained_and_lost(task)[1] for task in result.tasks)
    return f"Against the prompt-based method that is best for everybody, {percent(lost / users)} of users lose."


def _cost(result: ComparisonResult) -> str:
    own = _mean_cost([task.costs[HYDRA] for task in result.tasks if HYDRA in task.costs])
    names = [(task, prompted(task)) for task in result.tasks]
    other = _mean_cost([task.costs[name] for task, name in names if name is not None and name in task.costs])
    if not own:
        return ""
    return f"A request costs it {own}" + (f"; the prompt-based method {other}." if other else ".")


def _mean_cost(costs: Sequence[Cost]) -> str:
    if not costs:
        return ""
    calls = sum(cost.calls for cost in costs) / len(costs)
    tokens = sum(cost.prompt_tokens + cost.completion_tokens for cost in costs) / len(costs)
    return f"{count(calls, 'LLM call')} and {count(round(tokens), 'token')}"


def _ends(found: Interval) -> str:
    return f"95 % interval {percent(found.low)} to {percent(found.high)}"
