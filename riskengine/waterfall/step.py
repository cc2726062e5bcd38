"""One step of one path: prices move, then the venue's stages, in the venue's order."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from riskengine.specs.book import Book
from riskengine.specs.scenario import OrderBook
from riskengine.specs.venue import Venue
from riskengine.waterfall import (
    adl,
    fund,
    ledger,
    liquidation,
    losing,
    margin,
    part,
    pools,
    price,
    profit_cap,
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
    decided,
    flows,
    merge,
    totals,
    vector,
)

STAGES = {
    "book": (liquidation.needed, liquidation.reduce),
    "takeover": (vault.takeover_needed, vault.take_over),
    "unwind": (vault.unwind_needed, vault.unwind),
    "fund": (fund.owed, fund.cover),
    "adl": (adl.needed, adl.deleverage),
    "profit_cap": (profit_cap.needed, profit_cap.cut),
    "social": (social.needed, social.socialize),
}
LOCAL = {"book": liquidation.reach, "takeover": vault.reach}  # they touch weak accounts and makers
NEEDS = {"adl": losing.rules_need, "profit_cap": profit_cap.need}  # of rules tested in every step
EXACT = {"adl": adl.wanted}  # costly conditions, tested only where the stage's cheap one holds


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
        cooldown=none if venue.liquidation.cools else none[:0],
        since=none - 1.0 if venue.liquidation.remembers else none[:0],
        entered=jnp.full_like(book.cash, jnp.inf),
        weakest=jnp.asarray(jnp.inf, ledger.DOUBLE),
        lowest=jnp.full(
            book.layout.blocks if book.layout.blocks > 1 else 0, jnp.inf, ledger.DOUBLE
        ),
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
        pool_peak=per_pool,
        pool_on=per_pool,
        owner_paid=per_pool,
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
    before = state
    state, market = price.advance(state, quote, order_book, venue)
    state = decided(margin.watch(state, market, book, venue), before)
    state, moved = waterfall(state, market, book, venue)
    return state, market, moved


def waterfall(
    state: State, market: Market, book: Book, venue: Venue
) -> tuple[State, Float[Array, " flows"]]:
    """The venue's stages in the venue's order, each on the paths that need it.

    What the pools need is noted after the price move and after every stage, and the ledger is audited
    after every stage. Where no account is weak and no pool holds inventory or debt nothing changes,
    to the bit; nor does it in a step of no length.
    """
    so_far = (state, vector(flows(book, venue)))
    packing = Packing.of(so_far)
    packed = _first_note(packing.pack(so_far), packing, market, book, venue)
    for name in venue.stages:
        if name == "profit_cap" or (name == "adl" and losing.read_capital(venue)):
            packed = _rules_note(NEEDS[name], packed, packing, market, book, venue)
        packed = _stage(name, packing, market, book, venue)(packed, market, book, venue)
    return packing.unpack(packed)


def _first_note(packed, packing: Packing, market: Market, book: Book, venue: Venue):
    """The pools' needs after the price move; without inventory and debt they are what they were."""
    state, moved = packing.unpack(packed)
    state, noted = pools.note(state, market, venue)
    return packing.pack((state, merge(moved, vector(flows(book, venue, **noted)), book, venue)))


def _rules_note(needs, packed, packing: Packing, market: Market, book: Book, venue: Venue):
    """The pools' need by rules that a stage decides by in every step, on the state on which it does."""
    state, moved = packing.unpack(packed)
    need = jnp.where(market.dt > 0, needs(state, market, book, venue), 0.0)
    return packing.pack(
        (state, merge(moved, vector(flows(book, venue, need_rules=need)), book, venue))
    )


def _stage(name: str, packing: Packing, market: Market, book: Book, venue: Venue):
    """A stage that adds what it moved, the pools' needs after it, and what the ledger lost."""
    need, run = STAGES[name]

    def condition(holds):
        def on_path(packed, market, book, venue):
            state, _ = packing.unpack(packed)
            return holds(state, market, book, venue) & (market.dt > 0)

        return on_path

    def add(packed, market, book, venue):
        before, moved = packing.unpack(packed)
        state, more = run(before, market, book, venue)
        state, noted = pools.note(state, market, venue)
        cash, size = audit(state, book)
        lost = flows(book, venue, cash_residual=cash, size_residual=size, **noted)
        for flow in (more, lost):
            moved = merge(moved, vector(flow), book, venue)
        return packing.pack((decided(state, before), moved))

    if book.layout.blocks > 1 and name in LOCAL and not market.order_book.takers:
        return part.on_weak(condition(need), add, LOCAL[name], packing, book.layout)
    if book.layout.blocks > 1 and name == "adl" and adl.queues(venue):
        exact = condition(EXACT[name])
        return part.on_queue(condition(need), exact, add, adl.below, adl.line, packing, book.layout)
    if name not in EXACT:
        return select.guarded(condition(need), add)
    return _exactly(condition(need), condition(EXACT[name]), add)


def _exactly(cheap, costly, add):
    """A stage whose condition is worked out only where a cheap one holds; the state stays in place."""
    look = select.guarded(lambda flag, *args: cheap(*args), lambda flag, *args: costly(*args))
    run = select.guarded(
        lambda packed, flag, *args: flag, lambda packed, flag, *args: add(packed, *args)
    )

    def stage(packed, *args):
        return run(packed, look(jnp.asarray(False), packed, *args), *args)

    return stage


def audit(state: State, book: Book) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """How far total cash and total sizes are from where they began (docs/model.md 6)."""
    cash, size = totals(state, book)
    began = book.totals
    assert began is not None, "the book is not attached to a venue"
    leak = jnp.abs(cash - began.cash) / jnp.where(began.gross > 0, began.gross, 1.0)
    traded = began.open_interest > 0
    moved = jnp.abs(size - began.size) / jnp.where(traded, began.open_interest, 1.0)
    return leak, jnp.max(moved)
