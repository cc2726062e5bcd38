"""Thousands of crashes: scan over steps, vmap over paths, jit once, chunks on the host."""

import dataclasses
import functools
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key, UInt

from riskengine.montecarlo import metrics, noise, trace
from riskengine.montecarlo.metrics import PathMetrics
from riskengine.montecarlo.programs import Kept
from riskengine.montecarlo.trace import Trace
from riskengine.specs import scenario as scenarios
from riskengine.specs.book import Book
from riskengine.specs.scenario import OrderBook, Scenario
from riskengine.specs.venue import Venue
from riskengine.types import compiled, pytree, use_double
from riskengine.waterfall import margin, price, step
from riskengine.waterfall.state import AccountRecord, Market, Quote, State

CONSERVATION = {"float64": 1e-12, "float32": 1e-6}  # what a ledger may lose, of gross
# Paths per device and call, and bytes that one array of their positions may take: on a CPU what
# stays in a core's cache (measured: benchmarks/README.md), on a GPU a fraction of its memory.
BATCH = {"cpu": (16, 2**23), "gpu": (1024, 2**28)}


@pytree
class Simulation:
    """The time grid, which random number drives each of its steps, and the markets' streams."""

    dt: Float[Array, " steps"]  # s; steps of no length at the end do nothing
    whole: Int[Array, " steps"]  # step of the original grid
    half: Float[Array, " steps"]  # ±1: first or second half of that step; 0: all of it
    market_ids: UInt[Array, " markets"]

    @classmethod
    def of(cls, dt: np.ndarray, market_ids: Array) -> "Simulation":
        """A grid of whole steps."""
        return cls(
            dt=jnp.asarray(dt),
            whole=jnp.arange(len(dt)),
            half=jnp.zeros(len(dt)),
            market_ids=market_ids,
        )


def stopped(simulation: Simulation, steps: int) -> Simulation:
    """The same grid, with nothing happening after so many steps."""
    here = jnp.arange(simulation.dt.shape[0]) < steps
    return dataclasses.replace(simulation, dt=jnp.where(here, simulation.dt, 0.0))


def halved(simulation: Simulation, steps: int | None = None) -> Simulation:
    """Half steps on the same random numbers: all of them, or as many as `steps`."""
    twice = [jnp.repeat(x, 2)[:steps] for x in (0.5 * simulation.dt, simulation.whole)]
    half = jnp.tile(jnp.asarray([1.0, -1.0]), simulation.dt.shape[0])[:steps]
    return dataclasses.replace(simulation, dt=twice[0], whole=twice[1], half=half)


@dataclasses.dataclass(frozen=True)
class Results:
    """Per-path numbers in the order of `path`, and what happened to single accounts."""

    path: np.ndarray
    book: np.ndarray  # number of the book that each path met
    metrics: dict[str, np.ndarray]
    hits: dict[str, np.ndarray]  # by `row` of the results and deleveraged account
    liquidated: np.ndarray  # paths on which each account of each book was liquidated
    seconds: float
    batch: int
    devices: int

    def __len__(self) -> int:
        return len(self.path)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.metrics[name]

    def rows(self, paths: np.ndarray) -> np.ndarray:
        """Where the given paths are; the results' own must ascend."""
        return np.searchsorted(self.path, paths)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays, for a file; `of` reads them back."""
        named = {f"metric.{name}": values for name, values in self.metrics.items()}
        named |= {f"hit.{name}": values for name, values in self.hits.items()}
        facts = np.asarray([self.seconds, self.batch, self.devices])
        return named | {
            "path": self.path, "book": self.book, "liquidated": self.liquidated, "facts": facts,
        }  # fmt: skip

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray]) -> "Results":
        """What `arrays` gave."""
        parts: dict[str, dict] = {"metric": {}, "hit": {}}
        for name, values in arrays.items():
            kind, _, rest = name.partition(".")
            if kind in parts:
                parts[kind][rest] = values
        seconds, batch, devices = arrays["facts"]
        return cls(
            path=arrays["path"],
            book=arrays["book"],
            metrics=parts["metric"],
            hits=parts["hit"],
            liquidated=arrays["liquidated"],
            seconds=float(seconds),
            batch=int(batch),
            devices=int(devices),
        )

    def some(self, rows: np.ndarray) -> "Results":
        """A part of the paths; how often accounts were liquidated is not known for a part: −1."""
        place = np.full(len(self), -1)
        place[rows] = np.arange(len(place[rows]))
        hits = self.hits | {"row": place[self.hits["row"]]}
        return dataclasses.replace(
            self,
            path=self.path[rows],
            book=self.book[rows],
            metrics={n: x[rows] for n, x in self.metrics.items()},
            hits={n: x[hits["row"] >= 0] for n, x in hits.items()},
            liquidated=np.full_like(self.liquidated, -1),
            seconds=self.seconds * len(place[rows]) / max(len(self), 1),
        )

    def replaced(self, metrics: dict[str, np.ndarray]) -> "Results":
        """The same paths with some of their numbers replaced."""
        return dataclasses.replace(self, metrics=self.metrics | metrics)

    def updated(self, rows: np.ndarray, by: "Results") -> "Results":
        """Paths at `rows` as they are in `by`, the others as they are; as for a part of them."""
        columns = {name: x.copy() for name, x in self.metrics.items()}
        for name, column in columns.items():
            column[rows] = by[name]
        place = np.arange(len(self))[rows]
        kept, new = ~np.isin(self.hits["row"], place), by.hits | {"row": place[by.hits["row"]]}
        hits = {n: np.concatenate([x[kept], new[n]]) for n, x in self.hits.items()}
        return dataclasses.replace(
            self,
            metrics=columns,
            hits=_sorted(hits),
            liquidated=np.full_like(self.liquidated, -1),
            seconds=self.seconds + by.seconds,
        )

    @classmethod
    def join(cls, parts: Sequence["Results"]) -> "Results":
        """Results of other paths of the same books, one after the other."""
        first, starts = parts[0], np.cumsum([0, *map(len, parts)])
        hits = [
            p.hits | {"row": p.hits["row"] + n} for p, n in zip(parts, starts[:-1], strict=True)
        ]
        return cls(
            path=np.concatenate([p.path for p in parts]),
            book=np.concatenate([p.book for p in parts]),
            metrics={n: np.concatenate([p.metrics[n] for p in parts]) for n in first.metrics},
            hits={n: np.concatenate([h[n] for h in hits]) for n in first.hits},
            liquidated=sum((p.liquidated for p in parts[1:]), first.liquidated),
            seconds=sum(p.seconds for p in parts),
            batch=first.batch,
            devices=first.devices,
        )


R = TypeVar("R")


def _sorted(hits: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    order = np.lexsort([hits["account"], hits["row"]])
    return {name: values[order] for name, values in hits.items()}


def batch_size(asked: int | None, books: Book) -> int:
    """Paths per device and call: fewer where books are large, so that memory is bounded."""
    most, room = BATCH["cpu" if jax.default_backend() == "cpu" else "gpu"]
    fit = room // (books.layout.number_of_positions * books.size.dtype.itemsize)
    return asked or min(most, 1 << max(fit, 1).bit_length() - 1)


Progress = Callable[[int, int], None]  # paths done, paths in all


def grid(phases: Sequence[tuple[float, float]]) -> np.ndarray:
    """Step lengths of phases (duration, dt), both in seconds."""
    return np.concatenate([np.full(round(length / dt), float(dt)) for length, dt in phases])


def simulate(
    key: Key[Array, ""],
    books: Book,
    venue: Venue,
    scenario: Scenario,
    simulation: Simulation,
    paths: Sequence[int] | np.ndarray,
    capital: np.ndarray | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    scale: np.ndarray | None = None,
    hits: bool = True,
) -> Results:
    """Simulate the given paths; path p meets book p modulo the number of books.

    `books` are stacked along a leading axis; `capital` is the first-loss capital that each path
    meets, in USD, and the venue's own if absent: so a path may be asked for at several. `scale` is
    the uniform number that decides the scale of each path, and its own if absent. A path's numbers
    depend on its id, its capital and its scale alone: not on which other paths run, in which batches,
    or on how many devices. If a batch does not fit in memory it is halved until it does. What happened
    to single accounts takes 28 bytes for each that a path deleverages; without `hits` it is left out.
    """
    use_double()
    began = time.perf_counter()
    met = venue.capital if capital is None else capital
    asked = Asked.of(paths, met, books, batch, scale)
    collected = _Collected(asked.paths, asked.books, books.layout.number_of_accounts, hits)
    rest = (books, venue, scenario, simulation)
    for number, rows, some, (numbers, record, _) in asked.batches(key, rest):
        collected.add(number, rows, _only(some, numbers), _only(some, record))
        if progress:
            progress(collected.done, len(asked.paths))
    return collected.results(time.perf_counter() - began, asked.batch, len(asked.devices))


def traces(
    key: Key[Array, ""],
    books: Book,
    venue: Venue,
    scenario: Scenario,
    simulation: Simulation,
    paths: Sequence[int] | np.ndarray,
    batch: int | None = None,
) -> dict[str, np.ndarray]:
    """The given paths step by step: the fields of `Trace` as (paths, steps, …).

    It is the program of `simulate`, so what is seen here is what happened there.
    """
    use_double()
    asked = Asked.of(paths, venue.capital, books, batch)
    found: dict[str, np.ndarray] = {}
    for _, rows, some, (_, _, steps) in asked.batches(key, (books, venue, scenario, simulation)):
        for field in dataclasses.fields(steps):
            values = np.asarray(getattr(steps, field.name)[np.flatnonzero(some)])
            if field.name not in found:
                found[field.name] = np.empty((len(paths), *values.shape[1:]), values.dtype)
            found[field.name][rows] = values
    return found


@dataclasses.dataclass
class Asked:
    """Paths to run, and how many together."""

    paths: np.ndarray
    capital: np.ndarray  # USD, that each path meets
    scale: np.ndarray  # uniform number of each path; nan: its own, so that one program serves both
    books: int
    batch: int  # paths per device and call
    devices: tuple

    @classmethod
    def of(cls, paths, capital, books: Book, batch: int | None, scale=None) -> "Asked":
        paths, devices = np.asarray(paths), tuple(jax.local_devices())
        capital = np.broadcast_to(np.asarray(capital, float), paths.shape)
        if paths.size and not (0 <= paths.min() and paths.max() < 2**32):
            raise ValueError(f"path ids must lie in [0, 2**32), got {paths.min()} to {paths.max()}")
        count = int(jax.tree.leaves(books)[0].shape[0])
        scale = np.broadcast_to(np.asarray(np.nan if scale is None else scale, float), paths.shape)
        return cls(paths, capital, scale, count, batch_size(batch, books), devices)

    def batches(
        self, key, rest: tuple, program: Callable | None = None
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, tuple]]:
        """What the program (of devices and batch) gives for a few paths of one book, and the next.

        With it come the book's number, the rows of `paths` that it holds, and their slots. If a
        batch does not fit in memory it is halved until it does.
        """
        make = program or _program
        waiting = [np.flatnonzero(self.paths % self.books == book) for book in range(self.books)]
        key, rest = jax.device_put((key, rest), sharding(self.devices, everywhere=True))
        while sum(len(rows) for rows in waiting):
            try:
                for number, rows in _chunks(waiting, self.batch * len(self.devices)):
                    slots, some = self.slots(rows)
                    scale = self.scale[slots]
                    each = (self.paths[slots].astype(np.uint32), self.capital[slots], some, scale)
                    each = jax.device_put(each, sharding(self.devices))
                    out = make(self.devices, self.batch)(key, each, number, *rest)
                    yield number, slots[some], some, jax.block_until_ready(out)
                    waiting[number] = waiting[number][len(rows) :]
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error) or self.batch == 1:
                    raise
                self.batch //= 2

    def slots(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows in the slots of a batch, spread evenly over the devices, and which slots count."""
        devices = len(self.devices)
        turn = np.arange(self.batch * devices).reshape(self.batch, devices).T.ravel()
        return np.resize(rows, turn.shape)[turn], turn < len(rows)


def _only(rows: np.ndarray, record: R) -> R:
    """Some rows of every array, on the host."""
    return jax.tree.map(lambda x: np.asarray(x)[rows], record)


def _chunks(waiting: list[np.ndarray], size: int) -> Iterator[tuple[int, np.ndarray]]:
    for number, rows in enumerate(waiting):
        for first in range(0, len(rows), size):
            yield number, rows[first : first + size]


class _Collected:
    """Host-side results, in the order in which the paths were asked for."""

    def __init__(self, paths: np.ndarray, books: int, accounts: int, keeps_hits: bool):
        self.paths, self.books, self.done, self.keeps_hits = paths, books, 0, keeps_hits
        self.metrics: dict[str, np.ndarray] = {}
        self.hits: list[dict[str, np.ndarray]] = []
        self.liquidated = np.zeros((books, accounts), np.int64)

    def add(
        self, number: int, rows: np.ndarray, numbers: np.ndarray, record: AccountRecord
    ) -> None:
        for name, values in metrics.columns(numbers).items():
            column = self.metrics.setdefault(name, np.empty(len(self.paths), values.dtype))
            column[rows] = values
        hit, account = np.nonzero(np.asarray(record.deleveraged) & self.keeps_hits)
        self.hits.append(
            {
                "row": rows[hit],
                "account": account,
                "adl_loss": np.asarray(record.adl_loss)[hit, account],
                "equity": np.asarray(record.adl_equity)[hit, account],
                "profit": np.asarray(record.adl_profit)[hit, account],
            }
        )
        self.liquidated[number] += np.asarray(record.liquidated).sum(axis=0)
        self.done += len(rows)

    def results(self, seconds: float, batch: int, devices: int) -> Results:
        names = self.hits[0] if self.hits else {}
        hits = {name: np.concatenate([h[name] for h in self.hits]) for name in names}
        return Results(
            path=self.paths,
            book=self.paths % self.books,
            metrics=self.metrics,
            hits=_sorted(hits) if hits else hits,
            liquidated=self.liquidated,
            seconds=seconds,
            batch=batch,
            devices=devices,
        )


@functools.lru_cache(maxsize=8)
def _program(devices: tuple, batch: int) -> Callable:
    """The one program: a batch of paths of one book on every device.

    Slots that do not count hold a path in which nothing happens: a batch takes less time.
    """

    def on_device(key, each, number, books, venue, scenario, simulation):
        book = margin.attach(jax.tree.map(lambda x: x[number], books), venue)

        def path(number, capital, counts, scale):
            own = dataclasses.replace(venue, capital=capital)
            numbers, record, steps = one_path(
                key, number, book, own, scenario, simulation, counts, scale
            )
            return metrics.row(numbers), record, steps

        return jax.vmap(path)(*each)

    return on_devices(devices, on_device, "paths", batch)


def on_devices(devices: tuple, on_device: Callable, *facts: Hashable) -> Callable:
    """A program of (key, paths, book, books, venue, scenario, simulation): its paths spread out.

    `facts` are what `on_device` closes over (`programs.Kept`).
    """
    if len(devices) == 1:
        return Kept(compiled(on_device), devices, *facts)
    spread, whole = PartitionSpec("paths"), PartitionSpec()
    sharded = jax.shard_map(
        on_device,
        mesh=sharding(devices).mesh,
        in_specs=(whole, spread, whole, whole, whole, whole, whole),
        out_specs=spread,
        check_vma=False,  # a while loop's length differs from device to device
    )
    return Kept(compiled(sharded), devices, *facts)


def sharding(devices: tuple, everywhere: bool = False) -> NamedSharding:
    """Paths spread over the devices, or the same numbers on all of them."""
    mesh = Mesh(np.asarray(devices), ("paths",))
    return NamedSharding(mesh, PartitionSpec() if everywhere else PartitionSpec("paths"))


def one_path(
    key: Key[Array, ""],
    path: UInt[Array, ""],
    book: Book,
    venue: Venue,
    scenario: Scenario,
    simulation: Simulation,
    counts: Bool[Array, ""] | bool = True,
    scale: Float[Array, ""] | None = None,
    scan: Callable = lax.scan,
) -> tuple[PathMetrics, AccountRecord, Trace]:
    """One crash of the venue, from its noise to its numbers; `book` knows the venue's margin.

    Where the path does not count its steps have no length, and nothing happens. `scan` goes over
    the steps as `lax.scan` does.
    """
    quotes = quotes_of(key, path, book, scenario, simulation, scale)
    quotes = dataclasses.replace(quotes, dt=jnp.where(counts, quotes.dt, 0.0))
    state, market, steps = run(quotes, book, venue, scenario.order_book, scan)
    bar = CONSERVATION[str(book.cash.dtype)]
    numbers = metrics.finish(state, market, steps, simulation.dt, book, venue, bar)
    return numbers, state.record, steps


def quotes_of(
    key: Key[Array, ""],
    path: UInt[Array, ""],
    book: Book,
    scenario: Scenario,
    simulation: Simulation,
    scale: Float[Array, ""] | None = None,
) -> Quote:
    """Index, depth and length of every step of one path; where `scale` is nan the path's own counts."""
    dt = simulation.dt
    drawn = noise.draw(key, path, simulation.market_ids, simulation.whole, simulation.half)
    if scale is not None:
        drawn = dataclasses.replace(drawn, scale=jnp.where(jnp.isnan(scale), drawn.scale, scale))
    log_index = scenarios.log_index(drawn, path, scenario, dt)
    assert book.totals is not None, "the book is not attached to a venue"
    depth = scenarios.depth_of(drawn, log_index, scenario.depth, dt)
    depth = depth * book.totals.open_interest[None, None]
    return Quote(index=jnp.exp(log_index), depth=depth, dt=dt)


def run(
    quotes: Quote, book: Book, venue: Venue, order_book: OrderBook, scan: Callable = lax.scan
) -> tuple[State, Market, Trace]:
    """The scan over steps: the last state and market, and what each step looked like."""

    def advance(carry, quote):
        state, market, moved = step.step(carry[0], quote, order_book, book, venue)
        return (state, market), (trace.kept(state), market.mark, moved)

    state = step.opening(book, venue)
    first = jax.tree.map(lambda x: x[0], quotes)
    _, market = price.advance(state, first, order_book, venue)
    (state, market), steps = scan(advance, (state, market), quotes)

    def seen(quote, kept, mark, moved):
        """A step as it was; all steps at once, which costs little, where inside the scan it would not."""
        then = dataclasses.replace(state, **kept)
        at = dataclasses.replace(
            market, index=quote.index, depth=quote.depth, dt=quote.dt, mark=mark
        )
        return trace.look(then, at, moved, venue)

    return state, market, jax.vmap(seen)(quotes, *steps)
