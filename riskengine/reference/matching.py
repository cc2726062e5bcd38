"""Section 4.6: the counterparties of an ADL, their order, and who meets whom at which price."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby

from riskengine.reference import margin, pools
from riskengine.reference.records import INFINITE, REST, Number, clip, share_of, sign_of

LOWEST_SCORE = 1e-8


@dataclass
class Party:
    """A counterparty: a position of an account, or a pool's inventory in the market."""

    market: int
    sign: int
    quantity: Number
    score: Number
    position: int | None = None
    pool: int | None = None
    closed: Number = 0
    value: Number = 0  # sum of quantity x price received

    @property
    def order(self):
        """Highest score first, ties by position number, pools after accounts."""
        last = self.position is None
        return (-self.score, last, self.pool if last else self.position)


def account_parties(gaps, entering, standing, state, market, book, venue):
    """Positions against a gap, of accounts with positive equity that are not losers themselves."""
    notional = defaultdict(int)
    for k, size in enumerate(state.size):
        notional[book.account[k]] += abs(size) * market.mark[book.market[k]]
    parties = []
    for k, size in enumerate(state.size):
        m, i = book.market[k], book.account[k]
        if size == 0 or (m, -sign_of(size)) not in gaps or i in entering:
            continue
        if standing[i].equity <= 0 or (book.role[i] == REST and not book.rest_in_adl):
            continue
        upnl = margin.profit(k, state, market, book)
        if venue.winners_only and upnl <= 0:
            continue
        at_mark, at_entry = abs(size) * market.mark[m], abs(size) * state.entry[k]
        rank = score(venue.ranking, upnl, at_mark, at_entry, notional[i], standing[i].equity)
        parties.append(Party(m, sign_of(size), abs(size), rank, k))
    return parties


def pool_parties(gaps, breached, state, market, venue, flows):
    """Inventory against a gap, of pools with positive equity and not in breach.

    Where a pool could be closed, no capital keeps F out of the ranking: its need is +inf.
    """
    parties = []
    for pool, sizes in enumerate(state.pool_size):
        equity = pools.pool_equity(pool, state, market, venue)
        account_notional = pools.net_inventory(sizes, market)
        for m, size in enumerate(sizes):
            if size == 0 or (m, -sign_of(size)) not in gaps or pool in breached or equity <= 0:
                continue
            basis = state.pool_basis[pool][m]
            upnl = size * (market.mark[m] - 1) - basis
            if venue.winners_only and upnl <= 0:
                continue
            at_mark, at_entry = abs(size) * market.mark[m], abs(size + basis)
            rank = score(venue.ranking, upnl, at_mark, at_entry, account_notional, equity)
            parties.append(Party(m, sign_of(size), abs(size), rank, pool=pool))
            flows.queue[pool] = INFINITE
    return parties


def score(ranking, upnl, notional, entry_notional, account_notional, equity):
    """profit_leverage: max(max(u, 0)/v, 1e-8) max(n/e, 1e-8).

    return_leverage: with r = u/n and L = (account notional)/e, r L if r >= 0, else r / L.
    """
    if ranking == "profit_leverage":
        gain = max(upnl, 0) / entry_notional if entry_notional > 0 else INFINITE
        return max(gain, LOWEST_SCORE) * max(notional / equity, LOWEST_SCORE)
    earned, leverage = upnl / notional, account_notional / equity
    if earned >= 0:
        return earned * leverage
    return earned / leverage if leverage > 0 else -INFINITE


def match(losers, parties, venue):
    """Close X = min(G, C) of one gap: who is closed, and at what price."""
    gap = sum(loser.quantity for loser in losers)
    available = sum(party.quantity for party in parties)
    closed = min(gap, available)
    if closed <= 0:
        return
    in_sequence = venue.allocation == "sequence" and venue.policy == "queue"
    close_parties(parties, closed, available, venue.policy, in_sequence)
    if in_sequence:
        close_in_sequence(losers, closed, gap)
        value_in_sequence(losers, sorted(parties, key=lambda party: party.order))
    else:
        close_in_proportion(losers, closed, gap)
        average = sum(loser.quantity * loser.price for loser in losers) / gap
        for party in parties:
            party.value = party.closed * average


def close_parties(parties, closed, available, policy, in_sequence):
    """How much of each counterparty is closed, by `policy`.

    Equal scores share in proportion to size, unless closed in sequence.
    """
    if policy == "pro_rata" or closed == available:
        for party in parties:
            party.closed = party.quantity * share_of(closed, available)
        return
    left = closed
    queue = sorted(parties, key=lambda party: party.order)
    rank = (lambda party: party.order) if in_sequence else (lambda party: party.score)
    for _, equals in groupby(queue, key=rank):
        group = list(equals)
        total = sum(party.quantity for party in group)
        share = share_of(left, total)
        for party in group:
            party.closed = party.quantity * share
        left -= total


def close_in_proportion(losers, closed, gap):
    """Every loser is closed to the same share X / G."""
    for loser in losers:
        loser.closed = loser.quantity * share_of(closed, gap)


def close_in_sequence(losers, closed, gap):
    """Losers are closed one after the other until X is reached."""
    left = closed
    for loser in losers:
        loser.closed = loser.quantity if closed == gap else clip(left, 0, loser.quantity)
        left -= loser.quantity


def value_in_sequence(losers, parties):
    """Each counterparty in turn takes the next stretch of the losers' quantity, at its p*."""
    stretches = [[loser.closed, loser.price] for loser in losers if loser.closed > 0]
    first = 0
    for party in parties:
        left = party.closed
        while left > 0:
            last = first == len(stretches) - 1  # takes what rounding leaves over
            part = left if last else min(left, stretches[first][0])
            party.value += part * stretches[first][1]
            stretches[first][0] -= part
            left -= part
            if stretches[first][0] <= 0 and not last:
                first += 1
