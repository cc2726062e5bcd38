"""What people do now to size a fund, and what it gives on books and crashes that it has not seen."""

from dataclasses import dataclass

import numpy as np

from riskengine.app.amounts import percent
from riskengine.app.build import Question
from riskengine.app.config import Config
from riskengine.app.stress import gap_debts
from riskengine.calibration.frontier import Needs
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate, Sample

PCT = 0.01
GAP = 0.2  # a jump of all prices, where the scenario does not say what was seen
COVER = (1, 2)
CRASHES = 40  # what a history has
FACTOR = 1.5
GRID = 41  # sizes of a grid search


@dataclass(frozen=True)
class Rule:
    """A way to choose the fund, and the risk that it leaves out of sample."""

    name: str
    capital: float  # USD
    adl: Estimate  # P(intervention)
    beyond: Estimate  # E[(R − F)⁺], USD
    least: float | None = None  # USD, fifth percentile of what the rule gives by chance
    most: float | None = None


def compared(config: Config, question: Question, seen: Needs, fresh: list[Needs]) -> list[Rule]:
    """Every rule on the crashes that were seen, judged on the fresh ones of all looks together."""
    together = joined(fresh)
    exceed = config.target.adl_probability
    own, interest = float(question.venue.capital), question.open_interest
    found = [_judged(f"today's {percent(own / interest)} of open interest", own, together)]
    seen_most = config.scenario.seen.largest_pct
    gap = GAP if seen_most is None else PCT * seen_most
    for count in COVER:
        capital = cover(question, gap, count)
        name = f"Cover-{count} in a gap of {percent(gap)}, largest of all books"
        found.append(_judged(name, capital, together))
    found.append(history(seen, together))
    found.append(
        _judged(f"grid of {GRID} sizes, smallest that meets it", grid(seen, exceed), together)
    )
    aim = estimators.quantile("target", seen.adl, exceed, seen.sample, "USD")
    for name, end in (("fund target of this run", aim.value), ("its upper limit", aim.high)):
        if end is not None:
            found.append(_judged(name, end, together))
    return found


def joined(parts: list[Needs]) -> Needs:
    """Paths of several looks as one sample; books of different looks are different books."""
    sizes = np.cumsum([0, *(int(p.sample.book.max()) + 1 for p in parts)])
    book = [p.sample.book + n for p, n in zip(parts, sizes[:-1], strict=True)]
    first = parts[0].sample
    sample = Sample(np.concatenate(book), first.level, first.random_books)
    columns = ("adl", "dry", "beyond")
    adl, dry, beyond = (np.concatenate([getattr(p, c) for p in parts]) for c in columns)
    return Needs(adl, dry, beyond, sample)


def _judged(name: str, capital: float, fresh: Needs, **more) -> Rule:
    beyond = np.maximum(fresh.beyond - capital, 0.0)
    return Rule(
        name, capital, estimators.proportion("adl_probability", fresh.adl > capital, fresh.sample),
        estimators.mean("loss_beyond", beyond, fresh.sample, "USD"), **more,
    )  # fmt: skip


def cover(question: Question, gap: float, count: int) -> float:
    """Debts of the largest debtors if all prices jumped by the gap, up or down; the worst book."""
    sums = [
        np.sort(gap_debts(holdings, move))[::-1][:count].sum()
        for holdings in question.opened.holdings
        for move in (-gap, gap)
    ]
    return float(max(sums))


def history(seen: Needs, fresh: Needs) -> Rule:
    """The worst cash draw of so many crashes times a factor; which crashes those are is chance."""
    random = np.random.Generator(np.random.PCG64(0))
    finite = seen.beyond[np.isfinite(seen.beyond)]
    draws = FACTOR * random.choice(finite, (999, min(CRASHES, len(finite)))).max(1)
    low, middle, high = np.quantile(draws, (0.05, 0.5, 0.95))
    name = f"worst draw of {CRASHES} crashes x {FACTOR:g}, median history"
    return _judged(name, float(middle), fresh, least=float(low), most=float(high))


def grid(seen: Needs, exceed: float) -> float:
    """The smallest of a grid of sizes whose estimated probability meets the target."""
    finite = seen.adl[np.isfinite(seen.adl)]
    sizes = np.geomspace(max(float(np.median(finite)), 1.0), max(float(finite.max()), 2.0), GRID)
    meets = np.asarray([np.mean(seen.adl > size) <= exceed for size in sizes])
    return float(sizes[np.argmax(meets)]) if meets.any() else float("inf")
