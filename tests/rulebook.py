"""Rule sets that between them use every rule of a venue, and numbers to draw for them."""

import worlds
from worlds import INFINITY

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
    bankrupt_orders=dict(
        bankrupt_orders="fund",
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
    sequence=dict(
        allocation="sequence",
        ranking="return_leverage",
        sizing="full",
        limit="bankruptcy",
        bankrupt_orders="fund",
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


def book(name: str, rng, dtype: str = "float64"):
    """A random book in the layout that all books of those rules share."""
    makers, rest = (0, 0) if name in TRADERS_ONLY else (rng.integers(1, 3), rng.integers(0, 2))
    held = worlds.holdings(rng, accounts=rng.integers(4, 13), makers=makers, rest=rest)
    return worlds.placed(
        held, traders_only=name in TRADERS_ONLY, rest_in_adl=rng.random() < 0.5, dtype=dtype
    )
