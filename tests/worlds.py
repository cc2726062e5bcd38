"""Small random venues, books and price paths for the tests."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from riskengine.specs import book as books
from riskengine.specs.scenario import OrderBook
from riskengine.specs.venue import Deleveraging, Liquidation, Margin, Pools, Takeover, Venue
from riskengine.waterfall.state import Quote

INFINITY = float("inf")


def number(x):
    return jnp.asarray(x, float)


def tiers(rows, markets):
    """rows: (floor, initial, maintenance) per tier, the same for all markets."""
    floor, initial, ratio = (np.array([row[i] for row in rows], float) for i in range(3))
    deduction = np.zeros(len(rows))
    for j in range(1, len(rows)):
        deduction[j] = deduction[j - 1] + floor[j] * (ratio[j] - ratio[j - 1])
    def spread(x):
        return jnp.asarray(np.repeat(x[:, None], markets, 1))

    return dict(
        floor=spread(floor), ratio=spread(ratio), deduction=spread(deduction), initial=spread(initial)
    )


def venue(markets=2, pools=1, **rules):
    """A Hyperliquid-like venue; every rule can be replaced by name."""
    r = dict(
        capital=INFINITY, mark_window=150.0, rows=((0.0, 0.025, 0.0125), (5e4, 0.05, 0.025)),
        kind="marginal", at="mark",
        book_below=1.0, book_above=2 / 3, fraction=0.2, fraction_above=1e4, cooldown_period=30.0,
        buffer=0.0, dust=1.0, liquidation_fee=0.0, fee_to_pool=1.0, sizing="fractional", limit="none",
        bankrupt_orders="none", fee_cap="equity", takeover_below=2 / 3, takeover_above=-INFINITY,
        share=[1.0] + [0.0] * (pools - 1), fixed=[0.0] + [1e4] * (pools - 1),
        inventory_cap=[INFINITY] * pools, margin_multiple=[0.0] * pools,
        unwind_rate=[0.01] * pools, owner=tuple([-1] * pools), triggers=("margin",),
        of_market=[0] * markets, adl_below=0.0, adl_price="previous_mark",
        pool_adl_price="previous_mark", policy="queue", allocation="average",
        ranking="profit_leverage", winners_only=False, pools_in_queue=False, unmatched="keep",
        stages=("book", "takeover", "unwind", "fund", "adl", "social"), mark_rule="median",
        social="none",
    )
    unknown = set(rules) - set(r)
    assert not unknown, unknown
    r |= rules
    return Venue(
        capital=number(r["capital"]), mark_window=number(r["mark_window"]),
        margin=Margin(**tiers(r["rows"], markets), kind=r["kind"], at=r["at"]),
        liquidation=Liquidation(
            below=number(r["book_below"]), above=number(r["book_above"]),
            fraction=number(r["fraction"]), fraction_above=number(r["fraction_above"]),
            cooldown=number(r["cooldown_period"]), buffer=number(r["buffer"]),
            dust=number(r["dust"]), fee=number(r["liquidation_fee"]),
            fee_to_pool=number(r["fee_to_pool"]), sizing=r["sizing"], limit=r["limit"],
            bankrupt_orders=r["bankrupt_orders"], fee_cap=r["fee_cap"],
        ),
        takeover=Takeover(below=number(r["takeover_below"]), above=number(r["takeover_above"])),
        pools=Pools(
            of_market=jnp.asarray(r["of_market"], jnp.int32), share=number(r["share"]),
            fixed=number(r["fixed"]), inventory_cap=number(r["inventory_cap"]),
            margin_multiple=number(r["margin_multiple"]), unwind_rate=number(r["unwind_rate"]),
            owner=tuple(r["owner"]), names=tuple(f"pool{i}" for i in range(pools)),
            triggers=tuple(r["triggers"]),
        ),
        adl=Deleveraging(
            below=number(r["adl_below"]), price=r["adl_price"], pool_price=r["pool_adl_price"],
            policy=r["policy"], allocation=r["allocation"], ranking=r["ranking"],
            winners_only=r["winners_only"], pools_in_queue=r["pools_in_queue"],
            unmatched=r["unmatched"],
        ),
        stages=tuple(r["stages"]), mark_rule=r["mark_rule"], social=r["social"],
    )


def order_book(**numbers):
    r = dict(exponent=0.67, distance_max=0.5, resilience=1 / 60, permanent=0.0,
             fill_cap=INFINITY, profit_taking=0.3, distance="log")
    r |= numbers
    return OrderBook(**{k: v if k == "distance" else number(v) for k, v in r.items()})


def holdings(rng, accounts=12, markets=2, makers=1, rest=0, leverage=(2.0, 60.0)):
    """A balanced random book; sizes spread over three orders of magnitude."""
    count = rng.integers(1, markets + 2, accounts)
    account = np.repeat(np.arange(accounts), count)
    market = rng.integers(0, markets, account.size)
    size = np.exp(rng.normal(8.0, 1.2, account.size)) * rng.choice([-1.0, 1.0], account.size)
    entry = np.exp(rng.normal(0.0, 0.08, account.size))
    gross = np.bincount(account, np.abs(size), minlength=accounts)
    cash = gross / np.exp(rng.uniform(*np.log(leverage), accounts))
    role = np.zeros(accounts, int)
    for kind, number_of in ((books.MAKER, makers), (books.REST, rest)):
        for _ in range(number_of):
            mine = len(cash)
            net = np.bincount(market, size, minlength=markets)
            left = sum(1 for _ in range(1))
            share = 1.0 / max(left, 1)
            account = np.concatenate([account, np.full(markets, mine)])
            market = np.concatenate([market, np.arange(markets)])
            own = -share * net
            size = np.concatenate([size, own])
            entry = np.concatenate([entry, np.ones(markets)])
            cash = np.append(cash, max(np.abs(own).sum() / 5.0, 1e3))
            role = np.append(role, kind)
    if not makers and not rest:  # balance by a last account
        net = np.bincount(market, size, minlength=markets)
        account = np.concatenate([account, np.full(markets, len(cash))])
        market = np.concatenate([market, np.arange(markets)])
        size, entry = np.concatenate([size, -net]), np.concatenate([entry, np.ones(markets)])
        cash, role = np.append(cash, np.abs(net).sum() / 3.0), np.append(role, 0)
    return books.Holdings(cash=cash, role=role, account=account, market=market, size=size, entry=entry)


def quotes(rng, steps=6, markets=2, move=0.03, depth=4e4, dt=5.0):
    """Random walks with a common factor; bids and asks of random thickness."""
    common = rng.normal(0, move, (steps, 1))
    x = np.cumsum(common + rng.normal(0, move / 2, (steps, markets)), 0)
    d = depth * np.exp(rng.normal(0, 0.5, (steps, 2, markets)))
    return Quote(index=jnp.asarray(np.exp(x)), depth=jnp.asarray(d), dt=jnp.full(steps, dt))


def at(quotes_, t):
    return Quote(index=quotes_.index[t], depth=quotes_.depth[t], dt=quotes_.dt[t])


def replaced(record, **changes):
    return dataclasses.replace(record, **changes)
