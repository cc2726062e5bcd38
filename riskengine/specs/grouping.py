"""Super-accounts: a large book as about a thousand accounts that behave as all of them do.

The waterfall is homogeneous: if size and cash of an account are multiplied by m, so is all that it
does. So m accounts of one market and side with the same cash / notional and the same entry are
exactly one account of m times the size, and accounts that are nearly alike are nearly one. What a
venue says in dollars (tiers, thresholds, dust, clips) would break that; a merged account therefore
has `members`, the number of accounts behind it, and such a rule looks at one of them
(docs/model.md 1). Who merges:

- Makers, `rest` and the largest traders do not: a part `WHOLE` of the accounts asked for is theirs.
  In books as heavy-tailed as those of venues they hold most of the notional.
- Others merge within a *cell*: with the same positions (market and side of each), and between the
  same dollar amounts that a rule of the venue names. Portfolios that few accounts have merge by
  their largest position if all they hold is on one side; hedged ones that few have stay whole.
- Within a cell they merge by margin ratio, cash / notional, which says how far away liquidation is,
  and then by unrealised profit / notional, which ADL's ranking reads. Bins hold equal Σ √notional:
  by notional all small accounts would share one bin, by number all large ones.

Conserved per market and side, but for the rounding of sums: size, open interest, size · entry and
with it profit; and cash. Given up: the accounts of a bin are liquidated together, where each had its
own price; they pass a dollar threshold together as prices move; a queue by lot or in sequence meets
one party where there were many; and what befalls a single account is known for its group alone.
What that does to an answer depends on the question, so a grouped book is the cheap level of
`montecarlo/two_level.py` and no answer by itself.
"""

from dataclasses import dataclass

import numpy as np

from riskengine.specs.book import TRADER, Holdings, gross
from riskengine.specs.venue import Venue
from riskengine.types import InputError

WHOLE = 0.1  # of the accounts asked for
COMMON = 8  # accounts with the same positions are a cell of their own
DECADES = 10.0 ** np.arange(4, 10)  # USD: where a rule depends on size at every size
Values = np.ndarray


@dataclass(frozen=True)
class Grouping:
    """A book of super-accounts, and where the accounts of the book that it stands for are."""

    holdings: Holdings
    member_of: Values  # per account of that book: row in `holdings`


def grouped(holdings: Holdings, venue: Venue, accounts: int, profit_bins: int = 1) -> Grouping:
    """Merge a book into about so many accounts.

    There are more where makers, rare hedged portfolios and cells are more than that. The order of
    accounts decides nothing but the order of the groups.
    """
    if accounts < 1:
        raise InputError("accounts", "must be a positive number of super-accounts", accounts)
    if len(holdings.cash) <= accounts:
        return Grouping(holdings, np.arange(len(holdings.cash)))
    cell = _cells(holdings, venue, round(WHOLE * accounts))
    whole = cell < 0
    member_of = np.where(whole, np.cumsum(whole) - 1, 0)
    left = max(accounts - int(whole.sum()), 1)
    member_of[~whole] = whole.sum() + _bins(holdings, cell, left, profit_bins)[~whole]
    return Grouping(_merged(holdings, member_of), member_of)


# Who may merge with whom


def _cells(holdings: Holdings, venue: Venue, largest: int) -> Values:
    """A number per account; those with equal numbers may merge, those with −1 may not."""
    value = gross(holdings)
    whole = (holdings.role != TRADER) | (value == 0.0)
    whole[np.argsort(np.where(whole, 0.0, -value), kind="stable")[:largest]] = True
    traded = 2 * holdings.market + (holdings.size > 0)  # market and side of every position
    portfolio, main = _portfolios(holdings, traded), _of_largest(holdings, traded)
    common = np.bincount(portfolio, ~whole)[portfolio] >= COMMON
    longs = np.bincount(holdings.account, holdings.size > 0, minlength=len(value))
    count = np.bincount(holdings.account, minlength=len(value))
    whole |= ~common & (longs > 0) & (longs < count)
    held = np.where(common, portfolio, -1 - main)
    return np.where(whole, -1, _numbered(held, _of_largest(holdings, _amounts(holdings, venue))))


def _numbered(*columns: Values) -> Values:
    """A number for every distinct row of these columns, from 0."""
    number = np.zeros(len(columns[0]), int)
    for column in columns:
        known, place = np.unique(column, return_inverse=True)
        number = np.unique(number * len(known) + place, return_inverse=True)[1]
    return number


def _portfolios(holdings: Holdings, traded: Values) -> Values:
    """A number per account that is the same for the same positions, whatever their sizes."""
    accounts = len(holdings.cash)
    order = np.lexsort([traded, holdings.account])
    account = holdings.account[order]
    count = np.bincount(account, minlength=accounts)
    place = np.arange(len(order)) - (np.cumsum(count) - count)[account]
    number = np.zeros(accounts, int)
    for n in range(count.max()):
        nth = np.full(accounts, -1)
        nth[account[place == n]] = traded[order][place == n]
        number = _numbered(number, nth)
    return number


def _of_largest(holdings: Holdings, x: Values) -> Values:
    """Of every account, what its largest position has; 0 where it has none."""
    order = np.lexsort([np.abs(holdings.size), holdings.account])
    found = np.zeros(len(holdings.cash), x.dtype)
    found[holdings.account[order]] = x[order]  # the last of an account is written last
    return found


def _amounts(holdings: Holdings, venue: Venue) -> Values:
    """Between which of the dollar amounts that rules name each position's notional lies."""
    found = np.zeros(len(holdings.size), int)
    for market, floors in enumerate(np.asarray(venue.margin.floor).T):
        mine = holdings.market == market
        edges = np.concatenate([floors, _thresholds(venue)])
        edges = np.unique(edges[np.isfinite(edges) & (edges > 0.0)])
        found[mine] = np.searchsorted(edges, np.abs(holdings.size[mine]), side="right")
    return found


def _thresholds(venue: Venue) -> Values:
    """Dollar amounts at which the venue's rules begin to say something else."""
    rules = venue.liquidation
    named = [float(rules.dust)]
    if rules.sizing == "fractional":
        named.append(float(rules.fraction_above))
    if rules.sizing == "clips":
        named += [float(rules.clip_least / rules.fraction), float(rules.clip_most / rules.fraction)]
    grows = venue.margin.growth != "none" or venue.adl.ranking == "largest"
    return np.concatenate([named, DECADES if grows else []])


# Bins of a cell


def _bins(holdings: Holdings, cell: Values, bins: int, profit_bins: int) -> Values:
    """Number every account's bin; cells get bins in proportion to Σ √notional, at least one."""
    value = np.where(cell < 0, 0.0, gross(holdings))
    base = np.where(value > 0.0, value, 1.0)
    weight, inside = np.sqrt(value), np.where(cell < 0, cell.max() + 1, cell)
    share = np.bincount(inside, weight) / max(weight.sum(), 1e-300)
    allowed = np.maximum(bins * share, 1.0)[inside]
    profit = np.bincount(
        holdings.account, holdings.size * (1.0 - holdings.entry), minlength=len(value)
    )
    finer = np.where(allowed >= 4 * profit_bins, profit_bins, 1)
    by_margin = _quantiles(inside, holdings.cash / base, weight, np.round(allowed / finer))
    both = _numbered(inside, by_margin)
    by_profit = _quantiles(both, profit / base, weight, finer)
    crowded = np.bincount(inside)[inside] > allowed
    own = np.where(crowded, 0, 1 + np.arange(len(value)))
    number = _numbered(both, by_profit, own)
    _, place = np.unique(number[cell >= 0], return_inverse=True)
    number[cell >= 0] = place
    return number


def _quantiles(group: Values, key: Values, weight: Values, bins: Values) -> Values:
    """In which of so many bins of equal weight of its group each one is, by `key`."""
    order = np.lexsort([key, group])
    w, g = weight[order], group[order]
    total = np.bincount(group, weight)[g]
    before = np.cumsum(w) - 0.5 * w
    start = np.concatenate([[0.0], np.cumsum(np.bincount(group, weight))])[g]
    level = (before - start) / np.where(total > 0.0, total, 1.0)
    found = np.empty(len(key), int)
    found[order] = np.clip(level * bins[order], 0, bins[order] - 1)
    return found


# Merging


def _merged(holdings: Holdings, member_of: Values) -> Holdings:
    """Sums of size, cash and size · entry of every group, position by position."""
    groups = int(member_of.max()) + 1
    role = np.zeros(groups, int)
    role[member_of] = holdings.role
    markets = int(holdings.market.max(initial=0)) + 1
    short = holdings.size < 0
    place = (member_of[holdings.account] * markets + holdings.market) * 2 + short
    kept, row = np.unique(place, return_inverse=True)
    size, value = np.bincount(row, holdings.size), np.bincount(row, holdings.size * holdings.entry)
    first = np.zeros(len(kept))
    first[row] = holdings.entry
    each = np.ones(len(member_of)) if holdings.members is None else holdings.members
    return Holdings(
        cash=np.bincount(member_of, holdings.cash, minlength=groups),
        role=role,
        account=kept // (2 * markets),
        market=kept // 2 % markets,
        size=size,
        entry=np.where(size != 0.0, value / np.where(size != 0.0, size, 1.0), first),
        members=np.bincount(member_of, each, minlength=groups),
    )
