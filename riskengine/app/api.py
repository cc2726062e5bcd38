"""The same as the command line, from Python."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riskengine.app import (
    answers,
    build,
    configure,
    device,
    fidelity,
    parquet,
    rare,
    store,
    study,
    validate,
)
from riskengine.app.answers import Answers
from riskengine.app.build import Question
from riskengine.app.config import Config
from riskengine.app.study import Study
from riskengine.errors import InputError, printable
from riskengine.montecarlo.simulate import Results


@dataclass(frozen=True)
class Asked:
    """A question with the configuration that it came from."""

    config: Config
    specs: Question


def question(*overrides: str) -> Asked:
    """The specs that `riskengine OVERRIDES` would run. Raises `InputError` for wrong input."""
    config = configure.load(overrides)
    validate.check(config)
    device.prepare(config.simulation)
    device.probe()
    return Asked(config, build.build(config))


def simulate(asked: Asked, paths: int | None = None) -> Study:
    """Simulate the paths without a limit, and the first of them at the venue's fund and at levels."""
    settings = asked.config.simulation
    if paths is not None:
        settings = dataclasses.replace(settings, paths=paths)
    config = dataclasses.replace(asked.config, simulation=settings)

    def part(question: Question, ids: np.ndarray, _: int) -> Results:
        return question.setting.unlimited(ids, settings.batch)

    def leaned(ids: np.ndarray, scales: np.ndarray, _: int) -> Results:
        return asked.specs.setting.unlimited(ids, settings.batch, scale=scales)

    found = study.simulate_all(fidelity.decide(config, asked.specs), settings, part)
    return dataclasses.replace(found, sampling=rare.sampled(found, config, leaned))


def estimate(found: Study, asked: Asked) -> Answers:
    """Estimates with intervals, curves over F, and the answer in a sentence."""
    return answers.answer(found, asked.config)


def load(folder: str | Path) -> dict:
    """The tables of a run folder as pandas frames, by the names of their files without ending."""
    import pandas

    place, tables = Path(folder), {}
    if not (place / store.MANIFEST).is_file():
        must = f"must hold {store.MANIFEST}, as the folder runs/NAME/KEY of a finished run does"
        raise InputError(f"folder {printable(str(folder))}", must + _runs_below(place))
    for file in sorted(place.iterdir()):
        if file.suffix == ".parquet":
            tables[file.stem] = pandas.DataFrame(parquet.read(file))
        elif file.suffix == ".csv":
            tables[file.stem] = pandas.read_csv(file)
    return tables


def _runs_below(place: Path) -> str:
    """The runs that a folder holds, for somebody who named the folder above."""
    below = sorted({*place.glob(f"*/{store.MANIFEST}"), *place.glob(f"*/*/{store.MANIFEST}")})
    if not below:
        return ""
    more = f" and {len(below) - LISTED} more" if len(below) > LISTED else ""
    return f"; below it lie {', '.join(str(p.parent) for p in below[:LISTED])}{more}"


LISTED = 5  # runs that a message names

__all__ = ["Asked", "estimate", "load", "question", "simulate"]
