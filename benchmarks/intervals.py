"""How often intervals hold the truth: every kind of interval that is reported, where the truth is known.

    python benchmarks/intervals.py [REPEATS [WORDS]]

Prints the table of docs/coverage.md, or its rows whose name has these words. Each repeat draws a new
sample of a law with a known answer, 32 books of 128 paths unless said, and asks for a 95 % interval.
`pytest -m nightly` runs the same with 400 repeats and holds every row against 0.92 to 0.975, where the
row says so.
"""

import dataclasses
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import integrate, special, stats

from riskengine.app import answers
from riskengine.calibration import assumptions, frontier, target
from riskengine.calibration.frontier import Needs
from riskengine.montecarlo import estimators, grid, importance, keys, two_level
from riskengine.montecarlo.estimators import Estimate, Sample
from riskengine.montecarlo.importance import BOLD, CAREFUL, Aim, Surveyed, Trust
from riskengine.montecarlo.simulate import Results
from riskengine.montecarlo.survey import Survey
from riskengine.montecarlo.two_level import Choice, TwoLevel

BOOKS, PATHS = 32, 4096
BOOK = np.arange(PATHS) % BOOKS
EVERY = Sample(BOOK)
ONE = Sample(np.zeros(PATHS, int), random_books=False)
LOW, HIGH = 0.92, 0.975
Random = np.random.Generator
Answer = tuple[Estimate, float]  # an estimate, and the truth


@dataclass(frozen=True)
class Case:
    """One kind of interval under one law."""

    name: str
    law: str
    draw: Callable[[Random], Answer]
    meant: tuple[float, float] = (LOW, HIGH)  # what its coverage should lie in
    why: str = ""  # where that is not LOW to HIGH


@dataclass(frozen=True)
class Coverage:
    """What many repeats of a case came to."""

    case: Case
    repeats: int
    refused: int  # no interval was given
    held: int
    under: int  # the whole interval lies below the truth

    @property
    def share(self) -> float:
        given = self.repeats - self.refused
        return self.held / given if given else math.nan

    @property
    def low_share(self) -> float:
        given = self.repeats - self.refused
        return self.under / given if given else math.nan


def study(case: Case, repeats: int, seed: int = 0) -> Coverage:
    """Ask so often; a limit that is not given is infinite."""
    random = np.random.default_rng(seed)
    refused = held = under = 0
    for _ in range(repeats):
        e, truth = case.draw(random)
        low = -math.inf if e.low is None else e.low
        high = math.inf if e.high is None else e.high
        refused += e.value is None
        if e.value is not None:
            held += low <= truth <= high
            under += high < truth
    return Coverage(case, repeats, refused, held, under)


# Probabilities


def rates(random: Random, p: float, variation: float) -> np.ndarray:
    """Probabilities of the books: beta, with this mean and coefficient of variation."""
    strength = (1.0 - p) / p / variation**2 - 1.0
    return random.beta(p * strength, (1.0 - p) * strength, BOOKS)


def proportion(p: float, variation: float, total: bool) -> Callable[[Random], Answer]:
    def draw(random: Random) -> Answer:
        own = rates(random, p, variation)
        hit = random.random(PATHS) < own[BOOK]
        truth = p if total else float(own.mean())
        return estimators.proportion("p", hit, EVERY, total=total), truth

    return draw


def alone(p: float) -> Callable[[Random], Answer]:
    return lambda random: (estimators.proportion("p", random.random(PATHS) < p, ONE), p)


def product(p: float, given: float) -> Callable[[Random], Answer]:
    """What follows an intervention, known from an eighth of the paths."""
    few = Sample(BOOK[: PATHS // 8])

    def draw(random: Random) -> Answer:
        known = random.random(PATHS) < rates(random, p, 0.5)[BOOK]
        hit = known & (random.random(PATHS) < rates(random, given, 0.3)[BOOK])
        adl = estimators.proportion("adl_probability", known, EVERY)
        there = {"intervened": known[: few.paths]}
        return answers._after_intervention("p", hit[: few.paths], there, few, adl), p * given  # pyright: ignore[reportArgumentType]

    return draw


# Fund targets


def needs(random: Random, shared: float, tail: float) -> np.ndarray:
    """exp of a Student t or a normal, `shared` of whose variance is the book's (Gaussian copula)."""
    z = math.sqrt(shared) * random.standard_normal(BOOKS)[BOOK]
    z = z + math.sqrt(1.0 - shared) * random.standard_normal(PATHS)
    return special.ndtr(-z) ** (-1.0 / tail)  # Pareto with this tail index


def quantile(exceed: float, shared: float, tail: float, total: bool) -> Callable[[Random], Answer]:
    def draw(random: Random) -> Answer:
        x = needs(random, shared, tail)
        sample = EVERY if total or shared else ONE
        return estimators.quantile("f", x, exceed, sample, "USD", total), exceed ** (-1.0 / tail)

    return draw


def for_mean(loss: float, tail: float) -> Callable[[Random], Answer]:
    """F with E[(R − F)⁺] = ℓ; for the law of Pareto that is F^(1−a) / (a − 1)."""
    truth = ((tail - 1.0) * loss) ** (1.0 / (1.0 - tail))

    def draw(random: Random) -> Answer:
        x = needs(random, 0.05, tail)
        (found,) = frontier.for_loss("f", Needs(x, x, x, EVERY), [loss])
        return (found if found.high else dataclasses.replace(found, value=None)), truth

    return draw


def difference(exceed: float) -> Callable[[Random], Answer]:
    """Of two grids on the same paths: the finer needs 1.2 times as much, but for noise."""

    def draw(random: Random) -> Answer:
        coarse = needs(random, 0.1, 2.0)
        fine = 1.2 * coarse * np.exp(0.05 * random.standard_normal(PATHS))
        # E e^{2·0.05 z} of the Pareto law with index 2: its tail is heavier by exp(2²·0.05²/2)
        heavier = math.exp(0.5 * (2.0 * 0.05) ** 2) ** 0.5
        truth = exceed**-0.5 * (1.2 * heavier - 1.0)
        return target.difference("d", fine, coarse, exceed, EVERY), truth

    return draw


# Means and ratios


def amounts(random: Random, p: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether a path has the event, lognormal equity that it hits, and its book's haircut."""
    rate = np.minimum(p * random.gamma(9.0, 1 / 9.0, BOOKS), 1.0)
    hit = random.random(PATHS) < rate[BOOK]
    equity = hit * random.lognormal(-0.125, 0.5, PATHS)
    return hit, equity, 0.2 * random.gamma(9.0, 1 / 9.0, BOOKS)[BOOK]


def ratio(p: float) -> Callable[[Random], Answer]:
    def draw(random: Random) -> Answer:
        _, equity, haircut = amounts(random, p)
        return estimators.ratio("h", equity * haircut, equity, EVERY), 0.2

    return draw


def ratio_change(p: float) -> Callable[[Random], Answer]:
    """Another design hits three quarters of the same equity, and takes 0.6 of the haircut from it."""

    def draw(random: Random) -> Answer:
        _, equity, haircut = amounts(random, p)
        part = equity * (random.random(PATHS) < 0.75)
        less = 0.6 * haircut * random.lognormal(-0.02, 0.2, PATHS)
        mine, theirs = (part * less, part), (equity * haircut, equity)
        return estimators.ratio_change("c", mine, theirs, EVERY), -0.08

    return draw


def conditional_mean(p: float) -> Callable[[Random], Answer]:
    def draw(random: Random) -> Answer:
        hit, equity, _ = amounts(random, p)
        return estimators.mean("m", equity, EVERY, "USD", where=hit), 1.0

    return draw


def mean(tail: float) -> Callable[[Random], Answer]:
    """Of a Pareto law: with tail index 1.5 it has no variance."""
    return lambda random: (
        estimators.mean("m", needs(random, 0.1, tail), EVERY, "USD"), tail / (tail - 1.0),
    )  # fmt: skip


def accounts(p: float) -> Callable[[Random], Answer]:
    """Share of accounts hit: of 500 each, with a rate of the path times the book's."""

    def draw(random: Random) -> Answer:
        rate = p * random.gamma(9.0, 1 / 9.0, BOOKS)[BOOK] * random.gamma(1.0, 1.0, PATHS)
        trials = np.full(PATHS, 500.0)
        hits = random.binomial(500, np.minimum(rate, 1.0)).astype(float)
        return estimators.share_of("s", hits, trials, EVERY), p

    return draw


# Two levels


def results(path, book, need) -> Results:
    hits = {"row": np.zeros(0, int)}
    return Results(path, book, {NEED: need}, hits, np.zeros((1, 1), int), 0.0, 1, 1)


NEED = "adl_required_fund"


def coupled(random: Random, error: float, exceed: float) -> TwoLevel:
    """Needs on books and on their groups, which err by a heavy-tailed factor."""
    x = needs(random, 0.1, 2.0)
    g = x * np.exp(error * random.standard_t(3.0, PATHS))
    chance = two_level.chances(g, Choice(exceed=(exceed,)))
    rows = np.flatnonzero(random.random(PATHS) < chance)
    path = np.arange(PATHS)
    return TwoLevel(results(path, BOOK, g), results(rows, BOOK[rows], x[rows]), chance)


def two_levels(error: float, exceed: float, what: str) -> Callable[[Random], Answer]:
    truth = exceed**-0.5

    def draw(random: Random) -> Answer:
        two = coupled(random, error, exceed)
        if what == "target":
            return two_level.fund_target("f", two, NEED, exceed), truth
        return two_level.proportion("p", two, two_level.exceeds(NEED, truth)), exceed

    return draw


# Rare events


class Rare:
    """need = u^(−1/2) e^(s z) against books with levels of their own; a survey sees most of u."""

    NOISE, OF_BOOK = 0.4, 0.2

    def __init__(self, random: Random, surveyed: int = 12_000):
        self.random, self.surveyed = random, surveyed
        self.z = random.standard_normal(surveyed)
        self.level = random.standard_normal(BOOKS)

    @classmethod
    def truth(cls, capital: float) -> float:
        spread = math.hypot(cls.NOISE, cls.OF_BOOK)

        def given(z):
            return min((capital * math.exp(-spread * z)) ** -2.0, 1.0) * stats.norm.pdf(z)

        return integrate.quad(given, -10, 10, points=[math.log(capital) / spread], limit=200)[0]

    def needs(self, path, scale):
        own = self.OF_BOOK * self.level[path % BOOKS]
        return {NEED: scale**-0.5 * np.exp(self.NOISE * self.z[path % self.surveyed] + own)}

    def survey(self, rarest: float, trust: Trust = BOLD) -> Surveyed:
        path = np.arange(self.surveyed)
        uniforms = self.random.random((2, self.surveyed))
        scale, weight = importance.lean(*uniforms, importance.BEYOND * rarest, trust.lean)
        size = -0.5 * np.log(scale) + 0.2 * self.random.standard_normal(self.surveyed)
        fall, none = 0.01 * np.exp(size), np.zeros(self.surveyed)
        seen = Survey(fall, none, 1.2 * fall, none, none, none, none)
        return Surveyed(path, path % BOOKS, scale, weight, seen)


def rare(exceed: float, what: str) -> Callable[[Random], Answer]:
    capitals = np.geomspace(1.0, 1e5, 400)
    at = float(np.interp(-math.log(exceed), -np.log([Rare.truth(f) for f in capitals]), capitals))

    def draw(random: Random) -> Answer:
        world = Rare(random, 40_000 if what == "verified" else 12_000)
        key = keys.root(int(random.integers(2**31)))
        if what == "grid":
            found = grid.run(
                key, lambda path, scale: world.needs(path, scale)[NEED], BOOKS,
                np.arange(10 * BOOKS), exceed,
            )  # fmt: skip
            return found.probability("p", at), Rare.truth(at)
        aims = [Aim(NEED, exceed)]
        if what == "verified":
            found = importance.run(
                key, world.survey(exceed, CAREFUL), world.needs, aims, 1000, 2000, 1, trust=CAREFUL
            )
            high = found.weighted(NEED).verified(exceed)
            value = None if math.isinf(high) else high
            return Estimate("f", value, None, value, 0.95, 0, 0, "", "USD"), at
        found = importance.run(key, world.survey(exceed), world.needs, aims, 400, 1200)
        paths = found.weighted(NEED)
        if what == "target":
            return paths.fund_target("f", exceed), at
        return paths.probability("p", at), Rare.truth(at)

    return draw


DISCRETE = "order statistics promise at least the level"


LINE = np.asarray([0.3, 0.2, 0.17, 0.15, 0.14, 0.08, 0.05, 0.05, 0.04, 0.03, 0.02, 0.0])
BOW = np.asarray([0.1, 0.05, -0.05, 0.0, 0.0, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])


def share_of(number: int) -> Callable[[Random], Answer]:
    """One of twelve assumptions: 64 sets, parabolas, a product, and the error of few paths."""
    each = LINE**2 / 3.0 + 4.0 * BOW**2 / 45.0

    def draw(random: Random) -> Answer:
        seed = int(random.integers(2**31))
        box = [assumptions.Assumption(str(j), 0.0, 1.0, 0.5) for j in range(len(LINE))]
        sets = assumptions.design(box, 64, seed)
        x = 2.0 * sets - 1.0
        y = x @ LINE + x**2 @ BOW + 0.06 * x[:, 0] * x[:, 1] + random.normal(0.0, 0.07, len(x))
        found = assumptions.shares(sets, y, np.full(len(LINE), 0.5), seed)
        first, low, high = (float(v[number]) for v in (found.first, found.low, found.high))
        about = (0.95, len(sets), None, "resampling", "fraction")
        return Estimate("share", first, low, high, *about), float((each / each.sum())[number])

    return draw


def cases() -> Iterator[Case]:
    """Every kind of interval."""
    for p, variation in ((0.5, 0.3), (0.05, 1.0), (0.01, 1.0)):
        law = f"p = {p:g}, books vary by {variation:g}"
        yield Case("probability, Wilson, books as draws", law, proportion(p, variation, True))
        yield Case("probability, these books alone", law, proportion(p, variation, False),
                   (LOW, 1.0), "at most binomial: books differ")  # fmt: skip
    for p in (0.1, 0.01, 0.002):
        yield Case("probability, Wilson, one book", f"p = {p:g}", alone(p))
    for p, given in ((0.5, 0.3), (0.05, 0.8)):
        yield Case("probability, product of two limits", f"P = {p:g}, then {given:g}",
                   product(p, given), (LOW, 1.0), "both limits are kept at once")  # fmt: skip
    for exceed, shared in ((0.05, 0.0), (0.01, 0.0), (0.05, 0.1), (0.01, 0.1)):
        law = f"ε = {exceed:g}, Pareto 2, correlation within books {shared:g}"
        yield Case("fund target, order statistic", law, quantile(exceed, shared, 2.0, True),
                   (LOW, 0.99), DISCRETE)  # fmt: skip
    yield Case("capital for a mean need beyond it", "0.02, Pareto 3", for_mean(0.02, 3.0))
    yield Case("change of a fund target, paired bootstrap", "ε = 0.05", difference(0.05),
               (LOW, 0.99), DISCRETE)  # fmt: skip
    for p in (0.5, 0.05):
        law = f"event on {100 * p:g} % of paths"
        yield Case("haircut, ratio of means, jackknife", law, ratio(p))
        yield Case("change of a haircut, jackknife", law, ratio_change(p))
        yield Case("mean where an event is, jackknife", law, conditional_mean(p))
    yield Case("mean per crash", "Pareto 3", mean(3.0))
    yield Case("mean per crash", "Pareto 1.5: no variance", mean(1.5), (0.5, HIGH),
               "no interval of a mean covers: flagged where one path is a tenth of the sum")  # fmt: skip
    yield Case("share of accounts hit, Wilson", "p = 0.02", accounts(0.02))
    for number, said in ((0, "0.42"), (3, "0.10"), (6, "0.011"), (11, "0")):
        yield Case("share of an assumption, resampling", f"{said} of twelve, 64 sets", share_of(number),
                   (LOW, 1.0), "small shares are bounded by 0")  # fmt: skip
    for error in (0.003, 0.3):
        law = f"ε = 0.02, groups err by {error:g}"
        for what, name in (("p", "probability, two levels"), ("target", "fund target, two levels")):
            yield Case(name, law, two_levels(error, 0.02, what), (LOW, 1.0),
                       "they count what no full run has shown")  # fmt: skip
    for exceed in (1e-2, 1e-4):
        law = f"ε = {exceed:g}"
        yield Case("probability, importance sampling", law, rare(exceed, "p"))
        yield Case("fund target, importance sampling", law, rare(exceed, "target"))
        yield Case("capital verified by weighted paths, upper limit alone", law, rare(exceed, "verified"),
                   (LOW + 0.02, 1.0), "one side, 0.975")  # fmt: skip
        yield Case("probability, grid of scales", law, rare(exceed, "grid"))


def row(found: Coverage) -> str:
    """One line of the table."""
    c = found.case
    meant = f"{c.meant[0]:g} to {c.meant[1]:g}" + (f": {c.why}" if c.why else "")
    return (
        f"| {c.name} | {c.law} | {found.repeats} | {found.refused} | {found.share:.3f} | "
        f"{found.low_share:.3f} | {meant} |"
    )


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    words = sys.argv[2] if len(sys.argv) > 2 else ""
    print("| interval | law | repeats | refused | covers | lies below the truth | meant |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case in cases():
        if words in case.name:
            print(row(study(case, repeats)), flush=True)


if __name__ == "__main__":
    main()
