"""What weighted paths say: probabilities and fund targets of rare events, or that they cannot say it.

Of n independent draws each has run on no path, one or several, and these count w times: the estimate
of E[f] is the mean of y = Σ w f over the draws, and its interval Wilson's at the number of plain
paths that would have its variance within books and between them (`montecarlo.estimators`). Weights
alone tell little about how good that is (a good lean may have few paths of large weight, a bad one
none); what counts is y. An estimate is given only if

- as many paths of equal y would be at least `WORTH`, (Σ y)² / Σ y²;
- none of them makes more than `SHARE` of the sum;
- the tail index of y is not above `TAIL` by more than its standard error, so that y behaves as if it had
  a variance (generalised Pareto law of the largest);
- the mean weight is within three standard errors of 1, which it is if nothing was overlooked.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import RARE, Estimate, Sample, Values, finite

WORTH = 100.0
SHARE = 0.05
TAIL = 0.5
OFF = 3.0  # standard errors


@dataclass(frozen=True)
class Health:
    """Whether weights times events carry an estimate, and what they look like."""

    worth: float  # paths of equal weight
    share: float  # of the largest in the sum
    tail: float  # index of y less its standard error; nan where there are too few
    weight_off: float  # mean weight less 1, in standard errors
    problem: str  # nothing if the estimate may be used


def health(y: Values, weight: Values, sample: Sample) -> Health:
    """Look at y = w f and at the weights."""
    total, squares = float(y.sum()), float(y @ y)
    worth = total**2 / squares if squares > 0.0 else 0.0
    share = float(y.max(initial=0.0)) / total if total > 0.0 else 1.0
    found = (worth, share, tail_index(y), weight_off(weight, sample))
    return Health(*found, problem=_problem(*found))


def weight_off(weight: Values, sample: Sample) -> float:
    """Mean weight less 1, in standard errors."""
    error = math.sqrt(sample.variance(weight, total=False))
    return (float(weight.mean()) - 1.0) / error if error > 0.0 else 0.0


def _problem(worth: float, share: float, tail: float, off: float) -> str:
    if worth < WORTH:
        return f"worth {worth:.3g} paths of equal weight, needs {WORTH:g}"
    if share > SHARE:
        return f"one path is {100 * share:.2g} % of the sum, at most {100 * SHARE:g} % may be"
    if tail >= TAIL:
        return f"weights have no variance: tail index {tail:.2f}, must be below {TAIL:g}"
    if abs(off) > OFF:
        return f"the mean weight is {off:.1f} standard errors from 1"
    return ""


def tail_index(y: Values) -> float:
    """Lower limit of the shape of the generalised Pareto law of the largest y.

    As many as Vehtari et al. (2024) take; the standard error is (1 + k)/√n (Smith 1987).
    """
    positive = np.sort(y[y > 0.0])
    count = min(len(positive) // 5, math.ceil(3.0 * math.sqrt(len(positive))))
    if count < 20:
        return math.nan
    beyond = positive[-count:] - positive[-count - 1]
    if not beyond.any():
        return 0.0
    from scipy import stats  # takes half a second, which the command has better use for

    shape = float(stats.genpareto.fit(beyond[beyond > 0.0], floc=0.0)[0])
    return shape - (1.0 + shape) / math.sqrt(count)


@dataclass(frozen=True)
class WeightedPaths:
    """What each path needs, what it counts, and whose it is."""

    need: Values  # USD, of every path that ran
    weight: Values
    draw: Values  # row in `sample` of every path
    sample: Sample  # of all draws, those that ran on no path included
    method: str

    def at(self, level: float) -> "WeightedPaths":
        """The same for intervals at another level."""
        return dataclasses.replace(self, sample=dataclasses.replace(self.sample, level=level))

    def together(self, each: Values) -> Values:
        """Sums of what each path gives, one per draw."""
        return np.bincount(self.draw, each, minlength=self.sample.paths)

    def exceed(self, capital: float) -> Values:
        """y of the event that a path needs more than this."""
        return self.together(np.where(self.need > capital, self.weight, 0.0))

    def health(self, capital: float) -> Health:
        """Whether these paths carry P(need > F)."""
        return health(self.exceed(capital), self.together(self.weight), self.sample)

    def probability(self, name: str, capital: float, total: bool = True) -> Estimate:
        """P(need > F), or why these paths cannot tell."""
        found, about = self.health(capital), self._about(capital, total)
        if found.problem:
            return Estimate(name, None, None, None, *about, "probability", found.problem)
        low, high = self._limits(capital, total)
        value = float(self.exceed(capital).mean())
        return Estimate(name, value, low, high, *about, "probability", _said(found))

    def fund_target(self, name: str, exceed: float, total: bool = True) -> Estimate:
        """F*(ε): the smallest F with P(need > F) ≤ ε, a weighted order statistic.

        Limits are the nearest F on either side at which the interval of P(need > F) does not hold ε.
        P(need > F) falls with F, so what is beyond is excluded with it, though far from the F that the
        weights were chosen for its own interval may be wide enough to hold ε again.
        """
        ordered, value = np.sort(self.need), self.target(exceed)
        found, about = self.health(value), (*self._about(value, total), "USD")
        if value == math.inf:
            return Estimate(name, None, None, None, *about, "no capital is enough")
        if found.problem:
            return Estimate(name, None, None, None, *about, found.problem)
        place = int(np.searchsorted(ordered, value))
        below = range(place - 1, -1, -1)
        above = range(place, len(ordered))
        low = next((k + 1 for k in below if self._limits(ordered[k], total)[0] > exceed), 0)
        high = next((k for k in above if self._limits(ordered[k], total)[1] <= exceed), None)
        ends = float(ordered[low]), None if high is None else finite(float(ordered[high]))
        return Estimate(name, value, *ends, *about, _said(found))

    def verified(self, exceed: float) -> float:
        """The smallest F from F*(ε) on at which the upper limit of P(need > F) is at most ε; or infinite.

        Where a choice by prediction overlooks crashes, the few of them that run count many times, and a
        sample without any looks too good. So the largest weight of those that need more is counted once
        more, in the sum and in its variance: with weights of 1 that is one more hit (docs/coverage.md).
        There is no capital where fewer than `RARE` paths need more, or where the mean weight is not 1.
        """
        if abs(weight_off(self.together(self.weight), self.sample)) > OFF:
            return math.inf
        ordered = np.sort(self.need)
        for k in range(int(np.searchsorted(ordered, self.target(exceed))), len(ordered)):
            above = self.need > ordered[k]
            if int(above.sum()) < RARE:
                break
            most = float(self.weight[above].max()) / self.sample.paths
            p = float(self.exceed(ordered[k]).mean()) + most
            variance = self.variance(ordered[k], total=True) + most**2
            if p < exceed and self._wilson(p, variance, total=True)[1] <= exceed:
                return float(ordered[k])
        return math.inf

    def target(self, exceed: float) -> float:
        """The smallest need with at most the weight `exceed` above it."""
        order = np.argsort(-self.need, kind="stable")
        above = np.cumsum(self.weight[order]) / self.sample.paths
        # the weight strictly above the k-th largest need is that of those before it
        place = int(np.searchsorted(above, exceed * (1.0 + 1e-12), side="right"))
        return float(self.need[order[min(place, len(order) - 1)]])

    def variance(self, capital: float, total: bool) -> float:
        """Of the estimate of P(need > F)."""
        return self.sample.variance(self.exceed(capital), total)

    def gain(self, capital: float, work: float) -> float:
        """Plain paths that know P(need > F) on these books as well, over the work done, in paths.

        Plain variance is that within books, p_b (1 − p_b) on average over the books.
        """
        each = np.bincount(self.sample.place, self.exceed(capital)) / self.sample.sizes
        share = self.sample.sizes / self.sample.paths
        plain = float(share @ (each * np.maximum(1.0 - each, 0.0)))
        own = work * self.variance(capital, total=False)
        return plain / own if own > 0.0 else math.inf

    def _about(self, capital: float, total: bool) -> tuple[float, int, int, str]:
        """Level, paths that ran, those of them that need more, and the method."""
        together = ", within and between books" if self.sample.clustered(total) else ""
        hits = int(np.sum(self.need > capital))
        return self.sample.level, len(self.need), hits, self.method + together

    def _limits(self, capital: float, total: bool) -> tuple[float, float]:
        """Wilson's, at as many plain paths as have this variance.

        Rare paths of large weight raise an estimate and its standard error together; an interval of so
        many standard errors on both sides would lie below the truth three times as often as above.
        """
        p, variance = float(self.exceed(capital).mean()), self.variance(capital, total)
        if not 0.0 < p < 1.0 or variance <= 0.0:
            return min(p, 1.0), min(p, 1.0)
        return self._wilson(p, variance, total)

    def _wilson(self, p: float, variance: float, total: bool) -> tuple[float, float]:
        low, high = estimators.wilson(
            np.asarray([p]), np.asarray([p * (1.0 - p) / variance]), self.sample.quantile(total)
        )
        return low.item(), high.item()


def _said(found: Health) -> str:
    return (
        f"worth {found.worth:.0f} paths of equal weight, "
        f"the largest is {100 * found.share:.2g} % of the sum"
    )
