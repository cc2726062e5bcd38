"""Hyperliquid's `clearinghouseState`: a user's perpetual positions and account value.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint/perpetuals
"""

import dataclasses
from collections.abc import Iterator
from decimal import Decimal

from riskengine.app.readers import rows
from riskengine.app.readers.rows import Row
from riskengine.app.readers.tree import Node

TITLE = "Hyperliquid (clearinghouseState)"


def fits(node: Node) -> bool:
    return node.has("assetPositions") and isinstance(node["assetPositions"].value, list)


def positions(state: Node, user: str) -> Iterator[Row]:
    """Positions of a user, without those that are closed.

    Values of the account include profit, and that of an isolated position is its `marginUsed`:
    cross collateral = cross account value − Σ cross profit, isolated = `marginUsed` − profit.
    """
    listed = [item["position"] for item in state["assetPositions"].items()]
    found = [_row(node, user) for node in listed if node["szi"].number(rows.ANY)]
    cross = [row for row in found if row.margin == "cross"]
    if cross:
        yield from rows.sharing(cross, _cross_value(state, found) - rows.profit(cross))
    for row in found:
        if row.margin == "isolated":
            yield dataclasses.replace(row, collateral=_value(row) - row.profit)


def _row(node: Node, user: str) -> Row:
    """The mark is the position's value per coin."""
    size = node["szi"].number(rows.ANY)
    leverage = node["leverage"]
    return Row(
        node=node,
        account=user,
        market=node["coin"].text(),
        size=size,
        entry=node["entryPx"].number(rows.PRICE),
        mark=node["positionValue"].number(rows.POSITIVE) / abs(size),
        profit=node["unrealizedPnl"].number(rows.ANY),
        margin=leverage["type"].text(rows.MODE),
        leverage=str(leverage["value"].number(rows.POSITIVE)),
    )


def _value(row: Row) -> Decimal:
    return row.node["marginUsed"].number(rows.ANY)


def _cross_value(state: Node, found: list[Row]) -> Decimal:
    """Stated, or the account's value without that of isolated positions."""
    if state.has("crossMarginSummary"):
        return state["crossMarginSummary"]["accountValue"].number(rows.ANY)
    isolated = (_value(row) for row in found if row.margin == "isolated")
    return state["marginSummary"]["accountValue"].number(rows.ANY) - sum(isolated, Decimal(0))
