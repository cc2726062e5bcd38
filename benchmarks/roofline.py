"""The engine beside what the memory of this machine allows: one command for a CPU or a GPU.

    python benchmarks/roofline.py                       measure, and draw the table of all machines
    python benchmarks/roofline.py --sizes 2048 100000   other sizes of the book
    python benchmarks/roofline.py --draw                only draw

A step of one account reads size and cash and writes them: 16 bytes, and 8 more where a second pass
closes what the first has found, in float32. So no program that keeps its accounts in memory does more
than bandwidth / 24 B account-steps a second. The bandwidth is measured here, by a pass that reads and
writes an array: one that no cache holds and, on a CPU, one that the caches of the cores hold.

The rule is `conf/venue/yardstick.yaml`; prices stand still (`idle`), or fall by 0 to 15 % (`crash`).
Per size and regime: account-steps a second and their share of the roof. Then paths a second on a book
of 1,024 super-accounts; whether a path has the same bits in batches of other sizes; and, on a GPU, in how
many paths events (ADL, fund dry) are other than on this machine's CPU. Rows go to `roofline.csv` beside
this file, with device, dtype and versions; `roofline.svg` and `roofline.png` show all rows there.
Exit code 1 if bits differ between batches.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
TABLE = HERE / "roofline.csv"
COLUMNS = (
    "device", "devices", "jax", "dtype", "regime", "accounts", "paths", "steps", "batch",
    "account_steps_per_s", "memory_gb_s", "cache_gb_s", "share_of_roof", "paths_per_s",
)  # fmt: skip
BYTES = 24  # of an account-step, in float32
STEPS = 64
GROUPED = 1_024  # super-accounts
SIZES = {"cpu": (512, 2_048, 16_384, 100_000), "gpu": (2_048, 16_384, 100_000)}
WORK = {"cpu": 2**21, "gpu": 2**29}  # accounts times paths of a point
FEWEST = 64  # paths
ROUNDS = 3
STILL = {"worst": 0.0, "volatility": 0.0}  # prices
EVENTS = {"ADL": "accounts_deleveraged", "fund dry": "depleted"}
COLOURS = {"idle": "#0072b2", "crash": "#c1272d", "super-accounts": "#009e73"}
INK, PALE = "#1a1a1a", "#e4e4e4"
COMPARED = 2_048, 512  # accounts and paths of which decisions are compared


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", help="accounts")
    parser.add_argument("--draw", action="store_true", help="only draw")
    parser.add_argument("--decisions", type=Path, help=argparse.SUPPRESS)  # of a second process
    return parser.parse_args()


def best(run: Callable[[], object]) -> float:
    """Seconds of the fastest round, after one that compiles."""
    run()
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return min(taken)


def bandwidth(length: int, passes: int) -> float:
    """Bytes a second of passes that read and write an array of so many float32 on every device."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    from riskengine.montecarlo.simulate import sharding

    devices = tuple(jax.local_devices())
    spread = sharding(devices)
    x = jax.device_put(jnp.ones((len(devices), length), jnp.float32), spread)

    def over(x):
        one = jax.vmap(lambda row: lax.fori_loop(0, passes, lambda _, y: 0.5 * y + 1.0, row))
        return one(x)

    run = jax.jit(
        jax.shard_map(over, mesh=spread.mesh, in_specs=spread.spec, out_specs=spread.spec)
    )
    seconds = best(lambda: jax.block_until_ready(run(x)))
    return 8.0 * len(devices) * length * passes / seconds


def questions(accounts: int, paths: int, regime: str) -> tuple:
    """Books, venue, scenario and grid of one market under the yardstick's rule."""
    import scaling

    idle = regime == "idle"
    return scaling.one_market(accounts, STEPS, paths, **(STILL if idle else {}))


def point(accounts: int, paths: int, regime: str) -> dict:
    """Throughput of one size and regime."""
    import jax

    from riskengine.montecarlo.simulate import simulate

    specs, found = questions(accounts, paths, regime), []
    key = jax.random.key(0)
    seconds = best(lambda: found.append(simulate(key, *specs, np.arange(paths))))
    assert not found[-1]["flags"].any(), "a path is not usable"
    return {
        "regime": regime, "accounts": accounts, "paths": paths, "steps": STEPS,
        "batch": found[-1].batch, "account_steps_per_s": accounts * paths * STEPS / seconds,
        "paths_per_s": paths / seconds,
    }  # fmt: skip


def grouped(paths: int) -> dict:
    """Throughput on super-accounts that stand for 100,000 accounts."""
    import two_level

    from riskengine.montecarlo.simulate import simulate

    case = two_level.yardstick_case(100_000, paths)
    books = two_level.grouped(case, GROUPED)
    seconds = best(lambda: simulate(case.key, books, *case.specs, np.arange(paths)))
    accounts, steps = books.layout.number_of_accounts, int(case.specs[2].dt.shape[0])
    return {
        "regime": "super-accounts", "accounts": accounts, "paths": paths, "steps": steps,
        "account_steps_per_s": accounts * paths * steps / seconds, "paths_per_s": paths / seconds,
    }  # fmt: skip


def outcomes(accounts: int, paths: int, batch: int | None = None) -> dict[str, np.ndarray]:
    """Every number of every path of the regime `crash`."""
    import jax

    from riskengine.montecarlo.simulate import simulate

    specs = questions(accounts, paths, "crash")
    return simulate(jax.random.key(0), *specs, np.arange(paths), batch=batch).metrics


def same_bits(accounts: int, paths: int) -> bool:
    """Whether a path is the same in batches of 1, of 8 and of the usual size."""
    usual, *others = (outcomes(accounts, paths, batch) for batch in (None, 8, 1))
    return all(
        np.array_equal(usual[name], other[name], equal_nan=True)
        for other in others
        for name in usual
    )


def decisions(file: Path | None = None) -> dict[str, np.ndarray]:
    """Which events happen on which path; into a file, if one is named."""
    found = outcomes(*COMPARED)
    events = {name: found[column] > 0 for name, column in EVENTS.items()}
    if file:
        np.savez(file, **events)
    return events


def against_cpu() -> str:
    """In how many paths events are other than on the CPU, in a process of its own."""
    file = HERE / ".decisions.npz"
    cpu = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--decisions", str(file)]
    try:
        subprocess.run(command, check=True, env=cpu)
        there, here = np.load(file), decisions()
    finally:
        file.unlink(missing_ok=True)
    apart = {name: int(np.sum(there[name] != happens)) for name, happens in here.items()}
    counts = ", ".join(
        f"{name} {n} (here {int(here[name].sum())} paths)" for name, n in apart.items()
    )
    return f"other than on the CPU, of {COMPARED[1]} paths: {counts}"


def processor() -> str:
    """What the cores are, where the system says so."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"core of {names[0]}" if names else "core"


def measure(sizes: list[int] | None) -> None:
    """All points, a line and a row each."""
    from riskengine.app import configure, device

    device.prepare(configure.load([]).simulation)
    from riskengine.types import use_double

    use_double()
    facts = device.facts()
    kind = "cpu" if facts["platform"] == "cpu" else "gpu"
    memory = bandwidth(2**26, 4)
    cache = bandwidth(2**15, 20_000) if kind == "cpu" else None
    named = {"device": processor() if kind == "cpu" else facts["device"]}
    say = named | {"devices": facts["devices"], "jax": facts["jax"]}
    print(json.dumps(facts | {"memory_gb_s": memory / 1e9, "cache_gb_s": (cache or 0.0) / 1e9}))
    say |= {"dtype": "float32", "memory_gb_s": f"{memory / 1e9:.4g}"}
    say |= {"cache_gb_s": f"{cache / 1e9:.4g}" if cache else ""}

    def keep(found: dict) -> None:
        rate = found["account_steps_per_s"]
        found["share_of_roof"] = rate * BYTES / memory
        row = say | {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in found.items()}
        print(json.dumps(row), flush=True)
        _append(row)

    for accounts in sizes or SIZES[kind]:
        paths = max(FEWEST, WORK[kind] // accounts)
        for regime in ("idle", "crash"):
            keep(point(accounts, paths, regime))
    keep(grouped(WORK[kind] // GROUPED))
    same = same_bits(2_048, 64)
    print("a path has the same bits in any batch" if same else "BITS DIFFER between batches")
    if kind == "gpu":
        print(against_cpu())
    if not same:
        sys.exit(1)


def _append(row: dict) -> None:
    new = not TABLE.exists()
    with TABLE.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def panel(rows: pd.DataFrame, device: str) -> dict:
    """One machine: its roofs, and a line of points per regime below them."""
    from riskengine.app import vega

    roofs = [
        {
            "roof": f"{name}, {last:.0f} GB/s: {1e3 * last / BYTES:,.0f} M",
            "rate": last * 1e9 / BYTES,
        }
        for name, last in (
            (name, rows[column].dropna().iloc[-1])
            for name, column in (("memory", "memory_gb_s"), ("caches", "cache_gb_s"))
            if rows[column].notna().any()
        )
    ]
    x = vega.quantity(
        "accounts",
        scale={"type": "log", "nice": False},
        axis={"values": sorted(set(rows["accounts"])), "format": ",", "title": "Accounts",
              "grid": False, "labelOverlap": True},
    )  # fmt: skip
    y = vega.quantity(
        "account_steps_per_s",
        scale={"type": "log"},
        axis={
            "values": [1e7, 1e8, 1e9, 1e10, 1e11],
            "labelExpr": "format(datum.value / 1e6, ',') + ' M'",
            "title": "Account-steps per second",
        },
    )
    shown = rows.astype(object).where(rows.notna(), None).to_dict("records")
    colour = vega.name(
        "regime", scale={"domain": list(COLOURS), "range": list(COLOURS.values())},
        legend={"title": None},
    )  # fmt: skip
    roof = {"y": vega.quantity("rate")}
    words = roof | {"text": vega.name("roof"), "x": {"value": 376}}
    layers = [
        vega.view("rule", {"color": INK, "strokeDash": [6, 4]}, roof, roofs),
        vega.view("text", {"align": "right", "dy": 13, "fontSize": 12, "color": INK}, words, roofs),
        vega.view(
            "line", {"point": {"size": 50}, "strokeWidth": 2},
            {"x": x, "y": y, "color": colour}, shown,
        ),
    ]  # fmt: skip
    return {"layer": layers, "title": device, "width": 380, "height": 320}


def draw() -> None:
    """Account-steps a second against the size of the book, under the roofs of each machine."""
    from riskengine.app import vega

    rows = pd.read_csv(TABLE)
    rows = rows.drop_duplicates(["device", "devices", "regime", "accounts"], keep="last")
    title = f"The yardstick rule under the roof of memory, {BYTES} bytes per account-step"
    machines = rows.groupby(["device", "devices"], sort=False)
    panels = [panel(mine, f"{count} x {device}, float32") for (device, count), mine in machines]
    head = {"text": title, "anchor": "start", "fontSize": 15, "offset": 16}
    axis = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    colours = {"labelColor": INK, "titleColor": INK, "gridColor": PALE}
    config = {"padding": 12, "axis": axis | colours, "legend": {"labelFontSize": 12}}
    svg, png = vega.rendered({"hconcat": panels, "title": head}, title, config)
    HERE.joinpath("roofline.svg").write_text(svg, encoding="utf-8")
    HERE.joinpath("roofline.png").write_bytes(png)


def main() -> None:
    asked = arguments()
    if asked.decisions:
        from riskengine.types import use_double

        use_double()
        decisions(asked.decisions)
        return
    if not asked.draw:
        measure(asked.sizes)
    draw()


if __name__ == "__main__":
    main()
