"""Doing work only where it is needed, and finding a margin without a sort.

`guarded` is the one place where the engine knows about batches: under `vmap` a `lax.cond` would run
both branches for every path, so the guard gathers the paths that need the work, a few at a time, and
writes them back. `marginal` finds the score at which a quantity is reached by bisection on the bits
of the score: exact, without a sort, in an order that no batch can change.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float, Int, Shaped, UInt

from riskengine.specs.book import Book
from riskengine.waterfall import ledger, slopes

ROWS_PER_PASS = 16  # on a GPU: of so many paths, one is worked on at a time
SMALL = 512  # numbers; leaves up to this size travel through a guard's loop side by side


@dataclasses.dataclass(frozen=True)
class Packing:
    """How to put the small float64 leaves of a record side by side.

    A loop copies the leaves that it carries one by one, and a record has dozens of small ones.
    """

    structure: Any  # of the record
    shapes: tuple[tuple[int, ...], ...]
    small: tuple[bool, ...]

    @classmethod
    def of(cls, record) -> "Packing":
        leaves, structure = jax.tree.flatten(record)
        shapes = tuple(x.shape for x in leaves)
        small = tuple(x.dtype == jnp.float64 and x.size <= SMALL for x in leaves)
        return cls(structure, shapes, small)

    def pack(self, record) -> list[Array]:
        """The large leaves, then all small ones in one vector."""
        leaves = jax.tree.leaves(record)
        flat = [x.reshape(-1) for x, s in zip(leaves, self.small, strict=True) if s]
        return [x for x, s in zip(leaves, self.small, strict=True) if not s] + [
            jnp.concatenate(flat)
        ]

    def unpack(self, packed: list[Array]):
        """The record again."""
        large, position, leaves = iter(packed[:-1]), 0, []
        for is_small, shape in zip(self.small, self.shapes, strict=True):
            if not is_small:
                leaves.append(next(large))
                continue
            size = math.prod(shape)
            leaves.append(packed[-1][position : position + size].reshape(shape))
            position += size
        return jax.tree.unflatten(self.structure, leaves)


class Whole:
    """What a guard's work sees of a path, and where it writes: everything (or a `part.Part`)."""

    def take(self, x, args):
        """What the work gets, and from where."""
        return x, args, None

    def put(self, leaf: int, every, own, row, where):
        """A leaf of all paths, by number, with what the work left of some; row None: of one alone."""
        if row is None:
            return own
        if jnp.ndim(row) == 0:
            return every.at[row].set(own)
        return every.at[row].set(own, mode="drop", unique_indices=True)


WHOLE = Whole()


def guarded(need: Callable, run: Callable, view: Any = WHOLE) -> Callable:
    """`run(x, *args)` on the paths where `need(x, *args)`; `x` unchanged on the others.

    `run` must leave `x` as it is, to the bit, wherever `need` is false. It works through a `view`: on
    all of a path, or on a part of it. Derivatives pass through as guards, too (`slopes`).
    """
    run = jax.jit(run)  # traced once, though it stands in more than one place below

    def work(x, args, turn):
        # tied to the loop's counter, or XLA would hoist the work out of the guard
        (x, args), _ = lax.optimization_barrier(((x, args), turn))
        return run(x, *args)

    def split_of(x, args):
        return _Split.of(run, *jax.eval_shape(lambda x, args: view.take(x, args)[:2], x, args))

    def whole(x, *args):
        """The work on one path."""
        split = split_of(x, args)
        mine, given, where = view.take(x, args)
        moving, still = split.apart(x)
        out, _ = split.apart(run(mine, *given))
        return split.whole(split.put(view, moving, out, None, where), still)

    @custom_vmap
    def call(x, *args):
        split = split_of(x, args)
        moving, still = split.apart(x)

        def once(carry):
            turn, moving = carry
            mine, given, where = view.take(split.whole(moving, still), args)
            out, _ = split.apart(work(mine, given, turn))
            return turn + 1, split.put(view, moving, out, None, where)

        turns = need(x, *args).astype(jnp.int32)
        _, moving = lax.while_loop(lambda c: c[0] < turns, once, (jnp.int32(0), moving))
        return split.whole(moving, still)

    @call.def_vmap
    def call_in_batch(axis_size, batched, x, *args):
        axes = jax.tree.map(lambda b: 0 if b else None, tuple(batched[1:]))
        x = jax.tree.map(
            lambda v, b: v if b else jnp.broadcast_to(v, (axis_size, *jnp.shape(v))), x, batched[0]
        )
        needy = jax.vmap(need, in_axes=(0, *axes), axis_size=axis_size)(x, *args)
        count = _running_count(needy)
        width = _width(axis_size)

        def rows(tree, read):
            return jax.tree.map(
                lambda v, a: v if a is None else v[read], tree, axes, is_leaf=lambda v: v is None
            )

        split = split_of(jax.tree.map(lambda v: v[0], x), rows(args, 0))
        moving, still = split.apart(x)

        def some(carry):
            """The next paths that need the work; numbers beyond the last path are dropped."""
            turn, moving = carry
            wanted = turn + 1 + jnp.arange(width, dtype=jnp.int32)
            row = jnp.searchsorted(count, wanted, method="compare_all")  # no loop inside the loop
            whole = split.whole(moving, still)
            if width == 1:
                row = row[0]
                mine = jax.tree.map(lambda v: v[row], whole)
                mine, given, where = view.take(mine, rows(args, row))
                out, _ = split.apart(work(mine, given, turn))
                return turn + 1, split.put(view, moving, out, row, where)
            read = jnp.minimum(row, axis_size - 1)

            def one(mine, given):
                mine, given, where = view.take(mine, given)
                return work(mine, given, turn), where

            mine = jax.tree.map(lambda v: v[read], whole)
            out, where = jax.vmap(one, in_axes=(0, axes), axis_size=width)(mine, rows(args, read))
            return turn + width, split.put(view, moving, split.apart(out)[0], row, where)

        _, moving = lax.while_loop(lambda c: c[0] < count[-1], some, (jnp.int32(0), moving))
        return split.whole(moving, still), jax.tree.map(lambda _: True, x)

    return slopes.through(guarded, need, whole, call)


def _running_count(flags: Bool[Array, " paths"]) -> Int[Array, " paths"]:
    """How many flags are set up to each; for the few paths of a batch faster than a cumsum."""
    path = jnp.arange(flags.shape[0], dtype=jnp.int32)
    upto = flags[None] & (path[None] <= path[:, None])
    return jnp.sum(upto.astype(jnp.int32), axis=1, dtype=jnp.int32)


def _width(paths: int) -> int:
    """How many paths a guard works on at a time.

    On a CPU one, whatever the batch: XLA rounds work on several paths at a time differently, and a
    path's bits must not depend on how many others run beside it.
    """
    return 1 if jax.default_backend() == "cpu" else max(1, paths // ROWS_PER_PASS)


@dataclasses.dataclass(frozen=True)
class _Split:
    """Leaves that `run` may change, which a loop carries, and those that it returns as they are."""

    structure: Any
    changed: tuple[bool, ...]

    @classmethod
    def of(cls, run: Any, x, args) -> "_Split":
        shapes = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), (x, *args))
        program = run.trace(*shapes).jaxpr.jaxpr
        leaves, structure = jax.tree.flatten(x)
        given = program.invars[: len(leaves)]
        pairs = zip(program.outvars, given, strict=True)
        return cls(structure, tuple(new is not old for new, old in pairs))

    def apart(self, x) -> tuple[list[Array], list[Array]]:
        leaves = jax.tree.leaves(x)
        moving = [v for v, c in zip(leaves, self.changed, strict=True) if c]
        return moving, [v for v, c in zip(leaves, self.changed, strict=True) if not c]

    def put(self, view, moving: list[Array], out: list[Array], row, where) -> list[Array]:
        """What moves, with what the work left of it."""
        leaf = [i for i, changed in enumerate(self.changed) if changed]
        return [view.put(*each, row, where) for each in zip(leaf, moving, out, strict=True)]

    def whole(self, moving: list[Array], still: list[Array]):
        first, second = iter(moving), iter(still)
        return jax.tree.unflatten(
            self.structure, [next(first) if c else next(second) for c in self.changed]
        )


@dataclasses.dataclass(frozen=True)
class Ranked:
    """Scored quantities per market and side: row 0 long (positive), row 1 short (negative).

    Scores are kept as unsigned integers of the same order, positions market by market. Pools take
    part with scores and quantities of their own.
    """

    score: UInt[Array, " market_slots"]
    quantity: tuple[Float[Array, " market_slots"], Float[Array, " market_slots"]]
    pool_score: UInt[Array, "pools markets"]
    pool_quantity: tuple[Float[Array, "pools markets"], Float[Array, "pools markets"]]
    asked: Bool[Array, "2"]  # sides that anybody asks for; the other need no work
    dtype: Any
    book: Book

    @classmethod
    def of(cls, score, signed, book: Book, pool_score, pool_signed) -> "Ranked":
        score, signed, pool_score, pool_signed = lax.stop_gradient(  # no gradient sees an order
            (score, signed, pool_score, pool_signed)
        )
        slots = ledger.by_market(signed, book)
        return cls(
            score=ledger.by_market(_ordered(score), book),
            quantity=(jnp.maximum(slots, 0), jnp.maximum(-slots, 0)),
            pool_score=_ordered(pool_score.astype(score.dtype)),
            pool_quantity=(jnp.maximum(pool_signed, 0.0), jnp.maximum(-pool_signed, 0.0)),
            asked=jnp.stack([jnp.any(slots > 0), jnp.any(slots < 0)]),
            dtype=score.dtype,
            book=book,
        )

    def at_least(self, threshold: UInt[Array, "2 markets"]) -> Float[Array, "2 markets"]:
        """Quantity whose score is at least the threshold."""

        def accounts(side):
            inside = self.score >= ledger.market_spread(threshold[side], self.book)
            return ledger.market_sum(jnp.where(inside, self.quantity[side], 0), self.book)

        def nobody():
            return jnp.zeros(threshold.shape[1], ledger.DOUBLE)

        sums = []
        for side in (0, 1):
            pools = self.pool_score >= threshold[side][None]
            sums.append(
                lax.cond(self.asked[side], functools.partial(accounts, side), nobody)
                + ledger.tree(jnp.where(pools, self.pool_quantity[side], 0.0))
            )
        return jnp.stack(sums)

    def nearest(self, prefix: UInt[Array, "2 markets"], bits: int):
        """Smallest and largest score of each row that begins with the top bits of `prefix`."""
        lowest, highest = [], []
        for side in (0, 1):
            mine = ledger.market_spread(prefix[side] >> bits, self.book)
            inside = (self.score >> bits == mine) & (self.quantity[side] > 0)
            pools = (self.pool_score >> bits == (prefix[side] >> bits)[None]) & (
                self.pool_quantity[side] > 0
            )
            most = jnp.iinfo(self.score.dtype).max
            for found, fill, least in ((lowest, most, True), (highest, 0, False)):
                slots = jnp.where(inside, self.score, jnp.asarray(fill, self.score.dtype))
                own = jnp.where(pools, self.pool_score, jnp.asarray(fill, self.score.dtype))
                best = ledger.market_extreme(slots, self.book, least)
                pool = own.min(0) if least else own.max(0)
                found.append(jnp.minimum(best, pool) if least else jnp.maximum(best, pool))
        return jnp.stack(lowest), jnp.stack(highest)


def marginal(ranked: Ranked, wanted: Float[Array, "2 markets"]) -> Float[Array, "2 markets"]:
    """Score at which, counted from the top, the quantity wanted is reached: the marginal score.

    It is built bit by bit: a bit is set where enough quantity still lies at or above. After half of
    the bits one score is usually left in every row; only if not, the other half is searched.
    """
    half, wanted = ranked.score.dtype.itemsize * 4, lax.stop_gradient(wanted)
    ranked = dataclasses.replace(ranked, asked=ranked.asked & jnp.any(wanted > 0, axis=1))

    def enough(threshold):
        return ranked.at_least(threshold) >= wanted

    threshold = _search(enough, ranked, half, half, jnp.zeros(wanted.shape, ranked.score.dtype))
    lowest, highest = ranked.nearest(threshold, half)
    unsettled = jnp.any((lowest < highest) & (wanted > 0))
    fine = _search(enough, ranked, 0, jnp.where(unsettled, half, 0), threshold)
    return _unordered(jnp.where(unsettled, fine, highest), ranked.dtype)


def crossing(
    ranked: Ranked, offered: Callable[[Float[Array, "2 markets"]], Float[Array, "2 markets"]]
) -> Float[Array, "2 markets"]:
    """Largest x with offered(x) ≤ the quantity whose score is at least x; `offered` may not fall."""
    bits = ranked.score.dtype.itemsize * 8

    def inside(threshold):
        here = lax.stop_gradient(offered(_unordered(threshold, ranked.dtype)))
        return ranked.at_least(threshold) >= here

    start = jnp.zeros((2, ranked.book.layout.number_of_markets), ranked.score.dtype)
    return _unordered(_search(inside, ranked, 0, bits, start), ranked.dtype)


def _search(holds: Callable, ranked: Ranked, lowest: int, count, threshold):
    """Set `count` bits from above down to bit `lowest`, each where `holds` stays true."""
    one = jnp.asarray(1, ranked.score.dtype)

    def refine(i, threshold):
        place = (lowest + count - 1 - i).astype(one.dtype)
        trial = threshold | (one << place)
        return jnp.where(holds(trial), trial, threshold)

    return lax.fori_loop(0, count, refine, threshold)


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
