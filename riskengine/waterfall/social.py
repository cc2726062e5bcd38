"""Stage `social`: what is still owed goes to the pool's owner, to the winners, or stays unfunded."""

import dataclasses

import jax.numpy as jnp

from riskengine.specs.book import Book
from riskengine.specs.venue import Venue
from riskengine.waterfall import formulas, ledger, margin, pools
from riskengine.waterfall.fund import owed as needed  # noqa: F401  # the same condition
from riskengine.waterfall.state import Flows, Market, State, flows


def socialize(state: State, market: Market, book: Book, venue: Venue) -> tuple[State, Flows]:
    """Owners pay first; then the venue's rule; the rest passes to `unfunded`, and no debt is left."""
    state, drawn, need = _owners(state, venue)
    state, shared = RULES[venue.social](state, market, book, venue)
    left = ledger.tree(state.debt)
    state = dataclasses.replace(
        state, unfunded_cash=state.unfunded_cash - left, debt=jnp.zeros_like(state.debt)
    )
    return state, flows(book, venue, fund_draw=drawn, social_loss=shared, need_rules=need)


def _owners(state: State, venue: Venue):
    """Pool by pool, the owner pays what it can of the pool's debt; its need is noted."""
    drawn, needs = jnp.zeros_like(state.fees), jnp.zeros_like(state.debt)
    for pool, owner in enumerate(venue.pools.owner):
        if owner < 0:
            continue
        due = jnp.zeros_like(state.debt).at[owner].set(state.debt[pool])
        payment, need = pools.pay(due, state, venue)
        needs, paid = jnp.maximum(needs, need), payment[owner]
        state = dataclasses.replace(
            state,
            pool_cash=state.pool_cash.at[owner].set(state.pool_cash[owner] - paid),
            debt=state.debt.at[pool].set(state.debt[pool] - paid),
        )
        drawn = drawn + paid
    return state, drawn, needs


def _none(state: State, market: Market, book: Book, venue: Venue):
    """Nobody shares the loss."""
    return state, jnp.zeros_like(state.fees)


def _winners(state: State, market: Market, book: Book, venue: Venue):
    """Accounts with unrealised profit share the loss in proportion to it, up to their equity."""
    profit = state.size * (ledger.share(market.mark, book) - margin.entry(state, book))
    gained = ledger.per_account(jnp.maximum(profit, 0.0), book)
    can = jnp.minimum(gained, jnp.maximum(margin.equity(state, market, book), 0.0))
    capacity, due = ledger.total(can), ledger.tree(state.debt)
    shared = jnp.minimum(due, capacity)
    rate = formulas.loss_rate(shared, jnp.where(capacity > 0, capacity, 1.0))
    charge = can * rate.astype(can.dtype)
    kept = jnp.where(due > 0, (due - shared) / jnp.where(due > 0, due, 1.0), 0.0)
    state = dataclasses.replace(state, cash=state.cash - charge, debt=state.debt * kept)
    return state, shared


RULES = {"none": _none, "winners": _winners}
