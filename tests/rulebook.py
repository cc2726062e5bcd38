"""Rule sets that between them use every rule of a venue, and numbers to draw for them."""

import dataclasses

import numpy as np
import worlds
from worlds import INFINITY

from riskengine.specs.book import TRADER

LADDER = (  # floor, initial, maintenance by tier
    (0.0, 0.025, 0.0125),
    (5e3, 0.04, 0.02),
    (2e4, 0.05, 0.025),
    (5e4, 0.1, 0.05),
)
RULES = dict(
    hyperliquid=dict(margin_multiple=0.5),
    binance=dict(
        pools=2,
        of_market=[0, 1],
        share=[0.6, 0.4],
        inventory_cap=1.0,
        triggers=("inventory",),
        sizing="to_margin",
        limit="bankruptcy",
        book_above=-INFINITY,
        takeover_below=1.0,
        takeover_above=-INFINITY,
        adl_below=1.0,
        adl_price="bankruptcy",
        pool_adl_price="bankruptcy",
        ranking="return_leverage",
        liquidation_fee=0.0125,
    ),
    owners=dict(
        pools=2,
        owner=(1, -1),
        of_market=[0, 1],
        fixed=[0.0, 300.0],
        margin_multiple=1.0,
        pools_in_queue=True,
        winners_only=True,
        social="winners",
        pool_adl_price="mark",
        adl_price="mark",
        mark_rule="mid",
        limit="bankruptcy",
        unwind_rate=0.002,
        stages=("takeover", "unwind", "fund", "social", "adl", "book"),
    ),
    pro_rata=dict(
        policy="pro_rata",
        adl_price="bankruptcy",
        pool_adl_price="bankruptcy",
        unmatched="unfunded",
        kind="flat",
        at="entry",
        mark_rule="index",
        stages=("takeover", "adl", "unwind", "book", "fund", "social"),
        ranking="return_leverage",
        triggers=("inventory", "margin"),
        inventory_cap=2.0,
        margin_multiple=1.0,
    ),
    bankrupt=dict(
        backing="bankrupt",
        stages=("book", "adl", "social"),
        book_above=-INFINITY,
        limit="bankruptcy",
        triggers=(),
        adl_price="bankruptcy",
        unmatched="unfunded",
        fraction_above=0.0,
        cooldown_period=0.0,
        fee_cap="none",
        liquidation_fee=0.002,
    ),
    tiers=dict(
        pools=2,
        of_market=[0, 1],
        share=[0.6, 0.4],
        fixed=[0.0, 0.0],
        rows=LADDER,
        sizing="tiers",
        positions="largest",
        execution="all_or_none",
        limit="bankruptcy",
        book_above=-INFINITY,
        takeover_below=1.0,
        takeover_above=-INFINITY,
        triggers=("drawdown",),
        drawdown=0.3,
        release=0.25,
        pool_adl_price="threshold",
        ranking="return_leverage",
        unwind_rate=0.003,
    ),
    bypass=dict(
        pools=2,
        of_market=[0, 1],
        share=[0.5, 0.5],
        fixed=[0.0, 0.0],
        rows=LADDER,
        kind="flat",
        sizing="tiers",
        tiers_down=2,
        book_above=-INFINITY,
        takeover_below=1.0,
        triggers=("drawdown", "margin"),
        drawdown=0.2,
        release=0.1,
        margin_multiple=0.5,
        bypass=True,
        adl_price="mark",
        pool_adl_price="cost",
        ranking="return_margin",
        pools_in_queue=True,
        spread=0.01,
    ),
    clips=dict(
        stages=("book", "adl", "social"),
        book_above=-INFINITY,
        sizing="clips",
        fraction=0.1,
        clip=1.1,
        clip_least=200.0,
        clip_most=2000.0,
        limit="fillable",
        slack=1.5,
        backing="fills",
        liquidation_fee=0.015,
        fee_cap="surplus",
        cooldown_period=1.1,
        triggers=(),
        adl_price="bankruptcy",
        ranking="line",
        overlap_only=True,
        waits=True,
        at="entry",
    ),
    funding=dict(
        pools=2,
        owner=(1, -1),
        of_market=[0, 0],
        fixed=[0.0, 2e3],
        owner_pays=300.0,
        growth="root",
        premium=0.2,
        premium_on=0.8,
        sizing="to_margin",
        buffer=0.3,
        until=1.3,
        remembers=True,
        ramp=60.0,
        ramp_start=0.1,
        limit="mark",
        slack=0.01,
        liquidation_fee=0.005,
        book_above=-INFINITY,
        takeover_below=1.0,
        takeover_sizing="to_margin",
        takeover_price="mark",
        discount=0.01,
        triggers=(),
        stages=("book", "takeover", "unwind", "fund", "social"),
        social="positions",
    ),
    withdrawals=dict(
        sizing="to_margin",
        buffer=0.111,
        multiple=0.2,
        takeover_below=1.0,
        takeover_sizing="to_margin",
        takeover_price="mark",
        penalty=0.5,
        triggers=("margin",),
        pool_adl_price="mark",
        ranking="balance_margin",
        stages=("takeover", "unwind", "fund", "adl", "social"),
        social="balances",
        social_share=0.3,
    ),
    backstop=dict(
        growth="linear",
        premium=0.05,
        stages=("takeover", "adl", "book", "fund", "social"),
        takeover_below=0.5,
        gap=0.008,
        has_gap=True,
        triggers=("rate", "inventory"),
        rate_cap=0.05,
        inventory_cap=2.0,
        adl_below=0.6,
        adl_price="bankruptcy_or_mark",
        deviation=0.05,
        mark_share=1 / 3,
        blends=True,
        policy="top",
        top=2.0,
        ranking="largest",
        social="winners",
    ),
    others=dict(
        adl_below=0.5,
        adl_price="mark",
        spread=0.01,
        ranking="leverage",
        takeover_below=0.0,
        winners_only=True,
        policy="top",
        top=1.0,
        social="positions",
    ),
    entry_first=dict(
        adl_below=0.5,
        adl_price="bankruptcy",
        deviation=0.02,
        ranking="profit_rate",
        takeover_below=0.0,
        social="balances",
        allocation="sequence",
    ),
    profit_cap=dict(
        pools=2,
        of_market=[0, 1],
        share=[0.6, 0.4],
        fixed=[0.0, 0.0],
        mark_rule="index",
        takeover_below=1.0,
        takeover_price="mark",
        discount=0.003,
        unwind_rate=0.0,
        triggers=(),
        stages=("takeover", "fund", "profit_cap", "social"),
        profit_cap=0.5,
        profit_left=0.3,
    ),
    page_order=dict(ranking="price_leverage", pool_adl_price="cost", margin_multiple=0.5),
    sequence=dict(
        allocation="sequence",
        ranking="return_leverage",
        sizing="full",
        limit="bankruptcy",
        backing="bankrupt",
        fee_cap="none",
        liquidation_fee=0.005,
        fee_to_pool=0.5,
        book_above=0.0,
        takeover_below=0.5,
        margin_multiple=1.0,
        pools_in_queue=True,
        adl_price="bankruptcy",
    ),
)
LINEAR = ("sequence",)  # whose order book measures distances by price, not by its logarithm
TRADERS_ONLY = ("sequence",)  # met on books without makers and `rest`
CAPITALS = (0.0, 500.0, 2e3, 1e4, INFINITY)


def venue(name: str, rng, **numbers):
    """A venue with the rules of that name; numbers that are not part of the rules are drawn.

    A fee that takes all equity leaves exactly none, and whether that is at least none is decided by
    rounding: rules with fees have no lower bound of takeovers.
    """
    drawn = dict(
        capital=rng.choice(CAPITALS),
        buffer=rng.choice([0.0, 0.1]),
        dust=rng.choice([0.0, 1.0, 500.0]),
        mark_window=rng.choice([30.0, 150.0]),
        takeover_above=rng.choice([-INFINITY, 0.0]),
    )
    return worlds.venue(**(drawn | RULES[name] | numbers))


def order_book(name: str, rng):
    """An order book of the kind that belongs to the rules of that name."""
    return worlds.order_book(
        distance="linear" if name in LINEAR else "log",
        exponent=rng.choice([0.5, 0.67, 1.0]),
        distance_max=rng.choice([0.05, 0.5]),
        permanent=rng.choice([0.0, 0.1]),
        fill_cap=rng.choice([0.2, INFINITY]),
        profit_taking=rng.choice([0.0, 0.3]),
    )


def book(name: str, rng, dtype: str = "float64", members: bool = False):
    """A random book in the layout that all books of those rules share.

    With `members` one to five equal accounts stand behind each of its traders.
    """
    makers, rest = (0, 0) if name in TRADERS_ONLY else (rng.integers(1, 3), rng.integers(0, 2))
    held = worlds.holdings(rng, accounts=rng.integers(4, 13), makers=makers, rest=rest)
    if members:
        several = np.where(held.role == TRADER, rng.integers(1, 6, len(held.cash)), 1)
        held = dataclasses.replace(held, members=several.astype(float))
    return worlds.placed(
        held, traders_only=name in TRADERS_ONLY, rest_in_adl=rng.random() < 0.5, dtype=dtype
    )
