"""Events that are too rare for the paths of a run: whether they are sampled by importance, and how well.

`simulation.estimator=importance` surveys many crashes and runs those that matter
(`montecarlo/importance.py`); `auto` does so where the run's paths do not know the target as well as
`simulation.relative_error` asks, and something can be leaned on. What comes of it replaces the
fund targets, and P(event | F) where few paths show the event, unless its own weights say that they
cannot carry it.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from riskengine.app.amounts import percent
from riskengine.app.config import Config
from riskengine.app.study import Sampling, Study
from riskengine.montecarlo import importance
from riskengine.montecarlo.estimators import RARE, Estimate, Values
from riskengine.montecarlo.importance import Aim, Rare, Surveyed
from riskengine.montecarlo.simulate import Results
from riskengine.montecarlo.weighted import WeightedPaths
from riskengine.specs.scenario import Crash

FIRST = 2**30  # ids of surveyed paths begin here: no other path of a run has them
PILOT = 0.25  # of `simulation.rare_paths`
SURVEYED = 40.0 / 3.0  # times as many
SELDOM = 0.05  # above that probability plain paths cost less
SURVEY_COST = 0.012  # of a path (benchmarks/README.md)
TARGETS = {"adl_required_fund": "fund_target", "required_fund": "fund_target_depletion"}
EVENTS = {"adl_required_fund": "adl_probability", "required_fund": "depletion_probability"}
Part = Callable[[Values, Values, int], Results]  # paths, their scales, how many went before


def sampled(study: Study, config: Config, part: Part) -> Sampling:
    """Sample what is rare as the configuration asks; `part` runs paths with given scales."""
    asked, against = config.simulation, _against(study, config)
    if against:
        return Sampling(asked.estimator, against)
    aims, setting, ran = _aims(study, config), study.question.setting, []
    rarest = min(aim.exceed for aim in aims if aim.exceed is not None)
    ids = FIRST + np.arange(math.ceil(SURVEYED * asked.rare_paths))
    surveyed = Surveyed.of(
        setting.key, setting.books, setting.venue, setting.scenario, setting.simulation, ids, rarest
    )

    def needs(paths: Values, scales: Values) -> dict[str, Values]:
        ran.append(part(paths, scales, sum(map(len, ran))))
        return {name: usable(ran[-1], name) for name in TARGETS}

    def enough(rare: Rare) -> bool:
        so_far = Sampling("", "", rare, aims, random_books=study.random_books)
        return all(known(so_far, aim, asked.relative_error) for aim in aims)

    pilot = max(round(PILOT * asked.rare_paths), 1)
    chosen = asked.rare_paths - pilot
    rare = importance.run(setting.key, surveyed, needs, aims, pilot, chosen, enough=enough)
    why = _why(study, config) if asked.estimator == "auto" else "as asked"
    return Sampling(asked.estimator, why, rare, aims, ran, study.random_books)


def usable(results: Results, need: str) -> Values:
    """Needs; infinite on paths whose numbers cannot be used.

    A law with a random scale has crashes, rarer than one in 100,000, in which prices rise ten million
    times, and beside them 16 digits do not carry the ledger. They need more than any fund.
    """
    return np.where(results["flags"] != 0, np.inf, results[need])


def _against(study: Study, config: Config) -> str:
    """Why the run's own paths must do, or do; nothing where they do not."""
    asked, target = config.simulation, config.target
    if asked.estimator == "plain":
        return "as asked"
    if not isinstance(study.question.scenario.law, Crash):
        return f"the law {config.scenario.law} has no random scale to lean on"
    if not study.question.opened.complete:
        return "a partial book has no fund target"
    if study.grouped is not None:
        return "paths ran on grouped accounts (simulation.fidelity)"
    if asked.estimator == "importance":
        return ""
    rarest = min(target.adl_probability, target.depletion_probability)
    if rarest > SELDOM:
        return f"{percent(rarest)} is not rare: above {percent(SELDOM)} plain paths cost less"
    off, n = error_of(rarest, asked.paths), asked.paths
    if off <= asked.relative_error:
        return f"{n:,} paths know {percent(rarest)} to {percent(off, 2)} of itself"
    return ""


def error_of(exceed: float, paths: int) -> float:
    """Relative standard error of a probability ε that n plain paths of given books count."""
    return math.sqrt((1.0 - exceed) / (exceed * paths))


def _why(study: Study, config: Config) -> str:
    """Why `auto` does not leave it to the run's own paths."""
    asked, target = config.simulation, config.target
    rarest = min(target.adl_probability, target.depletion_probability)
    needed = math.ceil((1.0 - rarest) / (rarest * asked.relative_error**2))
    return (
        f"{asked.paths:,} paths know {percent(rarest)} to {percent(error_of(rarest, asked.paths), 2)} "
        f"of itself, {percent(asked.relative_error, 2)} are asked for: that takes {needed:,} plain paths"
    )


def _aims(study: Study, config: Config) -> tuple[Aim, ...]:
    """Both fund targets, and the venue's own fund where few paths need more."""
    target = config.target
    seldom = (target.adl_probability, target.depletion_probability)
    aims = [Aim(need, exceed) for need, exceed in zip(TARGETS, seldom, strict=True)]
    for need in EVENTS:
        needed = study.results[need] > study.capital
        seldom = needed.sum() < FEW and needed.mean() < SELDOM
        if seldom and 0.0 < study.capital < math.inf:
            aims.append(Aim(need, capital=study.capital))
    return tuple(aims)


FEW = 10 * RARE  # paths with an event: fewer do not know its probability to a tenth


def known(sampling: Sampling, aim: Aim, asked: float) -> bool:
    """Whether the paths carry an aim, and know its probability to this relative standard error."""
    paths = sampling.weighted(aim.need, 0.95)
    capital = aim.capital if aim.exceed is None else paths.target(aim.exceed)
    assert capital is not None
    if capital == math.inf:
        return True  # no more paths will tell
    return error(paths, capital) <= asked and not paths.health(capital).problem


def target(sampling: Sampling, plain: Estimate, need: str, exceed: float, total: bool) -> Estimate:
    """The fund target by weighted paths where they carry it, else the plain one, which says why."""
    if sampling.paths is None:
        return plain
    found = sampling.weighted(need, plain.level).fund_target(plain.name, exceed, total)
    return _better(found, plain)


def probability(sampling: Sampling, plain: Estimate, need: str, capital: float, total: bool = True):
    """The same for P(need > F), where the choice aimed at F."""
    if sampling.paths is None or Aim(need, capital=capital) not in sampling.aims:
        return plain
    return _better(
        sampling.weighted(need, plain.level).probability(plain.name, capital, total), plain
    )


def _better(found: Estimate, plain: Estimate) -> Estimate:
    if found.value is None:
        return plain.noted(f"importance sampling refused: {found.note}", last=True)
    return found


def estimates(sampling: Sampling, config: Config) -> list[Estimate]:
    """The work, and what it saved; nothing where nothing was sampled."""
    if sampling.paths is None:
        return []
    asked, level, rare = config.target, config.simulation.confidence, sampling.paths
    paths = sampling.weighted("adl_required_fund", level)
    capital = paths.target(asked.adl_probability)
    pilot, surveyed = rare.pilot, len(rare.surveyed.path) + rare.pilot
    work = pilot + len(rare.ran) + SURVEY_COST * surveyed
    about = (None, None, level, len(rare.ran), int(np.sum(paths.need > capital)))
    said = f"{surveyed:,} crashes surveyed, {pilot:,} run to predict, {len(rare.ran):,} chosen"
    broken = sum(int(np.sum(results["flags"] != 0)) for results in sampling.runs)
    said += f"; {broken} beyond what 16 digits carry, taken to need any capital" if broken else ""
    found = [Estimate("rare_work", work, *about, "count", "paths", said)]
    if math.isinf(capital) or paths.health(capital).problem:
        return found
    reached, wanted = error(paths, capital), config.simulation.relative_error
    met = f"{percent(wanted, 2)} asked for: " + (
        "met" if reached <= wanted else f"not met within {config.simulation.rare_paths:,} paths"
    )
    note = "plain paths for the accuracy of P(need > F*), over this work"
    return [
        *found,
        Estimate("rare_error", reached, *about, "standard error over value", "fraction", met),
        Estimate(
            "rare_gain", paths.gain(capital, work), *about, "variance times work", "times", note
        ),
    ]


def error(paths: WeightedPaths, capital: float) -> float:
    """Relative standard error of P(need > F) against these books."""
    p = float(paths.exceed(capital).mean())
    return math.sqrt(paths.variance(capital, total=False)) / p if p > 0.0 else math.inf


def beside(sampling: Sampling, plain: Estimate) -> list[Estimate]:
    """The plain estimate beside one that replaced it."""
    if sampling.paths is None:
        return []
    return [dataclasses.replace(plain, name=f"{plain.name}_plain")]


def curve(sampling: Sampling, study: Study, level: float) -> dict[str, Values]:
    """P(need > F) over F by weighted paths: rare.csv; NaN where they cannot carry it."""
    if sampling.paths is None:
        return {}
    columns: dict[str, list] = {}
    rarest = min(aim.exceed for aim in sampling.aims if aim.exceed is not None)
    for need, event in EVENTS.items():
        paths = sampling.weighted(need, level)
        seldom = np.geomspace(0.5, rarest / BEYOND, POINTS)
        for capital in np.unique([study.capital, *map(paths.target, seldom)]):
            e, health = paths.probability(event, float(capital)), paths.health(float(capital))
            row = {
                "event": event, "capital": capital, "probability": e.value, "low": e.low,
                "high": e.high, "hits": e.hits, "worth": health.worth,
                "largest_share": health.share, "refused": health.problem,
            }  # fmt: skip
            for name, value in row.items():
                columns.setdefault(name, []).append(np.nan if value is None else value)
    return {name: np.asarray(values) for name, values in columns.items()}


POINTS, BEYOND = 25, 10.0  # of the curve: from a half to so much rarer than asked for


def line(sampling: Sampling, names: dict[str, Estimate]) -> str | None:
    """What the terminal says of it."""
    if sampling.asked == "plain":
        return None
    begin = f"simulation.estimator={sampling.asked}"
    if sampling.paths is None:
        return f"{begin}: plain paths: {sampling.why}"
    said = f"{begin}: importance sampling: {sampling.why}; {names['rare_work'].note}"
    reached, gain = names.get("rare_error"), names.get("rare_gain")
    if reached is None or reached.value is None or gain is None or gain.value is None:
        return f"{said}; they cannot carry the target"
    return (
        f"{said}; they know its probability to {percent(reached.value, 2)} of itself "
        f"({reached.note}), gain {gain.value:.2g}"
    )
