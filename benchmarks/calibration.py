"""How often a verified target truly holds, and whether gradients pay in the search for a design.

    python benchmarks/calibration.py coverage               800 calibrations of each kind
    python benchmarks/calibration.py weighted               the same for rare targets
    python benchmarks/calibration.py books                  and where a few books rule
    python benchmarks/calibration.py search --sizes 1 4 12  paths to the same verified objective

`coverage` runs the engine once on many small books and takes them for the world: what holds there is
known. Every calibration draws books with replacement, and crashes of each, for each of its looks, and
verifies a capital (`riskengine.calibration.verify`); counted is how often P(need > F) in the world
keeps the target. `weighted` does so with looks of weighted crashes, from a world whose scales lean to
large ones; `books` in one with a closed form, in which books differ by much. `search` runs both
searches of `riskengine.calibration.solve` with the same number of evaluations on the same crashes;
designs on the way are judged on other crashes, and reported is after how many paths each search first
came, and stayed, within so much of the best that either found.
"""

import argparse
import dataclasses
import math
import time

import numpy as np

VENUE, SEARCHED = "hyperliquid", "bybit"
WITHIN = 0.05  # of the cost of the best design found
CHECKS = 6  # designs of a search that are judged


def arguments() -> argparse.Namespace:
    """What is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("coverage", "weighted", "books", "search"))
    parser.add_argument("--repeats", type=int, default=800)
    parser.add_argument("--books", type=int, default=256, help="of the world")
    parser.add_argument("--crashes", type=int, default=256, help="of each of its books")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1, 4, 12], help="parameters")
    parser.add_argument("--budget", type=int, default=48, help="evaluations of a search")
    parser.add_argument("--paths", type=int, default=128, help="of an evaluation")
    parser.add_argument("--judge", type=int, default=512, help="paths that judge a design")
    parser.add_argument("--venue", help=f"default: {VENUE}, of a search {SEARCHED}")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    given = parser.parse_args()
    given.venue = given.venue or (SEARCHED if given.what == "search" else VENUE)
    return given


def question(*overrides: str):
    """The specs of a small study."""
    from riskengine.app import build, configure, device

    config = configure.load([*overrides])
    device.prepare(config.simulation)
    return config, build.build(config)


# How often it holds

LOOKS = (1, 2, 3)
PLAIN = (  # target, books and crashes of each in a look
    (0.1, 32, 16), (0.05, 32, 32), (0.02, 32, 64), (0.02, 256, 8), (0.01, 32, 64), (0.01, 256, 8),
)  # fmt: skip
WEIGHTED = ((1e-3, 2048), (1e-3, 4096))  # target, weighted paths of a look


def coverage(asked: argparse.Namespace) -> None:
    """A world of many books, and calibrations that see a part of it."""
    from riskengine.calibration import verify

    need = world(asked)
    for exceed, books, crashes in PLAIN:

        def look(k: int, random, limits, books=books, crashes=crashes):
            return verify.look(k, 0.05, drawn(need, random, books, crashes), limits)

        truth = float(np.quantile(need, 1.0 - exceed))
        repeated(asked, f"{books} books x {crashes} crashes", exceed, truth, look)


def weighted(asked: argparse.Namespace) -> None:
    """The same where looks are of weighted crashes: the world's scales lean to large ones."""
    from riskengine.calibration import verify
    from riskengine.montecarlo.estimators import Sample
    from riskengine.montecarlo.weighted import WeightedPaths

    surveyed, need = leaning(asked)
    rows = np.arange(len(need))
    known = WeightedPaths(need, surveyed.weight, rows, Sample(surveyed.book), "the world")
    for exceed, paths in WEIGHTED:

        def look(k: int, random, limits, exceed=exceed, paths=paths):
            rare = chosen(surveyed, need, random, exceed, paths)
            few = drawn(need[None, :8], random, 2, 4)
            return verify.look(k, 0.05, few, limits, {"adl": rare, "dry": rare})

        repeated(asked, f"{paths} weighted crashes", exceed, known.target(exceed), look)


def books(asked: argparse.Namespace) -> None:
    """Needs u^(−1/2) e^(s g) with a normal g for every book: P(need > F) varies by a factor e^(2 s g)."""
    from riskengine.calibration import verify
    from riskengine.calibration.frontier import Needs
    from riskengine.montecarlo.estimators import Sample

    exceed, crashes = 0.01, 2048
    for spread in (0.5, 1.0, 1.5, 2.0):
        truth = quantile_over_books(spread, exceed)
        for count in (32, 128, 512):
            book = np.arange(crashes) % count

            def look(k: int, random, limits, spread=spread, book=book, count=count):
                own = np.exp(spread * random.standard_normal(count))
                need = random.random(crashes) ** -0.5 * own[book]
                return verify.look(k, 0.05, Needs(need, need, need, Sample(book)), limits)

            what = f"log P of books varies by {2 * spread:g}, {count} books x {crashes // count} crashes"
            repeated(asked, what, exceed, truth, look)


def quantile_over_books(spread: float, exceed: float) -> float:
    """F with E[min((F e^(−s g))⁻², 1)] = ε over a normal g."""
    from scipy import optimize, special

    def over(log: float) -> float:
        known = log / spread  # from that g on a book's needs are all above F
        part = math.exp(2.0 * spread**2 - 2.0 * log) * special.ndtr(known - 2.0 * spread)
        return float(part + special.ndtr(-known)) - exceed

    return math.exp(optimize.brentq(over, 0.0, 40.0))


def repeated(asked: argparse.Namespace, what: str, exceed: float, truth: float, look) -> None:
    """Calibrations of three looks each, and how many of them hold."""
    from riskengine.calibration.verify import Limits, Verdict

    random, limits = np.random.Generator(np.random.PCG64(1)), Limits(exceed, exceed)
    began, ratio = time.monotonic(), []
    for _ in range(asked.repeats):
        found = Verdict([look(k, random, limits) for k in LOOKS], limits)
        if found.met:
            ratio.append(found.capital / truth)
    held = int(np.sum(np.asarray(ratio) >= 1.0))
    share = held / max(len(ratio), 1)
    error = math.sqrt(share * (1.0 - share) / max(len(ratio), 1))
    print(
        f"target {exceed:g}, {what}, {len(LOOKS)} looks: {asked.repeats} calibrations, {len(ratio)} "
        f"verified, {held} hold: {share:.3f} ({error:.3f}); median capital {np.median(ratio):.2f} F*; "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )


def world(asked: argparse.Namespace) -> np.ndarray:
    """Needs (books, crashes) of every crash of the world, USD."""
    of, paths, began = *small(asked), time.monotonic()
    ran = of.setting.unlimited(paths)
    said(asked, paths, began)
    return ran["adl_required_fund"].reshape(asked.crashes, asked.books).T


def leaning(asked: argparse.Namespace):
    """The crashes of such a world with leaning scales, as a survey sees them, and what each needs."""
    from riskengine.app import rare
    from riskengine.montecarlo.importance import CAREFUL, Surveyed

    of, paths, began = *small(asked), time.monotonic()
    parts = (of.setting.books, of.setting.venue, of.setting.scenario, of.setting.simulation)
    rarest = min(exceed for exceed, _ in WEIGHTED)
    surveyed = Surveyed.of(of.key, *parts, paths, rarest, CAREFUL)
    ran = of.setting.unlimited(paths, scale=surveyed.scale)
    said(asked, paths, began)
    return surveyed, rare.usable(ran, "adl_required_fund")


def small(asked: argparse.Namespace):
    """The study of a world, and its paths."""
    _, of = question(
        "experiment=small", f"venue={asked.venue}", "book.markets=[BTC]", "book.accounts=60",
        f"book.books={asked.books}", "simulation.grid=[{duration_min: 20, dt_s: 40}]",
    )  # fmt: skip
    return of, np.arange(asked.books * asked.crashes)


def said(asked: argparse.Namespace, paths: np.ndarray, began: float) -> None:
    seconds = time.monotonic() - began
    print(
        f"the world: {asked.venue}, {len(paths)} paths on {asked.books} books, {seconds:.0f} s",
        flush=True,
    )


def drawn(need: np.ndarray, random: np.random.Generator, books: int, crashes: int):
    """Some crashes of some books, as a look sees them."""
    from riskengine.calibration.frontier import Needs
    from riskengine.montecarlo.estimators import Sample

    rows = random.integers(len(need), size=books)
    columns = np.stack([random.permutation(need.shape[1])[:crashes] for _ in rows])
    seen = need[rows[:, None], columns].ravel()
    return Needs(seen, seen, seen, Sample(np.repeat(np.arange(books), crashes)))


def chosen(surveyed, need: np.ndarray, random: np.random.Generator, exceed: float, paths: int):
    """A look's survey of drawn books and crashes, its prediction and its choice."""
    from riskengine.app import rare_capital, validate_design
    from riskengine.montecarlo import importance, keys
    from riskengine.montecarlo.importance import CAREFUL, Aim, Surveyed

    size, books = rare_capital.SURVEYED * paths, paths // validate_design.OF_A_BOOK
    world = int(surveyed.book.max()) + 1
    mine = random.integers(world, size=books)[np.arange(size) % books]
    rows = mine + world * random.integers(len(need) // world, size=size)
    place = np.arange(size)
    survey = Surveyed(
        place, place % books, surveyed.scale[rows], surveyed.weight[rows], surveyed.seen.some(rows)
    )
    found = importance.run(
        keys.root(int(random.integers(2**31))), survey, lambda path, _: {"adl": need[rows[path]]},
        [Aim("adl", exceed)], int(rare_capital.PILOT * paths), paths, looks=1,
        trust=CAREFUL,
    )  # fmt: skip
    return found.weighted("adl")


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
    {"coverage": coverage, "weighted": weighted, "books": books, "search": search}[given.what](
        given
    )
