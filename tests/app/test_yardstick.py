"""The preset `yardstick` is the textbook waterfall: it agrees with an independent NumPy program.

The program and its rule are `peers/numpy_peer.py` and `peers/README.md` of the shared data. It is
written in prices relative to the opening and in shares of open interest, as our engine is for a
book of one market with an open interest of 1 USD.
"""

import jax
import numpy as np
import pytest
import yardstick
from shared_data import module, shared

from riskengine.montecarlo import simulate, trace
from riskengine.specs import book as books
from riskengine.types import compiled
from riskengine.waterfall import margin

ACCOUNTS, PATHS, STEPS = 512, 32, 64
BAR = 1e-4  # of open interest: one account that flips at a boundary would move a path further
REGIMES = ("MODERATE", "STRESS")


@pytest.fixture(scope="module")
def peers():
    """The reference program and its inputs."""
    folder = shared("peers")
    inputs = module(folder / "inputs.py")
    return module(folder / "numpy_peer.py"), inputs


@pytest.fixture(scope="module")
def engine():
    """Our engine under the preset, as one program for all regimes and paths."""

    def program(paths, book, venue, scenario, grid):
        book = margin.attach(book, venue)

        def path(number):
            quotes = simulate.quotes_of(jax.random.key(0), number, book, scenario, grid)
            state, _, steps = simulate.run(quotes, book, venue, scenario.order_book)
            return state, steps.mark, steps.index, trace.flows(steps, book, venue).adl_size

        return jax.vmap(path)(paths)

    return compiled(program)


def ours(engine, inputs, regime) -> dict[str, np.ndarray]:
    """Final positions, cash, fund, prices and who was deleveraged, per path."""
    held, parameters = inputs.make_book(ACCOUNTS), regime["params"]
    returns = inputs.make_returns(PATHS, STEPS, crash=regime["crash"])
    packed, venue, scenario, grid = yardstick.specs(parameters, held, returns)
    _, (accounts,), (positions,) = books.pack([yardstick.holdings(held)], 1)
    book = jax.tree.map(lambda x: x[0], packed)
    found = engine(np.arange(PATHS, dtype=np.uint32), book, venue, scenario, grid)
    state, mark, index, closed = jax.device_get(found)
    size, cash = np.zeros((2, PATHS, ACCOUNTS))
    deleveraged = np.zeros((PATHS, ACCOUNTS), bool)
    size[:, positions[positions >= 0]] = state.size[:, positions >= 0]
    cash[:, accounts[accounts >= 0]] = state.cash[:, accounts >= 0]
    deleveraged[:, accounts[accounts >= 0]] = state.record.deleveraged[:, accounts >= 0]
    return {
        "size": size,
        "cash": cash,
        "fund": float(venue.capital) + state.pool_cash[:, 0],
        "price": index[:, -1, 0] * np.exp(state.shift[:, 0]),
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
