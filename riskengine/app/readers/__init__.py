"""Readers of JSON that exchanges and their libraries give: the columns that a CSV file would have.

What a file holds is recognised by its content (docs/files.md).
"""

from collections.abc import Iterator
from types import ModuleType
from typing import Any, BinaryIO

from riskengine.app.readers import ccxt, dydx, hyperliquid, rows, tree
from riskengine.app.readers.rows import Row
from riskengine.app.readers.tree import Node
from riskengine.app.sources import Block, Header, Source
from riskengine.errors import printable

FAMILIES = (ccxt, hyperliquid, dydx)
KNOWN = "must hold positions as " + ", ".join(family.TITLE for family in FAMILIES)
OWNERS = ("account", "user", "address")
ALONE = "account"  # the name of the only account of a file
APART = 0.01  # marks of a market that differ by more are of different times
ROUNDED = 1e-4  # marks that differ by less differ in their last digits


def positions(source: Source, file: BinaryIO, digest: Any) -> tuple[Header, Iterator[Block]]:
    """Positions of one account or of many."""
    found: list[Row] = []
    owners: set[str] = set()
    parts = 0
    for family, name, node in _accounts(tree.load(source, file, digest)):
        mine = list(family.positions(node, name))
        again = owners.intersection(row.account for row in mine)
        if again:
            raise node.error("must be of an account that was not there before", repr(min(again)))
        owners.update(row.account for row in mine)
        found += mine
        cross = any(row.margin == "cross" for row in mine)
        parts += family is ccxt and cross and not ccxt.states_money(node)
    if not found:
        raise source.error("must hold at least one open position")
    marks, notes = _marks(found)
    if parts:
        notes += (
            f"{parts} cross accounts do not state their collateral or equity, so what they hold "
            "beside the margin of their positions is missing",
        )
    filled = [[*row.cells()[:-1], repr(marks[row.market])] for row in found]
    block = Block([row.node.place for row in found], filled)
    return Header(tuple(rows.NAMES), notes=notes), iter([block])


def prices(source: Source, file: BinaryIO, digest: Any) -> tuple[Header, Iterator[Block]]:
    """Bars of one market or of many, as prices in columns timestamp, market, price."""
    root = tree.load(source, file, digest)
    if not isinstance(root.value, list | dict) or not root.value:
        raise root.error(
            "must hold bars as ccxt (fetch_ohlcv) gives them: a list, or lists by symbol"
        )
    return Header(("timestamp", "market", "price")), _price_blocks(root)


def _price_blocks(root: Node) -> Iterator[Block]:
    for market, places, time, price in ccxt.bars(root):
        numbers = zip(time.tolist(), price.tolist(), strict=True)
        yield Block(list(places), [[repr(t), market, repr(p)] for t, p in numbers])


def _accounts(root: Node) -> Iterator[tuple[ModuleType, str, Node]]:
    """Every account of a file with its name and the family of its structure."""
    root = dydx.opened(root)
    first = None
    for name, node in _named(root):
        first = first or _family(node)
        if first is None:
            raise root.error(KNOWN, _content(node))
        if not first.fits(node):
            raise node.error(f"must be as {first.TITLE} gives it, like the first", _content(node))
        yield first, _owner(name, node), node
    if first is None:
        raise root.error(KNOWN)


def _named(root: Node) -> Iterator[tuple[str, Node]]:
    """The accounts of a file with the names that it has for them."""
    if _family(root) and root.value:
        yield ALONE, root
    elif isinstance(root.value, list):
        yield from (("", dydx.opened(node)) for node in root.items())
    elif isinstance(root.value, dict):
        yield from ((name, dydx.opened(node)) for name, node in root.entries())


def _family(node: Node) -> ModuleType | None:
    return next((family for family in FAMILIES if family.fits(node)), None)


def _owner(name: str, node: Node) -> str:
    """A file of many names its accounts by key or inside; that of one may leave it out."""
    for key in OWNERS:
        if name in ("", ALONE) and node.has(key):
            return node[key].text()
    if not name:
        raise node.error(f"must say whose it is: {', '.join(OWNERS)}", _content(node))
    return name


def _content(node: Node) -> str:
    """What is there instead of a structure that is known."""
    if isinstance(node.value, dict) and node.value:
        return f"an object with {', '.join(map(repr, list(node.value)[:4]))}"
    return node.shown()


def _marks(found: list[Row]) -> tuple[dict[str, float], tuple[str, ...]]:
    """One mark per market: that of its largest position, which is rounded least."""
    largest: dict[str, Row] = {}
    for row in found:
        before = largest.get(row.market)
        if before is None or abs(row.size) > abs(before.size):
            largest[row.market] = row
    moved, most = 0, 0.0
    for row in found:
        usual = largest[row.market]
        apart = abs(float(row.mark / usual.mark) - 1.0)
        if apart > APART:
            there = f"{float(usual.mark):.8g}, the mark in {printable(usual.node.place, 60)}"
            got = f"{float(row.mark):.8g} in market {row.market}"
            raise row.node.error(f"must be within {APART:.0%} of {there}", got)
        moved, most = moved + (apart > ROUNDED), max(most, apart)
    note = f"{moved} positions count at the mark of their market's largest, up to {most:.2%} away"
    return {name: float(row.mark) for name, row in largest.items()}, (note,) if moved else ()
