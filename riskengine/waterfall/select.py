"""Doing work only where it is needed, and finding a margin without a sort.

`guarded` is the one place where the engine knows about batches: under `vmap` a `lax.cond` would run
both branches for every path, so the guard gathers the paths that need the work, a few at a time, and
writes them back. `marginal` finds the score at which a quantity is reached by bisection on the bits
of the score: exact, without a sort, in an order that no batch can change.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float, Shaped, UInt

from riskengine.specs.book import Book
from riskengine.waterfall import ledger

ROWS_PER_PASS = 16  # of so many paths, one is worked on at a time
SMALL = 512  # numbers; leaves up to this size travel through a guard's loop side by side


def guarded(need: Callable, run: Callable, idle: Callable, threads: bool = False) -> Callable:
    """`run(*args)` on the paths where `need(*args)`, `idle(*args)` on the others.

    `run` must do what `idle` does wherever `need` is false; then skipping it changes no bit. With
    `threads` the first result is the first argument carried on, so that it is updated in place.
    """
    run = jax.jit(run, inline=True)  # traced once, though it stands in more than one place below

    def work(result, args, turn):
        given = (result[0], *args[1:]) if threads else args
        # tied to the loop's counter, or XLA would hoist the work out of the guard
        given, _ = lax.optimization_barrier((given, turn))
        return run(*given)

    @custom_vmap
    def call(*args):
        pack, unpack = _packing(result := idle(*args), batch=False)

        def once(carry):
            turn, packed = carry
            return turn + 1, pack(work(unpack(packed), args, turn))

        turns = need(*args).astype(jnp.int32)
        return unpack(lax.while_loop(lambda c: c[0] < turns, once, (0, pack(result)))[1])

    @call.def_vmap
    def call_in_batch(axis_size, batched, *args):
        axes = jax.tree.map(lambda b: 0 if b else None, tuple(batched))
        result = jax.vmap(idle, in_axes=axes, axis_size=axis_size)(*args)
        count = jnp.cumsum(
            jax.vmap(need, in_axes=axes, axis_size=axis_size)(*args).astype(jnp.int32)
        )
        width = max(1, axis_size // ROWS_PER_PASS)
        pack, unpack = _packing(result, batch=True)
        pack_one, unpack_one = _packing(jax.tree.map(lambda x: x[0], result), batch=False)
        if threads:  # the first argument is taken from the result so far
            args, axes = (None, *args[1:]), (None, *axes[1:])

        def row_of(turn):
            """Numbers of the next paths that need the work; out of range at the end."""
            return jnp.searchsorted(count, turn + 1 + jnp.arange(width, dtype=jnp.int32))

        def one(carry):
            turn, packed = carry
            row = row_of(turn)[0]
            mine = jax.tree.map(lambda x, a: x if a is None else x[row], args, axes, is_leaf=_none)
            out = pack_one(work(unpack_one([x[row] for x in packed]), mine, turn))
            return turn + 1, [x.at[row].set(y) for x, y in zip(packed, out, strict=True)]

        def some(carry):
            turn, packed = carry
            row = row_of(turn)
            read = jnp.minimum(row, axis_size - 1)
            mine = jax.tree.map(lambda x, a: x if a is None else x[read], args, axes, is_leaf=_none)
            each = (0, axes, None)
            out = jax.vmap(work, in_axes=each, axis_size=width)(
                unpack([x[read] for x in packed]), mine, turn
            )
            out = [
                x.at[row].set(y, mode="drop", unique_indices=True)
                for x, y in zip(packed, pack(out), strict=True)
            ]
            return turn + width, out

        body = one if width == 1 else some
        begin = (jnp.int32(0), pack(result))
        _, packed = lax.while_loop(lambda c: c[0] < count[-1], body, begin)
        return unpack(packed), jax.tree.map(lambda _: True, result)

    return call


def _none(x) -> bool:
    return x is None


def _packing(tree, batch: bool):
    """Put small float64 leaves side by side: a loop copies its leaves one by one."""
    leaves, structure = jax.tree.flatten(tree)
    lead = 1 if batch else 0
    shapes = [x.shape[lead:] for x in leaves]
    small = [
        x.dtype == jnp.float64 and math.prod(s) <= SMALL
        for x, s in zip(leaves, shapes, strict=True)
    ]

    def pack(tree):
        leaves = jax.tree.leaves(tree)
        flat = [x.reshape(*x.shape[:lead], -1) for x, s in zip(leaves, small, strict=True) if s]
        large = [x for x, s in zip(leaves, small, strict=True) if not s]
        return [*large, jnp.concatenate(flat, axis=lead)] if flat else large

    def unpack(packed):
        large, position, leaves = iter(packed), 0, []
        for is_small, shape in zip(small, shapes, strict=True):
            if not is_small:
                leaves.append(next(large))
                continue
            size = math.prod(shape)
            piece = packed[-1][..., position : position + size]
            leaves.append(piece.reshape(*piece.shape[:lead], *shape))
            position += size
        return jax.tree.unflatten(structure, leaves)

    return pack, unpack


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
