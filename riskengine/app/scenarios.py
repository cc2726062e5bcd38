"""The law of prices and depth of a run, for the markets of its book."""

import dataclasses
import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from riskengine.app import books, data, history
from riskengine.app.books import OpenBook
from riskengine.app.config import Config, CrashConfig, MarketLawConfig, ScenarioConfig
from riskengine.errors import InputError
from riskengine.montecarlo import noise
from riskengine.specs.scenario import Crash, Depth, Ladder, OrderBook, Replay, Scenario

PCT = 0.01
MINUTE = 60.0
DAY = 86400.0


@dataclass(frozen=True)
class PriceSource:
    """Recorded prices, and which markets of the book they cover."""

    series: dict[str, tuple[np.ndarray, np.ndarray]]  # market → seconds since start, price
    modelled: tuple[str, ...]  # markets of the book without prices
    inputs: dict[str, str]  # file → SHA-256
    notes: tuple[str, ...] = ()


def prices(config: Config, markets: tuple[str, ...], dt: np.ndarray) -> PriceSource | None:
    """Read the prices that law `replay` needs; they must cover the time grid."""
    law = config.scenario
    if law.law != "replay":
        return None
    read = data.read_prices if law.replay.reader == "prices" else history.october_2025
    found = read(str(law.path))
    start = _start(law, found.series)
    series = {
        market: (time - start, price)
        for market, (time, price) in found.series.items()
        if market in markets
    }
    if not series:
        must = f"must hold prices of a market of the book ({', '.join(markets[:5])} …)"
        raise InputError("scenario.path", must, ", ".join(list(found.series)[:5]))
    end = float(np.sum(dt))
    for market, (time, _) in series.items():
        if time[0] > dt[0] or time[-1] < end - LATE:
            must = f"must cover {end / MINUTE:g} min from the start for {market}"
            raise InputError("scenario.path", must, f"{time[0]:g} s to {time[-1]:g} s")
    modelled = tuple(m for m in markets if m not in series)
    return PriceSource(
        series=series,
        modelled=modelled,
        inputs={found.path: found.sha256},
        notes=tuple(found.warnings),
    )


LATE = 900.0  # s before the end that a market's last trade may be


def _start(law: ScenarioConfig, series) -> float:
    """Unix seconds at which the run starts: what is asked for, or where all series have begun."""
    if law.replay.start is None:
        return max(float(time[0]) for time, _ in series.values())
    return data.seconds(law.replay.start, "scenario.replay.start")


def build(
    config: Config, opened: OpenBook, source: PriceSource | None, dt: np.ndarray
) -> tuple[Scenario, OpenBook]:
    """The scenario; law `concentration` changes the book, too."""
    law, markets = config.scenario, opened.markets
    table = [law.markets.get(m, law.other_markets) for m in markets]
    calm = law.depth.factor * np.asarray([PCT * m.depth_pct for m in table])
    if law.law == "ladder":
        prices_ = _ladder(law, len(opened.holdings))
    elif law.law == "replay":
        assert source is not None
        prices_ = _replay(law, source, markets, table, dt)
    elif law.law == "concentration":
        opened = books.concentrated(opened, config, _initial(config))
        prices_, calm = _concentration(law, markets, table, calm)
    else:
        prices_ = _crash(law.crash, table)
    scenario = Scenario(law=prices_, depth=_depth(law, calm), order_book=_order_book(law))
    return scenario, opened


def _array(values) -> jnp.ndarray:
    return jnp.asarray(values, float)


def _crash(crash: CrashConfig, table: list[MarketLawConfig]) -> Crash:
    per_root_second = PCT / math.sqrt(MINUTE)
    return Crash(
        probability_down=_array(PCT * crash.probability_down_pct),
        scale_table=noise.scale_table(crash.df),
        drift=_array(PCT * crash.drift_pct),
        duration=_array(MINUTE * crash.duration_min),
        volatility=_array(per_root_second * crash.volatility_pct),
        volatility_after=_array(per_root_second * crash.volatility_after_pct),
        calming=_array(MINUTE * crash.calming_min),
        jump_immigrants=_array(crash.jumps),
        jump_branching=_array(crash.jump_branching),
        jump_lag=_array(crash.jump_lag_s),
        jump_size=_array(PCT * crash.jump_pct),
        jump_against=_array(PCT * crash.jump_against_pct),
        rebound=_array(PCT * crash.rebound_pct),
        rebound_dispersion=_array(PCT * crash.rebound_dispersion_pct),
        rebound_time=_array(MINUTE * crash.rebound_min),
        beta=_array([m.beta for m in table]),
        beta_dispersion=_array(crash.beta_dispersion),
        own_volatility=_array([m.own_volatility for m in table]),
    )


def _ladder(law: ScenarioConfig, books: int) -> Ladder:
    return Ladder(
        books=jnp.asarray(books, jnp.uint32),
        shock=_array([PCT * s for s in law.ladder.shocks_pct]),
        duration=_array(MINUTE * law.ladder.duration_min),
    )


def _concentration(law: ScenarioConfig, markets, table, calm) -> tuple[Crash, np.ndarray]:
    """The crash law in one market, with the depth that its position is `depth_days` of."""
    alone = [
        dataclasses.replace(m, beta=float(name == law.concentration.market), own_volatility=0.0)
        for name, m in zip(markets, table, strict=True)
    ]
    refills = DAY / (law.order_book.resilience_s or 1.0)
    depth = PCT * law.concentration.share_pct / (law.concentration.depth_days * refills)
    mine = markets.index(law.concentration.market)
    return _crash(law.crash, alone), np.where(np.arange(len(calm)) == mine, depth, calm)


def _initial(config: Config) -> float:
    """Initial margin ratio of the concentrated account's market at its first tier."""
    margin = config.venue.margin
    name = margin.markets.get(config.scenario.concentration.market, margin.default)
    return 1.0 / margin.tables[name][0][1]


def _depth(law: ScenarioConfig, calm: np.ndarray) -> Depth:
    depth = law.depth
    return Depth(
        calm=_array(np.stack([calm, calm])),
        sensitivity=_array([depth.own_sensitivity, depth.other_sensitivity]),
        memory=_array(MINUTE * depth.memory_min),
        recovery=_array(MINUTE * depth.recovery_min),
        floor=_array(PCT * depth.floor_pct),
        dispersion=_array(depth.dispersion),
    )


def _order_book(law: ScenarioConfig) -> OrderBook:
    book = law.order_book
    return OrderBook(
        exponent=_array(book.exponent),
        distance_max=_array(PCT * book.distance_max_pct),
        resilience=_array(math.inf if book.resilience_s is None else 1.0 / book.resilience_s),
        permanent=_array(PCT * book.permanent_pct),
        fill_cap=_array(math.inf if book.fill_cap_pct is None else PCT * book.fill_cap_pct),
        profit_taking=_array(PCT * book.profit_taking_pct),
        takers=book.profit_taking_pct > 0,
        distance=book.distance,
    )


def _replay(law: ScenarioConfig, source: PriceSource, markets, table, dt) -> Replay:
    """Knots of every market on the time grid; markets without prices follow the first with."""
    columns = {m: _knots(*source.series[m], dt, law.replay.bridge_above_s) for m in source.series}
    leader = next(m for m in markets if m in columns)
    bridge = PCT / math.sqrt(MINUTE) * law.replay.bridge_volatility_pct
    parts, bridges, own = [], [], []
    for market, rule in zip(markets, table, strict=True):
        given = market in columns
        path, before, after, weight = columns[market if given else leader]
        ratio = 1.0 if given else rule.beta / law.markets.get(leader, law.other_markets).beta
        here = np.arange(len(dt))
        parts.append((ratio * path, before if given else here, after if given else here, weight))
        bridges.append(bridge if given else 0.0)
        own.append(0.0 if given else bridge * rule.own_volatility)
    log_index, before, after, weight = (np.stack(p, axis=1) for p in zip(*parts, strict=True))
    return Replay(
        log_index=_array(log_index),
        knot_before=jnp.asarray(before, jnp.int32),
        knot_after=jnp.asarray(after, jnp.int32),
        weight=_array(weight),
        bridge_volatility=_array(bridges),
        own_volatility=_array(own),
    )


def _knots(time: np.ndarray, price: np.ndarray, dt: np.ndarray, bridge_above: float):
    """Log price at the end of every step, with the steps between which it is bridged.

    A price that was recorded within a step counts at the end of the step, the last one if there
    are several. Between knots that lie further apart than `bridge_above` the log price is
    interpolated and a Brownian bridge is added; closer ones are interpolated only.
    """
    end = np.cumsum(dt)
    opening = price[max(np.searchsorted(time, 0.0, side="right") - 1, 0)]
    known = np.flatnonzero(time > 0.0)
    step = np.searchsorted(end, time[known])
    inside = step < len(end)
    knot, last = np.unique(step[inside][::-1], return_index=True)
    value = np.log(price[known][inside][::-1][last] / opening)

    knot, value = np.concatenate([[-1], knot]), np.concatenate([[0.0], value])
    at = np.where(knot < 0, 0.0, end[np.maximum(knot, 0)])
    log_index = np.interp(end, at, value)
    here = np.arange(len(end))
    right = np.minimum(np.searchsorted(knot, here), len(knot) - 1)
    left = np.maximum(np.searchsorted(knot, here, side="right") - 1, 0)
    gap = at[right] - at[left]
    bridged = gap > bridge_above
    weight = np.where(bridged, (end - at[left]) / np.where(gap > 0, gap, 1.0), 1.0)
    return (
        log_index,
        np.where(bridged, knot[left], here),
        np.where(bridged, knot[right], here),
        weight,
    )
