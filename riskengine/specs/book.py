"""The open positions of a venue at the start, and how they lie in memory."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from riskengine.specs.venue import Margin
from riskengine.types import pytree, static

TRADER, MAKER, REST = 0, 1, 2
FEW = 4  # markets
LARGE = 2**14  # positions: from here on a stage may work on a part of the book (waterfall.part)
FALLS, PROFITS = 64, 4  # a large book lies in blocks: by when accounts fall, then by their profit


@dataclasses.dataclass(frozen=True)
class Layout:
    """Shapes that all books of a run share.

    Positions are kept by account. Accounts with the same number of slots (a power of two) form a
    class; a class of n accounts with w slots is a block of w rows of n, so a sum per account adds
    rows. `markets` lists, per class of markets, the slots of each and the markets in it.
    """

    accounts: tuple[tuple[int, int], ...]  # (slots, number of accounts), in the order of accounts
    markets: tuple[tuple[int, tuple[int, ...]], ...]  # (slots, markets)
    dense: int  # the last accounts (makers, rest) have one slot per market, in market order
    blocks: int = 1  # of accounts that fall together: an equal piece of every class but the dense

    @property
    def number_of_accounts(self) -> int:
        return sum(count for _, count in self.accounts)

    @property
    def number_of_positions(self) -> int:
        return sum(slots * count for slots, count in self.accounts)

    @property
    def number_of_markets(self) -> int:
        return sum(len(members) for _, members in self.markets)


@pytree
class Totals:
    """What all holders of a book have together at the start: constants of every stage."""

    cash: Float[Array, ""]
    gross: Float[Array, ""]  # Σ |cash|
    size: Float[Array, " markets"]
    open_interest: Float[Array, " markets"]  # half of Σ |size|


@pytree
class Book:
    """Accounts and positions at the opening marks; prices relative to those (docs/model.md 1)."""

    size: Float[Array, " positions"]  # signed, in units worth 1 USD at the opening mark
    entry: Float[Array, " positions"]  # average entry price / opening mark
    market: Int[Array, " positions"]
    cash: Float[Array, " accounts"]  # equity at the opening marks, USD
    role: Int[Array, " accounts"]  # TRADER, MAKER or REST
    by_market: Int[Array, " market_slots"]  # position of each slot, market by market; 0 where empty
    occupied: Bool[Array, " market_slots"]
    rest_in_adl: Float[Array, ""]  # 1 where `rest` can be deleveraged
    members: Float[Array, " accounts"] | None = None  # equal accounts behind each; None: one
    margin: Margin | None = None  # the venue's tiers per position, once attached
    totals: "Totals | None" = None  # once attached
    layout: Layout = static()


@dataclasses.dataclass(frozen=True)
class Holdings:
    """A book as plain columns: one row per account and one per position, in any order."""

    cash: np.ndarray  # per account, USD, equity at the opening marks
    role: np.ndarray  # per account
    account: np.ndarray  # per position: row of its account
    market: np.ndarray  # per position
    size: np.ndarray  # per position, units
    entry: np.ndarray  # per position, relative to the opening mark
    members: np.ndarray | None = None  # per account: equal accounts behind it; None: one each


def gross(holdings: Holdings) -> np.ndarray:
    """Notional of each account at the opening marks, longs and shorts added."""
    return np.bincount(holdings.account, np.abs(holdings.size), minlength=len(holdings.cash))


def net(holdings: Holdings) -> np.ndarray:
    """Longs less shorts of each account at the opening marks."""
    return np.bincount(holdings.account, holdings.size, minlength=len(holdings.cash))


def traded(holdings: Holdings) -> np.ndarray:
    """`gross` of traders, 0 for makers and `rest`."""
    return np.where(holdings.role == TRADER, gross(holdings), 0.0)


def open_interest(holdings: Holdings, markets: int) -> np.ndarray:
    """Units open per market: half of all sizes, since every long has a short."""
    return 0.5 * np.bincount(holdings.market, np.abs(holdings.size), minlength=markets)


def pack(
    books: Sequence[Holdings],
    markets: int,
    rest_in_adl: bool = False,
    dtype: str = "float64",
    together: bool = False,
) -> tuple[Book, list[np.ndarray], list[np.ndarray]]:
    """Lay books out in shapes that they share, so that one compiled program serves them all.

    Returns the books stacked along a leading axis and, per book, the row in its `Holdings` of
    every account and of every position (−1 where a slot is empty). With `together` large books are
    laid out in blocks of accounts that fall together: faster, where no rule reads their order.
    """
    layout = _layout(books, markets)
    if together and layout.number_of_positions >= LARGE and markets <= FEW:
        layout = _layout(books, markets, FALLS * PROFITS)
    packed = [_place(holdings, layout, rest_in_adl, dtype) for holdings in _alike(books)]
    each = [Book(layout=layout, **fields) for fields, _, _ in packed]
    return (
        jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *each),
        [accounts for _, accounts, _ in packed],
        [positions for _, _, positions in packed],
    )


def some(books: Book, first: int, last: int) -> Book:
    """Stacked books from `first` until before `last`."""
    return jax.tree.map(lambda x: x[first:last], books)


def _alike(books: Sequence[Holdings]) -> Sequence[Holdings]:
    """Every book says how many accounts stand behind each, if one of them does."""
    if all(holdings.members is None for holdings in books):
        return books
    return [
        dataclasses.replace(h, members=np.ones(len(h.cash))) if h.members is None else h
        for h in books
    ]


def _power_of_two(count: np.ndarray | int) -> np.ndarray | np.integer:
    return 1 << np.ceil(np.log2(np.maximum(count, 1))).astype(int)


def _eighths(count: np.ndarray) -> np.ndarray:
    """Rounded up to an eighth of a power of two: few classes, at most an eighth wasted."""
    step = np.maximum(_power_of_two(count) // 16, 1)
    return -(-np.maximum(count, 1) // step) * step


def _is_dense(holdings: Holdings) -> np.ndarray:
    return holdings.role != TRADER


def _layout(books: Sequence[Holdings], markets: int, blocks: int = 1) -> Layout:
    """The smallest shapes that hold every book, in so many blocks."""
    need: dict[int, int] = {}
    dense = max(int(_is_dense(b).sum()) for b in books)
    wide = int(_power_of_two(markets))
    in_market = np.zeros(markets, int)
    for holdings in books:
        count = np.bincount(holdings.account, minlength=len(holdings.cash))
        slots = _power_of_two(count[~_is_dense(holdings)])
        for width, accounts in zip(*np.unique(slots, return_counts=True), strict=True):
            need[int(width)] = max(need.get(int(width), 0), int(accounts))
        traders = ~_is_dense(holdings)[holdings.account]
        in_market = np.maximum(
            in_market, np.bincount(holdings.market[traders], minlength=markets) + dense
        )
    accounts = tuple((slots, -(-n // blocks) * blocks) for slots, n in sorted(need.items()))
    accounts += ((wide, dense),) if dense else ()
    width = _eighths(in_market)
    if markets <= FEW:  # one class: a little more memory, far fewer operations
        width[:] = width.max()
    if markets == 1:  # positions are in the market's order as they are
        width[:] = sum(slots * count for slots, count in accounts)
    classes = tuple(
        (int(w), tuple(int(m) for m in np.flatnonzero(width == w))) for w in np.unique(width)
    )
    return Layout(accounts=accounts, markets=classes, dense=dense, blocks=blocks)


def _place(
    holdings: Holdings, layout: Layout, rest_in_adl: bool, dtype: str
) -> tuple[dict, np.ndarray, np.ndarray]:
    """One book in the given layout."""
    size = np.zeros(layout.number_of_positions)
    entry = np.ones(layout.number_of_positions)
    market = np.zeros(layout.number_of_positions, np.int32)
    cash = np.zeros(layout.number_of_accounts)
    role = np.zeros(layout.number_of_accounts, np.int32)
    members = np.ones(layout.number_of_accounts)
    account_row = np.full(layout.number_of_accounts, -1)
    position_row = np.full(layout.number_of_positions, -1)
    used = np.zeros(layout.number_of_positions, bool)

    count = np.bincount(holdings.account, minlength=len(holdings.cash))
    order = np.argsort(holdings.account, kind="stable")
    first = np.concatenate([[0], np.cumsum(count)])
    dense = _is_dense(holdings)
    slots_needed = _power_of_two(count)
    account_offset = position_offset = 0
    blocks = [
        (w, n, False) for w, n in layout.accounts[: len(layout.accounts) - bool(layout.dense)]
    ]
    blocks += [(w, n, True) for w, n in layout.accounts[len(blocks) :]]
    for width, number, is_dense in blocks:
        rows = np.flatnonzero(dense if is_dense else ~dense & (slots_needed == width))
        if layout.blocks > 1 and not is_dense:
            rows = _side_by_side(holdings, rows, number // FALLS)
        here = account_offset + np.arange(len(rows))
        cash[here], role[here], account_row[here] = holdings.cash[rows], holdings.role[rows], rows
        if holdings.members is not None:
            members[here] = holdings.members[rows]
        for column, row in enumerate(rows):
            mine = order[first[row] : first[row + 1]]
            slot = holdings.market[mine] if is_dense else np.arange(len(mine))
            place = position_offset + slot * number + column
            size[place], entry[place] = holdings.size[mine], holdings.entry[mine]
            market[place], position_row[place], used[place] = holdings.market[mine], mine, True
        if is_dense:  # a maker may trade in every market
            every = position_offset + np.arange(layout.number_of_markets)[:, None] * number
            every = every + np.arange(len(rows))
            used[every] = True
            market[every] = np.arange(layout.number_of_markets)[:, None]
        account_offset += number
        position_offset += width * number

    table = _by_market(market, used, layout)
    fields = dict(
        size=jnp.asarray(size, dtype),
        entry=jnp.asarray(entry, dtype),
        market=jnp.asarray(market),
        cash=jnp.asarray(cash, dtype),
        role=jnp.asarray(role),
        by_market=jnp.asarray(np.where(table < len(size), table, 0), jnp.int32),
        occupied=jnp.asarray(table < len(size)),
        rest_in_adl=jnp.asarray(rest_in_adl, float),
        members=None if holdings.members is None else jnp.asarray(members, dtype),
    )
    return fields, account_row, position_row


def _side_by_side(holdings: Holdings, rows: np.ndarray, group: int) -> np.ndarray:
    """Accounts in groups of so many that fall together, and within a group by profit.

    An account falls at the common move of all marks at which its equity is gone.
    """
    count, all_, side = len(holdings.cash), gross(holdings), net(holdings)
    fall = np.where(side != 0, -holdings.cash / np.where(side != 0, side, 1.0), np.inf)
    profit = np.bincount(holdings.account, holdings.size * (1.0 - holdings.entry), count)
    rows = rows[np.argsort(fall[rows], kind="stable")]
    share = profit[rows] / np.where(all_[rows] > 0, all_[rows], 1.0)
    return rows[np.lexsort([share, np.arange(len(rows)) // group])]


def _by_market(market: np.ndarray, used: np.ndarray, layout: Layout) -> np.ndarray:
    """Which position each slot of each market reads; the number of positions where empty."""
    empty = layout.number_of_positions
    table = []
    for width, members in layout.markets:
        block = np.full((width, len(members)), empty)
        for column, m in enumerate(members):
            positions = np.flatnonzero(used & (market == m))
            rows = positions if layout.number_of_markets == 1 else np.arange(len(positions))
            block[rows, column] = positions
        table.append(block.ravel())
    return np.concatenate(table)
