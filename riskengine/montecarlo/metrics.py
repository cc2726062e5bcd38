"""What one path reports: carried through the scan, finished at its end (docs/model.md 6)."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from riskengine.montecarlo import trace as traces
from riskengine.montecarlo.trace import Trace
from riskengine.specs.book import Book
from riskengine.specs.venue import Venue, pool_capital
from riskengine.types import pytree
from riskengine.waterfall import ledger, pools, select
from riskengine.waterfall.state import Market, State, flows, from_vector, merge, vector

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
class Running:
    """Carried from step to step."""

    moved: Float[Array, " flows"]
    elapsed: Float[Array, ""]
    adl_required: Float[Array, ""]
    depletion_time: Float[Array, ""]
    intervention_time: Float[Array, ""]
    flags: Int[Array, ""]


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


def start(book: Book, venue: Venue) -> Running:
    """Nothing has happened yet."""
    zero = jnp.zeros((), ledger.DOUBLE)
    return Running(
        moved=vector(flows(book, venue)),
        elapsed=zero,
        adl_required=zero,
        depletion_time=zero + jnp.inf,
        intervention_time=zero + jnp.inf,
        flags=jnp.zeros((), jnp.int32),
    )


def required(need: Float[Array, " pools"], venue: Venue) -> Float[Array, ""]:
    """First-loss capital that meets the needs of all pools that share it."""
    share = venue.pools.share
    counts = share > 0
    each = jnp.where(counts, need / jnp.where(counts, share, 1.0), 0.0)
    return jnp.max(jnp.maximum(each, 0.0))


def follow(
    running: Running, moved: Float[Array, " flows"], market: Market, book: Book, venue: Venue
) -> Running:
    """Let time pass, and add what a step moved, on paths where it moved anything."""
    bad_price = ~jnp.all(market.mark > 0)
    running = dataclasses.replace(
        running,
        elapsed=running.elapsed + market.dt,
        flags=running.flags | jnp.where(bad_price, PRICE_NOT_POSITIVE, 0),
    )
    return select.guarded(_anything, _add)(running, moved, book, venue)


def _anything(running: Running, moved: Float[Array, " flows"], book: Book, venue: Venue):
    return jnp.any(moved != 0)


def _add(running: Running, moved: Float[Array, " flows"], book: Book, venue: Venue) -> Running:
    """Add what a step moved; see when the fund ran dry and when a rule first bound."""
    merged = merge(running.moved, moved, book, venue)
    together = from_vector(merged, book, venue)
    rules = required(together.need_rules, venue)
    no_capital_helps = (from_vector(moved, book, venue).account_adl > 0) & (rules <= venue.capital)
    adl_required = jnp.maximum(running.adl_required, rules)
    adl_required = jnp.where(no_capital_helps, jnp.inf, adl_required)
    depleted = required(together.need_exit, venue) > venue.capital
    intervened = adl_required > venue.capital
    return dataclasses.replace(
        running,
        moved=merged,
        adl_required=adl_required,
        depletion_time=_first(running.depletion_time, depleted, running.elapsed),
        intervention_time=_first(running.intervention_time, intervened, running.elapsed),
    )


def _first(time, happened, now):
    return jnp.where(happened, jnp.minimum(time, now), time)


def finish(
    running: Running,
    state: State,
    market: Market,
    trace: Trace,
    later: dict[str, Int[Array, " steps"]],
    book: Book,
    venue: Venue,
    bar: float,
) -> PathMetrics:
    """Numbers of a path at its end.

    `later` says, per look-back name, at which step the mark of a step's ADL is looked up. `bar` is
    what the ledger may lose.
    """
    moved = from_vector(running.moved, book, venue)
    record = state.record
    needs = {
        name: required(getattr(moved, name), venue)
        for name in ("need_cash", "need_exit", "need_rules")
    }
    exit_gain = pools.exit_gain(state, market)
    left = pools.inflow(state) + exit_gain
    assert book.totals is not None, "the book is not attached to a venue"
    first_loss = venue.pools.share > 0
    lost = ledger.tree(moved.deleveraged)
    equity, profit = ledger.total(record.adl_equity), ledger.total(record.adl_profit)
    size_value = ledger.tree(state.unfunded_size * (market.mark - 1.0))
    shortfall = jnp.maximum(state.debt - (pool_capital(venue) + left), 0.0)
    owed = -state.unfunded_cash - size_value + ledger.tree(shortfall)
    finite = jnp.isfinite(ledger.total(state.cash)) & jnp.isfinite(ledger.total(state.size))
    leak = ~(moved.cash_residual <= bar), ~(moved.size_residual <= bar)
    closed = traces.flows(trace, book, venue).adl_size
    move = index_move(trace.index, book.totals.open_interest)
    flags = running.flags | jnp.where(finite, 0, NOT_FINITE)
    flags = flags | jnp.where(leak[0], CASH_LEAK, 0) | jnp.where(leak[1], SIZE_LEAK, 0)
    return PathMetrics(
        required_fund_cash=needs["need_cash"],
        required_fund=needs["need_exit"],
        capital_rule_fund=needs["need_rules"],
        adl_required_fund=running.adl_required,
        excess_draw=jnp.maximum(needs["need_exit"] - venue.capital, 0.0),
        depleted=needs["need_exit"] > venue.capital,
        depletion_time=running.depletion_time,
        intervened=running.adl_required > venue.capital,
        intervention_time=running.intervention_time,
        net_inflow=ledger.tree(jnp.where(first_loss, pools.inflow(state), 0.0)),
        vault_profit=ledger.tree(jnp.where(first_loss, left, 0.0)),
        owner_profit=ledger.tree(jnp.where(first_loss, 0.0, left)),
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
            f"adl_loss_{n}": ledger.total(closed * trace.mark[look]) - moved.adl_paid
            for n, look in later.items()
        },
        adl_equity=equity,
        adl_profit=profit,
        haircut=_ratio(moved.adl_loss_mark, equity, lost),
        pnl_haircut=_ratio(moved.adl_loss_mark, profit, lost),
        accounts_deleveraged=ledger.total(record.deleveraged),
        accounts_liquidated=ledger.total(record.liquidated),
        winner_bankrupted=moved.winner_bankrupted,
        naked_delta=moved.naked_delta,
        street_pnl=state.street_cash + ledger.tree(state.street_size * (market.mark - 1.0)),
        index_fall=jnp.maximum(-jnp.min(move), 0.0),
        index_rise=jnp.maximum(jnp.max(move), 0.0),
        leftover=-ledger.tree(exit_gain),
        leftover_notional=ledger.total(jnp.abs(state.pool_size) * market.mark[None]),
        ledger_cash=moved.cash_residual,
        ledger_size=moved.size_residual,
        flags=flags,
        log_weight=jnp.zeros((), ledger.DOUBLE),
    )


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


def look_ahead(dt) -> dict[str, Int[Array, " steps"]]:
    """For every step, the first step at or after 5 minutes, 60 minutes and the horizon."""
    time = jnp.cumsum(dt)
    last = dt.shape[0] - 1
    later = {
        name: jnp.minimum(jnp.searchsorted(time, time + (seconds - ROUNDING)), last)
        for name, seconds in LATER.items()
    }
    return later | {"horizon": jnp.full(dt.shape[0], last)}
