"""Every dollar and every unit has a holder: both totals are constants of every stage."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rulebook
import twins
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st
from test_two_engines import shaken

from riskengine.montecarlo import simulate
from riskengine.waterfall import fund, margin, price, step

STEPS = 6
BOOKS = 10
BAR = simulate.CONSERVATION  # float64 1e-12, float32 1e-6


def totals(state, book) -> tuple[float, np.ndarray]:
    """Cash, and size per market, of all holders; summed here, not by the engine."""
    cash = np.sum(state.cash, dtype=float) + state.pool_cash.sum() - state.debt.sum()
    cash += state.street_cash + state.fees + state.unfunded_cash
    markets = book.layout.number_of_markets
    size = np.bincount(np.asarray(book.market), np.asarray(state.size, float), markets)
    return cash, size + state.pool_size.sum(0) + state.street_size + state.unfunded_size


def lost(before, after, book) -> float:
    """What a stage lost: of gross cash, or of the open interest of a market."""
    (cash, size), (cash_after, size_after) = totals(before, book), totals(after, book)
    gross = np.abs(np.asarray(book.cash, float)).sum()
    interest = 0.5 * np.bincount(np.asarray(book.market), np.abs(np.asarray(book.size, float)))
    traded = np.where(interest > 0, interest, 1.0)
    return max(abs(cash_after - cash) / gross, np.max(np.abs(size_after - size) / traded))


def conserves(name: str, seed: int, dtype: str) -> bool:
    """Whether every stage of some steps keeps all totals; whether anything moved at all."""
    rng = np.random.default_rng(seed)
    book = rulebook.book(name, rng, dtype)
    venue, order_book = rulebook.venue(name, rng), rulebook.order_book(name, rng)
    quotes = worlds.quotes(rng, STEPS, move=0.05, depth=2e4)
    opening = twins.begin(book, venue)
    start = shaken(opening, rng, venue) if seed % 2 else opening
    before, moved = start, False
    for _, found in twins.trajectory(quotes, order_book, book, venue, start):
        moved |= _step_conserves(venue.stages, before, found, book, dtype)
        before = found[-1]["state"]
    audited = found[-1]["residual"]
    assert start is not opening or max(audited) <= BAR[dtype]
    return moved


def _step_conserves(stages, before, found, book, dtype: str) -> bool:
    """The price move touches nobody's holdings; every stage keeps the totals."""
    for field in ("size", "cash", "pool_size", "pool_cash", "debt", "street_size", "street_cash"):
        now = getattr(found[0]["state"], field)
        assert np.array_equal(getattr(before, field), now), field
    states = [entry["state"] for entry in found]
    for name, was, now in zip(stages, states[:-1], states[1:], strict=True):
        assert lost(was, now, book) <= BAR[dtype], name
    return not np.array_equal(states[0].cash, states[-1].cash)


@pytest.mark.parametrize("name", rulebook.RULES)
def test_every_stage_keeps_cash_and_size(name):
    eventful = []

    @settings(max_examples=BOOKS)
    @given(seed=st.integers(0, 2**32 - 1))
    def check(seed):
        eventful.append(conserves(name, seed, "float64"))

    check()
    assert sum(eventful) > BOOKS // 2


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["hyperliquid", "sequence"])
@settings(max_examples=BOOKS)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_stage_keeps_cash_and_size_in_single_precision(name, seed):
    conserves(name, seed, "float32")


# That the check can fail


def pays_nothing(state, market, book, venue):
    """The fund strikes the debt off without paying a millionth of it."""
    after, flows = fund.cover(state, market, book, venue)
    return dataclasses.replace(after, pool_cash=after.pool_cash + 1e-6 * state.debt), flows


def keeps_a_unit(state, market, book, venue):
    """A unit of the first market appears with the street."""
    after, flows = fund.cover(state, market, book, venue)
    return dataclasses.replace(after, street_size=after.street_size.at[0].add(1e-6)), flows


@pytest.mark.parametrize(
    ("run", "cash", "size"),
    [(fund.cover, False, False), (pays_nothing, True, False), (keeps_a_unit, False, True)],
)
def test_the_audit_sees_a_broken_stage(monkeypatch, run, cash, size):
    """A thousandth of a cent, or a millionth of a unit, of a book of 1e5 of either."""
    monkeypatch.setitem(step.STAGES, "fund", (fund.owed, run))
    rng = np.random.default_rng(3)
    book, venue = rulebook.book("hyperliquid", rng), rulebook.venue("hyperliquid", rng, capital=1e4)
    book = margin.attach(book, venue)
    state = step.opening(book, venue)
    owing = dataclasses.replace(state, debt=state.debt + 10.0, cash=state.cash.at[0].add(10.0))
    quote = jax.tree.map(jnp.asarray, worlds.at(worlds.quotes(rng), 0))
    owing, market = price.advance(owing, quote, worlds.order_book(), venue)
    after, _ = step.STAGES["fund"][1](owing, market, book, venue)
    assert float(after.debt[0]) == 0.0  # the stage ran
    cash_residual, size_residual = step.audit(after, book)
    assert bool(cash_residual > BAR["float64"]) == cash
    assert bool(size_residual > BAR["float64"]) == size
