"""Levers: where none is moved nothing changes, and accounts follow caps as the formula says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import worlds

from riskengine.calibration import levers
from riskengine.montecarlo.setting import Setting
from riskengine.specs import book as books
from riskengine.specs.book import MAKER, TRADER, Holdings

ROWS = ((0.0, 0.025, 0.0125), (5e4, 0.05, 0.025))


def held(**columns) -> Holdings:
    """Three traders and a maker in one market: two of the first tier, one of the second."""
    given = dict(
        cash=np.array([1000.0, 250.0, 20_000.0, 50_000.0]),
        role=np.array([TRADER, TRADER, TRADER, MAKER]),
        account=np.arange(4),
        market=np.zeros(4, int),
        size=np.array([10_000.0, -10_000.0, 100_000.0, -100_000.0]),
        entry=np.ones(4),
    )
    return Holdings(**(given | columns))


@pytest.fixture(scope="module")
def setting():
    packed, _, _ = books.pack([held()], 1)
    return Setting(
        jax.random.key(0), packed, worlds.venue(1, rows=ROWS, capital=1e6), worlds.crash(),
        worlds.simulation(8),
    )  # fmt: skip


def cash_of(setting, caps, response):
    """By trader, in the order of `held`, and the maker's."""
    book = levers.responding(setting.books, setting.venue, jnp.asarray(caps), response)
    return np.asarray(book.cash)[0]


@pytest.mark.parametrize("response", [0.0, 0.5, 1.0])
def test_no_lever_moved_changes_no_bit(setting, response):
    same = levers.moved(setting, levers.still(setting.venue), response)
    for before, after in zip(
        jax.tree.leaves((setting.books, setting.venue, setting.scenario)),
        jax.tree.leaves((same.books, same.venue, same.scenario)),
        strict=True,
    ):
        assert np.array_equal(before, after)


@pytest.mark.parametrize(
    "caps, response, cash",
    [
        # initial margins are 250, 250 (at its cap) and 5,000; caps of the first tier halve
        ((0.5, 1.0), 0.0, [1000.0, 500.0, 20_000.0]),
        ((0.5, 1.0), 0.5, [1000.0 * 2**0.5, 500.0, 20_000.0]),
        ((0.5, 1.0), 1.0, [2000.0, 500.0, 20_000.0]),
        # a tighter cap on large positions reaches the third only: m' = 25,000 of 100,000
        ((1.0, 0.2), 0.0, [1000.0, 250.0, 25_000.0]),
        ((1.0, 0.2), 1.0, [1000.0, 250.0, 100_000.0]),
        # looser: nobody is forced, and half follows
        ((2.0, 2.0), 0.0, [1000.0, 250.0, 20_000.0]),
        ((2.0, 2.0), 0.5, [1000.0 * 0.5**0.5, 250.0 * 0.5**0.5, 20_000.0 * 0.5**0.5]),
        ((2.0, 2.0), 1.0, [500.0, 125.0, 10_000.0]),
    ],
)
def test_accounts_follow_caps(setting, caps, response, cash):
    assert np.allclose(cash_of(setting, caps, response), [*cash, 50_000.0], rtol=1e-12)


def test_who_opened_below_its_initial_margin_is_not_asked_for_more_than_its_share(setting):
    packed, _, _ = books.pack([held(cash=np.array([200.0, 250.0, 20_000.0, 50_000.0]))], 1)
    low = dataclasses.replace(setting, books=packed)
    assert np.allclose(cash_of(low, (0.5, 1.0), 0.0)[0], 400.0)
    assert np.allclose(cash_of(low, (0.999, 1.0), 0.0)[0], 200.0 / 0.999)


def test_what_caps_cost_traders(setting):
    after = levers.responding(setting.books, setting.venue, jnp.asarray([0.5, 1.0]), 0.0)
    cost = levers.given_up(setting.books, after)
    assert np.isclose(cost.equity, 250.0)
    assert np.isclose(cost.open_interest, 0.5 * 10_000.0 * 0.5)


def test_notional_by_tier(setting):
    assert np.allclose(levers.by_tier(setting.books, setting.venue), [20_000.0, 100_000.0])


def test_each_lever_moves_its_own_numbers(setting):
    by = levers.still(setting.venue)
    for name, leaves in (
        ("fund", lambda s: s.venue.capital),
        ("vault", lambda s: s.venue.pools.fixed),
        ("maintenance", lambda s: s.venue.margin.ratio),
        ("depth", lambda s: s.scenario.depth.calm),
    ):
        twice = dataclasses.replace(by, **{name: jnp.asarray(2.0)})
        assert np.array_equal(leaves(levers.moved(setting, twice, 0.0)), 2.0 * leaves(setting))
    more = dataclasses.replace(by, fee=jnp.asarray(0.01), fee_to_pool=jnp.asarray(-0.25))
    liquidation = levers.moved(setting, more, 0.0).venue.liquidation
    assert float(liquidation.fee) == float(setting.venue.liquidation.fee) + 0.01
    assert float(liquidation.fee_to_pool) == float(setting.venue.liquidation.fee_to_pool) - 0.25
