"""Section 4.1: forced orders clear at one price per market and side."""

import math
from collections import defaultdict
from dataclasses import dataclass

from riskengine.reference import pricing
from riskengine.reference.records import INFINITE, SELL, Number, share_of


@dataclass
class Order:
    """A forced order of an account's position or of a pool's inventory."""

    market: int
    side: int
    quantity: Number
    position: int | None = None
    pool: int | None = None
    fraction: Number = 1
    limit: Number = INFINITE  # the distance that it tolerates
    by_fund: bool = False  # the fund settles its fill at the bankruptcy price
    bankruptcy_price: Number = 0
    limit_price: Number = 0
    filled: Number = 0
    price: Number = 0

    @property
    def sign(self):
        """Of the position that is closed."""
        return 1 if self.side == SELL else -1


def tolerance(order, state, market):
    """Distance up to which the order may trade: best + ln(mid/P) to sell, best + ln(P/mid) to buy.

    P is the order's limit price.

    In a linear book 1 - P/mid and P/mid - 1 take the place of the logarithms. A price <= 0 is no
    limit for a seller and cannot be met for a buyer.
    """
    price = order.limit_price
    if price <= 0:
        return INFINITE if order.side == SELL else -INFINITE
    m, side = order.market, order.side
    best = pricing.distance(state.eaten[side][m], market.depth[side][m], market.orderbook)
    ratio = price / pricing.mid_price(state, market, m)
    room = 1 - ratio if market.orderbook.distance == "linear" else -math.log(ratio)
    return best + (room if side == SELL else -room)


WHOLE = 1 - 1e-9  # of an order: filled whole but for rounding


def clear_all(orders, state, market, execution="partial"):
    """Clear every (market, side) at one price each; {(market, side): quantity}.

    With all_or_none what would be filled in part is not filled.
    """
    groups = defaultdict(list)
    for order in orders:
        groups[order.market, order.side].append(order)
    cleared = {}
    for (m, side), group in groups.items():
        clear(group, m, side, state, market)
        for order in group:
            if execution == "all_or_none" and order.filled < WHOLE * order.quantity:
                order.filled = 0
        cleared[m, side] = sum(order.filled for order in group)
        price = pricing.fill_price(state, market, m, side, cleared[m, side])
        for order in group:
            order.price = price
    return cleared


def clear(orders, m, side, state, market):
    """The most tolerant orders first; each level gets what the book offers up to its distance.

    This is the rule of W and C: x* is the level that is filled in part, or lies between two levels.
    A tolerance beyond distance_max counts as distance_max: there the book is at its end.
    """
    levels = defaultdict(list)
    for order in orders:
        levels[min(order.limit, market.orderbook.distance_max)].append(order)
    taken = 0
    for reach in sorted(levels, reverse=True):
        asked = sum(order.quantity for order in levels[reach])
        room = offered(reach, m, side, state, market) - taken
        share = 1 if room >= asked else share_of(room, asked)
        for order in levels[reach]:
            order.filled = order.quantity * share
        taken += asked * share


def offered(reach, m, side, state, market):
    """C: what the book still holds up to a distance; any quantity at distance_max; fill_cap D."""
    eaten, depth, orderbook = state.eaten[side][m], market.depth[side][m], market.orderbook
    if reach >= orderbook.distance_max:
        quantity = INFINITE
    elif reach <= pricing.distance(eaten, depth, orderbook):
        quantity = 0
    else:
        quantity = pricing.depth_within(reach, depth, orderbook) - eaten
    return quantity if orderbook.fill_cap == INFINITE else min(quantity, orderbook.fill_cap * depth)


def executed(orders):
    """{(market, side): (quantity, price)} of what was really filled."""
    flow = {}
    for order in orders:
        quantity, _ = flow.get((order.market, order.side), (0, 0))
        flow[order.market, order.side] = (quantity + order.filled, order.price)
    return flow
