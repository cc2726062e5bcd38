"""Two levels: what the estimator is worth where the truth is known, and on real paths.

Tests that simulate compare a count with a binomial law, or a mean with a normal one, and fail by
chance with probability ALPHA each or less: fewer than 20 such comparisons, so with other seeds one
run in 10,000 would fail by chance. Seeds are fixed.
"""

import dataclasses
import functools
import math

import jax
import numpy as np
import pytest
import rulebook
import worlds
from scipy import stats

from riskengine.montecarlo import estimators, keys, simulate, two_level
from riskengine.montecarlo.estimators import Sample
from riskengine.montecarlo.simulate import Results
from riskengine.montecarlo.two_level import Choice, TwoLevel
from riskengine.specs import book as books
from riskengine.specs import grouping
from riskengine.types import InputError

ALPHA = 5e-6
EXCEED = 0.02
NEED = "adl_required_fund"
BOOKS = 16


def results(path, book, **metrics) -> Results:
    """Results with nothing but these numbers."""
    hits = {"row": np.zeros(0, int)}
    return Results(path, book, metrics, hits, np.zeros((1, 1), int), 0.0, 1, 1)


def drawn(random, paths, error, books=1, shared=0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Book, true need and cheap need of paths: lognormal, the cheap one off by a heavy-tailed factor.

    `shared` is the correlation of the logarithms of one book's needs.
    """
    book = np.arange(paths) % books
    x = math.sqrt(shared) * random.standard_normal(books)[book]
    x = np.exp(x + math.sqrt(1.0 - shared) * random.standard_normal(paths))
    return book, x, x * np.exp(error * random.standard_t(3.0, paths))


def two_of(random, book, x, g, choice, random_books=True) -> TwoLevel:
    """Both levels of these needs, the full ones where the choice falls."""
    chance = two_level.chances(g, choice)
    rows = np.flatnonzero(random.random(len(g)) < chance)
    path = np.arange(len(g))
    return TwoLevel(
        results(path, book, **{NEED: g}), results(rows, book[rows], **{NEED: x[rows]}), chance,
        random_books=random_books,
    )  # fmt: skip


def never_below(covered, runs, coverage):
    """Fails with probability ≤ ALPHA where intervals cover with at least this probability."""
    assert covered >= stats.binom.ppf(ALPHA, runs, coverage), f"{covered} of {runs} covered"


def covers(e, truth):
    low = -math.inf if e.low is None else e.low
    return low <= truth <= (math.inf if e.high is None else e.high)


above = functools.partial(two_level.exceeds, NEED)


# Where the truth is known


TRUE_TARGET = math.exp(stats.norm.ppf(1.0 - EXCEED))


@pytest.mark.parametrize("error", [0.003, 0.1, 1.0])
def test_intervals_cover_the_truth(error):
    """Of the probability, with cheap needs that are good, poor and useless; of F*: 95 %."""
    random, runs = np.random.default_rng(0), 400
    choice = Choice(exceed=(EXCEED,), floor=0.1)
    covered, targets = 0, []
    for run in range(runs):
        two = two_of(random, *drawn(random, 2000, error), choice)
        covered += covers(two_level.proportion("p", two, above(TRUE_TARGET)), EXCEED)
        if run % 4 == 0:
            found = two_level.fund_target("f", two, NEED, EXCEED)
            targets.append(covers(found, TRUE_TARGET))
    never_below(covered, runs, 0.94)
    never_below(sum(targets), len(targets), 0.94)


def test_intervals_of_few_books_cover_the_truth():
    """Books whose needs are correlated: the interval carries what lies between them, too."""
    random, runs = np.random.default_rng(1), 300
    choice = Choice(exceed=(0.2,), floor=0.1)
    truth = math.exp(stats.norm.ppf(0.8))
    covered = np.zeros(2)
    for _ in range(runs):
        two = two_of(random, *drawn(random, 1600, 0.1, books=32, shared=0.3), choice)
        for place, total in enumerate((True, False)):
            covered[place] += covers(two_level.proportion("p", two, above(truth), total), 0.2)
    never_below(covered[0], runs, 0.94)
    assert covered[1] < 0.8 * runs, "the books do not matter here: the test shows nothing"


def test_disagreements_that_are_hardly_ever_seen_are_in_the_interval():
    """One path in 1000 needs a lot where its cheap run needs nothing; most samples show none of them.

    Intervals that rest on what was seen would cover in as many runs as see one: about a third.
    """
    random, runs, rare, paths = np.random.default_rng(2), 400, 1e-3, 2000
    choice = Choice(exceed=(EXCEED,), floor=0.2)
    covered = unseen = 0
    for _ in range(runs):
        book, x, _ = drawn(random, paths, 0.0)
        g = x.copy()
        hit = random.random(paths) < rare
        x[hit], g[hit] = 100.0, 0.0
        two = two_of(random, book, x, g, choice)
        unseen += not np.any(x[two.full.path] != g[two.full.path])
        p = two_level.proportion("p", two, above(50.0))
        covered += covers(p, rare + (1.0 - rare) * stats.norm.sf(math.log(50.0)))
    assert unseen > 0.6 * runs
    never_below(covered, runs, 0.95)


def test_without_any_disagreement_the_limit_is_a_rule_of_three():
    """ln(2 / 5 %) over the full runs that the floor makes; there is no width of zero."""
    random = np.random.default_rng(3)
    book, x, _ = drawn(random, 4000, 0.0)
    choice = Choice(exceed=(EXCEED,), floor=0.05)
    two = two_of(random, book, x, x, choice)
    nobody = two_level.proportion("p", two, above(1e9))
    assert nobody.value == 0.0
    assert nobody.high == pytest.approx(math.hypot(math.log(40) / 200, 3.0 / 4000), rel=1e-3)
    p = two_level.proportion("p", two, above(TRUE_TARGET))
    plain = estimators.proportion("p", x > TRUE_TARGET, Sample(book))
    assert p.value == plain.value
    assert p.high > plain.high and p.low <= plain.low


def test_the_choice_alone_makes_no_bias():
    """Given all needs, the mean over choices is the full answer: for f of all kinds."""
    random, runs = np.random.default_rng(4), 2000
    book, x, g = drawn(random, 500, 0.5)
    choice = Choice(exceed=(0.1,), floor=0.05)
    numbers = (above(TRUE_TARGET), lambda r: r[NEED], lambda r: np.minimum(r[NEED], 2.0) ** 2)
    means = np.array([
        [two.values(f).mean() for f in numbers]
        for two in (two_of(random, book, x, g, choice) for _ in range(runs))
    ])  # fmt: skip
    truth = [np.mean(f(results(book, book, **{NEED: x}))) for f in numbers]
    z = (means.mean(0) - truth) / (means.std(0, ddof=1) / math.sqrt(runs))
    assert np.abs(z).max() < stats.norm.isf(0.5 * ALPHA)


def test_efficiency_is_the_ratio_of_variance_times_work():
    """Against the spread of many repetitions."""
    random, runs, cost, paths = np.random.default_rng(5), 600, 0.01, 2000
    choice = Choice(exceed=(EXCEED,), floor=0.05)
    found = []
    for _ in range(runs):
        two = two_of(random, *drawn(random, paths, 0.05), choice)
        found.append((
            two.values(above(TRUE_TARGET)).mean(),
            two_level.efficiency(two, above(TRUE_TARGET), cost), two.chance.mean(),
        ))  # fmt: skip
    spread = paths * np.var([f[0] for f in found], ddof=1)
    stated = [f[1] for f in found]
    assert np.mean([e.variance for e in stated]) == pytest.approx(spread, rel=0.25)
    assert np.mean([e.plain for e in stated]) == pytest.approx(EXCEED * (1.0 - EXCEED), rel=0.05)
    assert np.mean([e.work for e in stated]) == pytest.approx(cost + np.mean([f[2] for f in found]))
    one = stated[0]
    assert one.gain == one.plain / (one.variance * one.work)


# What holds always


def test_where_every_path_runs_in_full_the_answers_are_the_plain_ones():
    random = np.random.default_rng(6)
    book, x, g = drawn(random, 3000, 0.5, books=BOOKS, shared=0.1)
    two = two_of(random, book, x, g, Choice(exceed=(EXCEED,), floor=1.0))
    sample = Sample(book)
    for capital in (0.0, 1.0, TRUE_TARGET, 1e9):
        mine = two_level.proportion("p", two, above(capital))
        plain = estimators.proportion("p", x > capital, sample)
        assert (mine.value, mine.hits) == (plain.value, plain.hits)
        assert (mine.low, mine.high) == pytest.approx((plain.low, plain.high), rel=1e-9, abs=1e-12)
    for exceed in (0.3, EXCEED):
        mine = two_level.fund_target("f", two, NEED, exceed)
        plain = estimators.quantile("f", x, exceed, sample, "USD")
        assert mine.value == plain.value
        assert mine.low == pytest.approx(plain.low, rel=0.1)
        assert mine.high == pytest.approx(plain.high, rel=0.1)
    mine = two_level.mean("m", two, lambda r: r[NEED], "USD")
    plain = estimators.mean("m", x, sample, "USD")
    assert (mine.value, mine.low, mine.high) == pytest.approx((plain.value, plain.low, plain.high))
    off = two_level.bias("b", two, lambda r: r[NEED], "USD")
    assert off.value == pytest.approx(np.mean(g - x))


def test_curves_fall_and_hold_their_points():
    random = np.random.default_rng(7)
    two = two_of(random, *drawn(random, 2000, 0.5), Choice(exceed=(EXCEED,), floor=0.02))
    capital = np.geomspace(0.01, 30.0, 40)
    curve = two_level.curve(two, NEED, capital)
    for name in ("probability", "low", "high"):
        assert (np.diff(curve[name]) <= 0.0).all(), name
    assert (curve["low"] <= curve["probability"]).all()
    assert (curve["probability"] <= curve["high"]).all()
    points = [two_level.proportion("p", two, above(f)) for f in capital]
    assert all(h >= p.high for h, p in zip(curve["high"], points, strict=True))


def test_needs_that_no_capital_meets():
    """Infinite needs are numbers like others, on both levels."""
    random = np.random.default_rng(8)
    book, x, g = drawn(random, 2000, 0.05)
    x[::20], g[::20] = math.inf, math.inf
    two = two_of(random, book, x, g, Choice(exceed=(0.1,), floor=0.1))
    assert two_level.proportion("p", two, above(1e9)).value == pytest.approx(0.05)
    assert two_level.fund_target("f", two, NEED, 0.04).value is None
    assert two_level.fund_target("f", two, NEED, 0.1).value is not None


def test_paths_near_a_level_run_in_full():
    choice = Choice(exceed=(0.25,), capitals=(100.0,), width=0.1, floor=0.01)
    need = np.array([10.0, 11.0, 12.0, 9.0, 95.0, 109.0, 130.0, 0.0, math.inf, 1e9])
    level = estimators.upper(need, 0.25)
    chance = two_level.chances(need, choice)
    assert level == 130.0
    assert chance.tolist()[4:7] == [1.0, 1.0, 1.0]
    assert chance[[0, 7, 8, 9]] == pytest.approx([0.1**2 / 0.9**2, 0.01, 0.01, 0.01])
    assert ((chance >= 0.01) & (chance <= 1.0)).all()


def test_lots_depend_on_the_path_alone():
    key = keys.root(3)
    some = two_level.lots(key, np.arange(100))
    assert np.array_equal(some[[5, 17]], two_level.lots(key, np.array([5, 17])))
    assert stats.kstest(two_level.lots(key, np.arange(2000)), "uniform").pvalue > ALPHA


@pytest.mark.parametrize(
    "numbers",
    [dict(width=0.0), dict(floor=0.0), dict(floor=1.1), dict(exceed=(1.0,)), dict(exceed=()),
     dict(capitals=(-1.0,)), dict(capitals=(math.inf,))],
)  # fmt: skip
def test_refuses_choices_that_cannot_be(numbers):
    with pytest.raises(InputError, match=r"choice\.\w+ must"):
        Choice(**numbers)


def test_refuses_levels_that_do_not_belong_together():
    path = np.arange(4)
    cheap, other = (results(p, p, **{NEED: np.ones(4)}) for p in (path, path + 2))
    with pytest.raises(ValueError, match="got path 4"):
        TwoLevel(cheap, other, np.ones(4))
    with pytest.raises(ValueError, match="positive chance"):
        TwoLevel(cheap, cheap, np.zeros(4))


# On paths of the engine


@functools.cache
def world() -> tuple:
    """Two books of 120 traders, what follows from them, and coarse groups of each."""
    rng = np.random.default_rng(20)
    held = [worlds.holdings(rng, accounts=50, makers=2) for _ in range(2)]
    venue = rulebook.venue("bankrupt", np.random.default_rng(0), dust=1.0)
    merged = [grouping.grouped(h, venue, 16).holdings for h in held]
    stacked, _, _ = books.pack([*held, *merged], worlds.MARKETS)  # in one layout: one program
    packed = [jax.tree.map(lambda x, b=b: x[b : b + 2], stacked) for b in (0, 2)]
    venue = dataclasses.replace(venue, capital=worlds.number(math.inf))
    return packed[0], packed[1], (venue, worlds.crash(), worlds.simulation(12))


@functools.cache
def engine_paths(paths: int = 320) -> tuple[Results, Results]:
    """All paths on the books themselves, and on their groups."""
    full, groups, specs = world()
    return tuple(
        simulate.simulate(keys.root(7), b, *specs, np.arange(paths), batch=16)
        for b in (full, groups)
    )


@pytest.mark.nightly
def test_two_levels_of_the_engine_find_what_all_paths_in_full_say():
    """A grouping that is far too coarse: the answer is that of the same paths in full, in the mean.

    z-tests over 150 choices of full runs of an indicator at F*, of a mean, and F* inside its interval.
    """
    full, cheap = engine_paths()
    need = full[NEED]
    target = estimators.upper(need, 0.1)
    assert np.mean((need > target) != (cheap[NEED] > target)) > 0.005, "the groups are not coarse"
    random, choice = np.random.default_rng(9), Choice(exceed=(0.1,), floor=0.1)
    chance = two_level.chances(cheap[NEED], choice)
    numbers = (above(target), lambda r: r["liquidated_long"])
    found, held = [], 0
    for _ in range(150):
        rows = np.flatnonzero(random.random(len(need)) < chance)
        two = TwoLevel(cheap, full.some(rows), chance, random_books=False)
        found.append([two.values(f).mean() for f in numbers])
        held += covers(two_level.fund_target("f", two, NEED, 0.1), target)
    truth = [np.mean(f(full)) for f in numbers]
    z = (np.mean(found, 0) - truth) / (np.std(found, 0, ddof=1) / math.sqrt(150))
    assert np.abs(z).max() < stats.norm.isf(0.5 * ALPHA)
    never_below(held, 150, 0.95)


@pytest.mark.nightly
def test_a_run_in_two_levels():
    """Full runs are the same paths on the book itself; who is chosen is what `lots` says."""
    full, _ = engine_paths()
    big, groups, specs = world()
    choice, paths = Choice(exceed=(0.1,), floor=0.05), np.arange(200)
    two = two_level.run(keys.root(7), big, groups, *specs, paths, choice, batches=(16, 16))
    assert 0 < len(two.full) < len(two.cheap) == 200
    chosen = two_level.lots(keys.root(7), paths) < two.chance
    assert np.array_equal(two.full.path, np.flatnonzero(chosen))
    assert np.array_equal(two.full[NEED], full[NEED][two.full.path])
    with pytest.raises(ValueError, match="grouped one, got 2 and 1"):
        one = jax.tree.map(lambda x: x[:1], groups)
        two_level.run(keys.root(7), big, one, *specs, paths, choice)
