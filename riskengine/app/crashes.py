"""How large the simulated crashes are, beside those that were seen, and which set the fund target."""

import numpy as np

from riskengine.app import stress
from riskengine.app.amounts import percent
from riskengine.app.config import Config, SeenConfig
from riskengine.app.study import Study
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate, Sample
from riskengine.montecarlo.paths import Paths

SIZES = {"median": 0.5, "p90": 0.1, "p99": 0.01}  # quantiles, by the probability to exceed them


def sizes(study: Study, config: Config, sample: Sample) -> list[Estimate]:
    """Quantiles of the size of a crash, and the largest; nothing where sizes are chosen."""
    if config.scenario.law == "ladder":
        return []
    signed = stress.crash_size(study.results)
    size = np.abs(signed)
    found = [
        estimators.quantile(f"crash_size_{name}", size, exceed, sample, "fraction")
        for name, exceed in SIZES.items()
    ]
    worst = int(np.argmax(size))
    what = "rise" if signed[worst] > 0 else "fall"
    largest = Estimate(
        "crash_size_largest", float(size[worst]), None, None, sample.level, sample.paths, 1,
        "maximum", "fraction", f"a {what}, path {study.results.path[worst]}",
    )  # fmt: skip
    return [*found, largest]


def seen(config: Config) -> SeenConfig | None:
    """What the law was set to, where it was set to anything."""
    asked = config.scenario
    return asked.seen if asked.law == "crash" and asked.seen.largest_pct is not None else None


def extrapolated(config: Config, exceed: float) -> str:
    """What to say of a probability rarer than what was seen can tell; else nothing."""
    known = seen(config)
    if known is None or known.events is None or exceed * 10 * known.events >= 1.0:
        return ""
    return f"extrapolation: the law was set to {known.events} crashes, one in {1 / exceed:.3g} is asked"


def deciding(study: Study, every: Paths, target: float | None) -> list[Estimate]:
    """The crashes that set the fund target: their size, and how many of them go up."""
    if target is None:
        return []
    most = study.results["adl_required_fund"] >= target
    size, part = stress.crash_size(study.results)[most], every.some(most).sample
    if not len(size):
        return []
    found = (
        estimators.quantile("target_crash_size_median", np.abs(size), 0.5, part, "fraction"),
        estimators.proportion("target_crash_rises", size > 0, part, "fraction"),
    )
    return [e.noted(every.said, last=True) for e in found]


def within_history(study: Study, config: Config, every: Paths) -> list[Estimate]:
    """The fund target of a law without the crashes that are larger than the largest seen."""
    known = seen(config)
    if known is None or known.largest_pct is None:
        return []
    limit = 0.01 * known.largest_pct
    inside = np.abs(stress.crash_size(study.results)) <= limit
    name, exceed = "fund_target_within_history", config.target.adl_probability
    said = f"{inside.sum():,} of {len(inside):,} crashes, none larger than {percent(limit)}"
    if not inside.any():
        about = (None, None, None, every.sample.level, 0, None, "order statistic", "USD", said)
        return [Estimate(name, *about)]
    found = every.some(inside).quantile(name, lambda results: results["adl_required_fund"], exceed)
    return [found.noted(said)]
