"""Inference that stays valid however often, and whenever, somebody looks: a normal mixture over effects.

With V the variance of an estimated difference d and tau the size of the differences that matter, let x = tau^2 / V.

    e-value      exp(z^2 / 2 * x / (1 + x)) / sqrt(1 + x),  z = d / sqrt(V)
    p            min(1, 1 / e-value)
    half-width   sqrt(V * (1 + 1 / x) * (log(1 + x) + 2 * log(1 / alpha)))

This is the mixture sequential probability ratio test (Robbins, 1970; Johari, Koomen, Pekelis and Walsh, "Always valid
inference", Operations Research 70(3), 2022, section 5), and with an estimated variance the asymptotic confidence
sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas ("Time-uniform central limit theory and asymptotic
confidence sequences", Annals of Statistics 52(6), 2024, theorem 2.2), whose t * rho^2 is our x. Time is counted in
information, 1 / V, and V is estimated by user (`compare.py`): what one user gets again and again adds little of it.
Estimates of one difference at several times then have about the covariance of a Brownian motion in that time (Jennison
and Turnbull, "Group Sequential Methods", 1999, section 11).

Being asymptotic, it says nothing of the first few users; `compare.py` keeps silent until there are enough of them.
"""

from __future__ import annotations

import math


def always_valid_p(difference: float, variance: float, tau: float) -> float:
    """Return a p value that may be looked at any time: under no effect it is ever at most `a` with probability `a`.

    Args:
        difference: Estimated difference.
        variance: Variance of the estimate.
        tau: Size of the differences that matter, chosen before the data. Any size gives a valid p; the nearer it is to
            the true difference, the smaller is p.
    """
    if variance <= 0 or tau <= 0:
        return 1.0
    x = tau**2 / variance
    log_e = difference**2 / variance / 2 * x / (1 + x) - math.log1p(x) / 2
    return min(1.0, math.exp(-log_e)) if log_e > 0 else 1.0


def half_width(variance: float, tau: float, alpha: float) -> float:
    """Return half the width of the confidence sequence: the truth is within it at all times with probability 1 - alpha.

    Args:
        variance: Variance of the estimate.
        tau: Size of the differences that matter, as for `always_valid_p`.
        alpha: Probability of ever being wrong.
    """
    if variance <= 0 or tau <= 0:
        return math.inf
    x = tau**2 / variance
    return math.sqrt(variance * (1 + 1 / x) * (math.log1p(x) + 2 * math.log(1 / alpha)))
