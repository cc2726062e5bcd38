"""Recorded prices, read from a file and checked (docs/files.md has the schema)."""

from dataclasses import dataclass

import numpy as np

from riskengine.app import columns, readers
from riskengine.app.columns import Column, Table
from riskengine.app.sources import Header, Source
from riskengine.errors import InputError, printable

ROW_LIMIT = 5_000_000  # of a file
BARS_MIN = 2  # per market: one price does not move
REGULAR = 0.9  # share of equal steps from which a longer step is a gap
LONG = ("timestamp", "market", "price")
FORMS = f"must have columns {', '.join(LONG)}, or timestamp and one per market"
# A table of bars or trades has these: read as a wide table, it would be one of odd markets.
NOT_MARKETS = frozenset(
    "open high low close volume vwap bid ask return returns log_return side size symbol index mark"
    " date time".split()
)

Series = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Prices:
    """Recorded prices: per market, Unix seconds (strictly ascending) and USD per coin."""

    series: Series
    path: str
    sha256: str
    warnings: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, str]:
        """SHA-256 by path, for the manifest of a run."""
        return {self.path: self.sha256}


def read_prices(path: str, field: str = "scenario.path", row_limit: int = ROW_LIMIT) -> Prices:
    """Read prices in columns timestamp, market, price, or timestamp and one per market; or OHLCV.

    Raises `InputError` at the first thing that is wrong; gaps and prices that never move are
    warnings.
    """
    table = columns.table(Source(field, path), _schema, row_limit, readers.prices)
    series = _long(table) if "market" in table.columns else _wide(table)
    return Prices(series, path, table.sha256, _gaps(series) + _constant(series))


def seconds(text: str, field: str) -> float:
    """Unix seconds of a time that a setting names; `InputError` if it is none."""
    try:
        return columns.instant(text)
    except ValueError:
        raise InputError(field, columns.time().must, repr(text)) from None


def _schema(source: Source, header: Header) -> list[Column]:
    if {"market", "price"} & set(header.names):
        kinds = {"timestamp": columns.time(), "market": columns.name(), "price": columns.price()}
        return columns.known(source, header, kinds, LONG)
    kinds = {"timestamp": columns.time()}
    for name in header.names:
        if name.lower() in NOT_MARKETS or not columns.name().reads(name):
            raise columns.misnamed(source, header, FORMS, repr(name))
        kinds.setdefault(name, columns.price())
    if len(kinds) == 1:
        raise columns.misnamed(source, header, FORMS, repr(header.names[0]))
    return columns.known(source, header, kinds, ("timestamp",))


def _wide(table: Table) -> Series:
    """Every market at every time."""
    time = table.columns["timestamp"]
    markets = [name for name in table.columns if name != "timestamp"]
    _must_ascend(table, {market: np.arange(len(time)) for market in markets[:1]})
    return {market: (time, table.columns[market]) for market in markets}


def _long(table: Table) -> Series:
    """Every market at times of its own, in any order of markets."""
    time, market, price = (table.columns[name] for name in LONG)
    code = columns.codes(market)
    order = np.argsort(code, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(code[order])) + 1)
    rows = {str(market[group[0]]): group for group in groups}
    _must_ascend(table, rows)
    return {name: (time[group], price[group]) for name, group in rows.items()}


def _must_ascend(table: Table, rows: dict[str, np.ndarray]) -> None:
    """The times of every market rise, and there are enough of them."""
    time = table.columns["timestamp"]
    late = np.concatenate([group[1:][np.diff(time[group]) <= 0.0] for group in rows.values()])
    if len(late):
        must = "must be later than in the row before it of the same market"
        raise table.error(int(late.min()), "timestamp", must, float(time[late.min()]))
    for market, group in rows.items():
        if len(group) < BARS_MIN:
            must = f"must have at least {BARS_MIN} rows (bars) of every market"
            raise table.source.error(must, f"{len(group)} of {market!r}")


def _gaps(series: Series) -> tuple[str, ...]:
    """Bars that are missing in series of otherwise equal steps."""
    markets: dict[str, list[str]] = {}
    for market, (time, _) in series.items():
        step = np.diff(time)
        usual = float(np.median(step))
        long = step > 1.5 * usual
        if long.any() and np.mean(np.abs(step - usual) < 0.01 * usual) >= REGULAR:
            missing = int(np.round(step[long] / usual).sum()) - int(long.sum())
            text = f"{missing} bars of {usual:g} s are missing in {int(long.sum())} gaps"
            markets.setdefault(text, []).append(printable(market))
    return tuple(f"{text}: {', '.join(names)}" for text, names in markets.items())


def _constant(series: Series) -> tuple[str, ...]:
    names = [printable(market) for market, (_, p) in series.items() if (p == p[0]).all()]
    text = "prices never change, so their variance is zero and no law can be fitted to them"
    return (f"{text}: {', '.join(names)}",) if names else ()
