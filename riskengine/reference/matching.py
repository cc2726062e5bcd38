"""Section 4.6: the counterparties of an ADL, their order, and who meets whom at which price."""

import math
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
    members: Number = 1  # equal accounts behind it
    closed: Number = 0
    value: Number = 0  # sum of quantity x price received

    @property
    def order(self):
        """Highest score first, ties by position number, pools after accounts."""
        last = self.position is None
        return (-self.score, last, self.pool if last else self.position)


def account_parties(gaps, entering, standing, state, market, book, venue):
    """Positions against a gap, of accounts with positive equity that are not losers themselves."""
    notional, profits = defaultdict(int), defaultdict(int)
    for k, size in enumerate(state.size):
        notional[book.account[k]] += abs(size) * market.mark[book.market[k]]
        profits[book.account[k]] += margin.profit(k, state, market, book)
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
        if venue.overlap_only and not overlaps(k, gaps, standing[i], state, market, book):
            continue
        seen = Seen(
            profit=upnl,
            notional=abs(size) * market.mark[m],
            entry_notional=abs(size) * state.entry[k],
            equity=standing[i].equity,
            account_notional=notional[i],
            account_profit=profits[i],
            maintenance=standing[i].maintenance,
            size=abs(size),
            lot=lot(i, m, market, book),
        )
        seen = seen.of_one(book.members[i])
        rank = score(venue.ranking, seen)
        parties.append(Party(m, sign_of(size), abs(size), rank, k, members=book.members[i]))
    return parties


def pool_parties(gaps, breached, state, market, venue, flows):
    """Inventory against a gap, of pools with positive equity and not in breach.

    Where a pool could be closed, no capital keeps F out of the ranking: its need is +inf.
    """
    parties = []
    for pool, sizes in enumerate(state.pool_size):
        equity = pools.pool_equity(pool, state, market, venue)
        account_notional = pools.net_inventory(sizes, market)
        bases = state.pool_basis[pool]
        account_profit = pools.unrealised(pool, state, market.mark)
        maintenance = sum(pools.pool_margins(pool, state, market, venue))
        for m, size in enumerate(sizes):
            if size == 0 or (m, -sign_of(size)) not in gaps or pool in breached or equity <= 0:
                continue
            basis = bases[m]
            upnl = size * (market.mark[m] - 1) - basis
            if venue.winners_only and upnl <= 0:
                continue
            seen = Seen(
                profit=upnl,
                notional=abs(size) * market.mark[m],
                entry_notional=abs(size + basis),
                equity=equity,
                account_notional=account_notional,
                account_profit=account_profit,
                maintenance=maintenance,
                size=abs(size),
                lot=1,
            )
            rank = score(venue.ranking, seen)
            parties.append(Party(m, sign_of(size), abs(size), rank, pool=pool))
            flows.queue[pool] = INFINITE
    return parties


def overlaps(k, gaps, standing, state, market, book):
    """The losers' average price is not beyond the position's own bankruptcy price."""
    size, m = state.size[k], book.market[k]
    group = gaps[m, -sign_of(size)]
    price = sum(x.quantity * x.price for x in group) / sum(x.quantity for x in group)
    own = margin.bankruptcy_price(k, standing, state, market, book)
    return price >= own if size > 0 else price <= own


LOT_DIGITS = 1e7


def lot(account, m, market, book):
    """Place of the account in a line that starts where digits of the index say, from 0 to 1."""
    digits = LOT_DIGITS * market.index[m]
    start = digits - math.floor(digits)
    number = account / len(book.cash)
    return number - start + (1 if number < start else 0)


@dataclass
class Seen:
    """What rankings look at: u, n, v of a position, and the rest of its account."""

    profit: Number
    notional: Number
    entry_notional: Number
    equity: Number
    account_notional: Number
    account_profit: Number
    maintenance: Number
    size: Number
    lot: Number

    def of_one(self, members):
        """What one of so many equal accounts shows; the place in the line is that of all."""
        amounts = {name: x / members for name, x in vars(self).items()}
        return Seen(**(amounts | {"lot": self.lot}))


def score(ranking, s):
    """The score of a position by the venue's ranking; highest first."""
    at_entry = s.profit / s.entry_notional if s.entry_notional > 0 else 0
    at_mark = s.profit / s.notional
    leverage, position_leverage = s.account_notional / s.equity, s.notional / s.equity
    margin_ratio = s.maintenance / s.equity
    if ranking == "profit_leverage":
        return max(max(at_entry, 0), LOWEST_SCORE) * max(position_leverage, LOWEST_SCORE)
    if ranking == "return_leverage":
        return weighed(at_mark, leverage)
    if ranking == "return_margin":
        return weighed(at_entry, margin_ratio)
    if ranking == "balance_margin":
        balance = max(s.equity - s.account_profit, 1)
        return max(s.profit, 0) / balance * margin_ratio
    if ranking == "price_leverage":
        return (s.notional / s.entry_notional if s.entry_notional > 0 else 0) * position_leverage
    simple = dict(leverage=leverage, profit_rate=at_mark, largest=s.size, line=1 - s.lot)
    return simple[ranking]


def weighed(gain, weight):
    """r w for a gain; r / w for a loss."""
    if gain >= 0:
        return gain * weight
    return gain / weight if weight > 0 else -INFINITE


def top(parties, count):
    """The holders of the `count` highest scores; equal scores are all in."""
    places, least = 0, INFINITE
    for party in sorted(parties, key=lambda party: -party.score):
        if places < count:
            places, least = places + party.members, party.score
    return [party for party in parties if party.score >= least]


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
    if policy in ("pro_rata", "top") or closed == available:
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
