"""A path step by step: what a replay shows (docs/output.md)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from riskengine.specs.book import Book
from riskengine.specs.venue import Venue, pool_capital
from riskengine.types import pytree
from riskengine.waterfall import ledger, pools, price
from riskengine.waterfall.state import Flows, Market, State, from_vector


@pytree
class Trace:
    """What a path looked like at the end of each step. USD; prices relative to the opening mark."""

    index: Float[Array, "*steps markets"]
    mark: Float[Array, "*steps markets"]
    mid: Float[Array, "*steps markets"]
    depth: Float[Array, "*steps 2 markets"]  # units within 1 % of mid: bids, asks
    gain: Float[Array, "*steps"]  # A + U of the first-loss pools, inventory at the mark
    exit_gain: Float[Array, "*steps"]  # A + U_exit of them, inventory at its exit price
    cash_gain: Float[Array, "*steps"]  # A of the first-loss pools
    inventory: Float[Array, "*steps"]  # of all pools, at the mark, long and short
    unfunded: Float[Array, "*steps"]
    moved: Float[Array, "*steps flows"]  # by the stages in this step


KEPT = (
    "pool_size", "pool_cash", "pool_basis", "debt", "unfunded_size", "unfunded_cash", "eaten",
    "shift",
)  # fmt: skip


def kept(state: State) -> dict[str, Array]:
    """The parts of a state that `look` reads."""
    return {name: getattr(state, name) for name in KEPT}


def look(state: State, market: Market, moved: Float[Array, " flows"], venue: Venue) -> Trace:
    """One step, after its stages."""
    first_loss = venue.pools.share > 0
    change, paid_in = pools.equity_change(state, market), pools.inflow(state)
    held = jnp.abs(state.pool_size) * market.mark[None]
    left = paid_in + pools.exit_gain(state, market)
    shortfall = jnp.maximum(state.debt - (pool_capital(venue) + left), 0.0)
    nobody = -state.unfunded_cash - ledger.tree(state.unfunded_size * (market.mark - 1.0))
    return Trace(
        index=market.index,
        mark=market.mark,
        mid=price.mid(state, market),
        depth=market.depth,
        gain=ledger.tree(jnp.where(first_loss, change, 0.0)),
        exit_gain=ledger.tree(jnp.where(first_loss, left, 0.0)),
        cash_gain=ledger.tree(jnp.where(first_loss, paid_in, 0.0)),
        inventory=ledger.tree(ledger.tree(held.T)),
        unfunded=nobody + ledger.tree(shortfall),
        moved=moved,
    )


def flows(trace: Trace, book: Book, venue: Venue) -> Flows:
    """What the stages moved, step by step."""
    return jax.vmap(lambda moved: from_vector(moved, book, venue))(trace.moved)
