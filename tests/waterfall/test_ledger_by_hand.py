"""Ledgers of a few accounts, step by step, with every number worked out by hand."""

from fractions import Fraction as F

import jax.numpy as jnp
import numpy as np
import pytest
import twins
import worlds

from riskengine import reference
from riskengine.montecarlo import shadow
from riskengine.specs.book import Holdings
from riskengine.waterfall.state import Quote

INFINITY = float("inf")
NO_ADL = ("book", "takeover", "unwind", "fund", "social")
FLAT = ((0.0, 0.1, 0.05), (1e12, 0.1, 0.05))  # maintenance 5 % of any notional


def book_of(rows, traders_only=False):
    """One account a row: cash, market, size, entry."""
    cash, market, size, entry = (np.array(column) for column in zip(*rows, strict=True))
    held = Holdings(
        cash=cash.astype(float),
        role=np.zeros(len(cash), int),
        account=np.arange(len(cash)),
        market=market,
        size=size.astype(float),
        entry=entry.astype(float),
    )
    return worlds.placed(held, traders_only), worlds.rows(held, traders_only)


def quotes_of(index, depth: float) -> list[Quote]:
    """One step of 5 s per price of the first market; the second stands still."""
    deep = jnp.full((2, 2), depth)
    return [
        Quote(index=jnp.array([x, 1.0]), depth=deep, dt=jnp.asarray(5.0)) for x in map(float, index)
    ]


def both_engines(book, venue, order_book, quotes):
    """After every step, per engine: cash, pools, street, and the size of every account."""
    world, state = twins.World(book, venue, order_book), twins.begin(book, venue)
    plain = reference.opening(world.plain_book, world.plain_venue)
    metrics = reference.Metrics(plain, world.plain_book)
    for quote in quotes:
        _, found = twins.stages(state, quote, order_book, book, venue)
        state = found[-1]["state"]
        seen = twins.plain_quote(quote)
        reference.step(
            plain, seen, world.plain_order_book, world.plain_book, world.plain_venue, metrics
        )
        yield tuple(_row(s, world.plain_book.account) for s in (world.plain(state), plain))


def _row(state: reference.State, account) -> dict:
    return dict(
        cash=np.array(state.cash),
        size=np.bincount(account, state.size, len(state.cash)),
        pool=(state.pool_size[0][0], state.pool_cash[0], state.pool_basis[0][0]),
        street=(state.street_size[0], state.street_cash),
        debt=state.debt[0],
        unfunded=state.unfunded_cash,
    )


# A long position on its way down. A linear book that fills a flow of Q at mid (1 − 0.01 Q/2 / D),
# with D = 10,000 and refilled before the next step: 0.5 % per 10,000 units. Maintenance 5 %.
#
# step  index  account A: equity / maintenance                      what happens
# 1     0.94   100 − 1000 · 0.06 = 40 / 47, health 0.851             a fifth is sold:
#              200 at 0.94 · 0.9999 = 0.939906                       cash 100 − 200 · 0.060094
# 2     0.90   87.9812 − 800 · 0.10 = 7.9812 / 36, health 0.22       the vault takes 800 at
#              P_bk = 0.90 − 7.9812/800 = 0.8900235                  cash 87.9812 passes to it,
#              and sells 0.1 % of D per second, 50 units, at 0.90 · 0.999975 = 0.8999775
# 3     0.85   none                                                  50 at 0.85 · 0.999975
#
# Per step: A's size and cash; the pool's size, cash, basis; the street's size and cash.
LEDGER = """
 800  87.9812   0  0          0           200  12.0188
   0   0      750  82.980075  -82.482375  250  17.019925
   0   0      700  75.4790125 -76.98355   300  24.5209875
"""


def test_a_long_position_on_its_way_down():
    """Liquidated in part into the book, taken over, unwound."""
    book, rows = book_of([(100, 0, 1000, 1), (1e6, 0, -1000, 1)])
    rules = dict(stages=NO_ADL, mark_rule="index", fraction_above=500.0, unwind_rate=0.001)
    venue = worlds.venue(rows=FLAT, capital=50.0, **rules)
    order_book = worlds.order_book(
        distance="linear", exponent=1.0, resilience=INFINITY, profit_taking=0.0
    )
    steps = both_engines(book, venue, order_book, quotes_of([0.94, 0.90, 0.85], 1e4))
    for line, engines in zip(LEDGER.split("\n")[1:], steps, strict=False):
        for row in engines:
            a = rows[0]
            found = (row["size"][a], row["cash"][a], *row["pool"], *row["street"])
            assert found == pytest.approx([float(x) for x in line.split()], abs=1e-9), line
            assert row["size"][rows[1]] == -1000.0 and row["cash"][rows[1]] == 1e6


# One long of 1,000 with 100 USD meets a gap to 1 − x. Sold whole at p: at 1 − x where the book is
# endless, at (1 − x)(1 − 0.05) where it is empty and outside capital buys 5 % below. It then owes
# 1000 (1 − p) − 100, which the fund pays as far as it goes.


@pytest.mark.parametrize("x", ["0.05", "0.1", "0.2", "0.5"])
@pytest.mark.parametrize(("depth", "discount"), [(1e18, 0), (0.0, F(5, 100))])
def test_a_gap_in_closed_form(depth, discount, x):
    owed = max(1000 * (1 - (1 - F(x)) * (1 - discount)) - 100, F(0))
    book, _ = book_of([(100, 0, 1000, 1), (1e6, 0, -1000, 1)])
    rules = dict(book_above=-INFINITY, takeover_below=-INFINITY, fraction=1.0)
    venue = worlds.venue(rows=FLAT, stages=NO_ADL, mark_rule="index", capital=60.0, **rules)
    order_book = worlds.order_book(
        distance="linear", exponent=1.0, distance_max=0.05, resilience=INFINITY, profit_taking=0.0
    )
    quotes = quotes_of([1 - F(x)], depth)
    for engine in next(both_engines(book, venue, order_book, quotes)):
        assert engine["pool"][1] == pytest.approx(-float(min(owed, 60)), abs=1e-9)
        assert engine["unfunded"] == pytest.approx(-float(max(owed - 60, 0)), abs=1e-9)
        assert engine["debt"] == 0.0
    plain = (
        shadow.plain_book(book),
        shadow.plain_venue(venue),
        shadow.plain_order_book(order_book),
    )
    metrics, _ = reference.run(*plain, [twins.plain_quote(q) for q in quotes])
    assert metrics["bad_debt"] == pytest.approx(float(owed), abs=1e-9)
    assert metrics["required_fund_cash"] == pytest.approx(float(owed), abs=1e-9)
    assert metrics["fund_draw"] == pytest.approx(float(min(owed, 60)), abs=1e-9)


def test_losers_and_counterparties_meet_in_their_order():
    """Two losers of 50 with 5 and 7.5 USD at 0.8: equities −5 and −2.5, prices 0.9 and 0.85.

    Shorts of 60 and 80 from 1.1 and from 1: scores r L = 0.3/0.8 · 48/e and 0.2/0.8 · 64/e. The
    first closes 60: 50 at 0.9 and 10 at 0.85. The second closes the last 40 of its 80, at 0.85.
    """
    mark = F(4, 5)
    prices = [mark + F(5, 50), mark + F(5, 2) / 50]
    assert prices == [F(9, 10), F(17, 20)]
    book, rows = book_of(
        [(5, 0, 50, 1), (7.5, 0, 50, 1), (10, 0, -60, 1.1), (50, 0, -80, 1), (1e3, 0, 40, 1)], True
    )
    rules = dict(allocation="sequence", ranking="return_leverage", adl_price="bankruptcy")
    venue = worlds.venue(rows=FLAT, stages=("adl",), mark_rule="index", **rules)
    order_book = worlds.order_book()
    price = (50 * prices[0] + 10 * prices[1]) / 60
    cash = [F(0), F(0), 10 - 60 * (price - 1), 50 - 40 * (prices[1] - 1), F(1000)]
    for engine in next(both_engines(book, venue, order_book, quotes_of([mark], 1e4))):
        assert engine["size"][rows] == pytest.approx([0, 0, 0, -40, 40], abs=1e-12)
        assert engine["cash"][rows] == pytest.approx([float(x) for x in cash], abs=1e-9)
