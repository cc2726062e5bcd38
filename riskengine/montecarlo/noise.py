"""Draws the noise of one path."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt
from scipy import special, stats

from riskengine.montecarlo.keys import Stream, stream
from riskengine.specs.scenario import JUMPS, SPAN, Noise

HALF_ULP = 2.0**-53
KNOTS = 4097
SINGLE = (Stream.SCALE, Stream.DIRECTION, Stream.TURNING, Stream.JUMP_COUNT)
PER_JUMP = (Stream.JUMP_TIME, Stream.JUMP_PARENT, Stream.JUMP_SIZE, Stream.JUMP_SIDE)


def scale_table(degrees_of_freedom: float) -> Float[Array, " knots"]:
    """Logarithm of √(ν/χ²_ν) at equal steps of the logit of its probability, for `student_scale`."""
    logit = np.linspace(-SPAN, SPAN, KNOTS)
    chi2 = stats.chi2(degrees_of_freedom)
    low = chi2.ppf(special.expit(logit))
    high = chi2.isf(special.expit(-logit))
    quantile = np.where(logit < 0, low, high)
    return jnp.asarray(0.5 * (np.log(degrees_of_freedom) - np.log(quantile)))


def draw(
    key: Key[Array, ""],
    path: UInt[Array, ""],
    market_ids: UInt[Array, " markets"],
    whole: Int[Array, " steps"],
    half: Float[Array, " steps"],
) -> Noise:
    """All random numbers of a path, in float64 whatever the precision of the run.

    Step t takes the normal of step `whole[t]` of the grid. Where `half[t]` is ±1 it is one half of
    that step: (z ± w)/√2 with a new normal w, so the two halves sum to the same move and a path on
    half steps goes through the same points.
    """

    def keys(*purposes: Stream):
        return jax.vmap(lambda purpose: stream(key, purpose, path))(jnp.asarray(purposes))

    def market_keys(purpose: Stream):
        return jax.vmap(lambda market: stream(key, purpose, market, path))(market_ids)

    drawn = _uniforms(keys(*SINGLE, *PER_JUMP), (JUMPS,))
    scale, direction, turning, count = drawn[: len(SINGLE), 0]
    when, parent, size, side = drawn[len(SINGLE) :]
    single = _normals(
        jnp.concatenate([keys(Stream.REBOUND, Stream.DEPTH), market_keys(Stream.BETA)]), ()
    )
    steps = whole.shape[0]
    walks = _walks(keys(Stream.COMMON), market_keys(Stream.MARKET), steps)[whole]
    new = _walks(keys(Stream.REFINE_COMMON), market_keys(Stream.REFINE_MARKET), steps)[whole]
    sign = half[:, None]
    walks = jnp.where(sign == 0, walks, (walks + sign * new) / jnp.sqrt(2.0))
    return Noise(
        scale=scale,
        direction=direction,
        turning=turning,
        rebound=single[0],
        depth=single[1],
        beta=single[2:],
        jump_count=count,
        jump_time=when,
        jump_parent=parent,
        jump_size=size,
        jump_side=side,
        common=walks[:, 0],
        market=walks[:, 1:],
    )


def _walks(common, markets, steps: int) -> Float[Array, "steps factors"]:
    """One normal per step for the common factor and for every market, each its own stream."""
    return _normals(jnp.concatenate([common, markets]), (steps,)).T


def _uniforms(keys: Key[Array, " n"], shape: tuple[int, ...]) -> Float[Array, "n *shape"]:
    drawn = jax.vmap(lambda key: jax.random.uniform(key, shape, jnp.float64))(keys)
    return drawn + HALF_ULP  # never exactly 0


def _normals(keys: Key[Array, " n"], shape: tuple[int, ...]) -> Float[Array, "n *shape"]:
    return jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float64))(keys)
