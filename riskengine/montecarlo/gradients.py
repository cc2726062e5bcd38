"""Derivatives of the mean of a path's outcome by numbers of the venue and of the scenario.

What is differentiated is the path that `simulate` runs, stage by stage, with every decision as it
fell: who is liquidated, who is deleveraged and which rule binds. A pathwise derivative does not see
that a slightly different number would have decided differently, and through liquidation triggers
that is no noise: on the yardstick the derivative by maintenance margin was 0, where differences gave
−0.78 (0.12), and that by leverage had the wrong sign. So only what is exact is handed out unasked, the
derivative of `excess_draw` by `capital`, on which its path does not depend. Everything else is a
derivative of amounts alone, and must be asked for as `through_triggers="ignored"`.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key

from riskengine.montecarlo import simulate
from riskengine.montecarlo.simulate import Simulation
from riskengine.specs import scenario as scenarios
from riskengine.specs.book import Book
from riskengine.specs.scenario import Scenario
from riskengine.specs.venue import Venue
from riskengine.types import InputError, pytree, use_double
from riskengine.waterfall import margin
from riskengine.waterfall.state import Quote

MEASURES = (
    "excess_draw", "bad_debt", "fund_draw", "social_loss", "unfunded", "fees", "adl_loss_mark",
    "adl_loss_index",
)  # fmt: skip
EXACT = {("excess_draw", "capital")}  # no trigger depends on the number before the outcome is known


@pytree
class Scales:
    """Factors on numbers of the venue and the scenario; 1 leaves them as they are."""

    capital: Float[Array, ""]  # first-loss capital F
    maintenance: Float[Array, ""]  # maintenance margin of all tiers
    fee: Float[Array, ""]  # liquidation fee
    depth: Float[Array, ""]  # of the order book
    volatility: Float[Array, ""]  # all log moves of the index


NAMES = tuple(field.name for field in dataclasses.fields(Scales))


@dataclasses.dataclass(frozen=True)
class Gradient:
    """An outcome and its derivatives, path by path, in the order in which paths were asked for."""

    value: np.ndarray  # USD
    slope: dict[str, np.ndarray]  # USD per unit of a factor; by a number θ itself: divided by θ

    def mean(self, name: str) -> tuple[float, float]:
        """Derivative of the mean outcome by one factor, and its standard error over the paths."""
        each = self.slope[name]
        return float(each.mean()), float(each.std(ddof=1) / math.sqrt(len(each)))


def gradient(
    key: Key[Array, ""],
    books: Book,
    venue: Venue,
    scenario: Scenario,
    simulation: Simulation,
    paths: Sequence[int] | np.ndarray,
    measure: str = "excess_draw",
    parameters: Sequence[str] = ("capital",),
    mode: str = "reverse",
    through_triggers: str = "refused",
    batch: int | None = None,
) -> Gradient:
    """One of `MEASURES` on the given paths, in USD, and its derivatives by factors of `Scales`.

    The mean of `slope` estimates dE[Y(θ)]/dθ at θ = 1, with Y the outcome of the path that
    `simulate` runs with the same key. `excess_draw` is (R − F)⁺ with R the required capital of the
    path with unlimited capital; so its slope by `capital` is exact, −F 1{R > F}: per dollar of F,
    the mean falls by P(R > F). Mode "reverse" costs the same for any number of parameters and keeps
    2√T states of a batch; "forward" keeps none, and costs more with each parameter.

    **What a slope leaves out**: decisions stay as they fell. Who is pushed across a liquidation
    trigger is most of the effect of maintenance, leverage, volatility and depth, and the slope by
    these is wrong, not noisy (by maintenance 0 where orders are whole). An `InputError` says so
    unless `through_triggers` is "ignored"; pairs in `EXACT` need no word.
    """
    use_double()
    _check(venue, measure, parameters, mode, through_triggers)
    asked = simulate.Asked.of(paths, venue.capital, books, batch)
    value = np.empty(len(asked.paths))
    slope = {name: np.empty(len(asked.paths)) for name in parameters}
    program = functools.partial(_program, measure, tuple(parameters), mode)
    rest = (books, venue, scenario, simulation)
    for _, rows, some, (values, slopes) in asked.batches(key, rest, program):
        value[rows] = np.asarray(values)[some]
        for name in parameters:
            slope[name][rows] = np.asarray(slopes[name])[some]
    return Gradient(value, slope)


def _check(venue: Venue, measure: str, parameters: Sequence[str], mode: str, triggers: str) -> None:
    """Names are known, and nobody gets a slope that leaves out the triggers without asking for it."""
    for field, given, known in (
        ("measure", [measure], MEASURES),
        ("parameters", parameters, NAMES),
        ("mode", [mode], ("reverse", "forward")),
        ("through_triggers", [triggers], ("refused", "ignored")),
    ):
        unknown = [name for name in given if name not in known]
        if unknown or not len(given):
            raise InputError(field, f"must be of {', '.join(known)}", (unknown or given)[:1])
    if "capital" in parameters and not 0 < float(venue.capital) < math.inf:
        raise InputError("capital", "must be positive and finite", float(venue.capital))
    wrong = [name for name in parameters if (measure, name) not in EXACT]
    if wrong and triggers != "ignored":
        raise InputError(
            "through_triggers",
            f'must be "ignored" for the slope of {measure} by {wrong[0]}, which leaves out who is '
            "liquidated or deleveraged because of the change and so may be 0 or wrong in sign",
            triggers,
        )


@functools.lru_cache(maxsize=8)
def _program(measure: str, names: tuple[str, ...], mode: str, devices: tuple, batch: int):
    """A batch of paths of one book on every device: outcomes, and slopes by name."""

    def on_device(key, each, number, books, venue, scenario, simulation):
        book = jax.tree.map(lambda x: x[number], books)
        scan = checkpointed if mode == "reverse" else lax.scan

        def outcomes(factors):
            def path(number, capital, counts, factors):
                by = Scales(**{name: jnp.asarray(1.0) for name in NAMES} | factors)
                own = dataclasses.replace(venue, capital=capital)
                rules, law = scaled(own, scenario, by)
                return _outcome(measure, scan, key, number, counts, book, rules, law, simulation)

            numbers, capital, counts, _ = each
            return jax.vmap(path)(numbers, capital, counts, factors)

        return SLOPES[mode](outcomes, {name: jnp.ones(batch) for name in names})

    return simulate.on_devices(devices, on_device, measure, names, mode, batch)


def _outcome(measure, scan, key, number, counts, book, venue, scenario, simulation):
    """The measure of one path; what is drawn beyond the capital F, on a path that F does not touch."""
    capital, beyond = venue.capital, measure == "excess_draw"
    if beyond:
        venue = dataclasses.replace(venue, capital=jnp.asarray(jnp.inf))
    book = margin.attach(book, venue)
    numbers, _, _ = simulate.one_path(
        key, number, book, venue, scenario, simulation, counts, scan=scan
    )
    return (
        jnp.maximum(numbers.required_fund - capital, 0.0) if beyond else getattr(numbers, measure)
    )


def _reverse(outcomes, ones):
    """Every path has factors of its own, so that one way back gives the slopes of all."""
    values, back = jax.vjp(outcomes, ones)
    return values, back(jnp.ones_like(values))[0]


def _forward(outcomes, ones):
    """All factors at once, each along its own direction."""

    def along(direction):
        moves = {name: x * direction[i] for i, (name, x) in enumerate(ones.items())}
        return jax.jvp(outcomes, (ones,), (moves,))

    values, slopes = jax.vmap(along, out_axes=(None, 0))(jnp.eye(len(ones)))
    return values, dict(zip(ones, slopes, strict=True))


SLOPES = {"reverse": _reverse, "forward": _forward}


def scaled(venue: Venue, scenario: Scenario, by: Scales) -> tuple[Venue, Scenario]:
    """The venue and the scenario with their numbers multiplied."""
    tables = ("ratio", "deduction", "premium")
    required = {name: getattr(venue.margin, name) * by.maintenance for name in tables}
    venue = dataclasses.replace(
        venue,
        capital=venue.capital * by.capital,
        margin=dataclasses.replace(venue.margin, **required),
        liquidation=dataclasses.replace(venue.liquidation, fee=venue.liquidation.fee * by.fee),
    )
    depth = dataclasses.replace(scenario.depth, calm=scenario.depth.calm * by.depth)
    law = scenarios.louder(scenario.law, by.volatility)
    return venue, dataclasses.replace(scenario, depth=depth, law=law)


def checkpointed(advance, carry, quotes: Quote):
    """`lax.scan` over steps that keeps 2√T states; all else is worked out again on the way back.

    Steps of no length fill the last of √T chunks.
    """
    steps = quotes.dt.shape[0]
    length = math.isqrt(steps - 1) + 1
    chunks = -(-steps // length)
    rows = jnp.minimum(jnp.arange(chunks * length), steps - 1)
    padded = jax.tree.map(lambda x: x[rows], quotes)
    idle = jnp.where(jnp.arange(chunks * length) < steps, padded.dt, 0.0)
    padded = dataclasses.replace(padded, dt=idle)
    split = jax.tree.map(lambda x: x.reshape(chunks, length, *x.shape[1:]), padded)
    step = jax.checkpoint(advance, prevent_cse=False)
    chunk = jax.checkpoint(lambda c, q: lax.scan(step, c, q), prevent_cse=False)
    carry, out = lax.scan(chunk, carry, split)
    return carry, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:steps], out)
