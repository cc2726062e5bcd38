"""How large the fund must be: the smallest capital that keeps an event as rare as asked for."""

import math
from dataclasses import dataclass

import numpy as np

from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate, Sample

KNOWN_TO = 0.1  # relative standard error of a probability that is called well known
RESAMPLES = 999  # of a bootstrap: its limits are order statistics, at 95 % the 25th on each side


@dataclass(frozen=True)
class Target:
    """F*(ε) with its two intervals, and the paths that it takes.

    `estimate` carries the variance within and between books and is what advice rests on: its upper
    limit. `simulation` is the error of this number of paths against these books. The numbers of
    paths hold for books of as many paths as here, so for more books, not for more paths of them.
    """

    estimate: Estimate
    simulation: Estimate
    design_effect: float
    paths_for_limit: int  # for an upper limit to exist
    paths_well_known: int  # for a relative standard error of 10 % of ε


def fund_target(name: str, need: np.ndarray, exceed: float, sample: Sample) -> Target:
    """The smallest F with P(need > F) ≤ ε, from the needs of all paths of one unlimited run.

    It is the order statistic of `estimators.quantile`. (The smallest of a grid of F whose estimated
    probability meets ε would miss it most of the time.) The design effect is that of the need at F,
    or, where fewer than 10 paths need more, at the 10 largest needs.
    """
    found = estimators.quantile(name, need, exceed, sample, "USD")
    alone = estimators.quantile(f"{name}_simulation", need, exceed, sample, "USD", total=False)
    at = estimators.upper(need, max(exceed, estimators.RARE / sample.paths))
    effect = sample.paths / estimators.effective_above(need, at, sample)
    ranked = sample.paths / estimators.effective_ranks(need, at, sample)
    limit = math.log(sample.tail) / math.log1p(-exceed)  # (1 − ε)ⁿ ≤ tail: one of n lies above F*
    known = (1.0 - exceed) / (exceed * KNOWN_TO**2)
    return Target(
        estimate=found,
        simulation=alone,
        design_effect=effect,
        paths_for_limit=math.ceil(ranked * limit),
        paths_well_known=math.ceil(effect * known),
    )


def difference(
    name: str, fine: np.ndarray, coarse: np.ndarray, exceed: float, sample: Sample
) -> Estimate:
    """Change of F*(ε) from the coarse to the fine time grid on the same paths and random numbers.

    The interval comes from resampling whole books (paths where the book is given) 999 times.
    """
    before, after = estimators.upper(coarse, exceed), estimators.upper(fine, exceed)
    hits = int(np.sum(coarse > before))
    about = (sample.level, sample.paths, hits, "paired bootstrap", "USD")
    if math.isinf(before) or math.isinf(after):
        return Estimate(name, None, None, None, *about, "no capital is enough at one of the steps")
    shifts = _resampled(fine, coarse, exceed, sample)
    rank = math.floor(sample.tail * (len(shifts) + 1) * (1.0 + 1e-12))
    if rank < 1:
        return Estimate(name, after - before, None, None, *about, "too few resamples for limits")
    low, high = float(shifts[rank - 1]), float(shifts[-rank])
    limits = [x if math.isfinite(x) else None for x in (low, high)]
    return Estimate(name, after - before, limits[0], limits[1], *about)


def _resampled(fine: np.ndarray, coarse: np.ndarray, exceed: float, sample: Sample) -> np.ndarray:
    """The change on books drawn with replacement, ascending; NaN where both needs are infinite."""
    groups = sample.place if sample.clustered(True) else np.arange(sample.paths)
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
    random = np.random.Generator(np.random.PCG64(0))
    shifts = []
    for row in random.integers(len(members), size=(RESAMPLES, len(members))):
        chosen = np.concatenate([members[i] for i in row])
        before, after = (estimators.upper(need[chosen], exceed) for need in (coarse, fine))
        shifts.append(after - before)
    return np.sort(shifts)


def levels(need: np.ndarray, capital: float) -> np.ndarray:
    """At most seven levels of F at which what happens after the first intervention is simulated.

    From no fund to one that is rarely used, with the venue's own in between: 0, the capital, and
    what one path in two, three, five, ten and twenty needs.
    """
    finite = need[np.isfinite(need)]
    needed = [estimators.upper(finite, 1 / n) for n in (2, 3, 5, 10, 20)] if len(finite) else []
    return np.unique([0.0, capital, *(round(f, 2) for f in needed)])
