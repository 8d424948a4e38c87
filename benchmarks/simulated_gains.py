"""Simulated users of a gate: what choices gain over plain answers, and what can truly be expected of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hydra_ray.models.gate import Gate
from hydra_ray.models.gate_fit import GateRow
from hydra_ray.records import UserKey
from hydra_ray.steps.gating import FEATURES

Array = npt.NDArray[np.float64]
Fit = Callable[[Sequence[GateRow]], Gate]

# Gains of a judged user that are no more than rounding.
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class GainWorld:
    """Users of one sort.

    Attributes:
        name: In words.
        gain: Mean gain of a choice over the plain answer.
        user_spread: Standard deviation of users' own gains around it.
        slope: What a request gains more for each standard deviation of its first feature; the others are chance.
        noise: Standard deviation of a request's measured gain around what can be expected of it.
        each: Requests of a user at which choice and plain answer differ.
    """

    name: str
    gain: float
    user_spread: float
    slope: float = 0.0
    noise: float = 0.4
    each: int = 4


WORLDS = {
    world.name: world
    for world in (
        GainWorld("nothing", 0.0, 0.1),
        GainWorld("harm", -0.05, 0.1),
        GainWorld("gain", 0.2, 0.1, slope=0.1),
        GainWorld("gain, users differ", 0.2, 0.2, slope=0.1),
        GainWorld("small gain", 0.02, 0.01, noise=0.1),
        GainWorld("small gain, users differ", 0.02, 0.03, slope=0.01, noise=0.1),
        GainWorld("large gain", 0.35, 0.1, slope=0.1, noise=0.6),
    )
}


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """What a gate does to users whom it was not fitted on.

    Attributes:
        opens: 1 where it lets anything through, else 0.
        passes: Share of the requests at which the choice is given.
        gain: Mean gain with the gate, as can truly be expected.
        ungated: Mean gain of always giving the choice.
        worse: Share of users who can truly be expected to lose with the gate.
        ungated_worse: Share of users who can truly be expected to lose without it.
    """

    opens: float
    passes: float
    gain: float
    ungated: float
    worse: float
    ungated_worse: float


def simulated_rows(world: GainWorld, users: int, seed: int) -> tuple[list[GateRow], Array]:
    """Return the rows of users, and the gain that each row can truly be expected to have, shape (rows,)."""
    chance = np.random.default_rng(seed)
    own = np.repeat(chance.normal(0, world.user_spread, users), world.each)
    features = chance.normal(size=(users * world.each, len(FEATURES)))
    true = world.gain + own + world.slope * features[:, 0]
    measured = true + chance.normal(0, world.noise, len(true))
    rows = [
        GateRow(UserKey("simulated", str(place // world.each)), float(gain), tuple(read.tolist()))
        for place, (gain, read) in enumerate(zip(measured, features, strict=True))
    ]
    return rows, true


def outcome(world: GainWorld, fit: Fit, users: int, judged: int, seed: int) -> GateOutcome:
    """Fit a gate on some users, and ask it about others of the same world.

    Args:
        world: Sort of the users.
        fit: Fits the gate.
        users: Number of users it is fitted on.
        judged: Number of the others.
        seed: Seed of all of them.
    """
    gate = fit(simulated_rows(world, users, seed)[0])
    rows, true = simulated_rows(world, judged, seed + 1_000_000)
    passes = np.array([gate.passes(gate.expected(row.features)) for row in rows], dtype=float)
    of_user = np.repeat(np.arange(judged), world.each)
    with_gate, without = (np.bincount(of_user, values) for values in (true * passes, true))
    return GateOutcome(
        float(passes.any()),
        float(passes.mean()),
        float((true * passes).mean()),
        float(true.mean()),
        float((with_gate < -_SAME).mean()),
        float((without < -_SAME).mean()),
    )
