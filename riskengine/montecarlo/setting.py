"""What an experiment rests on, and its paths: without a limit on capital, and at any fund."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Key

from riskengine.montecarlo import simulate
from riskengine.montecarlo.simulate import Results, Simulation
from riskengine.specs.book import Book
from riskengine.specs.scenario import Scenario
from riskengine.specs.venue import Venue

# What depends on the fund even where none of its rules ever binds; see `_unbound`.
NEVER = ("depletion_time", "intervention_time")
Progress = Callable[[str, int, int], None]  # what, paths done, paths in all


@dataclass(frozen=True)
class Setting:
    """Random numbers, books, venue, law and time grid: what `simulate` takes."""

    key: Key[Array, ""]
    books: Book  # stacked along a leading axis
    venue: Venue
    scenario: Scenario
    simulation: Simulation

    @property
    def number_of_books(self) -> int:
        return int(jax.tree.leaves(self.books)[0].shape[0])

    def simulate(
        self, paths: np.ndarray, capital=None, batch: int | None = None,
        progress: Progress | None = None, what: str = "", scale: np.ndarray | None = None,
    ) -> Results:  # fmt: skip
        """These paths; each at its own capital and scale where these are given."""

        def told(done: int, total: int) -> None:
            if progress:
                progress(what, done, total)

        return simulate.simulate(
            self.key, self.books, self.venue, self.scenario, self.simulation, paths, capital, batch,
            told, scale,
        )  # fmt: skip

    def unlimited(
        self, paths: np.ndarray, batch: int | None = None, progress: Progress | None = None,
        what: str = "without a limit", scale: np.ndarray | None = None,
    ) -> Results:  # fmt: skip
        """Paths with unlimited capital: no rule that reads the fund binds, and every need shows."""
        capital = np.full(len(paths), np.inf)
        return self.simulate(paths, capital, batch, progress, what, scale)

    def at_funds(
        self, results: Results, counts: dict[float, int], batch: int | None = None,
        progress: Progress | None = None,
    ) -> dict[float, Results]:  # fmt: skip
        """For every fund, the first paths at it, so many as `counts` says, from those without a limit.

        Until the first rule that reads the fund binds a path does not depend on it, so only paths on
        which one does are simulated again: those of all funds together.
        """
        first = {f: results.some(np.arange(min(n, len(results)))) for f, n in counts.items()}
        again = {f: np.flatnonzero(bound(known, f)) for f, known in first.items()}
        merged = {f: known.replaced(_unbound(known)) for f, known in first.items()}
        lengths = [len(rows) for rows in again.values()]
        if not sum(lengths):
            return merged
        paths = np.concatenate([first[f].path[rows] for f, rows in again.items()])
        capital = np.repeat(np.asarray(list(counts), float), lengths)
        found = self.simulate(paths, capital, batch, progress, "at the venue's and other funds")
        parts = zip(merged, np.split(np.arange(len(found)), np.cumsum(lengths)[:-1]), strict=True)
        return {f: merged[f].updated(again[f], found.some(part)) for f, part in parts}


def bound(results: Results, capital: float) -> np.ndarray:
    """Paths that a fund of this size changes: a rule that reads it binds, or it runs dry."""
    rules = results["adl_required_fund"] > capital  # infinite where an account is deleveraged
    return rules | (results["required_fund"] > capital)


def _unbound(results: Results) -> dict[str, np.ndarray]:
    """Numbers of paths on which no rule binds and the fund never runs dry."""
    never = np.full(len(results), np.inf)
    no = np.zeros(len(results), bool)
    return dict.fromkeys(NEVER, never) | {
        "depleted": no, "intervened": no, "excess_draw": np.zeros(len(results)),
    }  # fmt: skip
