"""How time and memory grow with accounts, markets, steps and paths.

    python benchmarks/scaling.py                 every axis; a process of its own for each point
    python benchmarks/scaling.py accounts        one axis

Accounts, steps and paths: one market under the preset `yardstick`. Markets: 20,000 positions in 2 to 160
markets of very different sizes under the preset `hyperliquid`. Time is that of a path after compilation, the
best of three; the exponent is the slope of its logarithm. Prints a line per point and one per axis.
"""

import json
import resource
import subprocess
import sys
import time

import numpy as np

AXES = {  # (accounts, markets, steps, paths): one of them grows
    "accounts": [(n, 1, 64, 16) for n in (1_000, 10_000, 100_000, 1_000_000)],
    "markets": [(8_000, m, 64, 16) for m in (2, 8, 16, 64, 160)],
    "steps": [(10_000, 1, t, 16) for t in (64, 256, 1_024)],
    "paths": [(10_000, 1, 64, p) for p in (32, 128, 512)],
}
COLUMNS = ("accounts", "markets", "steps", "paths")
POSITIONS = 20_000  # of the books with several markets
ROUNDS = 3


def one_market(
    accounts: int, steps: int, paths: int, worst: float = 0.15, volatility: float = 0.02
) -> tuple:
    """A book of one position per account, half of them long, and falls of 0 to 15 %."""
    import yardstick

    rng = np.random.default_rng(0)
    size = rng.pareto(1.5, accounts) + 0.02
    half = accounts // 2
    size[:half] /= size[:half].sum()
    size[half:] /= size[half:].sum()
    book = yardstick.Positions(
        q=np.where(np.arange(accounts) < half, size, -size),
        cash=size / np.clip(np.exp(rng.normal(np.log(4.0), 0.8, accounts)), 1.1, 40.0),
        entry=np.exp(rng.normal(0.0, 0.06, accounts)),
    )
    fall = -worst * rng.random((paths, 1)) / steps
    returns = rng.normal(fall, volatility / np.sqrt(steps), (paths, steps))
    return yardstick.specs(yardstick.Parameters(), book, returns, "float32")


def many_markets(accounts: int, markets: int, steps: int, paths: int) -> tuple:
    """Positions in pairs of a long and a short of two accounts; market k has a weight of 1/(k + 1)."""
    import jax
    import jax.numpy as jnp
    import yardstick

    from riskengine.app import build, configure, scenarios
    from riskengine.montecarlo.simulate import Simulation
    from riskengine.specs import book as books
    from riskengine.specs.scenario import Given, Scenario

    rng = np.random.default_rng(0)
    pairs = POSITIONS // 2
    weight = 1.0 / (1.0 + np.arange(markets))
    market = rng.choice(markets, pairs, p=weight / weight.sum())
    market[:markets] = np.arange(markets)
    size = 1e4 * (rng.pareto(1.5, pairs) + 0.02)
    account = rng.integers(0, accounts, 2 * pairs)
    first = np.unique(account.astype(np.int64) * markets + np.tile(market, 2), return_index=True)[1]
    twice = np.setdiff1d(np.arange(2 * pairs), first)
    account[twice] = accounts + np.arange(len(twice))  # one position per account and market
    count = accounts + len(twice)
    both = np.concatenate([size, size])
    gross = np.bincount(account, both, minlength=count)
    held = books.Holdings(
        cash=gross / np.clip(np.exp(rng.normal(np.log(4.0), 0.8, count)), 1.1, 40.0) + 1.0,
        role=np.full(count, books.TRADER), account=account, market=np.tile(market, 2),
        size=np.concatenate([size, -size]), entry=np.ones(2 * pairs),
    )  # fmt: skip
    config = configure.load(["venue=hyperliquid"])
    names = tuple(f"M{k}" for k in range(markets))
    venue = build.build_venue(config.venue, names, books.open_interest(held, markets))
    packed, _, _ = books.pack([held], markets, dtype="float32")
    fall = -0.15 * rng.random((paths, 1, 1)) * np.linspace(0.0, 1.0, steps)[:, None]
    noise = np.cumsum(rng.normal(0.0, 0.02 / np.sqrt(steps), (paths, steps, markets)), axis=1)
    depth = yardstick.constant_depth(jnp.full((2, markets), 0.01))
    scenario = Scenario(
        law=Given(log_index=jnp.asarray(fall + noise)), depth=depth,
        order_book=scenarios._order_book(config.scenario),
    )  # fmt: skip
    grid = Simulation.of(np.full(steps, 10.0), jnp.arange(markets, dtype=jnp.uint32))
    return jax.tree.map(jnp.asarray, packed), venue, scenario, grid


def point(accounts: int, markets: int, steps: int, paths: int) -> dict:
    """Time per path, compilation and memory of one size."""
    from riskengine.app import configure, device

    device.prepare(configure.load([]).simulation)
    import jax

    from riskengine.montecarlo.simulate import simulate
    from riskengine.types import use_double

    use_double()
    if markets == 1:
        specs = one_market(accounts, steps, paths)
    else:
        specs = many_markets(accounts, markets, steps, paths)
    taken = []
    for _ in range(1 + ROUNDS):
        began = time.perf_counter()
        found = simulate(jax.random.key(0), *specs, np.arange(paths))
        taken.append(time.perf_counter() - began)
    assert not found["flags"].any(), "a path is not usable"
    best = min(taken[1:])
    return dict(zip(COLUMNS, (accounts, markets, steps, paths), strict=True)) | {
        "batch": found.batch,
        "ms_per_path": 1e3 * best / paths,
        "first_call_seconds": taken[0] - best,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "adl_share": float(np.mean(found["accounts_deleveraged"] > 0)),
        "ledger": float(found["ledger_cash"].max()),
    }


def main() -> None:
    """Points in processes of their own, then the exponent of each axis."""
    if len(sys.argv) == 1 + len(COLUMNS):
        print(json.dumps(point(*map(int, sys.argv[1:]))))
        return
    for axis in sys.argv[1:] or AXES:
        found = []
        for size in AXES[axis]:
            command = [sys.executable, __file__, *map(str, size)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(json.loads(out.splitlines()[-1]))
            print(json.dumps({k: float(f"{v:.3g}") for k, v in found[-1].items()}), flush=True)
        per = "ms_per_path"
        grows = [x[axis] for x in found]
        cost = [x[per] * (x["paths"] if axis == "paths" else 1) for x in found]
        slope = np.polyfit(np.log(grows), np.log(cost), 1)[0]
        steepest = np.max(np.diff(np.log(cost)) / np.diff(np.log(grows)))
        print(f"{axis}: exponent {slope:.2f}, steepest part {steepest:.2f}", flush=True)


if __name__ == "__main__":
    main()
