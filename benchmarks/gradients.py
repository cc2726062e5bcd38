"""What derivatives cost: time and memory of one batch, beside the path itself.

    python benchmarks/gradients.py                      yardstick (stress) and default venue, float64
    python benchmarks/gradients.py yardstick --precision float32 --regime moderate

Yardstick: one market, 2,048 accounts, 16 paths, 64 steps. Default: the experiment's venue, book and
markets, 4 paths, 64 steps. Measured in turn in one process: the path with every stage evaluated on every
path and step (`always`, to which the goals refer), the path as it is run (`guarded`), forward mode along
one and three parameters, reverse mode by five through a plain scan and through one with nested
checkpoints. Times are medians (smallest to largest) of the rounds' ratios; memory is what the compiled
program reserves for temporaries. The last line compares with the goals: reverse 4 times the time and 8
times the memory of `always`, forward along three 2.5 times the time.
"""

import argparse
import contextlib
import statistics
import time
from unittest import mock

import numpy as np

STEPS = 64
MEASURE = "unfunded"


def arguments() -> argparse.Namespace:
    """What is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("venues", nargs="*", default=["yardstick", "default"])
    parser.add_argument("--precision", choices=("float32", "float64"), default="float64")
    parser.add_argument("--regime", choices=("moderate", "stress"), default="stress")
    parser.add_argument("--accounts", type=int, default=2048)
    parser.add_argument("--paths", type=int, default=16, help="of the yardstick")
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


def yardstick_world(asked) -> tuple:
    """A book like that of `benchmarks/scaling.py`, and falls of so many percent."""
    import yardstick

    rng = np.random.default_rng(0)
    half = asked.accounts // 2
    size = rng.pareto(1.5, asked.accounts) + 0.02
    size[:half] /= size[:half].sum()
    size[half:] /= size[half:].sum()
    book = yardstick.Positions(
        q=np.where(np.arange(asked.accounts) < half, size, -size),
        cash=size / np.clip(np.exp(rng.normal(np.log(4.0), 0.8, asked.accounts)), 1.1, 40.0),
        entry=np.exp(rng.normal(0.0, 0.06, asked.accounts)),
    )
    worst = {"moderate": 0.1, "stress": 0.4}[asked.regime]
    fall = -worst * rng.random((asked.paths, 1)) / STEPS
    returns = rng.normal(fall, 0.2 * worst / np.sqrt(STEPS), (asked.paths, STEPS))
    specs = yardstick.specs(yardstick.Parameters(), book, returns, asked.precision)
    return *specs, asked.paths


def default_world(asked) -> tuple:
    """The default experiment: its first book, its first steps."""
    from riskengine.app import build, configure
    from riskengine.montecarlo.simulate import Simulation

    settings = [f"simulation.precision={asked.precision}", f"book.accounts={asked.accounts}"]
    question = build.build(configure.load([*settings, "book.books=1"]))
    grid = Simulation.of(np.full(STEPS, 20.0), question.simulation.market_ids)
    return question.books, question.venue, question.scenario, grid, 4


WORLDS = {"yardstick": yardstick_world, "default": default_world}


@contextlib.contextmanager
def guards_open():
    """Every guard does its work on every path and chooses, as `vmap` of a condition would."""
    import jax
    import jax.numpy as jnp

    from riskengine.waterfall import orderbook, select

    def everywhere(need, run):
        def call(x, *args):
            needed = need(x, *args)
            return jax.tree.map(lambda new, old: jnp.where(needed, new, old), run(x, *args), x)

        return call

    within = everywhere(orderbook._limits_bind, orderbook._fill_within)
    with (
        mock.patch.object(select, "guarded", everywhere),
        mock.patch.object(orderbook, "_within_limits", within),
    ):
        yield


def programs(books, venue, scenario, grid, paths: int) -> dict:
    """The functions that are compared, of factors of all paths."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    from riskengine.montecarlo import gradients, keys

    book, ids = jax.tree.map(lambda x: x[0], books), jnp.arange(paths, dtype=jnp.uint32)
    names = gradients.NAMES

    def outcomes(factors, scan=lax.scan):
        def path(number, factors):
            by = gradients.Scales(**{n: jnp.asarray(1.0) for n in names} | factors)
            own, law = gradients.scaled(venue, scenario, by)
            given = (keys.root(0), number, True, book, own, law, grid)
            return gradients._outcome(MEASURE, scan, *given)

        return jax.vmap(path)(ids, factors)

    def always(factors):
        with guards_open():
            return outcomes(factors)

    def nested(factors):
        return outcomes(factors, gradients.checkpointed)

    def some(*chosen):
        return {name: jnp.ones(paths) for name in chosen}

    three = some("capital", "fee", "depth")
    return {
        "always": (always, some()),
        "guarded": (outcomes, some()),
        "forward, 1": (lambda f: gradients._forward(outcomes, f), some("depth")),
        "forward, 3": (lambda f: gradients._forward(outcomes, f), three),
        "reverse, 5, plain": (lambda f: gradients._reverse(outcomes, f), some(*names)),
        "reverse, 5, nested": (lambda f: gradients._reverse(nested, f), some(*names)),
    }


def measure(world: tuple, rounds: int) -> dict[str, dict]:
    """Compile time, memory and the times of the rounds of each, taken in turn."""
    import jax

    from riskengine.types import compiled

    found = {}
    for name, (function, factors) in programs(*world).items():
        began = time.perf_counter()
        program = compiled(function).lower(factors).compile()
        jax.block_until_ready(program(factors))
        found[name] = dict(
            run=lambda p=program, f=factors: jax.block_until_ready(p(f)),
            first=time.perf_counter() - began,
            memory=program.memory_analysis().temp_size_in_bytes,
            seconds=[],
        )
    for _ in range(rounds):
        for entry in found.values():
            began = time.perf_counter()
            entry["run"]()
            entry["seconds"].append(time.perf_counter() - began)
    return found


def show(found: dict[str, dict]) -> str:
    """The table, and the line with the goals."""
    base, ratios = found["always"], {}
    print(
        "| | ms | time / always | time / guarded | memory, MB | memory / always | first call, s |"
    )
    for name, entry in found.items():
        over = [
            [t / u for t, u in zip(entry["seconds"], found[n]["seconds"], strict=True)]
            for n in ("always", "guarded")
        ]
        times = [f"{statistics.median(x):.2f} ({min(x):.2f} to {max(x):.2f})" for x in over]
        ratios[name] = statistics.median(over[0]), entry["memory"] / base["memory"]
        print(
            f"| {name} | {1e3 * statistics.median(entry['seconds']):.1f} | {times[0]} | {times[1]} | "
            f"{entry['memory'] / 1e6:.1f} | {ratios[name][1]:.1f} | {entry['first']:.0f} |"
        )
    reverse, forward = ratios["reverse, 5, nested"], ratios["forward, 3"]
    return (
        f"reverse {reverse[0]:.2f} x time (goal 4), {reverse[1]:.1f} x memory (goal 8); "
        f"forward along three {forward[0]:.2f} x time (goal 2.5)"
    )


def main() -> None:
    asked = arguments()
    from riskengine.types import use_double

    use_double()
    import jax

    lines = []
    for name in asked.venues:
        world = WORLDS[name](asked)
        layout, regime = world[0].layout, f" {asked.regime}" if name == "yardstick" else ""
        print(
            f"\n{name}{regime}, {asked.precision}: {layout.number_of_accounts} accounts, "
            f"{layout.number_of_positions} positions, {layout.number_of_markets} markets, "
            f"{world[-1]} paths, {STEPS} steps; jax {jax.__version__}, "
            f"{jax.devices()[0].device_kind}"
        )
        lines.append(f"{name}: {show(measure(world, asked.rounds))}")
    print("\n" + "; ".join(lines))


if __name__ == "__main__":
    main()
