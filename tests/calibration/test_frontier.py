"""Capital against risk: the smallest F, also where a risk does not fall with it, and paired changes.

Tests that simulate fail by chance with probability 1e-6 each or less.
"""

import math

import numpy as np
import pytest
from scipy import stats

from riskengine.calibration import frontier
from riskengine.calibration.frontier import Needs
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate, Sample

BOOK = np.arange(512) % 16


def needs(values, book=BOOK) -> Needs:
    values = np.asarray(values, float)
    return Needs(values, 0.5 * values, 0.5 * values, Sample(book[: len(values)]))


def risk(value, low=None, high=None) -> Estimate:
    return Estimate("r", value, low, high, 0.95, 10, 5, "mean", "fraction")


def test_capital_for_a_probability_is_the_quantile_and_what_is_not_carried_is_said():
    found = frontier.for_probability("adl", np.arange(512.0), Sample(BOOK))
    assert len(found) == len(frontier.LEVELS)
    for exceed, e in zip(frontier.LEVELS, found, strict=True):
        assert e == estimators.quantile("adl", np.arange(512.0), exceed, Sample(BOOK), "USD")
        assert (e.value is None) == (exceed * 512 < 1)
        assert e.value is not None or "cannot carry" in e.note


@pytest.mark.parametrize(
    "values, level, expected",
    [
        ([0.9, 0.5, 0.2, 0.1], 0.3, 3.0),
        ([0.9, 0.2, 0.5, 0.1], 0.3, 4.0),  # not monotone: it must hold at every larger F, too
        ([0.1, 0.2, 0.5, 0.9], 0.3, math.inf),
        ([0.1, 0.1, 0.1, 0.1], 0.3, 1.0),
    ],
)
def test_the_smallest_capital_from_which_on_a_risk_is_met(values, level, expected):
    tested = [risk(v, 0.5 * v, 2.0 * v) for v in values]
    found = frontier.for_level("h", np.arange(1.0, 5.0), tested, level)
    assert (math.inf if found.value is None else found.value) == expected
    if found.low is not None and found.high is not None:
        assert found.low <= expected <= found.high


def test_a_risk_that_nobody_saw_has_no_upper_limit():
    tested = [risk(0.4, 0.3, 0.5), risk(0.1, 0.05, 0.2), risk(None)]
    found = frontier.for_level("h", np.arange(3.0), tested, 0.3)
    assert (found.value, found.high) == (1.0, None) and "no upper limit" in found.note


def test_losses_beyond_the_fund():
    of = needs(np.tile([0.0, 200.0], 256))  # R is 0 or 100
    assert frontier.loss_beyond(of, 40.0).value == pytest.approx(30.0)
    grid = frontier.capitals(of.beyond)
    (found,) = frontier.for_loss("loss", of, [10.0])
    exact = 80.0  # half of the paths need 100 − F more
    assert grid[0] == 0.0 and grid[-1] == 100.0
    assert exact <= found.value <= grid[grid > exact][0] + 1e-9
    assert found.low < exact < found.high
    (found,) = frontier.for_loss("loss", needs(np.arange(512.0)), [40.0])
    assert found.low < found.value < found.high and found.hits > 100
    (none,) = frontier.for_loss("loss", of, [0.0])
    assert none.value is None and "rarer crashes" in none.note


def test_a_design_beside_itself_changes_nothing():
    of = needs(np.random.default_rng(0).pareto(2.0, 512))
    found = frontier.compared(of, of, 1.0, 0.1)
    for e in (found.target_change, found.adl_change, found.dry_change, found.beyond_change):
        assert (e.value, e.low, e.high) == (0.0, 0.0, 0.0)
    assert found.target == estimators.quantile("target", of.adl, 0.1, of.sample, "USD")


def test_changes_are_of_the_design_less_todays_path_by_path():
    random = np.random.default_rng(1)
    today = needs(random.pareto(2.0, 512))
    better = needs(0.5 * today.adl)
    found = frontier.compared(better, today, 0.3, 0.1)
    assert found.adl_change.value == np.mean(better.adl > 0.3) - np.mean(today.adl > 0.3)
    assert found.target_change.value == pytest.approx(-found.target.value)
    assert found.beyond_change.high < 0.0
    alone = estimators.proportion("p", better.adl > 0.3, better.sample)
    paired = found.adl_change.high - found.adl_change.low
    assert paired < 2.0 * (alone.high - alone.low)


def test_more_money_buys_what_lies_between_both_funds():
    of = needs(np.arange(512.0))
    found = frontier.more_fund(of, 100.0, 50.0)
    assert found["adl_change"].value == -50 / 512
    assert found["beyond_change"].value == pytest.approx(
        np.mean(np.maximum(of.beyond - 150, 0)) - np.mean(np.maximum(of.beyond - 100, 0))
    )


def test_paired_changes_cover():
    """Two probabilities from one normal per path and one per book: against 0.88; chance 1e-6."""
    runs, covered, random = 400, 0, np.random.default_rng(2)
    truth = stats.norm.sf(1.2) - stats.norm.sf(1.0)
    for _ in range(runs):
        z = math.sqrt(0.2) * random.standard_normal(16)[BOOK]
        z = z + math.sqrt(0.8) * random.standard_normal(512)
        e = frontier.change("c", z > 1.2, z > 1.0, Sample(BOOK))
        covered += e.low <= truth <= e.high
    assert covered >= stats.binom.ppf(1e-6, runs, 0.88)


def test_pools_share_by_what_they_draw():
    draws = np.asarray([[3.0, 1.0, 0.0], [1.0, 3.0, 0.0]])
    share = frontier.split(draws, least=0.01)
    assert share.sum() == pytest.approx(1.0) and share[0] == share[1]
    assert share[2] == pytest.approx(0.01 / 1.01)
    assert frontier.split(np.zeros((2, 4))).tolist() == [0.25] * 4


def test_paths_near_the_target():
    need = np.append(np.arange(100.0), np.inf)
    rows = frontier.near(need, 0.1, 10)
    assert len(rows) == 10 and np.isfinite(need[rows]).all()
    assert 85 <= need[rows].mean() <= 95
    assert frontier.near(need, 0.001, 10).tolist() == list(range(90, 100))
