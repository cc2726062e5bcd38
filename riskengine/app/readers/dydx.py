"""dYdX v4: subaccounts as its indexer gives them.

https://docs.dydx.xyz/indexer-client/http and https://docs.dydx.xyz/types/subaccount_response_object
"""

from collections.abc import Iterator

from riskengine.app import columns
from riskengine.app.readers import rows
from riskengine.app.readers.rows import Row
from riskengine.app.readers.tree import Node

TITLE = "dYdX v4 (subaccount)"
SIDE = columns.choice("LONG", "SHORT")
QUOTE = "-USD"


def fits(node: Node) -> bool:
    return node.has("openPerpetualPositions") or node.has("childSubaccounts")


def opened(node: Node) -> Node:
    """What stands inside the answer of an endpoint."""
    for name in ("subaccount", "subaccounts"):
        if node.has(name):
            return node[name]
    return node


def positions(subaccount: Node, owner: str) -> Iterator[Row]:
    """Positions of a subaccount, or of all children of a parent.

    Each subaccount is an account of its own, so an isolated position is too. Equity is at the
    oracle price: collateral = equity − Σ profit.
    """
    if subaccount.has("childSubaccounts"):
        for child in subaccount["childSubaccounts"].items():
            yield from positions(child, owner)
        return
    number = subaccount["subaccountNumber"]
    name = f"{owner}/{number.value}" if number.value is not None else owner
    markets = subaccount["openPerpetualPositions"].entries()
    found = [_row(node, name, market) for market, node in markets if node["size"].number(rows.ANY)]
    if found:
        equity = subaccount["equity"].number(rows.ANY)
        yield from rows.sharing(found, equity - rows.profit(found))


def _row(node: Node, account: str, market: str) -> Row:
    """The indexer gives no mark: it follows from the profit, or is an `oraclePrice` put there."""
    if not market.endswith(QUOTE):
        raise node.error(f"must be of a market named COIN{QUOTE}", repr(market))
    side, size = node["side"].text(SIDE), node["size"].number(rows.ANY)
    size, entry = rows.signed(node["size"], side, size), node["entryPrice"].number(rows.PRICE)
    mark, profit = rows.marked(node, "oraclePrice", size, entry)
    return Row(node, account, market.removesuffix(QUOTE), size, entry, mark, profit)
