"""How far off groups alone would be, and what the two levels save: told where paths ran on groups."""

import dataclasses

import numpy as np

from riskengine.app.amounts import counted, percent, usd
from riskengine.app.study import Grouped, Study
from riskengine.calibration.target import Target
from riskengine.montecarlo import estimators, two_level
from riskengine.montecarlo.estimators import Estimate
from riskengine.montecarlo.paths import CoupledPaths, Paths
from riskengine.montecarlo.simulate import Results
from riskengine.montecarlo.two_level import Number, TwoLevel

AMOUNTS = ("bad_debt", "fund_draw", "adl_loss_mark")  # mean per crash at the venue's fund


def of_groups(study: Study, every: Paths, found: Target | None) -> list[Estimate]:
    """Bias of the groups, work and gain; nothing where every path ran in full."""
    if study.grouped is None or not isinstance(every, CoupledPaths):
        return []
    two, cost = every.two, study.fidelity.cost
    adl = two_level.exceeds("adl_required_fund", study.capital)
    dry = two_level.exceeds("required_fund", study.capital)
    fund = at_fund(study, study.grouped, two)
    said = [
        two_level.bias("grouping_bias_adl_probability", two, adl, "fraction"),
        two_level.bias("grouping_bias_depletion_probability", two, dry, "fraction"),
        haircut(fund),
        *(two_level.bias(f"grouping_bias_{n}", fund, _column(n), "USD") for n in AMOUNTS),
        work(study, two),
        gain("grouping_gain_probability", two, adl, cost),
    ]
    aim = found.estimate.value if found else None
    if aim is not None:
        event = two_level.exceeds("adl_required_fund", aim)
        said.append(gain("grouping_gain_target", two, event, cost))
    return said


def at_fund(study: Study, runs: Grouped, two: TwoLevel) -> TwoLevel:
    """The first paths at the venue's fund, all of which ran on groups and in full."""
    return dataclasses.replace(
        two, cheap=runs.fund, full=study.fund, chance=np.ones(len(study.fund))
    )


def _column(name: str) -> Number:
    return lambda results: results[name]


def haircut(two: TwoLevel) -> Estimate:
    """E[loss]/E[equity] on groups less that in full, on the same paths.

    Its interval is that of the mean of (l − h e) / E[e] on groups less the same in full: what a path
    adds to either ratio h.
    """
    name, unit = "grouping_bias_expected_haircut", "fraction"
    parts = [_pulls(results) for results in (two.cheap, two.full)]
    if any(part is None for part in parts):
        about = (None, None, None, two.level, two.sample.paths, 0, "two-level bias", unit)
        return Estimate(name, *about, "nobody was hit")
    (cheap, moved), (full, moves) = (part for part in parts if part is not None)
    found = estimators.mean(name, moved - moves, two.sample, unit)
    value = cheap - full
    low, high = (None if x is None else value + x for x in (found.low, found.high))
    return dataclasses.replace(
        found, value=value, low=low, high=high, method="two-level bias",
        note=f"the same {counted(len(two.full), 'path')} on groups and in full",
    )  # fmt: skip


def _pulls(results: Results) -> tuple[float, np.ndarray] | None:
    """The haircut, and what each path adds to it; None where nobody was hit."""
    loss, equity = results["adl_loss_mark"], results["adl_equity"]
    if equity.sum() <= 0.0:
        return None
    h = float(loss.sum() / equity.sum())
    return h, (loss - h * equity) / equity.mean()


def work(study: Study, two: TwoLevel) -> Estimate:
    """Work of all paths without a limit, in that of full ones; positions are counted."""
    n, full, cost = len(two.cheap), len(two.full), study.fidelity.cost
    said = (
        f"{full:,} of {n:,} paths ran in full, and a path on groups is {percent(cost, 2)} of a full "
        "one in positions; the runs at funds, at half the time step and for the report are in full"
    )
    return Estimate(
        "grouping_work", cost + full / n, None, None, two.level, n, full, "count", "fraction", said
    )


def gain(name: str, two: TwoLevel, event: Number, cost: float) -> Estimate:
    """Work of full paths for the variance that the two levels have, over theirs."""
    found, n = two_level.efficiency(two, event, cost), two.sample.paths
    known = np.isfinite(found.gain) and found.plain > 0.0
    said = "at this run's books" if known else "the event is on no path or on all"
    value = found.gain if known else None
    return Estimate(
        name, value, None, None, two.level, n, None, "variance times work", "times", said
    )


def line(study: Study, names: dict[str, Estimate]) -> str | None:
    """What the terminal says of all this."""
    if study.grouped is None:
        return None
    accounts = study.fidelity.record()["accounts"]
    full, done = len(study.grouped.chosen), names["grouping_work"].value or 0.0
    off = "; ".join(
        f"{words} {_signed(names[f'grouping_bias_{name}'])}"
        for name, words in (
            ("adl_probability", "P(intervention)"),
            ("depletion_probability", "P(dry)"),
            ("expected_haircut", "haircut"),
            ("adl_loss_mark", "ADL loss per crash"),
        )
    )
    gained = names["grouping_gain_probability"].value
    times = ""
    if gained is not None:
        times = (
            f", for the accuracy of P(intervention) full paths would take {gained:.2g} times that"
        )
    return (
        f"grouped: {len(study.results):,} paths on {accounts:,} super-accounts, {full:,} of them in "
        f"full too: {percent(done)} of the work of full paths{times}; groups alone are off by {off}"
    )


def _signed(e: Estimate) -> str:
    """A bias with its interval."""
    if e.value is None:
        return "an unknown amount"
    show = usd if e.unit == "USD" else lambda x: percent(x, 2)
    if e.low is None or e.high is None:
        return f"{show(e.value)}"
    return f"{show(e.value)} ({show(e.low)} to {show(e.high)})"
