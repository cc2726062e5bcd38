"""From many paths to numbers with intervals.

Paths of one book are alike, and a synthetic book is one draw of many: path p met book b(p). The
interval of an estimate therefore carries the variance between books; where the book is one that was
read from a file, or where only the simulation error is asked for, it does not. Both follow from the
means p_b of B books of n/B paths each:

    total:       Var = Σ (p_b − p)² / (B (B − 1)),       quantiles of Student t with B − 1 degrees
    simulation:  Var = Σ p_b (1 − p_b) / (n_b − 1) / B²,  quantiles of the normal

Proportions use Wilson's interval at the effective number of paths n_eff = p (1 − p) / Var.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RARE = 10  # hits below which a probability is called poorly known
Values = np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A number and what it rests on. `value` None: this sample cannot carry it; `note` says why."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    level: float
    n: int
    hits: int | None
    method: str
    unit: str
    note: str = ""

    def record(self) -> dict:
        """As plain JSON: no infinities, no NaN."""
        plain = dataclasses.asdict(self)
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in plain.items()}


@dataclass(frozen=True)
class Sample:
    """Which book each path met, and how sure an interval should be."""

    book: np.ndarray  # paths
    level: float = 0.95
    random_books: bool = True  # books are draws of a law, so they differ by chance

    @property
    def paths(self) -> int:
        return len(self.book)

    @property
    def books(self) -> int:
        return len(np.unique(self.book))

    def quantile(self, total: bool) -> float:
        """How many standard errors the interval reaches out."""
        tail = 0.5 * (1.0 + self.level)
        clustered = total and self.random_books and self.books > 1
        return float(stats.t(self.books - 1).ppf(tail) if clustered else stats.norm.ppf(tail))

    def variance(self, x: Values, total: bool) -> float:
        """Of the mean of x: within books, or within and between them."""
        _, place = np.unique(self.book, return_inverse=True)
        count = np.bincount(place)
        mean = np.bincount(place, x) / count
        books = len(count)
        if total and self.random_books and books > 1:
            weight = count / count.sum()
            spread = weight**2 * (mean - x.mean()) ** 2
            return float(spread.sum() * books / (books - 1))
        inside = np.bincount(place, (x - mean[place]) ** 2) / np.maximum(count - 1, 1) / count
        return float(np.sum((count / count.sum()) ** 2 * inside))


def effective(hit: Values, sample: Sample, total: bool = True) -> float:
    """Independent paths that would know P(hit) as well: n / design effect.

    Between-book variance that by chance is below the binomial one is not believed: n_eff ≤ n.
    """
    p = float(np.mean(hit))
    variance = sample.variance(np.asarray(hit, float), total)
    if p in (0.0, 1.0) or variance == 0.0:
        return float(sample.paths)
    ratio = p * (1.0 - p) / variance
    return min(ratio, sample.paths) if total else max(ratio, sample.paths)


def wilson(p: float, n: float, reach: float) -> tuple[float, float]:
    """Wilson's interval of a proportion seen in n trials, `reach` standard errors wide (1927)."""
    centre = (p + reach**2 / (2 * n)) / (1 + reach**2 / n)
    half = reach / (1 + reach**2 / n) * math.sqrt(p * (1 - p) / n + (reach / (2 * n)) ** 2)
    return max(0.0, centre - half), min(1.0, centre + half)


def proportion(
    name: str, hit: Values, sample: Sample, unit: str = "probability", total: bool = True
) -> Estimate:
    """P(hit) with its interval; with no hit at all the upper limit is 3/n (at 95 %)."""
    hit = np.asarray(hit, bool)
    hits, n = int(hit.sum()), sample.paths
    p = hits / n
    low, high = wilson(p, effective(hit, sample, total), sample.quantile(total))
    if hits in (0, n):  # one-sided, exact: 1 − (1 − level)^(1/n)
        limit = 1.0 - (1.0 - sample.level) ** (1.0 / n)
        low, high = (0.0, limit) if hits == 0 else (1.0 - limit, 1.0)
    note = ""
    if hits < RARE:
        note = f"{hits} of {n} paths: poorly known"
    elif n - hits < RARE:
        note = f"all but {n - hits} of {n} paths"
    method = "Wilson, within and between books" if total and sample.random_books else "Wilson"
    return Estimate(name, p, low, high, sample.level, n, hits, method, unit, note)


def quantile(
    name: str, x: Values, exceed: float, sample: Sample, unit: str, total: bool = True
) -> Estimate:
    """The smallest number that x exceeds with at most the probability `exceed`.

    It is an order statistic of the sample, and so are its limits: of n independent paths the number
    that lie above the true quantile is Binomial(n, exceed), whatever the law of x. For paths that
    share books n is the effective number of paths at that quantile. Infinite x are numbers like
    others: where they are more frequent than `exceed`, no finite quantile exists.
    """
    x, n = np.asarray(x, float), sample.paths
    ordered = np.sort(x)
    allowed = math.floor(exceed * n)
    value = float(ordered[n - 1 - allowed])
    low, high = _rank_limits(ordered, exceed, _effective_above(x, value, sample, total), sample.level)
    hits = int(np.sum(x > value))
    note = _quantile_note(value, high, exceed, sample, allowed, int(np.isinf(x).sum()))
    method = "order statistic" + (
        ", within and between books" if total and sample.random_books else ""
    )
    finite = [v if math.isfinite(v) else None for v in (value, low, high)]
    if allowed < 1:
        finite = [None, finite[1], None]
    return Estimate(name, *finite, sample.level, n, hits, method, unit, note)


def _effective_above(x: Values, value: float, sample: Sample, total: bool) -> float:
    """Effective number of paths for P(x > value), reduced by what few books add to t quantiles."""
    above = x > value
    n = effective(above, sample, total) if 0 < above.sum() < len(above) else float(sample.paths)
    return n * (sample.quantile(False) / sample.quantile(total)) ** 2


def _rank_limits(ordered: Values, exceed: float, n: float, level: float) -> tuple[float, float]:
    """Order statistics whose ranks are the binomial limits, spread from n_eff to n paths."""
    paths, size = len(ordered), max(1, round(n))
    few = int(stats.binom.ppf(0.5 * (1.0 - level), size, exceed))  # that may lie above, at least
    many = int(stats.binom.ppf(0.5 * (1.0 + level), size, exceed)) + 1
    upper = math.ceil(few * paths / size)
    if upper == 0 and stats.binom.pmf(0, size, exceed) > 0.5 * (1.0 - level):
        high = math.inf  # even the largest path may lie below
    else:
        high = float(ordered[paths - max(upper, 1)])
    return float(ordered[max(0, paths - 1 - math.ceil(many * paths / size))]), high


def _quantile_note(value, high, exceed, sample: Sample, allowed: int, infinite: int) -> str:
    if infinite > exceed * sample.paths:
        return f"no capital is enough: on {infinite} of {sample.paths} paths the event does not depend on it"
    if allowed < 1:
        return f"{sample.paths} paths cannot carry a probability of {exceed:g}: needs {round(1 / exceed)}"
    if not math.isfinite(high):
        return "the sample has no upper limit"
    return f"rests on {allowed} paths above it" if allowed < RARE else ""


def ratio(
    name: str, part: Values, whole: Values, sample: Sample, unit: str = "fraction", hits: int = 0
) -> Estimate:
    """E[part] / E[whole], with the interval of the linearised ratio (part − r · whole) / E[whole]."""
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    base = float(whole.mean())
    method = "ratio of means"
    if base <= 0.0:
        return Estimate(name, None, None, None, sample.level, sample.paths, hits, method, unit, "nobody was hit")
    r = float(part.mean()) / base
    error = math.sqrt(sample.variance((part - r * whole) / base, True)) * sample.quantile(True)
    note = f"{hits} hits: poorly known" if hits < RARE else ""
    return Estimate(name, r, r - error, r + error, sample.level, sample.paths, hits, method, unit, note)


def mean(name: str, x: Values, sample: Sample, unit: str, where: Values | None = None) -> Estimate:
    """E[x], or E[x | where]; heavy tails are said: when one path makes a tenth of the sum."""
    x = np.asarray(x, float)
    inside = np.ones(len(x), bool) if where is None else np.asarray(where, bool)
    hits, method = int(inside.sum()), "mean"
    if hits < 2:
        return Estimate(name, None, None, None, sample.level, sample.paths, hits, method, unit, "too few paths")
    x = np.where(inside, x, 0.0)
    found = ratio(name, x, inside, sample, unit, hits)
    largest = float(np.max(np.abs(x)) / max(np.sum(np.abs(x)), 1e-300))
    note = f"the largest path is {100 * largest:.0f} % of the sum" if largest > 0.1 and hits > 1 else found.note
    return dataclasses.replace(found, method=method, note=note)


def spread(x: Values, sample: Sample) -> tuple[float, float]:
    """Standard deviations of the mean of x: within books, and between them (0 if not seen)."""
    within = sample.variance(np.asarray(x, float), False)
    together = sample.variance(np.asarray(x, float), True)
    return math.sqrt(within), math.sqrt(max(together - within, 0.0))


def curve(need: Values, capital: Values, sample: Sample) -> dict[str, Values]:
    """P(need > F) for every F in `capital`, with pointwise limits and the number of hits."""
    points = [proportion("", need > f, sample) for f in capital]
    columns: dict[str, Sequence] = {
        "probability": [p.value for p in points],
        "low": [p.low for p in points],
        "high": [p.high for p in points],
        "hits": [p.hits for p in points],
    }
    return {name: np.asarray(values) for name, values in columns.items()}
