"""From the command to the first paths: with no program kept, and with that of an earlier process.

`python benchmarks/startup.py [ROUNDS]` starts processes that do what a run does until the first batch
is done, each venue in turn: one that finds nothing, and then ROUNDS (3) that find its program. Seconds.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

ONE = "book.markets=[BTC]"
CASES = {
    "yardstick, one market": ["venue=yardstick", "book.books=1", ONE],
    "the same, 100,000 accounts": ["venue=yardstick", "book.books=1", "book.accounts=100000", ONE],
    "the default experiment": [],
    "bybit, four markets": ["venue=bybit"],
}
PARTS = ("configuration", "jax and checks", "books", "first batch", "in all")
START = """
import gc, json, sys, time
began = time.perf_counter()
marks = []
gc.set_threshold(100_000, 20, 50)  # as the command does
from riskengine.app import configure, device, validate
config = configure.load(sys.argv[1:])
validate.check(config)
marks.append(time.perf_counter())
device.prepare(config.simulation)
device.probe()
from riskengine.app import build
marks.append(time.perf_counter())
setting = build.build(config).setting
marks.append(time.perf_counter())
import numpy as np
setting.unlimited(np.asarray([0]), config.simulation.batch)
marks.append(time.perf_counter())
whole = marks[-1] - began
print(json.dumps([b - a for a, b in zip([began, *marks], marks)] + [whole]))
"""


def started(overrides: list[str], cache: str) -> list[float]:
    """Seconds of every part, in a process of its own."""
    env = os.environ | {"RISKENGINE_CACHE": cache}
    said = subprocess.run(
        [sys.executable, "-c", START, *overrides],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(said.stdout.splitlines()[-1])


def main(rounds: int) -> None:
    print("| | " + " | ".join(PARTS) + " |\n|" + " --- |" * (len(PARTS) + 1))
    for name, overrides in CASES.items():
        with tempfile.TemporaryDirectory() as cache:
            cold = started(overrides, cache)
            warm = [started(overrides, cache) for _ in range(rounds)]
        middle = [statistics.median(part) for part in zip(*warm, strict=True)]
        for what, seconds in (("nothing kept", cold), ("program kept", middle)):
            row = " | ".join(f"{x:.1f}" for x in seconds)
            print(f"| {name}: {what} | {row} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
