"""The search for the cheapest design under the user's weights.

The fund is eliminated: for given other levers F follows from the needs of the paths that run without
a limit. What is left is the cost per crash, in dollars over open interest,

    J(x) = [ w_c (F_h + V) + w_o O + w_e max(E, 0) + w_l E[(R − F_h)⁺] ] / OI

with V the capital outside F, O the open interest given up and E the equity posted more. F_h is the
quantile of the needs smoothed over ranks by a triangular kernel of half-width h in log ε, so that J
moves when any path near the quantile does; h is annealed. Accounts cross liquidation triggers
when x moves, and a derivative path by path does not see it (`montecarlo.gradients`): slopes are
differences on common random numbers along random directions ±1 of all coordinates at once (Spall
1992), two evaluations whatever the number of levers, and optax's Adam follows them. A highest capital
is kept by an augmented Lagrangian.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import numpy as np
import optax
from scipy import optimize

from riskengine.calibration.frontier import Needs

WIDTHS = (1.0, 0.2)  # half-width of the kernel in log ε: of the first step, and of the last
SPANS = (0.6, 0.15)  # of the differences, in logits of a lever's range
RATE = 0.6  # of Adam, in logits
MUCH = 10.0  # times open interest: what a need counts that no capital covers
PENALTY = 10.0  # of the augmented Lagrangian, per squared relative excess


@dataclass(frozen=True)
class Weights:
    """What a dollar of each costs, per crash."""

    capital: float = 0.0
    open_interest: float = 0.0
    equity: float = 0.0
    loss: float = 0.0


@dataclass(frozen=True)
class Outlay:
    """What a design takes besides the fund, USD."""

    vault: float
    open_interest: float
    equity: float


def bounded(needs: Needs, interest: float) -> Needs:
    """Needs that no capital covers counted as `MUCH` times open interest, or as the largest other need.

    A search must see that such a design is dear, and by how much fewer of them make it better.
    """

    def one(need: np.ndarray) -> np.ndarray:
        finite = np.isfinite(need)
        most = max(MUCH * interest, float(need[finite].max(initial=0.0)))
        return np.where(finite, need, most)

    return Needs(one(needs.adl), one(needs.dry), one(needs.beyond), needs.sample)


def fund(
    needs: Needs, adl: float, dry: float, width: float, loss: float | None = None
) -> float:  # fmt: skip
    """F_h, USD: what meets both probabilities, and E[(R − F)⁺] ≤ `loss` where that is asked for.

    At width 0 it is the order statistic itself.
    """
    asked = [smoothed(needs.adl, adl, width), smoothed(needs.dry, dry, width)]
    return max(asked if loss is None else [*asked, for_mean(needs.beyond, loss)])


def for_mean(need: np.ndarray, loss: float) -> float:
    """The smallest F ≥ 0 with mean (R − F)⁺ ≤ loss: that mean is straight between needs."""
    ordered = np.append(np.sort(np.maximum(need, 0.0))[::-1], 0.0)
    above = np.arange(1, len(ordered) + 1)
    mean = (np.cumsum(ordered) - above * ordered) / len(need)  # with F at each need, largest first
    k = int(np.searchsorted(mean, loss, side="right"))  # the first F at which it is too much
    if k == len(ordered):
        return 0.0
    return float((ordered[:k].sum() - loss * len(need)) / k)


def smoothed(need: np.ndarray, exceed: float, width: float) -> float:
    """Quantiles around P(need > F) = ε, weighted by a triangle in log ε."""
    ordered = np.sort(need)
    shares = exceed * np.exp(np.linspace(-width, width, 41)) if width > 0.0 else np.array([exceed])
    triangle = 1.0 - np.abs(np.linspace(-1.0, 1.0, len(shares) + 2)[1:-1])
    place = np.clip(len(ordered) * (1.0 - np.minimum(shares, 1.0)) - 0.5, 0, len(ordered) - 1)
    each = np.interp(place, np.arange(len(ordered)), ordered)
    return float(each @ triangle / triangle.sum())


def cost(
    needs: Needs, outlay: Outlay, capital: float, weights: Weights, interest: float
) -> float:  # fmt: skip
    """J at this capital, a share of open interest per crash."""
    beyond = float(np.maximum(needs.beyond - capital, 0.0).mean())
    spent = (
        weights.capital * (capital + outlay.vault) + weights.open_interest * outlay.open_interest
    )
    return (spent + weights.equity * max(outlay.equity, 0.0) + weights.loss * beyond) / interest


Evaluate = Callable[[np.ndarray, float], tuple[float, float]]  # x, width → J, F over its highest
Said = Callable[["Step"], None]


@dataclass(frozen=True)
class Step:
    """Where a search is."""

    start: int
    evaluations: int
    budget: int
    objective: float
    excess: float  # F over the highest capital, less 1; negative: it is kept
    slope: float  # norm of the gradient; nan for a search without
    width: float
    x: np.ndarray = field(repr=False)


@dataclass
class Found:
    """The best design of a search by its own evaluations, and every evaluation."""

    x: np.ndarray
    objective: float
    seen: list[tuple[int, float]] = field(default_factory=list)  # evaluations, best so far


def gradient(
    evaluate: Evaluate, starts: list[np.ndarray], budget: int, seed: int, say: Said
) -> Found:
    """Adam from every start on differences along random directions, within the budget together."""
    best = Found(starts[0], math.inf)
    each, used = budget // len(starts), 0
    for number, start in enumerate(starts):
        used = _descend(evaluate, start, each, (seed, number), used, budget, best, say)
    return best


def _descend(evaluate, start, budget: int, seed, used: int, whole: int, best: Found, say) -> int:
    """One start: two evaluations a step, one at its end; returns evaluations so far."""
    random = np.random.Generator(np.random.PCG64(seed))
    steps, x, price = max((budget - 1) // 2, 1), np.asarray(start, float), 0.0
    rule = optax.adam(optax.cosine_decay_schedule(RATE, steps, 0.1))
    state = rule.init(x)
    for step in range(steps):
        width, span = (_annealed(ends, step, steps) for ends in (WIDTHS, SPANS))
        way = random.choice([-1.0, 1.0], len(x))
        ends = [evaluate(x + side * span * way, width) for side in (1.0, -1.0)]
        values = [_lagrangian(j, excess, price) for j, excess in ends]
        slope = (values[0] - values[1]) / (2.0 * span) * way
        price = max(price + PENALTY * float(np.mean([e for _, e in ends])), 0.0)
        with jax.numpy_dtype_promotion("standard"):  # Adam counts its steps in int32
            moved, state = rule.update(slope, state)
        x, used = x + np.asarray(moved), used + 2
        j, excess = np.mean(ends, axis=0)
        size = float(np.linalg.norm(slope))
        say(Step(seed[1], used, whole, float(j), float(excess), size, width, x))
    _kept(best, x, evaluate(x, 0.0), used + 1)
    return used + 1


def _annealed(ends: tuple[float, float], step: int, steps: int) -> float:
    """From the first to the last, geometrically."""
    way = step / max(steps - 1, 1)
    return ends[0] * (ends[1] / ends[0]) ** way


def _lagrangian(objective: float, excess: float, price: float) -> float:
    """J with the price of what exceeds the highest capital."""
    if not math.isfinite(excess):
        return objective
    return objective + (max(price + PENALTY * excess, 0.0) ** 2 - price**2) / (2.0 * PENALTY)


def _kept(best: Found, x: np.ndarray, value: tuple[float, float], used: int) -> None:
    """Keep a design that is cheaper; one above the highest capital is worse than any below."""
    j = value[0] + (1e3 * max(value[1], 0.0) if math.isfinite(value[1]) else 0.0)
    if j < best.objective:
        best.x, best.objective = np.asarray(x, float), j
    best.seen.append((used, best.objective))


def derivative_free(evaluate: Evaluate, start: np.ndarray, budget: int, say: Said) -> Found:
    """The second opinion: COBYQA (Ragonneau and Zhang 2022) on as many evaluations, unsmoothed."""
    best = Found(np.asarray(start, float), math.inf)

    def at(x: np.ndarray) -> float:
        if len(best.seen) >= budget:
            return best.objective
        value = evaluate(x, 0.0)
        _kept(best, x, value, len(best.seen) + 1)
        say(Step(0, len(best.seen), budget, value[0], value[1], math.nan, 0.0, best.x))
        return _lagrangian(*value, PENALTY)

    options = {"maxfev": budget, "initial_tr_radius": 1.0, "final_tr_radius": 1e-2}
    optimize.minimize(
        at, start, method="COBYQA", bounds=[(-6.0, 6.0)] * len(start), options=options
    )
    return best
