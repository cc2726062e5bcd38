"""Section 4.2: who takes forced flow."""

from riskengine.reference import margin, records
from riskengine.reference.records import BUY, MAKER, SELL


def take_forced_flow(flow, state, market, book, venue):
    """{(market, side): (quantity, price)} goes to profit takers, then makers, then the street.

    All sides and markets are taken at once, from the state after the liquidated were settled; for
    a maker's entry price its purchases of a market come before its sales.
    """
    trades, left = [], {}
    for (m, side), (quantity, price) in flow.items():
        taken = profit_takers(m, side, quantity, price, state, market, book)
        trades += taken
        left[m, side] = (max(quantity - sum(abs(x) for _, x, _ in taken), 0), price)
    for key, capacities in sorted(maker_capacities(left, state, market, book, venue).items()):
        quantity, price = left[key]
        total = sum(capacities.values())
        if total <= 0:
            continue
        share = min(quantity / total, 1)
        direction = 1 if key[1] == SELL else -1
        trades += [(k, direction * share * capacity, price) for k, capacity in capacities.items()]
        left[key] = (quantity - share * total, price)
    for k, quantity, price in trades:
        records.trade(state, book, k, quantity, price)
    street_takes(left, state)


def profit_takers(m, side, quantity, price, state, market, book):
    """[(position, trade, price)]: healthy traders and rest, on the other side, with a gain.

    Together they take min(profit_taking Q, their size), never more than Q, in proportion to size.
    """
    rate = min(market.orderbook.profit_taking, 1)
    if rate <= 0 or quantity <= 0:
        return []
    direction = 1 if side == SELL else -1
    sizes = {}
    for k, size in enumerate(state.size):
        i = book.account[k]
        if book.market[k] == m and size * direction < 0 and book.role[i] != MAKER:
            if state.entered[i] >= 1 and (state.entry[k] - price) * direction > 0:
                sizes[k] = abs(size)
    total = sum(sizes.values())
    if total <= 0:
        return []
    share = min(rate * quantity / total, 1)
    return [(k, direction * share * size, price) for k, size in sizes.items()]


def maker_capacities(left, state, market, book, venue):
    """{(market, side): {position: capacity}} of makers with entered >= 1.

    Capacity is g w / (p iota) + opposite inventory: free margin g = max(e - IM, 0) is divided over
    sides and markets by demand weight w = q p iota / (sum of them).
    """
    demand = {
        (m, side): quantity * price * venue.tier_initial[m][0]
        for (m, side), (quantity, price) in left.items()
        if quantity > 0
    }
    free = free_margins(state, market, book, venue) if demand else {}
    total = sum(demand.values())
    result = {key: {} for key in demand}
    for k, i in enumerate(book.account):
        for side in (SELL, BUY):
            key = (book.market[k], side)
            if i in free and key in demand:
                cost = left[key][1] * venue.tier_initial[key[0]][0]
                opposite = -state.size[k] if side == SELL else state.size[k]
                result[key][k] = free[i] * (demand[key] / total) / cost + max(opposite, 0)
    return result


def free_margins(state, market, book, venue):
    """{maker: max(e - IM, 0)} of the makers that were healthy at the start of the step."""
    makers = {i for i, role in enumerate(book.role) if role == MAKER and state.entered[i] >= 1}
    if not makers:
        return {}
    found = margin.standings(state, market, book, venue, makers)
    initial = margin.initial_margins(makers, state, market, book, venue)
    return {i: max(found[i].equity - initial[i], 0) for i in makers}


def street_takes(left, state):
    """The street takes the rest: {(market, side): (quantity, price)}."""
    for (m, side), (quantity, price) in left.items():
        bought = quantity if side == SELL else -quantity
        state.street_size[m] += bought
        state.street_cash -= bought * (price - 1)
