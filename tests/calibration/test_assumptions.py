"""Bands over assumptions where the answer is known: parabolas, products, and noise."""

import numpy as np
import pytest
from scipy import stats

from riskengine.calibration import assumptions
from riskengine.calibration.assumptions import Assumption
from riskengine.types import InputError

BOX = [
    Assumption("a", 1.0, 4.0, 2.0),
    Assumption("b", 0.0, 10.0, 2.5),
    Assumption("c", 0.5, 2.0, 1.0),
]
BASE = np.asarray([a.base for a in BOX])
POINTS = assumptions.design(BOX, 64, 3)


def known(shares):
    """Three times as much by a as by b in standard deviations, nothing by c."""
    x = 2.0 * np.asarray(shares) - 1.0
    return 3.0 * x[..., 0] + x[..., 1] + 0.5


def change(shares):
    return known(shares) - known(BASE)


def test_values_lie_between_their_ends_and_the_base_is_where_it_is():
    for one, share in zip(BOX, BASE, strict=True):
        assert one.at(0.0) == one.low and one.at(1.0) == pytest.approx(one.high)
        assert one.at(share) == pytest.approx(one.now)
    assert BOX[0].at(0.5) == pytest.approx(2.0) and BOX[1].at(0.5) == 5.0  # in logs where it can be


def test_a_sum_of_lines_is_found_exactly():
    found = assumptions.fit(POINTS, change(POINTS), BASE)
    assert found.explained > 0.999
    assert found(POINTS) == pytest.approx(change(POINTS), abs=0.02)
    assert found(BASE) == pytest.approx(0.0, abs=1e-12)
    low, high = assumptions.band(found, 0)
    # of the sum of two uniform numbers on ±3 and ±1
    assert (low, high) == pytest.approx(
        (-3.225 + 0.5 - known(BASE), 3.225 + 0.5 - known(BASE)), abs=0.1
    )


def test_an_assumption_that_changes_nothing_may_have_no_share():
    """Its index is a square of noise, so positive: the interval reaches 0, and others' do not."""
    noise = np.random.default_rng(5).normal(0.0, 0.1, len(POINTS))
    found = assumptions.shares(POINTS, 2.0 * (POINTS - BASE)[:, 0] + noise, BASE, 0)
    assert (found.first > 0.0).all() and (found.low <= found.first).all()
    assert found.low[0] > 0.5 and (found.low[1:] == 0.0).all() and (found.high[1:] > 0.0).all()


def test_indices_are_shares_of_the_variance():
    found = assumptions.shares(POINTS, change(POINTS), BASE, 0)
    assert found.first == pytest.approx([0.9, 0.1, 0.0], abs=0.02)
    surrogate = assumptions.fit(POINTS, change(POINTS), BASE)
    theirs = stats.sobol_indices(
        func=lambda x: surrogate(x.T)[None], n=2**12, dists=[stats.uniform()] * 3, rng=0
    )
    assert found.first == pytest.approx(np.ravel(theirs.first_order), abs=0.02)
    assert (found.low <= found.first + 1e-9).all() and (found.first <= found.high + 1e-9).all()


def test_noise_is_no_assumption():
    noise = np.random.default_rng(1).standard_normal(64)
    found = assumptions.fit(POINTS, noise, BASE)
    low, high = assumptions.band(found, 0)
    assert found.explained < 0.2  # and what is not explained is in the band
    assert (low, high) == pytest.approx((-1.96 * noise.std(), 1.96 * noise.std()), rel=0.3)
    mixed = assumptions.shares(POINTS, change(POINTS) + noise, BASE, 0)
    assert mixed.low[0] < 0.9 < mixed.high[0] + 0.05 and mixed.first[2] < 0.05


def test_what_no_sum_explains_shows_in_what_is_left_out():
    x = 2.0 * POINTS - 1.0
    found = assumptions.fit(POINTS, x[:, 0] * x[:, 1], np.full(3, 0.5))
    assert found.explained < 0.1 and found.residual == pytest.approx(1.0 / 3.0, rel=0.2)


def test_a_design_has_a_power_of_two_sets():
    assert POINTS.shape == (64, 3) and np.abs(POINTS.mean(0) - 0.5).max() < 0.02
    with pytest.raises(InputError, match="^points must be a power of two, got 48"):
        assumptions.design(BOX, 48, 0)
