"""Verification: what fresh books and crashes say about a design, with α spent over the looks.

On the k-th look every limit is one-sided at level 1 − α/2^k, and its books and crashes are used for
nothing else, so the looks together are wrong with probability at most Σ α/2^k < α. For fixed levers
P(need > F) falls with F, so the smallest F whose upper limit meets the target, U_k, is an order
statistic, and P(U_k < F*) ≤ α/2^k: that is the capital which a look verifies. Where the target is
too rare for that, weighted paths have an upper limit of P(need > F) instead. With several limits
the largest of their U counts; it is too small only if that of the limit which needs most is, so
nothing is to be divided by their number. The capital that is verified is the smallest U_k.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from riskengine.calibration import frontier
from riskengine.calibration.frontier import Needs
from riskengine.calibration.spending import spent
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate
from riskengine.montecarlo.weighted import WeightedPaths

BEYOND = 100  # crashes that need more than a capital, for an upper limit of the mean beyond it


@dataclass(frozen=True)
class Limits:
    """What a design must keep to."""

    adl: float  # highest P(intervention)
    dry: float  # highest P(fund runs dry)
    loss: float | None = None  # USD, highest E[(R − F)⁺]
    haircut: float | None = None  # highest expected haircut of deleveraged winners
    fund: float = math.inf  # USD, highest first-loss capital


@dataclass(frozen=True)
class Look:
    """What one look on fresh paths verifies."""

    number: int
    alpha: float  # that it spends
    paths: int
    capital: dict[str, float]  # limit → smallest F whose upper limit meets it, USD; or infinite
    missed: dict[str, str]  # limit → why no F does
    books: int = 1
    weighted: bool = False

    @property
    def needed(self) -> float:
        """Capital at which all limits are met."""
        return max(self.capital.values())

    @property
    def binds(self) -> str:
        """The limit that needs most."""
        return max(self.capital, key=lambda name: self.capital[name])


def look(
    number: int,
    alpha: float,
    fresh: Needs,
    limits: Limits,
    rare: Mapping[str, WeightedPaths] | None = None,
) -> Look:
    """The smallest capital with which fresh paths show that the limits on needs are kept.

    `rare` has weighted paths for the limits "adl" and "dry" where plain ones are too few.
    """
    tail = spent(alpha, number)
    needs, capital, missed = fresh.at(1.0 - 2.0 * tail), {}, {}
    for name, need, exceed in (("adl", needs.adl, limits.adl), ("dry", needs.dry, limits.dry)):
        if rare:
            capital[name] = rare[name].at(1.0 - 2.0 * tail).verified(exceed)
            note = "no F with enough weighted crashes above it has an upper limit, or weights are off 1"
        else:
            found = estimators.quantile(name, need, exceed, needs.sample, "USD")
            capital[name] = math.inf if found.high is None else found.high
            note = found.note or "the sample has no upper limit"
        if math.isinf(capital[name]):
            missed[name] = note
    if limits.loss is not None:
        capital["loss"], missed["loss"] = _for_loss(needs, limits.loss)
    shown = rare["adl"] if rare else None
    paths, of = (len(shown.need), shown.sample) if shown else (needs.sample.paths, needs.sample)
    missed = {name: why for name, why in missed.items() if why}
    return Look(number, tail, paths, capital, missed, of.books, bool(rare))


def _for_loss(needs: Needs, loss: float) -> tuple[float, str]:
    """Capital for the limit on E[(R − F)⁺], or infinite and why."""
    (found,) = frontier.for_loss("loss", needs, [loss])
    beyond = int(np.sum(needs.beyond > (math.inf if found.high is None else found.high)))
    if found.high is not None and (beyond >= BEYOND or found.high == 0.0):
        return found.high, ""
    few = f"a mean that rests on {beyond} crashes beyond the capital, where {BEYOND} are asked for"
    return math.inf, found.note or few


def with_haircut(found: Look, tested: dict[float, Estimate], limit: float) -> Look:
    """The look with the expected haircut at tested capitals: met at one and at all larger ones.

    Capitals are tested from the largest down to the first that fails, so each at the full level.
    """
    place = np.asarray(sorted(tested))
    capital = frontier.for_level("haircut", place, [tested[f] for f in place], limit)
    met = {"haircut": math.inf if capital.high is None else capital.high}
    missed = {} if capital.high is not None else {"haircut": capital.note}
    return dataclasses.replace(found, capital=found.capital | met, missed=found.missed | missed)


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
