"""One step of one path: prices move, then the venue's stages, in the venue's order."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from riskengine.specs.book import REST, Book
from riskengine.specs.scenario import OrderBook
from riskengine.specs.venue import Venue
from riskengine.waterfall import (
    adl,
    fund,
    ledger,
    liquidation,
    margin,
    pools,
    price,
    select,
    social,
    vault,
)
from riskengine.waterfall.select import Packing
from riskengine.waterfall.state import (
    AccountRecord,
    Market,
    Quote,
    State,
    flows,
    merge,
    vector,
)

STAGES = {
    "book": (liquidation.needed, liquidation.reduce),
    "takeover": (vault.takeover_needed, vault.take_over),
    "unwind": (vault.unwind_needed, vault.unwind),
    "fund": (fund.owed, fund.cover),
    "adl": (adl.needed, adl.deleverage),
    "social": (social.needed, social.socialize),
}


def opening(book: Book, venue: Venue) -> State:
    """The state before the first step: everybody holds what the book says, the venue its capital."""
    accounts, pools_ = book.cash.shape, len(venue.pools.names)
    markets = book.layout.number_of_markets
    none = jnp.zeros(accounts, book.cash.dtype)
    money = jnp.zeros((), ledger.DOUBLE)
    per_pool, per_market = jnp.zeros(pools_, ledger.DOUBLE), jnp.zeros(markets, ledger.DOUBLE)
    return State(
        size=book.size,
        cash=book.cash,
        dense_entry=_dense_entry(book),
        cooldown=none,
        entered=jnp.full_like(book.cash, jnp.inf),
        record=AccountRecord(
            liquidated=jnp.zeros(accounts, bool),
            deleveraged=jnp.zeros(accounts, bool),
            adl_loss=none,
            adl_equity=none,
            adl_profit=none,
        ),
        pool_size=jnp.zeros((pools_, markets), ledger.DOUBLE),
        pool_cash=per_pool,
        pool_basis=jnp.zeros((pools_, markets), ledger.DOUBLE),
        inflow_peak=money,
        debt=per_pool,
        street_size=per_market,
        street_cash=money,
        fees=money,
        unfunded_size=per_market,
        unfunded_cash=money,
        eaten=jnp.zeros((2, markets), ledger.DOUBLE),
        shift=per_market,
        basis=per_market,
        mark_before=jnp.ones(markets, ledger.DOUBLE),
    )


def _dense_entry(book: Book) -> Float[Array, "dense markets"]:
    if not book.layout.dense:
        return jnp.ones((0, book.layout.number_of_markets), ledger.DOUBLE)
    return ledger.dense(book.entry, book).astype(ledger.DOUBLE)


def step(
    state: State, quote: Quote, order_book: OrderBook, book: Book, venue: Venue
) -> tuple[State, Market, Float[Array, " flows"]]:
    """Move prices, note who is below margin, and let the waterfall run where anybody is."""
    state, market = price.advance(state, quote, order_book, venue)
    state = margin.watch(state, market, book, venue)
    state, moved = waterfall(state, market, book, venue)
    return state, market, moved


def waterfall(
    state: State, market: Market, book: Book, venue: Venue
) -> tuple[State, Float[Array, " flows"]]:
    """The venue's stages in the venue's order, each where it is needed.

    The pools' needs are noted after the price move and after every stage; at the end the ledger is
    audited. Nothing happens, to the bit, on paths where every account and every pool is at rest.
    """
    so_far = (state, vector(flows(book, venue)))
    packing = Packing.of(so_far)

    def stage(name: str):
        """A stage that adds what it moved, and the pools' needs after it."""
        need, run = STAGES[name]

        def needed(packed, market, book, venue):
            state, _ = packing.unpack(packed)
            return need(state, market, book, venue)

        def add(packed, market, book, venue):
            state, moved = packing.unpack(packed)
            state, more = run(state, market, book, venue)
            state, noted = pools.note(state, market, venue)
            for flow in (more, flows(book, venue, **noted)):
                moved = merge(moved, vector(flow), book, venue)
            return packing.pack((state, moved))

        return select.guarded(needed, add)

    stages = [stage(name) for name in venue.stages]

    def busy(packed, market, book, venue):
        moving = _busy(packing.unpack(packed)[0], book, venue)
        return moving & (market.dt > 0)  # in a step of no length nothing happens

    def run(packed, market, book, venue):
        state, moved = packing.unpack(packed)
        state, noted = pools.note(state, market, venue)
        packed = packing.pack(
            (state, merge(moved, vector(flows(book, venue, **noted)), book, venue))
        )
        for stage in stages:
            packed = stage(packed, market, book, venue)
        state, moved = packing.unpack(packed)
        cash, size = audit(state, book)
        residual = flows(book, venue, cash_residual=cash, size_residual=size)
        return packing.pack((state, merge(moved, vector(residual), book, venue)))

    packed = select.guarded(busy, run)(packing.pack(so_far), market, book, venue)
    return packing.unpack(packed)


def _busy(state: State, book: Book, venue: Venue) -> Bool[Array, ""]:
    """Whether any stage could change anything."""
    below = jnp.maximum(jnp.maximum(venue.liquidation.below, venue.takeover.below), venue.adl.below)
    weak = (state.entered < below) & (book.role != REST)
    return jnp.any(weak) | jnp.any(state.pool_size != 0) | jnp.any(state.debt > 0)


def audit(state: State, book: Book) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """How far total cash and total sizes are from where they began (docs/model.md 6)."""
    cash, size = totals(state, book)
    began = ledger.per_market(book.size, book)
    gross = ledger.total(jnp.abs(book.cash))
    open_interest = 0.5 * ledger.per_market(jnp.abs(book.size), book)
    leak = jnp.abs(cash - ledger.total(book.cash)) / jnp.where(gross > 0, gross, 1.0)
    moved = jnp.abs(size - began) / jnp.where(open_interest > 0, open_interest, 1.0)
    return leak, jnp.max(moved)


def totals(state: State, book: Book) -> tuple[Float[Array, ""], Float[Array, " markets"]]:
    """Cash and size of all holders together: constants of every stage."""
    cash = (
        ledger.total(state.cash)
        + ledger.tree(state.pool_cash)
        - ledger.tree(state.debt)
        + state.street_cash
        + state.fees
        + state.unfunded_cash
    )
    size = (
        ledger.per_market(state.size, book)
        + ledger.tree(state.pool_size)
        + state.street_size
        + state.unfunded_size
    )
    return cash, size
