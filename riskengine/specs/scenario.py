"""The law of prices and depth: pure functions from noise and parameters to what a step quotes.

A law never draws random numbers. It maps `Noise`, which holds one draw per named purpose, to log
index prices; depth follows from the prices. So importance sampling, quasi-random numbers and
coupled time grids need nothing but other noise.
"""

import dataclasses
import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, UInt

from riskengine.types import pytree, static

JUMPS = 24  # more than this many jumps in one crash count as this many
SPAN = 40.0  # logits of probabilities of 2⁻⁵³ and 1 − 2⁻⁵³ lie inside


@pytree
class Noise:
    """What is random on one path. Uniforms lie inside (0, 1); normals have float64 tails."""

    scale: Float[Array, ""]  # uniform
    direction: Float[Array, ""]  # uniform
    turning: Float[Array, ""]  # uniform
    rebound: Float[Array, ""]  # normal
    depth: Float[Array, ""]  # normal
    beta: Float[Array, " markets"]  # normal
    jump_count: Float[Array, ""]  # uniform
    jump_time: Float[Array, " jumps"]  # uniform
    jump_parent: Float[Array, " jumps"]  # uniform
    jump_size: Float[Array, " jumps"]  # uniform
    jump_side: Float[Array, " jumps"]  # uniform
    common: Float[Array, " steps"]  # normal
    market: Float[Array, "steps markets"]  # normal


@pytree
class OrderBook:
    """How prices answer to forced flow, and who takes it (docs/model.md 2, 4.2)."""

    exponent: Float[Array, ""]  # of cumulative depth in distance
    distance_max: Float[Array, ""]  # log
    resilience: Float[Array, ""]  # 1/s
    permanent: Float[Array, ""]  # share of the displacement that stays
    fill_cap: Float[Array, ""]  # of depth, per clearing
    profit_taking: Float[Array, ""]  # share of forced flow
    distance: str = static()  # log | linear
    takers: bool = static()  # whether `profit_taking` is in use


@pytree
class Depth:
    """Depth within 1 % of mid and how it thins out (docs/model.md 7.2)."""

    calm: Float[Array, "2 markets"]  # share of open interest
    sensitivity: Float[Array, "2"]  # 1 / log move: on the side of the move, on the other
    memory: Float[Array, ""]  # s, until the market calls a new level normal
    recovery: Float[Array, ""]  # s
    floor: Float[Array, ""]  # of calm depth
    dispersion: Float[Array, ""]  # sd of the log of a path's depth


@pytree
class Crash:
    """A crash or a rally with a common factor, jumps and a rebound (docs/model.md 7.1)."""

    probability_down: Float[Array, ""]
    scale_table: Float[Array, " knots"]  # of the path's scale, see `student_scale`
    drift: Float[Array, ""]  # log move of the factor at scale 1
    duration: Float[Array, ""]  # s, latest end of the fall
    volatility: Float[Array, ""]  # of the factor during the fall, s^-1/2
    volatility_after: Float[Array, ""]
    calming: Float[Array, ""]  # s
    jump_immigrants: Float[Array, ""]  # expected number
    jump_branching: Float[Array, ""]  # expected children of a jump
    jump_lag: Float[Array, ""]  # s, mean
    jump_size: Float[Array, ""]  # log, mean at scale 1
    jump_against: Float[Array, ""]  # probability that a jump goes against the crash
    rebound: Float[Array, ""]  # share of the fall, mean
    rebound_dispersion: Float[Array, ""]
    rebound_time: Float[Array, ""]  # s
    beta: Float[Array, " markets"]
    beta_dispersion: Float[Array, ""]
    own_volatility: Float[Array, " markets"]  # relative to the factor's


@pytree
class Ladder:
    """Deterministic moves of all markets by the same shock, one shock after the other."""

    shock: Float[Array, " shocks"]  # price change, fraction
    books: UInt[Array, ""]  # so many paths in a row take the same shock: one for every book
    duration: Float[Array, ""]  # s


@pytree
class Replay:
    """Recorded log prices at knots, bridged in between; markets without prices are modelled."""

    log_index: Float[Array, "steps markets"]  # at the end of each step, relative to the start
    knot_before: Int[Array, "steps markets"]  # step of the knot at or before; −1: the start
    knot_after: Int[Array, "steps markets"]
    weight: Float[Array, "steps markets"]  # of the knot after
    bridge_volatility: Float[Array, " markets"]  # s^-1/2
    own_volatility: Float[Array, " markets"]  # s^-1/2, of markets without prices


@pytree
class Given:
    """Prices from elsewhere: path p takes row p, modulo the number of rows."""

    log_index: Float[Array, "paths steps markets"]  # at the end of each step, relative to the start


@pytree
class Scenario:
    """A law of prices, the depth that goes with them, and the order book."""

    law: Crash | Ladder | Replay | Given
    depth: Depth
    order_book: OrderBook


def log_index(noise: Noise, path: UInt[Array, ""], scenario: Scenario, dt: Float[Array, " steps"]):
    """Log index price of every market at the end of every step, relative to the start."""
    law = scenario.law
    if isinstance(law, Crash):
        return _crash(noise, law, dt)
    if isinstance(law, Ladder):
        return _ladder(path, law, dt, noise.market.shape[1])
    if isinstance(law, Given):
        return law.log_index[path % law.log_index.shape[0]]
    return _replay(noise, law, dt)


def louder(law: Crash | Ladder | Replay | Given, factor: Float[Array, ""]):
    """The same law with every log move multiplied."""
    if isinstance(law, Crash):
        return dataclasses.replace(law, scale_table=law.scale_table + jnp.log(factor))
    if isinstance(law, Ladder):
        return dataclasses.replace(law, shock=jnp.expm1(factor * jnp.log1p(law.shock)))
    moves = {"log_index": law.log_index * factor}
    if isinstance(law, Replay):
        moves["bridge_volatility"] = law.bridge_volatility * factor
        moves["own_volatility"] = law.own_volatility * factor
    return dataclasses.replace(law, **moves)


def _crash(noise: Noise, law: Crash, dt: Float[Array, " steps"]) -> Float[Array, "steps markets"]:
    """x_m(t) = β_m s R G(t) + own noise (docs/model.md 7.1)."""
    time = _cumulative(dt)
    scale = student_scale(noise.scale, law.scale_table)
    sign = jnp.where(noise.direction < law.probability_down, -1.0, 1.0)
    turn = law.duration * (0.25 + 0.75 * noise.turning)
    calm = jnp.exp(-jnp.maximum(time - turn, 0.0) / law.calming)
    volatility = law.volatility_after + (law.volatility - law.volatility_after) * calm
    shaken = scale * volatility * jnp.sqrt(dt)

    fall = law.drift * jnp.minimum(time / turn, 1.0) + _jumps(noise, law, turn, time)
    back = jnp.clip(law.rebound + law.rebound_dispersion * noise.rebound, 0.0, 1.0)
    returned = back * (1.0 - jnp.exp(-jnp.maximum(time - turn, 0.0) / law.rebound_time))
    factor = sign * scale * fall * (1.0 - returned) + _cumulative(shaken * noise.common)

    beta = law.beta * jnp.exp(law.beta_dispersion * noise.beta - 0.5 * law.beta_dispersion**2)
    own = _cumulative(shaken[:, None] * law.own_volatility[None] * noise.market)
    return factor[:, None] * beta[None] + own


def student_scale(uniform: Float[Array, ""], table: Float[Array, " knots"]) -> Float[Array, ""]:
    """√(ν/χ²_ν) at probability `uniform` of χ²: a normal times this is Student t.

    `table` holds its logarithm at equal steps of the logit of the probability, from −SPAN to SPAN.
    Large values come from small χ², that is from small uniforms, which keep their full relative
    precision in float64, so the tail is as long as 2⁻⁵³ allows.
    """
    logit = jnp.log(uniform) - jnp.log1p(-uniform)
    place = (logit + SPAN) * ((table.shape[0] - 1) / (2.0 * SPAN))
    below = jnp.clip(jnp.floor(place), 0.0, table.shape[0] - 2.0)
    knot, part = below.astype(jnp.int32), place - below
    return jnp.exp((1.0 - part) * table[knot] + part * table[knot + 1])


def jump_number(uniform: Float[Array, ""], immigrants, branching) -> Int[Array, ""]:
    """Jumps of a Hawkes cluster: immigrants Poisson, each jump has Poisson(branching) children.

    The total is generalised Poisson, P(n) = μ(μ + bn)^(n−1) e^(−μ−bn) / n! (Consul and Jain 1973),
    with μ immigrants and branching ratio b; counts above `JUMPS` count as `JUMPS`.
    """
    n = jnp.arange(JUMPS, dtype=immigrants.dtype)
    log_factorial = jnp.asarray([math.lgamma(k + 1.0) for k in range(JUMPS)], n.dtype)
    rate = immigrants + branching * n
    positive = immigrants > 0
    log_mu = jnp.log(jnp.where(positive, immigrants, 1.0))
    log_rate = jnp.log(jnp.where(positive, rate, 1.0))
    log_p = log_mu + (n - 1.0) * log_rate - rate - log_factorial
    below = _cumulative(jnp.exp(log_p)) < uniform
    return jnp.where(positive, jnp.sum(below), 0)


def _jumps(noise: Noise, law: Crash, turn, time) -> Float[Array, " steps"]:
    """Sum of the jumps so far, in the direction of the crash, at scale 1.

    A jump is an immigrant, uniform over the fall, or with the probability that belongs to the
    branching ratio a child of an earlier jump after an exponential lag.
    """
    count = jump_number(noise.jump_count, law.jump_immigrants, law.jump_branching)
    order = jnp.arange(JUMPS)
    lag = -law.jump_lag * jnp.log1p(-noise.jump_time)

    def place(k, when):
        parent = jnp.floor(noise.jump_parent[k] / law.jump_branching * k).astype(jnp.int32)
        child = (k > 0) & (noise.jump_parent[k] < law.jump_branching)
        start = when[jnp.clip(parent, 0, jnp.maximum(k - 1, 0))]
        return when.at[k].set(jnp.where(child, start + lag[k], turn * noise.jump_time[k]))

    when = lax.fori_loop(0, JUMPS, place, jnp.zeros(JUMPS, time.dtype))
    size = -law.jump_size * jnp.log1p(-noise.jump_size)
    size = jnp.where(noise.jump_side < law.jump_against, -size, size)
    size = jnp.where(order < count, size, 0.0)
    happened = when[None, :] <= time[:, None]
    terms = jnp.where(happened, size[None], 0.0)
    return _cumulative(terms.T)[-1]


def _ladder(path, law: Ladder, dt, markets: int) -> Float[Array, "steps markets"]:
    """Linear in log price over the duration, then flat."""
    progress = jnp.minimum(_cumulative(dt) / law.duration, 1.0)
    target = jnp.log1p(law.shock[path // law.books % law.shock.shape[0]])
    return jnp.broadcast_to((progress * target)[:, None], (dt.shape[0], markets))


def _replay(noise: Noise, law: Replay, dt) -> Float[Array, "steps markets"]:
    """Recorded prices, with a Brownian bridge between knots and own noise where modelled."""
    walk = _cumulative(jnp.sqrt(dt)[:, None] * noise.market)

    def at(knot):
        column = jnp.arange(walk.shape[1])
        return jnp.where(knot >= 0, walk[jnp.maximum(knot, 0), column], 0.0)

    bridge = walk - (1.0 - law.weight) * at(law.knot_before) - law.weight * at(law.knot_after)
    bridged = law.bridge_volatility[None] * bridge
    return law.log_index + bridged + law.own_volatility[None] * walk


def depth_of(
    noise: Noise, x: Float[Array, "steps markets"], depth: Depth, dt: Float[Array, " steps"]
) -> Float[Array, "steps 2 markets"]:
    """Depth within 1 % of mid, bids and asks, as a share of open interest (docs/model.md 7.2)."""

    def step(carry, now):
        level, bids, asks = carry
        price, seconds = now
        level = level + (1.0 - jnp.exp(-seconds / depth.memory)) * (price - level)
        kept = jnp.exp(-seconds / depth.recovery)
        fall, rise = jnp.maximum(level - price, 0.0), jnp.maximum(price - level, 0.0)
        own, other = depth.sensitivity[0], depth.sensitivity[1]
        bids = jnp.maximum(bids * kept, own * fall + other * rise)
        asks = jnp.maximum(asks * kept, own * rise + other * fall)
        return (level, bids, asks), jnp.stack([bids, asks])

    zero = jnp.zeros_like(x[0])
    _, stress = lax.scan(step, (zero, zero, zero), (x, dt))
    thinned = jnp.maximum(jnp.exp(-stress), depth.floor)
    level = depth.calm * jnp.exp(depth.dispersion * noise.depth)
    return level[None] * thinned


def _cumulative(x: Float[Array, "n *rest"]) -> Float[Array, "n *rest"]:
    """Running sum over the first axis, added in order: the same bits in any batch."""
    _, sums = lax.scan(lambda s, dx: (s + dx, s + dx), jnp.zeros_like(x[0]), x)
    return sums
