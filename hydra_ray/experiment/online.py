"""What an online experiment came to: for all users, by tenant, and by cohort."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hydra_ray.experiment.compare import ArmReport, Comparison, compare
from hydra_ray.experiment.logged import Logged
from hydra_ray.experiment.observed import Observed
from hydra_ray.records import HydraError, UserKey

# Cohorts by the number of history items before the first completion that is looked at.
AMOUNTS = {"no history": 0, "1 to 9 items": 1, "10 to 49 items": 10, "50 items or more": 50}


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the users of an experiment.

    Attributes:
        tenant: Tenant of all of them; empty for all tenants.
        cohort: Cohort of all of them; empty for all cohorts.
        users: Number of users.
        completions: Number of completions.
        arms: Report of each arm.
        comparisons: Comparisons of each arm with the one that all are compared with.
    """

    tenant: str
    cohort: str
    users: int
    completions: int
    arms: tuple[ArmReport, ...]
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class OnlineReport:
    """What an experiment came to.

    Attributes:
        experiment: Name of the experiment.
        against: Arm that the others are compared with.
        since_s: First moment that is looked at, in seconds since 1970.
        until_s: Moment after the last one.
        effect: Size of the differences that matter, as a share of what `against` comes to.
        left_out: Completions by arm that are not compared, as `Logged.left_out` has them; 0 for each other arm.
        slices: Slices of the users, all of them first.
    """

    experiment: str
    against: str
    since_s: float
    until_s: float
    effect: float
    left_out: Mapping[str, int]
    slices: tuple[Slice, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values that JSON can hold: what is not known is null."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def online_report(
    logged: Logged,
    amounts: Mapping[UserKey, int],
    *,
    against: str | None,
    since_s: float,
    until_s: float,
    effect: float,
    resamples: int,
    seed: int,
    by_cohort: bool,
) -> OnlineReport:
    """Return what an experiment came to.

    Args:
        logged: Completions of the experiment.
        amounts: Number of history items that users had before; who is left out had none.
        against: Arm that the others are compared with; None is the holdout or, where there is none, `default`.
        since_s: First moment that is looked at, in seconds since 1970.
        until_s: Moment after the last one.
        effect: Size of the differences that matter, as a share of what `against` comes to.
        resamples: Resamples of users behind each interval.
        seed: Seed that the resampling draws with.
        by_cohort: Whether to compare within each cohort, too.

    Raises:
        HydraError: The experiment has no completion, or nobody in the arm to compare with.
    """
    observed = logged.observed()
    arms = sorted(map(str, np.unique(observed.arms)))
    if not arms and logged.left_out:
        raise HydraError(
            f"experiment {logged.experiment!r} has nothing to compare in this time: all {logged.left_out.total():,} "
            "completions are left out, since only the LLM can answer requests of their form"
        )
    if not arms:
        raise HydraError(
            f"experiment {logged.experiment!r} has no completion in this time: is it the name in serve.experiment, and "
            "is serve.completions.enabled?"
        )
    if against is None:
        against = next((name for name in ("holdout", "default") if name in arms), arms[0])
    if against not in arms:
        what = "all requests were left out of" if against in logged.left_out else "nobody was in"
        raise HydraError(f"--against: {what} arm {against!r} in this time; there are {', '.join(arms)}")
    slices = []
    for tenant, cohort, chosen in _slices(logged, observed, amounts, by_cohort):
        part = observed.where(chosen)
        reports, comparisons = compare(part, against, effect, resamples, seed)
        users = len(np.unique(part.users))
        slices.append(Slice(tenant, cohort, users, len(part), tuple(reports), tuple(comparisons)))
    left_out = {arm: logged.left_out[arm] for arm in sorted({*arms, *logged.left_out})}
    return OnlineReport(logged.experiment, against, since_s, until_s, effect, left_out, tuple(slices))


def cohort_of(items: int) -> str:
    """Return the cohort of a user who had so many history items."""
    return [name for name, least in AMOUNTS.items() if least <= items][-1]


def _slices(
    logged: Logged, observed: Observed, amounts: Mapping[UserKey, int], by_cohort: bool
) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    """Yield tenant, cohort and which completions are of both."""
    keys = list(logged.users)
    tenants = np.array([key.tenant for key in keys], dtype=np.str_)[observed.users]
    cohorts = np.array([cohort_of(amounts.get(key, 0)) for key in keys], dtype=np.str_)[observed.users]
    everybody = np.ones(len(observed), dtype=bool)
    names = sorted({key.tenant for key in keys})
    # With one tenant, it and all of them are the same.
    wholes = [("", everybody)] if len(names) > 1 else []
    for tenant, of_tenant in [*wholes, *((name, tenants == name) for name in names)]:
        yield tenant, "", of_tenant
        for cohort in AMOUNTS if by_cohort else ():
            chosen = of_tenant & (cohorts == cohort)
            if chosen.any():
                yield tenant, cohort, chosen


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
