"""From many paths to numbers with intervals.

Paths of one book are alike, and a synthetic book is one draw of many: path p met book b(p). The
interval of an estimate therefore carries the variance between books; where the book is one that was
read from a file, or where only the simulation error is asked for, it does not. With B books of
n_b paths, share w_b = n_b / n, means x_b, and x̄ the mean of all n paths:

    total:       Var = (B − 1)/B Σ (w_b (x_b − x̄) / (1 − w_b))²,  the jackknife that leaves out one
                 book at a time; quantiles of Student t with (Σ w_b²)² / Σ w_b⁴ − 1 degrees
    simulation:  Var = Σ w_b² s_b² / n_b with s_b² the variance within book b; normal quantiles

With n_b all equal that is Σ (x_b − x̄)² / (B (B − 1)) and B − 1 degrees of freedom. Proportions use
Wilson's interval, and order statistics binomial ranks, at the effective number of paths: n divided
by the design effect Var / (s²/n), where s²/n is the variance of the mean of n independent paths.
"""

import bisect
import dataclasses
import functools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

RARE = 10  # hits below which a probability is called poorly known
HEAVY = 0.1  # share of a sum above which one path is named
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

    def noted(self, said: str, last: bool = False) -> "Estimate":
        """The same with more to say, before its note or after it."""
        parts = (self.note, said) if last else (said, self.note)
        return dataclasses.replace(self, note="; ".join(filter(None, parts)))

    def record(self) -> dict:
        """As plain JSON: no infinities, no NaN."""
        return {name: finite(value) for name, value in dataclasses.asdict(self).items()}


def finite(x):
    """The same; None for infinities and NaN."""
    return None if isinstance(x, float) and not math.isfinite(x) else x


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
        return len(self.sizes)

    @cached_property
    def place(self) -> np.ndarray:
        """The book of every path, counted from 0 without gaps."""
        return np.unique(self.book, return_inverse=True)[1]

    @cached_property
    def sizes(self) -> np.ndarray:
        """Paths of every book."""
        return np.bincount(self.place)

    def clustered(self, total: bool) -> bool:
        """Whether an interval carries the variance between books."""
        return total and self.random_books and self.books > 1

    @property
    def tail(self) -> float:
        """Chance to miss on each side."""
        return 0.5 * (1.0 - self.level)

    def quantile(self, total: bool) -> float:
        """How many standard errors the interval reaches out."""
        if self.clustered(total):
            return _student(self.sizes / self.paths, self.tail)
        return float(-special.ndtri(self.tail))

    def variance(self, x: Values, total: bool) -> float:
        """Of the mean of x: within books, or within and between them."""
        x = np.asarray(x, float)
        share = self.sizes / self.paths
        mean = np.bincount(self.place, x) / self.sizes
        if self.clustered(total):
            return _jackknife(share, share * (mean - x.mean()))
        squares = np.bincount(self.place, (x - mean[self.place]) ** 2)
        free = self.sizes - 1
        if not free.any():  # one path per book: what is within cannot be told from what is between
            return float(x.var() / max(self.paths - 1, 1))
        pooled = squares.sum() / free.sum()  # stands in for books of one path
        inside = np.where(free > 0, squares / np.maximum(free, 1), pooled)
        return float(np.sum(share**2 * inside / self.sizes))


def _jackknife(share: Values, pull: Values) -> float:
    """Variance of the mean x̄ = Σ w_b x_b, from the shares w_b and the pulls w_b (x_b − x̄)."""
    groups = len(share)
    moved = pull / (1.0 - share)  # what leaving that group out does to the mean
    return float((groups - 1) / groups * np.sum(moved**2))


def _student(share: Values, tail: float) -> float:
    """Student's quantile; groups of unequal size count as 1 / Σ w_b² of equal size.

    (With B − 1 degrees and books of lognormal size, σ = 1.5 and B = 32, 95 % intervals cover 91 %.)
    """
    free = 1.0 / float(np.sum(share**2)) - 1.0
    return float(-special.stdtrit(max(free, 1.0), tail))


def effective(hit: Values, sample: Sample, total: bool = True) -> float:
    """Independent paths that would know P(hit) as well: n / design effect.

    Between-book variance that by chance is below the binomial one is not believed: n_eff ≤ n.
    The simulation error of given books is at most the binomial one (Hoeffding 1956): n_eff ≥ n.
    """
    return paths_worth(float(np.mean(hit)), sample.variance(hit, total), sample, total)


def paths_worth(p: float, variance: float, sample: Sample, total: bool) -> float:
    """Independent paths that would know a proportion p with this variance."""
    n = float(sample.paths)
    if sample.books == 1 or p in (0.0, 1.0) or variance <= 0.0:
        return n
    found = p * (1.0 - p) * n / (n - 1.0) / variance
    return min(found, n) if total else max(found, n)


def effective_above(x: Values, value: float, sample: Sample, total: bool = True) -> float:
    """Effective number of paths for P(x > value), also where `value` is an atom of x or its end.

    With many paths at `value` itself P(x > value) and P(x ≥ value) have design effects of their
    own; the larger one counts. An event of no path or of all of them says nothing.
    """
    events = [hit for hit in (x > value, x >= value) if 0 < hit.sum() < len(hit)]
    return min((effective(hit, sample, total) for hit in events), default=float(sample.paths))


def wilson(p: Values, n: Values, reach: float) -> tuple[Values, Values]:
    """Wilson's intervals of proportions seen in n trials, `reach` standard errors wide (1927)."""
    centre = (p + reach**2 / (2 * n)) / (1 + reach**2 / n)
    half = reach / (1 + reach**2 / n) * np.sqrt(p * (1 - p) / n + (reach / (2 * n)) ** 2)
    return np.maximum(0.0, centre - half), np.minimum(1.0, centre + half)


def _wilson(p: float, n: float, reach: float) -> tuple[float, float]:
    """The interval of one proportion."""
    low, high = wilson(np.array([p]), np.array([n]), reach)
    return low.item(), high.item()


def limits(p: float, size: float, sample: Sample, total: bool = True) -> tuple[float, float]:
    """Of a proportion p at this effective number of paths; where p is 0 or 1, one-sided and exact."""
    if 0.0 < p < 1.0:
        return _wilson(p, size, sample.quantile(total))
    limit = -math.expm1(math.log1p(-sample.level) / sample.paths)  # 1 − (1 − level)^(1/n)
    return (0.0, limit) if p <= 0.0 else (1.0 - limit, 1.0)


def proportion(
    name: str, hit: Values, sample: Sample, unit: str = "probability", total: bool = True
) -> Estimate:
    """P(hit) with its interval; with no hit at all the upper limit is 3/n (at 95 %).

    That limit, exact for independent paths, is too low where few books hold most of the risk. So
    are, at few hits, the others: with B = 32 and 20 hits expected, 95 % intervals cover 93 % where
    the books' probabilities have a coefficient of variation of 1.5, and 88 % where it is 3.
    """
    hit = np.asarray(hit, bool)
    hits, n = int(hit.sum()), sample.paths
    p = hits / n
    low, high = limits(p, effective(hit, sample, total), sample, total)
    note = ""
    if hits < RARE:
        note = f"{hits} of {n} paths: poorly known"
        note += "; limit as if books were alike" if hits == 0 and sample.clustered(total) else ""
    elif n - hits < RARE:
        note = f"all but {n - hits} of {n} paths"
    method = _method("Wilson", sample, total)
    return Estimate(name, p, low, high, sample.level, n, hits, method, unit, note)


def _method(name: str, sample: Sample, total: bool) -> str:
    return f"{name}, within and between books" if sample.clustered(total) else name


def quantile(
    name: str, x: Values, exceed: float, sample: Sample, unit: str, total: bool = True
) -> Estimate:
    """The smallest number that x exceeds with at most the probability `exceed`.

    It is an order statistic of the sample, and so are its limits: of n independent paths the number
    that lie above the true quantile is Binomial(n, exceed), whatever the law of x. For paths that
    share books n is the effective number of paths at that quantile. Infinite x are numbers like
    others: where they are more frequent than `exceed`, no finite quantile exists.
    """
    x = np.asarray(x, float)
    value, allowed = upper(x, exceed), _allowed(exceed, sample.paths)
    low, high = _limits(x, exceed, effective_ranks(x, value, sample, total), sample.tail)
    note = _quantile_note(x, low, high, exceed, allowed)
    if allowed < 1:
        value = high = math.inf
    hits = int(np.sum(x > value))
    method = _method("order statistic", sample, total)
    return Estimate(
        name, finite(value), finite(low), finite(high),
        sample.level, sample.paths, hits, method, unit, note,
    )  # fmt: skip


def _allowed(exceed: float, n: int) -> int:
    """How many of n paths may lie above: ⌊exceed · n⌋, where 0.29 · 100 is 29."""
    return min(math.floor(exceed * n * (1.0 + 1e-12)), n - 1)


def upper(x: Values, exceed: float) -> float:
    """The smallest number that at most the share `exceed` of the sample exceeds."""
    rank = len(x) - 1 - _allowed(exceed, len(x))
    return float(np.partition(x, rank)[rank])


def effective_ranks(x: Values, value: float, sample: Sample, total: bool = True) -> float:
    """`effective_above`, reduced by what few books add to Student's quantile."""
    lost = (sample.quantile(False) / sample.quantile(total)) ** 2
    return effective_above(x, value, sample, total) * lost


def _limits(x: Values, exceed: float, size: float, tail: float) -> tuple[float, float]:
    """Order statistics x₁ ≥ x₂ ≥ … that miss the true quantile with at most `tail` on each side.

    x_k lies below it with probability at most P(Bin(n, exceed) ≤ k − 1), and above it with at most
    P(Bin(n, exceed) ≥ k): the limits are the largest k and the smallest k at which that is `tail`
    or less, and infinite where there is none. Of `size` effective paths k of n are k · size / n.
    """
    ordered = np.sort(x)[::-1]
    n = len(ordered)
    at_most = functools.partial(_binomial, size=size, p=exceed)
    over = bisect.bisect_right(range(n), tail, key=lambda k: at_most(k * size / n))
    under = bisect.bisect_left(
        range(1, n + 1), 1.0 - tail, key=lambda k: at_most(k * size / n - 1.0)
    )
    high = ordered[over - 1] if over else math.inf
    low = ordered[under] if under < n else -math.inf
    return float(low), float(high)


def _binomial(count: float, size: float, p: float) -> float:
    """P(Bin(size, p) ≤ count), continued from whole numbers to fractions of a path."""
    return float(special.betainc(size - count, count + 1.0, 1.0 - p))


def _quantile_note(x: Values, low: float, high: float, exceed: float, allowed: int) -> str:
    n, infinite = len(x), int(np.sum(x == math.inf))
    if low == math.inf or infinite > allowed >= 1:
        return f"no capital is enough: on {infinite} of {n} paths the event does not depend on it"
    if allowed < 1:
        needs = math.ceil(1.0 / exceed * (1.0 - 1e-12))
        return f"{n} paths cannot carry a probability of {exceed:g}: needs {needs}"
    if not math.isfinite(high):
        return "the sample has no upper limit"
    return f"rests on {allowed} paths above it" if allowed < RARE else ""


def ratio(
    name: str, part: Values, whole: Values, sample: Sample, unit: str = "fraction", hits: int = 0
) -> Estimate:
    """E[part] / E[whole], with the jackknife's interval; said where that leaves even the size open."""
    found = _ratio(name, part, whole, sample, unit, hits)
    return found.noted(UNCERTAIN, last=True) if uncertain(found) else found


UNCERTAIN = "too uncertain: the interval is wider than the number"


def uncertain(e: Estimate) -> bool:
    """Whether an interval reaches further from its number than zero is: 100 % and more."""
    if e.value is None or e.low is None or e.high is None:
        return False
    return max(e.high - e.value, e.value - e.low) > abs(e.value)


def _ratio(
    name: str, part: Values, whole: Values, sample: Sample, unit: str, hits: int,
    bent: bool = False,
) -> Estimate:  # fmt: skip
    """The ratio of two means.

    Books (paths, where the book is given) are left out one at a time; what each weighs is its share
    of `whole`, not of the paths. Where one of them holds all of `whole` nothing is known about how
    much they differ, and there is no interval. Limits are Student's, those of a mean `bent` by the
    skewness of what is averaged (Hall 1992): a sample that lacks large amounts looks small and sure.
    """
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    method, base = "ratio of means", float(whole.sum())
    about = (sample.level, sample.paths, hits, method, unit)
    if base <= 0.0:
        return Estimate(name, None, None, None, *about, "nobody was hit")
    r = float(part.sum()) / base
    share, pull, what = _pulls(part, whole, sample)
    seen = (share != 0.0) | (pull != 0.0)
    if seen.sum() < 2 or share.max() >= 1.0:
        return Estimate(name, r, None, None, *about, f"all in one {what}: no interval")
    error = math.sqrt(_jackknife(share[seen], pull[seen]))
    reach = _student(share[seen], sample.tail)
    below, above = _bent(pull[seen], reach) if bent else (reach, reach)
    note = f"{hits} hits: poorly known" if hits < RARE else ""
    least = 0.0 if (part >= 0.0).all() else -math.inf  # what is never negative has no such mean
    return Estimate(name, r, max(r - error * below, least), r + error * above, *about, note)


def _bent(pull: Values, reach: float) -> tuple[float, float]:
    """Standard errors below and above a mean: roots of w + h w²/3 + h² w³/27 + h/6 = ±t, h its skewness."""
    size = float(np.sum(pull**2))
    h = float(np.sum(pull**3)) / size**1.5 if size > 0.0 else 0.0
    if abs(h) < 1e-9:
        return reach, reach
    ends = (3.0 / h * (np.cbrt(1.0 + h * (t - h / 6.0)) - 1.0) for t in (reach, -reach))
    low, high = (float(w) for w in ends)
    return low, -high


def _pulls(part: Values, whole: Values, sample: Sample) -> tuple[Values, Values, str]:
    """Of every book (path, where the book is given): its share of `whole`, and how it pulls the ratio."""
    what, base = "book" if sample.clustered(True) else "path", whole.sum()
    group = sample.place if what == "book" else np.arange(sample.paths)
    off = part - part.sum() / base * whole
    return np.bincount(group, whole) / base, np.bincount(group, off) / base, what


def ratio_change(
    name: str, mine: tuple[Values, Values], theirs: tuple[Values, Values], sample: Sample
) -> Estimate:
    """E[part] / E[whole] less another such ratio of the same paths, with the jackknife's interval.

    A book (a path, where the book is given) is left out of both at once, so what moves both ratios
    alike cancels.
    """
    method = "difference of ratios of means"
    about = (sample.level, sample.paths, None, method, "fraction")
    (part, whole), (before, all_before) = np.asarray(mine, float), np.asarray(theirs, float)
    if min(whole.sum(), all_before.sum()) <= 0.0:
        return Estimate(name, None, None, None, *about, "nobody was hit")
    change = float(part.sum() / whole.sum() - before.sum() / all_before.sum())
    share, pull, what = _pulls(part, whole, sample)
    other, against, _ = _pulls(before, all_before, sample)
    groups = int(np.sum((share != 0.0) | (other != 0.0) | (pull != 0.0) | (against != 0.0)))
    if groups < 2 or max(share.max(), other.max()) >= 1.0:
        return Estimate(name, change, None, None, *about, f"all in one {what}: no interval")
    moved = pull / (1.0 - share) - against / (1.0 - other)
    fewest = max(share, other, key=lambda x: float(np.sum(x**2)))
    error = math.sqrt((groups - 1) / groups * np.sum(moved**2)) * _student(fewest, sample.tail)
    return Estimate(name, change, change - error, change + error, *about)


def share_of(
    name: str, hits: Values, trials: Values, sample: Sample, unit: str = "probability"
) -> Estimate:
    """Σ hits / Σ trials, a probability of single accounts, many of which share each path.

    Wilson's interval at the effective number of trials p (1 − p) / Var, where Var is the jackknife's
    over books (paths, where the book is given). With no hit, or nothing but hits, the exact one-sided
    limit of as many trials as there are such groups.
    """
    found = _ratio(name, hits, trials, sample, unit, int(np.sum(hits)))
    if found.value is None:
        return found
    p, n = found.value, sample.books if sample.clustered(True) else sample.paths
    if p in (0.0, 1.0):
        limit = -math.expm1(math.log1p(-sample.level) / n)
        ends = (0.0, limit) if p == 0.0 else (1.0 - limit, 1.0)
        said = "none was hit" if p == 0.0 else "all were hit"
        return dataclasses.replace(found, low=ends[0], high=ends[1], note=said)
    if found.high is None:
        return found
    reach = sample.quantile(True)
    error = max((found.high - p) / reach, 1e-12)
    low, high = _wilson(p, p * (1.0 - p) / error**2, reach)
    return dataclasses.replace(found, low=low, high=high, method=_method("Wilson", sample, True))


def mean(name: str, x: Values, sample: Sample, unit: str, where: Values | None = None) -> Estimate:
    """E[x], or E[x | where]; `hits` are the paths on which x is not zero.

    Heavy tails are said: when one path makes a tenth of the sum.
    """
    x = np.asarray(x, float)
    inside = np.ones(len(x), bool) if where is None else np.asarray(where, bool)
    x, counted, method = np.where(inside, x, 0.0), int(inside.sum()), "mean"
    hits = int(np.count_nonzero(x))
    lacking = "too few paths" if counted < 2 else ""
    if not np.isfinite(x).all():
        lacking = f"infinite on {np.sum(~np.isfinite(x))} paths"
    if lacking:
        about = (sample.level, sample.paths, hits, method, unit, lacking)
        return Estimate(name, None, None, None, *about)
    found = _ratio(name, x, inside, sample, unit, hits, bent=True)
    if not hits:
        note = f"0 on all {counted} paths: what is rarer is not seen"
        return dataclasses.replace(found, method=method, note=note)
    size = np.abs(x)
    heavy = size.max() > HEAVY * size.sum()
    most = f"the largest path is {100 * size.max() / size.sum():.0f} % of the sum" if heavy else ""
    return dataclasses.replace(
        found, method=method, note="; ".join(filter(None, (found.note, most)))
    )


def proportions(hits: Values, n: Values, level: float) -> tuple[Values, Values, Values]:
    """Wilson's intervals of many proportions of independent paths; NaN where none was tried."""
    tried = np.where(n > 0, n, 1).astype(float)
    p, reach = hits / tried, -special.ndtri(0.5 * (1.0 - level))
    low, high = wilson(p, tried, reach)
    limit = -np.expm1(math.log1p(-level) / tried)  # one-sided and exact, as in `proportion`
    low = np.where(hits == n, 1.0 - limit, np.where(hits == 0, 0.0, low))
    high = np.where(hits == 0, limit, np.where(hits == n, 1.0, high))
    low, high = (np.where(n > 0, x, np.nan) for x in (low, high))
    return np.where(n > 0, p, np.nan), low, high


def ratios(
    group: Values, part: Values, whole: Values, groups: int, level: float
) -> tuple[Values, Values, Values]:
    """Σ part / Σ whole of every group, from its independent events, with Student's interval.

    NaN where a group's `whole` is not positive; limits are NaN where it has fewer than two events.
    """
    count = np.bincount(group, minlength=groups)
    total = np.bincount(group, whole, minlength=groups)
    known = total > 0
    base = np.where(known, total, 1.0)
    r = np.where(known, np.bincount(group, part, minlength=groups) / base, np.nan)
    residual = part - np.where(known, r, 0.0)[group] * whole
    squares = np.bincount(group, residual**2, minlength=groups)
    several = known & (count > 1)
    free = np.where(several, count - 1, 1).astype(float)
    error = np.sqrt(squares * (free + 1) / free) / base * -special.stdtrit(free, 0.5 * (1 - level))
    error = np.where(several, error, np.nan)
    gives = np.bincount(group, part < 0, minlength=groups) > 0
    return r, np.maximum(r - error, np.where(gives, -np.inf, 0.0)), r + error


def spread(x: Values, sample: Sample) -> tuple[float, float]:
    """Standard deviations of the mean of x: within books, and between them (0 if not seen)."""
    within, together = sample.variance(x, False), sample.variance(x, True)
    return math.sqrt(within), math.sqrt(max(together - within, 0.0))


def curve(need: Values, capital: Values, sample: Sample) -> dict[str, Values]:
    """P(need > F) for every F in `capital`, with pointwise limits and the number of hits."""
    points = [proportion("", need > f, sample) for f in capital]
    names = {"probability": "value", "low": "low", "high": "high", "hits": "hits"}
    return {
        column: np.asarray([getattr(p, field) for p in points]) for column, field in names.items()
    }
