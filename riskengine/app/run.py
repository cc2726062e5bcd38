"""Build → simulate → estimate → write: the main job."""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import riskengine
from riskengine.app import (
    answers,
    build,
    device,
    evidence,
    fidelity,
    pictures,
    rare,
    report,
    shadow,
    show,
    store,
    study,
    tables,
)
from riskengine.app.amounts import counted, percent, usd
from riskengine.app.answers import Answers
from riskengine.app.build import Question
from riskengine.app.config import Config, SimulationConfig
from riskengine.app.fidelity import Fidelity
from riskengine.app.shadow import Shadow
from riskengine.app.show import Screen
from riskengine.app.study import Study
from riskengine.montecarlo.setting import Progress
from riskengine.montecarlo.simulate import Results, batch_size
from riskengine.specs.scenario import Ladder

ENOUGH = 512  # simulated crashes from which on probabilities mean something
NOT_IN_KEY = ("ranges", "runs", "name", "vectors")  # where a run lies, or of another task
OF_OTHERS = ("design", "assumptions")  # groups that only other tasks read


class Broken(RuntimeError):
    """An invariant failed: the numbers of this run must not be used."""

    exit_code = 4


class Interrupted(BaseException):
    """The user or the system asked to stop."""

    def __init__(self, number: int):
        self.exit_code = 128 + number


@dataclass(frozen=True)
class Outcome:
    """A run that is done."""

    folder: Path
    sentence: str
    headline: dict[str, Any]  # name → value, for the table of a sweep


def run(config: Config, screen: Screen, command: str = "") -> Outcome:
    """Run what the configuration asks for, or find it done, and say what came out."""
    store.checked(config.name)
    device.prepare(config.simulation)
    device.probe()
    question = build.build(config)
    resolved, key = dataclasses.asdict(config), key_of(config, question, OF_OTHERS, unused(config))
    with own_folder(config, question, key, screen, command) as folder:
        if folder.manifest:
            return done_before(folder, screen)
        return _compute(config, question, folder, screen, resolved, command)


@contextlib.contextmanager
def own_folder(
    config: Config, question: Question, key: str, screen: Screen, command: str
) -> Iterator[store.RunFolder]:
    """The run's folder, which says whether it was done before; a stopped run is marked as such."""
    with store.open_run(Path(config.runs), config.name, key) as folder, stoppable():
        if folder.manifest:
            yield folder
            return
        screen.opening(config, question)
        try:
            yield folder
        except Interrupted:
            folder.interrupt({"command": command})
            raise


def unused(config: Config) -> tuple[str, ...]:
    """What of `simulation` changes no number."""
    full, plain = (
        config.simulation.fidelity == "full", config.simulation.estimator == "plain",
    )  # fmt: skip
    return ("batch", *GROUPING * full, *SAMPLING * plain)


GROUPING, SAMPLING = ("super_accounts",), ("relative_error", "rare_paths")


def key_of(
    config: Config, question: Question, groups: tuple[str, ...], numbers: tuple[str, ...]
) -> str:
    """The key of a run whose task reads neither these groups nor these numbers of `simulation`."""
    version = f"{riskengine.__version__} {device.facts()['platform']} {device.facts()['jaxlib']}"
    left_out = (*NOT_IN_KEY, *groups)
    asked = {k: v for k, v in dataclasses.asdict(config).items() if k not in left_out}
    asked["simulation"] = {k: v for k, v in asked["simulation"].items() if k not in numbers}
    return store.run_key(asked, question.inputs, version)


def done_before(folder: store.RunFolder, screen: Screen) -> Outcome:
    manifest = folder.manifest or {}
    screen.note(f"this run was done before: {folder.folder}")
    screen.last(manifest["answer"])
    return Outcome(folder.folder, manifest["answer"], manifest["headline"])


def _compute(
    config: Config,
    question: Question,
    folder: store.RunFolder,
    screen: Screen,
    resolved,
    command: str,
) -> Outcome:
    began = time.monotonic()
    chosen = fidelity.decide(config, question)
    screen.fidelity(chosen)
    found, seconds = simulate(config, chosen, folder, screen)
    bad = [line for results in found.runs for line in study.violations(results)]
    if bad:
        raise Broken("; ".join(bad))
    second = second_opinion(config, chosen, time.monotonic() - began)
    answered = answers.answer(found, config)
    facts = _facts(config, found, answered, second, seconds, time.monotonic() - began)
    headline, said = tables.headline(answered), notes(config, found) + folder.notes
    figures = pictures.draw(config, found, answered)
    tables.write(folder, found, answered, figures, facts, resolved)
    checks = show.summary(found, answered, second, facts)
    folder.write(
        "report.html", report.page(config, found, answered, facts, checks, said, command, figures)
    )
    manifest = {
        "answer": answered.sentence,
        "headline": headline,
        "command": command,
        "run": facts,
        "notes": said,
    }
    screen.answer(config, found, answered, second, facts, folder.folder)
    for note in said:
        screen.note(note)
    folder.finish(manifest)
    screen.last(answered.sentence)
    return Outcome(folder.folder, answered.sentence, headline)


def simulate(
    config: Config, chosen: Fidelity, folder: store.RunFolder, screen: Screen
) -> tuple[Study, float]:
    """All runs of a study; shards that an earlier process left are used again."""
    asked, kept, seconds = config.simulation, {}, []
    for shard in folder.load_shards():
        kept[shard.first, shard.count] = shard.arrays
    if kept:
        earlier = sum(count for first, count in kept if first < asked.paths)
        again = sum(count for first, count in kept if first >= asked.paths)
        which = "of those in full" if asked.estimator == "plain" else "of rare events or in full"
        more = f", and {again:,} {which}" if again else ""
        screen.note(
            f"{earlier:,} of {counted(asked.paths, 'path')}{more} are from an earlier start"
        )

    with screen.progress(asked) as progress:

        def part(
            question: Question, ids: np.ndarray, before: int, scale: np.ndarray | None = None
        ) -> Results:
            """The runs of some paths; in the names of shards `before` went before them."""
            parts, done = [], 0
            more = ", rare events" if scale is not None else ", in full" if before else ""
            for paths in study.shards(ids, study.shard_size(question, batch(asked, question))):
                first, told = before + done, _after(progress, done, len(ids), more)
                arrays = kept.get((first, len(paths)))
                if arrays is None:
                    own = None if scale is None else scale[done : done + len(paths)]
                    ran = question.setting.unlimited(paths, asked.batch, told, scale=own)
                    folder.save_shard(first, len(paths), ran.arrays())
                else:
                    ran = Results.of(arrays)
                parts.append(ran)
                done += len(paths)
            seconds.extend(ran.seconds for ran in parts)
            return Results.join(parts)

        found = study.simulate_all(chosen, asked, part, progress)

        def leaned(paths: np.ndarray, scales: np.ndarray, before: int) -> Results:
            return part(found.question, paths, asked.paths + before, scales)

        sampling = rare.sampled(found, config, leaned)
    return dataclasses.replace(found, sampling=sampling), sum(seconds)


def batch(asked: SimulationConfig, question: Question) -> int:
    return batch_size(asked.batch, question.books)


def _after(progress, done: int, paths: int, said: str) -> Progress:
    """Progress of one shard as progress of all paths."""
    return lambda what, more, _: progress(what + said, done + more, paths)


def second_opinion(config: Config, chosen: Fidelity, elapsed: float) -> list[Shadow]:
    """The reference engine on a few paths of every kind of book; it must agree in float64."""
    asked = config.simulation
    if not asked.shadow_paths:
        return []
    questions = [q for q in (chosen.question, chosen.groups) if q is not None]
    time_each = shadow.SHARE * elapsed / len(questions)
    found = [
        one
        for question in questions
        for one in shadow.check(question, asked.shadow_paths, asked.paths, time_each, asked.batch)
    ]
    for one in found:
        if one.difference > shadow.TOLERANCE[asked.precision] and asked.precision == "float64":
            raise Broken(
                f"the two engines disagree on path {one.path} within {one.steps} steps: "
                f"{one.metric} by {one.difference:.2g} of gross"
            )
    return found


def _facts(config, found: Study, answered: Answers, second, seconds: float, elapsed: float) -> dict:
    """What a reader must know to judge the numbers or to repeat them."""
    results = found.results
    steps = int(found.question.simulation.dt.shape[0])
    return device.facts() | {
        "riskengine": riskengine.__version__,
        "commit": device.commit(),
        "precision": config.simulation.precision,
        "seed": config.simulation.seed,
        "paths": len(results),
        "steps": steps,
        "books": len(found.question.opened.holdings),
        "accounts": int(found.question.books.layout.number_of_accounts),
        "markets": list(found.question.markets),
        "open_interest_usd": found.question.open_interest,
        "fund_usd": found.capital,
        "evidence": dataclasses.asdict(graded)
        if (graded := evidence.grade(config.venue))
        else None,
        "fidelity": _fidelity(found),
        "estimator": found.sampling.record(),
        "batch": results.batch,
        "simulation_seconds": round(seconds, 2),
        "elapsed_seconds": round(elapsed, 2),
        "ledger_residual": answered["ledger_residual"].value,
        "shadow": [dataclasses.asdict(one) for one in second],
        "inputs": found.question.inputs,
    }


def _fidelity(found: Study) -> dict[str, str | int]:
    """Which accounts ran, why, and how many paths in full where not all did."""
    record, runs = found.fidelity.record(), found.grouped
    return record | {"paths_in_full": len(runs.chosen)} if runs else record


def notes(config: Config, found: Study) -> list[str]:
    """What a reader of the numbers should be warned of."""
    question = found.question
    graded = evidence.grade(config.venue)
    said = [f"evidence for the preset {config.venue.name}: {graded}"] if graded else []
    said += list(question.opened.notes)
    if config.scenario.law in DRAWN and (config.scenario.ranges or config.book.ranges):
        said.append(
            "intervals are of the simulation alone; law, depth, leverage and book are assumed, and the same "
            "command with task=assumptions gives the band over them"
        )
    said += few(config, len(found.results), question)
    coarse = max(p.dt_s for p in config.simulation.grid)
    if coarse > config.venue.dt_max_s:
        said.append(
            f"steps of {coarse:g} s are longer than the {config.venue.dt_max_s:g} s of this preset"
        )
    law = question.scenario.law
    if isinstance(law, Ladder):
        needed = law.shock.shape[0] * len(question.opened.holdings)
        if min(len(found.fund), len(found.results)) < needed:
            said.append(
                f"the ladder needs {needed} paths and fund_paths, a shock for every book; some are missing"
            )
    if question.prices:
        said += list(question.prices.notes) + [_modelled(question)]
    if config.book.path is not None and config.venue.fund_usd is None:
        share = found.capital / question.open_interest
        said.append(
            f"the fund is the preset's {percent(share)} of this book's open interest, "
            f"{usd(found.capital)}; venue.fund_usd sets your own"
        )
    if study.may_bind_early(question.venue):
        said.append(
            "a rule of the venue can bind before the fund is dry: the depletion curve holds until "
            "the first intervention, levels.csv after it"
        )
    return said


def few(config: Config, paths: int, question: Question) -> list[str]:
    """A warning where paths are few."""
    if paths >= ENOUGH or config.scenario.law not in DRAWN:
        return []
    books = counted(len(question.opened.holdings), "book")
    return [
        f"{counted(paths, 'path')} and {books} are few: these numbers show how things work and say "
        "little about any venue"
    ]


DRAWN = ("crash", "concentration")  # laws that draw crashes


def _modelled(question: Question) -> str:
    """Markets without recorded prices, with the notional that they cover."""
    assert question.prices
    held = question.opened.holdings[0]
    gross = np.bincount(held.market, np.abs(held.size), minlength=len(question.markets))
    missing = [question.markets.index(m) for m in question.prices.modelled]
    share = 100 * gross[missing].sum() / gross.sum()
    largest = sorted(missing, key=lambda m: -gross[m])[:8]
    listed = ", ".join(f"{question.markets[m]} {usd(gross[m])}" for m in largest)
    return (
        f"{len(missing)} markets without prices are modelled, {share:.1f} % of notional "
        f"({usd(float(gross[missing].sum()))} long and short): {listed}"
        + (" …" if len(missing) > 8 else "")
    )


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run at the next batch; a second one ends it at once."""

    def stop(number: int, _frame: object) -> None:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_DFL)
        raise Interrupted(number)

    before = {}
    with contextlib.suppress(ValueError):  # only the main thread may set handlers
        for name in (signal.SIGINT, signal.SIGTERM):
            before[name] = signal.signal(name, stop)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            for name, handler in before.items():
                signal.signal(name, handler)
