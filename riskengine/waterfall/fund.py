"""Stage `fund`: debts of closed-out accounts are paid while the money lasts."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool

from riskengine.specs.book import Book
from riskengine.specs.venue import Venue
from riskengine.waterfall import ledger, pools
from riskengine.waterfall.state import Flows, Market, State, flows


def owed(state: State, market: Market, book: Book, venue: Venue) -> Bool[Array, ""]:
    """Whether any debt is open."""
    return jnp.any(state.debt > 0)


def cover(state: State, market: Market, book: Book, venue: Venue) -> tuple[State, Flows]:
    """Each pool pays min(balance, debt) of what its markets' accounts owe.

    What it cannot pay stays in `debt` for the next stage.
    """
    paid, need = pools.pay(state.debt, state, venue)
    state = dataclasses.replace(state, pool_cash=state.pool_cash - paid, debt=state.debt - paid)
    return state, flows(book, venue, fund_draw=ledger.total(paid), need_rules=need)
