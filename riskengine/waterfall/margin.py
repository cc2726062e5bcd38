"""What accounts have and need: equity, maintenance margin, health, bankruptcy prices."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from riskengine.specs.book import REST, Book, Totals
from riskengine.specs.venue import SIZE_UNIT, Margin, Venue
from riskengine.types import pytree
from riskengine.waterfall import formulas, ledger
from riskengine.waterfall.state import Market, State

TABLES = ("floor", "ratio", "deduction", "initial", "premium")  # of a market's margin


@pytree
class Accounts:
    """Every account at the marks, on the state that a stage finds."""

    equity: Float[Array, " accounts"]
    maintenance: Float[Array, " accounts"]
    health: Float[Array, " accounts"]  # equity / maintenance; infinity without positions
    required: Float[Array, " positions"]  # maintenance margin of each position


def equity(state: State, market: Market, book: Book) -> Float[Array, " accounts"]:
    """e_i = c_i + Σ_k q_k (P_m − 1)."""
    gained = state.size * ledger.share(market.mark - 1.0, book)
    return state.cash + ledger.per_account(gained, book)


def notional(state: State, market: Market, book: Book) -> Float[Array, " positions"]:
    """n_k = |q_k| P_m."""
    return jnp.abs(state.size) * ledger.share(market.mark, book)


def attach(book: Book, venue: Venue) -> Book:
    """Give every position the margin tables of its market, and the book its opening totals.

    Where there is one market, its tables are one column that serves all positions.
    """
    tables = {n: getattr(venue.margin, n).astype(book.size.dtype) for n in TABLES}
    alone = book.layout.number_of_markets == 1 and book.members is None
    spread = tables if alone else {n: _of_positions(x, book) for n, x in tables.items()}
    if book.members is not None:
        members = ledger.per_position(book.members, book)
        spread |= _together(spread, members, venue.margin.growth)
    totals = Totals(
        cash=ledger.total(book.cash),
        gross=ledger.total(jnp.abs(book.cash)),
        size=ledger.per_market(book.size, book),
        open_interest=0.5 * ledger.per_market(jnp.abs(book.size), book),
    )
    margin = dataclasses.replace(venue.margin, **spread)
    return dataclasses.replace(book, margin=margin, totals=totals)


def _of_positions(table: Float[Array, "*tiers markets"], book: Book):
    """A column for every position: that of its market."""
    if table.ndim == 1:
        return ledger.share(table, book)
    return jnp.stack([ledger.share(row, book) for row in table])


def _together(tables: dict, members: Float[Array, " positions"], growth: str) -> dict:
    """Tables under which m equal accounts have, as one, the margin of all: m M(v/m).

    Floors and deductions count m times; a premium k g(s/m) is k / g(m) at the size s of all.
    """
    dollars = {name: tables[name] * members[None] for name in ("floor", "deduction")}
    if growth == "none":
        return dollars
    return dollars | {"premium": tables["premium"] / GROWTH[growth](members)}


def of_account(dollars, book: Book):
    """What a rule states per account: as often as accounts stand behind one."""
    return dollars if book.members is None else dollars * book.members


def of_position(dollars, book: Book):
    """The same for positions."""
    if book.members is None:
        return dollars
    return dollars * ledger.per_position(book.members, book)


def profit(state: State, market: Market, book: Book) -> Float[Array, " positions"]:
    """u_k = q_k (P_m − p₀): unrealised profit since entry."""
    return state.size * (ledger.share(market.mark, book) - entry(state, book))


def maintenance(
    value: Float[Array, "*held"], size: Float[Array, "*held"], tiers: Margin
) -> Float[Array, "*held"]:
    """Maintenance margin of notionals `value`, each under its own column of the tables.

    Where margin grows with size, M = max(T, b T + k g(s) v): T by the tables, s the size in
    SIZE_UNIT, k the premium, g(s) = s or √s, b the part of T that the premium adds to.
    """
    by_table = _by_table(value, tiers)
    if tiers.growth == "none":
        return by_table
    units = jnp.abs(size) / SIZE_UNIT
    grown = tiers.premium * GROWTH[tiers.growth](units) * value
    return jnp.maximum(by_table, tiers.premium_on.astype(value.dtype) * by_table + grown)


GROWTH = {"linear": lambda units: units, "root": jnp.sqrt}


def _by_table(value: Float[Array, "*held"], tiers: Margin) -> Float[Array, "*held"]:
    """Marginal brackets are the upper envelope of their lines, M = max_j (r_j v − d_j), as rates
    rise from tier to tier; flat tiers charge the whole notional at the rate of its tier."""
    if tiers.kind == "flat":
        return value * tier_rate(value, tiers.floor, tiers.ratio)
    required = formulas.marginal_margin(value, tiers.ratio[0], tiers.deduction[0])
    for ratio, deduction in zip(tiers.ratio[1:], tiers.deduction[1:], strict=True):
        required = jnp.maximum(required, formulas.marginal_margin(value, ratio, deduction))
    return required


def tier_rate(value: Float[Array, "*held"], floor, rate) -> Float[Array, "*held"]:
    """Rate of the highest tier whose floor the notional has reached."""
    found = jnp.broadcast_to(rate[0], value.shape)
    return formulas.tier_value(value, floor[1:], rate[1:], found, where=jnp.where)


def assess(state: State, market: Market, book: Book, venue: Venue) -> Accounts:
    """Equity, maintenance margin and health of every account."""
    assert book.margin is not None, "the book is not attached to a venue"
    required = maintenance(tier_value(state, market, book, venue), state.size, book.margin)
    held = equity(state, market, book)
    needed = ledger.per_account(required, book)
    return Accounts(equity=held, maintenance=needed, health=health(held, needed), required=required)


def tier_value(
    state: State, market: Market, book: Book, venue: Venue
) -> Float[Array, " positions"]:
    """The notional that tiers refer to, at mark or at entry."""
    if venue.margin.at == "entry":
        return jnp.abs(state.size) * entry(state, book)
    return notional(state, market, book)


def health(equity, maintenance) -> Float[Array, "..."]:
    """e / M; infinity where there is no position to keep."""
    holds = maintenance > 0
    return jnp.where(holds, formulas.health(equity, jnp.where(holds, maintenance, 1.0)), jnp.inf)


def watch(state: State, market: Market, book: Book, venue: Venue) -> State:
    """Note the health with which every account enters the step; clocks run on."""
    entered = assess(state, market, book, venue).health
    dt = market.dt.astype(state.cooldown.dtype)
    cooldown = jnp.maximum(state.cooldown - dt, 0.0)
    weakest, lowest = ledger.least(entered, book.role == REST, book)
    state = dataclasses.replace(
        state, entered=entered, weakest=weakest, lowest=lowest, cooldown=cooldown
    )
    if not venue.liquidation.remembers:
        return state
    below, until = (
        x.astype(entered.dtype) for x in (venue.liquidation.below, venue.liquidation.until)
    )
    lasts = (state.since >= 0) & (entered < jnp.maximum(below, until))
    since = jnp.where(lasts, state.since + dt, jnp.where(entered < below, 0.0, -1.0))
    return dataclasses.replace(state, since=since)


def threshold(state: State, below, venue: Venue) -> Float[Array, "..."]:
    """Health below which accounts enter a stage: a liquidation that has begun lasts `until`."""
    level = jnp.asarray(below, state.entered.dtype)
    if not venue.liquidation.remembers:
        return level
    until = venue.liquidation.until.astype(level.dtype)
    return jnp.where(state.since >= 0, jnp.maximum(level, until), level)


def enters(state: State, accounts: Accounts, below, above, book: Book) -> Bool[Array, " accounts"]:
    """Accounts that were below a threshold when the step began and still are."""
    below, above = (jnp.asarray(x, accounts.health.dtype) for x in (below, above))
    fallen = (state.entered < below) & (accounts.health < below)
    return fallen & (accounts.health >= above) & (book.role != REST)


def close_out(
    state: State, market: Market, accounts: Accounts, book: Book, venue: Venue
) -> Float[Array, "..."]:
    """Health at which a takeover begins: θ, or where it is nearer, margin less than M − gap · N."""
    below = venue.takeover.below.astype(accounts.health.dtype)
    if not venue.takeover.has_gap:
        return below
    gross = ledger.per_account(notional(state, market, book), book)
    gap = venue.takeover.gap.astype(gross.dtype)
    return jnp.maximum(below, 1.0 - gap * _per(gross, accounts.maintenance))


def _per(amount, maintenance):
    """amount / M; 0 where there is no position."""
    holds = maintenance > 0
    return jnp.where(holds, amount / jnp.where(holds, maintenance, 1.0), 0.0)


def bankruptcy_price(
    state: State, market: Market, accounts: Accounts, book: Book
) -> Float[Array, " positions"]:
    """P_bk(k) = P_m − e_i (M_k / M_i) / q_k: equity split in proportion to maintenance margin.

    The mark where there is no position.
    """
    holds = accounts.maintenance > 0
    per_margin = jnp.where(
        holds, accounts.equity / jnp.where(holds, accounts.maintenance, 1.0), 0.0
    )
    open_ = state.size != 0
    return formulas.bankruptcy_price(
        ledger.share(market.mark, book),
        jnp.where(open_, state.size, 1.0),
        jnp.where(open_, accounts.required, 0.0),
        ledger.per_position(per_margin, book),
    )


def entry(state: State, book: Book) -> Float[Array, " positions"]:
    """Average entry price; that of makers and `rest` follows their trades."""
    if not book.layout.dense:
        return book.entry
    slots, accounts = book.layout.accounts[-1]
    start = book.entry.shape[0] - slots * accounts
    empty = book.entry.at[start:].set(0.0)
    return ledger.add_dense(empty, state.dense_entry, book)
