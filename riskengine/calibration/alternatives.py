"""Further estimators of sensitivities, for comparison (docs/sensitivity.md has the measurements).

**Common noise.** All levers of a group of paths are moved at once by σ ξ_j, ξ normal, and the same
paths run at +ξ and −ξ: E[(Y⁺ − Y⁻) ξ_j / 2σ] is the derivative by lever j of E[Y] smoothed over the
levers (evolution strategies; SPSA with normal directions). Two runs give all levers, but each
carries the noise of all others.

**Conditional on all but the scale.** Every crash runs at several scales. Between them log R is
interpolated in ℓ, and P(R > F) is integrated exactly over the law of ℓ: smooth in every lever.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import special

from riskengine.montecarlo.estimators import Values
from riskengine.specs.scenario import SPAN

# Common noise


def common_noise(
    outcomes: Callable[[Values, Values], Values],
    groups: list[Values],
    dimension: int,
    sigma: float,
    random: np.random.Generator,
) -> tuple[Values, Values]:
    """Derivatives of the mean by all levers, and their standard errors over the groups.

    `outcomes(paths, shift)` gives Y of some paths with all levers shifted by a vector; every group
    of paths has a vector of its own.
    """
    terms = []
    for paths in groups:
        xi = random.standard_normal(dimension)
        up, down = (float(outcomes(paths, sign * sigma * xi).mean()) for sign in (1.0, -1.0))
        terms.append((up - down) / (2.0 * sigma) * xi)
    each = np.asarray(terms)
    return each.mean(0), each.std(0, ddof=1) / math.sqrt(len(each))


# Conditional on all but the scale


def levels_of_scale(count: int) -> Values:
    """Uniform numbers of the scales at which every crash runs, scales ascending: equal logits apart."""
    return special.expit(np.linspace(LOGITS, -LOGITS, count))


LOGITS = 6.0  # of the smallest and the largest scale: one in 400 crashes is beyond either


def conditional_above(need: Values, uniform: Values, table: Values, capital: float) -> Values:
    """P(R > F | all but the scale) of every crash, from its needs (crashes, scales).

    log R is linear in the log scale between the scales that ran, and constant beyond them; each
    piece that crosses F is cut there. Scales ascend, so their uniform numbers u fall; P(scale less) = 1 − u.
    """
    x, ascending = np.linspace(-SPAN, SPAN, len(table)), table[::-1]
    less = 1.0 - uniform
    size = np.interp(special.logit(less), x, ascending)
    with np.errstate(divide="ignore"):
        log_need = np.clip(np.log(need) - math.log(capital), -FAR, FAR)
    outside = (log_need[:, 0] > 0) * less[0] + (log_need[:, -1] > 0) * uniform[-1]
    low, high = log_need[:, :-1], log_need[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(high == low, 0.0, -low / (high - low))
    cut = np.clip(share, 0.0, 1.0) * np.diff(size) + size[:-1]
    at = special.expit(np.interp(cut, ascending, x))
    inside = np.where(
        (low > 0) & (high > 0), np.diff(less),
        np.where(low > 0, at - less[:-1], np.where(high > 0, less[1:] - at, 0.0)),
    )  # fmt: skip
    return outside + inside.sum(1)


FAR = 20.0  # of the logarithm: needs of 0 and of infinity are put there
