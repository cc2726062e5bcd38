"""Index, mid and mark of one step, with the displacement that our own forced flow has left."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from riskengine.specs.scenario import OrderBook
from riskengine.specs.venue import Venue
from riskengine.waterfall import formulas
from riskengine.waterfall.state import Market, Quote, State

PERCENT = 0.01  # depth is quoted within 1 % of mid


def distance(eaten, depth, book: OrderBook) -> Float[Array, "2 markets"]:
    """Log distance from the undisturbed mid to the best price, δ(κ) = min(0.01 (κ/D)^(1/a), δmax)."""
    thick = depth > 0
    ratio = eaten / jnp.where(thick, depth, 1.0)
    reached = PERCENT * jnp.power(ratio, 1.0 / book.exponent)
    reached = jnp.where(thick, reached, jnp.where(eaten > 0, book.distance_max, 0.0))
    return jnp.minimum(reached, book.distance_max)


def reach(distance, depth, book: OrderBook) -> Float[Array, "2 markets"]:
    """Units inside a distance, D (100 δ)^a: the inverse of `distance` below δmax."""
    return depth * jnp.power(distance / PERCENT, book.exponent)


def average_distance(eaten, quantity, depth, book: OrderBook) -> Float[Array, "2 markets"]:
    """δ̄, the mean of δ over [κ, κ + Q]; δ(κ) where Q = 0.

    Below K = reach(δmax) the mean of a power has a closed form; beyond, δ is flat. The closed form
    is written with expm1 and log1p because Q is often a tiny part of κ.
    """
    power = 1.0 + 1.0 / book.exponent
    edge = reach(book.distance_max, depth, book)
    top = jnp.minimum(eaten + quantity, edge)
    inside = jnp.minimum(quantity, jnp.maximum(edge - eaten, 0.0))
    part = jnp.where(inside > 0, inside / jnp.where(inside > 0, top, 1.0), 0.5)
    part = jnp.minimum(part, 1.0)
    whole = part >= 1.0
    shrink = -jnp.expm1(power * jnp.log1p(-jnp.where(whole, 0.5, part)))
    mean_inside = distance(top, depth, book) * jnp.where(whole, 1.0, shrink) / (power * part)
    flows = quantity > 0
    outside = jnp.where(flows, quantity, 1.0) - inside
    mean = (inside * mean_inside + outside * book.distance_max) / jnp.where(flows, quantity, 1.0)
    return jnp.where(flows, mean, distance(eaten, depth, book))


def displacement(state: State, market: Market) -> Float[Array, " markets"]:
    """Log deviation of mid from index: what stays, and what the book has not yet replaced."""
    book = market.order_book
    delta = distance(state.eaten, market.depth, book)
    return state.shift - (1.0 - book.permanent) * (delta[0] - delta[1])


def mid(state: State, market: Market) -> Float[Array, " markets"]:
    """Mid price with the order book as it is now."""
    return market.index * jnp.exp(displacement(state, market))


def distance_to(at, mid, long, market: Market):
    """How far an order's limit lies beyond mid, in the order book's measure of distance.

    A long that may be sold below zero has no limit; a short that may not even be bought back at
    zero cannot be filled.
    """
    positive = at > 0
    ratio = jnp.where(positive, at, mid) / mid
    room = 1.0 - ratio if market.order_book.distance == "linear" else -jnp.log(ratio)
    return jnp.where(positive, jnp.where(long, room, -room), jnp.where(long, jnp.inf, -jnp.inf))


def fill_price(state: State, quantity, market: Market) -> Float[Array, "2 markets"]:
    """Average price of forced sells (row 0) and buys (row 1) of the given quantities."""
    book = market.order_book
    now = distance(state.eaten, market.depth, book)
    away = average_distance(state.eaten, quantity, market.depth, book) - now
    sign = jnp.asarray([[-1.0], [1.0]], away.dtype)
    if book.distance == "linear":
        return mid(state, market)[None] * (1.0 + sign * away)
    return mid(state, market)[None] * jnp.exp(sign * away)


def eat(state: State, quantity: Float[Array, "2 markets"], market: Market) -> State:
    """Take quantities from bids and asks; the permanent share of the move goes to `shift`."""
    book = market.order_book
    before = distance(state.eaten, market.depth, book)
    after = distance(state.eaten + quantity, market.depth, book)
    moved = book.permanent * (after - before)
    return dataclasses.replace(
        state, eaten=state.eaten + quantity, shift=state.shift - moved[0] + moved[1]
    )


def advance(
    state: State, quote: Quote, order_book: OrderBook, venue: Venue
) -> tuple[State, Market]:
    """Let the book refill, move mid with the index, and mark by the venue's rule.

    In a step of no length nothing moves.
    """
    passes = quote.dt > 0
    left = jnp.where(
        passes, jnp.exp(-order_book.resilience * quote.dt), 1.0
    )  # inf · 0 is no number
    state = dataclasses.replace(state, eaten=state.eaten * left)
    market = Market(
        index=quote.index,
        depth=quote.depth,
        dt=quote.dt,
        mark=quote.index,
        mark_before=state.mark_before,
        order_book=order_book,
    )
    moved = displacement(state, market)
    weight = -jnp.expm1(-quote.dt / venue.mark_window)
    basis = state.basis + weight * (moved - state.basis)
    mark = MARKS[venue.mark_rule](quote.index, moved, basis)
    market = dataclasses.replace(market, mark=jnp.where(passes, mark, state.mark_before))
    return dataclasses.replace(state, basis=basis, mark_before=market.mark), market


def _index(index, moved, basis):
    """The index itself: an oracle venue."""
    return index


def _mid(index, moved, basis):
    """The venue's own mid."""
    return index * jnp.exp(moved)


def _median(index, moved, basis):
    """Median of index, index plus moving-average basis, and mid."""
    return index * jnp.exp(formulas.median(0.0, moved, basis, jnp.minimum, jnp.maximum))


MARKS = {"index": _index, "mid": _mid, "median": _median}
