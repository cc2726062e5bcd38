"""Who holds what on one path, what a step quotes, and what a stage moved."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Shaped

from riskengine.specs.book import Book
from riskengine.specs.scenario import OrderBook
from riskengine.specs.venue import Venue
from riskengine.types import pytree
from riskengine.waterfall import ledger


@pytree
class AccountRecord:
    """What has happened to each account so far."""

    liquidated: Bool[Array, " accounts"]
    adl_loss: Float[Array, " accounts"]  # USD against the mark, as a counterparty
    adl_equity: Float[Array, " accounts"]  # USD before the first ADL; 0 if never deleveraged
    adl_profit: Float[Array, " accounts"]  # USD, positive parts of the PnL at that moment
    deleveraged: Bool[Array, " accounts"]


@pytree
class State:
    """Every unit and every dollar, by holder (docs/model.md 1)."""

    size: Float[Array, " positions"]
    cash: Float[Array, " accounts"]
    dense_entry: Float[Array, "dense markets"]  # average entry of makers and `rest`
    cooldown: Float[Array, " cooling"]  # s; empty if not needed
    since: Float[Array, " remembered"]  # s since a liquidation began; −1: none; empty if not needed
    entered: Float[Array, " accounts"]  # health at the marks of this step, before any stage
    weakest: Float[Array, ""]  # lowest of them, `rest` aside
    lowest: Float[Array, " blocks"]  # of them, in each block of traders; empty if not needed
    record: AccountRecord

    pool_size: Float[Array, "pools markets"]
    pool_cash: Float[Array, " pools"]
    pool_basis: Float[Array, "pools markets"]
    inflow_peak: Float[Array, ""]  # running peak of the first-loss pools' net inflow
    pool_peak: Float[Array, " pools"]  # running peak of each pool's A + U
    pool_on: Float[Array, " pools"]  # 1 while its drawdown rule holds
    owner_paid: Float[Array, " pools"]  # USD that its owner has paid for a pool
    debt: Float[Array, " pools"]  # owed to the venue and not yet paid
    street_size: Float[Array, " markets"]
    street_cash: Float[Array, ""]
    fees: Float[Array, ""]
    unfunded_size: Float[Array, " markets"]
    unfunded_cash: Float[Array, ""]

    eaten: Float[Array, "2 markets"]  # taken from bids, asks and not yet replaced, units
    shift: Float[Array, " markets"]  # permanent log displacement of mid
    basis: Float[Array, " markets"]  # moving average of the log displacement
    mark_before: Float[Array, " markets"]


@pytree
class Quote:
    """What the scenario says about one step, or about all steps of a path."""

    index: Float[Array, "*steps markets"]
    depth: Float[Array, "*steps 2 markets"]  # units within 1 % of mid: bids, asks
    dt: Float[Array, "*steps"]


@pytree
class Market:
    """Prices of the step, as every stage sees them."""

    index: Float[Array, " markets"]
    depth: Float[Array, "2 markets"]
    dt: Float[Array, ""]
    mark: Float[Array, " markets"]
    mark_before: Float[Array, " markets"]
    order_book: OrderBook


DECIDING = ("entered", "weakest", "lowest", "cooldown", "since", "pool_on", "record")


def decided(state: State, before: State) -> State:
    """The state with what only decides or is only reported cut out of its derivatives.

    Healths and clocks are compared, and a comparison has no slope; records are read by nobody.
    What is the same array as `before` is left alone: guards do not write back what nobody changed.
    """

    def cut(now, then):
        return now if now is then else lax.stop_gradient(now)

    changes = {
        name: jax.tree.map(cut, getattr(state, name), getattr(before, name)) for name in DECIDING
    }
    return dataclasses.replace(state, **changes)


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


def _of(merge: str, seen: bool = False):
    """How a flow is merged, and whether derivatives of it are ever asked for."""
    return dataclasses.field(metadata={"merge": merge, "seen": seen})


@pytree
class Flows:
    """What a stage moved. Amounts of several stages add; needs and extremes take the larger."""

    liquidated: Float[Array, "2"] = _of("sum")  # USD, longs, shorts
    takeover: Float[Array, ""] = _of("sum")
    unwound: Float[Array, ""] = _of("sum")
    fees: Float[Array, ""] = _of("sum", seen=True)
    bad_debt: Float[Array, ""] = _of("sum", seen=True)
    fund_draw: Float[Array, ""] = _of("sum", seen=True)
    social_loss: Float[Array, ""] = _of("sum", seen=True)
    deleveraged: Float[Array, "2"] = _of("sum")  # USD at mark, counterparties' longs, shorts
    unmatched: Float[Array, ""] = _of("sum")
    adl_size: Float[Array, " markets"] = _of("sum")  # signed units that counterparties closed
    adl_paid: Float[Array, ""] = _of("sum")  # Σ adl_size · price received
    adl_loss_mark: Float[Array, ""] = _of("sum", seen=True)
    adl_loss_index: Float[Array, ""] = _of("sum", seen=True)
    winner_bankrupted: Float[Array, ""] = _of("sum")
    naked_delta: Float[Array, ""] = _of("sum")
    need_cash: Float[Array, " pools"] = _of("max")  # capital with which each rule stays slack
    need_exit: Float[Array, " pools"] = _of("max", seen=True)
    need_rules: Float[Array, " pools"] = _of("max")
    account_adl: Float[Array, ""] = _of("max")  # 1 where an account was deleveraged
    worst_loss: Float[Array, ""] = _of("max")  # −Σ(A + U) over first-loss pools
    cash_residual: Float[Array, ""] = _of("max")  # of the ledger, share of gross cash
    size_residual: Float[Array, ""] = _of("max")  # share of open interest
    drawdown: Float[Array, ""] = _of("max")  # fall of Σ A from its peak


def _shapes(markets: int, pools: int) -> dict[str, tuple[int, ...]]:
    """Shape of every field of the flows."""
    shapes = {"liquidated": (2,), "deleveraged": (2,), "adl_size": (markets,)}
    shapes |= dict.fromkeys(("need_cash", "need_exit", "need_rules"), (pools,))
    return {field.name: shapes.get(field.name, ()) for field in dataclasses.fields(Flows)}


def _shapes_of(book: Book, venue: Venue) -> dict[str, tuple[int, ...]]:
    return _shapes(book.layout.number_of_markets, len(venue.pools.names))


def no_flows(markets: int, pools: int, **moved: Shaped[Array, "..."]) -> Flows:
    """Flows that are zero but for what is named."""
    given = {name: x.astype(ledger.DOUBLE) for name, x in moved.items()}
    missing = {n: s for n, s in _shapes(markets, pools).items() if n not in given}
    return Flows(**given, **{n: jnp.zeros(s, ledger.DOUBLE) for n, s in missing.items()})


def flows(book: Book, venue: Venue, **moved: Shaped[Array, "..."]) -> Flows:
    """Flows of a stage of this book and venue."""
    return no_flows(book.layout.number_of_markets, len(venue.pools.names), **moved)


def vector(moved: Flows) -> Float[Array, " flows"]:
    """Flows as one vector, which the stages of a step add up; derivatives see some of them."""
    flat = []
    for field in dataclasses.fields(Flows):
        x = getattr(moved, field.name).reshape(-1)
        flat.append(x if field.metadata["seen"] else lax.stop_gradient(x))
    return jnp.concatenate(flat)


def from_vector(values: Float[Array, " flows"], book: Book, venue: Venue) -> Flows:
    """The record of a vector of flows."""
    shapes = _shapes_of(book, venue)
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])[:-1]
    pieces = zip(shapes.items(), jnp.split(values, ends), strict=True)
    return Flows(**{name: piece.reshape(shape) for (name, shape), piece in pieces})


def places(markets: int, pools: int) -> dict[str, slice]:
    """Where each flow lies in a vector of flows."""
    sizes = {name: math.prod(shape) for name, shape in _shapes(markets, pools).items()}
    ends = np.cumsum(list(sizes.values())).tolist()
    return {n: slice(end - size, end) for (n, size), end in zip(sizes.items(), ends, strict=True)}


def merge(first, second, book: Book, venue: Venue) -> Float[Array, " flows"]:
    """What two stages moved together, as vectors."""
    shapes = _shapes_of(book, venue)
    larger = [
        np.full(math.prod(shapes[field.name]), field.metadata["merge"] == "max")
        for field in dataclasses.fields(Flows)
    ]
    return jnp.where(np.concatenate(larger), jnp.maximum(first, second), first + second)


def combined(steps: Flows) -> Flows:
    """What all steps moved together, from flows with a leading axis of steps."""
    together = {"sum": ledger.tree, "max": lambda x: jnp.max(x, axis=0)}
    fields = dataclasses.fields(Flows)
    return Flows(**{f.name: together[f.metadata["merge"]](getattr(steps, f.name)) for f in fields})
