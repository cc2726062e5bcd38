"""task=calibrate: how much capital meets the target, what other designs change, and verification."""

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np

import riskengine
from riskengine.app import (
    bench,
    build,
    calibration_files,
    calibration_words,
    designs,
    device,
    evidence,
    haircuts,
    looks,
    practice,
    rare_capital,
    search,
    store,
    study,
    validate_design,
)
from riskengine.app.bench import Bench
from riskengine.app.build import Question
from riskengine.app.config import Config
from riskengine.app.designs import WhatIf
from riskengine.app.practice import Rule
from riskengine.app.rare_capital import RareNeeds
from riskengine.app.run import Broken, key_of, own_folder
from riskengine.app.search import Searched
from riskengine.app.show import Screen
from riskengine.calibration import frontier, levers, target
from riskengine.calibration.frontier import Compared, Needs
from riskengine.calibration.levers import GivenUp
from riskengine.calibration.verify import Verdict
from riskengine.montecarlo import estimators, simulate
from riskengine.montecarlo.estimators import Estimate
from riskengine.montecarlo.setting import Setting
from riskengine.montecarlo.simulate import Results
from riskengine.waterfall.state import places

NOT_MET = 6  # exit code: the target is not met
HAIRCUTS = 64  # paths at today's fund that compare haircuts: where winners are hit they take long
NEAR = 32  # paths with needs near F* that tell how pools share it


@dataclass(frozen=True)
class Done:
    """A design that was put beside today's."""

    design: WhatIf
    compared: Compared
    given_up: GivenUp
    haircut: Estimate  # at today's fund
    haircut_change: Estimate
    ran: Results  # without a limit


@dataclass(frozen=True)
class Calibration:
    """All that a calibration found."""

    question: Question
    config: Config
    needs: Needs
    levels: dict[float, Results]  # F → the first paths at it
    exceed: float  # probability at which designs are compared
    designs: list[Done]
    share: np.ndarray  # of pools by what they draw near F*
    # factor on capital outside F → paths without a limit, and F → paths at it
    iso: dict[float, tuple[Results, dict[float, Results]]]
    searched: Searched | None
    verdict: Verdict
    chosen: GivenUp  # what the design that was verified costs traders
    practice: list[Rule]
    rare: RareNeeds | None  # weighted paths of today's rules
    facts: dict = field(default_factory=dict)

    @property
    def capital(self) -> float:
        return float(self.question.venue.capital)

    @property
    def interest(self) -> float:
        return self.question.open_interest


@dataclass(frozen=True)
class Outcome:
    """A calibration that is done, and the code with which its command ends."""

    folder: Path
    sentence: str
    code: int


def run(config: Config, screen: Screen, command: str = "") -> Outcome:
    """Calibrate as the configuration asks, or find it done, and say what came out."""
    store.checked(config.name)
    device.prepare(config.simulation)
    device.probe()
    question = build.build(config)
    space = designs.searched(question.setting, config.design.search) if weighed(config) else None
    with own_folder(config, question, _key(config, question), screen, command) as folder:
        if folder.manifest:
            return _done_before(folder, screen)
        return _compute(config, question, space, folder, screen, command)


def weighed(config: Config) -> bool:
    """Whether the user says what a design costs."""
    return any(w is not None for w in dataclasses.asdict(config.design.weights).values())


def _key(config: Config, question: Question) -> str:
    return key_of(config, question, ("assumptions",), ("batch",))


def _done_before(folder: store.RunFolder, screen: Screen) -> Outcome:
    manifest = folder.manifest or {}
    screen.note(f"this run was done before: {folder.folder}")
    screen.last(manifest["answer"])
    return Outcome(folder.folder, manifest["answer"], manifest["exit_code"])


def _compute(config, question: Question, space, folder, screen: Screen, command: str) -> Outcome:
    began = time.monotonic()
    with screen.progress(config.simulation) as told:
        runs = Bench(folder, config.simulation.batch, told)
        found = calibrate(config, question, space, runs, screen)
    if runs.found:
        screen.note(f"{runs.found:,} paths are from an earlier start")
    bad = [line for results in runs.results for line in study.violations(results)]
    if bad:
        raise Broken("; ".join(bad))
    facts = _facts(found, runs, time.monotonic() - began)
    found = dataclasses.replace(found, facts=facts)
    sentence = calibration_words.lead(found)
    calibration_files.write(folder, found, dataclasses.asdict(config), sentence, command)
    calibration_words.answer(screen, found, sentence, folder.folder)
    code = 0 if found.verdict.met else NOT_MET
    folder.finish(
        {"answer": sentence, "command": command, "run": facts, "exit_code": code,
         "notes": calibration_words.notes(found) + folder.notes}
    )  # fmt: skip
    screen.last(sentence)
    return Outcome(folder.folder, sentence, code)


def calibrate(
    config: Config, question: Question, space, runs: Bench, screen: Screen
) -> Calibration:
    """All runs and what follows from them."""
    level = config.simulation.confidence
    setting, paths = question.setting, np.arange(config.simulation.paths)
    base = runs.unlimited(setting, paths, "without a limit")
    needs = bench.needs(question, base, level)
    levels = _levels(config, setting, base, needs, runs)
    rarest = rare_capital.run(question, runs, config.design.rare_paths, level)
    exceed = frontier.carried(config.target.adl_probability, validate_design.paths(config))
    share = pool_shares(setting, needs, config.target.adl_probability, config.simulation.batch)
    done = _beside(config, question, base, levels, needs, share, exceed, runs)
    iso = _iso(question, base, done, levels, runs)
    searched = search.run(config, question, space, runs, screen) if space else None
    best = searched.levers if searched else levers.still(setting.venue)
    response = config.design.response or 0.0
    asked = looks.questions(config, question)
    fresh = looks.run(config, asked, best, response, runs)
    verdict = looks.verdict(config, question, fresh, runs)
    moved = levers.moved(setting, best, response)
    known = fresh
    if searched and searched.winner != "today":
        known = looks.run(config, asked, levers.still(setting.venue), response, runs)
    rules = practice.compared(config, question, needs, known)
    return Calibration(
        question, config, needs, levels, exceed, done, share, iso, searched, verdict,
        levers.given_up(setting.books, moved.books), rules, rarest,
    )  # fmt: skip


def _levels(config, setting: Setting, base: Results, needs: Needs, runs: Bench):
    """Some paths at levels of F: the venue's own, and from none to one that is rarely used."""
    own, exceed = float(setting.venue.capital), config.target.adl_probability
    levels = target.levels(needs.adl, own)
    aim = estimators.upper(needs.adl, exceed)
    if np.isfinite(aim):
        levels = np.unique(np.append(levels, round(aim, 2)))
    count = min(config.simulation.fund_paths, len(base))
    counts = {float(f): count for f in levels}
    return runs.at_funds(setting, base, counts, "at levels of the fund")


def _beside(
    config, question: Question, base, levels, needs: Needs, share, exceed, runs: Bench
) -> list[Done]:
    """Every design beside today's, on the first crashes of all."""
    setting = question.setting
    listed = designs.what_ifs(setting.venue, config.design)
    if np.count_nonzero(share) > 1:
        still = levers.still(setting.venue)
        listed.append(WhatIf("split", 1.0, still, share=share))
    count, own = validate_design.paths(config), float(setting.venue.capital)
    few, found = min(count, config.simulation.fund_paths, HAIRCUTS), []
    today = levels[own].some(slice(0, few))
    for number, design in enumerate(listed):
        moved = design.of(setting)
        what, total = f"designs beside today's: {len(listed)}", count * len(listed)
        ran = runs.unlimited(moved, np.arange(count), what, number * count, total)
        at_fund = runs.at_funds(moved, ran, {own: few}, "designs at today's fund")[own]
        mine = bench.needs(question, ran, needs.sample.level)
        sample = mine.some(slice(0, few)).sample
        found.append(
            Done(
                design,
                frontier.compared(mine, needs.some(slice(0, count)), own, exceed),
                levers.given_up(setting.books, moved.books),
                haircuts.expected(at_fund, sample),
                haircuts.changed(at_fund, today, sample),
                ran,
            )
        )
    return found


def _iso(
    question: Question, base: Results, done: list[Done], levels: dict[float, Results], runs: Bench
) -> dict[float, tuple[Results, dict[float, Results]]]:
    """Paths without a limit and at levels of F for every size of the capital outside F."""
    sizes = {one.design.factor: one for one in done if one.design.kind == "vault"}
    if not sizes:
        return {}
    count = min(len(next(iter(levels.values()))), *(len(one.ran) for one in sizes.values()))
    known = {factor: one.ran for factor, one in sizes.items()} | {1.0: base}
    worlds = {factor: one.design.of(question.setting) for factor, one in sizes.items()}
    worlds |= {1.0: question.setting}
    counts, found = dict.fromkeys(_between(list(levels)), count), {}
    for factor in sorted(known):
        free = known[factor].some(np.arange(count))
        what = f"capital outside F x {factor:g}"
        found[factor] = free, runs.at_funds(worlds[factor], free, counts, what)
    return found


def _between(levels: list[float]) -> list[float]:
    """Levels of F with as many between them."""
    some = np.unique(levels)
    middle = np.sqrt(np.maximum(some[:-1], 0.1 * some[1:]) * some[1:])
    return [float(f) for f in np.unique(np.append(some, np.round(middle, 2)))]


def pool_shares(setting: Setting, needs: Needs, exceed: float, batch: int | None) -> np.ndarray:
    """Shares of the first-loss pools by E[draw_k | R ≈ F*]: of paths whose needs are near F*."""
    today = np.asarray(setting.venue.pools.share)
    first = np.flatnonzero(today > 0.0)
    if len(first) < 2:
        return today
    rows = frontier.near(needs.adl, exceed, NEAR)
    free = dataclasses.replace(setting.venue, capital=jax.numpy.asarray(np.inf))
    world = (setting.key, setting.books, free, setting.scenario, setting.simulation)
    moved = simulate.traces(*world, rows, batch)["moved"]
    where = places(setting.books.layout.number_of_markets, len(today))["need_rules"]
    draws = np.maximum(moved[..., where].max(axis=1), 0.0)[:, first]
    share = np.zeros(len(today))
    share[first] = frontier.split(np.where(np.isfinite(draws), draws, 0.0))
    return share


def _facts(found: Calibration, runs: Bench, elapsed: float) -> dict:
    """What a reader must know to judge the numbers or to repeat them."""
    config, question = found.config, found.question
    graded = evidence.grade(config.venue)
    return device.facts() | {
        "riskengine": riskengine.__version__,
        "commit": device.commit(),
        "precision": config.simulation.precision,
        "seed": config.simulation.seed,
        "paths": len(found.needs.adl),
        "paths_in_all": int(sum(len(results) for results in runs.results)) + runs.unchecked,
        "steps": int(question.simulation.dt.shape[0]),
        "books": len(question.opened.holdings),
        "accounts": int(question.books.layout.number_of_accounts),
        "markets": list(question.markets),
        "open_interest_usd": found.interest,
        "fund_usd": found.capital,
        "evidence": dataclasses.asdict(graded) if graded else None,
        "simulation_seconds": round(
            sum(results.seconds for results in runs.results) + runs.seconds, 2
        ),
        "elapsed_seconds": round(elapsed, 2),
        "inputs": question.inputs,
        "verified": found.verdict.met,
    }
