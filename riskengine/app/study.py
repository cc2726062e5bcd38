"""The runs that answer a question: without a limit, at the venue's fund, at levels of F, at dt/2."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from riskengine.app import build, replays
from riskengine.app.build import Question
from riskengine.app.config import SimulationConfig
from riskengine.app.replays import Replays
from riskengine.calibration import target
from riskengine.montecarlo import metrics
from riskengine.montecarlo.simulate import (
    CPU_BATCH,
    GPU_BATCH,
    Results,
    halved,
    simulate,
    stopped,
)
from riskengine.specs.book import traded
from riskengine.specs.scenario import Replay
from riskengine.specs.venue import Venue

# What depends on the fund even where none of its rules ever binds; see `_unbound`.
NEVER = ("depletion_time", "intervention_time")
Progress = Callable[[str, int, int], None]  # what, paths done, paths in all


@dataclass(frozen=True)
class Refined:
    """The same paths on the run's time steps and on half of them, up to the same time."""

    coarse: Results
    fine: Results
    until: float  # s


@dataclass(frozen=True)
class Study:
    """All paths without a limit, and the first ones at the venue's fund and at levels of it."""

    question: Question
    results: Results  # with unlimited capital: what every path would need
    fund: Results  # the first paths at the venue's fund
    levels: dict[float, Results]  # F → some paths at that fund
    refined: Refined | None  # some paths without a limit, at half the time step
    safe: Results | None  # some paths without a limit where the largest accounts cannot fail
    replays: Replays | None  # some paths at the venue's fund, step by step

    @property
    def capital(self) -> float:
        return float(self.question.venue.capital)

    @property
    def runs(self) -> list[Results]:
        """Every result once."""
        finer = [self.refined.coarse, self.refined.fine] if self.refined else []
        levels = [r for r in self.levels.values() if r is not self.fund]
        return [self.results, self.fund, *levels, *finer, *([self.safe] if self.safe else [])]


def complete(
    question: Question, results: Results, asked: SimulationConfig, progress: Progress | None = None
) -> Study:
    """All the runs that follow once every path is known without a limit."""
    capital, batch = float(question.venue.capital), asked.batch
    first = np.arange(min(asked.fund_paths, len(results)))
    fund = at_fund(question, results, capital, first, batch, progress)
    return Study(
        question=question,
        results=results,
        fund=fund,
        levels=at_levels(question, results, fund, asked.level_paths, batch, progress),
        refined=refined(question, results, asked.refine_paths, batch, progress),
        safe=without_largest(question, results, asked.largest_paths, batch, progress),
        replays=replays.replay(
            question, results, few(question, results, asked.replay_paths), batch
        ),
    )


def shard_size(question: Question, batch: int) -> int:
    """Paths of a shard: two whole batches of every book on all devices."""
    books = int(jax.tree.leaves(question.books)[0].shape[0])
    return 2 * books * batch * jax.local_device_count()


def unlimited(question: Question, paths: np.ndarray, batch=None, progress: Progress | None = None):
    """Paths with unlimited capital: no rule that reads the fund binds, and every need shows."""
    return _simulate(build.with_fund(question, np.inf), paths, batch, progress, "without a limit")


def bound(results: Results, capital: float) -> np.ndarray:
    """Paths that a fund of this size changes: a rule that reads it binds, or it runs dry."""
    rules = results["adl_required_fund"] > capital  # infinite where an account is deleveraged
    return rules | (results["required_fund"] > capital)


def may_bind_early(venue: Venue) -> bool:
    """Whether a rule can bind while the fund is not yet dry; then depletion is known at a fund only."""
    margin = "margin" in venue.pools.triggers and bool((venue.pools.margin_multiple > 0).any())
    return "inventory" in venue.pools.triggers or margin


def few(question: Question, results: Results, count: int) -> np.ndarray:
    """Rows of about `count` paths, `TOGETHER` of a book and of as few books as that takes.

    A batch meets one book, so a few paths of every book would leave most of each batch empty. Which
    paths these are does not depend on the machine.
    """
    if not count:
        return np.zeros(0, int)
    books = len(question.opened.holdings)
    together = min(TOGETHER, max(len(results) // books, 1))
    chosen = min(books, max(FEWEST_BOOKS, -(-count // together)))
    inside = (results.book < chosen) & (results.path // books < -(-count // chosen))
    return np.flatnonzero(inside)


TOGETHER = 16  # paths of a book
FEWEST_BOOKS = 4  # whose differences an interval of such a part rests on
SELDOM = 0.2  # probability up to which a fund target means anything
MATERIAL = 1e-6  # of open interest: a loss below it is nobody's business
RELIABLE = 10  # paths beyond the quantile at which two runs are compared


def seldom(paths: int) -> float:
    """The probability at which fund targets of two runs of so many paths are compared."""
    return max(0.05, RELIABLE / paths)


def batch_size(batch: int | None) -> int:
    """Paths per device and call."""
    return batch or (CPU_BATCH if jax.default_backend() == "cpu" else GPU_BATCH)


def at_fund(
    question: Question, results: Results, capital: float, rows: np.ndarray, batch=None,
    progress: Progress | None = None,
) -> Results:  # fmt: skip
    """The paths at `rows`, at a fund of `capital`."""
    each = _at_capitals(
        question, results.some(rows), [capital], batch, progress, "at the venue's fund"
    )
    return each[0]


def _at_capitals(
    question: Question, first: Results, capitals: Sequence[float], batch, progress, what: str
) -> list[Results]:
    """Paths known without a limit, at each of several funds.

    Until the first rule that reads the fund binds a path does not depend on it, so only paths on
    which one does are simulated again: those of all funds together.
    """
    again = [np.flatnonzero(bound(first, capital)) for capital in capitals]
    merged = [first.replaced(_unbound(first)) for _ in capitals]
    rows = np.concatenate(again)
    if not len(rows):
        return merged
    each = np.repeat(np.asarray(capitals, float), [len(mine) for mine in again])
    found = _simulate(question, first.path[rows], batch, progress, what, each)
    ends = np.cumsum([len(mine) for mine in again])
    parts = [np.arange(end - len(mine), end) for end, mine in zip(ends, again, strict=True)]
    return [
        one.updated(mine, found.some(part))
        for one, mine, part in zip(merged, again, parts, strict=True)
    ]


def _unbound(results: Results) -> dict[str, np.ndarray]:
    """Numbers of paths on which no rule binds and the fund never runs dry."""
    never = np.full(len(results), np.inf)
    no = np.zeros(len(results), bool)
    return dict.fromkeys(NEVER, never) | {
        "depleted": no, "intervened": no, "excess_draw": np.zeros(len(results)),
    }  # fmt: skip


def at_levels(
    question: Question, results: Results, fund: Results, count: int, batch=None,
    progress: Progress | None = None,
) -> dict[float, Results]:  # fmt: skip
    """About `count` paths at each of the levels of F: what happens after the first intervention.

    At the venue's own capital these are the paths of `fund`, which ran there already.
    """
    rows = few(question, results, count)
    if not len(rows):
        return {}
    own = float(question.venue.capital)
    levels = [float(f) for f in target.levels(results["adl_required_fund"], own)]
    others = [f for f in levels if f != own]
    found = _at_capitals(question, results.some(rows), others, batch, progress, "at levels of F")
    return {own: fund} | dict(zip(others, found, strict=True))


def refined(
    question: Question, results: Results, count: int, batch=None, progress: Progress | None = None
) -> Refined | None:
    """About `count` paths without a limit with half the time step, on the same random numbers.

    The half steps are as many as the grid has steps, so that the compiled program serves them, too:
    both grids end in the middle of the run's. Recorded prices have no half steps.
    """
    rows = few(question, results, count)
    steps = question.simulation.dt.shape[0] // 2
    if not len(rows) or not steps or isinstance(question.scenario.law, Replay):
        return None
    free, paths = build.with_fund(question, np.inf), results.path[rows]
    grid = question.simulation
    finer = halved(dataclasses.replace(grid, dt=stopped(grid, steps).dt), grid.dt.shape[0])
    coarse, fine = (
        _simulate(dataclasses.replace(free, simulation=g), paths, batch, progress, "at dt and dt/2")
        for g in (stopped(grid, steps), finer)
    )
    return Refined(coarse, fine, float(np.sum(grid.dt[:steps])))


LARGEST = 10  # accounts of each book
SAFE = 100.0  # times its notional: the equity of an account that cannot fail


def without_largest(
    question: Question, results: Results, count: int, batch=None, progress: Progress | None = None
) -> Results | None:
    """About `count` paths without a limit where the ten largest traders of each book cannot fail.

    Their positions stay, so that every market balances; their equity is 100 times their notional.
    """
    rows = few(question, results, count)
    if not len(rows) or not question.opened.complete:
        return None
    each = []
    opened = zip(question.opened.holdings, question.account_rows, strict=True)
    for number, (holdings, row) in enumerate(opened):
        size = traded(holdings)
        largest = np.argsort(-size, kind="stable")[:LARGEST]
        largest = largest[size[largest] > 0]
        slots = np.flatnonzero(np.isin(row, largest))
        book = jax.tree.map(lambda x, number=number: x[number], question.books)
        each.append(
            dataclasses.replace(book, cash=book.cash.at[slots].set(SAFE * size[row[slots]]))
        )
    books = jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *each)
    free = dataclasses.replace(build.with_fund(question, np.inf), books=books)
    what = f"with the {LARGEST} largest accounts safe"
    return _simulate(free, results.path[rows], batch, progress, what)


def _simulate(
    question: Question, paths, batch, progress: Progress | None, what: str, capital=None
) -> Results:
    def told(done: int, total: int) -> None:
        if progress:
            progress(what, done, total)

    return simulate(
        question.key, question.books, question.venue, question.scenario, question.simulation,
        paths, capital, batch, told,
    )  # fmt: skip


def shards(paths: int, size: int) -> Iterator[np.ndarray]:
    """Path ids of each shard."""
    for first in range(0, paths, size):
        yield np.arange(first, min(first + size, paths))


def violations(results: Results) -> list[str]:
    """What must never happen and did, with the number of paths and the first one."""
    found = []
    for flag, words in metrics.FATAL.items():
        bad = np.flatnonzero(results["flags"] & flag)
        if len(bad):
            found.append(f"{words} on {len(bad)} paths, first path {results.path[bad[0]]}")
    return found
