"""Venues side by side: the same books, the same crashes, over the range of what each preset assumes."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from riskengine.app import evidence, parquet, rulebook
from riskengine.app.amounts import ROUNDING, hundredths, percent, usd
from riskengine.app.config import VenueConfig
from riskengine.app.run import Outcome
from riskengine.app.variants import Job

PROBABILITIES = {"adl_probability": "intervened", "depletion_probability": "depleted"}
PAYERS = {
    "fund": "the fund", "owners": "its owners", "providers": "outside providers",
    "winners": "deleveraged winners", "social": "shared by others", "nobody": "nobody",
}  # fmt: skip
LOSSES = {
    "adl_loss_mark": "against the mark", "adl_loss_index": "against the index",
    "adl_loss_60min": "against the mark an hour later",
}  # fmt: skip
QUANTITIES = {
    "adl_probability": "P(intervention)",
    "depletion_probability": "P(fund runs dry)",
    "expected_haircut": "expected haircut",
} | {f"{name}_share": f"ADL loss {words}" for name, words in LOSSES.items()}
SURE = 0.95


@dataclass(frozen=True)
class Range:
    """A number under the preset, its interval, and what it is over the other plausible values."""

    value: float | None
    low: float | None
    high: float | None
    least: float | None
    most: float | None

    @property
    def known(self) -> bool:
        return self.value is not None


@dataclass(frozen=True)
class Venue:
    """One venue of a comparison."""

    config: VenueConfig
    folder: Path
    fund: float  # USD
    grade: evidence.Grade | None
    ranges: dict[str, Range]
    payers: dict[str, float]  # share of open interest, mean per crash
    paths: dict[str, np.ndarray] = field(repr=False)
    moved_most: tuple[str, float] | None = None  # the change that moves P(intervention) most

    @property
    def title(self) -> str:
        return self.config.title or self.config.name


@dataclass(frozen=True)
class _Run:
    """What a comparison reads of one run."""

    folder: Path
    fund: float  # USD
    numbers: dict[str, dict[str, Any]]  # name → value, low, high; losses per open interest
    payers: dict[str, float]  # share of open interest, mean per crash
    paths: dict[str, np.ndarray] = field(repr=False)


def venues(jobs: Sequence[Job], found: Sequence[Outcome]) -> list[Venue]:
    """What the runs of a sweep say about each venue, in alphabetical order."""
    seen = []
    for number, group in itertools.groupby(range(len(jobs)), key=lambda n: jobs[n].of):
        mine = list(group)
        runs = [_read(found[n].folder, jobs[n].config.simulation.fund_paths) for n in mine]
        seen.append(_venue([jobs[n] for n in mine], runs))
        assert jobs[mine[0]].of == number
    return sorted(seen, key=lambda venue: venue.title.lower())


def _venue(jobs: list[Job], runs: list[_Run]) -> Venue:
    ranges = {}
    for name in QUANTITIES:
        each = [run.numbers.get(name) for run in runs]
        values = [x["value"] if x else None for x in each]
        known = [value for value in values if value is not None]
        base = each[0] or dict.fromkeys(("value", "low", "high"))
        whole = len(known) == len(values)  # where one value is not known, neither is the range
        least, most = (min(known), max(known)) if whole else (None, None)
        ranges[name] = Range(base["value"], base["low"], base["high"], least, most)
    config = jobs[0].config.venue
    return Venue(
        config=config,
        folder=runs[0].folder,
        fund=runs[0].fund,
        grade=evidence.grade(config),
        ranges=ranges,
        payers=runs[0].payers,
        paths=runs[0].paths,
        moved_most=_moved_most(jobs, runs),
    )


def _moved_most(jobs: list[Job], runs: list[_Run]) -> tuple[str, float] | None:
    name = "adl_probability"
    base = runs[0].numbers[name]["value"]
    values = [(job.change, run.numbers[name]["value"]) for job, run in zip(jobs, runs, strict=True)]
    moves = [(change, x - base) for change, x in values[1:] if x is not None and base is not None]
    largest = max(moves, key=lambda move: abs(move[1]), default=("", 0.0))
    return largest if largest[1] else None


def _read(folder: Path, count: int) -> _Run:
    """Numbers of a run as shares of open interest, and what happened on the paths that ran at the fund.

    Those are the first ones: of later paths only such are known at the fund as nothing happened on.
    """
    said = json.loads((folder / "estimates.json").read_text(encoding="utf-8"))
    interest = said["run"]["open_interest_usd"]
    numbers = {e["name"]: e for e in said["estimates"]}
    paths = parquet.read(folder / "paths.parquet")
    known = np.arange(len(paths["path"])) < count

    def mean(name: str) -> float:
        return float(np.mean(paths[name][known])) / interest

    for name in LOSSES:
        numbers[f"{name}_share"] = {"value": mean(name), "low": None, "high": None}
    lost = np.minimum(-paths["vault_profit"][known], said["run"]["fund_usd"])
    payers = {
        "fund": float(np.mean(lost)) / interest,
        "owners": -mean("owner_profit"),
        "providers": -mean("provider_profit"),
        "winners": mean("adl_loss_mark"),
        "social": mean("social_loss"),
        "nobody": mean("unfunded"),
    }
    kept = {name: paths[name][known] for name in ("path", "book", *PROBABILITIES.values())}
    return _Run(folder, float(said["run"]["fund_usd"]), numbers, payers, kept)


# Order


def lower(one: Venue, other: Venue, name: str) -> bool:
    """Whether a probability is lower at one venue, whatever the plausible values of both.

    The ranges must not overlap, and the difference on common crashes must be surely below zero.
    """
    mine, theirs = one.ranges[name], other.ranges[name]
    if mine.most is None or theirs.least is None or not mine.most < theirs.least:
        return False
    return surely_negative(one, other, PROBABILITIES[name])


def surely_negative(one: Venue, other: Venue, name: str) -> bool:
    """The paired difference's interval, with books as clusters, lies below zero."""
    if any(not np.array_equal(one.paths[n], other.paths[n]) for n in ("path", "book")):
        return False
    apart = one.paths[name].astype(float) - other.paths[name].astype(float)
    books = np.unique(one.paths["book"])
    if len(books) < 2:
        clusters = apart
    else:
        clusters = np.asarray([apart[one.paths["book"] == b].mean() for b in books])
    spread = clusters.std(ddof=1) / np.sqrt(len(clusters))
    return bool(clusters.mean() + special.stdtrit(len(clusters) - 1, 0.5 + SURE / 2) * spread < 0)


def order(found: Sequence[Venue], name: str) -> list[tuple[str, str]]:
    """All pairs (lower, higher) that can be told apart."""
    return [
        (one.title, other.title)
        for one, other in itertools.permutations(found, 2)
        if lower(one, other, name)
    ]


# As a table


def columns(found: Sequence[Venue]) -> dict[str, np.ndarray]:
    """The comparison as a table of numbers."""
    table: dict[str, list[Any]] = {"venue": [v.config.name for v in found]}
    table["run"] = [str(v.folder) for v in found]
    for kind in evidence.KINDS:
        table[f"settings_{kind}"] = [v.grade.share(kind) if v.grade else np.nan for v in found]
    for name in QUANTITIES:
        for part in ("value", "low", "high", "least", "most"):
            numbers = [getattr(v.ranges[name], part) for v in found]
            key = name if part == "value" else f"{name}_{part}"
            table[key] = [np.nan if x is None else x for x in numbers]
    for payer in PAYERS:
        table[f"pays_{payer}_share"] = [v.payers[payer] for v in found]
    return {
        name: np.asarray(values, object if name in ("venue", "run") else float)
        for name, values in table.items()
    }


def cell(found: Range) -> str:
    """Value, interval, and in brackets the range over what is assumed."""
    if not found.known:
        return "–"
    assert found.value is not None and found.least is not None and found.most is not None
    said = percent(found.value)
    if found.low is not None and found.high is not None:
        said += f" ({hundredths(found.low)}–{hundredths(found.high)})"
    if found.most - found.least > ROUNDING:
        said += f" [{hundredths(found.least)}–{hundredths(found.most)}]"
    return said


def rows(found: Sequence[Venue]) -> list[list[str]]:
    """The same for people."""
    return [[v.title, *(cell(v.ranges[name]) for name in QUANTITIES), _published(v)] for v in found]


def _published(venue: Venue) -> str:
    return f"{100 * venue.grade.share('published'):.0f} %" if venue.grade else "–"


HEAD = ("venue", *QUANTITIES.values(), "published")
NOTE = (
    "(95 % interval of the simulation, books included) [range over the other plausible values of what the "
    "preset assumes, each alone]; ADL losses: mean per crash as a share of open interest, negative: "
    "winners gain"
)


def sentence(found: Sequence[Venue]) -> str:
    """What can be told apart, and what cannot."""
    pairs = len(found) * (len(found) - 1) // 2
    told = {name: len(order(found, name)) for name in PROBABILITIES}
    funds = sorted({usd(venue.fund) for venue in found})
    each = f", each with a fund of {funds[0]}" if len(funds) == 1 else ", with funds of their own"
    return (
        f"{len(found)} sets of rules on the same books and crashes{each}: "
        f"P(intervention) can be told apart in {told['adl_probability']} of {pairs} pairs, "
        f"P(fund runs dry) in {told['depletion_probability']}; the others' ranges overlap"
    )


def explained(venue: Venue, others: Sequence[Venue]) -> list[str]:
    """Why a venue's numbers are what they are: its rules, and what its assumptions move."""
    told = [f"{stage}: {words}" for stage, words in rulebook.sentences(venue.config) if words]
    if venue.moved_most and venue.moved_most[0]:
        change, by = venue.moved_most
        told.append(
            f"of its assumptions {change} moves P(intervention) most: by {100 * by:+.1f} points"
        )
    nearest = min(
        (o for o in others if o is not venue),
        key=lambda o: len(rulebook.differences(venue.config, o.config)),
        default=None,
    )
    if nearest:
        apart = rulebook.differences(venue.config, nearest.config)
        told.append(
            f"nearest rules: {nearest.title}, apart in {', '.join(apart) or 'numbers only'}"
        )
    return told
