"""The fund target: paths that carry it, how often it is right, and what the time step changes.

Tests that simulate fail by chance with probability ALPHA each or less, as in
`tests/montecarlo/test_estimators.py`: 1e-4 over the family of both files.
"""

import math

import numpy as np
import pytest
from scipy import special, stats

from riskengine.calibration import target
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Sample

ALPHA = 1e-6
BOOKS, PATHS = 32, 4096
BOOK = np.arange(PATHS) % BOOKS


def alone(n, level=0.95):
    """A sample of independent paths of one book."""
    return Sample(np.zeros(n, int), level, random_books=False)


def never_below(covered, runs, coverage):
    """Fails with probability ≤ ALPHA where intervals cover with at least this probability."""
    assert covered >= stats.binom.ppf(ALPHA, runs, coverage), f"{covered} of {runs} covered"


def normals(random, book, correlation):
    """Standard normals; those of one book are correlated."""
    shared, own = random.standard_normal(book.max() + 1)[book], random.standard_normal(len(book))
    return math.sqrt(correlation) * shared + math.sqrt(1.0 - correlation) * own


# --- the target ---------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("exceed, at_95", [(0.5, 6), (0.1, 36), (0.05, 72), (0.01, 368)])
def test_paths_for_limit_is_the_least_that_has_one(exceed, at_95, level):
    random = np.random.default_rng(0)

    def found(n):
        return target.fund_target("f", random.random(n), exceed, alone(n, level))

    needed = found(50).paths_for_limit
    assert needed == at_95 or level != 0.95
    assert found(needed).estimate.high is not None
    assert found(needed - 1).estimate.high is None
    assert found(needed).paths_for_limit == needed
    assert (1 - exceed) ** needed <= 0.5 * (1 - level) < (1 - exceed) ** (needed - 1)


@pytest.mark.parametrize("exceed, paths", [(0.5, 100), (0.1, 900), (0.02, 4900), (0.01, 9900)])
def test_paths_well_known_have_a_tenth_of_relative_error(exceed, paths):
    found = target.fund_target("f", np.random.default_rng(0).random(500), exceed, alone(500))
    assert (found.design_effect, found.paths_well_known) == (1.0, paths)
    assert math.sqrt(exceed * (1 - exceed) / paths) == pytest.approx(0.1 * exceed)


def test_target_is_the_quantile_of_the_needs():
    need = np.exp(normals(np.random.default_rng(1), BOOK, 0.1))
    found = target.fund_target("f", need, 0.01, Sample(BOOK))
    assert found.estimate == estimators.quantile("f", need, 0.01, Sample(BOOK), "USD")
    assert found.simulation.name == "f_simulation"
    assert found.simulation.value == found.estimate.value
    assert np.mean(need > found.estimate.value) <= 0.01 < np.mean(need >= found.estimate.value)
    assert found.estimate.low < found.simulation.low
    assert found.simulation.high < found.estimate.high


def test_design_effect_multiplies_the_paths():
    """Every path of a book alike: books count, not paths, and Student's t has 31 degrees."""
    need = BOOK + np.linspace(0.0, 0.5, PATHS)
    found = target.fund_target("f", need, 0.25, Sample(BOOK))
    effect = (PATHS - 1) / (BOOKS - 1)
    reach = (stats.t.ppf(0.975, BOOKS - 1) / stats.norm.ppf(0.975)) ** 2
    limit = math.log(0.025) / math.log(0.75)
    assert found.design_effect == pytest.approx(effect, rel=1e-9)
    assert found.paths_for_limit == math.ceil(effect * reach * limit)
    assert found.paths_well_known == math.ceil(effect * 300)


def test_design_effect_is_known_without_a_target():
    """No path lies above an infinite need, and one above the largest but one: neither is 1."""
    books_without_capital = np.where(BOOK < 2, np.inf, np.arange(PATHS, dtype=float))
    found = target.fund_target("f", books_without_capital, 0.01, Sample(BOOK))
    assert found.estimate.value is None and found.estimate.note.startswith("no capital is enough")
    assert found.design_effect > 100
    one_bad_book = np.arange(64.0) + 1000.0 * (BOOK[:64] // 4 == 1)
    found = target.fund_target("f", one_bad_book, 0.01, Sample(BOOK[:64] // 4))
    assert found.estimate.value is None and "cannot carry" in found.estimate.note
    assert found.design_effect > 5


@pytest.mark.parametrize("correlation, exceed", [(0.0, 0.1), (0.1, 0.1), (0.1, 0.01)])
def test_advice_keeps_the_promise(correlation, exceed):
    """Advice is the upper limit: too small a fund at most 4 % of the time, and 8 % both ways.

    Needs are Pareto with exponent 1.1, so without a variance. 2 × ALPHA per case.
    """
    runs, enough, covered = 500, 0, 0
    random = np.random.default_rng(2)
    truth = exceed ** (-1.0 / 1.1)
    for _ in range(runs):
        need = special.ndtr(-normals(random, BOOK, correlation)) ** (-1.0 / 1.1)
        found = estimators.quantile("f", need, exceed, Sample(BOOK), "USD")
        enough += found.high is None or found.high >= truth
        covered += found.low <= truth and (found.high is None or found.high >= truth)
    never_below(enough, runs, 0.96)
    never_below(covered, runs, 0.92)


def test_target_scales_and_ignores_names():
    random = np.random.default_rng(3)
    need = np.exp(normals(random, BOOK, 0.1))
    one = target.fund_target("f", need, 0.05, Sample(BOOK))
    many = target.fund_target("f", 1024.0 * need, 0.05, Sample(BOOK + 7))
    assert many.estimate.high == 1024.0 * one.estimate.high
    assert many.simulation.low == 1024.0 * one.simulation.low
    assert many.design_effect == pytest.approx(one.design_effect, rel=1e-12)


# --- the time step ------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", [Sample(BOOK[:512]), alone(128)], ids=["books", "one book"])
def test_equal_needs_do_not_differ(sample):
    need = np.random.default_rng(4).random(sample.paths)
    need[:2] = np.inf
    found = target.difference("d", need, need.copy(), 0.05, sample)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.hits == math.floor(0.05 * sample.paths)


def test_difference_is_fine_minus_coarse():
    sample, need = Sample(BOOK[:512]), np.random.default_rng(4).integers(0, 1000, 512) * 1.0
    higher = target.difference("d", need + 8.0, need, 0.05, sample)
    lower = target.difference("d", need, need + 8.0, 0.05, sample)
    assert (higher.value, higher.low, higher.high) == (8.0, 8.0, 8.0)
    assert (lower.value, lower.low, lower.high) == (-8.0, -8.0, -8.0)
    noisy = need + np.random.default_rng(5).normal(8.0, 30.0, 512)
    one, other = (target.difference("d", *pair, 0.05, sample) for pair in (
        (noisy, need), (need, noisy)))  # fmt: skip
    assert (one.value, one.low, one.high) == (-other.value, -other.high, -other.low)


def test_difference_draws_whole_books():
    need = np.random.default_rng(4).random(512)
    moved = need + BOOK[:512]
    whole = target.difference("d", moved, need, 0.5, Sample(BOOK[:512]))
    paths = target.difference("d", moved, need, 0.5, Sample(BOOK[:512], random_books=False))
    assert whole.value == paths.value
    assert whole.high - whole.low > 2 * (paths.high - paths.low)


def test_infinite_needs_give_no_difference_where_they_matter():
    need = np.arange(128.0)
    never = np.where(need < 20, np.inf, need)
    for fine, coarse in ((never, need), (need, never), (never, never)):
        found = target.difference("d", fine, coarse, 0.05, alone(128))
        assert (found.value, found.low, found.high) == (None, None, None)
        assert found.note.startswith("no capital is enough")
    rare = np.where(need < 5, np.inf, need)  # 3.9 %: finite at 5 %, but not on every resample
    found = target.difference("d", rare, need, 0.05, alone(128))
    assert found.value == 126.0 - 121.0 and found.high is None


def test_difference_of_few_paths_is_a_number():
    for n in (1, 2, 8):
        found = target.difference("d", np.arange(n) + 1.0, np.arange(n) * 1.0, 1.25, alone(n))
        assert found.value == 1.0


@pytest.mark.parametrize("exceed", [0.5, 0.1])
def test_differences_cover_on_common_random_numbers(exceed):
    """Normal needs, finer ones with a shift and noise of their own: against 0.85; ALPHA."""
    runs, covered = 40, 0
    random = np.random.default_rng(6)
    book, sample = BOOK[:256], Sample(BOOK[:256])
    truth = 0.2 + (math.sqrt(1.09) - 1.0) * stats.norm.isf(exceed)
    for _ in range(runs):
        coarse = normals(random, book, 0.1)
        fine = coarse + 0.2 + 0.3 * random.standard_normal(256)
        found = target.difference("d", fine, coarse, exceed, sample)
        covered += found.low <= truth <= found.high
    never_below(covered, runs, 0.85)


# --- levels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("capital", [0.0, 1.0, 0.1234567, 1e6, 123_456_789.987])
@pytest.mark.parametrize("infinite", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e7])
def test_levels_are_few_sorted_and_hold_the_venues_own(capital, infinite, scale):
    random = np.random.default_rng(7)
    need = scale * random.pareto(1.1, 400)
    need[random.random(400) < infinite] = np.inf
    found = target.levels(need, capital)
    assert 1 <= len(found) <= 7 and np.isfinite(found).all()
    assert found[0] == 0.0 and capital in found and (np.diff(found) > 0).all()


def test_levels_by_hand():
    need = np.concatenate([np.arange(1.0, 61.0), np.full(40, np.inf)])
    needed = [30.0, 40.0, 48.0, 54.0, 57.0]
    assert target.levels(need, 100.0).tolist() == [0.0, *needed, 100.0]
    assert target.levels(need, 0.0).tolist() == [0.0, *needed]
    assert target.levels(np.full(3, np.inf), 8.0).tolist() == [0.0, 8.0]
    assert target.levels(np.zeros(9), 0.0).tolist() == [0.0]
