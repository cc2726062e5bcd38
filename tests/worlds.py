"""Small venues, books and price paths for the tests, and what every test does with them."""

import dataclasses
import functools
from collections.abc import Sequence
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from riskengine.montecarlo import noise
from riskengine.montecarlo.simulate import Simulation
from riskengine.specs import book as books
from riskengine.specs.book import MAKER, REST, TRADER, Book, Holdings
from riskengine.specs.scenario import Crash, Depth, OrderBook, Scenario
from riskengine.specs.venue import Deleveraging, Liquidation, Margin, Pools, Takeover, Venue
from riskengine.waterfall.state import Quote

INFINITY = float("inf")
MARKETS = 2
RULES = dict(
    capital=INFINITY,
    mark_window=150.0,
    mark_rule="median",
    stages=("book", "takeover", "unwind", "fund", "adl", "social"),
    social="none",
    rows=((0.0, 0.025, 0.0125), (5e4, 0.05, 0.025)),  # floor, initial, maintenance by tier
    kind="marginal",
    at="mark",
    book_below=1.0,
    book_above=2 / 3,
    sizing="fractional",
    fraction=0.2,
    fraction_above=1e4,
    cooldown_period=30.0,
    growth="none",
    premium=0.0,
    premium_on=1.0,
    until=0.0,
    remembers=False,
    cools=True,
    ramp=0.0,
    ramp_start=1.0,
    tiers_down=1,
    multiple=0.0,
    clip=1.0,
    clip_least=0.0,
    clip_most=INFINITY,
    slack=0.0,
    positions="all",
    execution="partial",
    buffer=0.0,
    dust=1.0,
    limit="none",
    backing="none",
    liquidation_fee=0.0,
    fee_to_pool=1.0,
    fee_cap="equity",
    takeover_below=2 / 3,
    takeover_above=-INFINITY,
    gap=INFINITY,
    has_gap=False,
    takeover_sizing="full",
    takeover_price="bankruptcy",
    discount=0.0,
    penalty=0.0,
    inventory_cap=INFINITY,
    rate_cap=INFINITY,
    margin_multiple=0.0,
    drawdown=INFINITY,
    release=INFINITY,
    owner_pays=INFINITY,
    unwind_rate=0.01,
    triggers=("margin",),
    adl_below=0.0,
    adl_price="previous_mark",
    pool_adl_price="previous_mark",
    policy="queue",
    allocation="average",
    ranking="profit_leverage",
    winners_only=False,
    pools_in_queue=False,
    overlap_only=False,
    waits=False,
    bypass=False,
    blends=False,
    spread=0.0,
    deviation=INFINITY,
    mark_share=0.0,
    top=10.0,
    profit_cap=INFINITY,
    profit_left=INFINITY,
    unmatched="keep",
    social_share=1.0,
)
ORDER_BOOK = dict(
    exponent=0.67,
    distance_max=0.5,
    resilience=1 / 60,
    permanent=0.0,
    fill_cap=INFINITY,
    profit_taking=0.3,
    distance="log",
    takers=True,
)


def number(x):
    return jnp.asarray(x, float)


def tiers(rows, markets: int) -> dict:
    """Margin tables, the same for all markets; deductions make marginal brackets continuous."""
    floor, initial, ratio = (np.array(column, float) for column in zip(*rows, strict=True))
    deduction = np.concatenate([[0.0], np.cumsum(floor[1:] * np.diff(ratio))])
    columns = dict(floor=floor, ratio=ratio, deduction=deduction, initial=initial)
    return {name: number(np.repeat(x[:, None], markets, 1)) for name, x in columns.items()}


def venue(markets: int = MARKETS, pools: int = 1, **rules) -> Venue:
    """A Hyperliquid-like venue; every rule can be replaced by name."""
    of_pools = dict(share=[1.0] + [0.0] * (pools - 1), fixed=[0.0] + [1e4] * (pools - 1))
    of_pools |= dict(owner=[-1] * pools, of_market=[0] * markets)
    known = RULES | of_pools
    unknown = set(rules) - set(known)
    assert not unknown, unknown
    r = SimpleNamespace(**(known | rules))
    return Venue(
        capital=number(r.capital),
        mark_window=number(r.mark_window),
        margin=Margin(
            **tiers(r.rows, markets),
            premium=number(np.full(markets, r.premium)),
            premium_on=number(r.premium_on),
            growth=r.growth,
            kind=r.kind,
            at=r.at,
        ),
        liquidation=_liquidation(r),
        takeover=Takeover(
            below=number(r.takeover_below),
            above=number(r.takeover_above),
            gap=number(r.gap),
            discount=number(r.discount),
            penalty=number(r.penalty),
            sizing=r.takeover_sizing,
            price=r.takeover_price,
            has_gap=r.has_gap,
        ),
        pools=_pools(r, pools),
        adl=_deleveraging(r),
        stages=tuple(r.stages),
        mark_rule=r.mark_rule,
        social=r.social,
        social_share=number(r.social_share),
    )


def _liquidation(r: SimpleNamespace) -> Liquidation:
    return Liquidation(
        below=number(r.book_below),
        above=number(r.book_above),
        fraction=number(r.fraction),
        fraction_above=number(r.fraction_above),
        cooldown=number(r.cooldown_period),
        buffer=number(r.buffer),
        dust=number(r.dust),
        until=number(r.until),
        ramp=number(r.ramp),
        ramp_start=number(r.ramp_start),
        multiple=number(r.multiple),
        clip=number(r.clip),
        clip_least=number(r.clip_least),
        clip_most=number(r.clip_most),
        slack=number(r.slack),
        fee=number(r.liquidation_fee),
        fee_to_pool=number(r.fee_to_pool),
        sizing=r.sizing,
        tiers_down=r.tiers_down,
        limit=r.limit,
        positions=r.positions,
        execution=r.execution,
        backing=r.backing,
        fee_cap=r.fee_cap,
        remembers=r.remembers,
        cools=r.cools,
    )


def _pools(r: SimpleNamespace, pools: int) -> Pools:
    def each(x):
        return number(np.broadcast_to(np.asarray(x, float), (pools,)))

    return Pools(
        of_market=jnp.asarray(r.of_market, jnp.int32),
        share=each(r.share),
        fixed=each(r.fixed),
        inventory_cap=each(r.inventory_cap),
        rate_cap=each(r.rate_cap),
        margin_multiple=each(r.margin_multiple),
        drawdown=each(r.drawdown),
        release=each(r.release),
        owner_pays=each(r.owner_pays),
        unwind_rate=each(r.unwind_rate),
        owner=tuple(r.owner),
        names=tuple(f"pool{i}" for i in range(pools)),
        triggers=tuple(r.triggers),
    )


def _deleveraging(r: SimpleNamespace) -> Deleveraging:
    return Deleveraging(
        below=number(r.adl_below),
        spread=number(r.spread),
        deviation=number(r.deviation),
        mark_share=number(r.mark_share),
        top=number(r.top),
        profit_cap=number(r.profit_cap),
        profit_left=number(r.profit_left),
        price=r.adl_price,
        pool_price=r.pool_adl_price,
        policy=r.policy,
        allocation=r.allocation,
        ranking=r.ranking,
        winners_only=r.winners_only,
        pools_in_queue=r.pools_in_queue,
        overlap_only=r.overlap_only,
        waits=r.waits,
        bypass=r.bypass,
        blends=r.blends,
        unmatched=r.unmatched,
    )


def order_book(**numbers) -> OrderBook:
    known = ORDER_BOOK | numbers
    structure = ("distance", "takers")
    return OrderBook(**{k: v if k in structure else number(v) for k, v in known.items()})


def holdings(
    rng,
    accounts: int = 12,
    markets: int = MARKETS,
    makers: int = 1,
    rest: int = 0,
    leverage=(2, 60),
) -> Holdings:
    """A balanced random book; sizes spread over three orders of magnitude.

    Whoever comes last takes what is missing on either side: `rest`, a maker, or a trader.
    """
    chosen = [rng.permutation(markets)[: rng.integers(1, markets + 1)] for _ in range(accounts)]
    account = np.repeat(np.arange(accounts), [len(c) for c in chosen])
    market = np.concatenate(chosen)
    size = np.exp(rng.normal(8.0, 1.2, account.size)) * rng.choice([-1.0, 1.0], account.size)
    entry = np.exp(rng.normal(0.0, 0.08, account.size))
    gross = np.bincount(account, np.abs(size), minlength=accounts)
    cash = gross / np.exp(rng.uniform(*np.log(leverage), accounts))
    role = np.zeros(accounts, int)
    found = Holdings(cash=cash, role=role, account=account, market=market, size=size, entry=entry)
    kinds = [MAKER] * makers + [REST] * rest or [TRADER]
    for left, kind in zip(range(len(kinds), 0, -1), kinds, strict=True):
        # unlike leverages: makers of the same would have equal scores, but for rounding
        found = _balanced(found, kind, 1.0 / left, rng.uniform(4.0, 6.0), markets)
    return found


def _balanced(found: Holdings, role: int, share: float, lever: float, markets: int) -> Holdings:
    """One more account, which takes a share of what is missing in every market."""
    own = -share * np.bincount(found.market, found.size, minlength=markets)
    return Holdings(
        cash=np.append(found.cash, (np.abs(own).sum() + 1e3) / lever),
        role=np.append(found.role, role),
        account=np.append(found.account, np.full(markets, len(found.cash))),
        market=np.append(found.market, np.arange(markets)),
        size=np.append(found.size, own),
        entry=np.append(found.entry, np.ones(markets)),
    )


@functools.cache
def mould(traders_only: bool, markets: int = MARKETS) -> Holdings:
    """A book with room for all books of the tests, so that one program serves them all."""
    single, double = 12, 13
    dense = 0 if traders_only else 4
    account = np.concatenate(
        [np.arange(single), np.repeat(single + np.arange(double + dense), markets)]
    )
    market = np.concatenate([np.zeros(single, int), np.tile(np.arange(markets), double + dense)])
    role = np.concatenate([np.full(single + double, TRADER), np.full(dense, MAKER)])
    ones = np.ones(account.size)
    return Holdings(
        cash=np.ones(role.size), role=role, account=account, market=market, size=ones, entry=ones
    )


def rows(held: Holdings, traders_only: bool = False) -> np.ndarray:
    """Which account of `placed` is which of the holdings."""
    _, accounts, _ = books.pack([mould(traders_only), held], MARKETS)
    return np.array([np.flatnonzero(accounts[1] == i)[0] for i in range(len(held.cash))])


def placed(
    held: Holdings, traders_only: bool = False, rest_in_adl: bool = False, dtype: str = "float64"
) -> Book:
    """One book in the layout of the mould."""
    return jax.tree.map(lambda x: x[0], several([held], traders_only, rest_in_adl, dtype))


def several(
    held: Sequence[Holdings], traders_only=False, rest_in_adl=False, dtype="float64"
) -> Book:
    """Books that share the layout of the mould, stacked along a leading axis."""
    room = mould(traders_only)
    stacked, _, _ = books.pack([room, *held], MARKETS, rest_in_adl, dtype)
    assert stacked.layout == books.pack([room], MARKETS)[0].layout, "the mould has no room"
    return jax.tree.map(lambda x: x[1:], stacked)


def quotes(rng, steps: int = 6, markets: int = MARKETS, move=0.03, depth=4e4, dt=5.0) -> Quote:
    """Random walks with a common factor; bids and asks of random thickness."""
    common = rng.normal(0, move, (steps, 1))
    x = np.cumsum(common + rng.normal(0, move / 2, (steps, markets)), 0)
    d = depth * np.exp(rng.normal(0, 0.5, (steps, 2, markets)))
    return jax.vmap(lambda i, d, t: Quote(index=i, depth=d, dt=t))(np.exp(x), d, np.full(steps, dt))


def crash(**book_numbers) -> Scenario:
    """A violent law on a thin order book, so that small books see every stage within minutes."""
    law = dict(
        probability_down=0.5,
        drift=0.08,
        duration=120.0,
        volatility=0.004,
        volatility_after=0.001,
        calming=300.0,
        jump_immigrants=2.0,
        jump_branching=0.3,
        jump_lag=20.0,
        jump_size=0.03,
        jump_against=0.2,
        rebound=0.4,
        rebound_dispersion=0.2,
        rebound_time=200.0,
        beta=[1.0, 1.4],
        beta_dispersion=0.2,
        own_volatility=[0.3, 0.6],
    )
    depth = dict(
        calm=np.full((2, MARKETS), 0.05),
        sensitivity=[15.0, 8.0],
        memory=600.0,
        recovery=600.0,
        floor=0.05,
        dispersion=0.3,
    )
    return Scenario(
        law=Crash(scale_table=noise.scale_table(3.0), **{k: number(v) for k, v in law.items()}),
        depth=Depth(**{k: number(v) for k, v in depth.items()}),
        order_book=order_book(**book_numbers),
    )


def simulation(steps: int = 30) -> Simulation:
    """Steps of 5 seconds, then as many of 20."""
    dt = np.concatenate([np.full(steps, 5.0), np.full(steps, 20.0)])
    return Simulation.of(dt, jnp.arange(MARKETS, dtype=jnp.uint32))


def at(quotes_: Quote, t: int) -> Quote:
    return jax.tree.map(lambda x: x[t], quotes_)


def replaced(record, **changes):
    """A record with other values; NumPy arrays become JAX arrays, as records want them."""
    record, changes = jax.tree.map(jnp.asarray, (record, changes))
    return dataclasses.replace(record, **changes)
