"""The preset `yardstick` is the textbook waterfall: it agrees with an independent NumPy program.

The program and its rule are `peers/numpy_peer.py` and `peers/README.md` of the shared data. It is
written in prices relative to the opening and in shares of open interest, as our engine is for a
book of one market with an open interest of 1 USD.
"""

import jax
import numpy as np
import pytest
from shared_data import module, shared

from riskengine.app import build, configure, scenarios, validate
from riskengine.montecarlo import simulate, trace
from riskengine.specs import book as books
from riskengine.specs.book import TRADER, Holdings
from riskengine.types import compiled
from riskengine.waterfall import margin
from riskengine.waterfall.state import Quote

ACCOUNTS, PATHS, STEPS = 512, 32, 64
BAR = 1e-4  # of open interest: one account that flips at a boundary would move a path further
REGIMES = ("MODERATE", "STRESS")
# A book whose price slips by kappa at full use of one step's depth D: linear, so that 1 % of
# distance is reached at D/4 where kappa is 4 %, full again in the next step, of which impact/kappa
# stays in the price.
ORDER_BOOK = (
    "exponent=1", "distance=linear", "distance_max_pct=1000", "resilience_s=null",
    "permanent_pct=12.5", "fill_cap_pct=400", "profit_taking_pct=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def peers():
    """The reference program and its inputs."""
    folder = shared("peers")
    inputs = module(folder / "inputs.py")
    return module(folder / "numpy_peer.py"), inputs


@pytest.fixture(scope="module")
def engine():
    """Our engine under the preset, as one program for all regimes and paths."""

    def program(quotes, book, venue, order_book):
        book = margin.attach(book, venue)

        def path(quotes):
            state, _, steps = simulate.run(quotes, book, venue, order_book)
            return state, steps.mark, trace.flows(steps, book, venue).adl_size

        return jax.vmap(path)(quotes)

    return compiled(program)


def settings(parameters) -> configure.Config:
    """The preset with the numbers of a regime, through the command line's own door."""
    assert parameters.kappa == 0.04 and parameters.impact == 0.125 * parameters.kappa
    assert (parameters.mmr, parameters.fee, parameters.close) == (0.005, 0.002, 0.5)
    fund = f"venue.fund_pct={100 * parameters.fund0:.15g}"
    shape = [f"scenario.order_book.{setting}" for setting in ORDER_BOOK]
    config = configure.load(["venue=yardstick", fund, *shape])
    validate.check(config)
    return config


@jax.vmap
@jax.vmap
def every_step(index, depth, dt) -> Quote:
    return Quote(index=index, depth=depth, dt=dt)


def ours(engine, inputs, regime) -> dict[str, np.ndarray]:
    """Final positions, cash, fund, prices and who was deleveraged, per path."""
    config, parameters = settings(regime["params"]), regime["params"]
    held = inputs.make_book(ACCOUNTS)
    holdings = Holdings(
        cash=held.cash.astype(float),
        role=np.full(ACCOUNTS, TRADER),
        account=np.arange(ACCOUNTS),
        market=np.zeros(ACCOUNTS, int),
        size=held.q.astype(float),
        entry=held.entry.astype(float),
    )
    packed, (accounts,), (positions,) = books.pack([holdings], 1)
    book = jax.tree.map(lambda x: x[0], packed)
    returns = inputs.make_returns(PATHS, STEPS, crash=regime["crash"]).astype(float)
    index = np.exp(np.cumsum(returns, axis=1))
    depth = np.full((PATHS, STEPS, 2, 1), parameters.depth / 4)
    quotes = every_step(index[:, :, None], depth, np.ones((PATHS, STEPS)))
    venue = build.build_venue(config.venue, ("X",), np.ones(1))
    order_book = scenarios._order_book(config.scenario)
    state, mark, closed = jax.device_get(engine(quotes, book, venue, order_book))
    size, cash = np.zeros((2, PATHS, ACCOUNTS))
    deleveraged = np.zeros((PATHS, ACCOUNTS), bool)
    size[:, positions[positions >= 0]] = state.size[:, positions >= 0]
    cash[:, accounts[accounts >= 0]] = state.cash[:, accounts >= 0]
    deleveraged[:, accounts[accounts >= 0]] = state.record.deleveraged[:, accounts >= 0]
    return {
        "size": size,
        "cash": cash,
        "fund": float(venue.capital) + state.pool_cash[:, 0],
        "price": index[:, -1] * np.exp(state.shift[:, 0]),
        "lowest": np.minimum(mark.min(axis=(1, 2)), 1.0),
        "highest": np.maximum(mark.max(axis=(1, 2)), 1.0),
        "left over": np.abs(state.unfunded_size[:, 0]),
        "sold": state.street_size[:, 0],
        "deleveraged": deleveraged,
        "adl": np.abs(closed).sum(axis=(1, 2)),
    }


def theirs(numpy_peer, inputs, regime) -> dict[str, np.ndarray]:
    """The same from the reference program."""
    held = inputs.make_book(ACCOUNTS)
    returns = inputs.make_returns(PATHS, STEPS, crash=regime["crash"])
    rows = []
    for path in range(PATHS):
        trace: list = []
        numbers, size, cash = numpy_peer.reference(
            held, returns[path], regime["params"], trace=trace
        )
        deleveraged = np.zeros(ACCOUNTS, bool)
        for _, side, *_, closed in trace:
            where = slice(held.n_long, None) if side > 0 else slice(0, held.n_long)
            deleveraged[where] |= closed > 0
        rows.append(
            {
                "size": size,
                "cash": cash,
                "fund": numbers["fund_end"],
                "price": numbers["price_end"],
                "lowest": numbers["price_min"],
                "highest": numbers["price_max"],
                "left over": numbers["house_q"],
                "sold": -size.sum() + float(held.q.astype(float).sum()),
                "deleveraged": deleveraged,
                "adl": numbers["adl_q"],
            }
        )
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("regime", REGIMES)
def test_yardstick_agrees_with_the_reference_program(engine, peers, regime):
    numpy_peer, inputs = peers
    parameters = getattr(inputs, regime)
    own, other = ours(engine, inputs, parameters), theirs(numpy_peer, inputs, parameters)
    assert 0.1 < np.mean(other["adl"] > 0) < 0.95, "too few or too many paths with ADL"
    worst = np.zeros(PATHS)
    for name in own:
        apart = np.abs(own[name].astype(float) - other[name].astype(float)).reshape(PATHS, -1)
        worst = np.maximum(worst, apart.max(axis=1))
        assert apart.max() <= BAR, f"{name} differs by {apart.max():.1e} of open interest"
    # Rounding may flip an account at a boundary, but most paths must be the same to the last bits.
    assert np.median(worst) <= 1e-13, f"{np.median(worst):.1e}"
