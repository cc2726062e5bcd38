"""Derivatives of a path's outcome: the same path, the right slope where nothing flips, and the refusal."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rulebook
import worlds
from jax import lax

from riskengine.errors import InputError
from riskengine.montecarlo import gradients, keys, simulate
from riskengine.specs import scenario as scenarios
from riskengine.specs.book import pack
from riskengine.waterfall.state import Quote

KEY = keys.root(7)
PATHS = np.arange(32)
BATCH = 16
STEP = 1e-6  # relative, of central differences
CASES = [  # rules, measure
    ("hyperliquid", "excess_draw"),
    ("binance", "adl_loss_index"),
]


@functools.cache
def books():
    """Two books of one market: programs of one market compile fastest."""
    rng = np.random.default_rng(20)
    held = [worlds.holdings(rng, 24, markets=1, makers=2, rest=1) for _ in range(2)]
    return jax.tree.map(jnp.asarray, pack(held, 1)[0])


def venue(rules: str):
    numbers = dict(capital=2e3, dust=1.0, liquidation_fee=0.005)
    one = dict(markets=1, pools=1, of_market=[0], share=[1.0])
    return rulebook.venue(rules, np.random.default_rng(0), **(numbers | one))


def law():
    """The violent law of the tests, for one market."""
    crash = worlds.crash(exponent=0.67)
    first = {name: getattr(crash.law, name)[:1] for name in ("beta", "own_volatility")}
    depth = dataclasses.replace(crash.depth, calm=crash.depth.calm[:, :1])
    return dataclasses.replace(crash, depth=depth, law=dataclasses.replace(crash.law, **first))


def grid():
    both = worlds.simulation()
    return dataclasses.replace(both, market_ids=both.market_ids[:1])


def slopes(rules: str, measure: str, own=None, scenario=None, **options) -> gradients.Gradient:
    """All parameters, back through every path; other numbers of the venue run the same program."""
    named = dict(parameters=gradients.NAMES, through_triggers="ignored", batch=BATCH) | options
    return gradients.gradient(
        KEY, books(), own or venue(rules), scenario or law(), grid(), PATHS,
        measure=measure, **named,
    )  # fmt: skip


@functools.cache
def found(rules: str, measure: str) -> gradients.Gradient:
    return slopes(rules, measure)


@functools.cache
def run(capital: float):
    own = dataclasses.replace(venue("hyperliquid"), capital=jnp.asarray(capital))
    return simulate.simulate(KEY, books(), own, law(), grid(), PATHS, batch=BATCH)


@pytest.mark.nightly  # a derivative compiles for minutes
def test_the_outcome_is_that_of_a_run():
    """The differentiated path is the path that `simulate` runs."""
    beyond = np.maximum(run(np.inf)["required_fund"] - 2e3, 0.0)
    gross = float(np.abs(np.asarray(books().cash)).sum(1).min())
    assert np.abs(found("hyperliquid", "excess_draw").value - beyond).max() < 1e-12 * gross
    assert 4 < np.count_nonzero(beyond) < len(PATHS)


@pytest.mark.nightly  # a derivative compiles for minutes
def test_by_capital_the_excess_draw_falls_by_the_probability_of_depletion():
    """dE[(R − F)⁺]/dF = −P(R > F), path by path and by central differences on the same paths."""
    gradient, need = found("hyperliquid", "excess_draw"), run(np.inf)["required_fund"]
    assert np.array_equal(gradient.slope["capital"], np.where(need > 2e3, -2e3, 0.0))
    above, below = (np.maximum(need - f, 0.0).mean() for f in (2e3 + 1e-3, 2e3 - 1e-3))
    slope, error = gradient.mean("capital")
    assert math.isclose(slope / 2e3, (above - below) / 2e-3, rel_tol=1e-6)
    assert math.isclose(slope / 2e3, -np.mean(run(2e3)["depleted"]))
    assert 0.0 < error < abs(slope)


def moved(rules: str, name: str, by: float) -> dict:
    """The same question with one number multiplied."""
    ones = {n: jnp.asarray(1.0) for n in gradients.NAMES}
    scales = gradients.Scales(**ones | {name: jnp.asarray(by)})
    own, scenario = gradients.scaled(venue(rules), law(), scales)
    return dict(own=own, scenario=scenario)


def differences(rules: str, measure: str, name: str, step: float) -> np.ndarray:
    above, below = (
        slopes(rules, measure, **moved(rules, name, 1.0 + s)).value for s in (step, -step)
    )
    return (above - below) / (2.0 * step)


@pytest.mark.nightly
@pytest.mark.parametrize(("rules", "measure"), CASES)
def test_slopes_are_finite_and_right_where_no_decision_flips(rules, measure):
    """Central differences with two steps agree where nothing flips, and with the slope there."""
    gradient, gross = found(rules, measure), float(np.abs(np.asarray(books().cash)).sum(1).min())
    assert np.count_nonzero(gradient.value) > 4
    for name in gradients.NAMES:
        slope = gradient.slope[name]
        assert np.isfinite(slope).all(), name
        one, three = (differences(rules, measure, name, s) for s in (STEP, 3.0 * STEP))
        smooth = np.abs(one - three) < 1e-6 * gross
        assert smooth.mean() > 0.8, name
        apart = np.abs(slope - one)[smooth] / gross
        assert apart.max() < 1e-5, (name, np.flatnonzero(smooth)[apart.argmax()], apart.max())
        moves = np.abs(slope) > 1e-5 * gross
        assert moves.any() or name in ("maintenance", "capital", "fee"), name


@pytest.mark.nightly
def test_forwards_and_backwards_are_the_same():
    three = ("capital", "fee", "depth")
    forward = slopes("hyperliquid", "excess_draw", parameters=three, mode="forward")
    back = found("hyperliquid", "excess_draw")
    np.testing.assert_allclose(forward.value, back.value, rtol=1e-12)
    for name in three:
        np.testing.assert_allclose(forward.slope[name], back.slope[name], rtol=1e-8, atol=1e-9)


# What is handed out, and what is refused


@pytest.mark.parametrize("measure", gradients.MEASURES)
@pytest.mark.parametrize("name", gradients.NAMES)
def test_a_slope_that_leaves_out_triggers_is_refused(measure, name):
    """Only the derivative of the excess draw by capital needs no word; nothing is computed."""
    check = functools.partial(gradients._check, venue("hyperliquid"), measure, (name,), "reverse")
    check("ignored")
    if (measure, name) == ("excess_draw", "capital"):
        check("refused")
        return
    with pytest.raises(InputError, match='through_triggers must be "ignored"') as error:
        slopes("hyperliquid", measure, parameters=(name,), through_triggers="refused")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        dict(measure="haircut"),
        dict(parameters=("leverage",)),
        dict(parameters=()),
        dict(mode="sideways"),
        dict(through_triggers="yes"),
    ],
)
def test_unknown_names_are_refused(options):
    named = dict(measure="excess_draw") | options
    with pytest.raises(InputError, match="must be of"):
        slopes("hyperliquid", **named)


@pytest.mark.parametrize("capital", [0.0, np.inf])
def test_a_factor_needs_a_capital_to_multiply(capital):
    own = dataclasses.replace(venue("hyperliquid"), capital=jnp.asarray(capital))
    with pytest.raises(InputError, match="capital must be positive and finite"):
        slopes("hyperliquid", "excess_draw", own=own)


# The scan, and the laws


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_chunks_of_steps_are_the_steps(steps):
    """A path of steps that depend on each other; the last chunk is filled with idle ones."""

    def advance(carry, quote):
        carry = jnp.where(quote.dt > 0, 2.0 * carry + quote.index[0], carry)
        return carry, carry

    index = jnp.arange(1.0, steps + 1.0)[:, None]
    quotes = Quote(index=index, depth=jnp.ones((steps, 2, 1)), dt=jnp.ones(steps))
    plain = lax.scan(advance, jnp.asarray(1.0), quotes)
    chunks = gradients.checkpointed(advance, jnp.asarray(1.0), quotes)
    assert all(map(np.array_equal, jax.tree.leaves(plain), jax.tree.leaves(chunks)))


def test_a_louder_ladder_moves_by_multiples_of_its_logarithm():
    ladder = scenarios.Ladder(
        shock=jnp.asarray([-0.5, 1.0]), books=jnp.uint32(1), duration=jnp.asarray(60.0)
    )
    louder = scenarios.louder(ladder, jnp.asarray(2.0))
    np.testing.assert_allclose(louder.shock, [-0.75, 3.0])
