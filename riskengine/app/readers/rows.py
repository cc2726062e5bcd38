"""What every reader of positions yields, and the numbers that it is made of."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from riskengine.app import columns
from riskengine.app.readers.tree import Node

ANY = columns.number("must be a finite number", lambda x: x == x)
POSITIVE = columns.number("must be a finite number > 0", lambda x: x > 0)
NOT_NEGATIVE = columns.number("must be a finite number >= 0", lambda x: x >= 0)
PRICE = columns.price()
MODE = columns.choice("cross", "isolated")
NAMES = (
    "account market size entry_price collateral margin leverage mark_price".split()
)  # of the columns that `Row.cells` fills


@dataclass(frozen=True)
class Row:
    """An open position; where it stands; and its profit, which its collateral is without."""

    node: Node
    account: str
    market: str
    size: Decimal  # coins, negative when short
    entry: Decimal
    mark: Decimal
    profit: Decimal  # unrealised, USD
    margin: str = "cross"
    leverage: str | None = None
    collateral: Decimal = Decimal(0)

    def cells(self) -> list[str | None]:
        """The cells that a CSV file would have."""
        size, entry, collateral, mark = (
            f"{number}" for number in (self.size, self.entry, self.collateral, self.mark)
        )
        return [
            *(self.account, self.market, size, entry, collateral),
            *(self.margin, self.leverage, mark),
        ]


def sharing(rows: Sequence[Row], collateral: Decimal) -> list[Row]:
    """Cross positions of an account with the collateral that they share."""
    return [dataclasses.replace(row, collateral=collateral) for row in rows]


def profit(rows: Sequence[Row]) -> Decimal:
    return sum((row.profit for row in rows), Decimal(0))


def signed(node: Node, side: str, size: Decimal) -> Decimal:
    """Size with the sign of its side; a sign that is there already must agree."""
    short = side.lower() == "short"
    if size < 0 and not short:
        raise node.error(f"must be > 0, for side says {side}")
    return -abs(size) if short else size


def marked(node: Node, mark: str, size: Decimal, entry: Decimal) -> tuple[Decimal, Decimal]:
    """Mark and unrealised profit; where one of the two is missing the other gives it.

    profit = size · (mark − entry)
    """
    if node.has(mark):
        price = node[mark].number(PRICE)
        given = node.has("unrealizedPnl")
        return price, node["unrealizedPnl"].number(ANY) if given else size * (price - entry)
    if not node.has("unrealizedPnl"):
        raise node[mark].error("must be a price where unrealizedPnl is not given")
    gain = node["unrealizedPnl"].number(ANY)
    price = entry + gain / size
    if price <= 0:
        raise node["unrealizedPnl"].error(
            f"must give a mark > 0 (entry + profit / size = {float(price):.6g})"
        )
    return price, gain
