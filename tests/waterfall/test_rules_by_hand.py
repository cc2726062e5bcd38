"""Rules of single venues on two or three accounts, with every number worked out by hand."""

from fractions import Fraction as F

import numpy as np
import pytest
import worlds
from test_ledger_by_hand import FLAT, book_of, both_engines, quotes_of

from riskengine.specs.book import Holdings

INFINITY = float("inf")
ENDLESS = 1e18  # depth: orders are filled at mid
RULES = dict(
    rows=FLAT,
    mark_rule="index",
    book_above=-INFINITY,
    fraction=1.0,
    fraction_above=0.0,
    cooldown_period=0.0,
    dust=0.0,
    triggers=(),
    unwind_rate=0.0,
    takeover_below=1.0,
    adl_below=-INFINITY,
)


def after(accounts, prices, depth=ENDLESS, **rules):
    """Both engines after the last step, and the rows of the accounts in them."""
    book, rows = book_of(accounts)
    venue = worlds.venue(**(RULES | rules))
    order_book = worlds.order_book(
        distance="linear", exponent=1.0, resilience=INFINITY, profit_taking=0.0
    )
    *_, last = both_engines(book, venue, order_book, quotes_of(prices, depth))
    return last, rows


# A long of 1,000 with 60 USD is bankrupt at 0.94: the pool takes it over at 0.94 for nothing. At 0.90 it
# has lost 40 of its 100 USD, more than 30 %, so the position is closed against the short of 1,000.
#
# pool's price   closed at                      the pool has lost   the short has gained
# mark           0.90                           40                  1000 · 0.10
# cost           0.94, what it paid             0                   1000 · 0.06
# threshold      0.91: 30 % of 100, not more    30                  1000 · 0.09
# bankruptcy     0.84: 60 more would be gone    100                 1000 · 0.16


@pytest.mark.parametrize(
    ("pool_price", "lost", "gained"),
    [("mark", 40, 100), ("cost", 0, 60), ("threshold", 30, 90), ("bankruptcy", 100, 160)],
)
def test_a_drawdown_ends_where_the_price_rule_says(pool_price, lost, gained):
    rules = dict(stages=("takeover", "adl"), triggers=("drawdown",), drawdown=0.3, release=0.25)
    rows = [(60, 0, 1000, 1), (1e4, 0, -1000, 1)]
    engines, (_, short) = after(
        rows, ["0.94", "0.90"], capital=100.0, pool_adl_price=pool_price, **rules
    )
    for engine in engines:
        size, cash, _ = engine["pool"]
        assert size == pytest.approx(0.0, abs=1e-9)
        assert cash == pytest.approx(-lost, abs=1e-9)
        assert engine["cash"][short] == pytest.approx(1e4 + gained, abs=1e-9)


def test_a_smaller_drawdown_leaves_the_position_with_the_pool():
    rules = dict(stages=("takeover", "adl"), triggers=("drawdown",), drawdown=0.3, release=0.25)
    rows = [(60, 0, 1000, 1), (1e4, 0, -1000, 1)]
    engines, _ = after(rows, ["0.94", "0.911"], capital=100.0, pool_adl_price="mark", **rules)
    for engine in engines:
        assert engine["pool"][0] == 1000.0


# dYdX: a long of 1,000 with 60 USD at 0.955: equity 15, margin 5 % of 955 = 47.75. In 5 s five clips of a
# tenth: 500 units, filled at 0.955 where the fillable price is 0.955 − 1.5 (47.75 − 15)/1000 = 0.905875.
# At its bankruptcy price, 0.94, closing 500 would bring 7.5 USD less: the fee of 1.5 % of 477.5 fits in.


def test_clips_are_filled_above_the_fillable_price_and_pay_out_of_the_surplus():
    rules = dict(
        stages=("book",), sizing="clips", fraction=0.1, limit="fillable", slack=1.5, backing="fills",
        liquidation_fee=0.015, fee_cap="surplus",
    )  # fmt: skip
    rows = [(60, 0, 1000, 1), (1e4, 0, -1000, 1)]
    engines, (long, _) = after(rows, ["0.955"], **rules)
    for engine in engines:
        assert engine["size"][long] == pytest.approx(500.0, rel=1e-12)
        fee = F("0.015") * 500 * F("0.955")
        assert engine["cash"][long] == pytest.approx(float(60 - 500 * F("0.045") - fee), abs=1e-9)
        assert engine["pool"][1] == pytest.approx(float(fee), abs=1e-9)


# The same account at 0.93: equity −10, bankruptcy price 0.94. The book pays 0.93, the fund the hundredth
# that is missing, 5 USD for 500 units; with 2 USD it pays for 200 of them and refuses the rest.


@pytest.mark.parametrize(("fund", "filled"), [(100.0, 500), (2.0, 200), (0.0, 0)])
def test_a_fill_beyond_bankruptcy_takes_place_as_far_as_the_fund_can_pay(fund, filled):
    rules = dict(
        stages=("book",), sizing="clips", fraction=0.1, limit="fillable", slack=1.5, backing="fills",
        liquidation_fee=0.015, fee_cap="surplus", capital=fund,
    )  # fmt: skip
    rows = [(60, 0, 1000, 1), (1e4, 0, -1000, 1)]
    engines, (long, _) = after(rows, ["0.93"], **rules)
    for engine in engines:
        assert engine["size"][long] == pytest.approx(1000.0 - filled, abs=1e-9)
        assert engine["pool"][1] == pytest.approx(-filled / 100, abs=1e-9)
        assert engine["cash"][long] == pytest.approx(60 - 0.06 * filled, abs=1e-9)


@pytest.mark.parametrize(("positions", "left"), [("all", 0), ("largest", 500)])
def test_an_account_may_send_its_largest_position_alone(positions, left):
    """1,000 at 0.96 and 500 at 1 need 48 and 25 USD of margin; of 60 USD 20 are left."""
    held = Holdings(
        cash=np.array([60.0, 1e4, 1e4]), role=np.zeros(3, int), account=np.array([0, 0, 1, 2]),
        market=np.array([0, 1, 0, 1]), size=np.array([1000.0, 500.0, -1000.0, -500.0]),
        entry=np.ones(4),
    )  # fmt: skip
    venue = worlds.venue(**(RULES | dict(stages=("book",), sizing="full", positions=positions)))
    order_book = worlds.order_book(
        distance="linear", exponent=1.0, resilience=INFINITY, profit_taking=0.0
    )
    book, rows = worlds.placed(held), worlds.rows(held)
    for engine in next(both_engines(book, venue, order_book, quotes_of(["0.96"], ENDLESS))):
        assert engine["size"][rows[0]] == pytest.approx(left, abs=1e-9)
        assert engine["size"][rows[1]] == -1000.0


TIERS = ((0.0, 0.1, 0.05), (500.0, 0.12, 0.06), (900.0, 0.14, 0.07))


@pytest.mark.parametrize(("down", "left"), [(1, 900.0), (2, 500.0), (3, 950.0)])
def test_a_position_goes_down_to_just_inside_a_lower_tier(down, left):
    """950 units at 1 lie in the third tier; three tiers down there is none, so nothing is sold."""
    rules = dict(stages=("book",), sizing="tiers", tiers_down=down, rows=TIERS, kind="flat")
    engines, (long, _) = after([(40, 0, 950, 1), (1e4, 0, -950, 1)], ["1"], **rules)
    for engine in engines:
        inside = left * (1 - 1e-6) if left < 950 else left
        assert engine["size"][long] == pytest.approx(inside, rel=1e-12)


@pytest.mark.parametrize(("depth", "left"), [(1e3, 1000.0), (1e9, 0.0)])
def test_fill_or_kill_leaves_what_the_book_takes_only_in_part(depth, left):
    """At 0.945 with a bankruptcy price of 0.94: a thin book takes some of it above that, not all."""
    rules = dict(stages=("book",), sizing="full", limit="bankruptcy", execution="all_or_none")
    engines, (long, _) = after([(60, 0, 1000, 1), (1e4, 0, -1000, 1)], ["0.945"], depth, **rules)
    for engine in engines:
        assert engine["size"][long] == pytest.approx(left, abs=1e-9)


# A long of 1,000 with 100 USD meets a gap to 0.8 and is sold there: it owes 100. Positions of 1,000 (long)
# and 2,000 (short) at 0.8 share it by notional: a third and two thirds of it.


def test_both_sides_of_the_market_pay_a_loss_by_notional():
    rules = dict(stages=("book", "social"), sizing="full", social="positions")
    rows = [(100, 0, 1000, 1), (1e4, 0, 1000, 1), (1e4, 0, -2000, 1)]
    engines, (_, long, short) = after(rows, ["0.8"], **rules)
    for engine in engines:
        assert engine["cash"][long] == pytest.approx(1e4 - 100 / 3, abs=1e-9)
        assert engine["cash"][short] == pytest.approx(1e4 - 200 / 3, abs=1e-9)
        assert engine["unfunded"] == pytest.approx(0.0, abs=1e-9)


# Balances of 3,000 USD and a debt of 1,000: those who withdraw get a quarter less. Where everybody does
# 750 are shared and 250 stay open; where a fifth does, 150.


@pytest.mark.parametrize("withdrawn", [1.0, 0.2])
def test_withdrawals_lose_the_debts_share_of_all_claims(withdrawn):
    rules = dict(
        stages=("book", "social"), sizing="full", social="balances", social_share=withdrawn
    )
    rows = [(1000, 0, 10000, 1), (1000, 0, -10000, 1), (0, 1, 0, 1)]
    engines, (_, short, _) = after(rows, ["0.8"], **rules)
    for engine in engines:
        assert engine["cash"][short] == pytest.approx(1000 - 0.25 * withdrawn * 3000, abs=1e-9)
        assert engine["unfunded"] == pytest.approx(-(1000 - 0.25 * withdrawn * 3000), abs=1e-9)


# A pool of 1,000 USD backs each side with 500. At 1.6 the long of 1,000 has gained 600, more than half of
# 500. It is cut until its profit is 30 % of 500: 450 are paid out, for three quarters of the position.


def test_the_profit_of_a_side_is_cut_to_its_share_of_the_pool():
    rules = dict(stages=("profit_cap",), profit_cap=0.5, profit_left=0.3, capital=1000.0)
    engines, (long, _) = after([(1e4, 0, 1000, 1), (1e4, 0, -1000, 1)], ["1.6"], **rules)
    paid, left = F(450), F(250)
    for engine in engines:
        assert engine["size"][long] == pytest.approx(float(left), rel=1e-12)
        assert engine["cash"][long] == pytest.approx(float(1e4 + paid), abs=1e-9)
        assert engine["pool"][0] == pytest.approx(float(1000 - left), rel=1e-12)


# A vault's owner pays at most 30 of the 100 USD that a gap to 0.8 leaves owed.


@pytest.mark.parametrize(("most", "unfunded"), [(30.0, 70.0), (INFINITY, 0.0)])
def test_an_owner_pays_no_more_than_its_cap(most, unfunded):
    rules = dict(
        stages=("book", "fund", "social"), sizing="full", pools=2, owner=(1, -1),
        of_market=[0, 0], fixed=[0.0, 1e3], owner_pays=most, capital=0.0,
    )  # fmt: skip
    engines, _ = after([(100, 0, 1000, 1), (1e4, 0, -1000, 1)], ["0.8"], **rules)
    for engine in engines:
        assert engine["unfunded"] == pytest.approx(-unfunded, abs=1e-9)


# Closed between bankruptcy price and mark: a long of 1,000 with 60 USD at 0.95 has 10 USD left and a
# bankruptcy price of 0.94. Counterparties get a third of the way to the mark, the pool keeps the rest.


def test_the_pool_keeps_what_the_counterparties_price_is_nearer_the_mark():
    rules = dict(
        stages=("adl",), adl_below=1.0, adl_price="bankruptcy_or_mark", mark_share=1 / 3, blends=True,
        policy="top", top=1.0, ranking="largest",
    )  # fmt: skip
    rows = [(60, 0, 1000, 1), (1e4, 0, -600, 1), (1e4, 0, -400, 1)]
    engines, (long, larger, smaller) = after(rows, ["0.95"], **rules)
    price = F("0.94") + (F("0.95") - F("0.94")) / 3
    for engine in engines:
        assert engine["size"][long] == pytest.approx(400.0)  # only the largest is closed against
        assert engine["cash"][long] == pytest.approx(60 - 600 * 0.06, abs=1e-9)
        assert engine["cash"][larger] == pytest.approx(float(1e4 + 600 * (1 - price)), abs=1e-9)
        assert engine["cash"][smaller] == 1e4
        assert engine["pool"][1] == pytest.approx(float(600 * (price - F("0.94"))), abs=1e-9)
