"""A cross-check for rare events: every crash at many scales, with nothing fitted and nothing chosen.

The scale R of a crash (docs/model.md 7.1) is the number that its size rests on most. Draw everything
else of a path, and run it at one scale from each cell of a grid: cell j holds the uniform numbers u
from b_{j+1} to b_j, and u_j is uniform within it. With c_j = b_j − b_{j+1},

    y = Σ_j c_j 1{need(u_j) > F},        E[y] = P(need > F),

so y is unbiased for every F at once; needs may rise and fall with the scale as they like. This is
conditional Monte Carlo over the scale, stratified. Cells halve, down to a hundredth of the rarest
probability asked for, and the last reaches to 0. It shares with `montecarlo.importance` the law and
the engine, but no random number, no lean, no prediction and no weight.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Key

from riskengine.montecarlo.estimators import Sample, Values
from riskengine.montecarlo.importance import BEYOND, uniforms
from riskengine.montecarlo.keys import Stream
from riskengine.montecarlo.weighted import WeightedPaths

CELL = 0.5  # of the cell above


def cells(rarest: float) -> Values:
    """Bounds of the cells, from 1 down to 0."""
    halves = math.ceil(math.log(BEYOND * rarest) / math.log(CELL))
    return np.append(CELL ** np.arange(halves + 1.0), 0.0)


def run(
    key: Key[Array, ""],
    needs: Callable[[Values, Values], Values],
    books: int,
    crashes: Values,
    rarest: float,
    level: float = 0.95,
    random_books: bool = True,
) -> WeightedPaths:
    """Run these crashes at every cell; `needs(paths, scales)` runs paths and gives what each needs.

    A crash is named by the id of the path whose other random numbers it has, and meets its book.
    """
    bound = cells(rarest)
    width = bound[:-1] - bound[1:]
    inside = uniforms(key, Stream.GRID, crashes, len(width))
    scale = bound[1:] + inside * width
    need = needs(np.repeat(crashes, len(width)), np.maximum(scale.ravel(), 1e-16))
    draw = np.repeat(np.arange(len(crashes)), len(width))
    weight = np.tile(width, len(crashes))
    sample = Sample(crashes % books, level, random_books)
    return WeightedPaths(need, weight, draw, sample, "grid of scales")
