"""What one field cannot tell: rules between the fields of a configuration. No jax here."""

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
    work = config.paths * steps * run.book.accounts
    if work > WORK_MAX:
        must = (
            f"must keep paths x steps x accounts below the limit of {WORK_MAX:.0e} (time, memory)"
        )
        raise InputError("simulation.paths", must, f"{work:.3g}")
