"""Verification: what fresh books and crashes say about a design, with α spent over the looks.

On the k-th look every limit is one-sided at level 1 − α/2^k, and its books and crashes are used for
nothing else, so the looks together are wrong with probability at most Σ α/2^k < α. For fixed levers
P(need > F) falls with F, so the smallest F whose upper limit meets the target, U_k, is an order
statistic, and P(U_k < F*) ≤ α/2^k: that is the capital which a look verifies. With several limits
the largest of their U counts; it is too small only if that of the limit which needs most is, so
nothing is to be divided by their number. The capital that is verified is the smallest U_k.
"""

import math
from dataclasses import dataclass

import numpy as np

from riskengine.calibration import frontier
from riskengine.calibration.frontier import Needs
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate

BEYOND = 30  # crashes that need more than a capital, for an upper limit of the mean beyond it


@dataclass(frozen=True)
class Limits:
    """What a design must keep to."""

    adl: float  # highest P(intervention)
    dry: float  # highest P(fund runs dry)
    loss: float | None = None  # USD, highest E[(R − F)⁺]
    haircut: float | None = None  # highest expected haircut of deleveraged winners
    fund: float = math.inf  # USD, highest first-loss capital


def spent(alpha: float, look: int) -> float:
    """What of α the k-th look may be wrong with; looks count from 1."""
    return alpha / 2.0**look


def paths_needed(exceed: float, tail: float) -> int:
    """Independent paths without which no order statistic is an upper limit: (1 − ε)ⁿ ≤ tail."""
    return math.ceil(math.log(tail) / math.log1p(-exceed))


@dataclass(frozen=True)
class Look:
    """What one look on fresh paths verifies."""

    number: int
    alpha: float  # that it spends
    paths: int
    capital: dict[str, float]  # limit → smallest F whose upper limit meets it, USD; or infinite
    missed: dict[str, str]  # limit → why no F does

    @property
    def needed(self) -> float:
        """Capital at which all limits are met."""
        return max(self.capital.values())

    @property
    def binds(self) -> str:
        """The limit that needs most."""
        return max(self.capital, key=lambda name: self.capital[name])


def look(number: int, alpha: float, fresh: Needs, limits: Limits) -> Look:
    """The smallest capital with which fresh paths show that the limits on needs are kept."""
    tail = spent(alpha, number)
    needs, capital, missed = fresh.at(1.0 - 2.0 * tail), {}, {}
    for name, need, exceed in (("adl", needs.adl, limits.adl), ("dry", needs.dry, limits.dry)):
        found = estimators.quantile(name, need, exceed, needs.sample, "USD")
        capital[name] = math.inf if found.high is None else found.high
        if found.high is None:
            missed[name] = found.note or "the sample has no upper limit"
    if limits.loss is not None:
        (found,) = frontier.for_loss("loss", needs, [limits.loss])
        beyond = int(np.sum(needs.beyond > (math.inf if found.high is None else found.high)))
        known = found.high is not None and (beyond >= BEYOND or found.high == 0.0)
        capital["loss"] = found.high if known and found.high is not None else math.inf
        if not known:
            missed["loss"] = found.note or (
                f"a mean that rests on {beyond} crashes beyond the capital, where {BEYOND} are asked for"
            )
    return Look(number, tail, needs.sample.paths, capital, missed)


def with_haircut(found: Look, tested: dict[float, Estimate], limit: float) -> Look:
    """The look with the expected haircut at tested capitals: met at one and at all larger ones.

    Capitals are tested from the largest down to the first that fails, so each at the full level.
    """
    place = np.asarray(sorted(tested))
    capital = frontier.for_level("haircut", place, [tested[f] for f in place], limit)
    met = {"haircut": math.inf if capital.high is None else capital.high}
    missed = {} if capital.high is not None else {"haircut": capital.note}
    return Look(
        found.number, found.alpha, found.paths, found.capital | met, found.missed | missed
    )  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What all looks say together."""

    looks: list[Look]
    limits: Limits

    @property
    def best(self) -> Look:
        """The look that needs least; where none verifies, one that misses least."""
        return min(self.looks, key=lambda one: (one.needed, len(one.missed)))

    @property
    def capital(self) -> float:
        """The capital that is verified, or that would be without a highest one; or infinite."""
        return self.best.needed

    @property
    def met(self) -> bool:
        """Whether the design is verified."""
        return math.isfinite(self.capital) and self.capital <= self.limits.fund

    @property
    def binds(self) -> str:
        """The limit that needs most, or the highest capital where that is not enough."""
        over = math.isfinite(self.capital) and self.capital > self.limits.fund
        return "fund" if over else self.best.binds

    @property
    def nearest(self) -> float:
        """The capital of the design that was verified, or of the nearest one, which is not.

        That has what the limits take that a look could verify, and at most the highest capital.
        """
        known = [x for x in self.best.capital.values() if math.isfinite(x)]
        return min(max(known, default=math.inf), self.limits.fund)
