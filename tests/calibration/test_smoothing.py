"""Smoothed probabilities, targets and likelihood ratios against closed forms."""

import math

import jax
import numpy as np
import pytest
import worlds
from scipy import special, stats

from riskengine.calibration import alternatives, likelihood, smoothing
from riskengine.montecarlo import noise
from riskengine.montecarlo.estimators import Sample
from riskengine.montecarlo.setting import Setting
from riskengine.specs import book as books
from riskengine.specs import scenario as scenarios
from riskengine.specs.book import MAKER, TRADER, Holdings

N, BOOKS = 40_000, 40
SAMPLE = Sample(np.arange(N) % BOOKS)
NU = 3.0
HELD = Holdings(
    cash=np.array([1000.0, 500.0]), role=np.array([TRADER, MAKER]), account=np.arange(2),
    market=np.zeros(2, int), size=np.array([10.0, -10.0]), entry=np.ones(2),
)  # fmt: skip


def lognormal_needs(sigma: float = 1.0) -> np.ndarray:
    return np.exp(sigma * np.random.default_rng(1).standard_normal(N))


@pytest.mark.parametrize("capital", [0.3, 1.0, 6.0])
def test_the_smoothed_probability_of_a_lognormal_need_is_its_own_up_to_the_fourth_order(capital):
    b, u = 0.25, -math.log(capital)
    terms = smoothing.above(lognormal_needs(), capital, b)
    exact = 2 * stats.norm.cdf(u / math.hypot(1, b)) - stats.norm.cdf(u / math.hypot(1, b * 2**0.5))
    error = terms.std() / math.sqrt(N)
    assert abs(terms.mean() - exact) < 4.5 * error  # misses once in 100,000
    assert abs(exact - stats.norm.sf(-u)) < 0.02 * b**2  # b² alone would leave 0.5 b² u φ(u)


def test_needs_of_nothing_and_of_everything_are_sure():
    need = np.array([0.0, np.inf])
    assert np.array_equal(smoothing.above(need, 1.0), [0.0, 1.0])
    assert np.array_equal(smoothing.density(need, 1.0), [0.0, 0.0])
    assert np.array_equal(smoothing.above(np.array([0.0, 2.0]), 0.0), [0.0, 1.0])
    assert np.array_equal(smoothing.above(np.array([0.9, 1.1]), 1.0, 0.0), [0.0, 1.0])


def test_the_kernel_density_is_the_derivative_of_the_smoothed_probability():
    need, h = lognormal_needs()[:100], 1e-6
    ends = (smoothing.above(need, 0.7 * math.exp(sign * h)) for sign in (-1, 1))
    down, up = ends
    assert np.allclose(smoothing.density(need, 0.7), (down - up) / (2 * h), atol=1e-8)


@pytest.mark.parametrize("exceed", [0.5, 0.05])
def test_the_target_of_a_lognormal_need_and_its_error(exceed):
    """The mean of F* over 200 samples, and whether its influence gives its spread."""
    random, logs, errors = np.random.default_rng(2), [], []
    for _ in range(200):
        need = np.exp(random.standard_normal(2000))
        found = smoothing.target(
            lambda f, need=need: smoothing.above(need, f),
            lambda f, need=need: smoothing.density(need, f),
            float(np.quantile(need, 1 - exceed)), exceed,
        )  # fmt: skip
        assert found is not None
        logs.append(math.log(found.capital))
        errors.append(found.influence.std() / math.sqrt(len(need)))
    spread = float(np.std(logs, ddof=1))
    assert abs(np.mean(logs) - stats.norm.isf(exceed)) < 4 * spread / math.sqrt(200) + 0.01
    assert 0.8 < np.mean(errors) / spread < 1.25  # 5 standard errors of a spread from 200


def test_no_target_where_no_capital_is_enough():
    need = np.where(np.arange(100) < 10, np.inf, 1.0)
    curve = (lambda f: smoothing.above(need, f)), (lambda f: smoothing.density(need, f))
    assert smoothing.target(*curve, 1.0, 0.05) is None
    assert smoothing.target(*curve, 1.0, 0.2) is not None


def scales() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = np.asarray(noise.scale_table(NU))
    uniform = np.random.default_rng(3).uniform(size=N)
    logit = np.linspace(-40, 40, len(table))
    return uniform, table, np.exp(np.interp(special.logit(uniform), logit, table))


def test_the_score_of_the_scale_is_that_of_its_law():
    """Of log √(ν/χ²): p ∝ χ^ν exp(−χ²/2), so s = ν − χ² by the log scale; its variance is 2ν."""
    uniform, table, scale = scales()
    score = likelihood.scale_score(uniform, table)
    assert np.allclose(score, NU - NU / scale**2, atol=0.01 * (1 + NU / scale**2))
    assert abs(score.var() - 2 * NU) < 0.5


def test_likelihood_ratio_of_the_scale_against_the_derivative_of_its_law():
    uniform, table, scale = scales()
    capital = 2.0
    found = likelihood.by_score(scale > capital, likelihood.scale_score(uniform, table), SAMPLE)

    def above(h):
        return stats.chi2(NU).cdf(NU * (math.exp(h) / capital) ** 2)

    exact = (above(1e-5) - above(-1e-5)) / 2e-5
    assert abs(found.value - exact) < 4.5 * found.error
    assert found.error < 0.1 * exact


def test_likelihood_ratio_of_depth():
    """Y = 1{log depth < −0.3}, log depth = 0.3 z: its derivative by log depth is −φ(1)/0.3."""
    z = np.random.default_rng(4).standard_normal(N)
    found = likelihood.by_score(z < -1.0, likelihood.depth_score(z, 0.3), SAMPLE)
    assert abs(found.value + stats.norm.pdf(1.0) / 0.3) < 4.5 * found.error


def test_common_noise_finds_both_derivatives_at_once():
    """R = exp(a + 2 b + z): P(R > 1) rises by φ(0) and by 2 φ(0), smoothed by the noise."""
    z = np.random.default_rng(5).standard_normal(N)
    sigma = 0.1

    def outcomes(paths, shift):
        return (z[paths] + shift[0] + 2 * shift[1] > 0).astype(float)

    groups = np.split(np.arange(N), 200)
    value, error = alternatives.common_noise(outcomes, groups, 2, sigma, np.random.default_rng(6))
    smooth = stats.norm.pdf(0.0) / math.sqrt(1 + 5 * sigma**2)
    assert (np.abs(value - smooth * np.array([1.0, 2.0])) < 4.5 * error).all()
    assert (error < 0.25 * smooth).all()


def test_conditional_on_all_but_the_scale_is_exact_where_needs_are_powers_of_it():
    _, table, _ = scales()
    uniform = alternatives.levels_of_scale(9)
    size = np.exp(np.interp(special.logit(uniform), np.linspace(-40, 40, len(table)), table))
    a = np.exp(0.2 * np.random.default_rng(7).standard_normal(50))
    found = alternatives.conditional_above(a[:, None] * size**2, uniform, table, 3.0)
    exact = stats.chi2(NU).cdf(NU * a / 3.0)
    assert np.allclose(found, exact, rtol=5e-3)
    alone = alternatives.conditional_above(np.full((2, 9), [[0.0], [np.inf]]), uniform, table, 3.0)
    assert np.allclose(alone, [0.0, 1.0])


def test_scores_of_paths_differentiate_what_the_law_draws():
    """Y = |x|/(1 + |x|) of the last log price: dY/dlog volatility = |x|/(1 + |x|)², path by path."""
    packed, _, _ = books.pack([HELD], 1)
    venue, scenario, grid = worlds.venue(1), worlds.crash(), worlds.simulation(8)
    setting = Setting(jax.random.key(0), packed, venue, scenario, grid)
    paths = np.arange(8000)
    scores = likelihood.of_paths(setting, paths)

    @jax.jit
    def drawn(path):
        found = noise.draw(setting.key, path, grid.market_ids, grid.whole, grid.half)
        x = scenarios.log_index(found, path, scenario, grid.dt)
        return jax.numpy.abs(x[-1, 0]), found.depth

    x, z = (np.asarray(a) for a in jax.vmap(drawn)(paths.astype(np.uint32)))
    sample = Sample(np.zeros(len(paths), int))
    exact = x / (1 + x) ** 2
    found = likelihood.by_score(x / (1 + x), scores["volatility"], sample)
    error = math.hypot(found.error, exact.std() / math.sqrt(len(x)))
    assert abs(found.value - exact.mean()) < 4.5 * error
    assert error < 0.3 * exact.mean()
    dispersion = float(scenario.depth.dispersion)
    found = likelihood.by_score(dispersion * z, scores["depth"], sample)  # log depth by itself
    assert abs(found.value - 1.0) < 4.5 * found.error
