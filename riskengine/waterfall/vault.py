"""Stages `takeover` and `unwind`: a pool takes positions with all their margin, and closes them later."""

import dataclasses

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from riskengine.specs.book import Book
from riskengine.specs.venue import Venue, exceeds, pool_capital
from riskengine.waterfall import formulas, ledger, liquidation, margin, orderbook, pools, price
from riskengine.waterfall.state import Flows, Market, State, flows


def takeover_needed(state: State, market: Market, book: Book, venue: Venue) -> Bool[Array, ""]:
    """Whether any account may enter the stage."""
    return state.weakest < reach(venue)


def reach(venue: Venue):
    """Health below which an account may enter the stage."""
    below = venue.takeover.below
    below = jnp.maximum(below, 1.0) if venue.takeover.has_gap else below
    return liquidation.highest(below, venue)


def take_over(state: State, market: Market, book: Book, venue: Venue) -> tuple[State, Flows]:
    """Pass positions, whole or in part, to the pool of their market at the rule's price.

    At the bankruptcy price all equity goes with them. With a rule that limits what it takes, a pool
    accepts the share a of every piece; the account keeps the rest.
    """
    accounts = margin.assess(state, market, book, venue)
    below = margin.close_out(state, market, accounts, book, venue)
    below = margin.threshold(state, below, venue)
    inside = margin.enters(state, accounts, below, venue.takeover.above, book)
    offered = jnp.where(ledger.per_position(inside, book), state.size, 0.0)
    at = PRICES[venue.takeover.price](state, market, accounts, book, venue)
    if venue.takeover.sizing == "to_margin":
        offered = offered * _part(state, market, accounts, at, book, venue)

    share, need = _acceptance(ledger.per_market(offered, book), state, market, venue)
    passed = offered * ledger.share(pools.to_markets(share, venue), book)
    state = _receive(state, passed, at, book, venue)
    taken = ledger.per_account(jnp.abs(passed), book) > 0
    record = dataclasses.replace(state.record, liquidated=state.record.liquidated | taken)
    state = dataclasses.replace(
        state,
        size=state.size - passed,
        cash=state.cash + ledger.per_account(passed * (at - 1.0), book),
        record=record,
    )
    state, owed = _left_owing(state, accounts, book, venue)
    worth = ledger.tree(ledger.per_market(jnp.abs(passed), book) * market.mark)
    return state, flows(book, venue, takeover=worth, need_rules=need, bad_debt=owed)


def _left_owing(state: State, accounts, book: Book, venue: Venue):
    """At its bankruptcy price an account ends with nothing; at the mark it may owe."""
    if venue.takeover.price == "bankruptcy":
        return state, jnp.zeros((), ledger.DOUBLE)
    return liquidation.write_off(state, accounts, book, venue)


def _bankruptcy(state, market, accounts, book, venue):
    """Equity of the position zero: the pool gets all that is left."""
    return margin.bankruptcy_price(state, market, accounts, book)


def _mark(state, market, accounts, book, venue):
    """The mark less a discount on notional and a penalty on margin; the account keeps the rest."""
    mark, open_ = ledger.share(market.mark, book), state.size != 0
    discount, penalty = (
        x.astype(mark.dtype) for x in (venue.takeover.discount, venue.takeover.penalty)
    )
    per_unit = discount * mark + penalty * accounts.required / jnp.where(
        open_, jnp.abs(state.size), 1.0
    )
    return mark - jnp.sign(state.size) * per_unit


PRICES = {"bankruptcy": _bankruptcy, "mark": _mark}


def _part(state, market, accounts, at, book: Book, venue: Venue) -> Float[Array, " positions"]:
    """The share of positions that restores margin, as orders are sized; crumbs are passed, too."""
    cost = state.size * (ledger.share(market.mark, book) - at)
    part = liquidation.restoring(cost, accounts, book, venue)
    part = liquidation.ramped(part, state, book, venue)
    left = (1.0 - part) * margin.notional(state, market, book)
    return jnp.where(left < venue.liquidation.dust.astype(left.dtype), 1.0, part)


def _acceptance(offered: Float[Array, " markets"], state: State, market: Market, venue: Venue):
    """Share a of what is offered that each pool accepts, and its need N₁/κ − A."""
    share, needs = jnp.ones_like(state.pool_cash), jnp.zeros_like(state.pool_cash)
    for rule in venue.pools.triggers:
        if rule in CAPS:
            part, need = CAPS[rule](offered, state, market, venue)
            share, needs = jnp.minimum(share, part), jnp.maximum(needs, need)
    return share, needs


def _within_inventory(offered, state: State, market: Market, venue: Venue):
    """What the net inventory leaves room for: a N₁ + (1 − a) N₀ ≤ κ B; need N₁/κ − A."""
    everything = jnp.ones_like(state.pool_cash)
    cap = venue.pools.inventory_cap
    incoming = jnp.where(pools.serves(venue), offered[None], 0.0)
    now, then = (
        ledger.tree((jnp.abs(size) * market.mark[None]).T)
        for size in (state.pool_size, state.pool_size + incoming)
    )
    grows = (then > now) & jnp.isfinite(cap)
    need = jnp.where(grows, then / cap - pools.inflow(state), 0.0)
    empty, full = jnp.where(grows, now, 0.0), jnp.where(grows, then, 1.0)
    cap = jnp.where(jnp.isfinite(cap), cap, 0.0)
    room = formulas.inventory_room(cap, pools.balance(state, venue), empty, full)
    part = jnp.clip(room, 0.0, 1.0)
    return jnp.where(exceeds(need, venue), part, everything), need


def _within_rate(offered, state: State, market: Market, venue: Venue):
    """What may be taken in a step: a N ≤ ν F dt, N the notional offered; need N / (ν dt)."""
    asked = pools.of_pools(jnp.abs(offered) * market.mark, venue)
    most = venue.pools.rate_cap * market.dt
    need = jnp.where(asked > 0, asked / jnp.where(most > 0, most, 1.0), 0.0)
    short = exceeds(need, venue)
    part = most * jnp.where(short, pool_capital(venue), 0.0) / jnp.where(asked > 0, asked, 1.0)
    return jnp.where(short, jnp.clip(part, 0.0, 1.0), 1.0), need


CAPS = {"inventory": _within_inventory, "rate": _within_rate}


def _receive(state: State, passed, at, book: Book, venue: Venue) -> State:
    """Add positions to the pools: all longs at their average price, then all shorts."""
    slots = ledger.by_market(passed, book)
    value = ledger.by_market(passed * (at - 1.0), book)
    for mine in (slots > 0, slots < 0):
        size = ledger.market_sum(jnp.where(mine, slots, 0), book)
        paid = ledger.market_sum(jnp.where(mine, value, 0), book)
        average = 1.0 + paid / jnp.where(size != 0, size, 1.0)
        change = jnp.where(pools.serves(venue), size[None], 0.0)
        state = pools.trade(state, change, jnp.broadcast_to(average, change.shape))
    return state


def unwind_needed(state: State, market: Market, book: Book, venue: Venue) -> Bool[Array, ""]:
    """Whether a pool holds inventory."""
    return jnp.any(state.pool_size != 0)


def unwind(state: State, market: Market, book: Book, venue: Venue) -> tuple[State, Flows]:
    """Each pool closes at most its rate of depth per second, through the same order book."""
    size = state.pool_size
    fastest = venue.pools.unwind_rate[:, None, None] * market.depth[None] * market.dt
    if venue.adl.bypass:
        free = liquidation.bypassed(state, venue) <= 0
        fastest = jnp.where(free[None, None], fastest, 0.0)
    sell = jnp.minimum(jnp.maximum(size, 0.0), fastest[:, 0])
    buy = jnp.minimum(jnp.maximum(-size, 0.0), fastest[:, 1])
    asked = jnp.stack([ledger.tree(sell), ledger.tree(buy)])
    share = orderbook.part(asked, market)
    quantity = asked * share

    at = price.fill_price(state, quantity, market)
    state = price.eat(state, quantity, market)
    state = pools.trade(state, -sell * share[0][None], jnp.broadcast_to(at[0], size.shape))
    state = pools.trade(state, buy * share[1][None], jnp.broadcast_to(at[1], size.shape))
    before = state
    state = orderbook.take(state, quantity, at, market, book, venue)
    state, written_off = _write_off(before, state, market, book, venue)
    return state, flows(book, venue, unwound=ledger.total(quantity * at), bad_debt=written_off)


def _write_off(before: State, state: State, market: Market, book: Book, venue: Venue):
    """Who closed with a profit and still owes: hardly ever anybody, so margins are worked out late."""

    def owing(before, state, market, book, venue):
        accounts = margin.assess(before, market, book, venue)
        state, written_off = liquidation.write_off(state, accounts, book, venue)
        return state.cash, state.debt, written_off

    def nobody(before, state, market, book, venue):
        return state.cash, state.debt, jnp.zeros((), ledger.DOUBLE)

    some = jnp.any((state.cash < 0) & (state.cash != before.cash))
    cash, debt, written_off = lax.cond(some, owing, nobody, before, state, market, book, venue)
    return dataclasses.replace(state, cash=cash, debt=debt), written_off
