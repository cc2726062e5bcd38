"""Sections 4.3 and 4.4: a pool takes positions over, and closes them later."""

from collections import defaultdict

from riskengine.reference import clearing, liquidation, margin, pools, pricing, records, takers
from riskengine.reference.clearing import Order
from riskengine.reference.records import BUY, INFINITE, SELL, clip


def takeover_stage(state, market, book, venue):
    """Below takeover_below (and not below takeover_above): positions go to the pools at a price."""
    flows = records.no_flows(venue)
    found = margin.entrants(
        state, market, book, venue, venue.takeover_below,
        lambda standing: margin.close_out(standing, state, market, book, venue),
    )  # fmt: skip
    entering = {i: s for i, s in found.items() if takeover_allowed(s, venue)}
    if not entering:
        return flows
    before, prices, offered = list(state.size), {}, {}
    for i, standing in entering.items():
        for k in standing.margins:
            prices[k] = takeover_price(k, standing, state, market, book, venue)
        for k, part in offered_parts(i, standing, prices, state, market, book, venue).items():
            offered[k] = part * state.size[k]
    accepted = accepted_shares(offered, state, market, book, venue, flows)
    hand_to_pools(prices, offered, accepted, state, market, book, venue, flows)
    if venue.takeover_price == "mark":
        flows.bad_debt += margin.write_off(state, before, market, book, venue)
    return flows


def takeover_price(k, standing, state, market, book, venue):
    """P_bk, or the mark less discount P and penalty M_k / |size|, in the pool's favour."""
    if venue.takeover_price == "bankruptcy":
        return margin.bankruptcy_price(k, standing, state, market, book)
    mark, size = market.mark[book.market[k]], state.size[k]
    less = venue.discount * mark + venue.penalty * standing.margins[k] / abs(size)
    return mark - less if size > 0 else mark + less


def offered_parts(account, standing, prices, state, market, book, venue):
    """{position: part}: all, or the least that restores margin at these prices; dust goes along."""
    if venue.takeover_sizing == "full":
        return dict.fromkeys(standing.margins, 1)
    cost = sum(state.size[k] * (market.mark[book.market[k]] - prices[k]) for k in standing.margins)
    part = liquidation.fraction_to_margin(standing, cost, venue)
    part *= liquidation.ramp(account, state, venue)
    parts = {}
    for k in standing.margins:
        notional = abs(state.size[k]) * market.mark[book.market[k]]
        parts[k] = 1 if (1 - part) * notional < venue.dust else part
    return parts


def takeover_allowed(standing, venue):
    """e >= takeover_above M; -inf is no lower bound."""
    lowest = venue.takeover_above
    return lowest == -INFINITE or standing.equity >= lowest * standing.maintenance


def accepted_shares(offered, state, market, book, venue, flows):
    """{pool: a}: the share that a pool accepts of every piece it is offered.

    1, unless the venue has the rule `inventory` and N1 / cap - A exceeds the pool's capital, or the
    rule `rate` and what is offered, over what it may take in the step, does.
    """
    after = [list(sizes) for sizes in state.pool_size]
    for k, quantity in offered.items():
        after[venue.pool_of_market[book.market[k]]][book.market[k]] += quantity
    shares = {}
    for pool in sorted({venue.pool_of_market[book.market[k]] for k in offered}):
        shares[pool] = 1
        if "rate" in venue.triggers:
            arriving = [
                new - old for new, old in zip(after[pool], state.pool_size[pool], strict=True)
            ]
            asked = pools.net_inventory(arriving, market)
            shares[pool] = share_within_rate(pool, asked, market, venue, flows)
        if "inventory" in venue.triggers:
            now = pools.net_inventory(state.pool_size[pool], market)
            then = pools.net_inventory(after[pool], market)
            within = share_within_cap(pool, now, then, state, venue, flows)
            shares[pool] = min(shares[pool], within)
    return shares


def share_within_rate(pool, asked, market, venue, flows):
    """a = clip(rate F dt / N, 0, 1) where N / (rate dt) exceeds the capital; 1 otherwise."""
    if asked <= 0:
        return 1
    most = venue.rate_cap[pool] * market.dt
    need = flows.rate[pool] = asked / most
    if not pools.exceeds(need, pool, venue):
        return 1
    return clip(most * pools.capital_of(pool, venue) / asked, 0, 1)


def share_within_cap(pool, now, then, state, venue, flows):
    """a = clip((cap B - N0) / (N1 - N0), 0, 1) in breach; 1 otherwise and where N1 <= N0."""
    cap = venue.inventory_cap[pool]
    if then <= now or cap == INFINITE:
        return 1
    need = flows.inventory[pool] = then / cap - pools.realised(pool, state)
    if not pools.exceeds(need, pool, venue):
        return 1
    return clip((cap * pools.balance_of(pool, state, venue) - now) / (then - now), 0, 1)


def hand_to_pools(prices, offered, accepted, state, market, book, venue, flows):
    """Accounts trade the accepted share at their price; a pool books longs and shorts as one trade each.

    Longs first: with average cost the order matters for A and U (not for their sum) where a pool is
    offered both sides of a market in one stage.
    """
    received = {SELL: defaultdict(int), BUY: defaultdict(int)}
    costs = {SELL: defaultdict(int), BUY: defaultdict(int)}
    for k, price in prices.items():
        m = book.market[k]
        quantity = accepted[venue.pool_of_market[m]] * offered[k]
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
            if quantity > 0 and not liquidation.bypassed(m, state, venue):
                orders.append(Order(m, side, quantity, pool=pool))
    return orders
