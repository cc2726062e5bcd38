"""Sections 1 and 6: who holds what, what a step quotes, what a stage moved, and one trade."""

import math
from dataclasses import dataclass, field
from fractions import Fraction

Number = int | float | Fraction
INFINITE = math.inf
TRADER, MAKER, REST = 0, 1, 2
SELL, BUY = 0, 1
DUST = 1e-12  # of a quantity: rounding, not an amount


@dataclass
class State:
    """Who holds what (section 1), the order book's memory (2) and what the rules remember (3)."""

    size: list
    entry: list  # of the book; a maker's follows its trades (section 4.2)
    cash: list
    pool_size: list  # [pool][market]
    pool_cash: list
    pool_basis: list  # [pool][market]
    street_size: list
    debt: list  # owed, positive; as a holder it has the cash -debt
    unfunded_size: list
    cooldown: list
    since: list  # s since a liquidation began; -1 where none goes on
    entered: list
    eaten: list  # [side][market]
    shift: list
    basis: list
    mark_before: list
    pool_peak: list  # running peak of A + U
    pool_on: list  # 1 while the drawdown rule holds
    owner_paid: list  # what its owner has paid for a pool
    street_cash: Number = 0
    fees: Number = 0
    unfunded_cash: Number = 0


@dataclass
class Market:
    """What one step's stages see of the market."""

    index: list
    depth: list
    dt: Number
    mark: list
    previous_mark: list
    orderbook: object


@dataclass
class Flows:
    """The amounts of section 6 that one stage produced, and the rule needs it met per pool."""

    loss: list  # needs of the rules; -inf where the stage did not test the rule for the pool
    inventory: list
    rate: list
    margin: list
    drawdown: list
    profit_cap: list
    queue: list  # +inf where the pool stood in the ADL queue
    exit: list  # need exit while a loss on bankrupt fills was due
    sold: list  # per market: what ADL counterparties closed, signed ...
    proceeds: list  # ... and what they received for it
    liquidated: set = field(default_factory=set)  # accounts
    deleveraged: dict = field(default_factory=dict)  # account: (equity, profit) just before
    liquidated_long: Number = 0
    liquidated_short: Number = 0
    takeover: Number = 0
    unwound: Number = 0
    fees: Number = 0
    bad_debt: Number = 0
    fund_draw: Number = 0
    social_loss: Number = 0
    deleveraged_long: Number = 0
    deleveraged_short: Number = 0
    unmatched: Number = 0
    adl_loss_mark: Number = 0
    adl_loss_index: Number = 0
    winner_bankrupted: int = 0
    naked_delta: Number = 0


def every_pool(venue):
    """The numbers of the pools."""
    return range(len(venue.capital_share))


def no_flows(venue):
    """Flows of a stage that does nothing."""
    markets = len(venue.pool_of_market)
    untested = [[-INFINITE for _ in every_pool(venue)] for _ in range(8)]
    return Flows(*untested, sold=[0] * markets, proceeds=[0] * markets)


def opening(book, venue):
    """The state before the first step: the book as given, everybody else empty, marks at 1."""
    markets, accounts = book.markets, len(book.cash)
    return State(
        size=list(book.size),
        entry=list(book.entry),
        cash=list(book.cash),
        pool_size=[[0] * markets for _ in every_pool(venue)],
        pool_cash=[0 for _ in every_pool(venue)],
        pool_basis=[[0] * markets for _ in every_pool(venue)],
        street_size=[0] * markets,
        debt=[0 for _ in every_pool(venue)],
        unfunded_size=[0] * markets,
        cooldown=[0] * accounts,
        since=[-1] * accounts if venue.remembers else [],
        entered=[INFINITE] * accounts,
        eaten=[[0] * markets, [0] * markets],
        shift=[0] * markets,
        basis=[0] * markets,
        mark_before=[1] * markets,
        pool_peak=[0 for _ in every_pool(venue)],
        pool_on=[0 for _ in every_pool(venue)],
        owner_paid=[0 for _ in every_pool(venue)],
    )


def sign_of(size):
    """+1 for a long, -1 for a short."""
    return 1 if size > 0 else -1


def clip(value, low, high):
    """value, but not below low nor above high."""
    return max(low, min(value, high))


def share_of(left, total):
    """left / total, from 0 to 1; what differs from nothing or from all by rounding is that."""
    share = clip(left / total, 0, 1)
    if share < DUST:
        return 0
    return 1 if share > 1 - DUST else share


def trade(state, book, position, quantity, price):
    """An account trades quantity (signed) at price: size + x, cash - x (p - 1).

    Entry at average cost: adding moves it to the size-weighted average, reducing leaves it,
    crossing zero sets it to the price (only makers ever add or cross).
    """
    held = state.size[position]
    after = held + quantity
    if quantity * after > 0:
        added = quantity if held * quantity >= 0 else after
        kept = after - added
        state.entry[position] = (kept * state.entry[position] + added * price) / after
    state.size[position] = after
    state.cash[book.account[position]] -= quantity * (price - 1)


def totals(state, book):
    """Cash and size per market over all holders: both are constants of every stage."""
    size = [
        street + nobody
        for street, nobody in zip(state.street_size, state.unfunded_size, strict=True)
    ]
    for m, held in zip(book.market, state.size, strict=True):
        size[m] += held
    for inventory in state.pool_size:
        size = [total + held for total, held in zip(size, inventory, strict=True)]
    cash = sum(state.cash) + sum(state.pool_cash) - sum(state.debt)
    return cash + state.street_cash + state.fees + state.unfunded_cash, size
