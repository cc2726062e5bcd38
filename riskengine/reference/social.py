"""Section 4.7: what is still owed."""

from riskengine.reference import fund, margin, pools, records
from riskengine.reference.records import INFINITE

CRUMB = 1e-12  # of what an owner pays at most: rounding, not a debt


def social_stage(state, market, book, venue):
    """Owners pay, then winners where the venue socialises, and the rest is unfunded.

    An owner's payment reads its capital, so its need `loss` is noted like that of a debtor.
    """
    flows = records.no_flows(venue)
    for pool, debt in enumerate(state.debt):
        owner = venue.owner[pool]
        due = min(debt, max(venue.owner_pays[pool] - state.owner_paid[pool], 0))
        if owner >= 0 and debt - due > CRUMB * venue.owner_pays[pool]:
            flows.queue[owner] = INFINITE  # no capital of the owner pays what is beyond its cap
        if due > 0 and owner >= 0:
            flows.loss[owner] = max(flows.loss[owner], pools.loss_need(owner, state, due))
            at_exit = pools.exit_need(owner, due, state, market)
            flows.exit[owner] = max(flows.exit[owner], at_exit)
            paid = fund.pay_debt(owner, pool, state, venue, due)
            state.owner_paid[pool] += paid
            flows.fund_draw += paid
    owed = sum(state.debt)
    if owed > 0 and venue.social != "none":
        flows.social_loss = RULES[venue.social](owed, state, market, book, venue)
        owed -= flows.social_loss
    state.unfunded_cash -= owed
    state.debt = [0] * len(state.debt)
    return flows


def take_from_positions(owed, state, market, book, venue):
    """A pool's debt is paid by all positions of its markets, long and short, by notional."""
    value = [0] * len(state.size)
    base = [0] * len(state.debt)
    for k, size in enumerate(state.size):
        m = book.market[k]
        value[k] = abs(size) * market.mark[m]
        base[venue.pool_of_market[m]] += value[k]
    for k, notional in enumerate(value):
        pool = venue.pool_of_market[book.market[k]]
        if base[pool] > 0:
            state.cash[book.account[k]] -= state.debt[pool] * (notional / base[pool])
    return sum(debt for debt, notional in zip(state.debt, base, strict=True) if notional > 0)


def take_from_balances(owed, state, market, book, venue):
    """Withdrawn balances lose D / (sum of e+ + D) of what they are."""
    standing = margin.standings(state, market, book, venue)
    worth = [max(standing[i].equity, 0) for i in range(len(state.cash))]
    factor = venue.social_share * owed / (sum(worth) + owed)
    state.cash = [cash - factor * w for cash, w in zip(state.cash, worth, strict=True)]
    return factor * sum(worth)


def take_from_winners(owed, state, market, book, venue):
    """Take S = min(owed, sum of w) in proportion to w = min(sum of max(u, 0), max(e, 0))."""
    gains = [0] * len(state.cash)
    for k, size in enumerate(state.size):
        if size != 0:
            gains[book.account[k]] += max(margin.profit(k, state, market, book), 0)
    standing = margin.standings(state, market, book, venue)
    weights = [min(gain, max(standing[i].equity, 0)) for i, gain in enumerate(gains)]
    total = sum(weights)
    taken = min(owed, total)
    if taken > 0:
        state.cash = [
            cash - weight * (taken / total)
            for cash, weight in zip(state.cash, weights, strict=True)
        ]
    return taken


RULES = {
    "winners": take_from_winners,
    "positions": take_from_positions,
    "balances": take_from_balances,
}
