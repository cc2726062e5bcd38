"""Stage `profit_cap`: winners are closed against a pool whose side they have grown too rich for."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from riskengine.specs.book import REST, Book
from riskengine.specs.venue import Venue, exceeds
from riskengine.waterfall import adl, allocation, counterparties, ledger, margin, pools
from riskengine.waterfall.allocation import Closing, Side
from riskengine.waterfall.state import Flows, Market, State, flows

SIDE = 0.5  # of a pool's balance stands behind each side of its markets


def need(state: State, market: Market, book: Book, venue: Venue) -> Float[Array, " pools"]:
    """Capital with which no side is cut: that of the side with the larger profit."""
    largest = jnp.max(_profit_of_sides(state, market, book, venue), axis=0)
    return _need(largest, state, venue)


def _need(profit, state: State, venue: Venue) -> Float[Array, " pools"]:
    """Capital with which a side with profit Π is not cut: Π / (½ φ) − A; 0 without profit."""
    most = SIDE * venue.adl.profit_cap
    return jnp.where(profit > 0, profit / most - pools.inflow(state), 0.0)


def needed(state: State, market: Market, book: Book, venue: Venue) -> Bool[Array, ""]:
    """Whether a side's profit is too large for its pool."""
    return jnp.any(exceeds(need(state, market, book, venue), venue))


def cut(state: State, market: Market, book: Book, venue: Venue) -> tuple[State, Flows]:
    """Close the best-ranked winners of a side at the mark until its profit is the part ψ of the pool.

    With B the pool's balance and Π the side's profit, positions with profits of c = Π − ½ ψ B are
    closed. The pool takes them over at the mark, so its balance stays what it is.
    """
    accounts = margin.assess(state, market, book, venue)
    profit = margin.profit(state, market, book)
    rest = (book.role == REST) & (book.rest_in_adl == 0)
    asked = ledger.per_position((accounts.equity > 0) & ~rest, book) & (profit > 0)
    wins = jnp.where(asked, jnp.sign(state.size) * profit, 0.0)  # signed by side
    nobody = jnp.zeros_like(state.pool_size)
    there = ledger.per_side(wins, book)
    wanted = jnp.minimum(_to_pay(state, market, book, venue, there), there)

    ranked = counterparties.scores(state, market, accounts, book, venue)
    paid = allocation.queue(
        Side(accounts=wins, pools=nobody), Side(accounts=ranked, pools=nobody), wanted, book
    )
    part = jnp.where(wins != 0, paid.accounts / jnp.where(wins != 0, wins, 1.0), 0.0)
    winners = Side(accounts=state.size * part, pools=nobody)
    mark = ledger.share(market.mark, book)
    at = Side(accounts=mark, pools=jnp.broadcast_to(market.mark, nobody.shape))
    none = Side(accounts=jnp.zeros_like(state.size), pools=nobody)
    closing = Closing(losers=none, winners=winners, loser_price=at, winner_price=at)

    before = state
    state = dataclasses.replace(
        state,
        size=state.size - winners.accounts,
        cash=state.cash + ledger.per_account(winners.accounts * (mark - 1.0), book),
    )
    for size in ledger.per_side(winners.accounts, book) * jnp.asarray([[1.0], [-1.0]]):
        taken = jnp.where(pools.serves(venue), size[None], 0.0)
        state = pools.trade(state, taken, at.pools)
    state, moved = adl.count(
        before, state, market, accounts, accounts.equity, none, closing, book, venue
    )
    return state, flows(book, venue, **moved)


def _profit_of_sides(state, market, book, venue) -> Float[Array, "2 pools"]:
    """Profit less loss of all longs, and of all shorts, of each pool's markets."""
    profit = margin.profit(state, market, book)
    sides = (jnp.where(state.size > 0, profit, 0.0), jnp.where(state.size < 0, profit, 0.0))
    return jnp.stack([pools.of_pools(ledger.per_market(side, book), venue) for side in sides])


def _to_pay(state, market, book, venue, there) -> Float[Array, "2 markets"]:
    """c of each pool and side, shared by its markets in proportion to what their winners have."""
    balance = pools.balance(state, venue)
    worth = jnp.where(jnp.isfinite(balance), jnp.maximum(balance, 0.0), 0.0)
    left = SIDE * venue.adl.profit_left * worth
    rows = []
    for profit, winning in zip(_profit_of_sides(state, market, book, venue), there, strict=True):
        breach = exceeds(_need(profit, state, venue), venue)
        amount = jnp.where(breach, profit - left, 0.0)
        whole = pools.of_pools(winning, venue)
        rate = amount / jnp.where(whole > 0, whole, 1.0)
        rows.append(jnp.maximum(pools.to_markets(rate, venue), 0.0) * winning)
    return jnp.stack(rows)
