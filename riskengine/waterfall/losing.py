"""Which positions an ADL closes, how much of them, and at which price (docs/model.md 4.6)."""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from riskengine.specs.book import Book
from riskengine.specs.venue import Venue, exceeds, pool_capital
from riskengine.waterfall import formulas, ledger, margin, pools
from riskengine.waterfall.allocation import Side
from riskengine.waterfall.state import Market, State


def read_capital(venue: Venue) -> list[str]:
    """The venue's rules by which this stage decides and that read a pool's capital."""
    return [rule for rule in venue.pools.triggers if rule in pools.RULE_NEEDS]


def rules_need(state: State, market: Market, book: Book, venue: Venue) -> Float[Array, " pools"]:
    """Capital with which none of these rules binds."""
    needs = [pools.RULE_NEEDS[rule](state, market, venue) for rule in read_capital(venue)]
    return functools.reduce(jnp.maximum, needs)


def may_be_in_breach(
    state: State, market: Market, book: Book, venue: Venue
) -> Bool[Array, " pools"]:
    """Pools in breach, or whose drawdown rule held so far or starts to hold."""
    if not read_capital(venue):
        return jnp.zeros(state.pool_cash.shape, bool)
    return exceeds(rules_need(state, market, book, venue), venue) | (state.pool_on > 0)


def in_breach(state: State, market: Market, venue: Venue) -> Bool[Array, " pools"]:
    """Pools whose margin rule is not met, or whose drawdown rule holds."""
    if "margin" not in venue.pools.triggers:
        return state.pool_on > 0
    short = exceeds(pools.margin_need(state, market, venue), venue)
    return short | (state.pool_on > 0)


def positions(state, market, accounts, inside, book, venue) -> tuple[Side, Side]:
    """All positions of accounts inside, and the fraction f of the inventory of pools in breach."""
    quantity = jnp.where(ledger.per_position(inside, book), state.size, 0.0)
    own = _account_price(state, market, accounts, book, venue)
    pool_own = POOL_PRICES[venue.adl.pool_price](state, market, venue)
    fraction = _pool_fraction(state, market, pool_own, venue)
    return (
        Side(accounts=quantity, pools=state.pool_size * fraction[:, None]),
        Side(accounts=own, pools=pool_own),
    )


def _account_price(state, market, accounts, book, venue) -> Float[Array, " positions"]:
    """Price of a losing account's position; too far from the mark it is the mark."""
    rule, mark = venue.adl.price, ledger.share(market.mark, book)
    if rule not in ("bankruptcy", "bankruptcy_or_mark"):
        return _off(ledger.share(_quoted(market, rule), book), state.size, venue)
    at = margin.bankruptcy_price(state, market, accounts, book)
    if rule == "bankruptcy_or_mark":
        at = jnp.where(ledger.per_position(accounts.equity, book) > 0, at, mark)
    return jnp.where(
        formulas.deviation(at, mark) > venue.adl.deviation.astype(mark.dtype), mark, at
    )


def _off(quoted, size, venue: Venue):
    """A quoted price moved by the spread against the losing side."""
    return formulas.price_off(quoted, jnp.sign(size), venue.adl.spread.astype(size.dtype))


def _quoted(market: Market, rule: str) -> Float[Array, " markets"]:
    return {"mark": market.mark, "previous_mark": market.mark_before}[rule]


def _pool_quoted(state, market, venue) -> Float[Array, "pools markets"]:
    """The mark, or that of the step before, moved against the pool."""
    quoted = _quoted(market, venue.adl.pool_price)
    return _off(jnp.broadcast_to(quoted, state.pool_size.shape), state.pool_size, venue)


def _cost(state, market, venue) -> Float[Array, "pools markets"]:
    """What the pool paid, on average."""
    open_ = state.pool_size != 0
    return 1.0 + jnp.where(open_, state.pool_basis, 0.0) / jnp.where(open_, state.pool_size, 1.0)


def _bankruptcy(state, market, venue) -> Float[Array, "pools markets"]:
    """Equity of the pool zero."""
    return _split(pool_equity(state, market, venue), state, market, venue)


def _threshold(state, market, venue) -> Float[Array, "pools markets"]:
    """Only what it has less than its drawdown rule leaves it: then it ends with exactly that."""
    least = (1.0 - venue.pools.drawdown) * (pool_capital(venue) + state.pool_peak)
    lacking = jnp.minimum(pool_equity(state, market, venue) - least, 0.0)
    return _split(lacking, state, market, venue)


def _split(equity, state, market, venue) -> Float[Array, "pools markets"]:
    """Where a pool loses this equity, split by maintenance margin as that of an account."""
    open_ = state.pool_size != 0
    required = pools.requirement(state, market, venue)
    whole = ledger.tree(required.T)
    holds = whole > 0
    equity = jnp.where(holds & jnp.isfinite(equity), equity, 0.0)  # infinite: nobody is closed
    per_margin = equity / jnp.where(holds, whole, 1.0)
    return formulas.bankruptcy_price(
        market.mark[None],
        jnp.where(open_, state.pool_size, 1.0),
        jnp.where(open_, required, 0.0),
        per_margin[:, None],
    )


POOL_PRICES = {
    "bankruptcy": _bankruptcy,
    "cost": _cost,
    "threshold": _threshold,
    "previous_mark": _pool_quoted,
    "mark": _pool_quoted,
}
END_BREACH = {"bankruptcy", "threshold"}


def pool_equity(state, market, venue) -> Float[Array, " pools"]:
    """E = capital + A + U at the mark."""
    return pool_capital(venue) + pools.equity_change(state, market)


def _pool_fraction(state, market, at, venue) -> Float[Array, " pools"]:
    """Share of the inventory whose closing ends the breach: (θM − E) / (θM + g), at most all.

    All of it where a drawdown rule holds, and at prices that themselves end the breach.
    """
    breach = in_breach(state, market, venue)
    if venue.adl.pool_price in END_BREACH:
        return jnp.where(breach, 1.0, 0.0)
    required = ledger.tree(pools.requirement(state, market, venue).T)
    target = venue.pools.margin_multiple * required
    regained = ledger.tree((state.pool_size * (at - market.mark[None])).T)
    equity = jnp.where(breach, pool_equity(state, market, venue), 0.0)
    helps = target + regained > 0
    part = formulas.share_to_margin(
        jnp.where(helps, target, 1.0), equity, jnp.where(helps, -regained, 0.0)
    )
    part = jnp.where(helps & (state.pool_on <= 0), jnp.clip(part, 0.0, 1.0), 1.0)
    return jnp.where(breach, part, 0.0)
