"""Rare events: many crashes are surveyed, those that matter run, and every answer stays unbiased.

1. *Survey.* N paths are drawn whose scale R leans to large ones: the logarithm of the uniform u that
   decides it is uniform down to u₀, a hundredth of the rarest probability asked for, so its density is
   q(u) = 0.1 + 0.9 / (u ln 1/u₀) for u > u₀ instead of 1, and path i counts w_i = 1/q(u_i) ≤ 10 times
   (a defensive mixture, Hesterberg 1995). Crashes of all sizes are then about as frequent, and all
   else is as it was. Of each path only prices and depth are worked out (`montecarlo.survey`), some
   hundredths of the work.
2. *Predict.* The first of them, a pilot, run as they are. Logistic regression of need > F_k on what the
   survey saw, falls and rises apart and with a level for every book, gives P̂(need > F_k) of all
   others; F_k is the pilot's own guess of F*(ε_k).
3. *Choose.* To know P(need > F_k) at several F_k, all with the same relative error, the chances

       π_i ∝ w_i √(Σ_k P̂_i(need > F_k) / p̂_k²)

   have the smallest sum of relative variances that any chances with the same expected number have
   (Cauchy and Schwarz). A tenth of the paths is chosen by w_i alone, for what the prediction
   overlooks. Choices are independent, each by a random number of its own.
4. *Estimate.* Chosen paths run and count w_i / π_i times, the others not at all. By Horvitz and
   Thompson (1952) mean(w C/π f) over all N is unbiased for every f, however wrong the prediction is.

It serves every F at once. Books are not leaned on: each meets N / B surveyed paths.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Key
from scipy import special

from riskengine.montecarlo import keys, survey
from riskengine.montecarlo.estimators import Sample
from riskengine.montecarlo.keys import Stream
from riskengine.montecarlo.simulate import Simulation
from riskengine.montecarlo.survey import Survey
from riskengine.montecarlo.weighted import WeightedPaths
from riskengine.specs.book import Book
from riskengine.specs.scenario import Crash, Scenario
from riskengine.specs.venue import Venue
from riskengine.types import InputError, use_double

DEFENSIVE = 0.1  # of the survey's law is the law itself; of the choice, of chance by weight alone
BEYOND = 0.01  # of the rarest probability: to there the scale leans, beyond hardly anything lies
LEAST = 1e-12  # of a predicted probability
FEATURE = 20.0  # standard deviation of the slope of a feature, itself standardised, before the fit
LEVEL = 2.0  # and of what a book adds
# P̂ = Φ(η / 2) of the logit η: 1.7 would be the logistic law but for its long tails, by which too many
# harmless paths would be chosen; the rest is for errors of the fit
PROBIT = 2.0
Values = np.ndarray


def lean(uniform: Values, part: Values, least: float) -> tuple[Values, Values]:
    """u of the leaning law and its weights 1/q, from two independent uniforms each."""
    size = np.log(1.0 / least)
    u = np.where(part < DEFENSIVE, uniform, np.exp(-size * uniform))
    leaning = np.where(u > least, 1.0 / (u * size), 0.0)
    return u, 1.0 / (DEFENSIVE + (1.0 - DEFENSIVE) * leaning)


def uniforms(key: Key[Array, ""], purpose: Stream, paths: Values, count: int) -> Values:
    """Uniform numbers (paths, count) that depend on a path's id and purpose alone."""

    use_double()

    def each(path):
        return jax.random.uniform(keys.stream(key, purpose, path), (count,), "float64")

    return np.asarray(jax.vmap(each)(np.asarray(paths, np.uint32)))


@dataclass(frozen=True)
class Surveyed:
    """Paths with leaning scales, what each counts, and what it looks like."""

    path: Values
    book: Values
    scale: Values  # uniform number
    weight: Values
    seen: Survey

    @classmethod
    def of(
        cls, key: Key[Array, ""], books: Book, venue: Venue, scenario: Scenario,
        simulation: Simulation, paths: Values, rarest: float,
    ) -> "Surveyed":  # fmt: skip
        """Draw and survey these paths, for events as rare as that."""
        if not isinstance(scenario.law, Crash):
            law = type(scenario.law).__name__.lower()
            must = "must be plain where the law of prices has no random scale"
            raise InputError("simulation.estimator", must, f"scenario.law={law}")
        drawn = uniforms(key, Stream.LEAN, paths, 2)
        scale, weight = lean(drawn[:, 0], drawn[:, 1], BEYOND * rarest)
        count = int(jax.tree.leaves(books)[0].shape[0])
        seen = survey.survey(key, books, venue, scenario, simulation, paths, scale)
        return cls(paths, paths % count, scale, weight, seen)

    def some(self, rows) -> "Surveyed":
        """A part of the paths."""
        return Surveyed(
            self.path[rows], self.book[rows], self.scale[rows], self.weight[rows],
            self.seen.some(rows),
        )  # fmt: skip


def predict(pilot: Surveyed, event: Values, others: Surveyed) -> Values:
    """P̂(event) of other paths by what the pilot saw: logistic regression, falls and rises apart."""
    found = np.full(len(others.path), LEAST)
    for kind in (False, True):
        mine, theirs = pilot.seen.rises == kind, others.seen.rises == kind
        if not mine.any() or not theirs.any():
            continue
        design = _Design.of(pilot.some(mine))
        slope = _logistic(design(pilot.some(mine)), event[mine], design.prior)
        found[theirs] = special.ndtr(design(others.some(theirs)) @ slope / PROBIT)
    return np.maximum(found, LEAST)


@dataclass(frozen=True)
class _Design:
    """Standardised features, and a level for every book."""

    centre: Values
    spread: Values
    books: int

    @classmethod
    def of(cls, paths: Surveyed) -> "_Design":
        x = paths.seen.features
        return cls(x.mean(0), np.maximum(x.std(0), 1e-12), int(paths.book.max()) + 1)

    @property
    def prior(self) -> Values:
        """Standard deviations of slopes before anything is seen."""
        return np.asarray(
            [1e3, *(FEATURE for _ in self.centre), *(LEVEL for _ in range(self.books))]
        )

    def __call__(self, paths: Surveyed) -> Values:
        x = (paths.seen.features - self.centre) / self.spread
        own = paths.book[:, None] == np.arange(self.books)[None]
        return np.concatenate([np.ones((len(x), 1)), x, own], axis=1)


def _logistic(design: Values, event: Values, prior: Values) -> Values:
    """Slopes at their most likely, with these standard deviations of normal priors (Newton)."""
    slope, penalty = np.zeros(design.shape[1]), np.diag(prior**-2.0)
    for _ in range(50):
        p = special.expit(design @ slope)
        pull = design.T @ (event - p) - penalty @ slope
        curvature = design.T @ (design * (p * (1.0 - p))[:, None]) + penalty
        change = np.linalg.solve(curvature, pull)
        slope = slope + change / max(1.0, float(np.abs(design @ change).max()) / 2.0)
        if np.abs(change).max() < 1e-8:
            break
    return slope


def chances(surveyed: Surveyed, predicted: list[Values], paths: int) -> Values:
    """π of every surveyed path, so that about so many run, for events with these P̂."""
    together = np.zeros(len(surveyed.path))
    for each in predicted:
        together += each / float(np.mean(surveyed.weight * each)) ** 2
    wanted, own = surveyed.weight * np.sqrt(together), surveyed.weight
    share = (1.0 - DEFENSIVE) * wanted / wanted.sum() + DEFENSIVE * own / own.sum()
    return _scaled(share, paths)


def _scaled(wanted: Values, paths: int) -> Values:
    """min(c · wanted, 1) with c such that they sum to `paths`."""
    low, high = 0.0, 1.0 / wanted.min()
    for _ in range(100):
        c = 0.5 * (low + high)
        low, high = (c, high) if np.minimum(c * wanted, 1.0).sum() < paths else (low, c)
    return np.minimum(high * wanted, 1.0)


@dataclass(frozen=True)
class Rare:
    """The survey, what ran of it, and how."""

    surveyed: Surveyed
    chance: Values
    ran: Values  # rows of the survey
    need: Values  # USD, of those
    capitals: Values  # at which the choice aimed
    pilot: int  # paths that the prediction rests on

    def weighted(self, level: float = 0.95, random_books: bool = True) -> WeightedPaths:
        """Every surveyed path is a draw; those that did not run count nothing."""
        weight = self.surveyed.weight[self.ran] / self.chance[self.ran]
        sample = Sample(self.surveyed.book, level, random_books)
        return WeightedPaths(self.need, weight, self.ran, sample, "importance sampling")


def run(
    key: Key[Array, ""],
    surveyed: Surveyed,
    needs: Callable[[Values, Values], Values],
    exceed: tuple[float, ...],
    pilot: int,
    paths: int,
) -> Rare:
    """Pilot, prediction, choice and about `paths` runs for P(need > F*(ε)) at every ε asked for.

    `needs(paths, scales)` runs paths and gives what each needs. The pilot is not part of the
    estimates, as the choice rests on it.
    """
    if not 0 < pilot < len(surveyed.path):
        raise InputError("pilot", f"must be below the {len(surveyed.path)} surveyed paths", pilot)
    if not all(0.0 < e < 1.0 for e in exceed):
        raise InputError("exceed", "must be probabilities between 0 and 1", exceed)
    first = surveyed.some(slice(0, pilot))
    known = needs(first.path, first.scale)
    seen = WeightedPaths(known, first.weight, np.arange(pilot), Sample(first.book), "pilot")
    capitals = np.asarray([seen.target(e) for e in exceed])
    others = surveyed.some(slice(pilot, None))
    predicted = [predict(first, known > capital, others) for capital in capitals]
    chance = chances(others, predicted, paths)
    lots = uniforms(key, Stream.CHOICE, others.path, 1)[:, 0]
    ran = np.flatnonzero(lots < chance)
    need = needs(others.path[ran], others.scale[ran])
    return Rare(others, chance, ran, need, capitals, pilot)
