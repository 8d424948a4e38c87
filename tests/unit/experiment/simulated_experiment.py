"""Users of a made-up experiment, whose taste and number of requests differ, with a known effect."""

from __future__ import annotations

import numpy as np

from hydra_ray.experiment import Observed


def simulate(rng, users, effect, baseline=0.4, requests=6.0, spread=0.15, by="user", share=0.5):
    """Completions in the order in which they were served.

    Users differ in how much they accept (`spread`) and in how often they ask; arm `new` adds `effect` to the share.
    """
    accepts = np.clip(baseline + rng.normal(0, spread, users), 0.02, 0.98 - max(0.0, effect))
    counts = 1 + rng.poisson(rng.gamma(1.0, requests, users))
    of_user = rng.permutation(np.repeat(np.arange(users), counts))
    drawn = rng.random(users)[of_user] if by == "user" else rng.random(len(of_user))
    is_new = drawn < share
    said = (rng.random(len(of_user)) < accepts[of_user] + effect * is_new).astype(float)
    arms = np.where(is_new, "new", "holdout")
    return Observed(of_user, arms, np.where(is_new, share, 1 - share), {"accepted": said})


def first(observed: Observed, count: int) -> Observed:
    return observed.where(np.arange(len(observed)) < count)
