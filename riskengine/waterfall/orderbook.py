"""The venue's order book: forced orders clear at one price per market and side, and somebody takes them."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from riskengine.specs.book import MAKER, Book
from riskengine.specs.venue import Venue
from riskengine.types import pytree
from riskengine.waterfall import ledger, margin, price, select, slopes
from riskengine.waterfall.state import Market, State

WHOLE = 1.0 - 1e-9  # of an order's quantity: what is filled but for rounding is filled whole


@pytree
class Orders:
    """What is to be sold (closing longs) or bought (closing shorts), per position."""

    quantity: Float[Array, " positions"]
    long: Bool[Array, " positions"]
    tolerance: Float[Array, " positions"] | None  # log distance that the limit allows; None: all


@pytree
class Fills:
    """What was filled of each order, and the price per side and market."""

    filled: Float[Array, " positions"]
    quantity: Float[Array, "2 markets"]
    price: Float[Array, "2 markets"]


def clear(
    orders: Orders, state: State, market: Market, book: Book, whole_only: bool = False
) -> tuple[State, Fills]:
    """Fill what the book takes within the orders' limits, at one price per market and side.

    Limits are tested against the marginal price, so all orders that tolerate it are filled and the
    marginal ones share what is left, or get nothing where orders are filled whole or not at all.
    The price is the average over the whole quantity.
    """
    filled = _fill_all(orders, state, market, book)
    if orders.tolerance is not None:
        filled = _within_limits(filled, orders, state, market, book)
    if whole_only:
        filled = jnp.where(filled < WHOLE * orders.quantity, 0.0, filled)
    quantity = ledger.per_side(jnp.where(orders.long, filled, -filled), book)
    at = price.fill_price(state, quantity, market)
    return price.eat(state, quantity, market), Fills(filled=filled, quantity=quantity, price=at)


def _limits_bind(filled, orders: Orders, state: State, market: Market, book: Book):
    """Whether filling everything would go beyond some order's limit, or beyond the book's cap."""
    assert orders.tolerance is not None
    quantity = ledger.per_side(_signed(orders), book)
    last = price.distance(state.eaten + quantity, market.depth, market.order_book)
    beyond = orders.tolerance < ledger.share_side(last, orders.long, book)
    return jnp.any(beyond & (orders.quantity > 0)) | jnp.any(quantity > cap(market))


def _fill_all(
    orders: Orders, state: State, market: Market, book: Book
) -> Float[Array, " positions"]:
    """Q = min(Σ o, cap), pro rata: what is filled when no limit binds."""
    quantity = ledger.per_side(_signed(orders), book)
    return orders.quantity * ledger.share_side(part(quantity, market), orders.long, book)


def _fill_within(filled, orders: Orders, state: State, market: Market, book: Book):
    """The largest distance x at which the book's C(x) does not exceed what tolerates x."""
    assert orders.tolerance is not None
    order_book = market.order_book

    def offered(x):
        inside = price.reach(x.astype(ledger.DOUBLE), market.depth, order_book) - state.eaten
        everything = x >= order_book.distance_max.astype(x.dtype)
        return jnp.minimum(jnp.where(everything, jnp.inf, inside), cap(market))

    signed = _signed(orders)
    nobody = jnp.zeros_like(state.pool_size)
    ranked = select.Ranked.of(orders.tolerance, signed, book, nobody, nobody)
    threshold = select.crossing(ranked, offered)
    mine = ledger.share_side(threshold, orders.long, book)
    above = jnp.where(orders.tolerance > mine, orders.quantity, 0.0)
    tied = jnp.where(orders.tolerance == mine, orders.quantity, 0.0)
    whole, tie = (ledger.per_side(jnp.where(orders.long, q, -q), book) for q in (above, tied))
    limit = _limit_of(tied, orders, tie, threshold, book)
    last = jnp.where(tie > 0, limit, order_book.distance_max.astype(limit.dtype))
    left = jnp.clip(offered(last) - whole, 0.0, tie)
    share = left / jnp.where(tie > 0, tie, 1.0)
    share = jnp.where(tie > 0, share, 0.0)
    return above + tied * ledger.share_side(share, orders.long, book)


def _limit_of(tied, orders: Orders, tie, threshold, book: Book) -> Float[Array, "2 markets"]:
    """The marginal limit: with a slope, for it moves with the limits of the orders that hold it."""
    assert orders.tolerance is not None
    value = tied * jnp.where(tied > 0, orders.tolerance, 0.0)
    held = ledger.per_side(jnp.where(orders.long, value, -value), book)
    mean = held / jnp.where(tie > 0, tie, 1.0)
    return slopes.like(threshold, mean.astype(threshold.dtype))


_within_limits = select.guarded(_limits_bind, _fill_within)


def _signed(orders: Orders) -> Float[Array, " positions"]:
    return jnp.where(orders.long, orders.quantity, -orders.quantity)


def cap(market: Market) -> Float[Array, "2 markets"]:
    """Most that one clearing may take."""
    multiple = market.order_book.fill_cap
    limited = jnp.isfinite(multiple)
    return jnp.where(limited, jnp.where(limited, multiple, 0.0) * market.depth, jnp.inf)


def part(quantity: Float[Array, "2 markets"], market: Market) -> Float[Array, "2 markets"]:
    """min(cap / Q, 1): the part of a quantity that one clearing may take."""
    most = cap(market)
    beyond = quantity > most
    return jnp.where(beyond, most, 1.0) / jnp.where(beyond, quantity, 1.0)


def take(
    state: State,
    quantity: Float[Array, "2 markets"],
    at: Float[Array, "2 markets"],
    market: Market,
    book: Book,
    venue: Venue,
) -> State:
    """Hand forced sells (row 0) and buys (row 1) to profit takers, makers and the street."""
    left = quantity
    if market.order_book.takers:
        state, left = _profit_takers(state, quantity, at, market, book)
    if book.layout.dense:
        state, left = _makers(state, left, at, market, book, venue)
    return dataclasses.replace(
        state,
        street_size=state.street_size + left[0] - left[1],
        street_cash=state.street_cash
        - ledger.total(left[0] * (at[0] - 1.0))
        + ledger.total(left[1] * (at[1] - 1.0)),
    )


def _profit_takers(state, quantity, at, market: Market, book: Book):
    """Opposing positions with a gain close a share of the flow, in proportion to size."""
    trader = (book.role != MAKER) & (state.entered >= 1.0)
    entry = margin.entry(state, book)
    short = state.size < 0
    theirs = jnp.where(short, ledger.share(at[0], book), ledger.share(at[1], book))
    gains = state.size * (theirs - entry) > 0
    ready = ledger.per_position(trader.astype(state.size.dtype), book)  # 1 or 0
    willing = jnp.where(gains, state.size * ready, 0.0)
    longs, shorts = ledger.per_side(willing, book)
    offered = jnp.stack([shorts, longs])  # who takes sells, who takes buys
    taken = jnp.minimum(market.order_book.profit_taking * quantity, offered)
    share = taken / jnp.where(offered > 0, offered, 1.0)
    closed = willing * ledger.share_side(share, short, book)
    state = _close(state, closed, theirs, book)
    return state, quantity - taken


def _close(state: State, closed, at, book: Book) -> State:
    """Reduce positions by signed quantities at prices."""
    paid = ledger.per_account(closed * (at - 1.0), book)
    return dataclasses.replace(state, size=state.size - closed, cash=state.cash + paid)


def _makers(state, quantity, at, market: Market, book: Book, venue: Venue):
    """Makers take what their free initial margin and opposite inventory allow, pro rata."""
    size = ledger.dense(state.size, book).astype(ledger.DOUBLE)
    first = book.layout.number_of_accounts - book.layout.dense
    cash = state.cash[first:].astype(ledger.DOUBLE)
    ready = (book.role[first:] == MAKER) & (state.entered[first:] >= 1.0)

    mark = market.mark[None]
    at_entry = venue.margin.at == "entry"
    value = jnp.abs(size) * (state.dense_entry if at_entry else mark)
    initial = margin.tier_rate(value, venue.margin.floor[:, None], venue.margin.initial[:, None])
    worth = cash + ledger.tree((size * (mark - 1.0)).T)
    free = jnp.maximum(worth - ledger.tree((value * initial).T), 0.0)

    cost = at * venue.margin.initial[0][None]  # initial margin of one unit
    demand = quantity * cost
    wanted = ledger.total(demand)
    weight = demand / jnp.where(wanted > 0, wanted, 1.0)
    room = jnp.where(cost > 0, weight / jnp.where(cost > 0, cost, 1.0), 0.0)
    opposite = jnp.stack([jnp.maximum(-size, 0.0), jnp.maximum(size, 0.0)], axis=1)
    capacity = jnp.where(ready[:, None, None], free[:, None, None] * room[None] + opposite, 0.0)
    together = ledger.tree(capacity)
    share = jnp.minimum(quantity / jnp.where(together > 0, together, 1.0), 1.0)
    taken = capacity * jnp.where(together > 0, share, 0.0)[None]

    entry = _averaged(state.dense_entry, size, taken[:, 0], at[0][None])
    entry = _averaged(entry, size + taken[:, 0], -taken[:, 1], at[1][None])
    bought = taken[:, 0] - taken[:, 1]
    paid = ledger.tree((taken[:, 0] * (at[0] - 1.0)[None] - taken[:, 1] * (at[1] - 1.0)[None]).T)
    state = dataclasses.replace(
        state,
        size=ledger.add_dense(state.size, bought, book),
        cash=state.cash.at[first:].add(-paid.astype(state.cash.dtype)),
        dense_entry=entry,
    )
    return state, quantity - ledger.tree(taken)


def _averaged(entry, size, change, at):
    """Average entry price after a trade: moves when a position grows or turns, not when it shrinks."""
    after = size + change
    grows = size * change >= 0
    turns = size * after < 0
    weight = jnp.abs(change) / jnp.where(after != 0, jnp.abs(after), 1.0)
    mean = entry + weight * (at - entry)
    moved = jnp.where(turns, at, jnp.where(grows & (change != 0), mean, entry))
    return moved
