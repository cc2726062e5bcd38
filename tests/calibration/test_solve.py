"""The search: the fund follows from the needs, and both searches find what is cheapest."""

import math

import numpy as np
import pytest

from riskengine.calibration import solve
from riskengine.calibration.frontier import Needs
from riskengine.calibration.solve import Outlay, Weights
from riskengine.montecarlo.estimators import Sample


def needs(values) -> Needs:
    values = np.asarray(values, float)
    return Needs(values, 0.5 * values, values, Sample(np.zeros(len(values), int)))


def test_the_smoothed_quantile_is_the_quantile_at_width_0():
    need = np.random.default_rng(0).permutation(1000) + 1.0
    assert solve.smoothed(need, 0.1, 0.0) == pytest.approx(900.5)
    narrow, wide = (solve.smoothed(need, 0.1, w) for w in (0.05, 1.0))
    assert narrow == pytest.approx(900.5, abs=1.0) and wide < narrow


def test_a_need_that_no_capital_covers_makes_a_design_dear():
    """The more of them the dearer, and never cheaper than the largest need that was seen."""
    few, many = ([1.0] * 80 + [math.inf] * n + [2.0] * (20 - n) for n in (3, 12))
    rare, often = (solve.bounded(needs(x), 100.0) for x in (few, many))
    assert np.isfinite(rare.adl).all() and rare.adl.max() == 1000.0 and rare.dry.max() == 1000.0
    assert solve.fund(often, 0.1, 0.1, 0.0) == 1000.0 > solve.fund(rare, 0.1, 0.1, 0.0)
    assert solve.bounded(needs([math.inf, 5000.0]), 100.0).adl.tolist() == [5000.0, 5000.0]
    weights = Weights(loss=1.0)
    costs = [solve.cost(x, Outlay(0.0, 0.0, 0.0), 2.0, weights, 100.0) for x in (rare, often)]
    assert costs[0] < costs[1]


def test_a_smoothed_quantile_moves_with_every_path_near_it():
    need = np.arange(1.0, 1001.0)
    moved = np.where((need > 850) & (need < 890), need + 1.0, need)
    assert solve.smoothed(moved, 0.1, 0.0) == solve.smoothed(need, 0.1, 0.0)
    assert solve.smoothed(moved, 0.1, 0.5) > solve.smoothed(need, 0.1, 0.5)


def test_the_fund_meets_both_probabilities():
    of = needs(np.arange(1.0, 101.0))
    assert solve.fund(of, 0.1, 0.9, 0.0) == solve.smoothed(of.adl, 0.1, 0.0)
    assert solve.fund(of, 0.9, 0.01, 0.0) == solve.smoothed(of.dry, 0.01, 0.0)


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.3, 2.0, 30.0, 1e9])
def test_the_fund_meets_a_mean_need_beyond_it(loss):
    need = np.random.default_rng(1).pareto(1.5, 500) * 10.0
    found = solve.for_mean(need, loss)
    beyond = np.maximum(need - found, 0.0).mean()
    assert beyond == pytest.approx(min(loss, need.mean()), abs=1e-9)
    assert found == 0.0 or beyond == pytest.approx(loss, abs=1e-9)
    of = needs(need)
    assert solve.fund(of, 0.1, 0.1, 0.0, loss) == max(solve.fund(of, 0.1, 0.1, 0.0), found)


def test_what_a_design_costs():
    of = needs([0.0, 0.0, 10.0, 30.0])
    weights = Weights(capital=0.1, open_interest=0.01, equity=0.001, loss=2.0)
    spent = solve.cost(of, Outlay(5.0, 100.0, -50.0), 20.0, weights, 1000.0)
    assert spent == pytest.approx((0.1 * 25.0 + 0.01 * 100.0 + 2.0 * 2.5) / 1000.0)


def bowl(x, width):
    """Cheapest at 1, 2, …; the differences see a little noise that both ends share."""
    x = np.asarray(x)
    return float(np.sum((x - 0.5 * np.arange(1, len(x) + 1)) ** 2)) + 0.01 * width, -math.inf


@pytest.mark.parametrize("size", [1, 4])
def test_both_searches_find_what_is_cheapest(size):
    steps = []
    start = np.zeros(size)
    found = solve.gradient(bowl, [start, start + 1.0], 160, 0, steps.append)
    other = solve.derivative_free(bowl, start, 80, steps.append)
    assert found.objective < 0.2 and other.objective < 0.1  # of 7.5 at the start, in four
    assert len(other.seen) <= 80 and found.seen[-1][0] <= 160
    widths = [s.width for s in steps if not math.isnan(s.slope) and s.start == 0]
    assert widths[0] == pytest.approx(1.0) and widths[-1] == pytest.approx(0.2)
    assert (np.diff(widths) < 0).all()


def test_the_same_seed_searches_the_same_way():
    first, second = (solve.gradient(bowl, [np.zeros(3)], 40, 7, lambda _: None) for _ in range(2))
    assert np.array_equal(first.x, second.x) and first.seen == second.seen


def test_a_highest_capital_is_kept():
    def cheap_above(x, width):
        return -0.01 * float(x[0]), float(x[0]) / 2.0 - 1.0  # cheaper with more, at most 2

    found = solve.gradient(cheap_above, [np.zeros(1)], 200, 0, lambda _: None)
    assert 1.0 < found.x[0] <= 2.1
