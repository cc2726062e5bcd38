"""Probabilities and quantiles of needs, smoothed so that small changes of every path count.

With the kernel K of bandwidth b on the logarithm of the need R,

    P_b(F) = E[K(log R − log F)],        K(u) = 2 Φ(u/b) − Φ(u/(b√2)),

P_b is a weighted mean of P(R > F') over F' near F: exact for some law of funds, and off from P(R > F)
by O(b⁴) (the part of O(b²) cancels between the two normal laws). A path whose need moves by δ
changes 1{R > F} with probability of about δ and then by 1; it changes K always and by about δ/b, so
the variance of a difference falls by about δ/b. F*_b solves P_b(F) = ε, and with P_b' = dP_b/dlog F

    δ log F*_b = −δP_b(F*_b) / P_b'(F*_b).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from riskengine.montecarlo.estimators import Values

BANDWIDTH = 0.25  # of the logarithm of a need
ROOT2 = math.sqrt(2.0)
ROOT2PI = math.sqrt(2.0 * math.pi)


def above(need: Values, capital: float, bandwidth: float = BANDWIDTH) -> Values:
    """K(log R − log F) of every path: about 1 where it needs more than F, about 0 where less.

    A need or a fund of 0 is far from all others; a bandwidth of 0 gives 1{R > F}.
    """
    if bandwidth == 0.0 or capital <= 0.0:
        return (need > capital).astype(float)
    u = _log(need) - math.log(capital)
    return 2.0 * special.ndtr(u / bandwidth) - special.ndtr(u / (ROOT2 * bandwidth))


def density(need: Values, capital: float, bandwidth: float = BANDWIDTH) -> Values:
    """−dK/dlog F of every path: the kernel estimate of the density of log R at log F."""
    with np.errstate(invalid="ignore"):
        u = np.where(np.isfinite(need) & (need > 0), _log(need) - math.log(capital), np.inf)
    return 2.0 * _normal(u / bandwidth) / bandwidth - _normal(u / (ROOT2 * bandwidth)) / (
        ROOT2 * bandwidth
    )


def _log(need: Values) -> Values:
    with np.errstate(divide="ignore"):
        return np.log(need)


def _normal(x: Values) -> Values:
    return np.exp(-0.5 * x**2) / ROOT2PI


@dataclass(frozen=True)
class Target:
    """F*_b(ε), and what each path adds to an error of its logarithm."""

    capital: float  # USD
    influence: Values  # of every path, on log F*
    near: float  # number of paths that the slope rests on


def target(curve, slopes, near: float, exceed: float) -> Target | None:
    """F*_b(ε) by bisection; None where there is none.

    `curve(F)` gives what every path adds to P_b(F), `slopes(F)` to its density; the search begins
    at the capital `near`.
    """

    def excess(log_capital: float) -> float:
        return float(curve(math.exp(log_capital)).mean()) - exceed

    low, high = math.log(near) - WIDE, math.log(near) + WIDE
    if excess(low) <= 0.0 or excess(high) > 0.0:
        return None
    while high - low > EXACT:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(middle) > 0.0 else (low, middle)
    capital = math.exp(high)
    each = slopes(capital)
    slope = float(each.mean())
    if slope <= 0.0:
        return None
    return Target(capital, curve(capital) / slope, float(each.sum() ** 2 / (each**2).sum()))


EXACT = 1e-7  # of the logarithm of a target
WIDE = 5.0  # of the logarithm: a step moves a target by less than 150 times
