"""Looks: the chosen design on fresh books and fresh crashes, which nothing else uses."""

import dataclasses
from dataclasses import dataclass

import jax
import numpy as np

from riskengine.app import bench, books, build, haircuts, rare_capital, validate_design
from riskengine.app.bench import Bench
from riskengine.app.books import OpenBook
from riskengine.app.build import Question
from riskengine.app.config import Config
from riskengine.app.rare_capital import RareNeeds
from riskengine.calibration import levers, verify
from riskengine.calibration.frontier import Needs
from riskengine.calibration.levers import Levers
from riskengine.calibration.verify import Limits, Look, Verdict
from riskengine.montecarlo import keys
from riskengine.montecarlo.importance import CAREFUL, Aim
from riskengine.montecarlo.keys import Stream
from riskengine.montecarlo.simulate import Results

PCT = 0.01
LADDER = (1.0, 1.5, 2.0, 3.0, 5.0)  # capitals, of what a look needs, at which haircuts are tested
WHAT = "verification on fresh books and crashes"


@dataclass(frozen=True)
class Fresh:
    """A look's own books and crashes under a design."""

    question: Question
    ran: Results
    needs: Needs
    rare: RareNeeds | None  # weighted crashes, where the target is too rare for others


def questions(config: Config, first: Question) -> list[Question]:
    """The same question on fresh books and crashes for every look; in shapes that looks share.

    A book that was read from a file is the same in all of them: only crashes are fresh then.
    """
    root = keys.root(config.simulation.seed)
    fresh = [keys.stream(root, Stream.FRESH, number + 1) for number in range(config.design.looks)]
    if config.book.path is not None:
        return [dataclasses.replace(first, key=key) for key in fresh]
    size = validate_design.look_books(config)
    wide = dataclasses.replace(config, book=dataclasses.replace(config.book, books=size))
    every = [build.build(wide, key) for key in fresh]
    together = OpenBook(
        first.opened.markets, sum((q.opened.holdings for q in every), ()), (), complete=True
    )
    packed, rows = books.packed(together, config)
    return [
        dataclasses.replace(
            question,
            venue=first.venue,  # in dollars: not of the books that were drawn
            books=jax.tree.map(lambda x, n=n: x[n * size : (n + 1) * size], packed),
            account_rows=rows[n * size : (n + 1) * size],
        )
        for n, question in enumerate(every)
    ]


def run(
    config: Config, asked: list[Question], design: Levers, response: float, runs: Bench
) -> list[Fresh]:
    """Every look's crashes without a limit, under this design."""
    found = []
    for number, question in enumerate(asked):
        moved = levers.moved(question.setting, design, response)
        parts = {"books": moved.books, "venue": moved.venue, "scenario": moved.scenario}
        found.append(_one(config, dataclasses.replace(question, **parts), number, len(asked), runs))
    return found


def _one(config: Config, question: Question, number: int, looks: int, runs: Bench) -> Fresh:
    count, setting = validate_design.verify_paths(config), question.setting
    level = config.simulation.confidence
    paths = np.arange(count)
    paths = paths[bench.by_book(paths, setting.books)]
    weighted = validate_design.weighted_paths(config)
    batch = bench.fitting(setting.books, weighted or count)
    ran = runs.unlimited(setting, paths, WHAT, number * count, looks * count, batch=batch)
    aims = (
        Aim("adl", config.target.adl_probability),
        Aim("dry", config.target.depletion_probability),
    )
    rare = rare_capital.run(
        question, runs, weighted, level, aims, f"look {number + 1} of {looks}: weighted crashes",
        batch, CAREFUL, looks=1,
    )  # fmt: skip
    return Fresh(question, ran, bench.needs(question, ran, level), rare)


def limits(config: Config, question: Question) -> Limits:
    """What the user asks of a design, in dollars and fractions."""
    aim, most, interest = config.target, config.design.fund_most_pct, question.open_interest
    return Limits(
        adl=aim.adl_probability,
        dry=aim.depletion_probability,
        loss=None if aim.loss_pct is None else PCT * aim.loss_pct * interest,
        haircut=None if aim.haircut_pct is None else PCT * aim.haircut_pct,
        fund=np.inf if most is None else PCT * most * interest,
    )


def verdict(config: Config, question: Question, fresh: list[Fresh], runs: Bench) -> Verdict:
    """What all looks say."""
    asked, alpha = limits(config, question), 1.0 - config.simulation.confidence
    looks = []
    for number, mine in enumerate(fresh, start=1):
        rare = {"adl": mine.rare.adl, "dry": mine.rare.dry} if mine.rare else None
        found = verify.look(number, alpha, mine.needs, asked, rare)
        if asked.haircut is not None and np.isfinite(found.needed):
            found = _haircut(mine, found, asked.haircut, runs)
        looks.append(found)
    return Verdict(looks, asked)


def _haircut(mine: Fresh, found: Look, limit: float, runs: Bench) -> Look:
    """The look with haircuts tested at the capital that it needs, and at larger ones."""
    counts = {round(found.needed * step, 2): len(mine.ran) for step in LADDER}
    batch = bench.fitting(mine.question.books, len(mine.ran))
    tested = runs.at_funds(
        mine.question.setting, mine.ran, counts, "haircuts at larger funds", batch
    )
    sample = mine.needs.at(1.0 - 2.0 * found.alpha).sample
    each = {f: haircuts.expected(results, sample) for f, results in tested.items()}
    return verify.with_haircut(found, each, limit)
