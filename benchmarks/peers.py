"""The engine beside other programs of the same rule, in one process, on the same inputs.

    python benchmarks/peers.py                                    2,048 accounts, 512 paths, 64 steps
    python benchmarks/peers.py --accounts 100000 --paths 32 --regime stress --only numba,numpy

The rule is that of `conf/venue/yardstick.yaml`; the peers are programs in NumPy, Numba, PyTorch and
plain JAX (`--peers`, a folder; by default `peers` in the folder that RISKENGINE_DATA names, or in
`../shared`). Peers that cannot be imported are left out, and that is said. Every program is checked
against a float64 reference that sorts: `match` is the share of paths on which the fund, the lowest
and the highest price and the quantity deleveraged agree to 1e-4 of open interest (one account that
flips at a boundary in float32 moves a path). Rounds are interleaved; the last line gives, per regime and
peer, the peer's time over the engine's: median (smallest to largest) of the rounds. Above 1 the engine
is faster. The table has the same of the time that all cores spent, which other programs on the machine
disturb less. Exit code 1 if a program disagrees.
"""

import argparse
import csv
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

BAR = 1e-4  # of open interest
COMPARED = ("fund_end", "price_min", "price_max", "adl_q")
AGREES = 0.85  # share of paths within the bar, with float32
PROJECT = Path(__file__).resolve().parents[1]
Program = Callable[[], dict[str, np.ndarray]]


def arguments() -> argparse.Namespace:
    """What is compared, and how large."""
    shared = Path(os.environ.get("RISKENGINE_DATA") or PROJECT.parent / "shared")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accounts", type=int, default=2048)
    parser.add_argument("--paths", type=int, default=512)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--regime", choices=("idle", "moderate", "stress", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", type=int, default=32, help="paths compared with the reference")
    parser.add_argument("--precision", choices=("float32", "float64"), default="float32")
    parser.add_argument("--batch", type=int, help="paths per device and call of the engine")
    parser.add_argument("--only", default="", help="parts of names, separated by commas")
    parser.add_argument("--device", default="cpu", help="of PyTorch: cpu or cuda")
    parser.add_argument("--table", type=Path, help="CSV that gets a row per program and regime")
    parser.add_argument("--peers", type=Path, default=shared / "peers")
    return parser.parse_args()


def engine(asked, book, returns, parameters) -> tuple[Program, Program]:
    """Our engine as users run it: what is timed, and what its first paths look like."""
    import jax
    import yardstick

    from riskengine.montecarlo import metrics, simulate, trace

    key, paths = jax.random.key(0), np.arange(len(returns))
    specs = yardstick.specs(parameters, book, returns, asked.precision)
    books, venue, *_ = specs

    def run() -> dict[str, np.ndarray]:
        return simulate.simulate(key, *specs, paths, batch=asked.batch).metrics

    def look() -> dict[str, np.ndarray]:
        seen = simulate.traces(key, *specs, paths[: asked.check], batch=asked.batch)
        found = run()
        bad = np.flatnonzero(found["flags"])
        assert not len(bad), f"path {bad[0]}: {metrics.FATAL}"
        steps = trace.Trace(**{name: jax.numpy.asarray(x) for name, x in seen.items()})
        one = jax.tree.map(lambda x: x[0], books)
        closed = jax.vmap(lambda path: trace.flows(path, one, venue).adl_size)(steps)
        return {
            "fund_end": float(venue.capital) + seen["cash_gain"][:, -1],
            "price_min": np.minimum(seen["mark"].min(axis=(1, 2)), 1.0),
            "price_max": np.maximum(seen["mark"].max(axis=(1, 2)), 1.0),
            "adl_q": np.abs(np.asarray(closed)).sum(axis=(1, 2)),
        }

    return run, look


def others(asked, book, returns, parameters) -> dict[str, Program]:
    """The peers that can be imported."""
    some = max(1, min(64, 2 ** int(np.log2(max(1, (1 << 15) // asked.accounts)))))
    calls = {
        "numpy": ("numpy_peer", dict(chunk=some)),
        "numba": ("numba_peer", {}),
        "torch eager, chunks": ("torch_peer", dict(mode="eager", device=asked.device, chunk=some)),
        "torch eager, whole": ("torch_peer", dict(mode="eager", device=asked.device, chunk=0)),
        "torch compile": ("torch_peer", dict(mode="compile", device=asked.device, chunk=some)),
        "jax prototype": ("jax_peer", dict(guard="compact", cap=min(2, some), chunk=some)),
    }
    wanted = [part for part in asked.only.split(",") if part]
    found = {}
    for name, (module, options) in calls.items():
        if wanted and not any(part in name for part in wanted):
            continue
        try:
            simulate = importlib.import_module(module).simulate
        except ImportError as error:
            print(f"left out: {name}: {error}")
            continue
        found[name] = lambda s=simulate, o=options: _arrays(s(book, returns, parameters, **o))
    return found


def _arrays(found) -> dict[str, np.ndarray]:
    """Numbers on the host: JAX and PyTorch hand them over before they are ready."""
    return {name: np.asarray(x.cpu() if hasattr(x, "cpu") else x) for name, x in found.items()}


def warmed(programs: dict[str, Program]) -> dict[str, dict[str, np.ndarray]]:
    """The answer of each, which also compiles it; a program that cannot run is left out."""
    answers = {}
    for name, program in list(programs.items()):
        try:
            answers[name] = program()
        except Exception as error:  # whatever a compiler that is not ours may raise
            print(f"left out: {name}: {type(error).__name__}: {str(error).splitlines()[0][:90]}")
            del programs[name]
    return answers


def times(programs: dict[str, Program], rounds: int) -> tuple[dict, dict]:
    """Seconds of every program in every round, one after the other; and seconds of all its cores."""
    taken, spent = ({name: [] for name in programs} for _ in range(2))
    for _ in range(rounds):
        for name, program in programs.items():
            began, busy = time.perf_counter(), time.process_time()
            program()
            taken[name].append(time.perf_counter() - began)
            spent[name].append(time.process_time() - busy)
    return taken, spent


def ratio(seconds: dict[str, list[float]], name: str) -> str:
    """Time over the engine's, round by round: median (smallest to largest)."""
    each = [x / ours for x, ours in zip(seconds[name], seconds["engine"], strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def compare(asked, regime: str, inputs) -> tuple[str, bool]:
    """One regime: a table, the ratios in words, and whether all agree."""
    settings = getattr(inputs, regime.upper(), inputs.MODERATE)
    book = inputs.make_book(asked.accounts)
    returns = inputs.make_returns(asked.paths, asked.steps, crash=settings["crash"])
    if regime == "idle":  # prices stand still: what every step costs
        returns = np.zeros_like(returns)
    parameters = settings["params"]
    reference = importlib.import_module("numpy_peer").reference
    count = min(asked.check, asked.paths)
    truth = [reference(book, returns[path], parameters)[0] for path in range(count)]

    run, look = engine(asked, book, returns, parameters)
    programs = {"engine": run} | others(asked, book, returns, parameters)
    answers = warmed(programs) | {"engine": look()}
    taken, spent = times(programs, asked.rounds)
    work = asked.accounts * asked.paths * asked.steps
    print(f"\n{regime}: {asked.accounts} accounts, {asked.paths} paths, {asked.steps} steps")
    print(
        f"{'program':22s} {'ms':>9s} {'account-steps/s':>16s} {'over the engine':>24s} "
        f"{'its cores, over ours':>24s} {'match':>6s}"
    )
    said, fine = [], True
    for name, seconds in taken.items():
        apart = [
            max(abs(float(answers[name][key][path]) - truth[path][key]) for key in COMPARED)
            for path in range(count)
        ]
        match = float(np.mean(np.asarray(apart) <= BAR))
        fine &= match >= AGREES
        middle, spread = statistics.median(seconds), ratio(taken, name)
        print(
            f"{name:22s} {1e3 * middle:9.1f} {work / middle:16.3g} {spread:>24s} "
            f"{ratio(spent, name):>24s} {match:6.2f}"
        )
        if name != "engine":
            said.append(f"{name} {spread}")
        if asked.table:
            sizes = asked.accounts, asked.paths, asked.steps
            _append(asked.table, regime, *sizes, asked.precision, name, f"{work / middle:.4g}")
    return f"{regime}: {', '.join(said)}", fine


def _append(table: Path, *row) -> None:
    """A row of the table that `throughput_by_size.py` draws."""
    names = ("regime", "accounts", "paths", "steps", "precision", "program", "account_steps_per_s")
    new = not table.exists()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([names, row] if new else [row])


def main() -> None:
    """Compare, and say the ratios last."""
    asked = arguments()
    if not (asked.peers / "inputs.py").exists():
        sys.exit(f"no peers in {asked.peers}: name their folder with --peers")
    sys.path.insert(0, str(asked.peers))
    from riskengine.app import configure, device

    device.prepare(configure.load([]).simulation)
    from riskengine.types import use_double

    use_double()
    print(json.dumps(device.facts() | {"precision": asked.precision, "rounds": asked.rounds}))
    inputs = importlib.import_module("inputs")
    regimes = ("moderate", "stress") if asked.regime == "both" else (asked.regime,)
    found = [compare(asked, regime, inputs) for regime in regimes]
    print("\ntime over the engine's: " + "; ".join(words for words, _ in found))
    if not all(fine for _, fine in found):
        sys.exit("a program disagrees with the reference")


if __name__ == "__main__":
    main()
