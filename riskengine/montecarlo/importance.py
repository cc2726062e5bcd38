"""Rare events: many crashes are surveyed, those that matter run, and every answer stays unbiased.

1. *Survey.* N paths are drawn whose scale R leans to large ones: the logarithm of the uniform u that
   decides it is uniform down to u₀, a hundredth of the rarest probability asked for, so its density is
   q(u) = 1 − t + t / (u ln 1/u₀) for u > u₀ instead of 1, with t = `Trust.lean`, and path i counts
   w_i = 1/q(u_i) ≤ 1/(1 − t) times (a defensive mixture, Hesterberg 1995). Crashes of all sizes are
   then about as frequent, and all else is as it was. Of each path only prices and depth are worked out
   (`montecarlo.survey`), some hundredths of the work.
2. *Predict.* The first of them, a pilot, run as they are. Logistic regression of need > F_k on what the
   survey saw, falls and rises apart and with a level for every book where much of it is known, gives
   P̂(need > F_k) of all others; F_k is what is known so far of F*(ε_k).
3. *Choose.* To know P(need > F_k) at several F_k, all with the same relative error, the chances

       π_i ∝ w_i √(Σ_k P̂_i(need > F_k) / p̂_k²)

   have the smallest sum of relative variances that any chances with the same expected number have
   (Cauchy and Schwarz). What `Trust.choice` leaves is chosen by w_i alone, for what the prediction
   overlooks. Choices are independent, each by a random number of its own.
4. *Estimate.* Chosen paths run and count w_i / π_i times, the others not at all. By Horvitz and
   Thompson (1952) mean(w C/π f) over all N is unbiased for every f, however wrong the prediction is.
5. *Look again.* What ran teaches a better prediction, and a choice twice as large is made by it.

It serves every F at once. Books are not leaned on: each meets N / B surveyed paths.
"""

from collections.abc import Callable, Sequence
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

BEYOND = 0.01  # of the rarest probability: to there the scale leans, beyond hardly anything lies
LEAST = 1e-12  # of a predicted probability
FEATURE = 20.0  # standard deviation of the slope of a feature, itself standardised, before the fit
LEVEL = 2.0  # and of what a book adds
KNOWN, FEW = (
    8,
    64,
)  # paths of each book from which on what it adds is estimated, and books up to which
LOOKS = 3
Values = np.ndarray


@dataclass(frozen=True)
class Trust:
    """How far the lean and the choice rely on what they expect."""

    lean: float = 0.9  # of the survey's law; the rest is the law itself
    choice: float = 0.9  # of the choice; the rest is by weight alone
    # P̂ = Φ(η / probit) of the logit η: 1.7 would be the logistic law but for its long tails, by which
    # too many harmless paths would be chosen; the rest is for errors of the fit
    probit: float = 2.0


BOLD = Trust()  # the least variance for what happens once in 1,000 or more seldom
# For limits that must hold: crashes that the prediction overlooks are few and count little
# (measured: docs/calibration.md).
CAREFUL = Trust(lean=0.5, choice=0.5, probit=4.0)


def lean(
    uniform: Values, part: Values, least: float, trust: float = BOLD.lean
) -> tuple[Values, Values]:
    """u of the leaning law and its weights 1/q, from two independent uniforms each."""
    size = np.log(1.0 / least)
    u = np.where(part < 1.0 - trust, uniform, np.exp(-size * uniform))
    leaning = np.where(u > least, 1.0 / (u * size), 0.0)
    return u, 1.0 / ((1.0 - trust) + trust * leaning)


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
        simulation: Simulation, paths: Values, rarest: float, trust: Trust = BOLD,
    ) -> "Surveyed":  # fmt: skip
        """Draw and survey these paths, for events as rare as that."""
        if not isinstance(scenario.law, Crash):
            law = type(scenario.law).__name__.lower()
            must = "must be plain where the law of prices has no random scale"
            raise InputError("simulation.estimator", must, f"scenario.law={law}")
        drawn = uniforms(key, Stream.LEAN, paths, 2)
        scale, weight = lean(drawn[:, 0], drawn[:, 1], BEYOND * rarest, trust.lean)
        count = int(jax.tree.leaves(books)[0].shape[0])
        seen = survey.survey(key, books, venue, scenario, simulation, paths, scale)
        return cls(paths, paths % count, scale, weight, seen)

    @classmethod
    def join(cls, *parts: "Surveyed") -> "Surveyed":
        """One after the other."""
        path, book, scale, weight = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("path", "book", "scale", "weight")
        )
        return cls(path, book, scale, weight, Survey.join(*(part.seen for part in parts)))

    def some(self, rows) -> "Surveyed":
        """A part of the paths."""
        return Surveyed(
            self.path[rows], self.book[rows], self.scale[rows], self.weight[rows],
            self.seen.some(rows),
        )  # fmt: skip


def predict(
    pilot: Surveyed, event: Values, others: Surveyed, probit: float = BOLD.probit
) -> Values:
    """P̂(event) of other paths by what the pilot saw: logistic regression, falls and rises apart."""
    found = np.full(len(others.path), LEAST)
    books = int(pilot.book.max()) + 1
    books = books if books <= min(FEW, len(pilot.path) // KNOWN) else 0
    for kind in (False, True):
        mine, theirs = pilot.seen.rises == kind, others.seen.rises == kind
        if not mine.any() or not theirs.any():
            continue
        design = _Design.of(pilot.some(mine), books)
        slope = _logistic(design(pilot.some(mine)), event[mine], design.prior)
        found[theirs] = special.ndtr(design(others.some(theirs)) @ slope / probit)
    return np.maximum(found, LEAST)


@dataclass(frozen=True)
class _Design:
    """Standardised features, and a level for every book, or for none."""

    centre: Values
    spread: Values
    books: int

    @classmethod
    def of(cls, paths: Surveyed, books: int) -> "_Design":
        x = paths.seen.features
        return cls(x.mean(0), np.maximum(x.std(0), 1e-12), books)

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


def chances(
    surveyed: Surveyed, predicted: list[Values], paths: float, trust: float = BOLD.choice
) -> Values:
    """π of every surveyed path, so that about so many run, for events with these P̂.

    A path that was overlooked counts at most mean(w) / ((1 − `trust`) · `paths`) in a probability.
    """
    together = np.zeros(len(surveyed.path))
    for each in predicted:
        together += each / float(np.mean(surveyed.weight * each)) ** 2
    wanted, own = surveyed.weight * np.sqrt(together), surveyed.weight
    share = trust * wanted / wanted.sum() + (1.0 - trust) * own / own.sum()
    return _scaled(share, paths)


def _scaled(wanted: Values, paths: float) -> Values:
    """min(c · wanted, 1) with c such that they sum to `paths`."""
    low, high = 0.0, 1.0 / wanted.min()
    for _ in range(100):
        c = 0.5 * (low + high)
        low, high = (c, high) if np.minimum(c * wanted, 1.0).sum() < paths else (low, c)
    return np.minimum(high * wanted, 1.0)


Needs = Callable[[Values, Values], dict[str, Values]]  # paths and scales → USD, by the need's name


@dataclass(frozen=True)
class Aim:
    """F*(ε) of a need, or, where a capital is given, P(need > F) at it."""

    need: str
    exceed: float | None = None
    capital: float | None = None


@dataclass(frozen=True)
class Rare:
    """The survey without its pilot, and what ran of it."""

    surveyed: Surveyed
    ran: Values  # rows of it, ascending
    weight: Values  # of those
    needs: dict[str, Values]  # USD, of those
    pilot: int  # paths that only taught
    looks: int

    def weighted(self, need: str, level: float = 0.95, random_books: bool = True) -> WeightedPaths:
        """Every surveyed path is a draw; those that did not run count nothing."""
        sample = Sample(self.surveyed.book, level, random_books)
        return WeightedPaths(self.needs[need], self.weight, self.ran, sample, "importance sampling")


def run(
    key: Key[Array, ""],
    surveyed: Surveyed,
    needs: Needs,
    aims: Sequence[Aim],
    pilot: int,
    paths: int,
    looks: int = LOOKS,
    enough: Callable[[Rare], bool] = lambda rare: False,
    trust: Trust = BOLD,
) -> Rare:
    """A pilot, and about `paths` choices in looks of doubling size, or fewer where these are enough.

    What has run teaches the next look where to aim and whom to choose. So look k has chances π_k of its
    own, by random numbers of its own, and given what went before mean(w C_k/π_k f) is unbiased; as is
    Σ a_k of them, with a_k the look's part of the paths of all looks so far.
    """
    _check(surveyed, aims, pilot)
    parts = (surveyed.some(slice(0, pilot)), surveyed.some(slice(pilot, None)))
    known = _Known(*parts, needs(parts[0].path, parts[0].scale), needs, trust)
    lots = uniforms(key, Stream.CHOICE, parts[1].path, looks)
    counted, rare = np.zeros(len(parts[1].path)), None
    for look in range(looks):
        chance = known.chances(aims, rare, paths * 2**look / (2**looks - 1))
        chosen = lots[:, look] < chance
        known.run(chosen)
        counted += 2**look * chosen / chance
        weight = parts[1].weight * counted / (2 ** (look + 1) - 1)
        ran = np.flatnonzero(counted)
        of_those = {name: values[ran] for name, values in known.needs.items()}
        rare = Rare(parts[1], ran, weight[ran], of_those, pilot, look + 1)
        if enough(rare):
            break
    assert rare is not None, "at least one look"
    return rare


def _check(surveyed: Surveyed, aims: Sequence[Aim], pilot: int) -> None:
    if not 0 < pilot < len(surveyed.path):
        raise InputError("pilot", f"must be below the {len(surveyed.path)} surveyed paths", pilot)
    asked = [aim.exceed for aim in aims if aim.exceed is not None]
    if not aims or not all(0.0 < e < 1.0 for e in asked):
        raise InputError("aims", "must ask for probabilities between 0 and 1", asked)


class _Known:
    """Needs of the pilot, and of all others that have run."""

    def __init__(
        self, pilot: Surveyed, others: Surveyed, first: dict[str, Values], needs: Needs,
        trust: Trust,
    ) -> None:  # fmt: skip
        self.pilot, self.others, self.first, self._needs = pilot, others, first, needs
        self.trust = trust
        self.needs = {name: np.full(len(others.path), np.nan) for name in first}
        self.ran = np.zeros(len(others.path), bool)

    def run(self, chosen: Values) -> None:
        """Run those that have not run yet."""
        more = np.flatnonzero(chosen & ~self.ran)
        for name, values in self._needs(self.others.path[more], self.others.scale[more]).items():
            self.needs[name][more] = values
        self.ran[more] = True

    def chances(self, aims: Sequence[Aim], rare: Rare | None, paths: float) -> Values:
        """π of the next look, by all that is known."""
        taught = Surveyed.join(self.pilot, self.others.some(self.ran))
        predicted = []
        for aim in aims:
            need = np.concatenate([self.first[aim.need], self.needs[aim.need][self.ran]])
            event = need > self._aimed(aim, rare)
            predicted.append(predict(taught, event, self.others, self.trust.probit))
        return chances(self.others, predicted, paths, self.trust.choice)

    def _aimed(self, aim: Aim, rare: Rare | None) -> float:
        """The capital of an aim: F*(ε) as the latest look sees it, and first of all the pilot."""
        if aim.capital is not None:
            return aim.capital
        assert aim.exceed is not None
        if rare is not None:
            return rare.weighted(aim.need).target(aim.exceed)
        sample = Sample(self.pilot.book)
        row = np.arange(sample.paths)
        seen = WeightedPaths(self.first[aim.need], self.pilot.weight, row, sample, "pilot")
        return seen.target(aim.exceed)
