"""What an answer is over assumptions that nobody knows: a band, and which of them matters.

Assumptions θ have a lowest and a highest plausible value each, and nothing is known between them. A
scrambled Sobol design spreads n sets of them over that box; each set is simulated on the same random
numbers, and answers with y (the log of a fund target, say). What the answers have in common with
the base case, the error of these paths, cancels in

    y(θ) − y(base) = Σ_j f_j(θ_j) + rest,        f_j a parabola,

so the band is that of the base's answer moved by the fitted sum over the whole box, and by what the
fit leaves out: it holds what assumptions change, not what paths leave open. The fit is a ridge
regression whose weight leaves single sets out best; R² is that of sets left out (Allen's PRESS), so it
can be negative. Sobol's indices (2001) of the fit say what share of its variance over the box an
assumption makes. The rest, which no parabola per assumption explains, is in no index.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy.stats import qmc

from riskengine.montecarlo.estimators import Values
from riskengine.types import InputError

INSIDE = (0.025, 0.975)  # of the box: the band
DRAWS = 2**12
RIDGE = np.geomspace(1e-3, 1e3, 25)
RESAMPLES = 200


@dataclass(frozen=True)
class Assumption:
    """A number that is not known, and what is plausible."""

    name: str
    low: float
    high: float
    now: float

    def at(self, share: float) -> float:
        """Its value at a share of the way, in logs where it cannot be 0."""
        if self.low > 0.0:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + share * (self.high - self.low)

    @property
    def base(self) -> float:
        """Where its present value lies, as such a share."""
        if self.low > 0.0:
            return float(np.log(self.now / self.low) / np.log(self.high / self.low))
        return (self.now - self.low) / (self.high - self.low)


def design(assumptions: Sequence[Assumption], points: int, seed: int) -> Values:
    """Shares in [0, 1] (points, assumptions): a scrambled Sobol sequence; `points` is a power of two."""
    if points < 2 or points & (points - 1):
        raise InputError("points", "must be a power of two", points)
    return qmc.Sobol(len(assumptions), rng=seed).random(points)


@dataclass(frozen=True)
class Surrogate:
    """y less that of the base: one parabola per assumption."""

    base: Values  # shares
    slopes: Values  # of `_basis`
    explained: float  # R² of sets left out
    residual: float  # standard deviation of what is left out

    def __call__(self, shares: Values) -> Values:
        """y(θ) − y(base) at these shares (…, assumptions)."""
        return np.asarray((_basis(shares) - _basis(self.base)) @ self.slopes)


def _basis(shares: Values) -> Values:
    x = 2.0 * np.asarray(shares, float) - 1.0
    return np.concatenate([x, x**2 - 1.0 / 3.0], axis=-1)


def fit(shares: Values, y: Values, base: Values) -> Surrogate:
    """The parabolas through y(θ) − y(base), 0 at the base case."""
    x = _basis(shares) - _basis(base)
    errors = [_left_out(x, y, weight) for weight in RIDGE]
    best = int(np.argmin([error @ error for error in errors]))
    slopes = np.linalg.solve(x.T @ x + RIDGE[best] * np.eye(x.shape[1]), x.T @ y)
    error = errors[best]
    explained = 1.0 - float(error @ error) / max(float(np.sum((y - y.mean()) ** 2)), 1e-300)
    return Surrogate(np.asarray(base, float), slopes, explained, float(np.sqrt(np.mean(error**2))))


def _left_out(x: Values, y: Values, weight: float) -> Values:
    """y − ŷ of every set by the fit without it: (y − ŷ)/(1 − h)."""
    hat = x @ np.linalg.solve(x.T @ x + weight * np.eye(x.shape[1]), x.T)
    return (y - hat @ y) / (1.0 - np.diag(hat))


@dataclass(frozen=True)
class Shares:
    """Sobol's indices with intervals, by assumption: of the variance over the box."""

    first: Values
    low: Values
    high: Values


def band(surrogate: Surrogate, seed: int) -> tuple[float, float]:
    """y less that of the base, at the lower and upper end of most of the box.

    What the fit leaves out of sets that it has not seen, products of assumptions and the error of
    few paths, is added as a normal number: a band is rather too wide.
    """
    draws = qmc.Sobol(len(surrogate.base) + 1, rng=seed).random(DRAWS)
    left_out = special.ndtri(np.clip(draws[:, -1], 1e-12, 1.0 - 1e-12))
    y = surrogate(draws[:, :-1]) + surrogate.residual * left_out
    low, high = np.quantile(y, INSIDE)
    return float(low), float(high)


def shares(points: Values, y: Values, base: Values, seed: int, level: float = 0.95) -> Shares:
    """First-order indices of the fit; intervals from resampling the sets 200 times.

    A fit without products of assumptions has no interactions: total indices equal the first. An index
    is a sum of squares, which noise makes positive in every sample, so the lower limit is that of the
    quantiles or of their mirror image about the index, whichever is less (docs/coverage.md).
    """
    random = np.random.default_rng(seed)
    found = _indices(fit(points, y, base))
    again = []
    for rows in random.integers(len(y), size=(RESAMPLES, len(y))):
        again.append(_indices(fit(points[rows], y[rows], base)))
    tail = 0.5 * (1.0 - level)
    low, high = np.quantile(again, [tail, 1.0 - tail], axis=0)
    return Shares(found, np.minimum(low, np.maximum(2.0 * found - high, 0.0)), high)


def _indices(surrogate: Surrogate) -> Values:
    """Of a sum of parabolas a x + b (x² − ⅓) of uniform numbers x in ±1: each varies by a²/3 + 4 b²/45."""
    line, bow = np.split(surrogate.slopes, 2)
    each = line**2 / 3.0 + 4.0 * bow**2 / 45.0
    return each / each.sum() if each.any() else each
