"""`task=assumptions`: the answer, its simulation error, and the band over what nobody knows.

Every key in `book.ranges` and `scenario.ranges` that the configuration leaves inside its range is an
assumption. A design of sets of them runs on the same random numbers
(`calibration/assumptions.py`); the answer itself is that of all the run's paths.
"""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import riskengine
from riskengine.app import build, device, evidence, run, spread, store, tables
from riskengine.app.build import Question
from riskengine.app.config import Config
from riskengine.app.kept import Kept, intact
from riskengine.app.run import Outcome
from riskengine.app.show import Screen
from riskengine.app.store import RunFolder
from riskengine.calibration import assumptions
from riskengine.calibration.assumptions import Assumption, Shares, Surrogate
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate, Sample, Values
from riskengine.montecarlo.simulate import Results
from riskengine.specs import book as books

NOT_READ = (
    "batch", "super_accounts", "fund_paths", "level_paths", "refine_paths", "largest_paths",
    "replay_paths", "estimator", "rare_paths", "relative_error", "fidelity", "shadow_paths",
)  # fmt: skip
GROUPS = ("book", "scenario")


@dataclass(frozen=True)
class Measure:
    """A number that assumptions move, and the scale on which they add up."""

    name: str
    need: str
    exceed: float | None = None  # a fund target; else P(need > F)

    def of(self, results: Results, capital: float, interest: float) -> float:
        """log of F* over open interest, or the log-odds of the event, with half an event on each side."""
        need = results[self.need]
        if self.exceed is not None:
            return float(np.log(estimators.upper(need, self.exceed) / interest))
        hits = float(np.sum(need > capital))
        return float(np.log((hits + 0.5) / (len(need) - hits + 0.5)))

    def moved(self, value: float, by: float) -> float:
        """A value after a move on that scale."""
        if self.exceed is not None:
            return value * float(np.exp(by))
        odds = value / (1.0 - value) * float(np.exp(by)) if value < 1.0 else np.inf
        return odds / (1.0 + odds) if np.isfinite(odds) else 1.0


@dataclass(frozen=True)
class Spread:
    """What assumptions do to a measure."""

    measure: Measure
    base: Estimate  # of all the run's paths
    band: Estimate | None  # None: some sets have no answer, or the event is on no path or on all
    shares: Shares | None
    alone: Values  # (assumptions, 2): the measure with one of them at its low and at its high end
    answers: Values  # of every set; of a fund in USD


@dataclass(frozen=True)
class Found:
    """All that the task found."""

    config: Config
    question: Question
    box: list[Assumption]
    sets: Values  # shares of the way from low to high (sets, assumptions)
    spreads: list[Spread]

    @property
    def now(self) -> Values:
        """Where the configuration itself lies."""
        return np.asarray([one.base for one in self.box])


def run_task(config: Config, screen: Screen, command: str = "") -> Outcome:
    """Run what the configuration asks for, or find it done, and say what came out."""
    store.checked(config.name)
    device.prepare(config.simulation)
    device.probe()
    question = build.build(config)
    key = run.key_of(config, question, ("design",), NOT_READ)
    with run.own_folder(config, question, key, screen, command) as folder:
        if folder.manifest:
            return run.done_before(folder, screen)
        return _compute(config, question, folder, screen, command)


def _compute(
    config: Config, question: Question, folder: RunFolder, screen: Screen, command: str
) -> Outcome:
    began = time.monotonic()
    found = measure(config, question, folder, screen)
    sentence = spread.sentence(found)
    figure = spread.figure(found) if spread.lead(found).shares is not None else None
    listed = [e for s in found.spreads for e in (s.base, s.band, *indices(found, s)) if e]
    facts = device.facts() | {
        "riskengine": riskengine.__version__, "commit": device.commit(),
        "seed": config.simulation.seed, "paths": config.simulation.paths,
        "sets": len(found.sets), "paths_per_set": config.assumptions.paths,
        "open_interest_usd": question.open_interest, "fund_usd": float(question.venue.capital),
        "elapsed_seconds": round(time.monotonic() - began, 2), "inputs": question.inputs,
    }  # fmt: skip
    folder.write("config.yaml", tables.yaml_of(dataclasses.asdict(config)))
    folder.write("assumptions.csv", store.to_csv(spread.columns(found)))
    records = [e.record() for e in listed]
    folder.write("estimates.json", store.to_json({"run": facts, "estimates": records}))
    if figure:
        folder.write("assumptions.svg", figure.svg)
        folder.write("assumptions.png", figure.png)
    graded = evidence.grade(config.venue)
    notes = [f"evidence for the preset {config.venue.name}: {graded}"] if graded else []
    notes += [
        *question.opened.notes,
        *run.few(config, config.simulation.paths, question),
        *folder.notes,
    ]
    if figure:
        screen.table(spread.HEAD, spread.rows(found))
    for line in spread.legend(found):
        screen.say(line)
    if figure:
        screen.say(f"the figure: {folder.folder / 'assumptions.png'}")
    for note in notes:
        screen.note(note)
    headline = {e.name: e.value for e in (s.base for s in found.spreads)}
    folder.finish(
        {
            "answer": sentence,
            "headline": headline,
            "command": command,
            "run": facts,
            "notes": notes,
        }
    )
    screen.last(sentence)
    return Outcome(folder.folder, sentence, headline)


# The box


def box(config: Config) -> list[Assumption]:
    """Every key with a range that its present value lies in; a value outside was chosen on purpose."""
    found = []
    for group in GROUPS:
        settings = getattr(config, group)
        for key, ends in settings.ranges.items():
            if ends is None:
                continue
            (low, high), now = ends, float(_at(settings, key))
            if low <= now <= high:
                found.append(Assumption(f"{group}.{key}", float(low), float(high), now))
    return found


def _at(record: Any, key: str) -> Any:
    for part in key.split("."):
        record = getattr(record, part)
    return record


def assumed(config: Config, assumptions_: list[Assumption], shares: Values) -> Config:
    """The configuration with its assumptions so far on their way from low to high."""
    for one, share in zip(assumptions_, shares, strict=True):
        config = _with(config, one.name.split("."), one.at(float(share)))
    return config


def _with(record: Any, path: list[str], value: float) -> Any:
    first, *rest = path
    inner = _with(getattr(record, first), rest, value) if rest else value
    return dataclasses.replace(record, **{first: inner})


# The runs


def measure(config: Config, question: Question, folder: RunFolder, screen: Screen) -> Found:
    """The answer of all paths, and the answers of every set of assumptions."""
    asked, kept = config.assumptions, Kept(folder)
    if kept.known:
        screen.note("some runs are from an earlier start")
    found = Found(config, question, box(config), np.zeros((0, 0)), [])
    sets = assumptions.design(found.box, asked.points, config.simulation.seed)
    questions = _alike(config, found.box, np.vstack([found.now, sets]))
    with screen.progress(config.simulation) as progress:
        paths, batch = config.simulation.paths, config.simulation.batch

        def all_paths() -> Results:
            return question.setting.unlimited(np.arange(paths), batch, progress)

        every = kept.one(0, paths, all_paths)
        intact(every)
        answers = []
        for number, one in enumerate(questions):
            run_set = _run(one, asked.paths, batch, progress, number, len(questions))
            ran = kept.one(paths + number * asked.paths, asked.paths, run_set)
            intact(ran)
            about = float(one.venue.capital), one.open_interest
            answers.append([m.of(ran, *about) for m in _measures(config)])
    found = dataclasses.replace(found, sets=sets)
    interests = [one.open_interest for one in questions]
    spreads = [
        _spread(found, m, every, np.asarray(answers)[:, n], interests)
        for n, m in enumerate(_measures(config))
    ]
    return dataclasses.replace(found, spreads=spreads)


def _run(
    question: Question, paths: int, batch: int | None, progress, number: int, sets: int
) -> Callable[[], Results]:
    """The runs of one set of assumptions."""

    def told(_: str, done: int, total: int) -> None:
        progress("with other assumptions", number * total + done, sets * total)

    return lambda: question.setting.unlimited(np.arange(paths), batch, told)


def _measures(config: Config) -> list[Measure]:
    target = config.target
    return [
        Measure("fund_target", "adl_required_fund", target.adl_probability),
        Measure("fund_target_depletion", "required_fund", target.depletion_probability),
        Measure("adl_probability", "adl_required_fund"),
        Measure("depletion_probability", "required_fund"),
    ]


def _alike(config: Config, assumptions_: list[Assumption], sets: Values) -> list[Question]:
    """A question for every set, all with books of the same shapes, so that one program serves them."""
    fewer = dataclasses.replace(config.book, books=min(config.book.books, config.assumptions.books))
    small = dataclasses.replace(config, book=fewer)
    each = [build.build(assumed(small, assumptions_, shares)) for shares in sets]
    holdings = [h for question in each for h in question.opened.holdings]
    packed, _, _ = books.pack(
        holdings, len(each[0].markets), config.book.rest_in_adl, config.simulation.precision
    )
    count = len(each[0].opened.holdings)
    return [
        dataclasses.replace(question, books=books.some(packed, n * count, (n + 1) * count))
        for n, question in enumerate(each)
    ]


# What follows


def _spread(
    found: Found, measure_: Measure, every: Results, y: Values, interests: list[float]
) -> Spread:
    """The base with its interval, and the band around it; y is that of the base, then of the sets."""
    config = found.config
    level, seed = config.simulation.confidence, config.simulation.seed
    sample = Sample(every.book, level, len(found.question.opened.holdings) > 1)
    base = _base(measure_, every, sample, float(found.question.venue.capital))
    answers = np.asarray([_plain(measure_, *one) for one in zip(y, interests, strict=True)][1:])
    certain = measure_.exceed is None and base.value in (0.0, 1.0)
    if base.value is None or certain or not np.isfinite(y).all():
        nothing = np.full((len(found.box), 2), np.nan)
        return Spread(measure_, base, None, None, nothing, answers)
    fitted = assumptions.fit(found.sets, y[1:] - y[0], found.now)
    alone = [
        [measure_.moved(base.value, float(fitted(_one(found.now, j, end)))) for end in (0.0, 1.0)]
        for j in range(len(found.box))
    ]
    shares = assumptions.shares(found.sets, y[1:] - y[0], found.now, seed, level)
    band = _band(found, measure_, base, fitted)
    return Spread(measure_, base, band, shares, np.asarray(alone), answers)


def _band(found: Found, measure_: Measure, base: Estimate, fitted: Surrogate) -> Estimate:
    """The base moved to the lower and the upper end of most of the box."""
    assert base.value is not None
    config, (inside, outside) = found.config, assumptions.INSIDE
    low, high = assumptions.band(fitted, config.simulation.seed)
    return Estimate(
        f"{measure_.name}_assumptions", base.value, measure_.moved(base.value, low),
        measure_.moved(base.value, high), base.level, len(found.sets), None,
        "parabolas over assumptions", base.unit,
        f"{100 * (outside - inside):g} % of the box of {len(found.box)} assumptions, "
        f"{len(found.sets)} sets of {config.assumptions.paths} paths; the fit explains "
        f"{100 * max(fitted.explained, 0.0):.0f} % of what sets left out say",
    )  # fmt: skip


def _one(now: Values, number: int, end: float) -> Values:
    """The base case with one assumption at an end."""
    found = now.copy()
    found[number] = end
    return found


def _plain(measure_: Measure, y: float, interest: float) -> float:
    """A number of a set on its own scale; a fund in USD of its own open interest."""
    if measure_.exceed is not None:
        return float(np.exp(y)) * interest
    return float(1.0 / (1.0 + np.exp(-y)))


def _base(measure_: Measure, every: Results, sample: Sample, capital: float) -> Estimate:
    need = every[measure_.need]
    if measure_.exceed is not None:
        return estimators.quantile(measure_.name, need, measure_.exceed, sample, "USD")
    return estimators.proportion(measure_.name, need > capital, sample)


def indices(found: Found, one: Spread) -> list[Estimate]:
    """Sobol's first index of every assumption, with its interval."""
    if one.shares is None:
        return []
    level, sets = found.config.simulation.confidence, len(found.sets)
    return [
        Estimate(
            f"share_{one.measure.name}_{assumption.name}", float(one.shares.first[j]),
            float(one.shares.low[j]), float(one.shares.high[j]), level, sets, None,
            "Sobol index of parabolas, sets resampled", "fraction",
            f"{assumption.low:g} to {assumption.high:g}, now {assumption.now:g}",
        )
        for j, assumption in enumerate(found.box)
    ]  # fmt: skip
