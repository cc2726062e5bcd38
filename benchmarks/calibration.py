"""How often a verified target truly holds, and whether gradients pay in the search for a design.

    python benchmarks/calibration.py coverage               400 calibrations and more
    python benchmarks/calibration.py search --sizes 1 4 12  paths to the same verified objective

`coverage` runs the engine once on many small books and takes them for the world: what holds there is
known. Every calibration draws books with replacement, and crashes of each, for each of its looks, and
verifies a capital (`riskengine.calibration.verify`); counted is how often P(need > F) in the world
keeps the target. `search` runs both searches of `riskengine.calibration.solve` with the same number of
evaluations on the same crashes; designs on the way are judged on other crashes, and reported is after
how many paths each search first came, and stayed, within so much of the best that either found.
"""

import argparse
import dataclasses
import math
import time

import numpy as np

WITHIN = 0.05  # of the cost of the best design found
CHECKS = 6  # designs of a search that are judged


def arguments() -> argparse.Namespace:
    """What is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("coverage", "search"))
    parser.add_argument("--repeats", type=int, default=800)
    parser.add_argument("--books", type=int, default=256, help="of the world")
    parser.add_argument("--crashes", type=int, default=256, help="of each of its books")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1, 4, 12], help="parameters")
    parser.add_argument("--budget", type=int, default=48, help="evaluations of a search")
    parser.add_argument("--paths", type=int, default=128, help="of an evaluation")
    parser.add_argument("--judge", type=int, default=512, help="paths that judge a design")
    parser.add_argument("--venue", default="bybit")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    return parser.parse_args()


def question(*overrides: str):
    """The specs of a small study."""
    from riskengine.app import build, configure, device

    config = configure.load([*overrides])
    device.prepare(config.simulation)
    return config, build.build(config)


# How often it holds


def coverage(asked: argparse.Namespace) -> None:
    """A world of many books, and calibrations that see a part of it."""
    from riskengine.calibration import verify
    from riskengine.calibration.verify import Limits, Verdict

    need = world(asked)
    for exceed, books, crashes in ((0.1, 32, 16), (0.05, 32, 32), (0.02, 32, 64)):
        limits, held, verified, began = Limits(exceed, exceed), 0, 0, time.monotonic()
        random = np.random.Generator(np.random.PCG64(1))
        ratio = []
        for _ in range(asked.repeats):
            looks = [
                verify.look(k, 0.05, drawn(need, random, books, crashes), limits) for k in (1, 2, 3)
            ]
            found = Verdict(looks, limits)
            verified += found.met
            if found.met:
                held += float(np.mean(need > found.capital)) <= exceed
                ratio.append(found.capital / np.quantile(need, 1.0 - exceed))
        share = held / verified
        error = math.sqrt(share * (1.0 - share) / verified)
        print(
            f"target {exceed:g}, {books} books x {crashes} crashes, 3 looks: {asked.repeats} calibrations, "
            f"{verified} verified, {held} hold: {share:.3f} ({error:.3f}); median capital "
            f"{np.median(ratio):.2f} F*; {time.monotonic() - began:.0f} s",
            flush=True,
        )


def world(asked: argparse.Namespace) -> np.ndarray:
    """Needs (books, crashes) of every crash of the world, USD."""
    config, of = question(
        "experiment=small", "venue=hyperliquid", "book.markets=[BTC]", "book.accounts=60",
        f"book.books={asked.books}", "simulation.grid=[{duration_min: 20, dt_s: 40}]",
    )  # fmt: skip
    began, paths = time.monotonic(), np.arange(asked.books * asked.crashes)
    ran = of.setting.unlimited(paths)
    seconds = time.monotonic() - began
    print(f"the world: {len(paths)} paths on {asked.books} books, {seconds:.0f} s", flush=True)
    return ran["adl_required_fund"].reshape(asked.crashes, asked.books).T


def drawn(need: np.ndarray, random: np.random.Generator, books: int, crashes: int):
    """Some crashes of some books, as a look sees them."""
    from riskengine.calibration.frontier import Needs
    from riskengine.montecarlo.estimators import Sample

    rows = random.integers(len(need), size=books)
    columns = np.stack([random.permutation(need.shape[1])[:crashes] for _ in rows])
    seen = need[rows[:, None], columns].ravel()
    return Needs(seen, seen, seen, Sample(np.repeat(np.arange(books), crashes)))


# Whether gradients pay


class Memory:
    """Evaluations that nobody keeps."""

    batch = None

    def evaluation(self, number, x):
        return number()


def search(asked: argparse.Namespace) -> None:
    """Both searches for every number of parameters."""
    for size in asked.sizes:
        for seed in asked.seeds:
            compare(asked, size, seed)


def compare(asked: argparse.Namespace, size: int, seed: int) -> None:
    """Cost on other crashes after so many paths, by either search."""
    from riskengine.app import designs
    from riskengine.app.search import AGAIN, Trial
    from riskengine.calibration import design, solve

    free = "[caps]" if size == 1 else "[caps,maintenance]"
    config, of = question(
        "task=calibrate", "experiment=small", f"venue={asked.venue}", "design.response=1",
        "design.weights.capital=0.01", "design.weights.open_interest=0.001",
        f"design.search.free={free}",
        f"design.search.groups={max(size - 1, 1)}", f"design.search.paths={asked.paths}",
        f"simulation.seed={seed}",
    )  # fmt: skip
    wanted = config.design.search
    space = design.space(
        of.setting.venue, tuple(wanted.free), wanted.groups, designs.bounds(wanted)
    )
    trial = Trial(config, of, space, Memory())  # pyright: ignore[reportArgumentType]
    judge = dataclasses.replace(
        trial, first=AGAIN, config=with_paths(config, asked.judge, trial.exceed)
    )
    start = np.clip(np.asarray(design.today(space)), -2.0, 2.0)
    ways: dict[str, list] = {"gradient": [], "derivative-free": []}
    solve.gradient(trial.at, [start], asked.budget, seed, ways["gradient"].append)
    solve.derivative_free(trial.at, start, asked.budget, ways["derivative-free"].append)
    judged, today = {}, judge.objective(np.asarray(design.today(space)))
    for name, steps in ways.items():
        chosen = [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, CHECKS).astype(int))]
        judged[name] = [(s.evaluations * asked.paths, judge.objective(s.x)) for s in chosen]
    best = min(j for each in judged.values() for _, j in each)
    print(
        f"{space.size} parameters, seed {seed}: today {100 * today:.4f} % of open interest per crash"
    )
    for name, each in judged.items():
        told = ", ".join(f"{paths}: {100 * j:.4f}" for paths, j in each)
        late = [paths for paths, j in each if j > best * (1.0 + WITHIN)]
        kept = [paths for paths, _ in each if not late or paths > max(late)]
        reached = (
            f"within {100 * WITHIN:g} % of the best from {kept[0]} paths on"
            if kept
            else "not reached"
        )
        print(f"  {name}: {reached} ({told})", flush=True)


def with_paths(config, paths: int, exceed: tuple[float, float]):
    """The same study with so many paths of an evaluation, at the probabilities of the search."""
    wanted = dataclasses.replace(config.design.search, paths=paths)
    aim = dataclasses.replace(
        config.target, adl_probability=exceed[0], depletion_probability=exceed[1]
    )
    design = dataclasses.replace(config.design, search=wanted)
    return dataclasses.replace(config, design=design, target=aim)


if __name__ == "__main__":
    given = arguments()
    {"coverage": coverage, "search": search}[given.what](given)
