"""ccxt's unified structures: positions, leverage tiers and OHLCV, as exchanges share them.

https://docs.ccxt.com/#/README?id=position-structure, leverage-tiers-structure, ohlcv-structure
"""

import dataclasses
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np

from riskengine.app import columns
from riskengine.app.columns import Kind
from riskengine.app.readers import rows
from riskengine.app.readers.rows import Row
from riskengine.app.readers.tree import Node

TITLE = "ccxt (fetch_positions)"
SIDE = columns.choice("long", "short")
QUOTES = ("USDT", "USD", "USDC")  # of the contracts of a market, the first of these counts
SYMBOL = "must be the symbol of a linear perpetual in dollars, like BTC/USDT:USDT"
INVERSE = "must be a linear contract: inverse ones, settled in their coin, are not modelled"
BAR = "must be a bar [milliseconds, open, high, low, close, …]"
MILLISECONDS = columns.number(
    "must be milliseconds since 1970 (1e11 to 1e14)", lambda t: (t >= 1e11) & (t < 1e14)
)


def market(node: Node, symbol: str, spot: bool = False) -> str:
    """The coin of a unified symbol BASE/QUOTE:SETTLE; `spot` lets the settlement be missing."""
    base, _, rest = symbol.partition("/")
    quote, _, settle = rest.partition(":")
    if settle and settle == base:
        raise node.error(INVERSE, repr(symbol))
    if not base or "USD" not in quote or settle not in ((quote, "") if spot else (quote,)):
        raise node.error(SYMBOL, repr(symbol))
    return base


# Positions


def fits(node: Node) -> bool:
    """A list of positions, or an account {positions: […]}."""
    listed = node["positions"].value if node.has("positions") else node.value
    if not isinstance(listed, list):
        return False
    return all(isinstance(one, dict) and "symbol" in one for one in listed)


def positions(node: Node, account: str) -> Iterator[Row]:
    """Open positions of an account.

    `collateral` of a position is what it can lose: its margin with its profit. The margin without
    is what `positionMargin` says, else `collateral` − profit. What an account holds beside its
    positions is in none of them, so it may say `collateral` or `equity` of its cross positions.
    """
    listed = node["positions"] if node.has("positions") else node
    found = [
        _row(one, account) for one in listed.items() if one["contracts"].number(rows.NOT_NEGATIVE)
    ]
    cross = [row for row in found if row.margin == "cross"]
    if cross:
        yield from rows.sharing(cross, _cross_collateral(node, cross))
    for row in found:
        if row.margin == "isolated":
            yield dataclasses.replace(row, collateral=_margin(row))


def states_money(node: Node) -> bool:
    """Does an account say what its cross positions stand on?"""
    return node.has("collateral") or node.has("equity")


def _row(node: Node, account: str) -> Row:
    symbol, contracts = node["symbol"], node["contracts"].number(rows.NOT_NEGATIVE)
    size = contracts * node["contractSize"].number(rows.POSITIVE)
    size = rows.signed(node["contracts"], node["side"].text(SIDE), size)
    entry = node["entryPrice"].number(rows.PRICE)
    mark, profit = rows.marked(node, "markPrice", size, entry)
    leverage = node["leverage"].number(rows.NOT_NEGATIVE) if node.has("leverage") else Decimal(0)
    return Row(
        node=node,
        account=account,
        market=market(symbol, symbol.text()),
        size=size,
        entry=entry,
        mark=mark,
        profit=profit,
        margin=node["marginMode"].text(rows.MODE) if node.has("marginMode") else "cross",
        leverage=str(leverage) if leverage else None,  # 0: whatever the account has
    )


def _cross_collateral(node: Node, cross: list[Row]) -> Decimal:
    """Stated; or one amount that all positions repeat; or the sum of their margins."""
    if node.has("collateral"):
        return node["collateral"].number(rows.ANY)
    if node.has("equity"):
        return node["equity"].number(rows.ANY) - rows.profit(cross)
    given = [_collateral(row) for row in cross if not row.node.has("positionMargin")]
    if len(cross) == len(given) > 1 and len(set(given)) == 1:
        return given[0] - rows.profit(cross)
    return sum((_margin(row) for row in cross), Decimal(0))


def _margin(row: Row) -> Decimal:
    """Without profit. Where `collateral` is the initial margin itself there is none in it."""
    node = row.node
    if node.has("positionMargin"):
        return node["positionMargin"].number(rows.ANY)
    collateral = _collateral(row)
    if node.has("initialMargin") and collateral == node["initialMargin"].number(rows.ANY):
        return collateral
    return collateral - row.profit


def _collateral(row: Row) -> Decimal:
    if not row.node.has("collateral"):
        must = "must be a number, or the account must say its collateral or equity (docs/files.md)"
        raise row.node["collateral"].error(must)
    return row.node["collateral"].number(rows.ANY)


# Leverage tiers

Table = list[list[float]]  # rows [floor USD, highest leverage, maintenance %]


def tiers(root: Node) -> Iterator[tuple[str, str, Node, Table]]:
    """Market, symbol and table of every perpetual; of a market's symbols the first by quote."""
    chosen: dict[str, tuple[int, str, Node]] = {}
    for symbol, node in root.entries():
        if "-" in symbol.rpartition(":")[2]:
            continue  # expires
        coin = market(node, symbol)
        quote = symbol.rpartition(":")[2]
        rank = QUOTES.index(quote) if quote in QUOTES else len(QUOTES)
        if coin not in chosen or rank < chosen[coin][0]:
            chosen[coin] = rank, symbol, node
    for coin, (_, symbol, node) in chosen.items():
        table = [_tier(one) for one in node.items()]
        if not table:
            raise node.error("must have at least one tier")
        yield coin, symbol, node, table


def _tier(node: Node) -> list[float]:
    if node.has("info") and node["info"].has("minSz"):
        raise node.error("must have notionals in dollars: this exchange counts contracts")
    return [
        float(node["minNotional"].number(rows.NOT_NEGATIVE)),
        float(node["maxLeverage"].number(rows.POSITIVE)),
        float(100 * node["maintenanceMarginRate"].number(rows.POSITIVE)),
    ]


# OHLCV

Knots = tuple[str, list[str], np.ndarray, np.ndarray]  # market, places, Unix seconds, prices


def bars(root: Node) -> Iterator[Knots]:
    """Prices of every market; a list without a symbol is of the market that the file is named for."""
    if isinstance(root.value, list):
        stem = Path(root.source.path).stem
        yield stem.replace("_", "-").partition("-")[0], *_knots(root)
        return
    for symbol, node in root.entries():
        yield market(node, symbol, spot=True) if "/" in symbol else symbol, *_knots(node)


def _knots(node: Node) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Open, low, high, close of a bar at its start, thirds and end; falling bars have the high first.

    A bar lasts until the next, and no longer than the shortest: after a gap the price opens again.
    """
    for bar in node.items():
        if not isinstance(bar.value, list) or len(bar.value) < 5:
            raise bar.error(BAR)
    start = _column(node, 0, MILLISECONDS) / 1e3
    opening, high, low, close = (_column(node, place, rows.PRICE) for place in range(1, 5))
    if len(start) < 2:
        raise node.error("must have at least 2 bars")
    wrong = {
        "must be later than the bar before": np.diff(start, prepend=-np.inf) <= 0.0,
        "must have open and close from low to high": (low > np.minimum(opening, close))
        | (high < np.maximum(opening, close)),
    }
    for must, bad in wrong.items():
        if bad.any():
            bar = list(node.items())[int(np.argmax(bad))]
            raise bar.error(must, ", ".join(map(str, bar.value[:5])))
    usual = float(np.diff(start).min())
    end = start + usual
    end[:-1] = np.where(np.diff(start) < 1.001 * usual, start[1:], end[:-1])
    falls = close < opening
    third = (end - start) / 3
    time = np.stack([start, start + third, end - third, end], axis=1)
    price = np.stack(
        [opening, np.where(falls, high, low), np.where(falls, low, high), close], axis=1
    )
    kept = np.ones(time.shape, bool)
    kept[1:, 0] = start[1:] > end[:-1]  # else it is the moment of the close before
    places = [f"{node.place}[{bar}]" for bar in np.nonzero(kept)[0]]
    return places, time[kept], price[kept]


def _column(node: Node, place: int, kind: Kind) -> np.ndarray:
    """One entry of every bar."""
    cells = [bar[place] for bar in node.value]
    if all(isinstance(cell, str) for cell in cells):
        try:
            return kind.read(cells)
        except ValueError:
            pass
    wrong = (
        number
        for number, cell in enumerate(cells)
        if not isinstance(cell, str) or not kind.reads(cell)
    )
    number = next(wrong)
    raise Node(node.source, cells[number], f"{node.place}[{number}][{place}]").error(kind.must)
