"""Stage `book`: accounts below maintenance margin are closed into the order book."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from riskengine.specs.book import REST, Book
from riskengine.specs.venue import Venue
from riskengine.waterfall import formulas, ledger, margin, orderbook, pools, price
from riskengine.waterfall.margin import Accounts
from riskengine.waterfall.orderbook import Fills, Orders
from riskengine.waterfall.state import Flows, Market, State, flows

ROUNDING = {"float64": 1e-10, "float32": 1e-4}  # of maintenance margin: cash that is not a debt


def needed(state: State, market: Market, book: Book, venue: Venue) -> Bool[Array, ""]:
    """Whether any account may enter the stage."""
    return state.weakest < venue.liquidation.below


def _inside(state: State, accounts: Accounts, book: Book, venue: Venue) -> Bool[Array, " accounts"]:
    """Accounts that were in the stage's range when the step began and are still below it."""
    below, above = (
        x.astype(accounts.health.dtype) for x in (venue.liquidation.below, venue.liquidation.above)
    )
    fell = (state.entered < below) & (state.entered >= above)
    return fell & (accounts.health < below) & (book.role != REST)


def reduce(state: State, market: Market, book: Book, venue: Venue) -> tuple[State, Flows]:
    """Send orders, fill them at one price per market and side, charge fees, write off what is lost.

    Every order is a fraction of a position (`SIZING`) with a limit. A bankrupt account is closed by
    the fund where the venue says so: settled at its bankruptcy price, the fund takes the difference,
    and only as much is sold as the fund can pay for.
    """
    accounts = margin.assess(state, market, book, venue)
    inside = _inside(state, accounts, book, venue)
    bankrupt = inside & (state.entered <= 0.0)
    if venue.liquidation.bankrupt_orders == "none":
        bankrupt = jnp.zeros_like(bankrupt)

    fraction = _fractions(state, market, accounts, bankrupt, book, venue)
    orders = _orders(state, market, accounts, inside, bankrupt, fraction, book, venue)
    state, fills = orderbook.clear(orders, state, market, book)
    at = ledger.share_side(fills.price, orders.long, book)

    by_fund = ledger.per_position(bankrupt, book)
    state, own, fees = _settle(state, market, accounts, orders, fills, at, by_fund, book, venue)
    state, closed, loss, draw, need = _settle_bankrupt(
        state, market, accounts, orders, fills, at, by_fund, book, venue
    )
    sold = own + closed
    quantity = ledger.per_side(jnp.where(orders.long, sold, -sold), book)
    state = orderbook.take(state, quantity, fills.price, market, book, venue)
    state = _mark_accounts(state, sold, fraction, book, venue)
    state, written_off = write_off(state, accounts, book, venue)
    return state, flows(
        book,
        venue,
        liquidated=ledger.tree((quantity * fills.price).T),
        fees=fees,
        bad_debt=written_off + ledger.total(loss),
        fund_draw=ledger.total(draw),
        need_rules=need,
        need_cash=need,
        need_exit=jnp.where(need != 0, need - pools.exit_gain(state, market), 0.0),
    )


def _full(state, market, accounts, book, venue):
    """Everything at once."""
    return jnp.ones_like(state.size)


def _fractional(state, market, accounts, book, venue):
    """A fraction of large positions first; everything while the account's cooldown runs."""
    rules = venue.liquidation
    value = margin.notional(state, market, book)
    waits = ledger.per_position(state.cooldown, book) > 0
    part = (value > rules.fraction_above.astype(value.dtype)) & ~waits
    return jnp.where(part, rules.fraction.astype(value.dtype), 1.0)


def _to_margin(state, market, accounts, book, venue):
    """The smallest share f of all positions with e − f c ≥ (1 + b)(1 − f) M."""
    rules = venue.liquidation
    slip = price.mid(state, market) / market.mark - 1.0
    against = ledger.share_side(
        jnp.stack([jnp.maximum(-slip, 0.0), jnp.maximum(slip, 0.0)]), state.size > 0, book
    )
    cost = margin.notional(state, market, book) * (rules.fee.astype(against.dtype) + against)
    spent = ledger.per_account(cost, book)
    target = (1.0 + rules.buffer).astype(spent.dtype) * accounts.maintenance
    helps = target > spent
    part = (target - accounts.equity) / jnp.where(helps, target - spent, 1.0)
    return ledger.per_position(jnp.where(helps, jnp.clip(part, 0.0, 1.0), 1.0), book)


SIZING = {"full": _full, "fractional": _fractional, "to_margin": _to_margin}


def _fractions(state, market, accounts, bankrupt, book: Book, venue: Venue):
    """Share of each position to send: a rest of less than the dust notional is sent too."""
    rules = venue.liquidation
    part = SIZING[rules.sizing](state, market, accounts, book, venue)
    left = (1.0 - part) * margin.notional(state, market, book)
    whole = (left < rules.dust.astype(left.dtype)) | ledger.per_position(bankrupt, book)
    return jnp.where(whole, 1.0, part)


def _orders(
    state, market, accounts, inside, bankrupt, fraction, book: Book, venue: Venue
) -> Orders:
    """Orders of the accounts inside, each with the log distance that its limit tolerates."""
    sends = ledger.per_position(inside, book)
    quantity = jnp.where(sends, fraction * jnp.abs(state.size), 0.0)
    long = state.size > 0
    if venue.liquidation.limit == "none":
        return Orders(quantity=quantity, long=long, tolerance=None)
    at = margin.bankruptcy_price(state, market, accounts, book)
    now = price.distance(state.eaten, market.depth, market.order_book)
    room = price.distance_to(at, ledger.share(price.mid(state, market), book), long, market)
    free = ledger.per_position(bankrupt, book)
    tolerance = jnp.where(free, jnp.inf, ledger.share_side(now, long, book) + room)
    furthest = market.order_book.distance_max.astype(at.dtype)
    return Orders(quantity=quantity, long=long, tolerance=jnp.minimum(tolerance, furthest))


def _settle(state, market, accounts, orders: Orders, fills: Fills, at, by_fund, book, venue):
    """Fills and fees of accounts that close their own positions."""
    rules = venue.liquidation
    filled = jnp.where(by_fund, 0.0, fills.filled)
    signed = jnp.where(orders.long, filled, -filled)
    fee = rules.fee.astype(at.dtype) * filled * at
    if rules.fee_cap == "equity":
        slipped = ledger.per_account(signed * (at - ledger.share(market.mark, book)), book)
        afford = jnp.maximum(accounts.equity + slipped, 0.0)
        asked = ledger.per_account(fee, book)
        scale = jnp.minimum(afford / jnp.where(asked > 0, asked, 1.0), 1.0)
        fee = fee * ledger.per_position(scale, book)
    paid = ledger.per_account(signed * (at - 1.0) - fee, book)
    by_market = ledger.per_market(fee, book)
    to_pools = rules.fee_to_pool * pools.of_pools(by_market, venue)
    charged = ledger.tree(by_market)
    state = dataclasses.replace(
        state,
        size=state.size - signed,
        cash=state.cash + paid,
        pool_cash=state.pool_cash + to_pools,
        fees=state.fees + charged - ledger.tree(to_pools),
    )
    return state, filled, charged


def _settle_bankrupt(state, market, accounts, orders, fills, at, by_fund, book, venue):
    """Fills that the fund pays for: at the bankruptcy price, as far as its balance goes."""
    nothing = jnp.zeros_like(state.debt)
    if venue.liquidation.bankrupt_orders == "none":
        return state, jnp.zeros_like(fills.filled), nothing, nothing, nothing
    filled = jnp.where(by_fund, fills.filled, 0.0)
    signed = jnp.where(orders.long, filled, -filled)
    own = margin.bankruptcy_price(state, market, accounts, book)
    lost = formulas.insurance_delta(-signed, own, at)
    loss = pools.of_pools(ledger.per_market(lost, book), venue)
    paid, need = pools.pay(loss, state, venue)
    share = jnp.where(loss > 0, paid / jnp.where(loss > 0, loss, 1.0), 1.0)
    each = ledger.share(pools.to_markets(share, venue), book)
    filled, signed = filled * each, signed * each
    state = dataclasses.replace(
        state,
        size=state.size - signed,
        cash=state.cash + ledger.per_account(signed * (own - 1.0), book),
        pool_cash=state.pool_cash - share * loss,
    )
    return state, filled, jnp.maximum(loss, 0.0), paid, need


def _mark_accounts(state: State, sold, fraction, book: Book, venue: Venue) -> State:
    """Remember who was liquidated; a partial fill starts the account's cooldown."""
    some = ledger.per_account(sold, book) > 0
    partial = ledger.per_account(jnp.where(fraction < 1.0, sold, 0.0), book) > 0
    period = venue.liquidation.cooldown.astype(state.cooldown.dtype)
    record = dataclasses.replace(state.record, liquidated=state.record.liquidated | some)
    return dataclasses.replace(
        state, record=record, cooldown=jnp.where(partial, period, state.cooldown)
    )


def write_off(
    state: State, accounts: Accounts, book: Book, venue: Venue
) -> tuple[State, Float[Array, ""]]:
    """An account without positions and with negative cash owes it; the debt goes to its pools.

    It is split over markets in proportion to the maintenance margin of the positions that the
    stage closed (`accounts` holds the margins before the stage). A debt below `ROUNDING` of that
    margin is none.
    """
    held = accounts.maintenance
    flat = (ledger.per_account(jnp.abs(state.size), book) == 0) & (held > 0)
    owes = flat & (-state.cash > ROUNDING[str(held.dtype)] * held)
    owed = jnp.where(owes, -state.cash, 0.0)
    per_margin = owed / jnp.where(owes, held, 1.0)
    pieces = accounts.required * ledger.per_position(per_margin, book)
    debt = pools.of_pools(ledger.per_market(pieces, book), venue)
    state = dataclasses.replace(state, cash=state.cash + owed, debt=state.debt + debt)
    return state, ledger.tree(debt)
