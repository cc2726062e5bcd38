"""Runs of many settings in one folder: each kept as it is done, and found again by a later process."""

from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import numpy as np

from riskengine.app import study
from riskengine.app.build import Question
from riskengine.app.store import RunFolder
from riskengine.calibration.frontier import Needs
from riskengine.montecarlo.estimators import Sample
from riskengine.montecarlo.setting import Setting
from riskengine.montecarlo.simulate import Results, batch_size
from riskengine.specs.book import Book

FEW = 512  # paths of a shard where books meet few paths each
STRIDE = 10**8  # numbers that a run may use in the names of shards; more paths than any has
Told = Callable[[str, int, int], None]


@dataclass
class Bench:
    """Runs in an order that does not change, so that the n-th is the n-th again."""

    folder: RunFolder
    batch: int | None
    told: Told
    kept: dict[int, dict[str, np.ndarray]] = field(default_factory=dict)
    runs: int = 0
    found: int = 0  # paths that an earlier process left
    results: list[Results] = field(default_factory=list)  # of every run, for checks
    unchecked: int = 0  # paths whose flags the caller looks at
    seconds: float = 0.0  # that these took

    def __post_init__(self) -> None:
        self.kept = {shard.first: shard.arrays for shard in self.folder.load_shards()}

    def unlimited(
        self, setting: Setting, paths: np.ndarray, what: str, done: int = 0, of: int = 0,
        scale: np.ndarray | None = None, checked: bool = True, batch: int | None = None,
    ) -> Results:  # fmt: skip
        """Paths without a limit, shard by shard; progress counts from `done` of `of`.

        Where they are not `checked` here, the caller looks at their flags. `batch` is that of books
        which meet few paths each (`fitting`); the user's own comes first.
        """
        parts, total, first = [], of or len(paths), self._place()
        few = None if self.batch else batch
        shard = max(FEW, 2 * few * jax.local_device_count()) if few else self._shard(setting)
        for rows in study.shards(np.arange(len(paths)), shard):
            part, own = paths[rows], None if scale is None else scale[rows]
            ran = self._kept(first, len(part))
            if ran is None or not np.array_equal(ran.path, part):
                told = self._after(done, total, what)
                ran = setting.unlimited(part, few or self.batch, told, scale=own)
                self.folder.save_shard(first, len(part), ran.arrays())
            parts.append(ran)
            done, first = done + len(part), first + len(part)
        found = Results.join(parts)
        if checked:
            self.results.append(found)
        else:
            self.unchecked += len(found)
            self.seconds += found.seconds
        return found

    def at_funds(
        self, setting: Setting, known: Results, counts: dict[float, int], what: str,
        batch: int | None = None,
    ) -> dict[float, Results]:  # fmt: skip
        """The first paths at every fund, from those without a limit."""
        places = {f: self._place() for f in counts}
        found = {f: self._kept(place, counts[f]) for f, place in places.items()}
        if all(found.values()):
            ran = {f: x for f, x in found.items() if x is not None}
        else:
            ran = setting.at_funds(known, counts, self.batch or batch, self._after(0, 0, what))
            for f, results in ran.items():
                self.folder.save_shard(places[f], counts[f], results.arrays())
        self.results += ran.values()
        return ran

    def evaluation(self, number: Callable[[], np.ndarray], x: np.ndarray) -> np.ndarray:
        """Numbers that are worked out at x, or as an earlier process worked them out there."""
        first = self._place()
        kept = self.kept.get(first)
        if kept is not None and np.array_equal(kept["x"], x):
            return kept["numbers"]
        found = np.asarray(number(), float)
        self.folder.save_shard(first, 1, {"x": np.asarray(x), "numbers": found})
        return found

    def _place(self) -> int:
        self.runs += 1
        return (self.runs - 1) * STRIDE

    def _kept(self, first: int, count: int) -> Results | None:
        arrays = self.kept.get(first)
        if arrays is None or "path" not in arrays or len(arrays["path"]) != count:
            return None
        self.found += count
        return Results.of(arrays)

    def _shard(self, setting: Setting) -> int:
        """Paths of a shard: two whole batches of every book on all devices."""
        batch = batch_size(self.batch, setting.books)
        return 2 * setting.number_of_books * batch * jax.local_device_count()

    def _after(self, done: int, total: int, what: str) -> Told:
        """Progress of one run as that of all."""
        return lambda _, more, paths: self.told(what, done + more, total or paths)


def by_book(paths: np.ndarray, books: Book) -> np.ndarray:
    """An order of these paths in which those of a book follow each other: a shard is of few books."""
    return np.argsort(paths % books.size.shape[0], kind="stable")


def fitting(books: Book, paths: int) -> int:
    """Paths per device and call where so many paths spread over many books: no slot is left empty."""
    devices = jax.local_device_count()
    each = -(-paths // (books.size.shape[0] * devices))
    return min(batch_size(None, books), 1 << max(each, 1).bit_length() - 1)


def needs(question: Question, results: Results, level: float) -> Needs:
    """What every path needs.

    Where a rule can bind while the fund is not dry, depletion after that is not known from the need
    alone; it then counts as one, which is on the safe side.
    """
    adl, exit_ = results["adl_required_fund"], results["required_fund"]
    dry = np.maximum(adl, exit_) if study.may_bind_early(question.venue) else exit_
    random_books = len(question.opened.holdings) > 1
    return Needs(adl, dry, exit_, Sample(results.book, level, random_books))
