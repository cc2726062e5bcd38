"""Whose positions an ADL may close, and in which order (docs/model.md 4.6)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from riskengine.specs.book import REST
from riskengine.waterfall import allocation, ledger, losing, margin, pools, ranking
from riskengine.waterfall.allocation import Side


def candidates(state, market, accounts, inside, losers, at, book, venue) -> tuple[Side, Side]:
    """Who may be closed, with signed sizes, and the score of each."""
    rest = (book.role == REST) & (book.rest_in_adl == 0)
    open_ = (accounts.equity > 0) & ~inside & ~rest
    eligible = ledger.per_position(open_, book)
    if venue.adl.winners_only:
        eligible = eligible & (margin.profit(state, market, book) > 0)
    if venue.adl.overlap_only:
        eligible = eligible & _overlaps(state, market, accounts, losers, at, book)
    score = scores(state, market, accounts, book, venue)
    rank = ranking.RANKINGS[venue.adl.ranking]
    pool_size, pool_score = _pool_candidates(state, market, rank, venue)
    return (
        Side(accounts=jnp.where(eligible, state.size, 0.0), pools=pool_size),
        Side(accounts=jnp.where(eligible, score, 0.0), pools=pool_score),
    )


def scores(state, market, accounts, book, venue) -> Float[Array, " positions"]:
    """The score of every position by the venue's ranking."""
    profit = margin.profit(state, market, book)
    value = margin.notional(state, market, book)
    standing = ranking.Standing(
        profit=profit,
        notional=value,
        entry_notional=jnp.abs(state.size) * margin.entry(state, book),
        equity=ledger.per_position(accounts.equity, book),
        account_notional=ledger.per_position(ledger.per_account(value, book), book),
        account_profit=ledger.per_position(ledger.per_account(profit, book), book),
        maintenance=ledger.per_position(accounts.maintenance, book),
        size=jnp.abs(state.size),
        lot=ranking.lots(market, accounts, book),
    )
    return ranking.RANKINGS[venue.adl.ranking](ranking.of_one(standing, book))


def _pool_candidates(state, market, rank, venue):
    """Pools with equity that are not in breach, where the venue ranks them with everybody else."""
    if not venue.adl.pools_in_queue:
        return jnp.zeros_like(state.pool_size), jnp.zeros_like(state.pool_size)
    equity = losing.pool_equity(state, market, venue)
    open_ = (equity > 0) & ~losing.in_breach(state, market, venue)
    profit = state.pool_size * (market.mark[None] - 1.0) - state.pool_basis
    if venue.adl.winners_only:
        eligible = open_[:, None] & (profit > 0)
    else:
        eligible = jnp.broadcast_to(open_[:, None], profit.shape)
    value = jnp.abs(state.pool_size) * market.mark[None]

    def whole(x):
        return jnp.broadcast_to(ledger.tree(x.T)[:, None], value.shape)

    score = rank(
        ranking.Standing(
            profit=profit,
            notional=value,
            entry_notional=jnp.abs(state.pool_size + state.pool_basis),
            equity=jnp.broadcast_to(equity[:, None], value.shape),
            account_notional=whole(value),
            account_profit=whole(profit),
            maintenance=whole(pools.requirement(state, market, venue)),
            size=jnp.abs(state.pool_size),
            lot=jnp.ones_like(value),
        )
    )
    size = jnp.where(eligible, state.pool_size, 0.0)
    return size, jnp.where(size != 0, score, 0.0)


def pool_could_close(candidates: Side, wanted) -> Bool[Array, " pools"]:
    """Pools among the counterparties of a gap: ranking them reads their capital."""
    long, short = candidates.pools > 0, candidates.pools < 0
    asked = (long & (wanted[0] > 0)[None]) | (short & (wanted[1] > 0)[None])
    return jnp.any(asked, axis=1)


def _overlaps(state, market, accounts, losers: Side, at: Side, book) -> Bool[Array, " positions"]:
    """Positions that the losers' price leaves no riskier: it is not beyond their own bankruptcy price."""
    gap = allocation.per_side(losers, book)
    mean = 1.0 + allocation.value_per_side(losers, at, book) / jnp.where(gap > 0, gap, 1.0)
    long = state.size > 0
    price = ledger.share_side(mean[::-1], long, book)
    own = margin.bankruptcy_price(state, market, accounts, book)
    return jnp.where(long, price >= own, price <= own)
