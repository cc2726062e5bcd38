"""Sections 4.3 and 4.4: a pool takes positions over, and closes them later."""

from collections import defaultdict

from riskengine.reference import clearing, margin, pools, pricing, records, takers
from riskengine.reference.clearing import Order
from riskengine.reference.records import BUY, INFINITE, SELL, clip


def takeover_stage(state, market, book, venue):
    """Below takeover_below (and not below takeover_above): positions go to the pools at P_bk."""
    flows = records.no_flows(venue)
    found = margin.entrants(state, market, book, venue, venue.takeover_below)
    entering = {i: s for i, s in found.items() if takeover_allowed(s, venue)}
    if not entering:
        return flows
    prices = {
        k: margin.bankruptcy_price(k, standing, state, market, book)
        for standing in entering.values()
        for k in standing.margins
    }
    accepted = accepted_shares(prices, state, market, book, venue, flows)
    hand_to_pools(prices, accepted, state, market, book, venue, flows)
    return flows


def takeover_allowed(standing, venue):
    """e >= takeover_above M; -inf is no lower bound."""
    lowest = venue.takeover_above
    return lowest == -INFINITE or standing.equity >= lowest * standing.maintenance


def accepted_shares(positions, state, market, book, venue, flows):
    """{pool: a}: the share that a pool accepts of every piece it is offered.

    1, unless the venue has the rule `inventory` and N1 / cap - A exceeds the pool's capital.
    """
    after = [list(sizes) for sizes in state.pool_size]
    for k in positions:
        after[venue.pool_of_market[book.market[k]]][book.market[k]] += state.size[k]
    shares = {}
    for pool in sorted({venue.pool_of_market[book.market[k]] for k in positions}):
        shares[pool] = 1
        if "inventory" in venue.triggers:
            now = pools.net_inventory(state.pool_size[pool], market)
            then = pools.net_inventory(after[pool], market)
            shares[pool] = share_within_cap(pool, now, then, state, venue, flows)
    return shares


def share_within_cap(pool, now, then, state, venue, flows):
    """a = clip((cap B - N0) / (N1 - N0), 0, 1) in breach; 1 otherwise and where N1 <= N0."""
    if then <= now:
        return 1
    cap = venue.inventory_cap[pool]
    need = flows.inventory[pool] = then / cap - pools.realised(pool, state)
    if need <= pools.capital_of(pool, venue):
        return 1
    return clip((cap * pools.balance_of(pool, state, venue) - now) / (then - now), 0, 1)


def hand_to_pools(prices, accepted, state, market, book, venue, flows):
    """Accounts trade the accepted share at P_bk; a pool books longs and shorts as one trade each.

    Longs first: with average cost the order matters for A and U (not for their sum) where a pool is
    offered both sides of a market in one stage.
    """
    received = {SELL: defaultdict(int), BUY: defaultdict(int)}
    costs = {SELL: defaultdict(int), BUY: defaultdict(int)}
    for k, price in prices.items():
        m = book.market[k]
        quantity = accepted[venue.pool_of_market[m]] * state.size[k]
        if quantity == 0:
            continue
        records.trade(state, book, k, -quantity, price)
        side = SELL if quantity > 0 else BUY
        received[side][m] += quantity
        costs[side][m] += quantity * (price - 1)
        flows.takeover += abs(quantity) * market.mark[m]
        flows.liquidated.add(book.account[k])
    for side in (SELL, BUY):
        for m, quantity in received[side].items():
            pools.pool_trade(state, venue.pool_of_market[m], m, quantity, costs[side][m])


def unwind_stage(state, market, book, venue):
    """Each pool sends min(|size|, unwind_rate D dt) per market through the order book."""
    flows = records.no_flows(venue)
    orders = unwind_orders(state, market, venue)
    if not orders:
        return flows
    before = list(state.size)
    cleared = clearing.clear_all(orders, state, market)
    for order in orders:
        quantity = -order.sign * order.filled
        pools.pool_trade(state, order.pool, order.market, quantity, quantity * (order.price - 1))
        flows.unwound += order.filled * order.price
    takers.take_forced_flow(clearing.executed(orders), state, market, book, venue)
    for (m, side), quantity in cleared.items():
        pricing.eat(state, market, m, side, quantity)
    flows.bad_debt += margin.write_off(state, before, market, book, venue)
    return flows


def unwind_orders(state, market, venue):
    """One order without limit per pool and market with inventory."""
    orders = []
    for pool, sizes in enumerate(state.pool_size):
        for m, size in enumerate(sizes):
            side = SELL if size > 0 else BUY
            allowed = venue.unwind_rate[pool] * market.depth[side][m] * market.dt
            quantity = min(abs(size), allowed)
            if quantity > 0:
                orders.append(Order(m, side, quantity, pool=pool))
    return orders
