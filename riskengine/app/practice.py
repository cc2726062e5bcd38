"""What people do now to size a fund, and what it gives on books and crashes that it has not seen."""

from dataclasses import dataclass

import numpy as np

from riskengine.app.amounts import percent
from riskengine.app.build import Question
from riskengine.app.config import Config
from riskengine.app.looks import Fresh
from riskengine.app.stress import gap_debts
from riskengine.calibration import frontier
from riskengine.calibration.frontier import Needs
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate, Sample
from riskengine.montecarlo.weighted import WeightedPaths

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


@dataclass(frozen=True)
class Judge:
    """Crashes that no rule has seen: plain ones, and weighted ones for what these rarely show."""

    plain: Needs
    rare: WeightedPaths | None

    @classmethod
    def of(cls, fresh: list[Fresh]) -> "Judge":
        """Those of all looks together."""
        parts = [one.rare.adl for one in fresh if one.rare]
        return cls(joined([one.needs for one in fresh]), together(parts) if parts else None)

    def rule(self, name: str, capital: float, **more) -> Rule:
        """The risk that a capital leaves."""
        adl = estimators.proportion("adl_probability", self.plain.adl > capital, self.plain.sample)
        if self.rare and (adl.hits or 0) < estimators.RARE:
            found = self.rare.probability("adl_probability", capital)
            adl = adl if found.value is None else found
        return Rule(name, capital, adl, frontier.loss_beyond(self.plain, capital), **more)


def compared(config: Config, question: Question, seen: Needs, fresh: list[Fresh]) -> list[Rule]:
    """Every rule on the crashes that were seen, judged on the fresh ones of all looks together."""
    judge, exceed = Judge.of(fresh), config.target.adl_probability
    own, interest = float(question.venue.capital), question.open_interest
    found = [judge.rule(f"today's {percent(own / interest)} of open interest", own)]
    seen_most = config.scenario.seen.largest_pct
    gap = GAP if seen_most is None else PCT * seen_most
    for count in COVER:
        name = f"Cover-{count} in a gap of {percent(gap)}, largest of all books"
        found.append(judge.rule(name, cover(question, gap, count)))
    found.append(history(seen, judge))
    found.append(judge.rule(f"grid of {GRID} sizes, smallest that meets it", grid(seen, exceed)))
    aim = estimators.quantile("target", seen.adl, exceed, seen.sample, "USD")
    for name, end in (("fund target of this run", aim.value), ("its upper limit", aim.high)):
        if end is not None:
            found.append(judge.rule(name, end))
    return found


def joined(parts: list[Needs]) -> Needs:
    """Paths of several looks as one sample; books of different looks are different books."""
    columns = ("adl", "dry", "beyond")
    adl, dry, beyond = (np.concatenate([getattr(p, c) for p in parts]) for c in columns)
    return Needs(adl, dry, beyond, _sample([p.sample for p in parts]))


def together(parts: list[WeightedPaths]) -> WeightedPaths:
    """The same for weighted paths: draws of all looks."""
    starts = np.cumsum([0, *(p.sample.paths for p in parts)])
    draw = np.concatenate([p.draw + n for p, n in zip(parts, starts[:-1], strict=True)])
    need, weight = (np.concatenate([getattr(p, c) for p in parts]) for c in ("need", "weight"))
    return WeightedPaths(need, weight, draw, _sample([p.sample for p in parts]), parts[0].method)


def _sample(parts: list[Sample]) -> Sample:
    starts = np.cumsum([0, *(int(p.book.max()) + 1 for p in parts)])
    book = np.concatenate([p.book + n for p, n in zip(parts, starts[:-1], strict=True)])
    return Sample(book, parts[0].level, parts[0].random_books)


def cover(question: Question, gap: float, count: int) -> float:
    """Debts of the largest debtors if all prices jumped by the gap, up or down; the worst book."""
    sums = [
        np.sort(gap_debts(holdings, move))[::-1][:count].sum()
        for holdings in question.opened.holdings
        for move in (-gap, gap)
    ]
    return float(max(sums))


def history(seen: Needs, judge: Judge) -> Rule:
    """The worst cash draw of so many crashes times a factor; which crashes those are is chance."""
    random = np.random.Generator(np.random.PCG64(0))
    finite = seen.beyond[np.isfinite(seen.beyond)]
    draws = FACTOR * random.choice(finite, (999, min(CRASHES, len(finite)))).max(1)
    low, middle, high = np.quantile(draws, (0.05, 0.5, 0.95))
    name = f"worst draw of {CRASHES} crashes x {FACTOR:g}, median history"
    return judge.rule(name, float(middle), least=float(low), most=float(high))


def grid(seen: Needs, exceed: float) -> float:
    """The smallest of a grid of sizes whose estimated probability meets the target."""
    finite = seen.adl[np.isfinite(seen.adl)]
    sizes = np.geomspace(max(float(np.median(finite)), 1.0), max(float(finite.max()), 2.0), GRID)
    meets = np.asarray([np.mean(seen.adl > size) <= exceed for size in sizes])
    return float(sizes[np.argmax(meets)]) if meets.any() else float("inf")
