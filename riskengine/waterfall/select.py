"""Doing work only where it is needed, and finding a margin without a sort.

`guarded` is the one place where the engine knows about batches: under `vmap` a `lax.cond` would run
both branches for every path, so the guard gathers the paths that need the work, a few at a time, and
writes them back. `marginal` finds the score at which a quantity is reached by bisection on the bits
of the score: exact, without a sort, in an order that no batch can change.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float, Shaped, UInt

from riskengine.specs.book import Book
from riskengine.waterfall import ledger

PATHS_PER_ROW = 16  # of a batch, one path in so many is worked on at a time


def guarded(need: Callable, run: Callable, idle: Callable) -> Callable:
    """`run(*args)` on the paths where `need(*args)`, `idle(*args)` on the others.

    `run` must do what `idle` does wherever `need` is false; then skipping it changes no bit.
    """

    @custom_vmap
    def call(*args):
        return lax.cond(need(*args), run, idle, *args)

    @call.def_vmap
    def call_in_batch(axis_size, batched, *args):
        axes = jax.tree.map(lambda b: 0 if b else None, batched)
        result = jax.vmap(idle, in_axes=axes, axis_size=axis_size)(*args)
        needy = jax.vmap(need, in_axes=axes, axis_size=axis_size)(*args)
        count = jnp.cumsum(needy.astype(jnp.int32))
        width = max(1, axis_size // PATHS_PER_ROW)

        def more(carry):
            return carry[0] < count[-1]

        def some(carry):
            done, result = carry
            row = jnp.searchsorted(count, done + 1 + jnp.arange(width, dtype=jnp.int32))
            read = jnp.minimum(row, axis_size - 1)
            mine = jax.tree.map(lambda x, b: x[read] if b else x, args, tuple(batched))
            out = jax.vmap(run, in_axes=axes, axis_size=width)(*mine)
            result = jax.tree.map(
                lambda x, y: x.at[row].set(y, mode="drop", unique_indices=True), result, out
            )
            return done + width, result

        _, result = lax.while_loop(more, some, (jnp.int32(0), result))
        return result, jax.tree.map(lambda _: True, result)

    return call


def marginal(
    score: Float[Array, " positions"],
    signed: Float[Array, " positions"],
    wanted: Callable[[Float[Array, "2 markets"]], Float[Array, "2 markets"]],
    book: Book,
    pool_score: Float[Array, "pools markets"] | None = None,
    pool_signed: Float[Array, "pools markets"] | None = None,
) -> Float[Array, "2 markets"]:
    """Largest score θ such that the quantity with scores ≥ θ is at least wanted(θ).

    Per market, row 0 for positive (long) quantities and row 1 for negative ones. `wanted` must not
    fall with θ. NaN where nothing is wanted. Pools take part with scores and quantities of their own.
    """
    key = ledger.by_market(_ordered(score), book)
    slots = ledger.by_market(signed, book)
    quantity = jnp.stack([jnp.maximum(slots, 0), jnp.maximum(-slots, 0)])
    bits = key.dtype.itemsize * 8
    pools = None
    if pool_score is not None and pool_signed is not None:
        parts = jnp.stack([jnp.maximum(pool_signed, 0), jnp.maximum(-pool_signed, 0)])
        pools = (_ordered(pool_score.astype(score.dtype)), parts)

    def reached(threshold, side):
        at = ledger.market_spread(threshold[side], book)
        mass = ledger.market_sum(jnp.where(key >= at, quantity[side], 0), book)
        if pools is None:
            return mass
        pool_key, parts = pools
        return mass + ledger.tree(jnp.where(pool_key >= threshold[side][None], parts[side], 0.0))

    def refine(i, threshold):
        one = jnp.asarray(1, key.dtype)
        trial = threshold | (one << (bits - 1 - i).astype(key.dtype))
        mass = jnp.stack([reached(trial, 0), reached(trial, 1)])
        return jnp.where(mass >= wanted(_unordered(trial, score.dtype)), trial, threshold)

    markets = book.layout.number_of_markets
    threshold = lax.fori_loop(0, bits, refine, jnp.zeros((2, markets), key.dtype))
    return _unordered(threshold, score.dtype)


def _ordered(x: Float[Array, "*n"]) -> UInt[Array, "*n"]:
    """Bits of a float as an unsigned integer of the same order."""
    unsigned = jnp.uint64 if x.dtype == jnp.float64 else jnp.uint32
    bits = lax.bitcast_convert_type(x + 0.0, unsigned)  # −0 becomes 0
    sign = jnp.asarray(1, unsigned) << (unsigned(0).dtype.itemsize * 8 - 1)
    return jnp.where(bits & sign != 0, ~bits, bits | sign)


def _unordered(key: UInt[Array, "*n"], dtype) -> Shaped[Array, "*n"]:
    """The float whose `_ordered` bits these are."""
    sign = jnp.asarray(1, key.dtype) << (key.dtype.itemsize * 8 - 1)
    bits = jnp.where(key & sign != 0, key ^ sign, ~key)
    return lax.bitcast_convert_type(bits, dtype)
