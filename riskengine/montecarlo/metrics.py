"""What one path reports, worked out from its steps at its end (docs/model.md 6)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from riskengine.montecarlo import trace as traces
from riskengine.montecarlo.trace import Trace
from riskengine.specs.book import Book
from riskengine.specs.venue import Venue, owners, pool_capital
from riskengine.types import pytree
from riskengine.waterfall import ledger, pools, step
from riskengine.waterfall.state import Flows, Market, State, combined

LATER = {"5min": 300.0, "60min": 3600.0}  # s after an ADL at which its loss is looked at again
ROUNDING = 1e-6  # s: what sums of time steps may be off

NOT_FINITE = 1  # flags of a path: any of them makes its numbers unusable
PRICE_NOT_POSITIVE = 2
CASH_LEAK = 4
SIZE_LEAK = 8
FATAL = {
    NOT_FINITE: "a number is not finite",
    PRICE_NOT_POSITIVE: "a price is not positive",
    CASH_LEAK: "cash is not conserved",
    SIZE_LEAK: "size is not conserved",
}


@pytree
class PathMetrics:
    """One path. USD, seconds, fractions; definitions in docs/model.md 6."""

    required_fund_cash: Float[Array, ""]
    required_fund: Float[Array, ""]
    capital_rule_fund: Float[Array, ""]
    adl_required_fund: Float[Array, ""]
    excess_draw: Float[Array, ""]
    depleted: Bool[Array, ""]
    depletion_time: Float[Array, ""]
    intervened: Bool[Array, ""]
    intervention_time: Float[Array, ""]
    net_inflow: Float[Array, ""]
    vault_profit: Float[Array, ""]
    owner_profit: Float[Array, ""]
    provider_profit: Float[Array, ""]
    vault_worst: Float[Array, ""]
    drawdown: Float[Array, ""]
    liquidated_long: Float[Array, ""]
    liquidated_short: Float[Array, ""]
    takeover: Float[Array, ""]
    unwound: Float[Array, ""]
    fees: Float[Array, ""]
    bad_debt: Float[Array, ""]
    fund_draw: Float[Array, ""]
    social_loss: Float[Array, ""]
    unfunded: Float[Array, ""]
    deleveraged_long: Float[Array, ""]
    deleveraged_short: Float[Array, ""]
    unmatched: Float[Array, ""]
    adl_loss_mark: Float[Array, ""]
    adl_loss_index: Float[Array, ""]
    adl_loss_5min: Float[Array, ""]
    adl_loss_60min: Float[Array, ""]
    adl_loss_horizon: Float[Array, ""]
    adl_equity: Float[Array, ""]
    adl_profit: Float[Array, ""]
    haircut: Float[Array, ""]
    pnl_haircut: Float[Array, ""]
    accounts_deleveraged: Float[Array, ""]
    accounts_liquidated: Float[Array, ""]
    winner_bankrupted: Float[Array, ""]
    naked_delta: Float[Array, ""]
    street_pnl: Float[Array, ""]
    index_fall: Float[Array, ""]
    index_rise: Float[Array, ""]
    leftover: Float[Array, ""]
    leftover_notional: Float[Array, ""]
    ledger_cash: Float[Array, ""]
    ledger_size: Float[Array, ""]
    flags: Int[Array, ""]
    log_weight: Float[Array, ""]


KINDS = {"depleted": bool, "intervened": bool, "flags": np.int32}  # all others are float64


def row(numbers: PathMetrics) -> Float[Array, " metrics"]:
    """The numbers of a path side by side, so that they travel to the host in one piece."""
    return jnp.stack([x.astype(ledger.DOUBLE) for x in jax.tree.leaves(numbers)])


def columns(rows: np.ndarray) -> dict[str, np.ndarray]:
    """The numbers of many paths by name, from their rows."""
    names = [field.name for field in dataclasses.fields(PathMetrics)]
    pairs = zip(names, rows.T, strict=True)
    return {name: np.ascontiguousarray(x, KINDS.get(name, float)) for name, x in pairs}


def finish(
    state: State,
    market: Market,
    trace: Trace,
    dt: Float[Array, " steps"],
    book: Book,
    venue: Venue,
    bar: float,
) -> PathMetrics:
    """Numbers of a path: its last state and market, its steps of length `dt`.

    `bar` is what the ledger may lose.
    """
    steps = traces.flows(trace, book, venue)
    moved, record = combined(steps), state.record
    needs = {
        name: required(getattr(moved, name), venue)
        for name in ("need_cash", "need_exit", "need_rules")
    }
    time = jnp.cumsum(dt)
    depletion_time = _first(required(steps.need_exit, venue) > venue.capital, time)
    adl_required, intervention_time = _intervention(steps, time, venue)
    exit_gain = pools.exit_gain(state, market)
    left = pools.inflow(state) + exit_gain
    assert book.totals is not None, "the book is not attached to a venue"
    first_loss, owner = venue.pools.share > 0, owners(venue)
    lost = ledger.tree(moved.deleveraged)
    equity, profit = ledger.total(record.adl_equity), ledger.total(record.adl_profit)
    size_value = ledger.tree(state.unfunded_size * (market.mark - 1.0))
    shortfall = jnp.maximum(state.debt - (pool_capital(venue) + left), 0.0)
    owed = -state.unfunded_cash - size_value + ledger.tree(shortfall)
    finite = jnp.isfinite(ledger.total(state.cash)) & jnp.isfinite(ledger.total(state.size))
    cash, size = _leak(moved, state, book)
    leak = ~(cash <= bar), ~(size <= bar)
    move = index_move(trace.index, book.totals.open_interest)
    flags = jnp.where(finite, 0, NOT_FINITE)
    flags = flags | jnp.where(jnp.all(trace.mark > 0), 0, PRICE_NOT_POSITIVE)
    flags = flags | jnp.where(leak[0], CASH_LEAK, 0) | jnp.where(leak[1], SIZE_LEAK, 0)
    return PathMetrics(
        required_fund_cash=needs["need_cash"],
        required_fund=needs["need_exit"],
        capital_rule_fund=needs["need_rules"],
        adl_required_fund=adl_required,
        excess_draw=jnp.maximum(needs["need_exit"] - venue.capital, 0.0),
        depleted=needs["need_exit"] > venue.capital,
        depletion_time=depletion_time,
        intervened=adl_required > venue.capital,
        intervention_time=intervention_time,
        net_inflow=ledger.tree(jnp.where(first_loss, pools.inflow(state), 0.0)),
        vault_profit=ledger.tree(jnp.where(first_loss, left, 0.0)),
        owner_profit=ledger.tree(jnp.where(owner, left, 0.0)),
        provider_profit=ledger.tree(jnp.where(first_loss | owner, 0.0, left)),
        vault_worst=-moved.worst_loss,
        drawdown=moved.drawdown,
        liquidated_long=moved.liquidated[0],
        liquidated_short=moved.liquidated[1],
        takeover=moved.takeover,
        unwound=moved.unwound,
        fees=moved.fees,
        bad_debt=moved.bad_debt,
        fund_draw=moved.fund_draw,
        social_loss=moved.social_loss,
        unfunded=jnp.where(jnp.abs(owed) > bar * book.totals.gross, owed, 0.0),
        deleveraged_long=moved.deleveraged[0],
        deleveraged_short=moved.deleveraged[1],
        unmatched=moved.unmatched,
        adl_loss_mark=moved.adl_loss_mark,
        adl_loss_index=moved.adl_loss_index,
        **{
            f"adl_loss_{n}": ledger.total(steps.adl_size * trace.mark[look]) - moved.adl_paid
            for n, look in look_ahead(time).items()
        },
        adl_equity=equity,
        adl_profit=profit,
        haircut=_ratio(moved.adl_loss_mark, equity, lost),
        pnl_haircut=_ratio(moved.adl_loss_mark, profit, lost),
        accounts_deleveraged=ledger.count(record.deleveraged, book),
        accounts_liquidated=ledger.count(record.liquidated, book),
        winner_bankrupted=moved.winner_bankrupted,
        naked_delta=moved.naked_delta,
        street_pnl=state.street_cash + ledger.tree(state.street_size * (market.mark - 1.0)),
        index_fall=jnp.maximum(-jnp.min(move), 0.0),
        index_rise=jnp.maximum(jnp.max(move), 0.0),
        leftover=-ledger.tree(exit_gain),
        leftover_notional=ledger.total(jnp.abs(state.pool_size) * market.mark[None]),
        ledger_cash=cash,
        ledger_size=size,
        flags=flags,
        log_weight=jnp.zeros((), ledger.DOUBLE),
    )


def _leak(moved: Flows, state: State, book: Book) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """What the ledger lost at most. Of a large book stages audit the part they saw: here is the rest."""
    cash, size = moved.cash_residual, moved.size_residual
    if book.layout.blocks == 1:
        return cash, size
    every = step.audit(state, book)
    return jnp.maximum(cash, every[0]), jnp.maximum(size, every[1])


def required(need: Float[Array, "*steps pools"], venue: Venue) -> Float[Array, "*steps"]:
    """First-loss capital that meets the needs of all pools that share it."""
    share = jnp.broadcast_to(venue.pools.share, need.shape)
    counts = share > 0
    each = jnp.where(counts, need / jnp.where(counts, share, 1.0), 0.0)
    return jnp.max(jnp.maximum(each, 0.0), axis=-1)


def _intervention(
    steps: Flows, time: Float[Array, " steps"], venue: Venue
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Capital with which no rule binds and nobody is deleveraged, and when either first happened.

    Where an account is deleveraged before any rule has bound, no capital would have helped it.
    """
    rules, hit = required(steps.need_rules, venue), steps.account_adl > 0
    first_hit, first_bound = _first(hit, time), _first(rules > venue.capital, time)
    needed = jnp.where(first_hit < first_bound, jnp.inf, jnp.max(rules))
    when = jnp.where(needed > venue.capital, jnp.minimum(first_hit, first_bound), jnp.inf)
    return needed, when


def _first(happened: Bool[Array, " steps"], time: Float[Array, " steps"]) -> Float[Array, ""]:
    """When something first happened; infinity if never."""
    return jnp.min(jnp.where(happened, time, jnp.inf))


def index_move(
    index: Float[Array, "steps markets"], weight: Float[Array, " markets"]
) -> Float[Array, " steps"]:
    """Change of all markets' index prices since the start, weighted by open interest."""
    total = ledger.tree(weight)
    share = weight / jnp.where(total > 0, total, 1.0)
    return ledger.tree((share[None] * (index - 1.0)).T)


def _ratio(amount, base, happened):
    """Share of `base`; NaN where nobody was deleveraged."""
    positive = (happened > 0) & (base > 0)
    return jnp.where(positive, amount / jnp.where(positive, base, 1.0), jnp.nan)


def look_ahead(time: Float[Array, " steps"]) -> dict[str, Int[Array, " steps"]]:
    """For every step, the first step at or after 5 minutes, 60 minutes and the horizon."""
    last = time.shape[0] - 1
    later = {
        name: jnp.minimum(jnp.searchsorted(time, time + (seconds - ROUNDING)), last)
        for name, seconds in LATER.items()
    }
    return later | {"horizon": jnp.full(time.shape[0], last)}
