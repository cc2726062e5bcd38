"""The search for the cheapest design, where the user says what things cost."""

import dataclasses
import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from riskengine.app import bench
from riskengine.app.bench import Bench
from riskengine.app.build import Question
from riskengine.app.config import Config
from riskengine.app.show import Screen
from riskengine.calibration import design, frontier, levers, solve
from riskengine.calibration.design import Space
from riskengine.calibration.frontier import Needs
from riskengine.calibration.levers import Levers
from riskengine.calibration.solve import Found, Outlay, Step, Weights
from riskengine.montecarlo.estimators import Sample
from riskengine.specs.venue import Venue

PCT = 0.01
FIRST = 2**30  # path from which on those of a search are numbered: no estimate rests on them
AGAIN = 2**31  # and those on which what was found is compared


@dataclass(frozen=True)
class Searched:
    """What two searches found with the same budget, judged on the same other crashes."""

    space: Space
    levers: Levers  # the cheapest of today's design and of the two
    winner: str
    exceed: tuple[float, float]  # probabilities, of interventions and a dry fund, of the search
    cost: dict[
        str, float
    ]  # of today's design and of what each search found; share of open interest
    evaluations: int  # of each search
    paths: int  # of an evaluation


def run(config: Config, question: Question, space: Space, runs: Bench, screen: Screen) -> Searched:
    """Both searches from today's design and others, then all ends on other crashes."""
    asked = config.design.search
    trial = Trial(config, question, space, runs)
    today = np.asarray(design.today(space))
    starts = [np.clip(today, -2.0, 2.0), *_others(space.size, asked.starts - 1)]
    said = _Progress(screen)
    found: dict[str, Found] = {
        "gradient": solve.gradient(trial.at, starts, asked.budget, config.simulation.seed, said),
        "derivative-free": solve.derivative_free(trial.at, starts[0], asked.budget, said),
    }
    ends = {name: one.x for name, one in found.items()}
    last = dataclasses.replace(trial, first=AGAIN)
    each = {"today": last.today()} | {name: last.at(x, 0.0) for name, x in ends.items()}
    cost = {name: objective for name, (objective, _) in each.items()}
    # the cheapest that keeps to the highest capital; if none does, the one that is least above it
    winner = min(each, key=lambda name: (max(each[name][1], 0.0), each[name][0]))
    best = (
        levers.still(question.venue)
        if winner == "today"
        else space.design(jnp.asarray(ends[winner]))
    )
    return Searched(
        space, best, winner, trial.exceed, cost, asked.budget, asked.paths,
    )  # fmt: skip


def _others(size: int, count: int) -> list[np.ndarray]:
    """Starts spread over the ranges of all levers."""
    from scipy.stats import qmc

    if count < 1:
        return []
    drawn = qmc.Halton(size, scramble=False).random(count + 1)[1:]
    return list(np.log(drawn) - np.log1p(-drawn))


@dataclass(frozen=True)
class Trial:
    """One evaluation of a design: all on the same crashes."""

    config: Config
    question: Question
    space: Space
    runs: Bench
    first: int = FIRST

    @property
    def exceed(self) -> tuple[float, float]:
        """The probabilities that these few paths carry."""
        aim, paths = self.config.target, self.config.design.search.paths
        asked = (aim.adl_probability, aim.depletion_probability)
        return tuple(frontier.carried(e, paths) for e in asked)  # pyright: ignore[reportReturnType]

    def at(self, x: np.ndarray, width: float) -> tuple[float, float]:
        """J and the excess over the highest capital."""
        return self._valued(self.space.design(jnp.asarray(x)), np.asarray(x), width)

    def today(self) -> tuple[float, float]:
        """The same for the design as it is, which bounds of the search may leave out."""
        nowhere = np.full(self.space.size, math.inf)
        return self._valued(levers.still(self.question.venue), nowhere, 0.0)

    def _valued(self, design: Levers, x: np.ndarray, width: float) -> tuple[float, float]:
        needs, outlay = self._run(design, x)
        interest, most = self.question.open_interest, self.config.design.fund_most_pct
        loss = self.config.target.loss_pct
        capital = solve.fund(
            needs, *self.exceed, width, None if loss is None else PCT * loss * interest
        )
        excess = -math.inf if most is None else capital / (PCT * most * interest) - 1.0
        return solve.cost(needs, outlay, capital, self.weights, interest), excess

    def objective(self, x: np.ndarray) -> float:
        return self.at(x, 0.0)[0]

    @property
    def weights(self) -> Weights:
        given = dataclasses.asdict(self.config.design.weights)
        return Weights(**{name: x or 0.0 for name, x in given.items()})

    def _run(self, design: Levers, x: np.ndarray) -> tuple[Needs, Outlay]:
        """Needs of the crashes of the search under a design, and what it takes besides the fund."""
        setting, count = self.question.setting, self.config.design.search.paths
        moved = levers.moved(setting, design, self.config.design.response or 0.0)
        given = levers.given_up(setting.books, moved.books)

        def numbers() -> np.ndarray:
            paths = self.first + np.arange(count)
            ran = moved.unlimited(paths, self.runs.batch)
            needs = bench.needs(self.question, ran, 0.95)
            return np.stack([needs.adl, needs.dry, needs.beyond])

        adl, dry, beyond = self.runs.evaluation(numbers, x)
        book = (self.first + np.arange(count)) % setting.number_of_books
        outlay = Outlay(vault(moved.venue), given.open_interest, given.equity)
        needs = Needs(adl, dry, beyond, Sample(book))
        return solve.bounded(needs, self.question.open_interest), outlay


def vault(venue: Venue) -> float:
    """Capital of pools outside the first-loss capital, USD."""
    share, fixed = (np.asarray(x) for x in (venue.pools.share, venue.pools.fixed))
    return float(np.where(share > 0.0, 0.0, fixed).sum())


class _Progress:
    """A line for every tenth of a search: objective, constraint, gradient norm and time left."""

    def __init__(self, screen: Screen):
        import time

        self.screen, self.clock = screen, time.monotonic
        self.began, self.first = self.clock(), 0

    def __call__(self, step: Step) -> None:
        kind = "derivative-free search" if math.isnan(step.slope) else "gradient search"
        if step.evaluations <= 2:
            self.began, self.first = self.clock(), step.evaluations
        if step.evaluations % max(step.budget // 10, 1) > 1 and step.evaluations < step.budget:
            return
        pace = (self.clock() - self.began) / max(step.evaluations - self.first, 1)
        left = f"about {pace * (step.budget - step.evaluations):.0f} s left"
        excess = "" if math.isinf(step.excess) else f", capital {step.excess:+.1%} of its highest"
        slope = (
            "" if math.isnan(step.slope) else f", gradient {step.slope:.2g}, width {step.width:.2g}"
        )
        self.screen.note(
            f"{kind}: {step.evaluations} of {step.budget} evaluations, cost {100 * step.objective:.4g} % "
            f"of open interest{excess}{slope}, {left}"
        )
