"""Rare events on the default venue and books: what the survey saves, and whether a grid of scales agrees.

    python benchmarks/rare.py [PATHS] [EPSILON ...]

Prints, for every ε, F*(ε) with its interval, the gain in work (CPU time) at equal variance over plain
paths, and the difference from a cross-check that shares no random number, in standard errors of both.
Figures with their machines are in benchmarks/README.md.
"""

import math
import sys
import time

import numpy as np

NEED = "adl_required_fund"
PILOT = 1.0 / 3.0  # of the paths that are chosen
SURVEYED = 20  # times as many
ELSEWHERE = 2**31  # ids of the cross-check's crashes: no path of the survey has them
DIRECTIONS = 96


def main() -> None:
    from riskengine.app import build, configure, device

    paths = int(sys.argv[1]) if len(sys.argv) > 1 else 2048
    levels = tuple(float(x) for x in sys.argv[2:]) or (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    config = configure.load([])
    device.prepare(config.simulation)
    from riskengine.montecarlo import grid, importance
    from riskengine.montecarlo.simulate import simulate

    question = build.build(config)
    free = build.with_fund(question, np.inf)
    specs = (free.key, free.books, free.venue, free.scenario, free.simulation)
    work = Work()

    def needs(path, scale):
        with work("paths"):
            return simulate(*specs, path, scale=scale)[NEED]

    def all_needs(path, scale):
        return {NEED: needs(path, scale)}

    simulate(*specs, np.arange(2), scale=np.full(2, 0.5))  # compiled before it is timed
    importance.Surveyed.of(*specs, np.arange(2), min(levels))
    checked = grid.run(
        free.key, needs, len(free.opened.holdings), ELSEWHERE + np.arange(DIRECTIONS), min(levels)
    )
    per_path = work.of("paths") / len(checked.need)
    print(
        f"a path takes {1e3 * per_path:.1f} ms of CPU time; open interest is {free.open_interest:.4g} USD"
    )
    for exceed in levels:
        work.clear()
        with work("survey"):
            surveyed = importance.Surveyed.of(*specs, np.arange(SURVEYED * paths), exceed)
        aims, pilot = [importance.Aim(NEED, exceed)], round(PILOT * paths)
        found = importance.run(free.key, surveyed, all_needs, aims, pilot, paths)
        rare = found.weighted(NEED)
        capital = rare.target(exceed)
        equal = (work.of("survey") + work.of("paths")) / per_path
        y, other = rare.exceed(capital), checked.exceed(capital)
        error = math.hypot(*(math.sqrt(s.variance(x, True)) for s, x in (
            (rare.sample, y), (checked.sample, other))))  # fmt: skip
        work_of_survey = work.of("survey") / per_path
        print(
            f"ε {exceed:.0e}: {rare.fund_target('fund_target', exceed).record()}\n"
            f"    {len(rare.need)} paths ran, survey {work_of_survey:.0f}, all {equal:.0f} paths of work; "
            f"gain {rare.gain(capital, equal):.3g}; {rare.health(capital)}\n"
            f"    grid of scales: {other.mean():.3g} against {y.mean():.3g}, "
            f"{(other.mean() - y.mean()) / error:.2f} standard errors",
            flush=True,
        )


class Work:
    """CPU time by what it went to."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.name, self.began = "", 0.0

    def __call__(self, name: str) -> "Work":
        self.name = name
        return self

    def __enter__(self) -> None:
        self.began = time.process_time()

    def __exit__(self, *_) -> None:
        spent = time.process_time() - self.began
        self.seconds[self.name] = self.of(self.name) + spent

    def of(self, name: str) -> float:
        return self.seconds.get(name, 0.0)

    def clear(self) -> None:
        self.seconds = {}


if __name__ == "__main__":
    main()
