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

LARGEST = 1.0 - 1e-9  # of the largest margin: as large but for rounding
CRUMB = 1e-9  # of an order's quantity: rounding, not a fill
ROUNDING = {"float64": 1e-10, "float32": 1e-4}  # of maintenance margin: cash that is not a debt


def needed(state: State, market: Market, book: Book, venue: Venue) -> Bool[Array, ""]:
    """Whether any account may enter the stage."""
    return state.weakest < reach(venue)


def reach(venue: Venue):
    """Health below which an account may enter the stage."""
    return highest(venue.liquidation.below, venue)


def highest(below, venue: Venue):
    """The largest health at which an account can enter a stage with this threshold."""
    return jnp.maximum(below, venue.liquidation.until) if venue.liquidation.remembers else below


def _inside(state, market, accounts, book: Book, venue: Venue) -> Bool[Array, " accounts"]:
    """Accounts that were in the stage's range when the step began and are still below it."""
    below = margin.threshold(state, venue.liquidation.below, venue)
    above = venue.liquidation.above.astype(accounts.health.dtype)
    if venue.takeover.has_gap:
        above = margin.close_out(state, market, accounts, book, venue)
    fell = (state.entered < below) & (state.entered >= above)
    return fell & (accounts.health < below) & (book.role != REST)


def reduce(state: State, market: Market, book: Book, venue: Venue) -> tuple[State, Flows]:
    """Send orders, fill them at one price per market and side, charge fees, write off what is lost.

    Every order is a fraction of a position (`SIZING`) with a limit. Where the venue's fund backs a
    fill (`backing`) the account is settled at its bankruptcy price, the fund takes the difference,
    and only as much is sold as the fund can pay for.
    """
    accounts = margin.assess(state, market, book, venue)
    inside = _inside(state, market, accounts, book, venue)
    bankrupt = inside & (state.entered <= 0.0)
    if venue.liquidation.backing != "bankrupt":
        bankrupt = jnp.zeros_like(bankrupt)

    own = margin.bankruptcy_price(state, market, accounts, book)
    fraction = _fractions(state, market, accounts, bankrupt, book, venue)
    orders = _orders(state, market, accounts, own, inside, bankrupt, fraction, book, venue)
    whole_only = venue.liquidation.execution == "all_or_none"
    state, fills = orderbook.clear(orders, state, market, book, whole_only)
    at = ledger.share_side(fills.price, orders.long, book)

    by_fund = _backed(state, own, orders, at, bankrupt, book, venue)
    state, filled, fees = _settle(
        state, market, accounts, own, orders, fills, at, by_fund, book, venue
    )
    state, closed, loss, draw, need = _settle_backed(
        state, own, orders, fills, at, by_fund, book, venue
    )
    sold = filled + closed
    quantity = ledger.per_side(jnp.where(orders.long, sold, -sold), book)
    state = orderbook.take(state, quantity, fills.price, market, book, venue)
    helped = jnp.where(sold > CRUMB * orders.quantity, sold, 0.0)
    state = _mark_accounts(state, helped, fraction, book, venue)
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
    part = value > margin.of_position(rules.fraction_above.astype(value.dtype), book)
    if rules.cools:
        part = part & (ledger.per_position(state.cooldown, book) <= 0)
    return jnp.where(part, rules.fraction.astype(value.dtype), 1.0)


def _to_margin(state, market, accounts, book, venue):
    """The smallest share that restores margin, if it costs the fee and mid's distance from the mark."""
    slip = price.mid(state, market) / market.mark - 1.0
    against = ledger.share_side(
        jnp.stack([jnp.maximum(-slip, 0.0), jnp.maximum(slip, 0.0)]), state.size > 0, book
    )
    fee = venue.liquidation.fee.astype(against.dtype)
    cost = margin.notional(state, market, book) * (fee + against)
    return restoring(cost, accounts, book, venue)


def restoring(cost, accounts: Accounts, book: Book, venue: Venue) -> Float[Array, " positions"]:
    """The smallest share f of all positions with e − f c ≥ (1 + b)(1 − f) M, rounded up to multiples.

    c is what closing everything costs, given per position.
    """
    spent = ledger.per_account(cost, book)
    target = (1.0 + venue.liquidation.buffer).astype(spent.dtype) * accounts.maintenance
    helps = target > spent
    part = formulas.share_to_margin(
        jnp.where(helps, target, 1.0), accounts.equity, jnp.where(helps, spent, 0.0)
    )
    part = jnp.where(helps, jnp.clip(part, 0.0, 1.0), 1.0)
    multiple = venue.liquidation.multiple.astype(part.dtype)
    steps = jnp.ceil(part / jnp.where(multiple > 0, multiple, 1.0) - STEP_ROUNDING)
    part = jnp.where(multiple > 0, jnp.minimum(steps * multiple, 1.0), part)
    return ledger.per_position(part, book)


def _tiers(state, market, accounts, book, venue):
    """Down to the tier that lies `tiers_down` below; nothing where there is no such tier."""
    value = margin.tier_value(state, market, book, venue)
    down, floors = venue.liquidation.tiers_down, book.margin.floor
    left = value
    for floor, ceiling in zip(floors[down:], floors[1:], strict=False):
        left = jnp.where(value >= floor, INSIDE * ceiling, left)
    held = value > 0
    return jnp.where(held, 1.0 - left / jnp.where(held, value, 1.0), 0.0)


def _clips(state, market, accounts, book, venue):
    """A clip every so often: a fraction of the position, at least and at most so many dollars."""
    rules, value = venue.liquidation, margin.notional(state, market, book)
    fraction, least, most = (
        x.astype(value.dtype) for x in (rules.fraction, rules.clip_least, rules.clip_most)
    )
    least, most = margin.of_position(least, book), margin.of_account(most, book)
    clips = (market.dt / rules.clip).astype(value.dtype)
    wanted = formulas.clip(value, least * clips, fraction * clips, value, jnp.minimum, jnp.maximum)
    together = ledger.per_account(wanted, book)
    asks = together > 0
    allowed = jnp.minimum(most * clips / jnp.where(asks, together, 1.0), 1.0)
    wanted = wanted * ledger.per_position(allowed, book)
    held = value > 0
    return jnp.where(held, wanted / jnp.where(held, value, 1.0), 0.0)


SIZING = {
    "full": _full,
    "fractional": _fractional,
    "to_margin": _to_margin,
    "tiers": _tiers,
    "clips": _clips,
}
SAME_LIMIT = 1e-9  # distances so near are one: those of bankrupt accounts differ by rounding
INSIDE = 1.0 - 1e-6  # of a tier's ceiling: what is left lies inside the tier, not on its edge
STEP_ROUNDING = 1e-9  # of a multiple: a share that is one already is not rounded up to the next


def _fractions(state, market, accounts, bankrupt, book: Book, venue: Venue):
    """Share of each position to send: a rest of less than the dust notional is sent too."""
    rules = venue.liquidation
    part = ramped(SIZING[rules.sizing](state, market, accounts, book, venue), state, book, venue)
    left = (1.0 - part) * margin.notional(state, market, book)
    dust = margin.of_position(rules.dust.astype(left.dtype), book)
    whole = (left < dust) | ledger.per_position(bankrupt, book)
    return jnp.where(whole, 1.0, part)


def ramped(part, state: State, book: Book, venue: Venue) -> Float[Array, " positions"]:
    """The share of what sizing asks that may be sent so soon after the liquidation began."""
    rules = venue.liquidation
    if not rules.remembers:
        return part
    start, ramp = rules.ramp_start.astype(part.dtype), rules.ramp.astype(part.dtype)
    slow = ramp > 0
    grown = start + jnp.maximum(state.since, 0.0) / jnp.where(slow, ramp, 1.0)
    return part * ledger.per_position(jnp.where(slow, jnp.minimum(grown, 1.0), 1.0), book)


def _orders(
    state, market, accounts, own, inside, bankrupt, fraction, book: Book, venue: Venue
) -> Orders:
    """Orders of the accounts inside, each with the log distance that its limit tolerates."""
    sends = ledger.per_position(inside, book)
    if venue.liquidation.positions == "largest":
        most = ledger.per_position(ledger.largest(accounts.required, book), book)
        sends = sends & (accounts.required >= LARGEST * most)
    quantity = jnp.where(sends, fraction * jnp.abs(state.size), 0.0)
    if venue.adl.bypass:
        quantity = jnp.where(ledger.share(bypassed(state, venue), book) > 0, 0.0, quantity)
    long = state.size > 0
    if venue.liquidation.limit == "none":
        return Orders(quantity=quantity, long=long, tolerance=None)
    at = LIMITS[venue.liquidation.limit](state, market, accounts, own, book, venue)
    now = price.distance(state.eaten, market.depth, market.order_book)
    room = price.distance_to(at, ledger.share(price.mid(state, market), book), long, market)
    free = ledger.per_position(bankrupt, book)
    reach = ledger.share_side(now, long, book) + room
    if venue.liquidation.limit == "fillable":
        reach = jnp.round(reach / SAME_LIMIT) * SAME_LIMIT
    tolerance = jnp.where(free, jnp.inf, reach)
    furthest = market.order_book.distance_max.astype(at.dtype)
    return Orders(quantity=quantity, long=long, tolerance=jnp.minimum(tolerance, furthest))


def bypassed(state: State, venue: Venue) -> Float[Array, " markets"]:
    """1 in the markets of pools whose drawdown rule holds."""
    return pools.to_markets(state.pool_on, venue)


def _bankruptcy(state, market, accounts, own, book, venue):
    """Not beyond what the position's share of equity can bear."""
    return own


def _fillable(state, market, accounts, own, book, venue):
    """P − ABR · s · M_k / q: the further below margin, the more of it may be lost; ABR = 1 − e/M, 0 to 1."""
    holds, open_ = accounts.maintenance > 0, state.size != 0
    distress = formulas.distress(
        jnp.where(holds, accounts.equity, 1.0),
        jnp.where(holds, accounts.maintenance, 1.0),
        1.0,
        jnp.minimum,
        jnp.maximum,
    )
    return formulas.fillable_price(
        ledger.share(market.mark, book),
        jnp.where(open_, state.size, 1.0),
        jnp.where(open_, accounts.required, 0.0),
        ledger.per_position(distress, book),
        venue.liquidation.slack.astype(distress.dtype),
    )


def _mark(state, market, accounts, own, book, venue):
    """The mark less a part of it for a long, plus that for a short."""
    mark = ledger.share(market.mark, book)
    return mark - jnp.sign(state.size) * venue.liquidation.slack.astype(mark.dtype) * mark


LIMITS = {"bankruptcy": _bankruptcy, "fillable": _fillable, "mark": _mark}


def _backed(state, own, orders: Orders, at, bankrupt, book, venue):
    """Positions whose fills the fund settles at the bankruptcy price."""
    by_fund = ledger.per_position(bankrupt, book)
    if venue.liquidation.backing != "fills":
        return by_fund
    return jnp.where(orders.long, at < own, at > own) & (state.size != 0)


def _settle(state, market, accounts, own, orders: Orders, fills: Fills, at, by_fund, book, venue):
    """Fills and fees of accounts that close their own positions."""
    rules = venue.liquidation
    filled = jnp.where(by_fund, 0.0, fills.filled)
    signed = jnp.where(orders.long, filled, -filled)
    rate = rules.fee.astype(at.dtype)
    fee = rate * filled * at
    if rules.fee_cap == "equity":
        slipped = ledger.per_account(signed * (at - ledger.share(market.mark, book)), book)
        afford = jnp.maximum(accounts.equity + slipped, 0.0)
        asked = ledger.per_account(fee, book)
        scale = jnp.minimum(afford / jnp.where(asked > 0, asked, 1.0), 1.0)
        fee = fee * ledger.per_position(scale, book)
    if rules.fee_cap == "surplus":
        surplus = jnp.maximum(formulas.insurance_delta(signed, own, at), 0.0)
        fee = formulas.surplus_fee(surplus, filled * at, rate, jnp.minimum)
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


def _settle_backed(state, own, orders, fills, at, by_fund, book, venue):
    """Fills that the fund pays for: at the bankruptcy price, as far as its balance goes."""
    nothing = jnp.zeros_like(state.debt)
    if venue.liquidation.backing == "none":
        return state, jnp.zeros_like(fills.filled), nothing, nothing, nothing
    filled = jnp.where(by_fund, fills.filled, 0.0)
    signed = jnp.where(orders.long, filled, -filled)
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
    record = dataclasses.replace(state.record, liquidated=state.record.liquidated | some)
    state = dataclasses.replace(state, record=record)
    if not venue.liquidation.cools:
        return state
    partial = ledger.per_account(jnp.where(fraction < 1.0, sold, 0.0), book) > 0
    partial = some if venue.adl.waits else partial  # any fill postpones ADL
    period = venue.liquidation.cooldown.astype(state.cooldown.dtype)
    return dataclasses.replace(state, cooldown=jnp.where(partial, period, state.cooldown))


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
