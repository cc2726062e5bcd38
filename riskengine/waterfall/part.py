"""A large book in part: a stage works on the blocks of accounts that it concerns.

Accounts that would fall together lie together (`specs.book`), so those that are weak at one mark
share a few blocks. A part is a book of its own, of some of the blocks and of makers and `rest`: a
stage runs on it as on any book, and what it leaves is written back. Nobody outside is concerned, so
the stage does there what it would do on the whole; its sums leave out zeros, in an order that the
path alone decides.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from riskengine.specs.book import Book, Layout
from riskengine.waterfall import ledger, margin, select
from riskengine.waterfall.state import totals

SMALL, WIDE = 12, 48  # blocks of a part: enough for the weak in 9 of 10 steps, for most queues
OF_POSITIONS, OF_ACCOUNTS = ("size",), ("cash", "cooldown", "since", "entered", "record")


Packed = list[Array]  # a state and what was moved, as `select.Packing` puts them
Stage = Callable[..., Packed]  # of (packed, market, book, venue)


def on_weak(need, run: Callable, reach: Callable, packing: select.Packing, layout: Layout) -> Stage:
    """A stage that concerns accounts with a health below `reach(venue)` and makers alone."""
    return _guarded(need, run, _of_weak(reach, packing, layout))


def on_queue(
    cheap, exact, run: Callable, reach: Callable, line: Callable, packing, layout: Layout
) -> Stage:
    """A stage that closes weak accounts against the first of a queue.

    Whether it is needed at all is looked at where a cheap condition holds, among weak accounts; where
    it is, `line(state, market, book, venue, blocks)` says when each block has its turn, and whether
    so many hold all whose turn comes.
    """
    weak = _of_weak(reach, packing, layout, looks=True)
    look = _guarded(lambda flag, *args: cheap(*args), lambda flag, *args: exact(*args), weak[:1])
    find = select.guarded(
        lambda found, packed, flag, *args: flag,
        lambda found, packed, flag, *args: line(packing.unpack(packed)[0], *args, WIDE),
    )
    queue = Part(
        WIDE,
        lambda packed, flag, found, *args: found[0],
        lambda packed, flag, found, *args: found[1],
        packing,
        layout,
    )
    close = _guarded(
        lambda packed, flag, *args: flag,
        lambda packed, flag, found, *args: run(packed, *args),
        [queue],
    )

    def stage(packed, market, book, venue):
        flag = look(jnp.asarray(False), packed, market, book, venue)
        unknown = jnp.zeros(layout.blocks, book.size.dtype), jnp.asarray(False)
        found = find(unknown, packed, flag, market, book, venue)
        return close(packed, flag, found, market, book, venue)

    return stage


def _of_weak(reach, packing: select.Packing, layout: Layout, looks: bool = False) -> "list[Part]":
    """Parts that hold all accounts with a health below the reach, the weakest first."""

    def lowest(*known):
        state, _ = packing.unpack(known[looks])
        return state.lowest.astype(state.size.dtype)

    def holds(size):
        def on_path(*known):
            weak = lowest(*known) < reach(known[-1])
            return jnp.sum(weak.astype(jnp.int32), dtype=jnp.int32) <= size

        return on_path

    def turn(*known):
        return -lowest(*known)

    return [Part(size, turn, holds(size), packing, layout, looks) for size in (SMALL, WIDE)]


def _guarded(need: Callable, run: Callable, parts: "Sequence[Part]") -> Callable:
    """As `select.guarded`, on the first of the parts that holds everybody concerned, or on the whole."""

    def on(view: "Part | select.Whole", smaller: "Sequence[Part]") -> Callable:
        def needed(x, *args):
            here = view.holds(x, *args) if isinstance(view, Part) else True
            for part in smaller:
                here = here & ~part.holds(x, *args)
            return need(x, *args) & here

        return select.guarded(needed, run, view)

    guards = [on(view, parts[:i]) for i, view in enumerate([*parts, select.WHOLE])]

    def call(x, *args):
        for guard in guards:
            x = guard(x, *args)
        return x

    return call


@dataclasses.dataclass(frozen=True)
class Part:
    """So many blocks of a large book: what a guard's work sees of a path, and where it writes.

    `turn(x, *args)` orders blocks, those first that must be there; `holds(x, *args)` says whether
    they fit. The work may not change the answers.
    """

    blocks: int
    turn: Callable
    holds: Callable
    packing: select.Packing
    layout: Layout  # of the whole book
    looks: bool = False  # the state is the first of `args`: the work only looks at it

    def take(self, x, args) -> tuple[Any, tuple, Int[Array, " chosen"]]:
        """State and book of the first blocks, and which these are.

        The audit compares with what the holders in the part have together before the work.
        """
        _, chosen = lax.top_k(self.turn(x, *args), self.blocks)  # of equals the first
        before, packed, *more = (x, *args) if self.looks else (None, x, *args)
        (state, moved), (*more, market, book, venue) = self.packing.unpack(packed), more
        state = self._some(state, chosen, OF_POSITIONS, OF_ACCOUNTS)
        book = self._book(book, chosen)
        cash, size = totals(state, book)
        assert book.totals is not None, "the book is not attached to a venue"
        began = dataclasses.replace(book.totals, cash=cash, size=size)
        rest = (*more, market, dataclasses.replace(book, totals=began), venue)
        packed = self.packing.pack((state, moved))
        return (before, (packed, *rest), chosen) if self.looks else (packed, rest, chosen)

    def put(self, leaf: int, every, own, row, chosen):
        """A leaf of all paths, by number, with what the work left of some; row None: of one alone."""
        slots = None if self.looks else self._leaves[leaf]
        if slots is None or not own.size:
            return select.WHOLE.put(leaf, every, own, row, None)
        if row is None:
            return self.put(leaf, every[None], own, jnp.int32(0), chosen)[0]
        read = 0
        for start, (width, count), blocked in self._classes(slots):
            length = count // self.layout.blocks if blocked else width * count
            begin = jnp.full((*jnp.shape(row), 1), start, jnp.int32)
            if blocked:
                rows = start + count * jnp.arange(width, dtype=jnp.int32)
                begin = rows.reshape(*[1] * jnp.ndim(row), -1, 1) + length * chosen[..., None, :]
                begin = begin.reshape(*jnp.shape(row), -1)
            size = begin.shape[-1] * length
            pieces = own[..., read : read + size].reshape(*begin.shape, length)
            every, read = _write(every, pieces, row, begin), read + size
        return every

    @functools.cached_property
    def _leaves(self) -> list[bool | None]:
        """Of every packed leaf, whether it is of positions (True), of accounts, or of neither (None)."""
        number = range(len(self.packing.shapes))
        state, _ = jax.tree.unflatten(self.packing.structure, number)
        kind = dict.fromkeys(number)
        for names, slots in ((OF_POSITIONS, True), (OF_ACCOUNTS, False)):
            kind |= dict.fromkeys(jax.tree.leaves([getattr(state, n) for n in names]), slots)
        large = [kind[i] for i, small in zip(number, self.packing.small, strict=True) if not small]
        return [*large, None]

    def _classes(self, slots: bool) -> Iterator[tuple[int, tuple[int, int], bool]]:
        """Where each class begins in an array of positions (or accounts), its shape, if in blocks."""
        start, last = 0, len(self.layout.accounts) - bool(self.layout.dense)
        for i, (width, count) in enumerate(self.layout.accounts):
            width = width if slots else 1
            yield start, (width, count), i < last
            start += width * count

    def _some(self, record, chosen, positions=(), accounts=()):
        """A record with the chosen blocks of the fields named."""
        changes = {}
        for names, slots in ((positions, True), (accounts, False)):
            read = functools.partial(self._read, chosen=chosen, slots=slots)
            changes |= {name: jax.tree.map(read, getattr(record, name)) for name in names}
        return dataclasses.replace(record, **changes)

    def _read(
        self, x: Shaped[Array, "*rows whole"], chosen, slots: bool
    ) -> Shaped[Array, "*rows part"]:
        if not x.size or x.shape[-1] == 1:  # one column of a table serves all
            return x
        found = []
        for start, (width, count), blocked in self._classes(slots):
            piece = x[..., start : start + width * count]
            if blocked:
                piece = piece.reshape(*x.shape[:-1], width, self.layout.blocks, -1)
                piece = jnp.take(piece, chosen, axis=-2, unique_indices=True, mode="clip")
                piece = lax.optimization_barrier(piece)  # merged with a reshape it is copied slowly
            found.append(piece.reshape(*x.shape[:-1], -1))
        return found[0] if len(found) == 1 else ledger.joined(found)

    def _book(self, book: Book, chosen) -> Book:
        """The part as a book of its own; a market's slots are all positions, empty but for its own."""
        book = self._some(book, chosen, ("size", "entry", "market"), ("cash", "role", "members"))
        tables = self._some(book.margin, chosen, margin.TABLES)
        positions, markets = len(book.size), self.layout.number_of_markets
        market = jnp.arange(markets, dtype=book.market.dtype)
        everywhere = jnp.arange(positions, dtype=book.by_market.dtype)
        accounts = tuple(
            (width, count * self.blocks // self.layout.blocks if blocked else count)
            for _, (width, count), blocked in self._classes(True)
        )
        layout = Layout(
            accounts=accounts,
            markets=((positions, tuple(range(markets))),),
            dense=self.layout.dense,
        )
        return dataclasses.replace(
            book,
            margin=tables,
            by_market=jnp.repeat(everywhere, markets),
            occupied=(book.market[:, None] == market[None]).reshape(-1),
            layout=layout,
        )


def beyond(turn: Float[Array, " blocks"], count: int) -> Float[Array, ""]:
    """The turn of the first block that is not among so many."""
    return lax.top_k(turn, count + 1)[0][count]


def _write(every, pieces, row, begin):
    """Pieces of one length at their beginnings in rows, in place; rows beyond the last are dropped."""
    rows = jnp.broadcast_to(jnp.asarray(row, jnp.int32)[..., None], begin.shape)
    axis = pieces.ndim - 1
    window = lax.ScatterDimensionNumbers(
        update_window_dims=(axis,), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0, 1)
    )
    at = jnp.stack([rows, begin], axis=-1)
    drop = lax.GatherScatterMode.FILL_OR_DROP
    return lax.scatter(every, at, pieces, window, unique_indices=True, mode=drop)
