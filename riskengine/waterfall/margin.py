"""What accounts have and need: equity, maintenance margin, health, bankruptcy prices."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from riskengine.specs.book import REST, Book, Totals
from riskengine.specs.venue import Margin, Venue
from riskengine.types import pytree
from riskengine.waterfall import formulas, ledger
from riskengine.waterfall.state import Market, State


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
    """Give every position the margin tables of its market, and the book its opening totals."""
    spread = {
        name: getattr(venue.margin, name)[:, book.market].astype(book.size.dtype)
        for name in ("floor", "ratio", "deduction", "initial")
    }
    totals = Totals(
        cash=ledger.total(book.cash),
        gross=ledger.total(jnp.abs(book.cash)),
        size=ledger.per_market(book.size, book),
        open_interest=0.5 * ledger.per_market(jnp.abs(book.size), book),
    )
    margin = dataclasses.replace(venue.margin, **spread)
    return dataclasses.replace(book, margin=margin, totals=totals)


def maintenance(value: Float[Array, "*held"], tiers: Margin) -> Float[Array, "*held"]:
    """Maintenance margin of notionals `value`, each under its own column of the tables.

    Marginal brackets are the upper envelope of their lines, M = max_j (r_j v − d_j), as rates
    rise from tier to tier; flat tiers charge the whole notional at the rate of its tier.
    """
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
    at_entry = venue.margin.at == "entry"
    paid = jnp.abs(state.size) * entry(state, book)
    value = paid if at_entry else notional(state, market, book)
    required = maintenance(value, book.margin)
    held = equity(state, market, book)
    needed = ledger.per_account(required, book)
    return Accounts(equity=held, maintenance=needed, health=health(held, needed), required=required)


def health(equity, maintenance) -> Float[Array, "..."]:
    """e / M; infinity where there is no position to keep."""
    holds = maintenance > 0
    return jnp.where(holds, formulas.health(equity, jnp.where(holds, maintenance, 1.0)), jnp.inf)


def watch(state: State, market: Market, book: Book, venue: Venue) -> State:
    """Note the health with which every account enters the step; cooldowns run on."""
    entered = assess(state, market, book, venue).health
    cooldown = jnp.maximum(state.cooldown - market.dt.astype(state.cooldown.dtype), 0.0)
    weakest = ledger.least(jnp.where(book.role == REST, jnp.inf, entered))
    return dataclasses.replace(state, entered=entered, weakest=weakest, cooldown=cooldown)


def enters(state: State, accounts: Accounts, below, above, book: Book) -> Bool[Array, " accounts"]:
    """Accounts that were below a threshold when the step began and still are."""
    below, above = (jnp.asarray(x, accounts.health.dtype) for x in (below, above))
    fallen = (state.entered < below) & (accounts.health < below)
    return fallen & (accounts.health >= above) & (book.role != REST)


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
