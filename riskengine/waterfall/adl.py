"""Stage `adl`: positions that nobody else takes are closed against profitable ones on the other side."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from riskengine.specs.book import Book
from riskengine.specs.venue import Venue
from riskengine.waterfall import (
    allocation,
    counterparties,
    formulas,
    ledger,
    liquidation,
    losing,
    margin,
    part,
    pools,
)
from riskengine.waterfall.allocation import Closing, Side
from riskengine.waterfall.margin import Accounts
from riskengine.waterfall.state import Flows, Market, State, flows

DUST = 1e-12  # of a gap or of an equity: rounding, not an amount


def needed(state: State, market: Market, book: Book, venue: Venue) -> Bool[Array, ""]:
    """Whether an account may enter the stage or a pool is in breach."""
    weak = state.weakest < below(venue)
    return weak | jnp.any(losing.may_be_in_breach(state, market, book, venue))


def below(venue: Venue):
    """Health below which an account may enter the stage."""
    return venue.adl.below


def wanted(state: State, market: Market, book: Book, venue: Venue) -> Bool[Array, ""]:
    """Whether anybody is to be closed: most weak accounts have left in the stages before."""
    accounts = margin.assess(state, market, book, venue)
    inside = _inside(state, accounts, book, venue)
    return jnp.any(inside) | jnp.any(losing.may_be_in_breach(state, market, book, venue))


def queues(venue: Venue) -> bool:
    """Whether the stage closes accounts alone, the first of a queue: then it may work on a part."""
    rules = venue.adl
    alone = not (losing.read_capital(venue) or rules.pools_in_queue)
    return alone and rules.policy == "queue" and rules.allocation == "average"


def line(
    state: State, market: Market, book: Book, venue: Venue, size: int
) -> tuple[Float[Array, " blocks"], Bool[Array, ""]]:
    """When each block of accounts has its turn to be closed, and whether so many blocks will do.

    Losers are first, then counterparties by score. The blocks do where those of them that score
    better than everybody else suffice: the marginal score lies inside.
    """
    accounts = margin.assess(state, market, book, venue)
    inside = _inside(state, accounts, book, venue)
    losers, at = losing.positions(state, market, accounts, inside, book, venue)
    candidates, ranked = counterparties.candidates(
        state, market, accounts, inside, losers, at, book, venue
    )
    gap = allocation.per_side(losers, book)[::-1]  # their longs close losers' shorts
    asked = ledger.share_side(gap, candidates.accounts > 0, book) > 0
    score = jnp.where(asked & (candidates.accounts != 0), ranked.accounts, -jnp.inf)
    turn = ledger.most(jnp.where(losers.accounts != 0, jnp.inf, score), book)
    better = score > part.beyond(turn, size)
    there = ledger.per_side(jnp.where(better, candidates.accounts, 0.0), book)
    return turn, jnp.all(there >= gap)


def _inside(state: State, accounts: Accounts, book: Book, venue: Venue) -> Bool[Array, " accounts"]:
    """Accounts to be closed; where the venue waits, not those that an order has just helped."""
    inside = margin.enters(state, accounts, venue.adl.below, -jnp.inf, book)
    return inside & (state.cooldown <= 0) if venue.adl.waits else inside


def deleverage(state: State, market: Market, book: Book, venue: Venue) -> tuple[State, Flows]:
    """Close losers against counterparties of the other side until the gap or the counterparties end.

    Per market and side: gap G, counterparties C, closed X = min(G, C). Who is closed is the venue's
    policy; at which price, its price rule (docs/model.md 4.6).
    """
    if "drawdown" in venue.pools.triggers:
        state = pools.switch(state, market, venue)
    accounts = margin.assess(state, market, book, venue)
    inside = _inside(state, accounts, book, venue)
    losers, at = losing.positions(state, market, accounts, inside, book, venue)
    candidates, ranked = counterparties.candidates(
        state, market, accounts, inside, losers, at, book, venue
    )
    if venue.adl.policy == "top":
        candidates = allocation.highest(candidates, ranked, book, venue)
    gap, there = allocation.per_side(losers, book), allocation.per_side(candidates, book)
    wanted = jnp.minimum(gap[::-1], there)  # of counterparties: their longs close losers' shorts

    allocate = allocation.ALLOCATIONS[venue.adl.allocation]
    closing = allocate(losers, at, candidates, ranked, wanted, gap, book, venue)
    before, worth = state, accounts.equity
    state, closing = _mark_share(state, closing, market, book, venue)
    state = _settle(state, closing, book, venue)
    state, left = _unmatched(state, market, accounts, losers, closing, book, venue)
    state, moved = count(before, state, market, accounts, worth, losers, closing, book, venue)
    state, written_off = liquidation.write_off(state, accounts, book, venue)
    state = _hand_over(state, losing.in_breach(before, market, venue), venue)
    queued = counterparties.pool_could_close(candidates, wanted)
    moved |= dict(
        bad_debt=written_off,
        unmatched=ledger.tree(ledger.tree(left) * market.mark),
        need_rules=jnp.where(queued, jnp.inf, 0.0),
    )
    return state, flows(book, venue, **moved)


def _mark_share(state: State, closing: Closing, market: Market, book: Book, venue: Venue):
    """Counterparties get a price nearer the mark, (1 − w) p + w P; their pools keep the difference."""
    if not venue.adl.blends:
        return state, closing
    share, own = venue.adl.mark_share, closing.winner_price
    mark = ledger.share(market.mark, book)
    near = Side(
        accounts=formulas.blend(mark, own.accounts, share.astype(mark.dtype)),
        pools=formulas.blend(market.mark[None], own.pools, share),
    )
    gained = ledger.per_market(closing.winners.accounts * (near.accounts - own.accounts), book)
    gained = gained + ledger.tree(closing.winners.pools * (near.pools - own.pools))
    state = dataclasses.replace(state, pool_cash=state.pool_cash - pools.of_pools(gained, venue))
    return state, dataclasses.replace(closing, winner_price=near)


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
    gap = ledger.tree(allocation.per_side(losers, book))
    scale = jnp.maximum(ledger.share(gap, book), ledger.per_position(worth, book) / mark)
    return ledger.per_account(jnp.where(closed > DUST * scale, closed, 0.0), book) > 0


def count(before, state, market, accounts: Accounts, worth, losers, closing, book, venue):
    """Losses of the counterparties, account by account and in total (docs/model.md 4.6, 6)."""
    mark = ledger.share(market.mark, book)
    closed, received = closing.winners.accounts, closing.winner_price.accounts
    hit = _hit(jnp.abs(closed), worth, losers, mark, book)
    lost = ledger.per_account(closed * (mark - received), book)
    profit = margin.profit(before, market, book)
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

    quantity = allocation.per_side(closing.winners, book)
    size = quantity[0] - quantity[1]
    value = allocation.value_per_side(closing.winners, closing.winner_price, book)
    paid = ledger.tree(value[0] - value[1] + size)
    moved = dict(
        deleveraged=ledger.tree((quantity * market.mark[None]).T),
        adl_size=size,
        adl_paid=paid,
        adl_loss_mark=ledger.tree(size * market.mark) - paid,
        adl_loss_index=ledger.tree(size * market.index) - paid,
        winner_bankrupted=ledger.count(hit & (worth >= 0) & (after < 0), book),
        account_adl=jnp.any(hit),
        naked_delta=ledger.total(jnp.where(hit, jnp.maximum(net - was, 0.0), 0.0)),
    )
    return state, moved
