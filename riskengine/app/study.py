"""The runs that answer a question: at the venue's fund, without a limit, at levels of F, at dt/2."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import numpy as np

from riskengine.app import build
from riskengine.app.build import Question
from riskengine.calibration import target
from riskengine.montecarlo import metrics
from riskengine.montecarlo.simulate import Results, simulate

# What a run without a limit says about a path; all else is said at the venue's fund.
NEEDS = ("required_fund_cash", "required_fund", "capital_rule_fund", "adl_required_fund")
Progress = Callable[[str, int, int], None]  # what, paths done, paths in all


@dataclass(frozen=True)
class Study:
    """All paths at the venue's fund, their needs without a limit, and the runs beside them."""

    question: Question
    results: Results  # at the venue's fund; `NEEDS` are those without a limit
    levels: dict[float, Results]  # F → the same first paths at that fund
    refined: Results | None  # the same first paths without a limit, at half the time step

    @property
    def capital(self) -> float:
        return float(self.question.venue.capital)


def shard_size(question: Question, batch: int) -> int:
    """Paths of a shard: whole batches of every book on all devices, several of each."""
    books = int(jax.tree.leaves(question.books)[0].shape[0])
    return 4 * books * batch * jax.local_device_count()


def at_fund(
    question: Question, paths: np.ndarray, batch: int | None = None, progress: Progress | None = None
) -> Results:
    """Paths at the venue's fund, with the needs that they have without a limit.

    A path on which no rule that reads the fund ever binds is the same with more capital, so only
    the others are simulated twice.
    """
    found = _simulate(question, paths, batch, progress, "at the venue's fund")
    bound = found["intervened"] | found["depleted"]
    if not bound.any():
        return found
    free = build.with_fund(question, np.inf)
    needs = _simulate(free, paths[bound], batch, progress, "without a limit")
    merged = dict(found.metrics)
    for name in NEEDS:
        merged[name] = found[name].copy()
        merged[name][bound] = needs[name]
    for name in ("ledger_cash", "ledger_size"):
        merged[name] = found[name].copy()
        merged[name][bound] = np.maximum(found[name][bound], needs[name])
    merged["flags"] = found["flags"].copy()
    merged["flags"][bound] |= needs["flags"]
    merged["excess_draw"] = np.maximum(merged["required_fund"] - float(question.venue.capital), 0.0)
    return dataclasses.replace(found, metrics=merged, seconds=found.seconds + needs.seconds)


def at_levels(
    question: Question, results: Results, count: int, batch=None, progress: Progress | None = None
) -> dict[float, Results]:
    """The first `count` paths at six levels of F: what happens after the first intervention."""
    count = min(count, len(results))
    if not count:
        return {}
    capitals = target.levels(results["adl_required_fund"], float(question.venue.capital))
    return {
        float(f): _simulate(build.with_fund(question, f), results.path[:count], batch, progress, "at levels of F")
        for f in capitals
    }


def refined(
    question: Question, count: int, paths: np.ndarray, batch=None, progress: Progress | None = None
) -> Results | None:
    """The first `count` paths without a limit at half the time step, on the same random numbers."""
    if not count:
        return None
    finer = dataclasses.replace(question.simulation, refine=True)
    free = dataclasses.replace(build.with_fund(question, np.inf), simulation=finer)
    return _simulate(free, paths[:count], batch, progress, "at half the time step")


def _simulate(question: Question, paths, batch, progress: Progress | None, what: str) -> Results:
    def told(done: int, total: int) -> None:
        if progress:
            progress(what, done, total)

    return simulate(
        question.key, question.books, question.venue, question.scenario, question.simulation,
        paths, batch=batch, progress=told,
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
