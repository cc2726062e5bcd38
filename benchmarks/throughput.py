"""Path-steps per second of the default experiment after compilation, beside the reference engine.

    python benchmarks/throughput.py [paths] [KEY=VALUE ...]

Prints one JSON line: device, dtype, sizes, the wall time and the CPU time per path-step, compile time,
and the ratio to the plain Python reference on the same path. Figures with their machines are in
benchmarks/README.md.
"""

import json
import sys
import time

import numpy as np


def main() -> None:
    from riskengine.app import configure, device

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    config = configure.load(sys.argv[2:])
    device.prepare(config.simulation)
    from riskengine.app import build, shadow
    from riskengine.montecarlo.simulate import simulate

    question = build.build(config)
    free = build.with_fund(question, np.inf)
    specs = (free.key, free.books, free.venue, free.scenario, free.simulation)
    began = time.perf_counter()
    first = simulate(*specs, np.arange(count))
    compiled = time.perf_counter() - began
    rounds = []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        simulate(*specs, np.arange(count))
        rounds.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = (min(r[i] for r in rounds) for i in (0, 1))
    steps = count * int(free.simulation.dt.shape[0])
    began = time.perf_counter()
    slow = shadow.compare(free, 0, seconds=20.0)
    plain = (time.perf_counter() - began) / slow.steps
    layout = free.books.layout
    print(json.dumps(device.facts() | {
        "precision": config.simulation.precision,
        "paths": count,
        "steps": steps // count,
        "accounts": layout.number_of_accounts,
        "positions": layout.number_of_positions,
        "batch": first.batch,
        "compile_seconds": round(compiled - wall, 1),
        "wall_us_per_path_step": round(1e6 * wall / steps, 2),
        "cpu_us_per_path_step": round(1e6 * cpu / steps, 2),
        "account_steps_per_second": round(steps * layout.number_of_accounts / wall),
        "times_faster_than_reference": round(plain / (wall / steps)),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
