"""Verification: what looks spend, what they verify, and how often that is wrong.

Tests that simulate fail by chance with probability 1e-6 each or less.
"""

import math

import numpy as np
import pytest
from scipy import special, stats

from riskengine.calibration import spending, verify
from riskengine.calibration.frontier import Needs
from riskengine.calibration.verify import Limits, Look, Verdict
from riskengine.montecarlo.estimators import Estimate, Sample

BOOKS, PATHS = 32, 1024
BOOK = np.arange(PATHS) % BOOKS


def drawn(random, correlation, index=1.1) -> Needs:
    """Pareto needs, those of one book alike."""
    shared = random.standard_normal(BOOKS)[BOOK]
    z = math.sqrt(correlation) * shared
    z = z + math.sqrt(1.0 - correlation) * random.standard_normal(PATHS)
    need = special.ndtr(-z) ** (-1.0 / index)
    return Needs(need, need, need, Sample(BOOK))


def test_looks_spend_less_than_alpha_together():
    spent = [spending.spent(0.05, k) for k in range(1, 21)]
    assert spent[0] == 0.025 and spent[1] == 0.0125 and sum(spent) < 0.05


@pytest.mark.parametrize("exceed, tail", [(0.05, 0.025), (0.01, 0.00625), (1e-3, 0.0125)])
def test_fewer_paths_have_no_upper_limit(exceed, tail):
    least = spending.paths_needed(exceed, tail)
    assert (1 - exceed) ** least <= tail < (1 - exceed) ** (least - 1)


@pytest.mark.parametrize("correlation", [0.0, 0.1])
def test_verified_capital_is_rarely_too_small(correlation):
    """400 calibrations of three looks: at nominal 0.956, between 0.92 and 0.99."""
    random, limits = np.random.default_rng(3), Limits(adl=0.05, dry=0.05)
    truth, enough, runs = 0.05 ** (-1.0 / 1.1), 0, 400
    for _ in range(runs):
        looks = [verify.look(k, 0.05, drawn(random, correlation), limits) for k in (1, 2, 3)]
        found = Verdict(looks, limits)
        assert found.met
        enough += found.capital >= truth
    assert enough >= stats.binom.ppf(1e-6, runs, 0.95)
    assert enough <= stats.binom.ppf(1 - 1e-6, runs, 0.99)


def test_the_limit_that_needs_most_binds():
    of = drawn(np.random.default_rng(4), 0.0)
    found = verify.look(1, 0.05, of, Limits(adl=0.2, dry=0.05, loss=1e9))
    assert found.binds == "dry" and found.needed == found.capital["dry"] > found.capital["adl"]
    assert found.capital["loss"] == 0.0 and found.alpha == 0.025 and not found.missed


def test_a_mean_is_not_verified_on_few_crashes_beyond():
    of = drawn(np.random.default_rng(6), 0.0, index=3.0)
    for loss, known in ((0.2, True), (0.005, False)):
        found = verify.look(1, 0.05, of, Limits(adl=0.5, dry=0.5, loss=loss))
        beyond = np.sum(of.beyond > found.capital["loss"])
        assert math.isfinite(found.capital["loss"]) == known
        assert beyond >= verify.BEYOND if known else found.missed["loss"]


def test_what_cannot_be_verified_says_why():
    of = drawn(np.random.default_rng(5), 0.0)
    found = verify.look(1, 0.05, of, Limits(adl=1e-4, dry=0.2))
    verdict = Verdict([found], Limits(adl=1e-4, dry=0.2))
    assert math.isinf(found.needed) and "cannot carry" in found.missed["adl"]
    assert not verdict.met and verdict.binds == "adl"
    assert verdict.nearest == found.capital["dry"]


def test_a_highest_capital_binds():
    looks = [Look(k, 0.01, 100, {"adl": 10.0 * k, "dry": 5.0}, {}) for k in (1, 2)]
    found = Verdict(looks, Limits(0.1, 0.1, fund=9.0))
    assert (found.met, found.binds, found.capital, found.nearest) == (False, "fund", 10.0, 9.0)
    found = Verdict(looks, Limits(0.1, 0.1, fund=10.0))
    assert (found.met, found.binds, found.nearest) == (True, "adl", 10.0)


def test_a_haircut_must_hold_at_all_larger_funds():
    def of(value, high):
        return Estimate("h", value, 0.0, high, 0.95, 10, 5, "ratio of means", "fraction")

    look = Look(1, 0.025, 100, {"adl": 10.0, "dry": 5.0}, {})
    tested = {10.0: of(0.1, 0.15), 20.0: of(0.3, 0.4), 30.0: of(0.1, 0.2), 50.0: of(0.1, 0.12)}
    found = verify.with_haircut(look, tested, 0.25)
    assert found.capital["haircut"] == 30.0 and found.binds == "haircut" and not found.missed
    none = verify.with_haircut(look, {10.0: of(0.1, 0.15), 50.0: of(None, None)}, 0.25)
    assert math.isinf(none.needed) and none.missed["haircut"]
