"""The venue's own capital: what a pool has, what it holds, and how much it would need."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from riskengine.specs.venue import Venue, exceeds, pool_capital
from riskengine.waterfall import formulas, ledger, margin, price
from riskengine.waterfall.state import Market, State


def of_pools(x: Float[Array, " markets"], venue: Venue) -> Float[Array, " pools"]:
    """Sum over the markets of each pool."""
    return ledger.tree(jnp.where(serves(venue), x[None], 0.0).T)


def serves(venue: Venue):
    """Which pool serves which market (pools, markets)."""
    each = jnp.arange(len(venue.pools.names), dtype=venue.pools.of_market.dtype)
    return venue.pools.of_market[None] == each[:, None]


def to_markets(x: Float[Array, " pools"], venue: Venue) -> Float[Array, " markets"]:
    """Give every market the value of its pool."""
    return ledger.tree(jnp.where(serves(venue), x[:, None], 0.0))


def inflow(state: State) -> Float[Array, " pools"]:
    """A: realised net inflow of each pool since the start."""
    return state.pool_cash + ledger.tree(state.pool_basis.T)


def balance(state: State, venue: Venue) -> Float[Array, " pools"]:
    """Capital + A: money that a pool can spend."""
    return pool_capital(venue) + inflow(state)


def pay(
    due: Float[Array, " pools"], state: State, venue: Venue
) -> tuple[Float[Array, " pools"], Float[Array, " pools"]]:
    """What each pool can pay of an amount due, and the capital with which it could pay all.

    The rule `loss`: the need, due − A, exceeds the capital exactly where not everything is paid.
    """
    asked = due > 0
    need = jnp.where(asked, due - inflow(state), 0.0)
    short = exceeds(need, venue)
    can = formulas.fund_payment(balance(state, venue), due, jnp.minimum, jnp.maximum)
    return jnp.where(asked, jnp.where(short, can, due), 0.0), need


def gain(state: State, at: Float[Array, "pools markets"]) -> Float[Array, " pools"]:
    """Unrealised profit of the inventory at given prices."""
    return ledger.tree((state.pool_size * (at - 1.0) - state.pool_basis).T)


def equity_change(state: State, market: Market) -> Float[Array, " pools"]:
    """A + U: change of each pool's equity at the mark since the start."""
    return inflow(state) + gain(state, at_mark(state, market))


def at_mark(state: State, market: Market) -> Float[Array, "pools markets"]:
    """The mark, for every pool."""
    return jnp.broadcast_to(market.mark, state.pool_size.shape)


def exit_price(state: State, market: Market) -> Float[Array, "pools markets"]:
    """What each pool would get for its whole inventory in the book as it is; at best the mark."""
    rows = []
    for size in state.pool_size:
        sold = jnp.stack([jnp.maximum(size, 0.0), jnp.maximum(-size, 0.0)])
        bid, ask = price.fill_price(state, sold, market)
        long = jnp.minimum(market.mark, bid)
        short = jnp.maximum(market.mark, ask)
        rows.append(jnp.where(size > 0, long, jnp.where(size < 0, short, market.mark)))
    return jnp.stack(rows)


def exit_gain(state: State, market: Market) -> Float[Array, " pools"]:
    """U_exit: unrealised profit of the inventory at its exit price."""
    return gain(state, exit_price(state, market))


def requirement(state: State, market: Market, venue: Venue) -> Float[Array, "pools markets"]:
    """Maintenance margin of the inventory, by the tiers of the markets."""
    value = jnp.abs(state.pool_size) * market.mark[None]
    spread = {
        n: getattr(venue.margin, n)[:, None] for n in ("floor", "ratio", "deduction", "initial")
    }
    spread["premium"] = venue.margin.premium[None]
    tiers = dataclasses.replace(venue.margin, **spread)
    return margin.maintenance(value, state.pool_size, tiers)


def margin_need(state: State, market: Market, venue: Venue) -> Float[Array, " pools"]:
    """Capital with which no pool is deleveraged: θ M − (A + U)."""
    required = ledger.tree(requirement(state, market, venue).T)
    holds = ledger.tree(jnp.abs(state.pool_size).T) > 0
    need = venue.pools.margin_multiple * required - equity_change(state, market)
    return jnp.where(holds, need, 0.0)


def _fall(state: State, market: Market) -> Float[Array, " pools"]:
    """DD: how far A + U has fallen from its peak."""
    return state.pool_peak - equity_change(state, market)


def drawdown_need(state: State, market: Market, venue: Venue) -> Float[Array, " pools"]:
    """Capital with which no drawdown rule starts: DD / r − peak."""
    fall = _fall(state, market)
    return jnp.where(fall > 0, fall / venue.pools.drawdown - state.pool_peak, 0.0)


def switch(state: State, market: Market, venue: Venue) -> State:
    """Drawdown rules start where their need exceeds the capital, and hold until the fall is smaller."""
    starts = exceeds(drawdown_need(state, market, venue), venue)
    ends = _fall(state, market) < venue.pools.release * (pool_capital(venue) + state.pool_peak)
    holds = starts | ((state.pool_on > 0) & ~ends)
    return dataclasses.replace(state, pool_on=holds.astype(state.pool_on.dtype))


RULE_NEEDS = {"margin": margin_need, "drawdown": drawdown_need}  # of rules that `adl` decides by


def trade(
    state: State, change: Float[Array, "pools markets"], at: Float[Array, "pools markets"]
) -> State:
    """Add signed quantities to the inventory at given prices; the basis is kept at average cost."""
    held = state.pool_size
    opposes = held * change < 0
    closed = jnp.where(opposes, jnp.minimum(jnp.abs(change), jnp.abs(held)), 0.0)
    kept = 1.0 - closed / jnp.where(opposes, jnp.abs(held), 1.0)
    opened = jnp.sign(change) * (jnp.abs(change) - closed)
    return dataclasses.replace(
        state,
        pool_size=held + change,
        pool_basis=state.pool_basis * kept + opened * (at - 1.0),
        pool_cash=state.pool_cash - ledger.tree((change * (at - 1.0)).T),
    )


def note(state: State, market: Market, venue: Venue) -> tuple[State, dict[str, Array]]:
    """Needs of every pool after a ledger entry (docs/model.md 5), and extremes of the capital."""
    inflows = inflow(state)
    gains = exit_gain(state, market)
    change = equity_change(state, market)
    first_loss = venue.pools.share > 0
    paid_in = ledger.total(jnp.where(first_loss, inflows, 0.0))
    worth = ledger.total(jnp.where(first_loss, change, 0.0))
    peak = jnp.maximum(state.inflow_peak, paid_in)
    if "drawdown" in venue.pools.triggers:
        state = dataclasses.replace(state, pool_peak=jnp.maximum(state.pool_peak, change))
    moved = dict(
        need_cash=state.debt - inflows,
        need_exit=state.debt - (inflows + gains),
        worst_loss=-worth,
        drawdown=peak - paid_in,
    )
    return dataclasses.replace(state, inflow_peak=peak), moved
