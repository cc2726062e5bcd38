"""Section 4.7: what is still owed."""

from riskengine.reference import fund, margin, pools, records


def social_stage(state, market, book, venue):
    """Owners pay, then winners where the venue socialises, and the rest is unfunded.

    An owner's payment reads its capital, so its need `loss` is noted like that of a debtor.
    """
    flows = records.no_flows(venue)
    for pool, debt in enumerate(state.debt):
        owner = venue.owner[pool]
        if debt > 0 and owner >= 0:
            flows.loss[owner] = max(flows.loss[owner], pools.loss_need(owner, state, debt))
            flows.fund_draw += fund.pay_debt(owner, pool, state, venue)
    owed = sum(state.debt)
    if owed > 0 and venue.social == "winners":
        flows.social_loss = take_from_winners(owed, state, market, book, venue)
        owed -= flows.social_loss
    state.unfunded_cash -= owed
    state.debt = [0] * len(state.debt)
    return flows


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
