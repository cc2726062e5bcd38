"""How large the fund must be: the smallest capital that keeps an event as rare as asked for."""

import math
from dataclasses import dataclass

import numpy as np

from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate, Sample

KNOWN_TO = 0.1  # relative standard error of a probability that is called well known


@dataclass(frozen=True)
class Target:
    """F*(ε) with its two intervals, and the paths that it takes.

    `estimate` carries the variance within and between books and is what advice rests on: its upper
    limit. `simulation` is the error of this number of paths against these books.
    """

    estimate: Estimate
    simulation: Estimate
    design_effect: float
    paths_for_limit: int  # for an upper limit to exist
    paths_well_known: int  # for a relative standard error of 10 % of ε


def fund_target(name: str, need: np.ndarray, exceed: float, sample: Sample) -> Target:
    """The smallest F with P(need > F) ≤ ε, from the needs of all paths of one unlimited run.

    It is the order statistic of `estimators.quantile`. (The smallest of a grid of F whose estimated
    probability meets ε would miss it most of the time.)
    """
    found = estimators.quantile(name, need, exceed, sample, "USD")
    alone = estimators.quantile(f"{name}_simulation", need, exceed, sample, "USD", total=False)
    at = found.value if found.value is not None else np.inf
    effect = sample.paths / estimators.effective(need > at, sample)
    limit = math.log(0.5 * (1.0 - sample.level)) / math.log1p(-exceed)
    known = (1.0 - exceed) / (exceed * KNOWN_TO**2)
    return Target(
        estimate=found,
        simulation=alone,
        design_effect=effect,
        paths_for_limit=math.ceil(effect * limit),
        paths_well_known=math.ceil(effect * known),
    )


def difference(
    name: str, fine: np.ndarray, coarse: np.ndarray, exceed: float, sample: Sample
) -> Estimate:
    """Change of F*(ε) from the coarse to the fine time grid on the same paths and random numbers.

    The interval comes from resampling whole books (paths where the book is given) 999 times.
    """
    value = _at(fine, exceed) - _at(coarse, exceed)
    groups = sample.book if sample.random_books and sample.books > 1 else np.arange(sample.paths)
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    draw = np.random.Generator(np.random.PCG64(0)).integers(len(members), size=(999, len(members)))
    shifts = []
    for row in draw:
        chosen = np.concatenate([members[i] for i in row])
        shifts.append(_at(fine[chosen], exceed) - _at(coarse[chosen], exceed))
    tail = 0.5 * (1.0 - sample.level)
    low, high = np.quantile(shifts, [tail, 1.0 - tail])
    hits = int(np.sum(coarse > _at(coarse, exceed)))
    return Estimate(name, value, float(low), float(high), sample.level, sample.paths, hits,
                    "paired bootstrap", "USD")  # fmt: skip


def _at(need: np.ndarray, exceed: float) -> float:
    ordered = np.sort(need)
    return float(ordered[len(ordered) - 1 - math.floor(exceed * len(ordered))])


def levels(need: np.ndarray, capital: float) -> np.ndarray:
    """Six levels of F at which what happens after the first intervention is simulated.

    From no fund to one that is rarely used, with the venue's own in between: 0, a quarter, one and
    four times the capital, and the capital that one path in three and one in twenty needs.
    """
    finite = need[np.isfinite(need)]
    often, seldom = (_at(finite, e) if len(finite) else capital for e in (1 / 3, 1 / 20))
    asked = [0.0, 0.25 * capital, capital, 4.0 * capital, often, seldom]
    return np.unique(np.asarray([round(f, 2) for f in asked]))


