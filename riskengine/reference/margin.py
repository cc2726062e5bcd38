"""Section 3: equity, maintenance, health, bankruptcy prices, who enters a stage, write-offs."""

import math
from collections import defaultdict
from dataclasses import dataclass, field

from riskengine.reference.records import INFINITE, REST, Number

ROUNDING = 1e-10  # of the maintenance margin closed: less than this is no debt but rounding


@dataclass
class Standing:
    """One account on the state as it was when this was worked out."""

    equity: Number
    maintenance: Number = 0
    margins: dict = field(default_factory=dict)  # position: its maintenance margin

    @property
    def health(self):
        """h = e / M; infinite without positions."""
        return self.equity / self.maintenance if self.maintenance > 0 else INFINITE


def tier_value(size, entry, mark, venue):
    """v: the notional that the tiers refer to, at mark or at entry."""
    return abs(size) * (entry if venue.margin_at == "entry" else mark)


def tier_of(value, m, venue):
    """The highest tier whose floor is not above value."""
    return max(j for j, floor in enumerate(venue.tier_floor[m]) if j == 0 or floor <= value)


def maintenance_margin(value, size, m, venue):
    """M of a notional by the tables; where margin grows with size, max(T, b T + k g(s) v)."""
    table = table_margin(value, m, venue)
    if venue.growth == "none":
        return table
    units = abs(size) / 1_000_000
    grown = units if venue.growth == "linear" else math.sqrt(units)
    return max(table, venue.premium_on * table + venue.premium[m] * grown * value)


def table_margin(value, m, venue):
    """max over tiers of (r v - d) where marginal; r v of the value's own tier where flat."""
    if venue.margin_kind == "flat":
        return venue.tier_ratio[m][tier_of(value, m, venue)] * value
    lines = zip(venue.tier_ratio[m], venue.tier_deduction[m], strict=True)
    return max([ratio * value - deduction for ratio, deduction in lines])


def position_margin(position, size, state, market, book, venue):
    """Maintenance margin of a position if it has this size."""
    m, members = book.market[position], book.members[book.account[position]]
    value = tier_value(size, state.entry[position], market.mark[m], venue)
    return members * maintenance_margin(value / members, size / members, m, venue)


def standings(state, market, book, venue, wanted=None):
    """{account: Standing} of the wanted accounts (all of them if None)."""
    accounts = range(len(state.cash)) if wanted is None else wanted
    result = {i: Standing(state.cash[i]) for i in accounts}
    for k, size in enumerate(state.size):
        if size == 0 or book.account[k] not in result:
            continue
        standing = result[book.account[k]]
        standing.equity += size * (market.mark[book.market[k]] - 1)
        standing.margins[k] = position_margin(k, size, state, market, book, venue)
        standing.maintenance += standing.margins[k]
    return result


def initial_margins(accounts, state, market, book, venue):
    """{account: IM}: the sum of (initial ratio of the tier of v) v over its positions."""
    result = dict.fromkeys(accounts, 0)
    for k, size in enumerate(state.size):
        i, m = book.account[k], book.market[k]
        if size != 0 and i in result:
            value = tier_value(size, state.entry[k], market.mark[m], venue)
            result[i] += venue.tier_initial[m][tier_of(value, m, venue)] * value
    return result


def bankruptcy_price(position, standing, state, market, book):
    """P_bk = mark - e (M_k / M) / size: where the position has used up its share of equity."""
    share = standing.margins[position] / standing.maintenance
    mark = market.mark[book.market[position]]
    return mark - standing.equity * share / state.size[position]


def profit(position, state, market, book):
    """u = size (mark - entry)."""
    mark = market.mark[book.market[position]]
    return state.size[position] * (mark - state.entry[position])


def watch(state, market, book, venue):
    """Start of a step, after the marks: note the health, let the clocks run."""
    for i, standing in standings(state, market, book, venue).items():
        state.entered[i] = standing.health
    state.cooldown = [max(left - market.dt, 0) for left in state.cooldown]
    if venue.remembers:
        lasting = max(venue.until, venue.book_below)
        for i, health in enumerate(state.entered):
            if state.since[i] >= 0 and health < lasting:
                state.since[i] += market.dt
            else:
                state.since[i] = 0 if health < venue.book_below else -1


def entrants(state, market, book, venue, below, level_of=None):
    """{account: Standing} of those below the threshold both at the step's start and now.

    They hold positions and are not `rest`. The threshold is `below`, or `level_of` a Standing.
    """
    highest = max(below, venue.until) if venue.remembers else below
    if venue.takeover_gap is not None:
        highest = max(highest, 1)
    suspects = {
        i for i, health in enumerate(state.entered) if health < highest and book.role[i] != REST
    }
    if not suspects:
        return {}
    entering = {}
    for i, standing in standings(state, market, book, venue, suspects).items():
        level = below if level_of is None else level_of(standing)
        if venue.remembers and state.since[i] >= 0:
            level = max(level, venue.until)
        if standing.margins and state.entered[i] < level and standing.health < level:
            entering[i] = standing
    return dict(sorted(entering.items()))


def close_out(standing, state, market, book, venue):
    """Health at which a takeover begins: takeover_below, or 1 - gap N / M where that is more."""
    if venue.takeover_gap is None or not standing.margins:
        return venue.takeover_below
    gross = sum(abs(state.size[k]) * market.mark[book.market[k]] for k in standing.margins)
    return max(venue.takeover_below, 1 - venue.takeover_gap * gross / standing.maintenance)


def write_off(state, before, market, book, venue):
    """Closed-out accounts with negative cash owe it; returns the total newly owed.

    The debt goes to the pools of the markets where this stage closed the account's positions, in
    proportion to their maintenance margin before the stage (`before`: the sizes it found). What
    rounding leaves of an account closed at its bankruptcy prices is not a debt.
    """
    closed = defaultdict(list)
    for k, size in enumerate(before):
        if size != 0 and state.size[k] == 0 and state.cash[book.account[k]] < 0:
            closed[book.account[k]].append(k)
    if not closed:
        return 0
    holding = {book.account[k] for k, size in enumerate(state.size) if size != 0}
    owed = 0
    for i, positions in closed.items():
        if i not in holding:
            owed += owe(i, positions, before, state, market, book, venue)
    return owed


def owe(account, positions, before, state, market, book, venue):
    """Move one account's negative cash to the debt of the pools of its closed positions."""
    amount = -state.cash[account]
    margins = {k: position_margin(k, before[k], state, market, book, venue) for k in positions}
    total = sum(margins.values())
    if amount <= ROUNDING * total:
        return 0
    state.cash[account] = 0
    for k, required in margins.items():
        state.debt[venue.pool_of_market[book.market[k]]] += amount * (required / total)
    return amount
