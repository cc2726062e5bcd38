"""What a step of every lever does to risk, from paths that share their random numbers.

A lever moves the needs of the same crashes. With Y_i a number of path i as things are and Y_i' with
the lever moved, E[Y'] − E[Y] is estimated by the mean of

    C_i (Y_i' − Y_i) / π_i,        C_i = 1 if path i was run again, which has probability π_i,

unbiased whatever π > 0 is: paths near a level of capital that is asked about nearly all run, those
far from all of them rarely. Probabilities and fund targets are smoothed (`smoothing`). By the fund
itself nothing needs to run again but what happens after its rules bind: needs do not depend on it,

    d/dF E[(R − F)⁺] = −P(R > F),        d/dlog F P(R > F) = −density of log R at log F.

The first is exact, and never used for the ADL loss, which changes later prices. Depth and volatility
have likelihood ratios besides (`likelihood`), which need no run; with z_D and z_L what each path adds
to the difference and to the likelihood ratio, their mean with the weight

    w = Cov(z_D, z_D − z_L) / Var(z_D − z_L)        on z_L

has the least variance.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Array, Key

from riskengine.calibration import levers, likelihood, smoothing
from riskengine.calibration.levers import Levers
from riskengine.calibration.moves import STEP, Move
from riskengine.calibration.smoothing import BANDWIDTH
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate, Sample, Values
from riskengine.montecarlo.setting import Progress, Setting
from riskengine.montecarlo.simulate import Results
from riskengine.montecarlo.two_level import TwoLevel, lots

ADL, DRY = "adl_required_fund", "required_fund"
MEASURES = {
    "adl_probability": "probability",
    "depletion_probability": "probability",
    "excess_draw": "USD",
    "fund_target": "USD",
    "adl_loss_mark_per_crash": "USD",
    "expected_haircut": "fraction",
}
SMOOTHED = ("adl_probability", "depletion_probability", "fund_target")
AT_FUND = ("adl_loss_mark_per_crash", "expected_haircut")  # known on the paths at the fund only
COST = 15.0  # simulations of all paths that all levers together may take
WIDTH = 0.5  # of log needs: paths within it of a level all run
FLOOR = 0.3  # least probability to run: needs jump, so paths far from a level change sides, too
LARGE = 0.05  # part of the paths that run because much is drawn on them
FEW = 10  # paths that a slope or an event should rest on
NO_FUND = 1e-3  # of the largest finite need: the step of a fund of 0


@dataclass(frozen=True)
class Case:
    """What is asked: the setting, how paths are counted, and which probability a target has."""

    setting: Setting
    fund_paths: int  # the first paths, which also run at the fund
    exceed: float | None  # probability of an intervention at the target; None: no target
    early: bool  # a rule can bind before the fund is dry: depletion is known at the fund only
    level: float = 0.95
    random_books: bool = True
    batch: int | None = None

    @property
    def capital(self) -> float:
        return float(self.setting.venue.capital)


@dataclass(frozen=True)
class Side:
    """All paths of a case with a lever at one place; those that were run again are known."""

    free: TwoLevel  # without a limit on capital
    fund: TwoLevel  # the first paths, at the fund
    capital: float

    @property
    def ran(self) -> int:
        """Paths that were run for it."""
        return len(self.free.full) + len(self.fund.full)


@dataclass(frozen=True)
class Found:
    """A measure at one place of a lever."""

    value: float
    influence: Values  # of every path on it: the mean's terms, up to a constant
    sample: Sample
    event: Values  # of every path: where it differs the lever changed something
    near: float = math.inf  # paths that a slope rests on


@dataclass(frozen=True)
class Sensitivity:
    """What one step of a lever does to a measure."""

    move: Move
    measure: str
    step: Estimate  # half of what lies between a step up and one down; of the one side that can be moved
    down: Estimate | None
    up: Estimate | None
    halved: float | None = None  # that of `step`, with half the bandwidth


# Runs


def base(case: Case, free: Results, fund: Results) -> Side:
    """The case as it is, from all paths without a limit and the first of them at the fund."""
    return Side(_known(case, free), _known(case, fund), case.capital)


def _known(case: Case, results: Results) -> TwoLevel:
    return TwoLevel(results, results, np.ones(len(results)), case.level, case.random_books)


def fund_sides(case: Case, at: Side, runs: dict[float, Results]) -> tuple[Side | None, Side]:
    """A step down and up of the fund, from the first paths at those funds."""
    sides = [
        dataclasses.replace(at, fund=_known(case, runs[f]), capital=f) if f in runs else None
        for f in fund_steps(case, at.free.cheap)
    ]
    assert sides[1] is not None
    return sides[0], sides[1]


def fund_steps(case: Case, free: Results, step: float = 1.0) -> tuple[float, float]:
    """A step down and up; a fund of 0, which cannot be less, rises to a thousandth of the largest need."""
    if case.capital > 0:
        return case.capital * (1.0 - step * STEP), case.capital * (1.0 + step * STEP)
    finite = free[ADL][np.isfinite(free[ADL])]
    return math.nan, step * max(NO_FUND * float(finite.max(initial=0.0)), 1.0)


def chosen(key: Key[Array, ""], path: Values, chance: Values) -> Values:
    """Rows of the paths that are run again, the same for all levers."""
    return np.flatnonzero(lots(key, path) < chance)


def chances(case: Case, at: Side, sides: int) -> Values:
    """π of every path: 1 for the first ones, for those near a level and for those that draw most.

    Others run the less the further log R is from the nearest level, and all of them so little that
    `sides` sides cost no more than `COST` simulations.
    """
    free, fund = at.free.cheap, at.fund.cheap
    target_ = estimators.upper(free[ADL], case.exceed) if case.exceed else math.nan
    distance = np.full(len(free), np.inf)
    for need in (ADL, DRY):
        for capital in (f for f in (at.capital, target_) if 0.0 < f < math.inf):
            with np.errstate(divide="ignore"):
                far = np.abs(np.log(free[need]) - math.log(capital)) / WIDTH
            distance = np.minimum(distance, far)
    drawn = np.maximum(free[DRY] - at.capital, 0.0)
    large = LARGE * len(free) * drawn / max(float(drawn.sum()), 1e-300)
    raw = np.maximum(np.maximum(np.maximum(distance, 1.0) ** -2.0, large), FLOOR)
    first = np.arange(len(free)) < len(fund)
    # each side also runs some of the first paths again, at the fund
    most = COST * len(free) / max(sides, 1) - len(fund)
    return np.where(first, 1.0, _at_most(raw, most - first.sum(), ~first))


def _at_most(raw: Values, most: float, where: Values) -> Values:
    """The same chances, all multiplied by a number so that they add to no more than `most`."""
    low, high = 0.0, 1.0
    if np.minimum(raw, 1.0)[where].sum() <= most:
        return np.minimum(raw, 1.0)
    for _ in range(50):
        middle = 0.5 * (low + high)
        over = np.minimum(middle * raw, 1.0)[where].sum() > most
        low, high = (low, middle) if over else (middle, high)
    return np.minimum(max(low, LOWEST) * raw, 1.0)


LOWEST = 0.05  # that number, so that no path counts for hundreds


def run(
    case: Case, at: Side, by: Levers, response: float, chance: Values,
    progress: Progress | None = None, what: str = "",
) -> tuple[Results, Results]:  # fmt: skip
    """The chosen paths with a lever moved: without a limit, and the first of them at the fund."""
    rows = chosen(case.setting.key, at.free.cheap.path, chance)
    moved = levers.moved(case.setting, by, response)
    free = moved.unlimited(at.free.cheap.path[rows], case.batch, progress, what)
    count = int(np.sum(rows < len(at.fund.cheap)))
    (fund,) = moved.at_funds(free, {case.capital: count}, case.batch).values()
    return free, fund


def side(at: Side, chance: Values, free: Results, fund: Results) -> Side:
    """All paths with a lever moved, from those that were run."""
    level, random_books = at.free.level, at.free.random_books
    part = chance[: len(at.fund.cheap)]
    return Side(
        TwoLevel(at.free.cheap, free, chance, level, random_books),
        TwoLevel(at.fund.cheap, fund, part, level, random_books),
        at.capital,
    )


# Measures at one place


@dataclass(frozen=True)
class Measured:
    """The measures of a case, at any place of a lever, with one bandwidth."""

    case: Case
    at: Side  # as things are
    bandwidth: float = BANDWIDTH

    def __call__(self, measure: str, side: Side) -> Found | None:
        """None where the paths cannot carry it."""
        return getattr(self, f"_{measure}")(side)

    def _adl_probability(self, side: Side) -> Found:
        return self._above(side.free, ADL, side.capital)

    def _depletion_probability(self, side: Side) -> Found:
        return self._above(side.fund if self.case.early else side.free, DRY, side.capital)

    def _above(self, runs: TwoLevel, need: str, capital: float) -> Found:
        # next to a fund of 0 there is no logarithm to smooth over
        width = self.bandwidth if self.case.capital > 0.0 else 0.0
        z = runs.values(lambda r: smoothing.above(r[need], capital, width))
        return Found(float(z.mean()), z, runs.sample, _seen(runs, lambda r: r[need] > capital))

    def _excess_draw(self, side: Side) -> Found | None:
        def beyond(results: Results) -> Values:
            return np.maximum(results[DRY] - side.capital, 0.0)

        z = side.free.values(beyond)
        if not np.isfinite(z).all():
            return None
        return Found(float(z.mean()), z, side.free.sample, _seen(side.free, beyond))

    @cached_property
    def _order_statistic(self) -> float:
        """F*(ε) as things are, not smoothed."""
        return estimators.upper(self.at.free.cheap[ADL], self.case.exceed or 1.0)

    def _fund_target(self, side: Side) -> Found | None:
        """F*_b(ε), on the scale of the order statistic: smoothing moves both sides alike."""
        found, still = self._smooth_target(side.free), self._still
        if found is None or still is None:
            return None
        value = self._order_statistic * found.capital / still.capital
        event = _seen(side.free, lambda r: r[ADL] > self._order_statistic)
        return Found(value, value * found.influence, side.free.sample, event, found.near)

    @cached_property
    def _still(self) -> smoothing.Target | None:
        return self._smooth_target(self.at.free)

    def _smooth_target(self, runs: TwoLevel) -> smoothing.Target | None:
        exceed, near = self.case.exceed, self._order_statistic
        if not exceed or exceed * runs.sample.paths < 1.0 or not 0.0 < near < math.inf:
            return None
        return smoothing.target(
            lambda f: runs.values(lambda r: smoothing.above(r[ADL], f, self.bandwidth)),
            lambda f: runs.values(lambda r: smoothing.density(r[ADL], f, self.bandwidth)),
            near, exceed,
        )  # fmt: skip

    def _adl_loss_mark_per_crash(self, side: Side) -> Found:
        z = side.fund.values(_loss)
        return Found(float(z.mean()), z, side.fund.sample, _seen(side.fund, _loss))

    def _expected_haircut(self, side: Side) -> Found | None:
        """Σ loss / Σ equity; a path adds (loss − haircut · equity) / mean equity."""
        loss, equity = side.fund.values(_loss), side.fund.values(lambda r: r["adl_equity"])
        mean = float(equity.mean())
        if mean <= 0.0:
            return None
        haircut = float(loss.mean()) / mean
        influence = haircut + (loss - haircut * equity) / mean
        return Found(haircut, influence, side.fund.sample, _seen(side.fund, _loss))


def _loss(results: Results) -> Values:
    return results["adl_loss_mark"]


def _seen(runs: TwoLevel, number: Callable[[Results], Values]) -> Values:
    """A number on all paths, those that were run again as they then were."""
    values = np.asarray(number(runs.cheap), float).copy()
    values[runs.rows] = number(runs.full)
    return values


# What a step does


def compare(
    case: Case, at: Side, move: Move, sides: tuple[Side | None, Side | None],
    score: Values | None = None, bandwidth: float = BANDWIDTH,
) -> list[Sensitivity]:  # fmt: skip
    """What a step of a lever does to every measure that the case has; `score`: of every path."""
    full, half = Measured(case, at, bandwidth), Measured(case, at, 0.5 * bandwidth)
    found = []
    for measure in measures(case):
        if sides == (None, None):
            found.append(_exact(case, at, move, measure))
            continue
        one = effect(move, measure, full, at, sides, score)
        if measure in SMOOTHED and bandwidth > 0.0:
            other = effect(move, measure, half, at, sides, score)
            one = dataclasses.replace(one, halved=other.step.value)
        found.append(_warned(one))
    return found


def measures(case: Case) -> list[str]:
    """What can be asked of this case: a partial book has no fund target."""
    return [name for name in MEASURES if name != "fund_target" or case.exceed]


def of_fund(case: Case, at: Side, move: Move, sides: tuple[Side | None, Side]) -> list[Sensitivity]:
    """What a step of the fund does; the target does not depend on the fund that there is.

    Needs are known at every fund, so paths are counted: P may bend in F within a bandwidth.
    """
    why = dataclasses.replace(move, why="exactly 0: needs do not depend on the fund")
    target = dataclasses.replace(_exact(case, at, why, "fund_target"), move=move)
    counted = compare(dataclasses.replace(case, exceed=None), at, move, sides, bandwidth=0.0)
    place = list(measures(case)).index("fund_target") if case.exceed else len(counted)
    return [*counted[:place], *([target] if case.exceed else []), *counted[place:]]


def slope_of_excess_draw(case: Case, at: Side) -> Estimate:
    """d/dF E[(R − F)⁺] = −P(R > F), exactly: USD per USD of first-loss capital."""
    dry = estimators.proportion("", at.free.cheap[DRY] > at.capital, at.free.sample)
    low, high = (None if x is None else -x for x in (dry.high, dry.low))
    value = None if dry.value is None else -dry.value
    said = "an identity: minus P(R > F)"
    return dataclasses.replace(
        dry, name="excess_draw_slope", value=value, low=low, high=high, unit="USD per USD"
    ).noted(said)


def effect(
    move: Move, measure: str, of: Measured, at: Side, sides: Sequence[Side | None],
    score: Values | None = None,
) -> Sensitivity:  # fmt: skip
    """What a step of a lever does to one measure."""
    name, unit = f"{measure}_by_{move.name}", MEASURES[measure]
    method = _method(measure, of.bandwidth)
    still = of(measure, at)
    down, up = (None if side is None else of(measure, side) for side in sides)
    known = [f for f, side in ((down, sides[0]), (up, sides[1])) if side is not None]
    if still is None or any(f is None for f in known):
        sample = at.fund.sample if measure in AT_FUND else at.free.sample
        none = Estimate(name, None, None, None, sample.level, sample.paths, None,
                        method, unit, _lacking(measure))  # fmt: skip
        return Sensitivity(move, measure, none, None, None)
    ends = (
        None if f is None else change(name + part, measure, method, f, still, 1.0)
        for f, part in ((down, "_down"), (up, "_up"))
    )
    high, low = up or still, down or still
    half = 0.5 if down and up else 1.0
    step = change(name, measure, method, high, low, half)
    if score is not None and down and up:
        step = joined(step, 0.5 * (up.influence - down.influence), still, score)
    return Sensitivity(move, measure, step, next(ends), next(ends))


def change(name: str, measure: str, method: str, to: Found, since: Found, times: float) -> Estimate:
    """`times` the difference of two places, with books as clusters; `hits`: paths that differ."""
    value, sample, unit = times * (to.value - since.value), to.sample, MEASURES[measure]
    error = times * math.sqrt(sample.variance(to.influence - since.influence, True))
    reach = sample.quantile(True) * error
    hits = int(np.sum(to.event != since.event))
    note = (
        "" if hits or error else "nothing changed on any path that ran: what is rarer is not seen"
    )
    if min(to.near, since.near) < FEW:
        note = f"rests on {min(to.near, since.near):.1f} paths: poorly known"
    elif 0 < hits < FEW and measure not in SMOOTHED:
        note = f"{hits} paths differ: poorly known"
    return Estimate(
        name, value, value - reach, value + reach, sample.level, sample.paths, hits,
        method, unit, note,
    )  # fmt: skip


def joined(step: Estimate, difference: Values, still: Found, score: Values) -> Estimate:
    """A difference and a likelihood ratio, weighted so that the variance is least.

    The weight is from within books, where there are many paths; that it is estimated adds a bias of
    the order of one over their number. A likelihood ratio is of the derivative, times the step.
    """
    sample, score = still.sample, score[: still.sample.paths]
    ratio = STEP * likelihood.terms(still.influence, score)
    assert step.value is not None
    apart = difference - ratio
    variance = sample.variance(apart, False)
    # Cov(x, y) = (Var(x + y) − Var(x − y)) / 4
    both = sample.variance(difference + apart, False) - sample.variance(difference - apart, False)
    weight = min(max(0.25 * both / variance, 0.0), 1.0) if variance > 0.0 else 0.0
    value = (1.0 - weight) * step.value + weight * float(ratio.mean())
    influence = (1.0 - weight) * difference + weight * ratio
    reach = sample.quantile(True) * math.sqrt(sample.variance(influence, True))
    said = f"{step.method}, and likelihood ratio with weight {weight:.2f}"
    return dataclasses.replace(
        step, value=value, low=value - reach, high=value + reach, method=said
    )


def standard_error(e: Estimate, sample: Sample) -> float:
    """Standard error of an estimate of `change`."""
    return (
        math.nan
        if e.high is None or e.value is None
        else (e.high - e.value) / sample.quantile(True)
    )


def _method(measure: str, bandwidth: float) -> str:
    if measure in SMOOTHED and bandwidth > 0.0:
        return f"difference on common random numbers, smoothed over {100 * bandwidth:g} % of F"
    return "difference on common random numbers"


def _lacking(measure: str) -> str:
    if measure == "fund_target":
        return "no capital is enough, or too few paths to carry the target"
    if measure == "expected_haircut":
        return "nobody was hit"
    return "infinite on some paths"


def _exact(case: Case, at: Side, move: Move, measure: str) -> Sensitivity:
    sample = at.fund.sample if measure in AT_FUND else at.free.sample
    zero = Estimate(
        f"{measure}_by_{move.name}", 0.0, 0.0, 0.0, case.level, sample.paths, 0, "exact",
        MEASURES[measure], move.why,
    )  # fmt: skip
    return Sensitivity(move, measure, zero, None, None)


def _warned(one: Sensitivity) -> Sensitivity:
    """Say where smoothing matters, and where a step up and one down do not mirror each other."""
    step, said = one.step, []
    if step.value is None or step.low is None or step.high is None:
        return one
    half = 0.5 * (step.high - step.low)
    if one.halved is not None and abs(one.halved - step.value) > max(half, 0.1 * abs(step.value)):
        said.append(f"with half the smoothing {one.halved:.3g}")
    if one.up and one.down and one.up.value is not None and one.down.value is not None:
        bend = abs(one.up.value + one.down.value)
        if one.up.value * one.down.value > 0.0 and bend > 2.0 * half:
            said.append("a step up and one down move it the same way")
    if one.move.why:
        said.append(one.move.why)
    return dataclasses.replace(one, step=step.noted("; ".join(said), last=True))
