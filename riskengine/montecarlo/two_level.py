"""The answers of a large book for the work of a small one: many cheap paths, a few full ones, no bias.

A book of super-accounts (`specs/grouping.py`) costs a hundredth of the book that it stands for and
is nearly right. Every path i runs on it and gives G_i; path i is chosen to run on the book itself,
with the same random numbers, with a probability π_i > 0 that its own G_i decides, and then gives
X_i. With C_i = 1 for the chosen ones, any number f of a path is estimated by the mean of

    Z_i = f(G_i) + C_i/π_i · (f(X_i) − f(G_i)),        E[Z_i | path] = f(X_i),

Horvitz and Thompson's (1952) estimator of a difference, in two phases (Särndal, Swensson and Wretman
1992, chapter 9). It is unbiased for every f, however wrong the grouping is: a bad grouping only makes
Z vary more. Choices are independent of one another and of all else (Poisson sampling; each path has
its own random number for it), so Z_i is a number of path i like f(X_i), and everything that holds for
means of such numbers over paths and books (`estimators.Sample`) holds for Z.

Where full runs belong: P(need > F) depends on them only on paths on which G and X lie on different
sides of F, so paths whose G is near an F of interest are all run, others ever more rarely with their
distance, none with less than a `floor`:

    π_i = 1 where d_i ≤ 1,   max(d_i⁻², floor) beyond,   d_i = min over F of |G_i − F| / (width · F)

What happens far away is seen rarely, and weighs much: up to 1/floor each. Intervals of probabilities
therefore do not rest on the variance seen. They treat the two sums of weights, of events that G
misses and of those that it makes up, as weighted Poisson counts (Fay and Feuer 1997). With no
disagreement at all the limit is a rule of three over the full runs that the floor makes,
ln(2/(1 − level)) / (n · floor): nothing that assumes nothing can be shorter. The default floor keeps
that to a fifth (`UNSEEN`) of the rarest ε asked for, so the fewer the paths, the more of them run in
full: of 10⁴ paths at ε = 1 % every fifth, of 10⁶ one in 500. A lower floor saves work at the same
variance, and the intervals say what it costs.
"""

import bisect
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Key
from scipy import optimize, special

from riskengine.montecarlo import estimators, keys
from riskengine.montecarlo.estimators import Estimate, Sample, Values, finite
from riskengine.montecarlo.keys import Stream
from riskengine.montecarlo.simulate import Progress, Results, Simulation, simulate
from riskengine.specs.book import Book
from riskengine.specs.scenario import Scenario
from riskengine.specs.venue import Venue
from riskengine.types import InputError

UNSEEN = 0.2  # of ε, which an interval adds for what no full run has shown
SELDOM = 0.01  # the probability that counts where only capitals are given
SURE = 0.5  # paths that would be chosen with more than this probability all are
Number = Callable[[Results], Values]  # a number, or whether something happens, of every path


@dataclass(frozen=True)
class Choice:
    """Which paths run in full: those whose need is near the levels that are asked about.

    Levels are the capitals given and F*(ε) of the cheap paths for every ε in `exceed`.
    """

    need: str = "adl_required_fund"
    exceed: tuple[float, ...] = (0.01,)
    capitals: tuple[float, ...] = ()  # USD
    width: float = 0.015  # of a level: so near to it every path runs in full
    floor: float | None = None  # of paths that are far from all levels; None: as said above

    def __post_init__(self):
        for field in ("width", "floor"):
            value = getattr(self, field)
            ok = value is None or 0.0 < value <= 1.0
            _must(ok, field, "must be above 0 and at most 1", value)
        ok = all(0.0 < e < 1.0 for e in self.exceed)
        _must(ok, "exceed", "must be probabilities between 0 and 1", self.exceed)
        ok = all(0.0 <= c < math.inf for c in self.capitals)
        _must(ok, "capitals", "must be USD, not negative", self.capitals)
        _must(len(self.exceed + self.capitals) > 0, "exceed", "must name a level", self.exceed)


def _must(condition: bool, field: str, text: str, got: object) -> None:
    if not condition:
        raise InputError(f"choice.{field}", text, got)


@dataclass(frozen=True)
class TwoLevel:
    """Every path on the grouped book, and those of them that also ran on the book itself."""

    cheap: Results
    full: Results
    chance: Values  # of every path of `cheap` to be chosen
    level: float = 0.95
    random_books: bool = True

    def __post_init__(self):
        known = np.isin(self.full.path, self.cheap.path)
        if not known.all():
            odd = self.full.path[~known][0]
            raise ValueError(f"full paths must be among the cheap ones, got path {odd}")
        if len(self.chance) != len(self.cheap) or not (self.chance > 0).all():
            raise ValueError("every path must have a positive chance to be chosen")

    @functools.cached_property
    def sample(self) -> Sample:
        return Sample(self.cheap.book, self.level, self.random_books)

    @functools.cached_property
    def rows(self) -> Values:
        """Where the full paths are among the cheap ones."""
        order = np.argsort(self.cheap.path)
        return order[np.searchsorted(self.cheap.path, self.full.path, sorter=order)]

    def values(self, number: Number) -> Values:
        """Z of every path: as good as the number on the book itself, in the mean."""
        cheap = np.asarray(number(self.cheap), float)
        z = cheap.copy()
        with np.errstate(invalid="ignore"):
            change = np.asarray(number(self.full), float) - cheap[self.rows]
        same = np.asarray(number(self.full), float) == cheap[self.rows]  # infinities, too
        z[self.rows] += np.where(same, 0.0, change) / self.chance[self.rows]
        return z


def run(
    key: Key[Array, ""],
    books: Book,
    groups: Book,
    venue: Venue,
    scenario: Scenario,
    simulation: Simulation,
    paths: Sequence[int] | np.ndarray,
    choice: Choice,
    level: float = 0.95,
    random_books: bool = True,
    batches: tuple[int | None, int | None] = (None, None),
    progress: Progress | None = None,
) -> TwoLevel:
    """Run all paths on `groups`, choose, and run the chosen ones on `books`.

    Both are stacked and have as many books in the same order; book b of the one is grouped in the
    other. `batches`: paths per device and call on groups and on books; large books like 1 or 2.
    """
    counts = [int(jax.tree.leaves(stacked)[0].shape[0]) for stacked in (books, groups)]
    if counts[0] != counts[1]:
        raise ValueError(f"every book must have its grouped one, got {counts[0]} and {counts[1]}")
    specs = (venue, scenario, simulation)
    cheap = simulate(key, groups, *specs, paths, batch=batches[0], progress=progress)
    chance = chances(cheap[choice.need], choice)
    chosen = cheap.path[lots(key, cheap.path) < chance]
    full = simulate(key, books, *specs, chosen, batch=batches[1], progress=progress)
    return TwoLevel(cheap, full, chance, level, random_books)


def chances(need: Values, choice: Choice) -> Values:
    """π of every path, from its need on the grouped book."""
    near = [estimators.upper(need, e) for e in choice.exceed]
    distance = np.full(len(need), np.inf)
    for capital in (f for f in (*near, *choice.capitals) if 0.0 < f < math.inf):
        distance = np.minimum(distance, np.abs(need - capital) / (choice.width * capital))
    found = np.maximum(np.maximum(distance, 1.0) ** -2.0, least(choice, len(need)))
    return np.where(found > SURE, 1.0, found)


def least(choice: Choice, paths: int) -> float:
    """The floor: if none is given, unseen disagreements may be `UNSEEN` of the rarest ε, at 95 %."""
    if choice.floor is not None:
        return choice.floor
    rarest = min(choice.exceed, default=SELDOM)
    return min(math.log(40.0) / (UNSEEN * rarest * paths), 1.0)


def lots(key: Key[Array, ""], paths: Values) -> Values:
    """A uniform number in [0, 1) per path, which decides about its full run and about nothing else."""

    def lot(path):
        return jax.random.uniform(keys.stream(key, Stream.LEVEL, path), (), "float64")

    each = jax.vmap(lot)
    return np.asarray(each(np.asarray(paths, np.uint32)))


# Estimates


def exceeds(need: str, capital: float) -> Number:
    """Whether a path needs more than this capital."""
    return lambda results: results[need] > capital


def mean(name: str, two: TwoLevel, number: Number, unit: str) -> Estimate:
    """E[f], with the variance between books and that of the choice of full runs."""
    found = estimators.mean(name, two.values(number), two.sample, unit)
    return dataclasses.replace(found, method="two-level mean").noted(_said(two, number), last=True)


def bias(name: str, two: TwoLevel, number: Number, unit: str) -> Estimate:
    """E[f(G) − f(X)]: by how much the grouped book alone is off, and how well that is known."""
    error = two.values(number) - np.asarray(number(two.cheap), float)
    found = estimators.mean(name, -error, two.sample, unit)
    return dataclasses.replace(found, method="two-level bias").noted(_said(two, number), last=True)


def proportion(name: str, two: TwoLevel, event: Number, total: bool = True) -> Estimate:
    """P(event), with an interval that knows of disagreements that no full run has shown.

    Limits l, u of the proportion if every path had run in full (Wilson's, at the effective number of
    paths) and those of the weights that the choice makes random, combined as in Zou and Donner 2008:

        p − √((p − l)² + (A − A_low)² + (B_high − B)²)   to   p + √((u − p)² + (A_high − A)² + …)

    A is what the full runs add to the cheap proportion and B what they take from it. Where every
    path has run in full it is the interval of `estimators.proportion`.
    """
    p, low, high, unseen = _limits(two, event, total)
    said = f"{_said(two, event)}; ±{unseen:.2g} for what none of them shows"
    hits = round(p * two.sample.paths)
    method = _method(two, total)
    return Estimate(
        name, p, low, high, two.level, two.sample.paths, hits, method, "probability", said
    )


def _limits(two: TwoLevel, event: Number, total: bool) -> tuple[float, float, float, float]:
    """A proportion, its limits, and the part of them that is for disagreements not seen."""
    z, terms = two.values(event), _Corrections.of(two, event)
    p = min(max(float(z.mean()), 0.0), 1.0)
    spread = two.sample.variance(z, total) - terms.variance
    low, high = estimators.limits(
        p, estimators.paths_worth(p, spread, two.sample, total), two.sample, total
    )
    (added_low, added, added_high), (taken_low, taken, taken_high) = terms.added, terms.taken
    down = math.hypot(p - low, added - added_low, taken_high - taken)
    up = math.hypot(high - p, added_high - added, taken - taken_low)
    return p, max(p - down, 0.0), min(p + up, 1.0), terms.unseen


def _method(two: TwoLevel, total: bool) -> str:
    clustered = two.sample.clustered(total)
    return "two-level, within and between books" if clustered else "two-level"


def _said(two: TwoLevel, number: Number) -> str:
    """How many full runs there are, and how many of them differ from their cheap ones."""
    differ = np.asarray(number(two.full)) != np.asarray(number(two.cheap))[two.rows]
    return f"{len(two.full)} full runs, {int(differ.sum())} of them differ"


@dataclass(frozen=True)
class _Corrections:
    """What full runs add to a proportion and take from it: low, value and high of each."""

    added: tuple[float, float, float]
    taken: tuple[float, float, float]
    variance: float  # of the proportion, by the choice of full runs
    unseen: float  # how much of the limits is for disagreements not seen

    @classmethod
    def of(cls, two: TwoLevel, event: Number) -> "_Corrections":
        n, chance = len(two.cheap), two.chance[two.rows]
        cheap, full = (np.asarray(event(level), bool) for level in (two.cheap, two.full))
        parts, unseen = [], 0.0
        for before in (False, True):  # events that the cheap paths miss, and those they make up
            rest = (two.chance < 1.0) & (cheap == before)
            most = float(np.max(1.0 / two.chance[rest], initial=0.0)) / n
            differs = (full != before) & (cheap[two.rows] == before)
            parts.append(_weighted(1.0 / (n * chance[differs]), chance[differs], most, two.level))
            top = float(rest.mean())  # there are no more than that
            value = parts[-1][1]
            parts[-1] = (parts[-1][0], value, min(parts[-1][2], value + top))
            unseen = max(unseen, min(-math.log(0.5 * (1.0 - two.level)) * most, top))
        differs = full != cheap[two.rows]
        variance = float(np.sum((1.0 - chance[differs]) / (n * chance[differs]) ** 2))
        return cls(parts[0], parts[1], variance, unseen)


def _weighted(
    weight: Values, chance: Values, most: float, level: float
) -> tuple[float, float, float]:
    """Limits of the sum that weights 1/π of rare events estimate, and that sum.

    A gamma law with the sum's mean and variance, one event of the largest weight more for the upper
    limit (Fay and Feuer 1997); events that were certain to be seen have no variance.
    """
    total, variance = float(weight.sum()), float(np.sum((1.0 - chance) * weight**2))
    tail = 0.5 * (1.0 - level)
    return (
        _gamma(total, variance, tail), total, _gamma(total + most, variance + most**2, 1.0 - tail)
    )  # fmt: skip


def _gamma(mean_: float, variance: float, probability: float) -> float:
    """Quantile of a gamma law with this mean and variance."""
    if variance <= 0.0:
        return mean_
    return float(special.gammaincinv(mean_**2 / variance, probability) * variance / mean_)


def curve(two: TwoLevel, need: str, capital: Values) -> dict[str, Values]:
    """P(need > F) for every F in `capital`, which ascends: as `estimators.curve`, and never rising."""
    each = [_limits(two, exceeds(need, float(f)), True) for f in capital]
    _, low, high, _ = np.asarray(each).T
    at, above = _falling(two, need)
    place = np.searchsorted(at, capital, side="right") - 1
    value = np.clip(np.where(place < 0, 1.0, above[place]), 0.0, 1.0)
    return {
        "probability": value,
        "low": np.minimum.accumulate(low),
        "high": np.maximum.accumulate(high[::-1])[::-1],
        "hits": np.round(value * two.sample.paths).astype(int),
    }


def target(two: TwoLevel, need: str, exceed: float) -> float:
    """F*(ε): the smallest F with P(need > F) ≤ ε on the estimated curve, made to fall.

    Between the two needs of a path that was chosen by little chance the curve jumps by its weight and
    back; the nearest falling curve (isotonic regression, a point weighs as many needs as lie there)
    spreads that over its neighbours. Where every path has run in full it is the order statistic of
    `estimators.quantile`.
    """
    at, above = _falling(two, need)
    return _first(at, above <= exceed * (1.0 + 1e-12))


def fund_target(name: str, two: TwoLevel, need: str, exceed: float, total: bool = True) -> Estimate:
    """F*(ε) by `target`; limits are the F where the interval of P(need > F) begins and ceases to hold ε."""
    at, value = _survival(two, need)[0], target(two, need, exceed)
    limits = functools.cache(lambda place: _limits(two, exceeds(need, float(at[place])), total))
    held = range(len(at))
    low = bisect.bisect_left(held, True, key=lambda place: limits(place)[1] <= exceed)
    high = bisect.bisect_left(held, True, key=lambda place: limits(place)[2] <= exceed)
    low, high = (float(at[place]) if place < len(at) else math.inf for place in (low, high))
    allowed = math.floor(exceed * two.sample.paths * (1.0 + 1e-12))
    said = _said(two, exceeds(need, value))
    if value == math.inf:
        said = f"no capital is enough, or {two.sample.paths} paths cannot carry {exceed:g}"
    return Estimate(
        name, finite(value), finite(min(low, value)), finite(max(high, value)),
        two.level, two.sample.paths, allowed, _method(two, total), "USD", said,
    )  # fmt: skip


def _survival(two: TwoLevel, need: str) -> tuple[Values, Values, Values]:
    """Every need seen, ascending, the estimated share of paths that need more, and how often it is.

    A chosen path counts 1/π at its need in full and 1 − 1/π at that of the cheap one.
    """
    weight = 1.0 / two.chance[two.rows]
    mass = np.ones(len(two.cheap))
    mass[two.rows] -= weight
    needs = np.concatenate([two.cheap[need], two.full[need]])
    at, place = np.unique(needs, return_inverse=True)
    held = np.bincount(place, np.concatenate([mass, weight]))
    above = (np.cumsum(held[::-1])[::-1] - held) / len(two.cheap)
    return at, above, np.bincount(place).astype(float)


def _falling(two: TwoLevel, need: str) -> tuple[Values, Values]:
    """`_survival`, the nearest curve that never rises."""
    at, above, seen = _survival(two, need)
    if (np.diff(above) <= 0.0).all():
        return at, above
    return at, optimize.isotonic_regression(above, weights=seen, increasing=False).x


def _first(at: Values, meets: Values) -> float:
    """The smallest value from which on all meet; infinity if the last one does not."""
    fails = np.flatnonzero(~meets)
    place = fails[-1] + 1 if len(fails) else 0
    return float(at[place]) if place < len(at) else math.inf


# Work


@dataclass(frozen=True)
class Efficiency:
    """What the two levels save, for one number; variances are those of paths on given books."""

    work: float  # of the two levels, in full paths
    variance: float  # of Z, per path
    plain: float  # of f(X), per path

    @property
    def gain(self) -> float:
        """Work of full paths alone, at the same variance of the mean, over that of the two levels."""
        cost = self.work * self.variance
        return math.inf if cost == 0.0 else self.plain / cost


def efficiency(two: TwoLevel, number: Number, cost: float) -> Efficiency:
    """Gain of the two levels where a cheap path costs the share `cost` of a full one.

    Work is per path: the cheap run and, with probability π, the full one.
    """
    n = two.sample.paths
    chance, rows = two.chance[two.rows], two.rows
    change = np.asarray(number(two.full), float) - np.asarray(number(two.cheap), float)[rows]
    noise = float(np.sum((1.0 - chance) / chance**2 * change**2)) / n  # by the choice of full runs
    variance = n * two.sample.variance(two.values(number), total=False)
    return Efficiency(cost + float(two.chance.mean()), variance, variance - noise)
