"""Capital against risk: how much meets each level of a risk, and what another design changes.

Needs R come from one run without a limit on capital, so P(need > F) and E[(R − F)⁺] are known for
every F at once. What happens after the first intervention is known at the levels of F at which it was
simulated. Designs are compared on common random numbers, path by path, with books as clusters.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from riskengine.calibration import target
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate, Sample
from riskengine.montecarlo.weighted import TAIL, tail_index

LEVELS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
CARRIED = 16  # paths above a quantile at which designs are compared
POINTS = 481  # of a curve over capital
LEAST = 1e-4  # of the largest need: where such a curve begins


@dataclass(frozen=True)
class Needs:
    """What every path of a design needs, USD."""

    adl: np.ndarray  # until the first intervention
    dry: np.ndarray  # until the fund runs dry, or a rule binds that makes that unknown
    beyond: np.ndarray  # R, inventory at its exit price: what is beyond F somebody else bears
    sample: Sample

    def some(self, rows) -> "Needs":
        """A part of the paths."""
        part = Sample(self.sample.book[rows], self.sample.level, self.sample.random_books)
        return Needs(self.adl[rows], self.dry[rows], self.beyond[rows], part)

    def at(self, level: float) -> "Needs":
        """The same for intervals at another level."""
        return dataclasses.replace(self, sample=dataclasses.replace(self.sample, level=level))


def for_probability(name: str, need: np.ndarray, sample: Sample) -> list[Estimate]:
    """F*(ε) for every ε of `LEVELS` with its interval, or why these paths cannot carry it."""
    return [estimators.quantile(name, need, exceed, sample, "USD") for exceed in LEVELS]


def loss_beyond(needs: Needs, capital: float) -> Estimate:
    """E[(R − F)⁺]: what crashes need beyond the fund, mean per crash, USD."""
    beyond = np.maximum(needs.beyond - capital, 0.0)
    return estimators.mean("loss_beyond", beyond, needs.sample, "USD")


def for_loss(name: str, needs: Needs, levels: Sequence[float]) -> list[Estimate]:
    """The smallest F with E[(R − F)⁺] ≤ ℓ, for every loss ℓ in USD; a band from pointwise limits.

    Beyond the largest need that was seen there is no loss, which says nothing about rarer crashes:
    a capital there is not known. Nor has it limits where the largest needs look as if they had no
    variance: then no interval of their mean holds.
    """
    grid = capitals(needs.beyond)
    found = [loss_beyond(needs, f) for f in grid]
    capital = [_seen(for_level(name, grid, found, level), needs.beyond) for level in levels]
    tail = tail_index(needs.beyond[np.isfinite(needs.beyond)])
    if not tail >= TAIL:
        return capital
    why = f"needs have no variance: tail index {tail:.2f} and more, must be below {TAIL:g}"
    return [dataclasses.replace(e, low=None, high=None).noted(why, last=True) for e in capital]


def _seen(e: Estimate, need: np.ndarray) -> Estimate:
    """The same without a capital or limit that no path exceeds; `hits` are those beyond it."""
    value, high = (None if x is None or not (need > x).any() else x for x in (e.value, e.high))
    hits = 0 if value is None else int(np.sum(need > value))
    note = e.note if value is not None else "no path needs more: rarer crashes are not seen"
    if value is not None and hits < estimators.RARE:
        note = "; ".join(filter(None, (note, f"rests on {hits} paths above it")))
    return dataclasses.replace(e, value=value, high=high, hits=hits, note=note)


def capitals(need: np.ndarray) -> np.ndarray:
    """Capitals from none to the largest finite need: half of them by ranks, half by size."""
    finite = np.sort(need[np.isfinite(need)])
    if not len(finite) or finite[-1] <= 0.0:
        return np.zeros(1)
    ranks = np.unique(np.linspace(0, len(finite) - 1, POINTS // 2).astype(int))
    tail = np.geomspace(LEAST * finite[-1], finite[-1], POINTS // 2)
    return np.unique(np.concatenate([[0.0], finite[ranks], tail]))


def for_level(
    name: str, capital: np.ndarray, risk: Sequence[Estimate], level: float
) -> Estimate:  # fmt: skip
    """The smallest tested F at which, and at every larger tested F′, a risk is at most `level`.

    So it is defined where a risk does not fall with F, as well. Its limits are the same for the
    limits of the risk; where these are not known at the largest F, neither is the capital.
    """
    low, value, high = (
        _smallest(capital, np.asarray([_or(end, e) for e in risk]) <= level)
        for end in ("low", "value", "high")
    )
    about = (risk[0].level, risk[0].n, None, f"levels of F, {risk[0].method}", "USD")
    note = "" if math.isfinite(value) else "no capital that was tested is enough"
    if math.isfinite(value) and not math.isfinite(high):
        note = "no upper limit: too few events at large capital"
    value, low, high = (estimators.finite(x) for x in (value, low, high))
    return Estimate(name, value, low, high, *about, note)


def _or(end: str, e: Estimate) -> float:
    """A limit of a risk; where nothing is known, 0 below and infinity above."""
    found = getattr(e, end)
    if found is None:
        return math.inf if end == "high" else (0.0 if e.value is None else e.value)
    return found


def _smallest(capital: np.ndarray, meets: np.ndarray) -> float:
    """The smallest F from which on all tested ones meet; infinite if the largest does not."""
    fails = np.flatnonzero(~meets)
    first = int(fails[-1]) + 1 if len(fails) else 0
    return float(capital[first]) if first < len(capital) else math.inf


# Designs beside today's


def carried(exceed: float, paths: int) -> float:
    """The probability at which fund targets of so many paths are compared: `exceed` or the least."""
    return max(exceed, min(CARRIED / paths, 0.5))


@dataclass(frozen=True)
class Compared:
    """A design beside today's on the same crashes: each number, and what it adds to today's."""

    target: Estimate  # F*(ε)
    target_change: Estimate
    adl: Estimate  # P(need > F) at today's fund
    adl_change: Estimate
    dry: Estimate
    dry_change: Estimate
    beyond: Estimate  # E[(R − F)⁺] at today's fund
    beyond_change: Estimate


def compared(design: Needs, today: Needs, capital: float, exceed: float) -> Compared:
    """A design and today's at today's fund, and the funds that both need; paths are the same."""
    sample = design.sample
    pairs = {"adl": (design.adl, today.adl), "dry": (design.dry, today.dry)}
    found = {
        name: estimators.proportion(name, mine > capital, sample)
        for name, (mine, _) in pairs.items()
    }
    changes = {
        f"{name}_change": change(f"{name}_change", mine > capital, theirs > capital, sample)
        for name, (mine, theirs) in pairs.items()
    }
    mine, theirs = (np.maximum(n.beyond - capital, 0.0) for n in (design, today))
    return Compared(
        target=estimators.quantile("target", design.adl, exceed, sample, "USD"),
        target_change=target.difference(
            "target_change", design.adl, today.adl, exceed, sample
        ),
        beyond=loss_beyond(design, capital),
        beyond_change=change("beyond_change", mine, theirs, sample, "USD"),
        **found, **changes,
    )  # fmt: skip


def change(
    name: str, mine: np.ndarray, theirs: np.ndarray, sample: Sample, unit: str = "probability"
) -> Estimate:
    """Mean of the difference path by path, with Student's interval over books."""
    return estimators.mean(name, mine.astype(float) - theirs.astype(float), sample, unit)


def more_fund(today: Needs, capital: float, more: float) -> dict[str, Estimate]:
    """What so many more dollars in the fund buy: changes of P(ADL), P(dry) and the loss beyond it."""
    mine, theirs = (np.maximum(today.beyond - f, 0.0) for f in (capital + more, capital))
    return {
        "adl_change": change(
            "adl_change", today.adl > capital + more, today.adl > capital, today.sample
        ),
        "dry_change": change(
            "dry_change", today.dry > capital + more, today.dry > capital, today.sample
        ),
        "beyond_change": change("beyond_change", mine, theirs, today.sample, "USD"),
    }


def split(draws: np.ndarray, least: float = 0.01) -> np.ndarray:
    """Shares of pools in the fund: E[draw_k | R ≈ F*] over their sum, none below `least`.

    `draws` has what each pool would draw (paths, pools) on paths whose need is near F*.
    """
    mean = draws.mean(axis=0)
    share = mean / mean.sum() if mean.sum() > 0.0 else np.full(len(mean), 1.0 / len(mean))
    share = np.maximum(share, least)
    return share / share.sum()


def near(need: np.ndarray, exceed: float, count: int) -> np.ndarray:
    """Rows of the paths whose needs are nearest in rank to the quantile, finite ones."""
    finite = np.flatnonzero(np.isfinite(need))
    order = finite[np.argsort(need[finite], kind="stable")]
    middle = len(need) - 1 - min(math.floor(exceed * len(need)), len(need) - 1)
    first = max(min(middle - count // 2, len(order) - count), 0)
    return np.sort(order[first : first + count])
