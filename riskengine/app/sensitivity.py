"""`task=sensitivity`: build → run every path with every lever moved → compare → write."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import riskengine
from riskengine.app import (
    build,
    device,
    evidence,
    fidelity,
    run,
    shadow,
    show,
    store,
    study,
    tables,
    tornado,
)
from riskengine.app.amounts import counted
from riskengine.app.build import Question
from riskengine.app.config import Config
from riskengine.app.kept import Kept, intact
from riskengine.app.run import Outcome
from riskengine.app.show import Screen
from riskengine.app.store import RunFolder
from riskengine.calibration import likelihood, moves, sensitivity
from riskengine.calibration.moves import Move
from riskengine.calibration.sensitivity import Case, Sensitivity, Side
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate
from riskengine.montecarlo.simulate import Results

NOT_READ = (
    "batch", "super_accounts", "level_paths", "refine_paths", "largest_paths", "replay_paths",
)  # fmt: skip
RESPONSES = (0.0, 0.5, 1.0)  # where none is chosen


@dataclass(frozen=True)
class Found:
    """What the levers of a venue do."""

    question: Question
    case: Case
    at: Side
    sensitivities: list[Sensitivity]
    still: list[Estimate]  # the measures as things are, and the exact slope by the fund
    simulations: float  # what all levers took, in runs of all paths

    @property
    def moved(self) -> list[Move]:
        """Levers in the order in which they were asked for."""
        return list({s.move.name: s.move for s in self.sensitivities}.values())

    def of(self, measure: str) -> list[Sensitivity]:
        return [s for s in self.sensitivities if s.measure == measure]


def run_task(config: Config, screen: Screen, command: str = "") -> Outcome:
    """Run what the configuration asks for, or find it done, and say what came out."""
    store.checked(config.name)
    device.prepare(config.simulation)
    device.probe()
    question = build.build(config)
    key = run.key_of(config, question, (), NOT_READ)
    with run.own_folder(config, question, key, screen, command) as folder:
        if folder.manifest:
            return run.done_before(folder, screen)
        return _compute(config, question, folder, screen, command)


def _compute(
    config: Config, question: Question, folder: RunFolder, screen: Screen, command: str
) -> Outcome:
    began = time.monotonic()
    found = measure(config, question, folder, screen)
    chosen = fidelity.decide(config, question)
    second = run.second_opinion(config, chosen, time.monotonic() - began)
    facts = _facts(config, found, second, time.monotonic() - began)
    said = notes(config, found) + folder.notes
    sentence = tornado.sentence(found)
    figure = tornado.figure(found)
    listed = [*found.still, *(e for s in found.sensitivities for e in (s.step, s.down, s.up) if e)]
    folder.write("config.yaml", tables.yaml_of(dataclasses.asdict(config)))
    folder.write("sensitivity.csv", store.to_csv(tornado.columns(found)))
    folder.write(
        "estimates.json",
        store.to_json({"run": facts, "estimates": [e.record() for e in listed]}),
    )
    folder.write("tornado.svg", figure.svg)
    folder.write("tornado.png", figure.png)
    page = tornado.page(found, figure, sentence, said, command)
    folder.write("sensitivity.html", page)
    headline = {e.name: e.value for e in found.still}
    _say(screen, found, sentence, second, facts, folder.folder)
    for note in said:
        screen.note(note)
    folder.finish(
        {"answer": sentence, "headline": headline, "command": command, "run": facts, "notes": said}
    )
    screen.last(sentence)
    return Outcome(folder.folder, sentence, headline)


def measure(config: Config, question: Question, folder: RunFolder, screen: Screen) -> Found:
    """All runs, and what follows from them."""
    case, kept = case_of(config, question), Kept(folder)
    response = config.design.response
    if kept.known:
        screen.note("some runs are from an earlier start")
    levers = moves.moves(case.setting, RESPONSES if response is None else (response,))
    with screen.progress(config.simulation) as progress:
        at, funds = _as_things_are(config, question, case, kept, progress)
        sides = sum(by is not None for move in levers for by in (move.down, move.up))
        chance = sensitivity.chances(case, at, sides)
        each = len(sensitivity.chosen(case.setting.key, at.free.cheap.path, chance))
        scores = likelihood.of_paths(case.setting, at.free.cheap.path)
        found, spent, done = [], 0, 0

        def told(_: str, more: int, __: int) -> None:
            progress("with every lever moved", done + more, sides * each)

        fund = _fund(case)
        ends = sensitivity.fund_sides(case, at, funds)
        found += sensitivity.of_fund(case, at, fund, ends)
        for number, move in enumerate(levers):
            ends = []
            for place, by in enumerate((move.down, move.up)):
                if by is None:
                    ends.append(None)
                    continue

                def compute(by=by, move=move):
                    return sensitivity.run(case, at, by, move.response, chance, told)

                runs = kept.pair(config.simulation.paths, 2 * number + place, compute)
                intact(*runs)
                ends.append(sensitivity.side(at, chance, *runs))
                spent, done = spent + ends[-1].ran, done + each
            found += sensitivity.compare(case, at, move, (ends[0], ends[1]), scores.get(move.name))
    spent += sum(len(r) for r in funds.values())
    still = as_things_are(case, at)
    return Found(question, case, at, found, still, spent / len(at.free.cheap))


def case_of(config: Config, question: Question) -> Case:
    """What is asked of the levers."""
    complete, books = question.opened.complete, len(question.opened.holdings)
    return Case(
        question.setting,
        min(config.simulation.fund_paths, config.simulation.paths),
        config.target.adl_probability if complete else None,
        study.may_bind_early(question.venue),
        config.simulation.confidence,
        books > 1,
        config.simulation.batch,
    )


def _fund(case: Case) -> Move:
    """The lever that is the fund itself: `sensitivity.fund_steps` says by how much it moves."""
    if case.capital > 0:
        return Move("fund", "first-loss capital", f"{100 * moves.STEP:g} %")
    step = "a thousandth of the largest need"
    return Move("fund", "first-loss capital", step, why="up only: there is none")


def _as_things_are(
    config: Config, question: Question, case: Case, kept: Kept, progress
) -> tuple[Side, dict[float, Results]]:
    """The case as it is, and the first paths a step of the fund down and up."""
    asked, parts, done = config.simulation, [], 0
    size = study.shard_size(question, run.batch(asked, question))
    for paths in study.shards(np.arange(asked.paths), size):

        def told(what: str, more: int, _: int, before: int = done) -> None:
            progress(what, before + more, asked.paths)

        def compute(paths=paths, told=told):
            return case.setting.unlimited(paths, case.batch, told)

        parts.append(kept.one(done, len(paths), compute))
        done += len(paths)
    free = Results.join(parts)
    intact(free)
    steps = sensitivity.fund_steps(case, free)
    counts = {f: case.fund_paths for f in (case.capital, *steps) if not np.isnan(f)}
    funds = case.setting.at_funds(free, counts, case.batch, progress)
    intact(*funds.values())
    return sensitivity.base(case, free, funds.pop(case.capital)), funds


def as_things_are(case: Case, at: Side) -> list[Estimate]:
    """The measures themselves, not smoothed, under the names that `task=run` gives them."""
    free, fund = at.free.cheap, at.fund.cheap
    every, first = at.free.sample, at.fund.sample
    dry = (
        estimators.proportion("depletion_probability", fund["depleted"], first)
        if case.early
        else estimators.proportion(
            "depletion_probability", free["required_fund"] > at.capital, every
        )
    )
    found = [
        estimators.proportion("adl_probability", free["adl_required_fund"] > at.capital, every),
        dry,
        estimators.mean(
            "excess_draw", np.maximum(free["required_fund"] - at.capital, 0.0), every, "USD"
        ),
        estimators.mean("adl_loss_mark_per_crash", fund["adl_loss_mark"], first, "USD"),
        estimators.ratio(
            "expected_haircut", fund["adl_loss_mark"], fund["adl_equity"], first,
            hits=int(fund["accounts_deleveraged"].sum()),
        ),
        sensitivity.slope_of_excess_draw(case, at),
    ]  # fmt: skip
    if case.exceed:
        need = free["adl_required_fund"]
        found.insert(3, estimators.quantile("fund_target", need, case.exceed, every, "USD"))
    return found


def _facts(config: Config, found: Found, second: list[shadow.Shadow], elapsed: float) -> dict:
    """What a reader must know to judge the numbers or to repeat them."""
    question, free = found.question, found.at.free.cheap
    worst = max(float(np.maximum(free[n], 0.0).max()) for n in ("ledger_cash", "ledger_size"))
    return device.facts() | {
        "riskengine": riskengine.__version__,
        "commit": device.commit(),
        "precision": config.simulation.precision,
        "seed": config.simulation.seed,
        "paths": len(free),
        "fund_paths": len(found.at.fund.cheap),
        "steps": int(question.simulation.dt.shape[0]),
        "books": len(question.opened.holdings),
        "accounts": int(question.books.layout.number_of_accounts),
        "markets": list(question.markets),
        "open_interest_usd": question.open_interest,
        "fund_usd": found.at.capital,
        "simulations_of_levers": round(found.simulations, 2),
        "bandwidth": sensitivity.BANDWIDTH,
        "elapsed_seconds": round(elapsed, 2),
        "ledger_residual": worst,
        "shadow": [dataclasses.asdict(one) for one in second],
        "inputs": question.inputs,
    }


def notes(config: Config, found: Found) -> list[str]:
    """What a reader of the numbers should be warned of."""
    question, said = found.question, []
    graded = evidence.grade(config.venue)
    if graded:
        said.append(f"evidence for the preset {config.venue.name}: {graded}")
    said += list(question.opened.notes)
    if len(found.at.free.cheap) < run.ENOUGH:
        books = counted(len(question.opened.holdings), "book")
        said.append(
            f"{counted(len(found.at.free.cheap), 'path')} and {books} are few: these numbers show how "
            "things work and say little about any venue"
        )
    if found.case.exceed is None:
        said.append("the book is partial: it carries no fund target")
    if found.case.early:
        said.append(
            "a rule of the venue can bind before the fund is dry: P(fund runs dry) and what moves it "
            f"are of the first {len(found.at.fund.cheap)} paths, at the venue's fund"
        )
    if config.design.response is None:
        said.append(
            "how accounts answer to a cap on leverage is not known: 0, 1/2 and 1 are all shown; "
            "design.response chooses one"
        )
    return said


def _say(
    screen: Screen,
    found: Found,
    sentence: str,
    second: list[shadow.Shadow],
    facts: dict,
    folder: Path,
) -> None:
    screen.say("")
    screen.table(tornado.head(found), tornado.rows(found))
    for line in tornado.legend(found):
        screen.say(line)
    if second:
        screen.say(show.opinion(second, facts["paths"]))
    screen.say(
        f"run: {facts['paths']:,} paths, seed {facts['seed']}; all levers together took "
        f"{facts['simulations_of_levers']:.3g} times the paths of one simulation; ledger residual "
        f"{facts['ledger_residual']:.1e} of gross; {facts['elapsed_seconds']:.0f} s"
    )
    screen.say(f"the page: {folder / 'sensitivity.html'}")
