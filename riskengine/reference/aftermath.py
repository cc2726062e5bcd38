"""Section 4.6: what an ADL costs those who are closed."""

from riskengine.reference import margin
from riskengine.reference.records import DUST


def note_deleveraging(parties, losers, standing, state, market, book, flows):
    """Who is closed, what it costs them now, and what stays unmatched (before settlement)."""
    for party in parties:
        m, closed = party.market, party.closed
        flows.sold[m] += party.sign * closed
        flows.proceeds[m] += party.sign * party.value
        if party.sign > 0:
            flows.deleveraged_long += closed * market.mark[m]
        else:
            flows.deleveraged_short += closed * market.mark[m]
        if party.position is not None:
            account = book.account[party.position]
            equity = standing[account].equity
            if not is_dust(party, losers, equity / market.mark[m]):
                flows.deleveraged[account] = (equity, 0)
    for k in range(len(state.size)):
        if book.account[k] in flows.deleveraged:
            equity, gains = flows.deleveraged[book.account[k]]
            gains += max(margin.profit(k, state, market, book), 0)
            flows.deleveraged[book.account[k]] = (equity, gains)
    flows.adl_loss_mark = adl_loss(flows.sold, flows.proceeds, market.mark)
    flows.adl_loss_index = adl_loss(flows.sold, flows.proceeds, market.index)
    for loser in losers:
        flows.unmatched += (loser.quantity - loser.closed) * market.mark[loser.market]


def is_dust(party, losers, equity):
    """Whether what was closed is rounding, of what was to be closed or of the account's equity."""
    gap = sum(loser.quantity for loser in losers if loser.market == party.market)
    return party.closed <= DUST * max(gap, equity)


def adl_loss(sold, proceeds, reference):
    """Sum of x sign (P_ref - price received)."""
    rows = zip(sold, proceeds, reference, strict=True)
    return sum(quantity * price - value for quantity, value, price in rows)


def net_notionals(accounts, state, market, book):
    """{account: net notional over its markets, at mark}."""
    nets = dict.fromkeys(accounts, 0)
    for k, size in enumerate(state.size):
        if book.account[k] in nets:
            nets[book.account[k]] += size * market.mark[book.market[k]]
    return nets


def note_aftermath(nets, state, market, book, venue, flows):
    """Accounts bankrupted or left more one-sided by having been closed (before write-offs)."""
    after = net_notionals(nets, state, market, book)
    standing = margin.standings(state, market, book, venue, nets.keys())
    for i, net in nets.items():
        flows.naked_delta += max(abs(after[i]) - abs(net), 0)
        if flows.deleveraged[i][0] >= 0 and standing[i].equity < 0:
            flows.winner_bankrupted += book.members[i]
