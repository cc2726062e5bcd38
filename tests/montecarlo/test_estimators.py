"""Estimates: closed forms, exact ranks, and intervals that cover as often as they say.

Tests that simulate compare a count with a binomial law and fail by chance with probability ALPHA
each or less. Both files of estimates hold fewer than 100 such comparisons, so with other seeds one
run in 10,000 or fewer would fail by chance; each docstring repeats its share. Seeds are fixed.
"""

import math

import numpy as np
import pytest
from scipy import special, stats

from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Sample

ALPHA = 1e-6  # false alarms of one comparison: 1e-4 over the family of both files
BOOKS, PATHS = 32, 4096
BOOK = np.arange(PATHS) % BOOKS  # as `simulate` deals them


def alone(n, level=0.95):
    """A sample of independent paths of one book."""
    return Sample(np.zeros(n, int), level, random_books=False)


def never_below(covered, runs, coverage):
    """Fails with probability ≤ ALPHA where intervals cover with at least this probability."""
    assert covered >= stats.binom.ppf(ALPHA, runs, coverage), f"{covered} of {runs} covered"


def clearly_below(covered, runs, coverage):
    """Fails to see less coverage than this; passes by chance with probability ≤ ALPHA."""
    assert covered < stats.binom.ppf(ALPHA, runs, coverage), f"{covered} of {runs} covered"


def covers(estimate, truth):
    """Whether the interval holds the truth; a limit that is None is infinite."""
    nothing_finite = estimate.low is None and estimate.note.startswith("no capital")
    low = estimate.low if estimate.low is not None else math.inf if nothing_finite else -math.inf
    high = math.inf if estimate.high is None else estimate.high
    return low <= truth <= high


def clustered_normals(random, book, correlation):
    """Standard normals; those of one book are correlated."""
    shared = random.standard_normal(book.max() + 1)[book]
    own = random.standard_normal(len(book))
    return math.sqrt(correlation) * shared + math.sqrt(1.0 - correlation) * own


def interval(e):
    return e.low, e.high


# --- the sample ---------------------------------------------------------------------------------


@pytest.mark.parametrize("book", [BOOK, np.repeat([7, 3, 9, 4], [5, 1, 20, 40])], ids=["=", "≠"])
def test_variance_is_that_of_leaving_out_one_book_at_a_time(book):
    x = np.random.default_rng(0).gamma(0.5, size=len(book)) + book
    books = np.unique(book)
    moved = np.array([x[book != b].mean() - x.mean() for b in books])
    expected = (len(books) - 1) / len(books) * np.sum(moved**2)
    assert Sample(book).variance(x, True) == pytest.approx(expected, rel=1e-12)


def test_equal_books_have_the_textbook_variance_and_degrees_of_freedom():
    x = np.random.default_rng(0).gamma(0.5, size=PATHS) + BOOK
    means = np.array([x[BOOK == b].mean() for b in range(BOOKS)])
    between = np.sum((means - x.mean()) ** 2) / (BOOKS * (BOOKS - 1))
    within = np.mean([x[BOOK == b].var(ddof=1) for b in range(BOOKS)]) / PATHS
    sample = Sample(BOOK)
    assert sample.variance(x, True) == pytest.approx(between, rel=1e-12)
    assert sample.variance(x, False) == pytest.approx(within, rel=1e-12)
    assert sample.quantile(True) == pytest.approx(stats.t.ppf(0.975, BOOKS - 1), rel=1e-9)
    assert sample.quantile(False) == pytest.approx(stats.norm.ppf(0.975), rel=1e-12)


def test_one_book_leaves_the_variance_of_independent_paths():
    x = np.random.default_rng(0).gamma(0.5, size=50)
    for sample in (alone(50), Sample(np.full(50, 3))):
        for total in (False, True):
            assert sample.variance(x, total) == pytest.approx(x.var(ddof=1) / 50, rel=1e-12)


def test_books_of_one_path_have_some_variance_within():
    x = np.random.default_rng(0).gamma(0.5, size=50)
    assert Sample(np.arange(50)).variance(x, False) == pytest.approx(x.var(ddof=1) / 50)
    pairs_and_one = Sample(np.array([0, 0, 1, 1, 2]))
    inside = np.array([0.5, 0.5, 0.5]) * np.array([0.16, 0.16, 0.04]) / np.array([2, 2, 1])
    got = pairs_and_one.variance(np.array([0.0, 1.0, 5.0, 6.0, 9.0]), False)
    assert got == pytest.approx(inside.sum(), rel=1e-12)


def test_effective_paths_between_copies_and_independent_paths():
    hit = np.arange(BOOKS)[BOOK] < 8  # every path of a book alike
    as_books = (BOOKS - 1) * PATHS / (PATHS - 1)
    assert estimators.effective(hit, Sample(BOOK)) == pytest.approx(as_books, rel=1e-9)
    assert estimators.effective(hit, Sample(BOOK), total=False) == PATHS
    even = np.arange(PATHS) // BOOKS < 32  # every book alike
    assert estimators.effective(even, Sample(BOOK)) == PATHS
    even[0] = False  # books more alike than independent paths: by chance, so not believed
    assert Sample(BOOK).variance(even, True) < 0.01 * np.var(even) / PATHS
    for total in (True, False):
        assert estimators.effective(even, Sample(BOOK), total) == PATHS
    mixed = np.random.default_rng(0).random(PATHS) < 0.3
    assert estimators.effective(mixed, alone(PATHS)) == PATHS
    assert estimators.effective(np.zeros(PATHS, bool), Sample(BOOK)) == PATHS


def test_spread_splits_the_variance():
    x = np.random.default_rng(0).random(PATHS) + BOOK
    within, between = estimators.spread(x, Sample(BOOK))
    total = Sample(BOOK).variance(x, True)
    assert within**2 + between**2 == pytest.approx(total, rel=1e-12)
    assert between > 10 * within > 0
    assert estimators.spread(x, alone(PATHS))[1] == 0.0


# --- proportions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hits, n, low, high",
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_in_the_literature(hits, n, low, high):
    """Newcombe (1998), Statistics in Medicine 17, table I, method 3."""
    found = estimators.proportion("p", np.arange(n) < hits, alone(n))
    assert (found.value, found.hits, found.n) == (hits / n, hits, n)
    assert interval(found) == pytest.approx((low, high), abs=5e-5)


def test_wilson_solves_its_equation():
    p, n = np.array([0.3, 0.001, 0.98]), np.array([17.5, 4096.0, 40.0])
    for reach in (1.96, 2.04, 12.7):
        for limit in estimators.wilson(p, n, reach):
            error = np.sqrt(limit * (1 - limit) / n)
            assert abs(p - limit) == pytest.approx(reach * error)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("sample", [Sample, lambda book, level: Sample(book, level, False)])
def test_no_hit_and_all_hits_are_one_sided(level, sample):
    sample = sample(BOOK, level)
    limit = 1.0 - (1.0 - level) ** (1.0 / PATHS)
    none = estimators.proportion("p", np.zeros(PATHS, bool), sample)
    every = estimators.proportion("p", np.ones(PATHS, bool), sample)
    assert (none.value, none.low, none.hits) == (0.0, 0.0, 0)
    assert (every.value, every.high, every.hits) == (1.0, 1.0, PATHS)
    assert none.high == pytest.approx(limit, rel=1e-9)
    assert every.low == pytest.approx(1.0 - limit, rel=1e-12)
    # exact: at that probability no path is hit with probability 1 − level
    assert stats.binom.pmf(0, PATHS, none.high) == pytest.approx(1.0 - level, rel=1e-9)


def test_few_hits_are_called_poorly_known():
    for hits, note in (
        (0, "0 of 512 paths: poorly known; limit as if books were alike"),
        (1, "1 of 512 paths: poorly known"), (9, "9 of 512 paths: poorly known"), (10, ""),
        (502, ""), (503, "all but 9 of 512 paths"), (512, "all but 0 of 512 paths"),
    ):  # fmt: skip
        found = estimators.proportion("p", np.arange(512) < hits, Sample(BOOK[:512]))
        assert found.note == note


def test_one_path_is_a_sample():
    for hit in (False, True):
        found = estimators.proportion("p", np.array([hit]), Sample(np.array([5])))
        assert found.value == float(hit) and found.high - found.low == pytest.approx(0.95)


def test_method_says_whether_books_are_in_the_interval():
    hit = np.arange(PATHS) % 7 == 0
    assert estimators.proportion("p", hit, Sample(BOOK)).method.endswith("between books")
    for sample, total in ((Sample(BOOK), False), (alone(PATHS), True), (Sample(BOOK * 0), True)):
        assert estimators.proportion("p", hit, sample, total=total).method == "Wilson"


@pytest.mark.parametrize("p, variation", [(0.5, 0.3), (0.05, 1.0), (0.005, 1.5)])
def test_proportions_cover_where_books_differ(p, variation):
    """Beta-binomial, 32 books of 128 paths: the total interval covers, the simulation one does not.

    `variation` is the books' coefficient of variation. Against 0.92 both ways: 2 × ALPHA per case.
    """
    runs, total, simulation, given = 1200, 0, 0, 0
    random = np.random.default_rng(1)
    strength = (1.0 - p) / p / variation**2 - 1.0
    sample = Sample(BOOK)
    for _ in range(runs):
        own = random.beta(p * strength, (1.0 - p) * strength, BOOKS)
        hit = random.random(PATHS) < own[BOOK]
        fixed = estimators.proportion("p", hit, sample, total=False)
        total += covers(estimators.proportion("p", hit, sample), p)
        simulation += covers(fixed, p)
        given += covers(fixed, own.mean())
    never_below(total, runs, 0.92)
    clearly_below(simulation, runs, 0.92)
    never_below(given, runs, 0.92)  # it is the interval of these books


@pytest.mark.parametrize("spread", [1.0, 1.5])
def test_proportions_cover_where_books_differ_in_size(spread):
    """Lognormal book sizes; with B − 1 degrees of freedom 84 to 91 % would. ALPHA per case."""
    runs, covered = 1200, 0
    random = np.random.default_rng(2)
    for _ in range(runs):
        weight = random.lognormal(0.0, spread, BOOKS)
        book = np.repeat(np.arange(BOOKS), 1 + (weight / weight.sum() * 2000).astype(int))
        hit = random.random(len(book)) < random.beta(5.0, 5.0, BOOKS)[book]
        covered += covers(estimators.proportion("p", hit, Sample(book)), 0.5)
    never_below(covered, runs, 0.94)


# --- quantiles ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "n, exceed, level, value, low, high",
    [
        (100, 0.5, 0.95, 50, 40, 61),  # P(40 ≤ Bin(100, ½) ≤ 60) = 0.9648
        (10, 0.5, 0.95, 5, 2, 9),  # 1 − 2 · 11 / 1024
        (6, 0.5, 0.95, 3, 1, 6),  # 1 − 2 / 64
        (5, 0.5, 0.95, 3, None, None),  # 1 − 2 / 32 < 0.95
        (5, 0.5, 0.90, 3, 1, 5),
        (36, 0.1, 0.95, 33, 29, 36),  # 0.9³⁶ = 0.0225, P(Bin(36, 0.1) ≥ 8) = 0.0235
        (35, 0.1, 0.95, 32, 28, None),  # 0.9³⁵ = 0.0250316
        (100, 0.29, 0.95, 71, 62, 81),  # 0.29 · 100 is 28.999999999999996 in floating point
    ],
)
def test_order_statistics_by_hand(n, exceed, level, value, low, high):
    x = np.random.default_rng(n).permutation(np.arange(1.0, n + 1.0))
    found = estimators.quantile("q", x, exceed, alone(n, level), "USD")
    assert (found.value, found.low, found.high) == (value, low, high)
    assert found.hits == n - value


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("exceed", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("n", [1, 7, 50, 367, 368, 1000, 4096])
def test_ranks_are_the_tightest_that_keep_their_promise(n, exceed, level):
    """Exact: of n paths the number above the true quantile is binomial, whatever their law."""
    tail = 0.5 * (1.0 - level)
    x = np.arange(n, 0.0, -1.0)  # the k-th largest is n + 1 − k
    found = estimators.quantile("q", x, exceed, alone(n, level), "USD", total=n % 2 == 0)
    below, above = stats.binom(n, exceed).cdf, stats.binom(n, exceed).sf
    if found.high is None:
        assert below(0) > tail
    else:
        k = n + 1 - found.high
        assert below(k - 1) <= tail < below(k)
    if found.low is None:
        assert above(n - 1) > tail
    else:
        k = n + 1 - found.low
        assert above(k - 1) <= tail < above(k - 2)


def test_value_is_the_smallest_number_exceeded_rarely_enough():
    random = np.random.default_rng(0)
    for n in (1, 3, 20, 101):
        x = random.integers(0, 6, n).astype(float)  # ties
        for exceed in (0.01, 1 / 3, 0.07, 0.5, 0.9):
            fits = [v for v in x if np.sum(x > v) <= exceed * n + 1e-9]
            assert estimators.upper(x, exceed) == min(fits)


@pytest.mark.parametrize("n, exceed, needs", [(99, 0.01, 100), (3, 0.3, 4), (1, 0.1, 10)])
def test_too_few_paths_carry_no_quantile(n, exceed, needs):
    found = estimators.quantile("q", np.arange(n, dtype=float), exceed, alone(n), "USD")
    assert (found.value, found.high) == (None, None)
    assert found.note == f"{n} paths cannot carry a probability of {exceed:g}: needs {needs}"
    enough = estimators.quantile("q", np.arange(needs, dtype=float), exceed, alone(needs), "USD")
    assert enough.value == needs - 2 and enough.high is None
    assert enough.note == "the sample has no upper limit"


def test_infinite_needs_are_numbers_like_others():
    x = np.arange(1000.0)
    x[:5] = np.inf  # rarer than 1 %: they only take places
    found = estimators.quantile("q", x, 0.01, alone(1000), "USD")
    assert found.value == 994 and found.hits == 10 and math.isfinite(found.low)
    assert found.high is None and found.note == "the sample has no upper limit"
    x[:11] = np.inf  # 1.1 %: at least 1 % of all paths may still need finite capital
    found = estimators.quantile("q", x, 0.01, alone(1000), "USD")
    assert (found.value, found.high) == (None, None)
    assert found.low == 993  # the 18th: P(Bin(1000, 0.01) ≥ 18) is the first ≤ 0.025
    assert found.note.startswith("no capital is enough: on 11 of 1000 paths")
    x[:100] = np.inf
    found = estimators.quantile("q", x, 0.01, alone(1000), "USD")
    assert interval(found) == (None, None) and found.note.startswith("no capital is enough")
    found = estimators.quantile("q", x[:50], 0.01, alone(50), "USD")
    assert found.note.startswith("no capital is enough: on 50 of 50")
    assert None in found.record().values()


def test_an_atom_keeps_its_design_effect():
    """Where the quantile is the largest number, paths at it still share books."""
    for top in (7.0, np.inf):
        x = np.where(BOOK < 6, top, np.linspace(0.0, 1.0, PATHS))
        assert estimators.effective_above(x, top, Sample(BOOK)) < BOOKS
        found = estimators.quantile("q", x, 0.1, Sample(BOOK), "USD")
        assert found.low < 1 and found.high in (top, None)
        inner = estimators.quantile("q", x, 0.1, Sample(BOOK), "USD", total=False)
        assert inner.low in (top, None)
    assert estimators.effective_above(np.zeros(PATHS), 0.0, Sample(BOOK)) == PATHS


LAWS = {
    "uniform": lambda above: 1.0 - above,
    "pareto 1.1": lambda above: above ** (-1.0 / 1.1),
    "60 % at zero": lambda above: np.maximum(above**-1.0 - 1.0 / 0.4, 0.0),
    "0.5 % at infinity": lambda above: np.where(above < 0.005, np.inf, above ** (-1.0 / 1.1)),
    "2 % at infinity": lambda above: np.where(above < 0.02, np.inf, above ** (-1.0 / 1.1)),
    "whole dollars": lambda above: np.round(above**-0.5),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("exceed", [0.1, 0.01])
def test_quantiles_of_independent_paths_cover(law, exceed):
    """The guarantee holds for any law, so for atoms too; ALPHA per case."""
    runs, n, covered = 600, 1000, 0
    random = np.random.default_rng(3)
    truth = float(LAWS[law](np.float64(exceed * (1 - 1e-12))))
    for _ in range(runs):
        x = LAWS[law](1.0 - random.random(n))
        covered += covers(estimators.quantile("q", x, exceed, alone(n), "USD"), truth)
    never_below(covered, runs, 0.95)


@pytest.mark.parametrize(
    "law, exceed",
    [("uniform", 0.1), ("pareto 1.1", 0.01), ("60 % at zero", 0.5), ("0.5 % at infinity", 0.01)],
)
def test_quantiles_of_clustered_paths_cover(law, exceed):
    """Paths of a book share a fifth of their variance: 2 × ALPHA per case."""
    runs, total, simulation = 500, 0, 0
    random = np.random.default_rng(4)
    truth = float(LAWS[law](np.float64(exceed * (1 - 1e-12))))
    sample = Sample(BOOK)
    for _ in range(runs):
        x = LAWS[law](special.ndtr(-clustered_normals(random, BOOK, 0.2)))
        total += covers(estimators.quantile("q", x, exceed, sample, "USD"), truth)
        simulation += covers(estimators.quantile("q", x, exceed, sample, "USD", total=False), truth)
    never_below(total, runs, 0.92)
    if truth > 0:  # at an atom every interval may hold the truth
        clearly_below(simulation, runs, 0.92)


def test_total_interval_holds_the_simulation_interval_of_clustered_paths():
    x = clustered_normals(np.random.default_rng(5), BOOK, 0.1)
    total = estimators.quantile("q", x, 0.05, Sample(BOOK), "USD")
    inner = estimators.quantile("q", x, 0.05, Sample(BOOK), "USD", total=False)
    assert total.low < inner.low < inner.value == total.value < inner.high < total.high


# --- ratios and means ---------------------------------------------------------------------------


def test_limits_of_a_skewed_mean_are_the_roots_of_halls_cubic():
    x = np.random.default_rng(0).exponential(size=200)
    found = estimators.mean("m", x, alone(200), "USD")
    h, reach = stats.skew(x) / np.sqrt(200), stats.t.ppf(0.975, 199)
    for end, t in ((found.low, reach), (found.high, -reach)):
        w = (x.mean() - end) / stats.sem(x)
        assert w + h / 3 * w**2 + h**2 / 27 * w**3 + h / 6 == pytest.approx(t, abs=1e-9)
    assert found.high - x.mean() > reach * stats.sem(x) > x.mean() - found.low
    mirrored = estimators.mean("m", -x, alone(200), "USD")
    assert interval(mirrored) == pytest.approx((-found.high, -found.low))


def test_mean_of_independent_paths_is_the_textbook_one():
    half = np.random.default_rng(0).normal(size=20)
    x = 3.0 + np.concatenate([half, -half])  # not skewed
    found = estimators.mean("m", x, alone(40), "USD")
    expected = stats.t.interval(0.95, 39, x.mean(), stats.sem(x))
    assert found.value == pytest.approx(x.mean()) and found.hits == 40
    assert interval(found) == pytest.approx(expected, rel=1e-9)


def test_mean_over_books_is_the_textbook_one():
    x = np.random.default_rng(0).normal(size=PATHS) + BOOK
    x -= np.bincount(BOOK, x)[BOOK] / np.bincount(BOOK)[BOOK] - BOOK  # means 0 to B − 1: not skewed
    means = np.array([x[BOOK == b].mean() for b in range(BOOKS)])
    found = estimators.mean("m", x, Sample(BOOK), "USD")
    expected = stats.t.interval(0.95, BOOKS - 1, means.mean(), stats.sem(means))
    assert interval(found) == pytest.approx(expected, rel=1e-9)


def test_ratio_of_two_books_by_hand():
    part, whole = np.array([0.0, 1.0, 2.0, 1.0]), np.array([1.0, 1.0, 1.0, 1.0])
    found = estimators.ratio("r", part, whole, Sample(np.array([0, 0, 1, 1])), hits=20)
    # books say ½ and 3/2: standard error |3/2 − ½| / 2, one degree of freedom
    reach = 0.5 * stats.t.ppf(0.975, 1)
    assert (found.value, found.hits, found.note) == (1.0, 20, estimators.UNCERTAIN)
    assert interval(found) == pytest.approx((0.0, 1.0 + reach), rel=1e-9)  # never negative
    signed = estimators.ratio("r", part - 0.5, whole, Sample(np.array([0, 0, 1, 1])), hits=20)
    assert interval(signed) == pytest.approx((0.5 - reach, 0.5 + reach), rel=1e-9)


def test_ratio_leaves_out_one_book_at_a_time():
    random = np.random.default_rng(0)
    whole, book = random.gamma(0.3, size=300), random.integers(0, 12, 300)
    part = whole * random.random(300)
    found = estimators.ratio("r", part, whole, Sample(book), hits=300)
    left = [part[book != b].sum() / whole[book != b].sum() for b in range(12)]
    share = np.array([whole[book == b].sum() for b in range(12)]) / whole.sum()
    error = math.sqrt(11 / 12 * np.sum((np.array(left) - found.value) ** 2))
    reach = error * stats.t.ppf(0.975, 1 / np.sum(share**2) - 1)
    assert interval(found) == pytest.approx((found.value - reach, found.value + reach), rel=1e-9)


def test_change_of_a_ratio_leaves_out_one_book_of_both():
    random = np.random.default_rng(0)
    whole, book = random.gamma(0.3, size=300), random.integers(0, 12, 300)
    other = whole * random.uniform(0.5, 1.5, 300)
    pairs = [(whole * random.random(300), whole), (0.5 * other * random.random(300), other)]
    found = estimators.ratio_change("c", *pairs, Sample(book))

    def change(kept) -> float:
        return float(np.subtract(*(part[kept].sum() / all_[kept].sum() for part, all_ in pairs)))

    left = np.array([change(book != b) for b in range(12)])
    shares = [[x[book == b].sum() / x.sum() for b in range(12)] for x in (whole, other)]
    fewest = min(1 / np.sum(np.square(share)) - 1 for share in shares)
    middle = change(np.full(300, True))
    reach = math.sqrt(11 / 12 * np.sum((left - middle) ** 2)) * stats.t.ppf(0.975, fewest)
    assert found.value == pytest.approx(middle, rel=1e-9)
    assert interval(found) == pytest.approx((middle - reach, middle + reach), rel=1e-9)


def test_a_ratio_that_does_not_change_is_known_not_to():
    part, whole = np.random.default_rng(0).random((2, PATHS))
    found = estimators.ratio_change("c", (part, whole), (part, whole), Sample(BOOK))
    assert (found.value, *interval(found)) == (0.0, 0.0, 0.0)
    nobody = estimators.ratio_change("c", (part, whole), (0 * part, 0 * whole), Sample(BOOK))
    assert nobody.value is None and nobody.note == "nobody was hit"


def test_conditional_mean_is_the_ratio_to_the_hits():
    random = np.random.default_rng(0)
    hit, x = random.random(PATHS) < 0.1, random.random(PATHS) + BOOK
    found = estimators.mean("m", x, Sample(BOOK), "USD", where=hit)
    as_ratio = estimators.ratio("m", np.where(hit, x, 0.0), hit, Sample(BOOK), hits=int(hit.sum()))
    assert found.value == pytest.approx(x[hit].mean()) and found.hits == hit.sum()
    assert found.value == as_ratio.value
    assert interval(found) == pytest.approx(interval(as_ratio), rel=0.02)  # but for the skewness


def test_a_single_book_or_path_with_all_of_it_has_no_interval():
    """Its residual is zero by construction, and an interval of no width would be wrong."""
    for sample, what in ((Sample(BOOK), "book"), (alone(PATHS), "path")):
        whole = (BOOK == 3).astype(float) if what == "book" else (np.arange(PATHS) == 3) * 1.0
        found = estimators.ratio("r", 0.2 * whole, whole, sample, hits=50)
        assert found.value == pytest.approx(0.2) and interval(found) == (None, None)
        assert found.note == f"all in one {what}: no interval"
    found = estimators.mean("m", np.ones(PATHS), Sample(BOOK), "USD", where=BOOK == 3)
    assert found.value == 1.0 and interval(found) == (None, None)


def test_nobody_hit_has_no_ratio():
    found = estimators.ratio("r", np.zeros(PATHS), np.zeros(PATHS), Sample(BOOK))
    assert (found.value, found.low, found.high, found.note) == (None, None, None, "nobody was hit")


def test_hits_of_a_mean_are_the_paths_that_make_it():
    x = np.where(np.arange(512) % 100 == 7, 5.0, 0.0)
    assert estimators.mean("m", x, alone(512), "USD").hits == 6
    assert estimators.mean("m", x, alone(512), "USD", where=np.arange(512) < 200).hits == 2
    assert estimators.mean("m", 0 * x, alone(512), "USD").hits == 0


def test_a_ratio_with_an_interval_wider_than_itself_says_so():
    """Twelve books whose shares differ by more than their mean, and twelve that hardly differ."""
    book, whole = np.repeat(np.arange(12), 4), np.ones(48)
    wild, tame = (0.1 * spread * (book - 5.5) + 0.1 for spread in (1.0, 0.1))
    notes = [estimators.ratio("r", x, whole, Sample(book), hits=48).note for x in (wild, tame)]
    assert notes == [estimators.UNCERTAIN, ""]
    assert estimators.mean("m", wild, Sample(book), "USD").note == ""


def test_means_say_what_they_rest_on():
    sample, x = alone(512), np.ones(512)

    def note(x, hits=512):
        return estimators.mean("m", x, sample, "USD", where=np.arange(512) < hits).note

    assert note(x) == ""
    assert [note(x, hits) for hits in (0, 1)] == ["too few paths"] * 2
    assert note(x, 2) == "2 hits: poorly known; the largest path is 50 % of the sum"
    assert note(x, 9) == "9 hits: poorly known; the largest path is 11 % of the sum"
    assert note(x, 10) == ""
    assert note(x + 99 * (np.arange(512) == 5)) == "the largest path is 16 % of the sum"
    assert note(0 * x) == "0 on all 512 paths: what is rarer is not seen"
    assert note(0 * x, 7) == "0 on all 7 paths: what is rarer is not seen"
    assert note(np.where(np.arange(512) < 3, np.inf, 1.0)) == "infinite on 3 paths"


@pytest.mark.parametrize("p", [0.5, 0.05])
def test_ratios_and_conditional_means_cover(p):
    """Haircuts and hit rates that differ by book, lognormal equity: against 0.9, 2 × ALPHA."""
    runs, ratios, means = 800, 0, 0
    random = np.random.default_rng(6)
    book, sample = BOOK[:2048], Sample(BOOK[:2048])
    for _ in range(runs):
        rate = np.minimum(p * random.gamma(9.0, 1 / 9.0, BOOKS), 1.0)
        haircut = 0.2 * random.gamma(9.0, 1 / 9.0, BOOKS)
        hit = random.random(2048) < rate[book]
        equity = hit * random.lognormal(-0.125, 0.5, 2048)
        found = estimators.ratio("r", equity * haircut[book], equity, sample)
        ratios += covers(found, 0.2)
        means += covers(estimators.mean("m", equity, sample, "USD", where=hit), 1.0)
    never_below(ratios, runs, 0.9)
    never_below(means, runs, 0.9)


# --- curves and symmetries ----------------------------------------------------------------------


@pytest.mark.parametrize("sample", [Sample(BOOK), alone(PATHS)], ids=["books", "one book"])
def test_curve_is_the_proportion_at_every_capital(sample):
    need = 10.0 ** clustered_normals(np.random.default_rng(7), BOOK, 0.1)
    need[need < 1] = 0.0
    need[:5] = np.inf
    capital = np.concatenate([[0.0], np.geomspace(1.0, 1e6, 60)])
    columns = estimators.curve(need, capital, sample)
    for i, f in enumerate(capital):
        point = estimators.proportion("", need > f, sample)
        row = tuple(columns[name][i] for name in ("probability", "low", "high", "hits"))
        assert row == (point.value, point.low, point.high, point.hits)
    assert (np.diff(columns["probability"]) <= 0).all() and (np.diff(columns["hits"]) <= 0).all()
    assert columns["hits"][-1] == 5
    if sample.books == 1:  # with books the design effect changes along the curve
        assert (np.diff(columns["low"]) <= 0).all() and (np.diff(columns["high"]) <= 0).all()


def test_curve_and_quantile_tell_the_same_story():
    need = clustered_normals(np.random.default_rng(8), BOOK, 0.1)
    for exceed in (0.5, 0.1, 0.01):
        value = estimators.upper(need, exceed)
        just_below = np.nextafter(value, -np.inf)
        columns = estimators.curve(need, np.array([just_below, value]), Sample(BOOK))
        assert columns["probability"][1] <= exceed < columns["probability"][0]


def everything(x, sample):
    """All kinds of estimates of one sample."""
    found = [estimators.proportion("p", x > 1.0, sample), estimators.mean("m", x, sample, "USD")]
    found.append(estimators.mean("w", x, sample, "USD", where=x > 1.0))
    found.append(estimators.ratio("r", x, x**2, sample))
    for total in (True, False):
        found += [estimators.quantile("q", x, e, sample, "USD", total=total) for e in (0.5, 0.01)]
    found.append(estimators.proportion("s", x > 1.0, sample, total=False))
    return [(e.value, e.low, e.high) for e in found]


def same(found, expected):
    for got, wanted in zip(found, expected, strict=True):
        known = [v for v in wanted if v is not None]
        assert [v for v in got if v is not None] == pytest.approx(known, rel=1e-9)
        assert [v is None for v in got] == [v is None for v in wanted]


@pytest.mark.parametrize("book", [BOOK, np.minimum(BOOK, 10)], ids=["equal books", "unequal"])
def test_order_of_paths_and_names_of_books_do_not_matter(book):
    random = np.random.default_rng(9)
    x = np.exp(clustered_normals(random, book, 0.1))
    expected = everything(x, Sample(book))
    names = random.permutation(1000)[:BOOKS]
    same(everything(x, Sample(names[book])), expected)
    order = random.permutation(PATHS)
    same(everything(x[order], Sample(book[order])), expected)
    within = np.lexsort((random.random(PATHS), book))  # shuffled inside every book
    shuffled = np.empty(PATHS)
    shuffled[np.argsort(book, kind="stable")] = x[within]
    same(everything(shuffled, Sample(book)), expected)


def test_units_scale():
    x = np.exp(clustered_normals(np.random.default_rng(9), BOOK, 0.1))
    for scale in (2.0**-10, 1e6):
        for exceed in (0.5, 0.01):
            one = estimators.quantile("q", x, exceed, Sample(BOOK), "USD")
            many = estimators.quantile("q", scale * x, exceed, Sample(BOOK), "USD")
            assert (many.value, *interval(many)) == tuple(
                scale * v for v in (one.value, *interval(one))
            )
        one = estimators.mean("m", x, Sample(BOOK), "USD")
        many = estimators.mean("m", scale * x, Sample(BOOK), "USD")
        assert interval(many) == pytest.approx([scale * v for v in interval(one)], rel=1e-9)
        ratio = [estimators.ratio("r", s * x, s * x**2, Sample(BOOK)) for s in (1.0, scale)]
        assert interval(ratio[0]) == pytest.approx(interval(ratio[1]), rel=1e-9)


def test_a_wider_level_holds_a_narrower_one():
    x = np.exp(clustered_normals(np.random.default_rng(9), BOOK, 0.1))
    levels = [everything(x, Sample(BOOK, level)) for level in (0.8, 0.95, 0.99)]
    for narrow, wide in zip(levels[:-1], levels[1:], strict=True):
        for (_, low, high), (_, lower, higher) in zip(narrow, wide, strict=True):
            assert lower < low < high < higher


def test_record_is_plain_json():
    found = estimators.quantile("q", np.full(10, np.inf), 0.5, alone(10), "USD")
    record = found.record()
    assert record["value"] is None and record["hits"] == 0 and record["name"] == "q"
    assert set(record) == {
        "name", "value", "low", "high", "level", "n", "hits", "method", "unit", "note"
    }  # fmt: skip
