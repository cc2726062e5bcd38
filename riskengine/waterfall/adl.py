"""Stage `adl`: positions that nobody else takes are closed against profitable ones on the other side."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from riskengine.specs.book import REST, Book
from riskengine.specs.venue import Venue, pool_capital
from riskengine.types import pytree
from riskengine.waterfall import formulas, ledger, liquidation, margin, pools, select, sequence
from riskengine.waterfall.margin import Accounts
from riskengine.waterfall.state import Flows, Market, State, flows

DUST = 1e-12  # of a gap or of an equity: rounding, not an amount
ALL = 1e-14  # what may be missing from all of a side, as its sums round


@pytree
class Side:
    """One party of an ADL: signed quantities of accounts' positions and of pools' inventory."""

    accounts: Float[Array, " positions"]
    pools: Float[Array, "pools markets"]


@pytree
class Closing:
    """What ADL closes, and at which prices."""

    losers: Side
    winners: Side
    loser_price: Side
    winner_price: Side


def needed(state: State, market: Market, book: Book, venue: Venue) -> Bool[Array, ""]:
    """Whether an account may enter the stage or a pool is in breach."""
    weak = state.weakest < venue.adl.below
    return weak | jnp.any(_in_breach(state, market, venue))


def wanted(state: State, market: Market, book: Book, venue: Venue) -> Bool[Array, ""]:
    """Whether anybody is to be closed: most weak accounts have left in the stages before."""
    accounts = margin.assess(state, market, book, venue)
    inside = margin.enters(state, accounts, venue.adl.below, -jnp.inf, book)
    return jnp.any(inside) | jnp.any(_in_breach(state, market, venue))


def deleverage(state: State, market: Market, book: Book, venue: Venue) -> tuple[State, Flows]:
    """Close losers against counterparties of the other side until the gap or the counterparties end.

    Per market and side: gap G, counterparties C, closed X = min(G, C). Who is closed is the venue's
    policy; at which price, its price rule (docs/model.md 4.6).
    """
    accounts = margin.assess(state, market, book, venue)
    inside = margin.enters(state, accounts, venue.adl.below, -jnp.inf, book)
    losers, at = _losers(state, market, accounts, inside, book, venue)
    candidates, ranked = _candidates(state, market, accounts, inside, book, venue)
    gap, there = _per_side(losers, book), _per_side(candidates, book)
    wanted = jnp.minimum(gap[::-1], there)  # of counterparties: their longs close losers' shorts

    allocate = ALLOCATIONS[venue.adl.allocation]
    closing = allocate(losers, at, candidates, ranked, wanted, gap, book, venue)
    before, worth = state, accounts.equity
    state = _settle(state, closing, book, venue)
    state, left = _unmatched(state, market, accounts, losers, closing, book, venue)
    state, moved = _count(before, state, market, accounts, worth, losers, closing, book, venue)
    state, written_off = liquidation.write_off(state, accounts, book, venue)
    state = _hand_over(state, _in_breach(before, market, venue), venue)
    queued = _pool_could_close(candidates, wanted)
    moved |= dict(
        bad_debt=written_off,
        unmatched=ledger.tree(ledger.tree(left) * market.mark),
        need_rules=jnp.where(queued, jnp.inf, 0.0),
    )
    return state, flows(book, venue, **moved)


# Losers


def _in_breach(state: State, market: Market, venue: Venue) -> Bool[Array, " pools"]:
    """Pools whose margin rule is not met."""
    if "margin" not in venue.pools.triggers:
        return jnp.zeros(state.pool_cash.shape, bool)
    return pools.margin_need(state, market, venue) > pool_capital(venue)


def _losers(state, market, accounts, inside, book, venue) -> tuple[Side, Side]:
    """All positions of accounts inside, and the fraction f of the inventory of pools in breach."""
    quantity = jnp.where(ledger.per_position(inside, book), state.size, 0.0)
    own = _account_price(state, market, accounts, book, venue)
    pool_own = _pool_price(state, market, venue)
    fraction = _pool_fraction(state, market, pool_own, venue)
    return (
        Side(accounts=quantity, pools=state.pool_size * fraction[:, None]),
        Side(accounts=own, pools=pool_own),
    )


def _account_price(state, market, accounts, book, venue) -> Float[Array, " positions"]:
    """Price of a losing account's position."""
    if venue.adl.price == "bankruptcy":
        return margin.bankruptcy_price(state, market, accounts, book)
    return ledger.share(_quoted(market, venue.adl.price), book)


def _pool_price(state, market, venue) -> Float[Array, "pools markets"]:
    """Price of a pool's inventory; at bankruptcy its equity is split by maintenance margin."""
    if venue.adl.pool_price != "bankruptcy":
        return jnp.broadcast_to(_quoted(market, venue.adl.pool_price), state.pool_size.shape)
    required = pools.requirement(state, market, venue)
    whole = ledger.tree(required.T)
    holds = whole > 0
    equity = _pool_equity(state, market, venue)  # infinite where capital is: then nobody is closed
    equity = jnp.where(holds & jnp.isfinite(equity), equity, 0.0)
    per_margin = equity / jnp.where(holds, whole, 1.0)
    open_ = state.pool_size != 0
    return formulas.bankruptcy_price(
        market.mark[None],
        jnp.where(open_, state.pool_size, 1.0),
        jnp.where(open_, required, 0.0),
        per_margin[:, None],
    )


def _quoted(market: Market, rule: str) -> Float[Array, " markets"]:
    return {"mark": market.mark, "previous_mark": market.mark_before}[rule]


def _pool_equity(state, market, venue) -> Float[Array, " pools"]:
    """E = capital + A + U at the mark."""
    return pool_capital(venue) + pools.equity_change(state, market)


def _pool_fraction(state, market, at, venue) -> Float[Array, " pools"]:
    """Share of the inventory whose closing ends the breach: (θM − E) / (θM + g), at most all."""
    breach = _in_breach(state, market, venue)
    if venue.adl.pool_price == "bankruptcy":
        return jnp.where(breach, 1.0, 0.0)
    required = ledger.tree(pools.requirement(state, market, venue).T)
    target = venue.pools.margin_multiple * required
    regained = ledger.tree((state.pool_size * (at - market.mark[None])).T)
    equity = jnp.where(breach, _pool_equity(state, market, venue), 0.0)
    helps = target + regained > 0
    part = formulas.share_to_margin(
        jnp.where(helps, target, 1.0), equity, jnp.where(helps, -regained, 0.0)
    )
    return jnp.where(breach, jnp.where(helps, jnp.clip(part, 0.0, 1.0), 1.0), 0.0)


# Counterparties


def _candidates(state, market, accounts, inside, book, venue) -> tuple[Side, Side]:
    """Who may be closed, with signed sizes, and the score of each."""
    rest = (book.role == REST) & (book.rest_in_adl == 0)
    open_ = (accounts.equity > 0) & ~inside & ~rest
    entry = margin.entry(state, book)
    profit = state.size * (ledger.share(market.mark, book) - entry)
    eligible = ledger.per_position(open_, book)
    if venue.adl.winners_only:
        eligible = eligible & (profit > 0)
    rank = RANKINGS[venue.adl.ranking]
    value = margin.notional(state, market, book)
    score = rank(
        profit,
        value,
        jnp.abs(state.size) * entry,
        ledger.per_position(accounts.equity, book),
        ledger.per_position(ledger.per_account(value, book), book),
    )
    pool_size, pool_score = _pool_candidates(state, market, rank, venue)
    return (
        Side(accounts=jnp.where(eligible, state.size, 0.0), pools=pool_size),
        Side(accounts=jnp.where(eligible, score, 0.0), pools=pool_score),
    )


def _pool_candidates(state, market, rank, venue):
    """Pools with equity that are not in breach, where the venue ranks them with everybody else."""
    if not venue.adl.pools_in_queue:
        return jnp.zeros_like(state.pool_size), jnp.zeros_like(state.pool_size)
    equity = _pool_equity(state, market, venue)
    open_ = (equity > 0) & ~_in_breach(state, market, venue)
    profit = state.pool_size * (market.mark[None] - 1.0) - state.pool_basis
    if venue.adl.winners_only:
        eligible = open_[:, None] & (profit > 0)
    else:
        eligible = jnp.broadcast_to(open_[:, None], profit.shape)
    value = jnp.abs(state.pool_size) * market.mark[None]
    entered = jnp.abs(state.pool_size + state.pool_basis)
    whole = jnp.broadcast_to(ledger.tree(value.T)[:, None], value.shape)
    score = rank(profit, value, entered, jnp.broadcast_to(equity[:, None], value.shape), whole)
    size = jnp.where(eligible, state.pool_size, 0.0)
    return size, jnp.where(size != 0, score, 0.0)


def _pool_could_close(candidates: Side, wanted) -> Bool[Array, " pools"]:
    """Pools among the counterparties of a gap: ranking them reads their capital."""
    long, short = candidates.pools > 0, candidates.pools < 0
    asked = (long & (wanted[0] > 0)[None]) | (short & (wanted[1] > 0)[None])
    return jnp.any(asked, axis=1)


def profit_leverage(profit, notional, entry_notional, equity, account_notional):
    """max(u, 0)/v × n/e, each at least 1e-8: profit on entry times leverage of the position."""
    gained = _ratio(jnp.maximum(profit, 0.0), entry_notional)
    return formulas.profit_leverage(gained, _ratio(notional, equity), jnp.maximum)


def return_leverage(profit, notional, entry_notional, equity, account_notional):
    """r = u/n times the account's leverage L where r ≥ 0, r / L where r < 0."""
    r, leverage = _ratio(profit, notional), _ratio(account_notional, equity)
    loses = jnp.where(leverage > 0, _ratio(r, leverage), -jnp.inf)
    return jnp.where(r >= 0, formulas.return_leverage(r, leverage), loses)


RANKINGS = {"profit_leverage": profit_leverage, "return_leverage": return_leverage}


def _ratio(a, b):
    """a / b; 0 where b is not positive."""
    positive = b > 0
    return jnp.where(positive, a / jnp.where(positive, b, 1.0), 0.0)


# Allocation


def _average(losers, at, candidates, ranked, wanted, gap, book, venue) -> Closing:
    """Losers in the same proportion, all counterparties at the losers' average price."""
    share = POLICIES[venue.adl.policy](candidates, ranked, wanted, book)
    part = _part(wanted[::-1], gap)
    closed = Side(
        accounts=losers.accounts * ledger.share_side(part, losers.accounts > 0, book),
        pools=losers.pools * _by_side(part, losers.pools),
    )
    value = _value_per_side(losers, at, book)
    mean = 1.0 + value / jnp.where(gap > 0, gap, 1.0)
    mean = mean[::-1]  # a counterparty's long closes losers' shorts
    return Closing(
        losers=closed,
        winners=share,
        loser_price=at,
        winner_price=Side(
            accounts=ledger.share_side(mean, candidates.accounts > 0, book),
            pools=_by_side(mean, candidates.pools),
        ),
    )


def _queue(candidates: Side, ranked: Side, wanted, book: Book) -> Side:
    """Everyone above the marginal score whole; its holders share the rest in proportion to size."""
    everyone = select.Ranked.of(
        ranked.accounts, candidates.accounts, book, ranked.pools, candidates.pools
    )
    level = select.marginal(everyone, wanted)
    mine = ledger.share_side(level, candidates.accounts > 0, book)
    pool_mine = _by_side(level, candidates.pools)
    pool_score = ranked.pools.astype(ranked.accounts.dtype)  # as `select` compares them

    def those(accounts_in, pools_in):
        return Side(
            accounts=jnp.where(accounts_in, candidates.accounts, 0.0),
            pools=jnp.where(pools_in, candidates.pools, 0.0),
        )

    above = those(ranked.accounts > mine, pool_score > pool_mine)
    tied = those(ranked.accounts == mine, pool_score == pool_mine)
    tie = _per_side(tied, book)
    part = _part(wanted - _per_side(above, book), tie)
    return Side(
        accounts=above.accounts
        + tied.accounts * ledger.share_side(part, candidates.accounts > 0, book),
        pools=above.pools + tied.pools * _by_side(part, candidates.pools),
    )


def _pro_rata(candidates: Side, ranked: Side, wanted, book: Book) -> Side:
    """Everyone in proportion to size."""
    part = _part(wanted, _per_side(candidates, book))
    return Side(
        accounts=candidates.accounts * ledger.share_side(part, candidates.accounts > 0, book),
        pools=candidates.pools * _by_side(part, candidates.pools),
    )


def _sequence(losers, at, candidates, ranked, wanted, gap, book, venue) -> Closing:
    """Counterparties in order of score meet losers in order: each interval has its own prices."""
    losing, prices, standing, scores = (
        _flatten(side, book) for side in (losers, at, candidates, ranked)
    )
    markets = jnp.arange(book.layout.number_of_markets, dtype=book.market.dtype)
    everywhere = jnp.concatenate([book.market, jnp.tile(markets, losers.pools.shape[0])])
    there = _per_side(candidates, book)
    closed, price, taken = sequence.pair(
        losing, prices, standing, scores, everywhere, wanted, there, gap[::-1]
    )
    return Closing(
        losers=_unflatten(closed, losers),
        winners=_unflatten(taken, losers),
        loser_price=at,
        winner_price=_unflatten(price, losers),
    )


def _flatten(side: Side, book: Book) -> Float[Array, " entries"]:
    return jnp.concatenate([side.accounts.astype(ledger.DOUBLE), side.pools.reshape(-1)])


def _unflatten(x: Float[Array, " entries"], like: Side) -> Side:
    n = like.accounts.shape[0]
    return Side(accounts=x[:n].astype(like.accounts.dtype), pools=x[n:].reshape(like.pools.shape))


POLICIES = {"queue": _queue, "pro_rata": _pro_rata}
ALLOCATIONS = {"average": _average, "sequence": _sequence}


def _part(amount: Float[Array, "2 markets"], whole) -> Float[Array, "2 markets"]:
    """amount / whole, from 0 to 1: all where only rounding is missing, or crumbs would stay open."""
    part = jnp.clip(amount / jnp.where(whole > 0, whole, 1.0), 0.0, 1.0)
    return jnp.where(whole > 0, jnp.where(part > 1.0 - ALL, 1.0, part), 0.0)


def _by_side(x: Float[Array, "2 markets"], size) -> Float[Array, "pools markets"]:
    """Row 0 where a pool is long, row 1 where it is short."""
    return jnp.where(size > 0, x[0][None], x[1][None])


def _per_side(side: Side, book: Book) -> Float[Array, "2 markets"]:
    """Long and short quantities per market, accounts and pools together."""
    up = ledger.tree(jnp.maximum(side.pools, 0.0))
    down = ledger.tree(jnp.maximum(-side.pools, 0.0))
    return ledger.per_side(side.accounts, book) + jnp.stack([up, down])


def _value_per_side(side: Side, at: Side, book: Book) -> Float[Array, "2 markets"]:
    """Σ |quantity| (price − 1) of longs and of shorts per market."""
    rows = []
    for sign in (1.0, -1.0):
        mine = jnp.maximum(sign * side.accounts, 0.0) * (at.accounts - 1.0)
        pool = jnp.maximum(sign * side.pools, 0.0) * (at.pools - 1.0)
        rows.append(ledger.per_market(mine, book) + ledger.tree(pool))
    return jnp.stack(rows)


# Settlement


def _settle(state: State, closing: Closing, book: Book, venue: Venue) -> State:
    """Close both parties: size −x, cash + x (p − 1) for signed quantities x."""
    paid = closing.losers.accounts * (closing.loser_price.accounts - 1.0)
    paid = paid + closing.winners.accounts * (closing.winner_price.accounts - 1.0)
    state = dataclasses.replace(
        state,
        size=state.size - closing.losers.accounts - closing.winners.accounts,
        cash=state.cash + ledger.per_account(paid, book),
    )
    state = pools.trade(state, -closing.losers.pools, closing.loser_price.pools)
    return pools.trade(state, -closing.winners.pools, closing.winner_price.pools)


def _unmatched(state, market, accounts: Accounts, losers, closing, book, venue):
    """What finds no counterparty stays open, or passes to `unfunded` at its bankruptcy price."""
    left = losers.accounts - closing.losers.accounts
    pool_left = losers.pools - closing.losers.pools
    quantity = ledger.per_side(left, book) + jnp.stack(
        [ledger.tree(jnp.maximum(pool_left, 0.0)), ledger.tree(jnp.maximum(-pool_left, 0.0))]
    )
    if venue.adl.unmatched == "keep":
        return state, quantity
    before = dataclasses.replace(
        state, size=jnp.where(losers.accounts != 0, losers.accounts, state.size)
    )
    at = margin.bankruptcy_price(before, market, accounts, book)
    paid = left * (at - 1.0)
    state = dataclasses.replace(
        state,
        size=state.size - left,
        cash=state.cash + ledger.per_account(paid, book),
        unfunded_size=state.unfunded_size + ledger.per_market(left, book),
        unfunded_cash=state.unfunded_cash - ledger.tree(ledger.per_market(paid, book)),
    )
    return state, quantity


def _hand_over(state: State, breach: Bool[Array, " pools"], venue: Venue) -> State:
    """A pool closed whole that ends with a negative balance owes the shortfall."""
    closed = breach & (ledger.tree(jnp.abs(state.pool_size).T) == 0)
    short = jnp.where(closed, jnp.maximum(-pools.balance(state, venue), 0.0), 0.0)
    return dataclasses.replace(state, pool_cash=state.pool_cash + short, debt=state.debt + short)


def _hit(closed, worth, losers: Side, mark, book: Book) -> Bool[Array, " accounts"]:
    """Accounts of which more was closed than the rounding of the gap or of their equity."""
    gap = ledger.tree(_per_side(losers, book))
    scale = jnp.maximum(ledger.share(gap, book), ledger.per_position(worth, book) / mark)
    return ledger.per_account(jnp.where(closed > DUST * scale, closed, 0.0), book) > 0


def _count(before, state, market, accounts: Accounts, worth, losers, closing, book, venue):
    """Losses of the counterparties, account by account and in total (docs/model.md 4.6, 6)."""
    mark = ledger.share(market.mark, book)
    closed, received = closing.winners.accounts, closing.winner_price.accounts
    hit = _hit(jnp.abs(closed), worth, losers, mark, book)
    lost = ledger.per_account(closed * (mark - received), book)
    profit = before.size * (mark - margin.entry(before, book))
    profit = ledger.per_account(jnp.maximum(profit, 0.0), book)
    first = hit & ~state.record.deleveraged
    gone = jnp.where(losers.accounts != 0, jnp.abs(before.size) - jnp.abs(state.size), 0.0)
    record = dataclasses.replace(
        state.record,
        deleveraged=state.record.deleveraged | hit,
        adl_loss=state.record.adl_loss + jnp.where(hit, lost, 0.0),
        adl_equity=jnp.where(first, worth, state.record.adl_equity),
        adl_profit=jnp.where(first, profit, state.record.adl_profit),
        liquidated=state.record.liquidated | (ledger.per_account(gone, book) > 0),
    )
    state = dataclasses.replace(state, record=record)
    after = margin.equity(state, market, book)
    net, was = (jnp.abs(ledger.per_account(s.size * mark, book)) for s in (state, before))

    quantity = _per_side(closing.winners, book)
    size = quantity[0] - quantity[1]
    value = _value_per_side(closing.winners, closing.winner_price, book)
    paid = ledger.tree(value[0] - value[1] + size)
    moved = dict(
        deleveraged=ledger.tree((quantity * market.mark[None]).T),
        adl_size=size,
        adl_paid=paid,
        adl_loss_mark=ledger.tree(size * market.mark) - paid,
        adl_loss_index=ledger.tree(size * market.index) - paid,
        winner_bankrupted=ledger.total(hit & (worth >= 0) & (after < 0)),
        account_adl=jnp.any(hit),
        naked_delta=ledger.total(jnp.where(hit, jnp.maximum(net - was, 0.0), 0.0)),
    )
    return state, moved
