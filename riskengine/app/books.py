"""The open positions of a run: drawn from the law, or read from a file."""

import dataclasses
from dataclasses import dataclass

import jax
import numpy as np

from riskengine.app import data, history
from riskengine.app.config import Config, VenueConfig
from riskengine.errors import InputError, printable
from riskengine.montecarlo import keys
from riskengine.montecarlo.keys import Stream
from riskengine.specs import population
from riskengine.specs.book import REST, TRADER, Book, Holdings, open_interest, pack

BALANCED = 1e-9  # of a market's gross size: what a complete book may be out of balance


@dataclass(frozen=True)
class OpenBook:
    """The books of a run and the names that go with them."""

    markets: tuple[str, ...]
    holdings: tuple[Holdings, ...]
    names: tuple[np.ndarray, ...]  # of the accounts, per book
    complete: bool
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)  # file → SHA-256
    notes: tuple[str, ...] = ()


def opening(config: Config, key: jax.Array) -> OpenBook:
    """The books that the configuration asks for."""
    return _drawn(config, key) if config.book.path is None else _read(config)


def packed(opened: OpenBook, config: Config) -> tuple[Book, list[np.ndarray]]:
    """All books in shapes that they share, stacked; and whose account every slot is."""
    adl = config.venue.adl
    in_order = adl.allocation == "sequence" or adl.ranking == "line"  # of accounts
    book, rows, _ = pack(
        opened.holdings,
        len(opened.markets),
        rest_in_adl=config.book.rest_in_adl,
        dtype=config.simulation.precision,
        together=not in_order,
    )
    return book, list(rows)


def _drawn(config: Config, key: jax.Array) -> OpenBook:
    """Independent books of the population, all with the same open interest."""
    law = build_population(config)
    drawn = (
        population.sample(law, keys.stream(key, Stream.BOOK, number))
        for number in range(config.book.books)
    )
    markets = tuple(config.book.markets)
    holdings = tuple(_margined(book, config.venue, markets) for book in drawn)
    names = tuple(
        np.asarray([f"account {i}" for i in range(len(h.cash))], object) for h in holdings
    )
    return OpenBook(markets=markets, holdings=holdings, names=names, complete=True)


def build_population(config: Config) -> population.Population:
    """The law of synthetic books; nobody opens with more leverage than the venue's first tier."""
    book, margin = config.book, config.venue.margin
    share = np.asarray([book.market_share_pct[m] for m in book.markets], float)
    highest = [margin.tables[margin.markets.get(m, margin.default)][0][1] for m in book.markets]
    cap = np.minimum(highest, book.leverage_cap or np.inf)
    law = population.Population()
    return dataclasses.replace(
        law,
        accounts=book.accounts,
        cash=tuple(cash / book.leverage for cash in law.cash),
        makers=book.makers,
        maker_leverage=book.maker_leverage,
        market_share=tuple((share / share.sum()).tolist()),
        long_share=0.01 * book.long_share_pct,
        long_leverage=book.long_leverage,
        leverage_cap=tuple(cap.tolist()),
        open_interest=book.open_interest_usd,
    )


def _margined(holdings: Holdings, venue: VenueConfig, markets: tuple[str, ...]) -> Holdings:
    """Give every account at least the initial margin of its positions' tiers."""
    tables = [
        venue.margin.tables[venue.margin.markets.get(m, venue.margin.default)] for m in markets
    ]
    notional, needed = np.abs(holdings.size), np.zeros(len(holdings.size))
    for market, rows in enumerate(tables):
        mine = holdings.market == market
        tier = np.searchsorted([row[0] for row in rows], notional[mine], side="right") - 1
        needed[mine] = notional[mine] / np.asarray([row[1] for row in rows], float)[tier]
    initial = np.bincount(holdings.account, needed, minlength=len(holdings.cash))
    return dataclasses.replace(holdings, cash=np.maximum(holdings.cash, initial))


# A book from a file


def _read(config: Config) -> OpenBook:
    """Positions of a file; what is missing on the other side is held by `rest`."""
    book = config.book
    read = data.read_positions if book.reader == "positions" else history.hyperliquid_snapshot
    rows = read(str(book.path), allow_underwater=book.allow_underwater)
    markets = tuple(sorted(set(rows.market), key=_by_notional(rows)))
    holdings, names = _accounts(rows, markets)
    missing = _imbalance(holdings, len(markets))
    notes = list(rows.warnings) + _without_table(markets, config.venue)
    if book.complete:
        _must_balance(missing, holdings, markets)
    else:
        holdings, names = _with_rest(holdings, names, missing, book.rest_leverage)
        notes.append(_share_of_rest(holdings, len(markets)))
    return OpenBook(
        markets=markets,
        holdings=(holdings,),
        names=(names,),
        complete=book.complete,
        inputs={rows.path: rows.sha256},
        notes=tuple(notes),
    )


def _without_table(markets: tuple[str, ...], venue: VenueConfig) -> list[str]:
    """Markets of the file that the venue's margin tables do not name: a misspelt one is among them."""
    unknown = [m for m in markets if m not in venue.margin.markets]
    if not unknown or not venue.margin.markets:
        return []
    listed = ", ".join(printable(m, 40) for m in unknown[:8]) + (" …" if len(unknown) > 8 else "")
    table = venue.margin.default
    return [f"{len(unknown)} markets have no margin table of their own and get {table}: {listed}"]


def _by_notional(rows):
    """Markets with most notional first."""
    total: dict[str, float] = {}
    for market, notional in zip(rows.market, np.abs(rows.size) * rows.mark_price, strict=True):
        total[market] = total.get(market, 0.0) + float(notional)
    return lambda market: (-total[market], market)


def _accounts(rows, markets: tuple[str, ...]) -> tuple[Holdings, np.ndarray]:
    """Rows as accounts and positions, relative to the opening marks.

    A cross account is one account; every isolated position is an account of its own. Equity at
    the opening mark is collateral plus unrealised profit.
    """
    if np.isnan(rows.mark_price).any():
        row = int(np.flatnonzero(np.isnan(rows.mark_price))[0])
        place = row + 1 if rows.lines is None else int(rows.lines[row])
        where = f"book.path {rows.path}:{place} (column mark_price)"
        raise InputError(where, "must be given in every row: sizes are measured at it", "nothing")
    owners = [
        (account, market if kind == "isolated" else "")
        for account, market, kind in zip(rows.account, rows.market, rows.margin, strict=True)
    ]
    number_of = {owner: place for place, owner in enumerate(sorted(set(owners)))}
    account = np.asarray([number_of[owner] for owner in owners])
    _, first = np.unique(account, return_index=True)
    names = np.asarray(
        [f"{name} / {market}" if market else name for name, market in number_of], object
    )
    number = {name: place for place, name in enumerate(markets)}
    gain = rows.size * (rows.mark_price - rows.entry_price)
    cash = rows.collateral[first] + np.bincount(account, gain, minlength=len(names))
    holdings = Holdings(
        cash=cash,
        role=np.full(len(names), TRADER),
        account=account,
        market=np.asarray([number[m] for m in rows.market]),
        size=rows.size * rows.mark_price,
        entry=rows.entry_price / rows.mark_price,
    )
    return holdings, names


def _imbalance(holdings: Holdings, markets: int) -> np.ndarray:
    """Net units per market."""
    return np.bincount(holdings.market, holdings.size, minlength=markets)


def _must_balance(missing: np.ndarray, holdings: Holdings, markets: tuple[str, ...]) -> None:
    gross = np.bincount(holdings.market, np.abs(holdings.size), minlength=len(markets))
    for market in np.flatnonzero(np.abs(missing) > BALANCED * gross):
        must = "must be false where longs and shorts of a market differ: positions are missing"
        more = f"true, with {markets[market]} net {missing[market]:.6g} USD"
        raise InputError("book.complete", must, more)


def _with_rest(
    holdings: Holdings, names: np.ndarray, missing: np.ndarray, leverage: float
) -> tuple[Holdings, np.ndarray]:
    """Add the holder of the other side of every market."""
    markets = np.arange(len(missing))
    held = Holdings(
        cash=np.append(holdings.cash, max(np.abs(missing).sum() / leverage, 1.0)),
        role=np.append(holdings.role, REST),
        account=np.concatenate([holdings.account, np.full(len(missing), len(holdings.cash))]),
        market=np.concatenate([holdings.market, markets]),
        size=np.concatenate([holdings.size, -missing]),
        entry=np.concatenate([holdings.entry, np.ones(len(missing))]),
    )
    return held, np.append(names, "rest")


def _share_of_rest(holdings: Holdings, markets: int) -> str:
    mine = holdings.account == len(holdings.cash) - 1
    share = np.abs(holdings.size[mine]).sum() / np.abs(holdings.size).sum()
    return (
        f"partial book: {100 * share:.1f} % of all notional is held by `rest`, no fund target; "
        "where the file holds all accounts set book.complete=true"
    )


def concentrated(opened: OpenBook, config: Config, initial: float) -> OpenBook:
    """Give one more account a share of a market; its side of the market makes room for it.

    Equity is the initial margin where the account withdraws all it can, twice that otherwise.
    """
    law = config.scenario.concentration
    market = opened.markets.index(law.market)
    equity = initial if law.withdraws else 2.0 * initial
    return dataclasses.replace(
        opened,
        holdings=tuple(
            _concentrate(
                h, market, 0.01 * law.share_pct, law.side == "long", equity, len(opened.markets)
            )
            for h in opened.holdings
        ),
        names=tuple(np.append(names, "concentrated") for names in opened.names),
    )


def _concentrate(
    holdings: Holdings, market: int, share: float, long: bool, equity: float, markets: int
) -> Holdings:
    sign = 1.0 if long else -1.0
    interest = open_interest(holdings, markets)[market]
    same = (holdings.market == market) & (sign * holdings.size > 0)
    room = 1.0 - share * interest / np.abs(holdings.size[same]).sum()
    size = np.where(same, holdings.size * room, holdings.size)
    taken = share * interest
    return Holdings(
        cash=np.append(holdings.cash, equity * taken),
        role=np.append(holdings.role, TRADER),
        account=np.append(holdings.account, len(holdings.cash)),
        market=np.append(holdings.market, market),
        size=np.append(size, sign * taken),
        entry=np.append(holdings.entry, 1.0),
    )
