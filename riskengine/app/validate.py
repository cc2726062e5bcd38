"""What one field cannot tell: rules between the fields of a configuration. No jax here."""

import math
from typing import Any

from riskengine.app import validate_design, validate_venue
from riskengine.app.config import (
    STEPS_MAX,
    BookConfig,
    Config,
    ScenarioConfig,
    SimulationConfig,
)
from riskengine.app.fields import bounds, choose, once
from riskengine.errors import InputError

HORIZON_MAX = 8 * 3600.0  # s; rules of venues look back at most that far
WORK_MAX = 1e13  # account-steps: about a year on one core
NAME_MAX = 200  # characters of a market's name


def check(config: Config) -> None:
    """Raise `InputError` at the first rule that does not hold."""
    from riskengine.app import store

    store.checked(config.name)
    if not config.runs:
        raise InputError("runs", "is required: the folder of all runs", "''")
    store.writable(config.runs)
    validate_venue.venue(config.venue)
    book(config.book)
    scenario(config.scenario, config.book)
    simulation(config.simulation, config)
    if config.vectors is not None and config.task != "conformance":
        raise InputError("vectors", "must be null unless task=conformance", config.vectors)
    if config.task == "calibrate":
        validate_design.check(config)
    if config.task == "replay" and config.scenario.law != "replay":
        raise InputError("scenario.law", "must be replay for task=replay", config.scenario.law)
    if config.task == "sensitivity":
        sensitivity(config)
    for group in ("book", "scenario"):
        ranges(group, getattr(config, group))
    if config.task == "assumptions":
        assumptions(config)


def ranges(group: str, of: Any) -> None:
    """Two ends in ascending order for keys that are numbers, both of which the key may be; null: none."""
    from riskengine.app import fields, schema

    for name, ends in of.ranges.items():
        where, key = f"{group}.ranges.{name}", schema.find(f"{group}.{name}")
        if key is None or key.kind is not float:
            raise InputError(where, f"must be named after a number of {group}", name)
        if schema.at(of, name) is None:
            must = (
                f"must be left out while {group}.{name} is null: that has no place between two ends"
            )
            raise InputError(where, must, ends)
        if ends is None:
            continue
        numbers = isinstance(ends, list) and all(type(x) in (int, float) for x in ends)
        if not numbers or len(ends) != 2 or not ends[0] < ends[1]:
            raise InputError(where, "must be [lowest, highest], or null", ends)
        for end in ends:
            fields.check_number(float(end), key.rules, where)


def assumptions(config: Config) -> None:
    """What `task=assumptions` cannot do."""
    asked, of, must = config.assumptions, config.simulation, "for task=assumptions"
    if config.scenario.law == "ladder":
        why = f"must draw or replay crashes {must}: the shocks of a ladder have no probabilities"
        raise InputError("scenario.law", why, config.scenario.law)
    for name, plain in (("fidelity", "full"), ("estimator", "plain")):
        if getattr(of, name) != plain:
            raise InputError(f"simulation.{name}", f"must be {plain} {must}", getattr(of, name))
    if config.book.path is not None and not config.book.complete:
        raise InputError("book.complete", f"must be true {must}: a fund target", "false")
    if config.ranges:
        raise InputError("ranges", f"must be false {must}", "true")
    if asked.points & (asked.points - 1):
        raise InputError("assumptions.points", "must be a power of two", asked.points)
    rarest = min(config.target.adl_probability, config.target.depletion_probability)
    least = math.ceil(RARE / rarest * (1.0 - 1e-12))
    if asked.paths < least:
        must = f"must be >= {least}: {RARE} crashes beyond a target of {rarest:g}"
        raise InputError("assumptions.paths", must, asked.paths)
    if not any(_assumed(of) for of in (config.book, config.scenario)):
        must = "must hold the present value of at least one key for task=assumptions"
        raise InputError("scenario.ranges", must, config.scenario.ranges or "{}")


def _assumed(of: Any) -> bool:
    """Whether any key lies in its range: others were chosen on purpose."""
    from riskengine.app import schema

    given = ((schema.at(of, name), ends) for name, ends in of.ranges.items() if ends is not None)
    return any(low <= now <= high for now, (low, high) in given)


RARE = 5  # crashes beyond the target of a set of assumptions, at least


def sensitivity(config: Config) -> None:
    """What `task=sensitivity` cannot do."""
    asked, must = config.simulation, "for task=sensitivity"
    if config.scenario.law == "ladder":
        why = f"must draw or replay crashes {must}: the shocks of a ladder have no probabilities"
        raise InputError("scenario.law", why, config.scenario.law)
    if asked.fidelity != "full":
        raise InputError("simulation.fidelity", f"must be full {must}", asked.fidelity)
    if config.ranges:
        raise InputError("ranges", f"must be false {must}", "true")
    least = 2 * (config.book.books if config.book.path is None else 1)
    if asked.paths < least:
        why = f"must be >= {least}, 2 for every book, {must}"
        raise InputError("simulation.paths", why, asked.paths)


def book(config: BookConfig) -> None:
    """A law or a file, never both."""
    if config.path == "":
        raise InputError("book.path", "is required: a file of positions (docs/files.md)", "''")
    if config.path is not None and config.markets:
        must = "replaces book.markets: choose book=file, or set no path"
        raise InputError("book.path", must, config.path)
    if config.path is not None:
        return
    if not config.markets:
        raise InputError("book.markets", "must name at least one market", [])
    once("book.markets", config.markets)
    for market in config.markets:
        share = config.market_share_pct.get(market)
        if not market or len(market) > NAME_MAX:
            must = f"must be names of 1 to {NAME_MAX} characters"
            raise InputError("book.markets", must, config.markets)
        if not share:
            where = f"book.market_share_pct.{market}"
            raise InputError(where, f"is required and must be > 0 (+{where}=VALUE)", share)
    if config.makers == 0:
        raise InputError("book.makers", "must be >= 1: makers balance the markets of the law", 0)


def scenario(config: ScenarioConfig, of: BookConfig) -> None:
    """The parts that the law needs."""
    if config.law == "ladder" and not config.ladder.shocks_pct:
        raise InputError("scenario.ladder.shocks_pct", "must hold at least one shock", [])
    if config.law == "replay" and not config.path:
        must = "is required by law replay: a file of prices (docs/files.md)"
        raise InputError("scenario.path", must, "''" if config.path == "" else "null")
    if config.law != "replay" and config.path is not None:
        raise InputError(
            "scenario.path", "must not be set unless scenario.law is replay", config.path
        )
    if config.law == "concentration" and of.path is None:
        choose("scenario.concentration.market", of.markets, config.concentration.market)
    own, other = config.depth.own_sensitivity, config.depth.other_sensitivity
    if other > own:
        raise InputError(
            "scenario.depth.other_sensitivity", f"must be <= own_sensitivity ({own:g})", other
        )


def simulation(config: SimulationConfig, run: Config) -> None:
    """The time grid, and whether the work can be done at all."""
    if not config.grid:
        raise InputError("simulation.grid", "must hold at least one phase {duration_min, dt_s}", [])
    total = steps = 0.0
    for place, phase in enumerate(config.grid):
        where, seconds = f"simulation.grid[{place}]", 60.0 * phase.duration_min
        count = seconds / phase.dt_s
        if abs(count - round(count)) > 1e-9 * count or round(count) < 1:
            raise InputError(f"{where}.dt_s", f"must divide the phase of {seconds:g} s", phase.dt_s)
        total, steps = total + seconds, steps + round(count)
    if total > HORIZON_MAX:
        must = f"must not be longer than {HORIZON_MAX / 60:g} min (the limit)"
        raise InputError("simulation.grid", must, f"{total / 60:g} min")
    if steps > STEPS_MAX:
        must = f"must have steps{bounds({'least': 1, 'most': STEPS_MAX, 'limit': True})}"
        raise InputError("simulation.grid", must, f"{steps:.10g} steps")
    if config.estimator == "importance":
        _can_be_leaned_on(run)
    work = config.paths * steps * run.book.accounts
    if work > WORK_MAX:
        must = (
            f"must keep paths x steps x accounts below the limit of {WORK_MAX:.0e} (time, memory)"
        )
        raise InputError("simulation.paths", must, f"{work:.3g}")


def _can_be_leaned_on(run: Config) -> None:
    """Importance sampling needs crashes of random size, all accounts, and a fund target."""
    against = ""
    if run.scenario.law not in ("crash", "concentration"):
        against = f"where scenario.law={run.scenario.law}, whose crashes have no random scale"
    elif run.book.path is not None and not run.book.complete:
        against = "where book.complete=false: a partial book has no fund target"
    elif run.simulation.fidelity == "grouped":
        against = "where simulation.fidelity=grouped"
    if against:
        raise InputError("simulation.estimator", f"must be plain {against}", "importance")
