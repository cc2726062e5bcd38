"""Stage `social`: what is still owed goes to the pool's owner, to the winners, or stays unfunded."""

import dataclasses

import jax.numpy as jnp

from riskengine.specs.book import Book
from riskengine.specs.venue import Venue
from riskengine.waterfall import formulas, ledger, margin, pools
from riskengine.waterfall.fund import owed as needed  # noqa: F401  # the same condition
from riskengine.waterfall.state import Flows, Market, State, flows

CRUMB = 1e-12  # of what an owner pays at most: rounding, not a debt


def socialize(state: State, market: Market, book: Book, venue: Venue) -> tuple[State, Flows]:
    """Owners pay first; then the venue's rule; the rest passes to `unfunded`, and no debt is left."""
    state, drawn, need, at_exit = _owners(state, market, venue)
    state, shared = RULES[venue.social](state, market, book, venue)
    left = ledger.tree(state.debt)
    state = dataclasses.replace(
        state, unfunded_cash=state.unfunded_cash - left, debt=jnp.zeros_like(state.debt)
    )
    return state, flows(
        book,
        venue,
        fund_draw=drawn,
        social_loss=shared,
        need_rules=need,
        need_cash=need,
        need_exit=at_exit,
    )


def _owners(state: State, market: Market, venue: Venue):
    """Pool by pool, the owner pays what it can of the pool's debt; its needs are noted."""
    drawn, needs = jnp.zeros_like(state.fees), jnp.zeros_like(state.debt)
    exits, gains = needs, pools.exit_gain(state, market)
    for pool, owner in enumerate(venue.pools.owner):
        if owner < 0:
            continue
        due, most = jnp.zeros_like(state.debt), venue.pools.owner_pays[pool]
        due = due.at[owner].set(state.debt[pool])
        left = jnp.maximum(most - state.owner_paid[pool], 0.0)
        beyond = due - left > CRUMB * most  # what no capital of the owner pays
        due = jnp.minimum(due, left)
        payment, need = pools.pay(due, state, venue)
        exits = jnp.maximum(exits, jnp.where(due > 0, need - gains, 0.0))
        need = jnp.where(beyond, jnp.inf, need)
        needs, paid = jnp.maximum(needs, need), payment[owner]
        state = dataclasses.replace(
            state,
            pool_cash=state.pool_cash.at[owner].set(state.pool_cash[owner] - paid),
            debt=state.debt.at[pool].set(state.debt[pool] - paid),
            owner_paid=state.owner_paid.at[pool].add(paid),
        )
        drawn = drawn + paid
    return state, drawn, needs, exits


def _none(state: State, market: Market, book: Book, venue: Venue):
    """Nobody shares the loss."""
    return state, jnp.zeros_like(state.fees)


def _winners(state: State, market: Market, book: Book, venue: Venue):
    """Accounts with unrealised profit share the loss in proportion to it, up to their equity."""
    profit = margin.profit(state, market, book)
    gained = ledger.per_account(jnp.maximum(profit, 0.0), book)
    can = jnp.minimum(gained, jnp.maximum(margin.equity(state, market, book), 0.0))
    capacity, due = ledger.total(can), ledger.tree(state.debt)
    shared = jnp.minimum(due, capacity)
    rate = formulas.loss_rate(shared, jnp.where(capacity > 0, capacity, 1.0))
    charge = can * rate.astype(can.dtype)
    kept = jnp.where(due > 0, (due - shared) / jnp.where(due > 0, due, 1.0), 0.0)
    state = dataclasses.replace(state, cash=state.cash - charge, debt=state.debt * kept)
    return state, shared


def _positions(state: State, market: Market, book: Book, venue: Venue):
    """Every open position, long or short, of a pool's markets pays in proportion to its notional.

    So does a change of a funding index on both sides. Nobody's equity limits it.
    """
    value = margin.notional(state, market, book)
    base = pools.of_pools(ledger.per_market(value, book), venue)
    open_ = base > 0
    rate = formulas.loss_rate(state.debt, jnp.where(open_, base, 1.0))
    rate = jnp.where(open_, rate, 0.0)
    charge = value * ledger.share(pools.to_markets(rate, venue), book)
    shared = ledger.tree(jnp.where(open_, state.debt, 0.0))
    cash = state.cash - ledger.per_account(charge, book)
    return dataclasses.replace(state, cash=cash, debt=jnp.where(open_, 0.0, state.debt)), shared


def _balances(state: State, market: Market, book: Book, venue: Venue):
    """Balances that are withdrawn while money is short lose the share D / (Σ e⁺ + D)."""
    worth = jnp.maximum(margin.equity(state, market, book), 0.0)
    together, due = ledger.total(worth), ledger.tree(state.debt)
    claimed = together > 0
    factor = formulas.withdrawal_haircut(due, jnp.where(claimed, together, 1.0))
    factor = jnp.where(claimed, venue.social_share * factor, 0.0)
    shared = factor * together
    kept = jnp.where(due > 0, (due - shared) / jnp.where(due > 0, due, 1.0), 0.0)
    cash = state.cash - worth * factor.astype(worth.dtype)
    return dataclasses.replace(state, cash=cash, debt=state.debt * kept), shared


RULES = {"none": _none, "winners": _winners, "positions": _positions, "balances": _balances}
