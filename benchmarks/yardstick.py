"""The textbook waterfall of `conf/venue/yardstick.yaml` on a given book and given prices.

Other programs of the same rule (`benchmarks/peers.py`) state it for one market in prices relative to
the opening and in shares of open interest: for us a market with an open interest of 1 USD, a price
that slips by kappa at full use of one step's depth D, and a book that is full again in every step.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from riskengine.app import build, configure, scenarios, validate
from riskengine.montecarlo.simulate import Simulation
from riskengine.specs import book as books
from riskengine.specs.book import TRADER, Holdings
from riskengine.specs.scenario import Depth, Given, Scenario

# A book of orders whose price slips by kappa at full use of D is linear: 1 % of distance is reached
# at D/4 where kappa is 4 %; an eighth of the slip, `impact`, stays in the price.
ORDER_BOOK = (
    "exponent=1", "distance=linear", "distance_max_pct=1000", "resilience_s=null",
    "permanent_pct=12.5", "fill_cap_pct=400", "profit_taking_pct=0",
)  # fmt: skip


@dataclass(frozen=True)
class Parameters:
    """The rule's numbers, in shares of open interest; those of the moderate regime."""

    depth: float = 0.05  # per step and side
    kappa: float = 0.04
    impact: float = 0.005
    fund0: float = 0.005
    mmr: float = 0.005
    fee: float = 0.002
    close: float = 0.5


@dataclass(frozen=True)
class Positions:
    """One position per account: signed size, equity at the opening, entry price."""

    q: np.ndarray
    cash: np.ndarray
    entry: np.ndarray


def settings(parameters) -> configure.Config:
    """The preset with the numbers of a regime, through the command line's own door."""
    assert parameters.kappa == 0.04 and parameters.impact == 0.125 * parameters.kappa
    assert (parameters.mmr, parameters.fee, parameters.close) == (0.005, 0.002, 0.5)
    fund = f"venue.fund_pct={100 * parameters.fund0:.15g}"
    shape = [f"scenario.order_book.{setting}" for setting in ORDER_BOOK]
    config = configure.load(["venue=yardstick", fund, *shape])
    validate.check(config)
    return config


def holdings(book) -> Holdings:
    """The book of the peers: an account per position."""
    count = len(book.q)
    return Holdings(
        cash=book.cash.astype(float),
        role=np.full(count, TRADER),
        account=np.arange(count),
        market=np.zeros(count, int),
        size=book.q.astype(float),
        entry=book.entry.astype(float),
    )


def specs(parameters, book, returns, precision: str = "float64") -> tuple:
    """Books, venue, scenario and time grid, as `simulate` takes them."""
    config = settings(parameters)
    held = holdings(book)
    packed, _, _ = books.pack([held], 1, dtype=precision, together=True)
    interest = books.open_interest(held, 1)  # 1 but for the peers' rounding
    log_index = np.cumsum(returns.astype(float), axis=1)[:, :, None]
    scenario = Scenario(
        law=Given(log_index=jnp.asarray(log_index)),
        depth=constant_depth(jnp.full((2, 1), parameters.depth / 4 / interest)),
        order_book=scenarios._order_book(config.scenario),
    )  # fmt: skip
    venue = build.build_venue(config.venue, ("X",), np.ones(1))
    grid = Simulation.of(np.ones(returns.shape[1]), jnp.zeros(1, jnp.uint32))
    return jax.tree.map(jnp.asarray, packed), venue, scenario, grid


def constant_depth(share) -> Depth:
    """Depth within 1 % of mid that nothing changes, as a share of open interest (2, markets)."""
    one, none = jnp.asarray(1.0), jnp.asarray(0.0)
    return Depth(
        calm=share, sensitivity=jnp.zeros(2), memory=one, recovery=one, floor=none, dispersion=none
    )
