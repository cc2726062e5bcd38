"""Estimators of sensitivities against large differences on common random numbers.

    python benchmarks/sensitivity.py [--paths N] [--reference N] [--out FILE] [DESIGN ...] [--reverse DESIGN]

For every design, lever and measure: value and standard error of every estimator, its bias against
the central difference of many other paths at two step sizes, and what it costs in simulations of
its own paths. Books are given, so that errors are those of the paths alone. Designs are named in
`DESIGNS`; the tables of docs/sensitivity.md are what this wrote.
"""

import argparse
import csv
import dataclasses
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SIZES = (
    "book.accounts=150", "book.books=8", "design.response=0.5",
    "simulation.grid=[{duration_min: 20, dt_s: 20}, {duration_min: 20, dt_s: 60}]",
)  # fmt: skip
DESIGNS = {  # overrides, and the fund as a probability of an intervention where it is one
    "hyperliquid": (("venue=hyperliquid",), None),
    "hyperliquid_target": (("venue=hyperliquid",), 0.01),
    "binance": (("venue=binance",), None),
    "yardstick": (("venue=yardstick",), None),
}
ELSEWHERE = 2**20  # ids of the reference's paths
SCALES = 8  # of every crash, for the conditional estimator
NOISE = 0.05  # sd of common noise, in factors (fees: of their step)
GROUP = 32  # paths of one vector of common noise
INTRO = """\
# Estimators of sensitivities: the evidence

<!-- Made by benchmarks/sensitivity.py; docs/sensitivity.md says what is seen here. -->

The effect of one step of a lever by every estimator, and its bias against the central difference on
common random numbers of other paths of the same books, with steps of 10 % and of 5 % (rescaled).
Errors are those of the paths: books are given. *Agrees*: within 10 % or two standard errors (of both)
of the reference at one of the two steps, and not of the other sign where the reference has one; an
effect below a ten-thousandth of the measure counts as none. *Cost*: simulations of the estimator's
paths; where all levers run at once, its share. *Work for the same accuracy*: variance times cost, in
that of plain differences; medians over levers and measures.
"""
LEVEL = "as things are"
SMALL = 1e-4  # of a measure: less is no effect
REVERSED = 64  # paths of the derivative in reverse mode


@dataclass(frozen=True)
class Row:
    """One estimator of the effect of one step."""

    lever: str
    measure: str
    estimator: str
    value: float
    error: float
    cost: float  # simulations of the estimator's paths; all levers at once: shared among them


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--paths", type=int, default=2048)
    asked.add_argument("--reference", type=int, default=4096)
    asked.add_argument("--out", default="sensitivity_evidence.csv")
    asked.add_argument("--reverse", nargs="*", default=[], help="designs; it compiles for minutes")
    asked.add_argument("--references", help="take them from this file of an earlier run")
    asked.add_argument("designs", nargs="*", default=list(DESIGNS)[:3])
    chosen = asked.parse_args()
    with open(chosen.out, "w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(
            ["design", "lever", "measure", "estimator", "value", "error", "cost", "reference",
             "reference_error", "reference_half", "reference_half_error"]
        )  # fmt: skip
        for name in chosen.designs:
            for row in design(name, chosen):
                writer.writerow(row)
            text.flush()
    print(report(chosen.out))


def design(name: str, chosen) -> Iterator[list]:
    """All estimators of a design, each beside its references."""
    from riskengine.app import build, configure, device, study
    from riskengine.calibration import moves, sensitivity

    overrides, exceed = DESIGNS[name]
    config = configure.load([*overrides, *SIZES])
    device.prepare(config.simulation)
    question = build.build(config)
    began = time.monotonic()
    setting = question.setting
    if exceed is not None:
        needs = setting.unlimited(ELSEWHERE + np.arange(chosen.reference))["adl_required_fund"]
        fund = float(np.quantile(needs, 1 - exceed))
        setting = dataclasses.replace(setting, venue=build.with_fund(question, fund).venue)
    case = sensitivity.Case(
        setting, chosen.paths // 4, 0.01, study.may_bind_early(question.venue), 0.95, False
    )
    levers = moves.moves(setting, (0.5,))
    halves = moves.moves(setting, (0.5,), 0.5)
    known = earlier(chosen.references, name)
    if known is not None:
        reference, half = known
    else:
        wide = dataclasses.replace(case, fund_paths=chosen.reference // 2)
        far = ELSEWHERE + np.arange(chosen.reference)
        reference = dict(differences(wide, far, levers, 1.0))
        print(f"{name}: reference, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        half = dict(differences(wide, far, halves, 0.5))
        print(f"{name}: half steps, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    for row in estimators_of(case, np.arange(chosen.paths), levers, name in chosen.reverse):
        key = row.lever, row.measure
        yield [
            name, *dataclasses.astuple(row), *reference.get(key, (math.nan,) * 2),
            *half.get(key, (math.nan,) * 2),
        ]  # fmt: skip
    print(f"{name}: done, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def earlier(path: str | None, name: str) -> tuple[dict, dict] | None:
    """The references of a design in a file of an earlier run with the same sizes."""
    if path is None:
        return None
    with open(path, newline="") as text:
        rows = [row for row in csv.DictReader(text) if row["design"] == name]
    found = [
        {(r["lever"], r["measure"]): (float(r[kind]), float(r[f"{kind}_error"])) for r in rows}
        for kind in ("reference", "reference_half")
    ]
    return (found[0], found[1]) if rows else None


def as_is(case, paths):
    """The paths as things are, without a limit and at three funds."""
    from riskengine.calibration import sensitivity

    free = case.setting.unlimited(paths)
    steps = sensitivity.fund_steps(case, free)
    counts = {f: case.fund_paths for f in (case.capital, *steps) if not math.isnan(f)}
    funds = case.setting.at_funds(free, counts)
    return sensitivity.base(case, free, funds.pop(case.capital)), funds


def moved_sides(case, at, levers):
    """Every lever with its sides, all paths run; without a limit once for all funds of a venue."""
    for move in levers:
        runs = [
            None if by is None else run(case, at, move, by, place)
            for place, by in enumerate((move.down, move.up))
        ]
        yield move, runs


def run(case, at, move, by, place):
    """The paths without a limit, and the first of them at the fund."""
    from riskengine.calibration import levers

    moved, paths = levers.moved(case.setting, by, move.response), at.free.cheap.path
    key = (tuple(case.setting.venue.stages), move.name, move.step, place, int(paths[0]))
    if key not in KNOWN:
        KNOWN[key] = moved.unlimited(paths)
    (fund,) = moved.at_funds(KNOWN[key], {case.capital: case.fund_paths}).values()
    return KNOWN[key], fund


KNOWN: dict = {}  # runs without a limit, which do not depend on the fund


def differences(case, paths, levers, step: float):
    """The reference: plain differences, per whole step, with their standard errors."""
    from riskengine.calibration import sensitivity
    from riskengine.calibration.moves import Move

    at, _ = as_is(case, paths)
    sure = np.ones(len(paths))
    steps = sensitivity.fund_steps(case, at.free.cheap, step)
    counts = {f: case.fund_paths for f in steps if not math.isnan(f)}
    funds = case.setting.at_funds(at.free.cheap, counts)
    sides = [
        dataclasses.replace(
            at, fund=sensitivity.base(case, at.free.cheap, funds[f]).fund, capital=f
        )
        for f in steps
    ]
    for measure, value, error in plain(case, at, Move("fund", "", ""), sides):
        yield ("fund", measure), (value / step, error / step)
    for move, runs in moved_sides(case, at, levers):
        ends = [None if r is None else sensitivity.side(at, sure, *r) for r in runs]
        for measure, value, error in plain(case, at, move, ends):
            yield (move.name, measure), (value / step, error / step)


def plain(case, at, move, sides):
    """Differences of what was counted: no smoothing but for the target's standard error."""
    from riskengine.calibration import sensitivity, target

    if tuple(sides) == (None, None):
        return
    for measure in sensitivity.measures(case):
        if measure == "fund_target":
            if move.name == "fund":
                continue
            low, high = (at if s is None else s for s in sides)
            need = [s.free.values(lambda r: r["adl_required_fund"]) for s in (high, low)]
            found = target.difference("", need[0], need[1], case.exceed, at.free.sample)
            if found.value is None or found.low is None or found.high is None:
                continue
            times = 1.0 if None in sides else 0.5
            yield measure, times * found.value, times * (found.high - found.low) / 3.92
            continue
        of = sensitivity.Measured(case, at, 0.0)
        yield from one(of, at, move, sides, measure)


def one(of, at, move, sides, measure, score=None):
    """The effect of one step with this way of measuring."""
    from riskengine.calibration import sensitivity

    found = sensitivity.effect(move, measure, of, at, sides, score)
    sample = at.fund.sample if measure in sensitivity.AT_FUND else at.free.sample
    if of.case.early and measure == "depletion_probability":
        sample = at.fund.sample
    if found.step.value is not None:
        yield measure, found.step.value, sensitivity.standard_error(found.step, sample)


def estimators_of(case, paths, levers, reverse: bool) -> Iterator[Row]:
    """Everything that the estimators say."""
    from riskengine.calibration import likelihood as likelihood_
    from riskengine.calibration import sensitivity
    from riskengine.calibration.moves import Move
    from riskengine.calibration.smoothing import BANDWIDTH

    at, funds = as_is(case, paths)
    n = len(paths)
    sides = sum(by is not None for move in levers for by in (move.down, move.up))
    chance = sensitivity.chances(case, at, sides)
    rows = sensitivity.chosen(case.setting.key, at.free.cheap.path, chance)
    ends = sensitivity.fund_sides(case, at, funds)
    move = Move("fund", "", "")
    for measure in sensitivity.measures(case):
        level = sensitivity.Measured(case, at, 0.0 if measure != "fund_target" else BANDWIDTH)
        found = level(measure, at)
        if found is not None:
            yield Row("", measure, LEVEL, found.value, math.nan, math.nan)
    for measure, value, error in plain(case, at, move, ends):
        yield Row("fund", measure, "difference", value, error, sum(map(len, funds.values())) / n)
    smooth = sensitivity.Measured(case, at, BANDWIDTH)
    for measure in ("adl_probability", "depletion_probability"):
        for name, value, error in one(smooth, at, move, ends, measure):
            yield Row("fund", name, "kernel", value, error, 0.0)
    slope = sensitivity.slope_of_excess_draw(case, at)
    step = 0.1 * case.capital
    if slope.value is not None and slope.high is not None:
        error = step * (slope.high - slope.value) / at.free.sample.quantile(True)
        yield Row("fund", "excess_draw", "identity", step * slope.value, error, 0.0)
    sure, scores = np.ones(n), likelihood_.of_paths(case.setting, at.free.cheap.path)
    for move, runs in moved_sides(case, at, levers):
        if runs == [None, None]:
            continue
        whole = [None if r is None else sensitivity.side(at, sure, *r) for r in runs]
        some = [
            None if r is None else sensitivity.side(
                at, chance, r[0].some(rows), r[1].some(np.flatnonzero(np.isin(r[1].path, paths[rows])))
            )
            for r in runs
        ]  # fmt: skip
        cost = sum(s.ran for s in whole if s) / n
        part = sum(s.ran for s in some if s) / n
        for measure, value, error in plain(case, at, move, whole):
            yield Row(move.name, measure, "difference", value, error, cost)
        for measure in sensitivity.measures(case):
            for name, value, error in one(smooth, at, move, whole, measure):
                if measure in sensitivity.SMOOTHED:
                    yield Row(move.name, name, "smoothed", value, error, cost)
            for name, value, error in one(smooth, at, move, some, measure):
                yield Row(move.name, name, "smoothed, chosen paths", value, error, part)
            if move.name in scores:
                for name, value, error in one(smooth, at, move, some, measure, scores[move.name]):
                    yield Row(
                        move.name, name, "chosen paths with likelihood ratio", value, error, part
                    )
    yield from likelihood(case, at)
    yield from noise(case, at, levers, paths)
    yield from conditional(case, paths, levers)
    if reverse:
        yield from backwards(case, paths)


def outcomes(case, at):
    """What every path adds to each mean, and their samples; the target by its influence."""
    from riskengine.calibration import sensitivity
    from riskengine.calibration.smoothing import BANDWIDTH

    of = sensitivity.Measured(case, at, BANDWIDTH)
    for measure in sensitivity.measures(case):
        found = of(measure, at)
        if found is not None:
            yield measure, found.influence, found.sample


def likelihood(case, at) -> Iterator[Row]:
    """Depth and volatility by the densities of the numbers that they shift."""
    from riskengine.calibration import likelihood as likelihoods

    scores = likelihoods.of_paths(case.setting, at.free.cheap.path)
    for lever, score in scores.items():
        for measure, each, sample in outcomes(case, at):
            found = likelihoods.by_score(each, score[: len(each)], sample)
            yield Row(lever, measure, "likelihood ratio", 0.1 * found.value, 0.1 * found.error, 0.0)


def joint(setting, levers, shift):
    """All levers moved at once by a vector of factors."""
    import jax.numpy as jnp

    from riskengine.calibration import levers as levers_

    still = levers_.still(setting.venue)
    total = {f.name: np.asarray(getattr(still, f.name), float) for f in dataclasses.fields(still)}
    for move, by in zip(levers, shift, strict=True):
        for name in total:
            to = np.asarray(getattr(move.up, name), float) - np.asarray(getattr(still, name), float)
            total[name] = total[name] + to * by / 0.1  # `up` is a step, of which 0.1 is the unit
    # a fee below nothing is none
    total["fee"] = np.maximum(total["fee"], -float(setting.venue.liquidation.fee))
    by = levers_.Levers(**{name: jnp.asarray(x) for name, x in total.items()})
    return levers_.moved(setting, by, 0.5)


def noise(case, at, levers, paths) -> Iterator[Row]:
    """Common noise on all levers that can be moved to both sides."""
    from riskengine.calibration import alternatives

    setting, books = case.setting, case.setting.number_of_books
    both = [m for m in levers if m.up is not None and m.down is not None]
    kept: dict = {}

    def outcome(measure):
        def of(some, shift):
            key = (int(some[0]), tuple(np.round(shift, 12)))
            if key not in kept:
                kept[key] = joint(setting, both, shift).unlimited(some)
            free = kept[key]
            if measure == "adl_probability":
                return free["adl_required_fund"] > case.capital
            if measure == "depletion_probability":
                return free["required_fund"] > case.capital
            return np.maximum(free["required_fund"] - case.capital, 0.0)

        return of

    groups = [
        mine[first : first + GROUP]
        for mine in (paths[paths % books == b] for b in range(books))
        for first in range(0, len(mine), GROUP)
    ]
    for measure in ("adl_probability", "depletion_probability", "excess_draw"):
        if case.early and measure == "depletion_probability":
            continue
        value, error = alternatives.common_noise(
            outcome(measure), groups, len(both), NOISE, np.random.default_rng(0)
        )
        for place, move in enumerate(both):
            step = 0.1 * value[place], 0.1 * error[place]
            yield Row(move.name, measure, "common noise", *step, 2.0 / len(both))


def conditional(case, paths, levers) -> Iterator[Row]:
    """Differences conditional on all but the scale of the crash."""
    from riskengine.calibration import alternatives
    from riskengine.calibration import levers as levers_
    from riskengine.calibration import likelihood as likelihood_
    from riskengine.montecarlo.estimators import Sample

    setting, books = case.setting, case.setting.number_of_books
    if not hasattr(setting.scenario.law, "scale_table"):
        return
    crashes = paths[: len(paths) // SCALES // books * books]
    uniform = alternatives.levels_of_scale(SCALES)
    sample = Sample(crashes % books, 0.95, False)

    def above(moved, need):
        results = moved.unlimited(np.repeat(crashes, SCALES), scale=np.tile(uniform, len(crashes)))
        table = np.asarray(moved.scenario.law.scale_table)
        return {
            measure: alternatives.conditional_above(
                results[name].reshape(len(crashes), SCALES), uniform, table, case.capital
            )
            for measure, name in need.items()
        }

    need = {"adl_probability": "adl_required_fund", "depletion_probability": "required_fund"}
    if case.early:
        del need["depletion_probability"]
    for move in levers:
        if move.name not in ("maintenance", "depth", "volatility"):
            continue
        down, up = (
            above(levers_.moved(setting, by, move.response), need) for by in (move.down, move.up)
        )
        for measure in need:
            found = likelihood_.Derivative.of(0.5 * (up[measure] - down[measure]), sample)
            cost = 2.0 * len(crashes) * SCALES / len(paths)
            yield Row(move.name, measure, "conditional on the rest", found.value, found.error, cost)


def backwards(case, paths) -> Iterator[Row]:
    """Plain reverse mode, which leaves out the triggers: the counter-example."""
    from riskengine.montecarlo import gradients

    setting = case.setting
    names = ("maintenance", "depth", "volatility", "capital")
    began = time.monotonic()
    found = gradients.gradient(
        setting.key, setting.books, setting.venue, setting.scenario, setting.simulation,
        paths[:REVERSED], "excess_draw", names, through_triggers="ignored", batch=4,
    )  # fmt: skip
    print(f"reverse mode, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    for name in names:
        value, error = found.mean(name)
        lever = "fund" if name == "capital" else name
        yield Row(lever, "excess_draw", "reverse mode", 0.1 * value, 0.1 * error, math.nan)


# The table


def report(path: str) -> str:
    """Markdown: what the command's estimator says, which one is best, and everything."""
    with open(path, newline="") as text:
        rows = [_numbers(row) for row in csv.DictReader(text)]
    names = dict.fromkeys(row["design"] for row in rows)
    lines = [INTRO, "## Which estimator is best", "", *summary(rows), ""]
    for name in names:
        mine = [row for row in rows if row["design"] == name]
        lines += [f"## Design `{name}`", "", *table(mine), ""]
    return "\n".join(lines)


def _numbers(row: dict) -> dict:
    words = ("design", "lever", "measure", "estimator")
    return {k: v if k in words else float(v) for k, v in row.items()}


def summary(rows: list[dict]) -> list[str]:
    """Work for the same accuracy, in that of plain differences, and how often each agrees."""
    plain = {
        (r["design"], r["lever"], r["measure"]): r for r in rows if r["estimator"] == "difference"
    }
    lines = [
        "| estimator | agrees with the reference | variance, of that of differences | "
        "work for the same accuracy |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name in dict.fromkeys(r["estimator"] for r in rows if r["estimator"] != LEVEL):
        mine = [r for r in rows if r["estimator"] == name]
        told = [r for r in mine if not math.isnan(r["reference"])]
        both = [(r, plain.get((r["design"], r["lever"], r["measure"]))) for r in told]
        pairs = [(r, p) for r, p in both if p and r["error"] > 0 and p["error"] > 0]
        variance = [(r["error"] / p["error"]) ** 2 for r, p in pairs]
        work = [v * r["cost"] / p["cost"] for v, (r, p) in zip(variance, pairs, strict=True)]
        cells = [
            f"{_median(variance):.2g}" if variance else "–",
            f"{_median(work):.2g}" if work else "–",
        ]
        agreed = sum(agrees(r, rows) for r in told)
        lines.append(f"| {name} | {agreed} of {len(told)} | {' | '.join(cells)} |")
    return lines


def _median(values: list[float]) -> float:
    return float(np.median(values))


def table(rows: list[dict]) -> list[str]:
    """Every estimator of a design beside its references."""
    lines = [
        "| measure | lever | estimator | value (s.e.) | bias at h (s.e.) | bias at h/2 (s.e.) | "
        "agrees | cost |",
        "| --- | --- | --- | ---: | ---: | ---: | --- | ---: |",
    ]
    order = sorted(
        (r for r in rows if r["estimator"] != LEVEL),
        key=lambda r: (list(MEASURES).index(r["measure"]), r["lever"]),
    )
    for r in order:
        words, unit = MEASURES[r["measure"]]
        bias = [_bias(r, kind, unit) for kind in ("reference", "reference_half")]
        said = "–" if math.isnan(r["reference"]) else "yes" if agrees(r, rows) else "**no**"
        value, error = r["value"] / unit, r["error"] / unit
        cost = "–" if math.isnan(r["cost"]) else f"{r['cost']:.2g}"
        lines.append(
            f"| {words} | {r['lever']} | {r['estimator']} | {value:.3g} ({error:.2g}) | {bias[0]} | "
            f"{bias[1]} | {said} | {cost} |"
        )
    return lines


def agrees(r: dict, rows: list[dict]) -> bool:
    """Within 10 % or two standard errors of either reference, and not of the other sign."""
    level = next(
        (x["value"] for x in rows
         if x["estimator"] == LEVEL and (x["design"], x["measure"]) == (r["design"], r["measure"])),
        0.0,
    )  # fmt: skip
    found = []
    for kind in ("reference", "reference_half"):
        reference, other = r[kind], r[f"{kind}_error"]
        apart = abs(r["value"] - reference)
        near = apart <= max(0.1 * abs(reference), 2.0 * math.hypot(r["error"], other))
        signed = r["value"] * reference > 0 or abs(reference) <= 2.0 * other
        found.append((near and signed) or apart <= SMALL * abs(level))
    return any(found)


def _bias(r: dict, kind: str, unit: float) -> str:
    if math.isnan(r[kind]):
        return "–"
    error = math.hypot(r["error"], r[f"{kind}_error"]) / unit
    return f"{(r['value'] - r[kind]) / unit:+.2g} ({error:.2g})"


MEASURES = {
    "adl_probability": ("P(intervention), points", 0.01),
    "depletion_probability": ("P(dry), points", 0.01),
    "excess_draw": ("need beyond F, k USD", 1e3),
    "fund_target": ("F*(1 %), k USD", 1e3),
    "adl_loss_mark_per_crash": ("ADL loss, k USD", 1e3),
    "expected_haircut": ("haircut, points", 0.01),
}


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--report":
        print(report(sys.argv[2]))
    else:
        main()
