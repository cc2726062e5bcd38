"""What one field of a venue cannot tell: rules between its fields. No jax here."""

import math
from typing import Any

from riskengine.app.config import PoolConfig, VenueConfig
from riskengine.app.config_venue import STAGES
from riskengine.app.fields import choose, once
from riskengine.errors import InputError, printable


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
        at_most(f"venue.{stage}.above_pct", rules.above_pct, "below_pct", rules.below_pct)
    margin(config)
    pools(config)
    together(config)


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


def together(config: VenueConfig) -> None:
    """Rules that need one another."""
    adl, stages = config.adl, config.stages
    for trigger, key in NEEDED.items():
        held = [p for p in config.pools.values() if getattr(p, key) is not None]
        if trigger in config.triggers and not held:
            must = f"must not name {trigger} unless a pool has {key}"
            raise InputError("venue.triggers", must, trigger)
    for name, pool in config.pools.items():
        where = f"venue.pools.{name}"
        at_most(f"{where}.release_pct", pool.release_pct, "drawdown_pct", pool.drawdown_pct)
        if pool.owner and config.pools[pool.owner].per_market:
            raise InputError(f"{where}.owner", "must be a single pool, not per_market", pool.owner)
    owners = [name for name, pool in config.pools.items() if pool.owner]
    takes = config.takeover.gap_pct is not None
    needs = (
        ("venue.takeover.gap_pct", config.takeover.gap_pct, takes, "the stage takeover",
         "takeover" in stages),
        ("venue.adl.waits", True, adl.waits, "liquidation.cooldown_s", config.liquidation.cooldown_s > 0),
        (f"venue.pools.{owners[0] if owners else ''}.owner", "set", bool(owners), "the stage social",
         "social" in stages),
        ("venue.adl.bypass", True, adl.bypass, "the trigger drawdown", "drawdown" in config.triggers),
        ("venue.triggers", "drawdown", "drawdown" in config.triggers, "adl", "adl" in stages),
        ("venue.adl.pool_price", "threshold", adl.pool_price == "threshold", "the trigger drawdown",
         "drawdown" in config.triggers),
        ("venue.adl.mark_share_pct", adl.mark_share_pct, adl.mark_share_pct > 0,
         "adl.price bankruptcy_or_mark", adl.price == "bankruptcy_or_mark"),
        ("venue.stages", "profit_cap", "profit_cap" in stages, "adl.profit_cap_pct",
         adl.profit_cap_pct is not None),
        ("venue.margin.growth", config.margin.growth, config.margin.growth != "none",
         "margin.premium_pct", bool(config.margin.premium_pct)),
    )  # fmt: skip
    for where, value, used, other, there in (*needs, *_idle(config)):
        if used and not there:
            raise InputError(where, f"must not be {value} without {other}", value)
    where, left = "venue.adl.profit_left_pct", adl.profit_left_pct
    at_most(where, left, "profit_cap_pct", adl.profit_cap_pct)
    left = adl.profit_cap_pct if left is None else left
    if "profit_cap" in stages and left is not None and left >= 200:
        raise InputError(where, "must be < 200: half a pool backs a side", left)
    for market, premium in config.margin.premium_pct.items():
        if premium < 0:
            raise InputError(f"venue.margin.premium_pct.{market}", "must be >= 0", premium)


def _idle(config: VenueConfig) -> tuple:
    """Numbers that no rule would read: where they are, whether they are set, what would read them."""
    liquidation, takeover, adl = config.liquidation, config.takeover, config.adl
    restores = "to_margin" in (liquidation.sizing, takeover.sizing)
    quoted = {"mark", "previous_mark"} & {adl.price, adl.pool_price}
    rows = (
        ("liquidation.limit_pct", liquidation.limit_pct, 0, "limit fillable or mark",
         liquidation.limit in ("fillable", "mark")),
        ("liquidation.ramp_start_pct", liquidation.ramp_start_pct, 100, "ramp_s", liquidation.ramp_s > 0),
        ("liquidation.multiple_pct", liquidation.multiple_pct, 0, "a sizing to_margin", restores),
        ("takeover.discount_pct", takeover.discount_pct, 0, "price mark", takeover.price == "mark"),
        ("takeover.penalty_pct", takeover.penalty_pct, 0, "price mark", takeover.price == "mark"),
        ("adl.spread_pct", adl.spread_pct, 0, "a price mark or previous_mark", bool(quoted)),
        ("adl.deviation_pct", adl.deviation_pct, None, "a price bankruptcy",
         adl.price in ("bankruptcy", "bankruptcy_or_mark")),
        ("adl.top", adl.top, 10, "policy top", adl.policy == "top"),
        ("withdrawn_pct", config.withdrawn_pct, 100, "social balances", config.social == "balances"),
    )  # fmt: skip
    return tuple(
        (f"venue.{where}", value, value != neutral, other, there)
        for where, value, neutral, other, there in rows
    )


def at_most(where: str, value: float | None, key: str, most: float | None) -> None:
    """A number that may be left out, and that another one of its group bounds."""
    if value is None:
        return
    if most is None:
        raise InputError(where, f"must not be set without {key}", value)
    if value > most:
        raise InputError(where, f"must be <= {key} ({most:g})", value)


NEEDED = {"inventory": "inventory_cap_pct", "rate": "rate_pct", "drawdown": "drawdown_pct"}
