"""Sensitivities that need no further run: likelihood ratios.

Where a lever shifts a random number of the path, the law of what it becomes
has a density, and E[Y] can be differentiated under it: with ℓ the shifted number, p its density,

    d/dh E[Y] = E[Y s],        s = −d log p / dℓ,

exactly, for any Y whatever its jumps, and without running anything again. Depth is shifted by the
normal z of its path, log depth = … + σ z, so s = z/σ; volatility by the path's scale (docs/model.md
7.1), log moves ∝ e^ℓ. Since E[s] = 0, any constant may be taken off Y; the best one is.
"""

import math
from dataclasses import dataclass

import jax
import numpy as np
from scipy import special

from riskengine.montecarlo import noise
from riskengine.montecarlo.estimators import Sample, Values
from riskengine.montecarlo.setting import Setting
from riskengine.specs.scenario import SPAN, Crash
from riskengine.types import compiled

EDGE = 1e-12  # of probability: what lies beyond it is not told apart


def of_paths(setting: Setting, path: Values) -> dict[str, Values]:
    """The score of every path by the logarithm of depth and of volatility, where the law has one."""
    grid = setting.simulation

    @compiled
    def drawn(path):
        found = noise.draw(setting.key, path, grid.market_ids, grid.whole, grid.half)
        return found.scale, found.depth

    parts = [
        jax.vmap(drawn)(some)
        for some in np.array_split(path.astype(np.uint32), min(PARTS, len(path)))
    ]
    scale, depth = (
        np.concatenate([np.asarray(x) for x in part]) for part in zip(*parts, strict=True)
    )
    law, dispersion = setting.scenario.law, float(setting.scenario.depth.dispersion)
    found = {"depth": depth_score(depth, dispersion)} if dispersion > 0.0 else {}
    if isinstance(law, Crash):
        found["volatility"] = scale_score(scale, np.asarray(law.scale_table))
    return found


PARTS = 16  # in which paths are drawn, so that their noise fits in memory


@dataclass(frozen=True)
class Derivative:
    """Of a mean by the logarithm of a lever (by its amount, where it is added), and its error."""

    value: float
    error: float

    @classmethod
    def of(cls, terms: Values, sample: Sample) -> "Derivative":
        return cls(float(terms.mean()), math.sqrt(sample.variance(terms, True)))


def terms(outcome: Values, score: Values) -> Values:
    """Y s of every path, with the best constant taken off Y."""
    square = score**2
    constant = float((outcome * square).mean() / square.mean())
    return (outcome - constant) * score


def by_score(outcome: Values, score: Values, sample: Sample) -> Derivative:
    """E[Y s], with the best constant taken off Y."""
    return Derivative.of(terms(outcome, score), sample)


def depth_score(z: Values, dispersion: float) -> Values:
    """s of log depth, from the normal numbers that decide the depth of paths."""
    return z / dispersion


def scale_score(uniform: Values, table: Values) -> Values:
    """s of the log scale, from the uniform numbers that decide it and the table of its quantiles.

    With x the logit of u, p(ℓ) = u (1 − u) / |ℓ'(x)|, and s = −(d log p/dx) / ℓ'(x).
    """
    x = np.linspace(-SPAN, SPAN, len(table))
    rise = np.gradient(table, x)
    log_density = special.log_expit(x) + special.log_expit(-x) - np.log(np.abs(rise))
    score = -np.gradient(log_density, x) / rise
    return np.interp(special.logit(np.clip(uniform, EDGE, 1.0 - EDGE)), x, score)
