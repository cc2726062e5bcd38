"""Answers worked out by hand: a ledger of one account, ADL in fractions, a crash in closed form."""

import dataclasses
from fractions import Fraction as F

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import worlds

from riskengine.montecarlo import metrics, simulate
from riskengine.specs import book as books
from riskengine.specs.book import Holdings
from riskengine.types import compiled
from riskengine.waterfall import adl, margin, step, vault
from riskengine.waterfall.state import Market, Quote

FLAT = ((0.0, 0.025, 0.0125),)  # maintenance 1.25 %


def one_market(cash, size, entry=None) -> books.Book:
    """A book of one market: account i holds `size[i]`."""
    holdings = Holdings(
        cash=np.asarray(cash, float),
        role=np.zeros(len(cash), int),
        account=np.arange(len(cash)),
        market=np.zeros(len(cash), int),
        size=np.asarray(size, float),
        entry=np.ones(len(cash)) if entry is None else np.asarray(entry, float),
    )
    stacked, _, _ = books.pack([holdings], 1)
    return jax.tree.map(lambda x: x[0], stacked)


def prices(mark, before=1.0, depth=4e4) -> Market:
    one = jnp.ones(1)
    return Market(
        index=mark * one,
        depth=depth * jnp.ones((2, 1)),
        dt=jnp.asarray(5.0),
        mark=mark * one,
        mark_before=before * one,
        order_book=worlds.order_book(profit_taking=0.0),
    )


def opened(book, venue, market):
    book = margin.attach(book, venue)
    return margin.watch(step.opening(book, venue), market, book, venue), book


def test_a_vault_takes_over_and_unwinds_by_hand():
    """Long 1,000 units with 20 USD; the mark falls to 0.985.

    equity 20 − 1000 · 0.015 = 5; maintenance 0.0125 · 985 = 12.3125; health 0.406 < 2/3.
    Bankruptcy price 0.985 − 5/1000 = 0.98: the vault pays 980 USD for what is worth 985.
    """
    book = one_market([20.0, 500.0], [1000.0, -1000.0])
    venue = worlds.venue(markets=1, rows=FLAT)
    market = prices(0.985)
    state, book = opened(book, venue, market)
    assert state.entered[0] == pytest.approx(5 / 12.3125, rel=1e-13)

    state, moved = compiled(vault.take_over)(state, market, book, venue)
    assert state.size[0] == 0.0
    assert state.cash[0] == pytest.approx(0.0, abs=1e-12)
    assert state.pool_size[0, 0] == 1000.0
    assert state.pool_cash[0] == pytest.approx(-1000 * (0.98 - 1), rel=1e-12)  # cash −x(p − 1)
    assert state.pool_basis[0, 0] == pytest.approx(1000 * (0.98 - 1), rel=1e-12)
    assert moved.takeover == pytest.approx(985.0)

    # 1 % of a depth of 4,000 per second for 5 s: 200 units, sold at mid · exp(−mean distance)
    slow = dataclasses.replace(market, depth=jnp.full((2, 1), 4000.0))
    state, moved = compiled(vault.unwind)(state, slow, book, venue)
    power = 1 / 0.67
    distance = 0.01 * (200 / 4000) ** power / (1 + power)
    price = 0.985 * np.exp(-distance)
    assert state.pool_size[0, 0] == pytest.approx(800.0)
    assert moved.unwound == pytest.approx(200 * price, rel=1e-12)
    realised = float(state.pool_cash[0] + state.pool_basis[0, 0])
    assert realised == pytest.approx(200 * (price - 0.98), rel=1e-9)
    assert state.street_size[0] == pytest.approx(200.0)


# name: size, equity at the opening mark, entry price
WINNERS = {"A": (-2, F(4), F(5, 4)), "B": (-3, F(1), F(5, 4)), "C": (-4, F(8), F(9, 8))}
LOSER = (6, F(1, 2), F(1))
MARK = F(7, 8)


def score(size, cash, entry):
    """max(u, 0)/v · n/e of a short."""
    equity = cash + size * (MARK - 1)
    return (-size * (entry - MARK)) / (-size * entry) * (-size * MARK) / equity


def test_the_queue_closes_exactly_the_gap_in_fractions():
    """The loser's equity is 1/2 − 6/8 = −1/4: bankruptcy price 7/8 + (1/4)/6 = 11/12.

    Scores: B 3/10 · 2.625/1.375, then A 3/10 · 1.75/4.25, then C. Of the gap of 6 B closes 3, A
    closes 2 and C, the marginal one, 1 of its 4; each receives 11/12 instead of 7/8.
    """
    order = sorted(WINNERS, key=lambda name: -score(*WINNERS[name]))
    assert order == ["B", "A", "C"]
    found = deleveraged(policy="queue")
    price = MARK + (F(1, 4)) / 6
    for name, closed in {"A": F(2), "B": F(3), "C": F(1)}.items():
        size, cash, _ = WINNERS[name]
        assert found.size[name] == pytest.approx(float(size + closed), abs=1e-15)
        assert found.cash[name] == pytest.approx(float(cash - closed * (price - 1)), rel=1e-15)
    assert found.size["loser"] == 0.0
    assert found.cash["loser"] == pytest.approx(0.0, abs=1e-15)
    assert found.loss == pytest.approx(float(6 * (price - MARK)), rel=1e-14)


def test_pro_rata_closes_everyone_alike_in_fractions():
    """Six of nine units: two thirds of each."""
    found = deleveraged(policy="pro_rata")
    for name, (size, _, _) in WINNERS.items():
        assert found.size[name] == pytest.approx(float(size * F(1, 3)), rel=1e-14)
    assert found.loss == pytest.approx(float(6 * (F(11, 12) - MARK)), rel=1e-14)


def test_a_split_account_loses_the_same_under_pro_rata():
    split = {"C1": (-1, F(2), F(9, 8)), "C2": (-3, F(6), F(9, 8))}
    whole = deleveraged(policy="pro_rata")
    parts = deleveraged(policy="pro_rata", winners={n: WINNERS[n] for n in "AB"} | split)
    assert parts.cash["C1"] + parts.cash["C2"] == pytest.approx(whole.cash["C"], rel=1e-14)
    assert parts.size["C1"] + parts.size["C2"] == pytest.approx(whole.size["C"], rel=1e-14)


def test_pairing_in_sequence_equals_the_average_with_one_loser():
    queue, pairs = deleveraged(policy="queue"), deleveraged(policy="queue", allocation="sequence")
    for name in WINNERS:
        assert pairs.cash[name] == pytest.approx(queue.cash[name], rel=1e-14)


@dataclasses.dataclass
class Closed:
    size: dict
    cash: dict
    loss: float


def deleveraged(winners=None, **rules) -> Closed:
    winners = WINNERS if winners is None else winners
    names = ["loser", *winners]
    rows = [LOSER, *winners.values()]
    book = one_market(
        [float(r[1]) for r in rows], [float(r[0]) for r in rows], [float(r[2]) for r in rows]
    )
    venue = worlds.venue(
        markets=1, rows=FLAT, triggers=(), adl_below=1.0, adl_price="bankruptcy", **rules
    )
    market = prices(float(MARK))
    state, book = opened(book, venue, market)
    state, moved = compiled(adl.deleverage)(state, market, book, venue)
    # one position each, so accounts keep their order within the one class of the layout
    return Closed(
        size=dict(zip(names, np.asarray(state.size).tolist(), strict=True)),
        cash=dict(zip(names, np.asarray(state.cash).tolist(), strict=True)),
        loss=float(moved.adl_loss_mark),
    )


# Whole paths


@pytest.fixture(scope="module")
def program():
    def run(quotes, book, venue, order_book):
        book = margin.attach(book, venue)
        state, market, steps = simulate.run(quotes, book, venue, order_book)
        return metrics.finish(state, market, steps, quotes.dt, book, venue, 1e-12), state

    return compiled(run)


def line(levels, depth=1e12) -> Quote:
    n = len(levels)
    return Quote(
        index=jnp.asarray(levels, float)[:, None] * jnp.ones((n, 2)),
        depth=jnp.full((n, 2, 2), depth),
        dt=jnp.full(n, 5.0),
    )


def test_a_gap_through_the_bankruptcy_price_in_closed_form(program):
    """Long N units with cash c against a short; the index gaps from 1 to p at once.

    The vault takes over at P_bk = p − e/N with e = c + N (p − 1) < 0, so its equity at mark is e,
    and the fund that keeps it from being deleveraged is −e, whatever it is.
    """
    venue = worlds.venue(pools=1, rows=FLAT, capital=np.inf, unwind_rate=[0.0])
    book = two_markets()
    for level in (0.93, 0.9, 0.8, 0.5):
        found, _ = program(line([1.0, level, level]), book, venue, worlds.order_book())
        owed = -(50.0 + 1000.0 * (level - 1.0))
        assert float(found.adl_required_fund) == pytest.approx(owed, rel=1e-12)
        assert float(found.required_fund) == pytest.approx(owed, rel=1e-9)
        assert float(found.vault_worst) == pytest.approx(-owed, rel=1e-12)


def two_markets() -> books.Book:
    """One long and one short in the first market of two."""
    holdings = Holdings(
        cash=np.asarray([50.0, 5000.0]),
        role=np.zeros(2, int),
        account=np.asarray([0, 1]),
        market=np.asarray([0, 0]),
        size=np.asarray([1000.0, -1000.0]),
        entry=np.ones(2),
    )
    return jax.tree.map(lambda x: x[0], books.pack([holdings], 2)[0])


DOLLARS = ("cash", "size")
RATIOS = {
    "depleted", "intervened", "depletion_time", "intervention_time", "haircut", "pnl_haircut",
    "index_fall", "index_rise",
    "accounts_deleveraged", "accounts_liquidated", "winner_bankrupted", "flags", "log_weight",
    "ledger_cash", "ledger_size",
}  # fmt: skip


def scaled(book, quotes, factor: float):
    return (
        dataclasses.replace(book, size=book.size * factor, cash=book.cash * factor),
        dataclasses.replace(
            jax.tree.map(jnp.asarray, quotes), depth=jnp.asarray(quotes.depth * factor)
        ),
    )


def scaled_venue(factor: float):
    rows = ((0.0, 0.025, 0.0125), (5e4 * factor, 0.05, 0.025))
    return worlds.venue(
        capital=500.0 * factor, rows=rows, fraction_above=1e4 * factor, dust=1.0 * factor
    )


@pytest.mark.parametrize("power", [-7, 1, 20])
def test_a_book_in_other_units_gives_the_same_bits(program, power):
    """All money and sizes times a power of two: every result is that multiple, to the bit."""
    rng = np.random.default_rng(5)
    book = jax.tree.map(lambda x: x[0], books.pack([worlds.holdings(rng)], 2)[0])
    quotes, factor = worlds.quotes(rng, steps=12), 2.0**power
    one, _ = program(quotes, book, scaled_venue(1.0), worlds.order_book())
    book, quotes = scaled(book, quotes, factor)
    other, _ = program(quotes, book, scaled_venue(factor), worlds.order_book())
    assert float(one.accounts_liquidated) > 0
    for field in dataclasses.fields(one):
        a, b = (np.asarray(getattr(x, field.name), float) for x in (one, other))
        if field.name not in RATIOS:
            a = a * factor
        np.testing.assert_array_equal(a, b, err_msg=field.name)


def test_the_order_of_accounts_does_not_matter(program):
    """Accounts in another order: sums in another order, so equal to rounding; counts exactly."""
    rng = np.random.default_rng(11)
    given = worlds.holdings(rng)
    order = np.arange(len(given.cash))
    traders = np.flatnonzero(given.role == books.TRADER)
    order[traders] = np.random.default_rng(3).permutation(traders)
    place = np.argsort(order)
    other = dataclasses.replace(
        given, cash=given.cash[order], role=given.role[order], account=place[given.account]
    )
    quotes = worlds.quotes(rng, steps=12)
    both = books.pack([given, other], 2)[0]
    found = [
        program(quotes, jax.tree.map(lambda x, i=i: x[i], both), worlds.venue(capital=500.0),
                worlds.order_book())[0]
        for i in (0, 1)
    ]  # fmt: skip
    gross = float(np.abs(given.cash).sum())
    for field in dataclasses.fields(found[0]):
        a, b = (float(np.asarray(getattr(x, field.name))) for x in found)
        if field.name.startswith("ledger"):
            continue
        close = (
            0.0
            if field.name in RATIOS - {"haircut", "pnl_haircut", "index_fall", "index_rise"}
            else 1e-12 * gross
        )
        assert a == b or abs(a - b) <= close or (np.isnan(a) and np.isnan(b)), field.name
