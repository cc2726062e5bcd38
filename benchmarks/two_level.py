"""Grouped books and the two-level estimator against the full book on the same paths.

    python benchmarks/two_level.py [yardstick|hyperliquid [paths [accounts]]]

Every path runs on the book itself, which is the truth here, and on books of K super-accounts. Prints
JSON lines: how the error falls with K, and whether distributions differ (Kolmogorov and Smirnov);
then, with one K, what the two levels cost at equal variance and whether they are right, for
P(need > F) at four levels, for F* and for means; and what they say of twenty times as many paths, of
which few run in full. Work is in steps of positions; CPU seconds stand beside it. Without arguments
both venues, in sizes that take some ten minutes on two cores.
"""

import dataclasses
import functools
import json
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

GROUPS = (128, 256, 512, 1024, 2048)
USED = 512  # super-accounts of the two levels
LEVELS = (0.1, 0.05, 0.02, 0.01)
CHOICES = 200  # of full runs
MANY, RESAMPLES = 100_000, 40  # paths of an F*, and how many F*
MORE = 20  # times as many paths, of which few run in full
OUTLOOK = 0.05  # what is asked of them
MEANS = ("liquidated_long", "fees", "takeover", "bad_debt", "deleveraged_long", "adl_loss_mark")
SIZES = {"yardstick": (1024, 100_000), "hyperliquid": (320, 20_000)}
FLOOR = 0.003  # as the default of 6e5 paths at 1 %; here it is set, as fewer paths run


@dataclass(frozen=True)
class Case:
    """A book with everything that its paths need, with unlimited capital."""

    key: object
    holdings: tuple
    books: object
    specs: tuple  # venue, scenario, simulation
    need: str  # whose levels are asked about

    @property
    def markets(self) -> int:
        return self.books.layout.number_of_markets


def yardstick_case(accounts: int, paths: int) -> Case:
    """One market; sizes Pareto 1.5, leverage lognormal; moves of a day with one cluster of jumps."""
    import yardstick

    from riskengine.montecarlo import keys

    rng, steps = np.random.default_rng(0), 64
    numbers = SimpleNamespace(
        depth=0.05, kappa=0.04, impact=0.005, fund0=0.005, mmr=0.005, fee=0.002, close=0.5
    )
    size = np.minimum(rng.pareto(1.5, (2, accounts // 2)) + 0.02, 100.0)
    size = (size / size.sum(1, keepdims=True) * [[1.0], [-1.0]]).ravel()
    leverage = np.clip(np.exp(rng.normal(np.log(4.0), 0.8, size.size)), 1.1, 40.0)
    entry = np.exp(rng.normal(0.0, 0.06, size.size))
    book = SimpleNamespace(q=size, cash=np.abs(size) / leverage, entry=entry)
    jump = 0.15 * rng.beta(1.5, 1.5, paths) * np.where(rng.random(paths) < 0.8, -1.0, 1.0)
    long = np.maximum(steps * rng.uniform(0.05, 0.25, paths), 1.0).astype(int)
    first = (rng.random(paths) * (steps - long)).astype(int)
    place = np.arange(steps) - first[:, None]
    during = (place >= 0) & (place < long[:, None])
    moves = rng.normal(0.0, 0.02 / np.sqrt(steps), (paths, steps)) + during * (jump / long)[:, None]
    books, venue, scenario, grid = yardstick.specs(numbers, book, moves)
    specs = (_unlimited(venue), scenario, grid)
    return Case(keys.root(3), (yardstick.holdings(book),), books, specs, "required_fund")


def hyperliquid_case(accounts: int, paths: int) -> Case:
    """Four synthetic books of the preset's population in four markets, and its default crash."""
    from riskengine.app import build, configure

    config = configure.load(["venue=hyperliquid", f"book.accounts={accounts}", "book.books=4"])
    q = build.build(config)
    specs = (_unlimited(q.venue), q.scenario, q.simulation)
    return Case(q.key, tuple(q.opened.holdings), q.books, specs, "adl_required_fund")


CASES = {"yardstick": yardstick_case, "hyperliquid": hyperliquid_case}


def _unlimited(venue):
    import jax.numpy as jnp

    return dataclasses.replace(venue, capital=jnp.asarray(np.inf))


def grouped(case: Case, accounts: int):
    """The case's books in about so many super-accounts each."""
    from riskengine.specs import book, grouping

    merged = [grouping.grouped(h, case.specs[0], accounts).holdings for h in case.holdings]
    return book.pack(merged, case.markets)[0]


def run(case: Case, books, paths: int, batch: int) -> tuple:
    """Results of the first paths, and CPU seconds per path once the program is compiled."""
    from riskengine.montecarlo.simulate import simulate

    simulate(case.key, books, *case.specs, np.arange(len(case.holdings)), batch=batch)
    began = time.process_time()
    found = simulate(case.key, books, *case.specs, np.arange(paths), batch=batch)
    return found, (time.process_time() - began) / paths


def say(**facts) -> None:
    rounded = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in facts.items()}
    print(json.dumps(rounded), flush=True)


def convergence(case: Case, full, cheap: dict) -> None:
    """Bias and mean absolute error against K, of the need where it is finite and of means."""
    from riskengine.montecarlo import estimators

    need = full[case.need]
    for groups, (found, positions, cpu) in cheap.items():
        both = np.isfinite(need) & np.isfinite(found[case.need])
        facts = dict(table="convergence", groups=groups, positions=positions, cpu_ms=1e3 * cpu)
        for name in (case.need, "liquidated_long", "deleveraged_long"):
            error, scale = (found[name] - full[name])[both], full[name][both].std()
            facts |= {f"{name}_bias_sd": error.mean() / scale}
            facts |= {f"{name}_error_sd": np.abs(error).mean() / scale}
        at = estimators.upper(need, LEVELS[-1])
        facts["p_error"] = float(np.mean(found[case.need] > at) - np.mean(need > at))
        say(**facts)


def distributions(case: Case, full, cheap: dict) -> None:
    """Kolmogorov and Smirnov: paths in full against other paths on groups, of the same books."""
    from scipy import stats

    second = np.arange(len(full.path)) // len(case.holdings) % 2 == 1
    for groups, (found, _, _) in cheap.items():
        facts = dict(table="distributions", groups=groups, paths=int((~second).sum()))
        for name in (case.need, *MEANS):
            test = stats.ks_2samp(full[name][~second], found[name][second])
            facts |= {f"{name}_ks": float(test.statistic), f"{name}_p": float(test.pvalue)}
        say(**facts)


def choices(full, cheap, chance):
    """The two levels under many choices of full runs, all of which are known here."""
    from riskengine.montecarlo.two_level import TwoLevel

    rng = np.random.default_rng(1)
    for _ in range(CHOICES):
        rows = np.flatnonzero(rng.random(len(chance)) < chance)
        yield TwoLevel(cheap, full.some(rows), chance, random_books=False)


def compare(case: Case, full, cheap, cost: float) -> None:
    """Gain at equal variance and z-score, for indicators, F* and means, at each level by itself."""
    from riskengine.montecarlo import estimators, two_level
    from riskengine.montecarlo.two_level import Choice

    need = full[case.need]
    rng = np.random.default_rng(2)
    for exceed in LEVELS:
        capital = estimators.upper(need, exceed)
        if not np.isfinite(capital):
            say(table="two_levels", exceed=exceed, note="no capital is enough")
            continue
        choice = Choice(need=case.need, exceed=(exceed,), floor=FLOOR)
        chance = two_level.chances(cheap[case.need], choice)
        work = cost + float(chance.mean())
        event = two_level.exceeds(case.need, capital)
        p = np.asarray([t.values(event).mean() for t in choices(full, cheap, chance)])
        plain_target, target = _many(need, cheap[case.need], exceed, rng)
        hit = need > capital
        differs = hit != (cheap[case.need] > capital)
        plain = hit.mean() * (1.0 - hit.mean())
        noise = float(np.mean((1.0 - chance) / chance * differs))
        spread = plain_target.var(), (target - plain_target).var()
        say(
            table="two_levels", exceed=exceed, work=work, full_runs=float(chance.mean()),
            differ=float(differs.mean()), p_bias=float(np.mean(cheap[case.need] > capital) - hit.mean()),
            p_gain=plain / max(plain + noise, 1e-300) / work, p_z=_z(p, hit.mean()),
            target=capital, target_gain=spread[0] / (spread[0] + spread[1]) / work,
            target_z=_z(target - plain_target, 0.0),
        )  # fmt: skip
    means = [m for m in MEANS if np.ptp(full[m]) > 0]
    drawn = list(choices(full, cheap, chance))
    for name in means:
        number = functools.partial(_metric, name)
        error = full[name] - cheap[name]
        noise, plain = float(np.mean((1.0 - chance) / chance * error**2)), full[name].var()
        say(
            table="means", name=name, bias_sd=-error.mean() / full[name].std(), work=work,
            gain=plain / (plain + noise) / work,
            z=_z(np.asarray([t.values(number).mean() for t in drawn]), full[name].mean()),
        )  # fmt: skip


def _many(need, cheap, exceed: float, rng) -> tuple:
    """F* of `MANY` paths in full and by two levels, again and again.

    Paths are drawn from those that ran, both needs of each times one lognormal factor of 3 %. (Of a
    few hundred paths a floor that is made for many would give one full run more weight than ε.)
    """
    from riskengine.montecarlo import estimators, two_level

    found = []
    for _ in range(RESAMPLES):
        rows = rng.integers(len(need), size=MANY)
        factor = np.exp(0.03 * rng.standard_normal(MANY))
        x, g = need[rows] * factor, cheap[rows] * factor
        chance = two_level.chances(g, two_level.Choice(need="x", exceed=(exceed,), floor=FLOOR))
        ran = np.flatnonzero(rng.random(MANY) < chance)
        two = two_level.TwoLevel(_results(np.arange(MANY), g), _results(ran, x[ran]), chance)
        found.append((estimators.upper(x, exceed), two_level.target(two, "x", exceed)))
    full, both = np.asarray(found).T
    return full, both


def _results(path, x):
    """Results with this number alone."""
    from riskengine.montecarlo.simulate import Results

    hits = {"row": np.zeros(0, int)}
    return Results(path, np.zeros_like(path), {"x": x}, hits, np.zeros((1, 1), int), 0.0, 1, 1)


def _metric(name: str, results):
    return results[name]


def _z(found: np.ndarray, truth: float) -> float | None:
    """Mean error of the choices in its standard errors; None where they do not differ."""
    error, spread = found.mean() - truth, found.std(ddof=1) / np.sqrt(len(found))
    return float(error / spread) if spread > 1e-12 * abs(truth) else None


def outlook(case: Case, paths: int, cost: float) -> None:
    """The estimates of many paths, of which few run in full, with their intervals and the gain."""
    from riskengine.montecarlo import two_level
    from riskengine.montecarlo.two_level import Choice

    choice = Choice(need=case.need, exceed=(OUTLOOK,))
    began = time.process_time()
    two = two_level.run(
        case.key, case.books, grouped(case, USED), *case.specs, np.arange(paths), choice,
        random_books=False, batches=(16, 1),
    )  # fmt: skip
    cpu = time.process_time() - began
    target = two_level.fund_target("fund_target", two, case.need, OUTLOOK)
    facts = dict(paths=paths, full_runs=len(two.full), cpu_seconds=cpu)
    for e in (target, two_level.bias("bias", two, functools.partial(_metric, "fees"), "USD")):
        say(
            table="outlook",
            **facts,
            name=e.name,
            value=e.value,
            low=e.low,
            high=e.high,
            note=e.note,
        )
    if target.value is None:
        return
    event = two_level.exceeds(case.need, target.value)
    p, gain = two_level.proportion("p", two, event), two_level.efficiency(two, event, cost)
    say(table="outlook", **facts, name=p.name, value=p.value, low=p.low, high=p.high, note=p.note,
        work=gain.work, gain=gain.gain)  # fmt: skip


def study(name: str, paths: int, accounts: int) -> None:
    case = CASES[name](accounts, MORE * paths)
    layout = case.books.layout
    say(venue=name, accounts=layout.number_of_accounts, positions=layout.number_of_positions,
        markets=case.markets, steps=int(case.specs[2].dt.shape[0]), paths=paths)  # fmt: skip
    cheap = {}
    for groups in GROUPS:
        books = grouped(case, groups)
        results, cpu = run(case, books, paths, 16)
        cheap[groups] = (results, books.layout.number_of_positions, cpu)
    full, cpu = run(case, case.books, paths, 1)
    say(table="full", cpu_ms=1e3 * cpu)
    convergence(case, full, cheap)
    distributions(case, full, cheap)
    cost = cheap[USED][1] / layout.number_of_positions
    say(table="cost", groups=USED, share_of_positions=cost, share_of_cpu=cheap[USED][2] / cpu)
    compare(case, full, cheap[USED][0], cost)
    outlook(case, MORE * paths, cost)


def main() -> None:
    from riskengine.app import configure, device
    from riskengine.types import use_double

    device.prepare(configure.load([]).simulation)
    use_double()
    names = sys.argv[1:2] or list(CASES)
    for name in names:
        paths, accounts = (*map(int, sys.argv[2:]), *SIZES[name][len(sys.argv[2:]) :])
        study(name, paths, accounts)


if __name__ == "__main__":
    main()
