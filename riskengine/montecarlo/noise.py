"""Draws the noise of one path."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt
from scipy import special

from riskengine.montecarlo.keys import Stream
from riskengine.specs.scenario import JUMPS, SPAN, Noise

HALF_ULP = 2.0**-53
KNOTS = 4097
SINGLE = (Stream.SCALE, Stream.DIRECTION, Stream.TURNING, Stream.JUMP_COUNT)
PER_JUMP = (Stream.JUMP_TIME, Stream.JUMP_PARENT, Stream.JUMP_SIZE, Stream.JUMP_SIDE)
UNIFORM = SINGLE + PER_JUMP
OF_PATH = (*UNIFORM, Stream.REBOUND, Stream.DEPTH, Stream.COMMON, Stream.REFINE_COMMON)
OF_MARKETS = (Stream.BETA, Stream.MARKET, Stream.REFINE_MARKET)


def scale_table(degrees_of_freedom: float) -> Float[Array, " knots"]:
    """Logarithm of √(ν/χ²_ν) at equal steps of the logit of its probability, for `student_scale`."""
    logit = np.linspace(-SPAN, SPAN, KNOTS)
    low = 2.0 * special.gammaincinv(0.5 * degrees_of_freedom, special.expit(logit))
    high = 2.0 * special.gammainccinv(0.5 * degrees_of_freedom, special.expit(-logit))
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

    keys, of_markets = _streams(key, path, market_ids)
    drawn = _uniforms(keys[: len(UNIFORM)], (JUMPS,))
    scale, direction, turning, count = drawn[: len(SINGLE), 0]
    when, parent, size, side = drawn[len(SINGLE) :]
    rebound, depth, common, refine = keys[len(UNIFORM) :]
    beta, market, refine_market = of_markets
    single = _normals(jnp.concatenate([rebound[None], depth[None], beta]), ())
    factors = jnp.concatenate([common[None], market, refine[None], refine_market])
    walks, new = jnp.split(_normals(factors, whole.shape).T[whole], 2, axis=1)
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


def _streams(
    key: Key[Array, ""], path: UInt[Array, ""], market_ids: UInt[Array, " markets"]
) -> tuple[Key[Array, " of_path"], Key[Array, "of_markets markets"]]:
    """Keys of the path's own streams and of its markets', as `keys.stream` gives them one by one.

    All together: each hash that is written out by itself costs a tenth of a second of compilation.
    """

    def fold(keys, numbers):
        return jax.vmap(jax.random.fold_in)(*jnp.broadcast_arrays(keys, numbers))

    purposes = fold(key, jnp.asarray(OF_PATH + OF_MARKETS))
    own, shared = jnp.split(purposes, [len(OF_PATH)])
    markets = jax.vmap(fold, in_axes=(0, None))(shared, market_ids)
    keys = fold(jnp.concatenate([own, markets.reshape(-1)]), path)
    return keys[: len(own)], keys[len(own) :].reshape(markets.shape)


def _uniforms(keys: Key[Array, " n"], shape: tuple[int, ...]) -> Float[Array, "n *shape"]:
    drawn = jax.vmap(lambda key: jax.random.uniform(key, shape, jnp.float64))(keys)
    return drawn + HALF_ULP  # never exactly 0


def _normals(keys: Key[Array, " n"], shape: tuple[int, ...]) -> Float[Array, "n *shape"]:
    return jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float64))(keys)
