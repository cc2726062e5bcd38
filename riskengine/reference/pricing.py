"""Section 2: the order book, mid, fill prices, and how a step begins."""

import math

from riskengine.reference.records import BUY, INFINITE, SELL, Market


def distance(eaten, depth, orderbook):
    """delta: the best price's distance, min(0.01 (eaten/D)^(1/a), distance_max); 0 if uneaten."""
    if eaten <= 0:
        return 0
    if depth <= 0:
        return orderbook.distance_max
    return min(0.01 * (eaten / depth) ** (1 / orderbook.exponent), orderbook.distance_max)


def depth_within(reach, depth, orderbook):
    """Quantity of the whole book nearer than the distance reach: D (100 reach)^a."""
    return depth * (100 * reach) ** orderbook.exponent


def distance_integral(eaten, depth, orderbook):
    """Integral of delta from 0 to eaten: a power law inside distance_max, constant beyond."""
    inside = min(eaten, depth_within(orderbook.distance_max, depth, orderbook))
    beyond = orderbook.distance_max * (eaten - inside)
    if inside <= 0:
        return beyond
    power = 1 + 1 / orderbook.exponent
    return 0.01 * depth / power * (inside / depth) ** power + beyond


def mean_distance(eaten, quantity, depth, orderbook):
    """Average distance that a flow pays which takes the book from eaten to eaten + quantity."""
    if quantity == 0:
        return distance(eaten, depth, orderbook)
    after = distance_integral(eaten + quantity, depth, orderbook)
    return (after - distance_integral(eaten, depth, orderbook)) / quantity


def displacement(state, m, depth, orderbook):
    """Log distance of mid from index: shift - (1 - permanent) (delta_bid - delta_ask)."""
    bid = distance(state.eaten[SELL][m], depth[SELL][m], orderbook)
    ask = distance(state.eaten[BUY][m], depth[BUY][m], orderbook)
    return state.shift[m] - (1 - orderbook.permanent) * (bid - ask)


def mid_price(state, market, m):
    """mid = index exp(displacement)."""
    return market.index[m] * math.exp(displacement(state, m, market.depth, market.orderbook))


def fill_price(state, market, m, side, quantity):
    """Average price of a forced flow: mid moved by the average distance beyond the best price."""
    eaten, depth, orderbook = state.eaten[side][m], market.depth[side][m], market.orderbook
    beyond = mean_distance(eaten, quantity, depth, orderbook) - distance(eaten, depth, orderbook)
    move = -beyond if side == SELL else beyond
    factor = 1 + move if orderbook.distance == "linear" else math.exp(move)
    return mid_price(state, market, m) * factor


def eat(state, market, m, side, quantity):
    """A flow leaves its trace: eaten + Q, and the permanent share of the move goes into shift."""
    depth, orderbook = market.depth[side][m], market.orderbook
    best_before = distance(state.eaten[side][m], depth, orderbook)
    state.eaten[side][m] += quantity
    moved = distance(state.eaten[side][m], depth, orderbook) - best_before
    state.shift[m] += orderbook.permanent * (-moved if side == SELL else moved)


def advance(state, quote, orderbook, venue):
    """A step begins: the book refills, basis follows mid, the venue marks; returns the market."""
    left = 0 if orderbook.resilience == INFINITE else math.exp(-orderbook.resilience * quote.dt)
    weight = 1 if venue.mark_window == 0 else 1 - math.exp(-quote.dt / venue.mark_window)
    mark = []
    for m, index in enumerate(quote.index):
        for side in (SELL, BUY):
            state.eaten[side][m] *= left
        displaced = displacement(state, m, quote.depth, orderbook)
        state.basis[m] += weight * (displaced - state.basis[m])
        mark.append(mark_price(index, displaced, state.basis[m], venue.mark_rule))
    previous, state.mark_before = state.mark_before, mark
    return Market(list(quote.index), quote.depth, quote.dt, mark, previous, orderbook)


def mark_price(index, displaced, basis, rule):
    """index, mid, or index moved by the median of (0, mid's displacement, its average)."""
    moves = {"index": 0, "mid": displaced, "median": sorted((0, displaced, basis))[1]}
    return index if rule == "index" else index * math.exp(moves[rule])
