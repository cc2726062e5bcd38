"""What a crash looks like before any account is asked: cheap numbers of very many paths.

Prices and depth of a path cost a hundredth of its waterfall. So where an event is rare, many paths are
surveyed and those that matter run (`montecarlo.importance`).
"""

import dataclasses
import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from riskengine.montecarlo import simulate
from riskengine.montecarlo.simulate import Simulation
from riskengine.specs.book import TRADER, Book
from riskengine.specs.scenario import Scenario
from riskengine.specs.venue import Venue
from riskengine.types import compiled, use_double
from riskengine.waterfall import ledger, margin
from riskengine.waterfall.state import Quote

CHUNK = 512  # paths per device and call
SMALL = 1e-3  # log move below which sizes are alike
OWED = 1e-4  # of open interest: the same for what is owed
MUCH = 10.0  # times open interest, above which debts are alike


@dataclass(frozen=True)
class Survey:
    """Numbers of every surveyed path (paths,); moves are logs, weighted by open interest."""

    fall: np.ndarray  # deepest point below the start
    rise: np.ndarray
    market: np.ndarray  # largest move of one market, in the direction of the larger of the two
    depth: np.ndarray  # log of the path's own depth over the calm one
    thin: np.ndarray  # log of the least depth on the side that forced orders take, over the first
    when: np.ndarray  # share of the run at which the extreme is reached
    owed: np.ndarray  # by accounts at the extreme, had nobody been liquidated; of open interest

    @property
    def rises(self) -> np.ndarray:
        """Whether the larger move is a rise."""
        return self.rise > self.fall

    @property
    def features(self) -> np.ndarray:
        """What a prediction of needs is built from (paths, features): each enters once and straight.

        So a prediction rises or falls with each of them throughout; powers would turn where no pilot was.
        """
        size = np.log(np.maximum(self.fall, self.rise) + SMALL)
        other = np.log(np.minimum(self.fall, self.rise) + SMALL)
        wider = np.log(self.market + SMALL) - size
        owed = np.log(np.clip(self.owed, 0.0, MUCH) + OWED)
        return np.stack([size, other, wider, self.depth, self.thin, self.when, owed], axis=1)

    @classmethod
    def join(cls, *parts: "Survey") -> "Survey":
        """One after the other."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def some(self, rows) -> "Survey":
        """A part of the paths."""
        return Survey(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


def survey(
    key: Key[Array, ""],
    books: Book,
    venue: Venue,
    scenario: Scenario,
    simulation: Simulation,
    paths: np.ndarray,
    scale: np.ndarray,
) -> Survey:
    """Survey these paths with these scales; path p meets the open interest of its book."""
    use_double()
    devices = tuple(jax.local_devices())
    size = CHUNK * len(devices)
    count = int(jax.tree.leaves(books)[0].shape[0])
    found = []
    for first in range(0, len(paths), size):
        rows = np.resize(np.arange(first, min(first + size, len(paths))), size)
        each = (paths[rows].astype(np.uint32), (paths[rows] % count).astype(np.int32), scale[rows])
        each = jax.device_put(each, simulate.sharding(devices))
        out = _program()(key, *each, books, venue, scenario, simulation)
        found.append(np.asarray(out)[: len(paths) - first])
    return Survey(*np.concatenate(found).T)


@functools.cache
def _program():
    @compiled
    def look(key, paths, numbers, scale, books, venue, scenario, simulation):
        books = jax.vmap(lambda book: margin.attach(book, venue))(books)

        def one(path, number, scale):
            book = jax.tree.map(lambda x: x[number], books)
            quotes = simulate.quotes_of(key, path, book, scenario, simulation, scale)
            return _looked(quotes, book, scenario)

        return jax.vmap(one)(paths, numbers, scale)

    return look


def _looked(quotes: Quote, book: Book, scenario: Scenario) -> Float[Array, " numbers"]:
    """The fields of `Survey` for one path."""
    assert book.totals is not None
    interest = book.totals.open_interest
    share = interest / ledger.tree(interest)
    x = jnp.log(quotes.index)
    whole = ledger.tree((x * share[None]).T)
    fall, rise = jnp.maximum(-whole.min(), 0.0), jnp.maximum(whole.max(), 0.0)
    up = rise > fall
    market = jnp.max(jnp.where(up, x, -x))
    units = jnp.where(up, quotes.depth[:, 1], quotes.depth[:, 0])
    taken = ledger.tree(units.T)  # asks where prices rise, bids where they fall
    calm = ledger.tree(scenario.depth.calm[0] * interest)
    step = jnp.argmax(jnp.where(up, whole, -whole))
    owed = _owed(quotes.index[step], book) / ledger.tree(interest)
    thin = jnp.log(taken.min() / taken[0])
    depth = jnp.log(taken[0] / calm)
    when = step / whole.shape[0]
    return jnp.stack([fall, rise, jnp.maximum(market, 0.0), depth, thin, when, owed])


def _owed(prices: Float[Array, " markets"], book: Book) -> Float[Array, ""]:
    """Σ max(−e_i, 0) at these prices over traders who still hold what they began with."""
    gained = book.size * ledger.share(prices - 1.0, book)
    worth = book.cash + ledger.per_account(gained, book)
    return ledger.total(jnp.where(book.role == TRADER, jnp.maximum(-worth, 0.0), 0.0))
