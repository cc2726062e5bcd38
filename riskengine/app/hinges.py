"""What an answer hangs on, in sentences: capital, sizes of crashes, directions, the largest accounts.

Differences between two runs on the same few paths are told in percent, with what they rest on.
"""

from dataclasses import dataclass

import numpy as np

from riskengine.app import crashes, sentence, stress, study, words
from riskengine.app.amounts import counted, ends, percent, usd
from riskengine.app.answers import Answers
from riskengine.app.config import Config
from riskengine.app.study import Study
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate
from riskengine.specs.book import open_interest, traded

ASSUMED = {
    "crash": "how violent crashes are: a law set by hand after the crashes of 2019 to 2025",
    "ladder": "shocks that are chosen, not drawn: shares of them are not probabilities",
    "concentration": "one account and one market, chosen to be hard",
    "replay": "one recorded crash: paths differ by what the record leaves open",
}


def hangs_on(config: Config, found: Study, answered: Answers) -> list[str]:
    """What the answer depends on most, in the order of what it would change."""
    names = {e.name: e for e in answered.estimates}
    said = [_capital(found)]
    said.append(
        f"The scenario: {ASSUMED[config.scenario.law]}. Every probability is conditional on it."
    )
    said += _sizes(config, found, names) + _deciding(config, found, names)
    if not answered.stress.ladder:
        said += _direction(found, names)
    said += [_largest(found), *_without_largest(found, names), _book(config, found)]
    said.append(
        f"The order book: depth that thins as in the presets, with exponent "
        f"{config.scenario.order_book.exponent:g} beyond 1 % of mid; measured on few days."
    )
    return said


def _capital(found: Study) -> str:
    """Who stands first, and who behind it."""
    interest = found.question.open_interest
    behind = "".join(
        f", then its {name} {percent(has / interest)} ({usd(has)})"
        for name, has in study.owners(found.question).items()
    )
    beside = "".join(
        f"; outside capital that takes accounts over: {name} {percent(has / interest)} ({usd(has)})"
        for name, has in study.providers(found.question).items()
    )
    return f"Capital: the fund has {sentence.capital(found)}{behind}{beside}."


def _sizes(config: Config, found: Study, names: dict[str, Estimate]) -> list[str]:
    """How large the simulated crashes are, beside what was seen."""
    if "crash_size_median" not in names:
        return []
    minutes = float(found.question.simulation.dt.sum()) / 60.0
    median, decile, rare, most = (
        words.value(names[f"crash_size_{name}"]) for name in ("median", "p90", "p99", "largest")
    )
    text = (
        f"Sizes of crashes, the largest move of all markets weighted by open interest within "
        f"{minutes:.3g} minutes: median {median}, one in ten above {decile}, one in a hundred above "
        f"{rare}, largest {most}."
    )
    known = crashes.seen(config)
    if known is not None:
        parts = (("median", known.median_pct), ("one in ten above", known.decile_pct),
                 ("largest", known.largest_pct))  # fmt: skip
        said = ", ".join(f"{word} {x:g} %" for word, x in parts if x is not None)
        text += f" Seen: {said} ({known.what}; by their betas all markets move {_beta(config, found):.3g} "
        text += "times as far)."
    return [text]


def _beta(config: Config, found: Study) -> float:
    """Expected move of all markets for a move of the common factor."""
    of, markets = config.scenario, found.question.markets
    beta = np.asarray([of.markets.get(m, of.other_markets).beta for m in markets])
    weight = sum(open_interest(h, len(markets)) for h in found.question.opened.holdings)
    return float(np.sum(beta * weight) / np.sum(weight))


def _deciding(config: Config, found: Study, names: dict[str, Estimate]) -> list[str]:
    """The crashes that set the fund target, and the target without those beyond history."""
    size, rises = names.get("target_crash_size_median"), names.get("target_crash_rises")
    if size is None or rises is None:
        return []
    text = (
        f"The crashes that set the fund target: {counted(size.n, 'crash')} "
        f"of {len(found.results):,} need as much or more, their median size is {words.value(size)}, "
        f"and {rises.hits} of them are rises."
    )
    within, known = names.get("fund_target_within_history"), crashes.seen(config)
    if within is not None and within.value is not None and known is not None:
        interest = found.question.open_interest
        text += (
            f" Without crashes larger than the largest seen ({known.largest_pct:g} %) the target is "
            f"{percent(within.value / interest)} of open interest "
            f"({ends(within.low, within.high, interest)}; {usd(within.value)})."
        )
    return [text]


def _direction(found: Study, names: dict[str, Estimate]) -> list[str]:
    """How many crashes go up, and what they do."""
    size = stress.crash_size(found.results)
    falls, rises = names.get("adl_probability_falls"), names.get("adl_probability_rises")
    if falls is None or rises is None:
        return []
    return [
        f"Crashes that go up: {percent(float(np.mean(size > 0)))} rise more than they fall and "
        f"squeeze shorts. P(intervention) is {words.value(falls)} in falls "
        f"({words.interval(falls)}) and {words.value(rises)} in rises ({words.interval(rises)})."
    ]


def _largest(found: Study) -> str:
    """How much of the book the largest accounts hold."""
    each = []
    for h in found.question.opened.holdings:
        size, total = np.sort(traded(h))[::-1], np.abs(h.size).sum()
        each.append((size[0] / total, size[:10].sum() / total))
    one, ten = np.mean(each, axis=0)
    books = ", on average over books" if len(each) > 1 else ""
    return (
        f"Concentration: of all positions, long and short together, the largest trader holds "
        f"{percent(one)} and the ten largest {percent(ten)}{books}."
    )


def _book(config: Config, found: Study) -> str:
    """Where the positions come from."""
    if config.book.path is None:
        books = counted(len(found.question.opened.holdings), "synthetic book")
        return (
            f"The book: {books}; the leverage of accounts that get liquidated is not public and is "
            "the largest assumption in them."
        )
    if not found.question.opened.complete:
        return (
            "The book: read from a file and partial; who holds the other side is assumed, and there "
            "is no fund target."
        )
    return "The book: read from a file, as complete as the file is."


# Two runs on the same few paths


@dataclass(frozen=True)
class Change:
    """How a fund target differs between two runs, in percent of the first one's."""

    estimate: Estimate
    base: float  # USD
    paths: int

    @property
    def moved(self) -> bool:
        """Whether the interval leaves out no change at all."""
        low, high = self.estimate.low, self.estimate.high
        return low is not None and high is not None and not low <= 0.0 <= high

    def __str__(self) -> str:
        e = self.estimate
        assert e.value is not None
        low, high = (
            "unbounded" if x is None else f"{100 * x / self.base:+.2g}" for x in (e.low, e.high)
        )
        return f"{100 * e.value / self.base:+.2g} % ({low} to {high} %)"


def change(e: Estimate | None, before: np.ndarray) -> Change | None:
    """The change that an estimate tells, as a share of what it was `before`."""
    if e is None or e.value is None:
        return None
    base = estimators.upper(before, study.seldom(len(before)))
    return Change(e, base, len(before)) if np.isfinite(base) and base > 0 else None


def _without_largest(found: Study, names: dict[str, Estimate]) -> list[str]:
    """How much of the fund target the ten largest accounts make."""
    if found.safe is None:
        return []
    rows = found.full.rows(found.safe.path)
    known = change(names.get("fund_target_without_largest"), found.full["adl_required_fund"][rows])
    if known is None:
        return []
    value, base = known.estimate.value or 0.0, known.base
    way = "falls" if value <= 0 else "rises"
    low, high = known.estimate.low, known.estimate.high
    if value <= 0:
        low, high = (None if x is None else min(-x, base) for x in (high, low))
    return [
        f"Without failures of the ten largest accounts the fund for the same risk {way} by about "
        f"{percent(abs(value) / base, 2)} ({ends(low, high, base)}; {known.estimate.hits} of "
        f"{known.paths} crashes)."
    ]


def time_step(found: Study, answered: Answers) -> str | None:
    """What half the time step does to the fund target, and whether that matters."""
    names = {e.name: e for e in answered.estimates}
    if found.refined is None:
        return None
    known = change(
        names.get("fund_target_dt_difference"), found.refined.coarse["adl_required_fund"]
    )
    if known is None:
        return None
    return (
        f"time step: halving it changes the target by {known}, on {known.estimate.hits} of "
        f"{counted(known.paths, 'crash')} at {percent(study.seldom(known.paths))}: "
        f"{verdict(known, names.get('fund_target'))}"
    )


def verdict(known: Change, aim: Estimate | None) -> str:
    """What a change of the target by the time step means, beside the target's own interval."""
    half = 0.0
    if aim is not None and aim.value and aim.low is not None and aim.high is not None:
        half = max(aim.high - aim.value, aim.value - aim.low) / aim.value
    limits = (known.estimate.low, known.estimate.high)
    if all(x is not None and abs(x) / known.base <= half for x in limits):
        return "small against the target's own interval"
    if known.moved:
        return "the time step matters, take a smaller one"
    return "not resolved, more of simulation.refine_paths would tell"
