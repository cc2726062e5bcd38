"""What all paths say about a number: plainly, or in two levels where most ran on grouped books.

Whoever asks need not know which: a number is a function of `Results`, and these give its
proportion, mean, quantile and curve with intervals.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from riskengine.montecarlo import estimators, two_level
from riskengine.montecarlo.estimators import Estimate, Sample, Values
from riskengine.montecarlo.simulate import Results
from riskengine.montecarlo.two_level import Number, TwoLevel


@dataclass(frozen=True)
class Paths:
    """Paths that all ran on the books themselves."""

    results: Results  # the best that is known of every path
    sample: Sample

    @property
    def said(self) -> str:
        """What to say of a number that is read from `results` as they are."""
        return ""

    def values(self, number: Number) -> Values:
        """One per path; their mean is what the number is expected to be."""
        return number(self.results)

    def some(self, rows: Values) -> "Paths":
        """Those paths for which `rows` is true."""
        return Paths(self.results.some(rows), _part(self.sample, rows))

    def proportion(self, name: str, event: Number, total: bool = True) -> Estimate:
        """As `estimators.proportion`."""
        return estimators.proportion(name, event(self.results), self.sample, total=total)

    def mean(self, name: str, number: Number, unit: str) -> Estimate:
        """As `estimators.mean`."""
        return estimators.mean(name, number(self.results), self.sample, unit)

    def quantile(self, name: str, number: Number, exceed: float, total: bool = True) -> Estimate:
        """As `estimators.quantile`, in USD."""
        return estimators.quantile(name, number(self.results), exceed, self.sample, "USD", total)

    def curve(self, need: str, capital: Values) -> dict[str, Values]:
        """P(need > F) for every F in `capital`, which ascends."""
        return estimators.curve(self.results[need], capital, self.sample)


@dataclass(frozen=True)
class CoupledPaths(Paths):
    """Paths that all ran on grouped books, and some of them on the books themselves, too."""

    two: TwoLevel

    @property
    def said(self) -> str:
        full, n = len(self.two.full), len(self.two.cheap)
        return f"of grouped accounts on {n - full:,} of {n:,} paths" if full < n else ""

    def values(self, number: Number) -> Values:
        return self.two.values(number)

    def some(self, rows: Values) -> "CoupledPaths":
        two = self.two
        part = dataclasses.replace(
            two, cheap=two.cheap.some(rows), full=two.full.some(rows[two.rows]),
            chance=two.chance[rows],
        )  # fmt: skip
        return CoupledPaths(self.results.some(rows), _part(self.sample, rows), part)

    def proportion(self, name: str, event: Number, total: bool = True) -> Estimate:
        return two_level.proportion(name, self.two, event, total)

    def mean(self, name: str, number: Number, unit: str) -> Estimate:
        return two_level.mean(name, self.two, number, unit)

    def quantile(self, name: str, number: Number, exceed: float, total: bool = True) -> Estimate:
        if exceed * len(self.results) < 1.0:  # said as it is of paths in full: too few
            return super().quantile(name, number, exceed, total)
        cheap, full = (r.replaced({NUMBER: number(r)}) for r in (self.two.cheap, self.two.full))
        two = dataclasses.replace(self.two, cheap=cheap, full=full)
        return two_level.fund_target(name, two, NUMBER, exceed, total)

    def curve(self, need: str, capital: Values) -> dict[str, Values]:
        return two_level.curve(self.two, need, capital)


NUMBER = "number"  # the column of a number whose quantile is asked for


def _part(sample: Sample, rows: np.ndarray) -> Sample:
    return dataclasses.replace(sample, book=sample.book[rows])
