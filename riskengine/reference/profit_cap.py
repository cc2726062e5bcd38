"""Section 4.8: winners are closed against a pool whose side they have grown too rich for."""

from collections import defaultdict

from riskengine.reference import aftermath, margin, matching, pools, records
from riskengine.reference.matching import Party
from riskengine.reference.records import Number, every_pool, sign_of


def profit_cap_stage(state, market, book, venue):
    """Each side of each pool: close profits of c = P - psi B / 2, the best-ranked first."""
    flows = records.no_flows(venue)
    profits = side_profits(state, market, book, venue)
    for pool in every_pool(venue):
        largest = max(profits[pool, 1], profits[pool, -1])
        flows.profit_cap[pool] = need(largest, pool, state, venue)
    parties = []
    standing = margin.standings(state, market, book, venue)
    for (pool, sign), profit in profits.items():
        if pools.exceeds(need(profit, pool, state, venue), pool, venue):
            left = venue.profit_left / 2
            worth = max(pools.balance_of(pool, state, venue), 0)
            amount = max(profit - left * worth, 0)
            parties += cut_side(pool, sign, amount, standing, state, market, book, venue)
    if parties:
        settle(parties, standing, state, market, book, venue, flows)
    return flows


def need(profit, pool, state, venue):
    """P / (phi / 2) - A; 0 without profit."""
    return profit / (venue.profit_cap / 2) - pools.realised(pool, state) if profit > 0 else 0


def side_profits(state, market, book, venue):
    """{(pool, sign): profit less loss of all longs, or of all shorts, of the pool's markets}."""
    found = {(pool, sign): 0 for pool in every_pool(venue) for sign in (1, -1)}
    for k, size in enumerate(state.size):
        if size != 0:
            pool = venue.pool_of_market[book.market[k]]
            found[pool, sign_of(size)] += margin.profit(k, state, market, book)
    return found


def cut_side(pool, sign, amount, standing, state, market, book, venue):
    """Winners of a side, closed as far as their profits pay for the amount.

    Markets share the amount in proportion to what their winners have.
    """
    by_market = defaultdict(list)
    facing = {(m, -sign): [] for m in range(book.markets)}
    for party in matching.account_parties(facing, {}, standing, state, market, book, venue):
        profit = margin.profit(party.position, state, market, book)
        if venue.pool_of_market[party.market] == pool and profit > 0:
            party.quantity = profit  # what is closed is counted in dollars of profit
            by_market[party.market].append(party)
    total = sum(party.quantity for group in by_market.values() for party in group)
    closing = []
    for group in by_market.values():
        there = sum(party.quantity for party in group)
        wanted = min(amount / total * there, there)
        if wanted > 0:
            matching.close_parties(group, wanted, there, "queue", False)
        closing += [party for party in group if party.closed > 0]
    for party in closing:
        size = state.size[party.position]
        party.closed = abs(size) * (party.closed / party.quantity)
        party.value = party.closed * market.mark[party.market]
    return closing


def settle(parties: list[Party], standing, state, market, book, venue, flows):
    """Winners close at the mark; the pool of the market takes their positions over."""
    aftermath.note_deleveraging(parties, [], standing, state, market, book, flows)
    nets = aftermath.net_notionals(flows.deleveraged, state, market, book)
    taken: dict[tuple[int, int], Number] = defaultdict(int)
    for party in parties:
        closed, mark = party.sign * party.closed, market.mark[party.market]
        records.trade(state, book, party.position, -closed, mark)
        taken[party.market, -party.sign] += closed
    for (m, _), size in sorted(taken.items()):
        cost = size * (market.mark[m] - 1)
        pools.pool_trade(state, venue.pool_of_market[m], m, size, cost)
    aftermath.note_aftermath(nets, state, market, book, venue, flows)
