"""The open positions of a venue, read from a file and checked (docs/files.md has the schema)."""

from dataclasses import dataclass

import numpy as np

from riskengine.app import columns, readers
from riskengine.app.columns import Column, Kind, Table
from riskengine.app.config import MONEY_MAX
from riskengine.app.sources import Header, Source

ROW_LIMIT = 5_000_000  # of a file; about a gigabyte in memory
NOTIONAL_MIN = 1e-9  # USD; less vanishes next to any account
FAR = 100.0  # entry / mark price, either way, from which an entry is more likely a slip
REQUIRED = ("account", "market", "size", "entry_price", "collateral")
OTHER_NAMES = {"entry": "entry_price", "mark": "mark_price"}


@dataclass(frozen=True, eq=False)
class Positions:
    """Open positions, one per row, in the order of the file.

    Collateral is what an account put up, without unrealised profit. Cross positions of an account
    share it, and it is the same in all of their rows; an isolated position has its own.
    """

    account: np.ndarray  # str
    market: np.ndarray  # str
    size: np.ndarray  # coins, positive when long
    entry_price: np.ndarray  # USD per coin
    collateral: np.ndarray  # USD
    margin: np.ndarray  # str: cross or isolated
    leverage: np.ndarray  # the account's setting, not what it uses; NaN where not given
    mark_price: np.ndarray  # USD per coin, one per market; NaN where not given
    path: str
    rows: int
    sha256: str
    warnings: tuple[str, ...] = ()
    lines: np.ndarray | None = None  # where rows stand: line of CSV, row of Parquet, path in JSON


def read_positions(
    path: str,
    field: str = "book.path",
    allow_underwater: bool = False,
    row_limit: int = ROW_LIMIT,
) -> Positions:
    """Read the open positions of a venue, or of a part of it.

    Raises `InputError` at the first thing that is wrong. Negative collateral is, unless
    `allow_underwater`.
    """

    def schema(source: Source, header: Header) -> list[Column]:
        kinds = _position_kinds("side" in header.names, allow_underwater)
        return columns.known(source, header, kinds, REQUIRED, OTHER_NAMES)

    table = columns.table(Source(field, path), schema, row_limit, readers.positions)
    column, rows = table.columns, len(table.places)
    if "side" in column:
        column["size"] = np.where(column["side"] == "short", -1.0, 1.0) * column["size"]
    column.setdefault("margin", np.full(rows, "cross", object))
    column.setdefault("leverage", np.full(rows, np.nan))
    column.setdefault("mark_price", np.full(rows, np.nan))
    account, market = columns.codes(column["account"]), columns.codes(column["market"])
    _must_be_countable(table)
    _must_be_single(table, account, market)
    _must_share_collateral(table, account)
    _must_have_one_mark(table, market)
    return Positions(
        **{name: values for name, values in column.items() if name != "side"},
        path=path,
        rows=rows,
        sha256=table.sha256,
        warnings=table.notes + _far_entries(table),
        lines=table.places,
    )


def _position_kinds(sided: bool, allow_underwater: bool) -> dict[str, Kind]:
    sign = "> 0, for side says long or short" if sided else "other than 0, < 0 when short"
    money = f"a finite amount{'' if allow_underwater else ' >= 0'}, at most {MONEY_MAX:g} USD"
    least = -MONEY_MAX if allow_underwater else 0.0
    number = columns.number
    return {
        "account": columns.name(),
        "market": columns.name(),
        "side": columns.choice("long", "short"),
        "size": number(f"must be a finite number {sign}", lambda q: q > 0 if sided else q != 0),
        "entry_price": columns.price(),
        "collateral": number(f"must be {money}", lambda c: (c >= least) & (c <= MONEY_MAX)),
        "margin": columns.choice("cross", "isolated"),
        "leverage": number("must be a finite number > 0 or missing", lambda x: x > 0, True),
        "mark_price": columns.price(optional=True),
    }


def _must_be_countable(table: Table) -> None:
    """Notionals whose sums float64 can hold to a fraction of a cent."""
    size, entry, mark = (table.columns[c] for c in ("size", "entry_price", "mark_price"))
    with np.errstate(over="ignore", under="ignore"):
        notional = np.abs(size) * np.stack([entry, np.where(np.isnan(mark), entry, mark)])
    wrong = np.flatnonzero(((notional < NOTIONAL_MIN) | (notional > MONEY_MAX)).any(axis=0))
    if len(wrong):
        row = int(wrong[0])
        must = f"must be worth {NOTIONAL_MIN:g} to {MONEY_MAX:g} USD, the limit of a notional"
        raise table.error(row, "size", must, float(size[row]))


def _must_be_single(table: Table, account: np.ndarray, market: np.ndarray) -> None:
    """One row per account, market and margin mode."""
    isolated = table.columns["margin"] == "isolated"
    key = (account * (market.max() + 1) + market) * 2 + isolated
    order = np.argsort(key, kind="stable")
    again = np.flatnonzero(np.diff(key[order]) == 0)
    if len(again):
        place = again[np.argmin(order[again + 1])]
        first, row = int(order[place]), int(order[place + 1])
        must = f"must have one row per market and margin; {table.at(first)} is the same"
        raise table.error(row, "account", must, table.columns["account"][row])


def _must_share_collateral(table: Table, account: np.ndarray) -> None:
    cross = np.flatnonzero(table.columns["margin"] == "cross")
    what = "must be the same in all cross rows of an account"
    _must_agree(table, "collateral", account[cross], cross, what)


def _must_have_one_mark(table: Table, market: np.ndarray) -> None:
    known = np.flatnonzero(~np.isnan(table.columns["mark_price"]))
    what = "must be the same in all rows of a market"
    _must_agree(table, "mark_price", market[known], known, what)


def _must_agree(table: Table, column: str, group: np.ndarray, rows: np.ndarray, must: str) -> None:
    """Within a group, all `rows` have one value."""
    values = table.columns[column]
    first = np.zeros(group.max(initial=0) + 1, int)
    first[group[::-1]] = rows[::-1]  # of equal places the last assignment stays
    wrong = np.flatnonzero(values[rows] != values[first[group]])
    if len(wrong):
        row, other = int(rows[wrong[0]]), int(first[group[wrong[0]]])
        must = f"{must}; {table.at(other)} has {values[other]}"
        raise table.error(row, column, must, float(values[row]))


def _far_entries(table: Table) -> tuple[str, ...]:
    entry, mark = table.columns["entry_price"], table.columns["mark_price"]
    far = np.flatnonzero(np.abs(np.log(entry) - np.log(mark)) > np.log(FAR))
    if not len(far):
        return ()
    return (
        f"{len(far)} positions have an entry_price over {FAR:g} times the mark_price or under a "
        f"{FAR:g}th of it, first in {table.at(int(far[0]))}",
    )
