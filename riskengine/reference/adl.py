"""Section 4.6: auto-deleveraging. Losers, their prices, and settlement."""

from collections import defaultdict
from dataclasses import dataclass

from riskengine.reference import aftermath, margin, matching, pools, records
from riskengine.reference.records import Number, clip, every_pool, sign_of


@dataclass
class Loser:
    """A losing position: of an account (position) or of a pool."""

    market: int
    sign: int
    quantity: Number
    price: Number  # p*
    position: int | None = None
    pool: int | None = None
    bankruptcy_price: Number = 0
    closed: Number = 0


def adl_stage(state, market, book, venue):
    """Losers are closed against the other side, and what a pool cannot bear becomes debt."""
    flows = records.no_flows(venue)
    entering = {
        i: standing
        for i, standing in margin.entrants(state, market, book, venue, venue.adl_below).items()
        if not (venue.waits and state.cooldown[i] > 0)
    }
    breached = pools_in_breach(state, market, venue, flows)
    losers = account_losers(entering, state, market, book, venue)
    for pool in breached:
        losers += pool_losers(pool, state, market, venue)
    if losers:
        deleverage(losers, entering, breached, state, market, book, venue, flows)
    hand_over_shortfalls(breached, state, venue)
    return flows


def pools_in_breach(state, market, venue, flows):
    """Pools that break the rule `margin`, or whose `drawdown` rule holds, where the venue has them."""
    breached = set()
    if "drawdown" in venue.triggers:
        pools.switch(state, market, venue, flows)
        breached |= {k for k, on in enumerate(state.pool_on) if on > 0}
    if "margin" in venue.triggers:
        flows.margin = [pools.margin_need(k, state, market, venue) for k in every_pool(venue)]
        breached |= {k for k, n in enumerate(flows.margin) if pools.exceeds(n, k, venue)}
    return sorted(breached)


def account_losers(entering, state, market, book, venue):
    """All positions of the accounts that enter, by position number."""
    losers = []
    for standing in entering.values():
        for k in standing.margins:
            m, size = book.market[k], state.size[k]
            bankruptcy = margin.bankruptcy_price(k, standing, state, market, book)
            price = losing_price(venue.adl_price, bankruptcy, size, m, market, venue)
            if venue.adl_price == "bankruptcy_or_mark" and standing.equity <= 0:
                price = market.mark[m]
            losers.append(Loser(m, sign_of(size), abs(size), price, k, None, bankruptcy))
    return sorted(losers, key=lambda loser: loser.position)


def losing_price(rule, bankruptcy, size, m, market, venue):
    """p* by rule: the bankruptcy price, or the mark where that is too far from it; a quoted price.

    Quoted prices are moved by the spread against the loser.
    """
    mark = market.mark[m]
    if rule in ("bankruptcy", "bankruptcy_or_mark"):
        return mark if abs(bankruptcy - mark) > venue.deviation * mark else bankruptcy
    quoted = market.previous_mark[m] if rule == "previous_mark" else mark
    return quoted * (1 - sign_of(size) * venue.spread)


def pool_losers(pool, state, market, venue):
    """The fraction f of a breached pool's inventory, in every market."""
    equity = pools.pool_equity(pool, state, market, venue)
    margins = pools.pool_margins(pool, state, market, venue)
    prices = {}
    for m, size in enumerate(state.pool_size[pool]):
        if size != 0:
            prices[m] = pool_price(pool, m, equity, margins, state, market, venue)
    fraction = fraction_of_pool(pool, equity, sum(margins), prices, state, market, venue)
    sizes = state.pool_size[pool]
    losers = [
        Loser(m, sign_of(sizes[m]), fraction * abs(sizes[m]), price, pool=pool)
        for m, price in prices.items()
    ]
    return [loser for loser in losers if loser.quantity > 0]


def pool_price(pool, m, equity, margins, state, market, venue):
    """p* of a pool's inventory: quoted; what it cost; or where its equity is 0, or at its threshold.

    At the threshold the pool ends with (1 - r)(capital + peak), r its drawdown; never worse than mark.
    """
    rule, size = venue.pool_adl_price, state.pool_size[pool][m]
    if rule in ("mark", "previous_mark"):
        return losing_price(rule, None, size, m, market, venue)
    if rule == "cost":
        return 1 + state.pool_basis[pool][m] / size
    if rule == "threshold":
        peak = pools.capital_of(pool, venue) + state.pool_peak[pool]
        equity = min(equity - (1 - venue.drawdown[pool]) * peak, 0)
    return market.mark[m] - equity * (margins[m] / sum(margins)) / size


def fraction_of_pool(pool, equity, maintenance, prices, state, market, venue):
    """clip((theta M - E) / (theta M + g), 0, 1) ends a breach of the rule `margin`.

    1 where the price itself ends the breach, and where the drawdown rule holds.
    """
    if venue.pool_adl_price in ("bankruptcy", "threshold") or state.pool_on[pool] > 0:
        return 1
    sizes = state.pool_size[pool]
    gain = sum(sizes[m] * (price - market.mark[m]) for m, price in prices.items())
    required = venue.margin_multiple[pool] * maintenance
    if required + gain <= 0:
        return 1
    return clip((required - equity) / (required + gain), 0, 1)


def deleverage(losers, entering, breached, state, market, book, venue, flows):
    """Match every (market, losing side) on the state found, then settle all of them."""
    before = list(state.size)
    gaps = defaultdict(list)
    for loser in losers:
        gaps[loser.market, loser.sign].append(loser)
    standing = margin.standings(state, market, book, venue)
    parties = matching.account_parties(gaps, entering, standing, state, market, book, venue)
    if venue.pools_in_queue:
        parties += matching.pool_parties(gaps, breached, state, market, venue, flows)
    for (m, sign), group in gaps.items():
        facing = [p for p in parties if p.market == m and p.sign == -sign]
        if venue.policy == "top":
            facing = matching.top(facing, venue.top)
        matching.match(group, facing, venue)
    closing = [party for party in parties if party.closed > 0]
    for party in closing:
        share_with_pool(party, state, market, venue)
    aftermath.note_deleveraging(closing, losers, standing, state, market, book, flows)
    nets = aftermath.net_notionals(flows.deleveraged, state, market, book)
    settle_losers(losers, state, book, venue, flows)
    settle_parties(closing, state, book)
    aftermath.note_aftermath(nets, state, market, book, venue, flows)
    flows.bad_debt += margin.write_off(state, before, market, book, venue)


def share_with_pool(party, state, market, venue):
    """Counterparties get (1 - w) p + w mark; the pool of the market keeps the difference."""
    if venue.mark_share > 0:
        gained = venue.mark_share * (party.closed * market.mark[party.market] - party.value)
        party.value += gained
        state.pool_cash[venue.pool_of_market[party.market]] -= party.sign * gained


def settle_losers(losers, state, book, venue, flows):
    """A loser closes at its own p*; with `unfunded` an account's rest passes on at P_bk."""
    for loser in losers:
        closed = loser.sign * loser.closed
        if loser.position is None:
            pools.pool_trade(state, loser.pool, loser.market, -closed, -closed * (loser.price - 1))
            continue
        records.trade(state, book, loser.position, -closed, loser.price)
        rest = state.size[loser.position]
        if venue.unmatched == "unfunded" and rest != 0:
            records.trade(state, book, loser.position, -rest, loser.bankruptcy_price)
            state.unfunded_size[loser.market] += rest
            state.unfunded_cash -= rest * (loser.bankruptcy_price - 1)
        if state.size[loser.position] != loser.sign * loser.quantity:
            flows.liquidated.add(book.account[loser.position])


def settle_parties(parties, state, book):
    """A counterparty closes x for the value x p: size - sign x, cash + sign (value - x)."""
    for party in parties:
        closed = party.sign * party.closed
        gain = party.sign * (party.value - party.closed)
        if party.position is None:
            pools.pool_trade(state, party.pool, party.market, -closed, -gain)
        else:
            state.size[party.position] -= closed
            state.cash[book.account[party.position]] += gain


def hand_over_shortfalls(breached, state, venue):
    """A closed pool, now without inventory, with a negative balance hands the shortfall to `debt`.

    Only pools that this stage deleveraged: a pool that is not in breach obeys every rule, and its
    capital must not matter.
    """
    for pool in breached:
        shortfall = -pools.balance_of(pool, state, venue)
        if shortfall > 0 and not any(state.pool_size[pool]):
            state.pool_cash[pool] += shortfall
            state.debt[pool] += shortfall
