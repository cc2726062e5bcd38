"""What one field cannot tell: rules between the fields of a configuration. No jax here."""

import math
from typing import Any

from riskengine.app.config import (
    STEPS_MAX,
    BookConfig,
    Config,
    PoolConfig,
    ScenarioConfig,
    SimulationConfig,
    VenueConfig,
)
from riskengine.app.config_venue import STAGES
from riskengine.app.fields import bounds, choose
from riskengine.errors import InputError, printable

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
    venue(config.venue)
    book(config.book)
    scenario(config.scenario, config.book)
    simulation(config.simulation, config)
    if config.vectors is not None and config.task != "conformance":
        raise InputError("vectors", "must be null unless task=conformance", config.vectors)
    if config.task == "replay" and config.scenario.law != "replay":
        raise InputError("scenario.law", "must be replay for task=replay", config.scenario.law)


def venue(config: VenueConfig) -> None:
    """Stages, thresholds, tiers and pools."""
    if not config.stages:
        raise InputError("venue.stages", f"must name at least one of {', '.join(STAGES)}", [])
    once("venue.stages", config.stages)
    once("venue.triggers", config.triggers)
    if "margin" in config.triggers and "adl" not in config.stages:
        raise InputError("venue.triggers", "must not name margin without the stage adl", "margin")
    if config.adl.allocation == "sequence" and config.adl.policy != "queue":
        raise InputError(
            "venue.adl.allocation", "must be average unless policy is queue", "sequence"
        )
    for stage in ("liquidation", "takeover"):
        rules = getattr(config, stage)
        if rules.above_pct is not None and rules.above_pct > rules.below_pct:
            must = f"must be <= below_pct ({rules.below_pct:g})"
            raise InputError(f"venue.{stage}.above_pct", must, rules.above_pct)
    margin(config)
    pools(config)


def once(where: str, names: list[str]) -> None:
    """No name stands twice in a list."""
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InputError(where, f"must name {printable(name)} once", names)


def margin(config: VenueConfig) -> None:
    """Rows of [floor, highest leverage, maintenance %]: rising, and maintenance below initial."""
    tables = config.margin.tables
    for name, rows in tables.items():
        where = f"venue.margin.tables.{name}"
        if not isinstance(rows, list) or not rows:
            must = "must be a list of rows [floor_usd, leverage, maintenance_pct]"
            raise InputError(where, must, rows if rows is not None else "null")
        before: list[Any] | None = None
        for place, row in enumerate(rows):
            tier(f"{where}[{place}]", row, before)
            before = row
    names = dict(config.margin.markets) | {"default": config.margin.default}
    for market, name in names.items():
        where = "venue.margin.default" if market == "default" else f"venue.margin.markets.{market}"
        choose(where, tables, name)


def tier(where: str, row: Any, before: list[Any] | None) -> None:
    """One row of a margin table."""
    if not (isinstance(row, list) and len(row) == 3 and all(_is_number(x) for x in row)):
        raise InputError(where, "must be three numbers [floor_usd, leverage, maintenance_pct]", row)
    floor, leverage, maintenance = row
    if leverage < 1:
        raise InputError(f"{where} leverage", "must be >= 1", leverage)
    if maintenance <= 0:
        raise InputError(f"{where} maintenance", "must be > 0 %", maintenance)
    if maintenance >= 100 / leverage:
        initial = f"{100 / leverage:g} % at leverage {leverage:g}"
        must = f"maintenance must be below initial margin, {initial}"
        raise InputError(where, must, maintenance)
    if before is None and floor != 0:
        raise InputError(f"{where} floor", "must be 0 in the first row", floor)
    if before is not None and not (floor > before[0] and maintenance >= before[2]):
        must = "must have a higher floor and no lower maintenance than the row above"
        raise InputError(where, must, row)


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)


def pools(config: VenueConfig) -> None:
    """Shares add to the whole fund; every market has one pool; owners exist."""
    if not config.pools:
        raise InputError("venue.pools", "must name at least one pool", {})
    shares = sum(pool.share_pct for pool in config.pools.values())
    if not math.isclose(shares, 100.0, abs_tol=1e-6):
        raise InputError("venue.pools", "must have share_pct that add to 100", shares)
    seen: dict[str, str] = {}
    for name, pool in config.pools.items():
        if pool.owner:
            choose(f"venue.pools.{name}.owner", [n for n in config.pools if n != name], pool.owner)
        for market in pool.markets:
            if market in seen:
                must = f"must not repeat a market of {printable(seen[market], 40)}"
                raise InputError(f"venue.pools.{name}.markets", must, market)
            seen[market] = name
    if catch_all(config.pools) is None and not seen:
        raise InputError("venue.pools", "must have a pool for the markets", list(config.pools))


def catch_all(pools_: dict[str, PoolConfig]) -> str | None:
    """The pool of all markets that no pool names: the first with a share and without a list."""
    return next((n for n, pool in pools_.items() if pool.share_pct > 0 and not pool.markets), None)


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
