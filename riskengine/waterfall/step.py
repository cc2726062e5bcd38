"""One step of one path: prices move, then the venue's stages, in the venue's order."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from riskengine.specs.book import Book, Layout
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
from riskengine.waterfall.part import Part
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
        lowest=jnp.full(book.layout.blocks if book.layout.blocks > 1 else 0, jnp.inf, ledger.DOUBLE),
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
        return part.guarded(condition(need), add, _weak(LOCAL[name], packing, book.layout))
    if name not in EXACT:
        return select.guarded(condition(need), add)
    if book.layout.blocks > 1 and adl.queues(venue):
        return _in_line(condition(need), condition(EXACT[name]), add, packing, book.layout)
    look = _flagged(select.guarded, condition(need), condition(EXACT[name]))
    run = select.guarded(lambda packed, flag, *args: flag, lambda x, flag, *args: add(x, *args))
    return lambda packed, *args: run(packed, look(packed, *args), *args)


def _flagged(guarded, cheap, costly):
    """A costly condition, worked out only where a cheap one holds; the state stays in place."""
    look = guarded(lambda flag, *args: cheap(*args), lambda flag, *args: costly(*args))
    return lambda *args: look(jnp.asarray(False), *args)


def _weak(reach, packing: Packing, layout: Layout, looks: bool = False) -> list[Part]:
    """Parts with all blocks of accounts that a stage may enter, the weakest first."""

    def lowest(*known):
        packed, *_ = known[looks:]
        state, _ = packing.unpack(packed)
        return state.lowest.astype(state.size.dtype)

    def holds(size):
        def on_path(*known):
            weak = lowest(*known) < reach(known[-1])
            return jnp.sum(weak.astype(jnp.int32), dtype=jnp.int32) <= size

        return on_path

    return [
        Part(size, lambda *known: -lowest(*known), holds(size), packing, layout, looks)
        for size in (part.SMALL, part.WIDE)
    ]


def _in_line(cheap, costly, add, packing: Packing, layout: Layout):
    """The stage `adl` on the blocks whose turn it is; which, is worked out where anybody is closed."""
    weak = _weak(lambda venue: venue.adl.below, packing, layout, looks=True)
    wanted = _flagged(lambda *work: part.guarded(*work, weak[:1]), cheap, costly)

    def look(line, packed, flag, market, book, venue):
        state, _ = packing.unpack(packed)
        return adl.line(state, market, book, venue, part.WIDE)

    find = select.guarded(lambda line, packed, flag, *args: flag, look)
    blocks = Part(
        part.WIDE,
        lambda packed, flag, line, *args: line[0],
        lambda packed, flag, line, *args: line[1],
        packing,
        layout,
    )
    run = part.guarded(
        lambda packed, flag, *args: flag,
        lambda packed, flag, line, *args: add(packed, *args),
        [blocks],
    )

    def stage(packed, *args):
        flag, dtype = wanted(packed, *args), packing.unpack(packed)[0].size.dtype
        unknown = jnp.zeros(layout.blocks, dtype), jnp.asarray(False)
        return run(packed, flag, find(unknown, packed, flag, *args), *args)

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
