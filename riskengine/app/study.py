"""The runs that answer a question: without a limit, at the venue's fund, at levels of F, at dt/2.

All but the first of these are of the books themselves, whatever the fidelity: they are few.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import numpy as np

from riskengine.app import replays
from riskengine.app.build import Question
from riskengine.app.config import SimulationConfig
from riskengine.app.fidelity import Fidelity
from riskengine.app.replays import Replays
from riskengine.calibration import target
from riskengine.montecarlo import metrics
from riskengine.montecarlo.estimators import Sample
from riskengine.montecarlo.importance import Aim, Rare
from riskengine.montecarlo.paths import CoupledPaths, Paths
from riskengine.montecarlo.setting import Progress
from riskengine.montecarlo.simulate import Results, halved, stopped
from riskengine.montecarlo.two_level import TwoLevel
from riskengine.montecarlo.weighted import WeightedPaths
from riskengine.specs import venue as venues
from riskengine.specs.book import traded
from riskengine.specs.scenario import Replay
from riskengine.specs.venue import Venue


@dataclass(frozen=True)
class Refined:
    """The same paths on the run's time steps and on half of them, up to the same time."""

    coarse: Results
    fine: Results
    until: float  # s


@dataclass(frozen=True)
class Grouped:
    """The runs of a study whose paths run on books of super-accounts."""

    results: Results  # every path without a limit
    fund: Results  # the first paths at the venue's fund
    chosen: Results  # paths without a limit on the books themselves, the first ones among them
    chance: np.ndarray  # of every path to be one of these


@dataclass(frozen=True)
class Sampling:
    """How events were sampled that are too rare for the paths of a run, and why (`app/rare.py`)."""

    asked: str
    why: str
    paths: Rare | None = None  # where they were sampled by importance
    aims: tuple[Aim, ...] = ()
    runs: list[Results] = dataclasses.field(default_factory=list)  # the pilot, and every look
    random_books: bool = True

    def weighted(self, need: str, level: float) -> WeightedPaths:
        """What every chosen path needs, and what it counts."""
        assert self.paths is not None
        return self.paths.weighted(need, level, self.random_books)

    def record(self) -> dict[str, str | int]:
        """As plain JSON."""
        said: dict[str, str | int] = {"asked": self.asked, "why": self.why}
        if self.paths is None:
            return said | {"ran": "plain"}
        ran = self.paths
        return said | {
            "ran": "importance", "surveyed": len(ran.surveyed.path) + ran.pilot, "pilot": ran.pilot,
            "chosen": len(ran.ran), "looks": ran.looks,
        }  # fmt: skip


@dataclass(frozen=True)
class Study:
    """Every path without a limit, and the first ones at the venue's fund and at levels of it."""

    fidelity: Fidelity
    results: Results  # the best known of every path with unlimited capital: what it would need
    full: Results  # the same of the first paths on the books themselves; of all of them if none is grouped
    fund: Results  # the first paths at the venue's fund
    levels: dict[float, Results]  # F → some paths at that fund
    refined: Refined | None  # some paths without a limit, at half the time step
    safe: Results | None  # some paths without a limit where the largest accounts cannot fail
    replays: Replays | None  # some paths at the venue's fund, step by step
    grouped: Grouped | None = None
    sampling: Sampling = Sampling("plain", "as asked")  # of events too rare for `results`

    @property
    def question(self) -> Question:
        return self.fidelity.question

    @property
    def capital(self) -> float:
        return float(self.question.venue.capital)

    @property
    def random_books(self) -> bool:
        """Whether books are draws of a law."""
        return len(self.question.opened.holdings) > 1

    def every(self, level: float) -> Paths:
        """All paths without a limit, for estimates with intervals at this level."""
        sample = Sample(self.results.book, level, self.random_books)
        runs = self.grouped
        if runs is None:
            return Paths(self.results, sample)
        two = TwoLevel(runs.results, runs.chosen, runs.chance, level, self.random_books)
        return CoupledPaths(self.results, sample, two)

    @property
    def runs(self) -> list[Results]:
        """Every result once, but for those of rare events, which may be beyond what digits carry."""
        finer = [self.refined.coarse, self.refined.fine] if self.refined else []
        levels = [r for r in self.levels.values() if r is not self.fund]
        runs = self.grouped
        free = [runs.results, runs.fund, runs.chosen] if runs else [self.results]
        safe = [self.safe] if self.safe else []
        return [*free, self.fund, *levels, *finer, *safe]


Part = Callable[[Question, np.ndarray, int], Results]  # a question, paths, and how many went before


def simulate_all(
    fidelity: Fidelity, asked: SimulationConfig, part: Part, progress: Progress | None = None
) -> Study:
    """All runs; `part` is how paths run without a limit: `unlimited`, or that shard by shard."""
    results = part(fidelity.every, np.arange(asked.paths), 0)
    if fidelity.groups is None:
        return complete(fidelity, results, results, asked, progress)
    first = min(_first(fidelity.question, results, asked), len(results))
    chance = fidelity.chances(results, first)
    full = part(fidelity.question, np.arange(first), asked.paths)
    others = fidelity.chosen(chance, results)[first:]
    chosen = full
    if len(others):
        chosen = Results.join([full, part(fidelity.question, others, asked.paths + first)])
    known = results.updated(chosen.path, chosen)
    own = float(fidelity.question.venue.capital)
    (fund,) = fidelity.groups.setting.at_funds(
        results, {own: asked.fund_paths}, asked.batch, progress
    ).values()
    found = complete(fidelity, known, full, asked, progress)
    return dataclasses.replace(found, grouped=Grouped(results, fund, chosen, chance))


def _first(question: Question, results: Results, asked: SimulationConfig) -> int:
    """How many paths all run in full: those that also run at a fund, and with the largest safe."""
    safe = few(question, results, asked.largest_paths)
    return max(asked.fund_paths, asked.level_paths, *(safe + 1))


def complete(
    fidelity: Fidelity,
    results: Results,
    full: Results,
    asked: SimulationConfig,
    progress: Progress | None = None,
) -> Study:
    """All the runs that follow once every path is known without a limit, `full` in full."""
    question = fidelity.question
    own, batch = float(question.venue.capital), asked.batch
    levels = target.levels(results["adl_required_fund"], own) if asked.level_paths else []
    counts = dict.fromkeys(map(float, levels), asked.level_paths) | {own: asked.fund_paths}
    found = question.setting.at_funds(full, counts, batch, progress)
    return Study(
        fidelity=fidelity,
        results=results,
        full=full,
        fund=found[own],
        levels=found if len(levels) else {},
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


def may_bind_early(venue: Venue) -> bool:
    """Whether a rule can bind while the fund is not yet dry; then depletion is known at a fund only."""
    margin = "margin" in venue.pools.triggers and bool((venue.pools.margin_multiple > 0).any())
    early = {"inventory", "rate", "drawdown"} & set(venue.pools.triggers)
    return bool(early) or margin or "profit_cap" in venue.stages


def owners(question: Question) -> dict[str, float]:
    """Pools that stand behind others with capital outside F, and what they have."""
    return _with_capital(question, np.asarray(venues.owners(question.venue)))


def providers(question: Question) -> dict[str, float]:
    """Pools that take over with capital outside F and stand behind nobody, and what they have."""
    venue = question.venue
    return _with_capital(question, ~np.asarray(venues.owners(venue) | (venue.pools.share > 0)))


def _with_capital(question: Question, chosen: np.ndarray) -> dict[str, float]:
    pools = question.venue.pools
    each = zip(pools.names, np.asarray(pools.fixed), chosen, strict=True)
    return {name: float(fixed) for name, fixed, one in each if one and fixed > 0}


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
MATERIAL = 1e-3  # of open interest: an unfunded loss below it is rarely anybody's business
RELIABLE = 10  # paths beyond the quantile at which two runs are compared


def seldom(paths: int) -> float:
    """The probability at which fund targets of two runs of so many paths are compared."""
    return max(0.05, RELIABLE / paths)


def material(question: Question, results: Results) -> np.ndarray:
    """Paths that leave a loss which matters and which nobody can pay."""
    return results["unfunded"] > MATERIAL * question.open_interest


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
    setting, paths = question.setting, results.path[rows]
    grid = question.simulation
    finer = halved(dataclasses.replace(grid, dt=stopped(grid, steps).dt), grid.dt.shape[0])
    coarse, fine = (
        dataclasses.replace(setting, simulation=g).unlimited(paths, batch, progress, what)
        for what, g in (("at dt", stopped(grid, steps)), ("at dt/2", finer))
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
    setting = dataclasses.replace(question.setting, books=books)
    what = f"with the {LARGEST} largest accounts safe"
    return setting.unlimited(results.path[rows], batch, progress, what)


def shards(paths: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Path ids of each shard."""
    for first in range(0, len(paths), size):
        yield paths[first : first + size]


def violations(results: Results) -> list[str]:
    """What must never happen and did, with the number of paths and the first one."""
    found = []
    for flag, words in metrics.FATAL.items():
        bad = np.flatnonzero(results["flags"] & flag)
        if len(bad):
            found.append(f"{words} on {len(bad)} paths, first path {results.path[bad[0]]}")
    return found
