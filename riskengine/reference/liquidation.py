"""Section 4.1: accounts below maintenance margin are closed into the order book."""

import math
from collections import defaultdict

from riskengine.reference import clearing, margin, pools, pricing, records, takers
from riskengine.reference.clearing import Order
from riskengine.reference.records import BUY, SELL, clip, sign_of


def book_stage(state, market, book, venue):
    """book_above <= entered < book_below and still below it: sold through the order book."""
    flows = records.no_flows(venue)
    entering = {
        i: standing
        for i, standing in margin.entrants(state, market, book, venue, venue.book_below).items()
        if state.entered[i] >= lowest(standing, state, market, book, venue)
    }
    if not entering:
        return flows
    before = list(state.size)
    orders = liquidation_orders(entering, state, market, book, venue)
    cleared = clearing.clear_all(orders, state, market, venue.execution)
    for (m, side), quantity in cleared.items():
        pricing.eat(state, market, m, side, quantity)
    if venue.backing == "fills":
        for order in orders:
            order.by_fund = order.sign * (order.bankruptcy_price - order.price) > 0
    settle_liquidated(orders, state, book)
    charge_fees(orders, state, market, book, venue, flows)
    settle_backed(orders, state, market, book, venue, flows)
    takers.take_forced_flow(clearing.executed(orders), state, market, book, venue)
    note_liquidations(orders, state, book, venue, flows)
    flows.bad_debt += margin.write_off(state, before, market, book, venue)
    return flows


def lowest(standing, state, market, book, venue):
    """Health below which an account is taken over instead of being sold through the book."""
    if venue.takeover_gap is None:
        return venue.book_above
    return margin.close_out(standing, state, market, book, venue)


def bypassed(m, state, venue):
    """While a pool's drawdown rule holds, its markets' book is left alone."""
    return venue.bypass and state.pool_on[venue.pool_of_market[m]] > 0


def liquidation_orders(entering, state, market, book, venue):
    """The orders of the accounts that enter; bankrupt ones whole and without limit."""
    orders = []
    for i, standing in entering.items():
        bankrupt = venue.backing == "bankrupt" and state.entered[i] <= 0
        fractions = order_fractions(i, standing, state, market, book, venue)
        for k in sent(standing, venue):
            size, m = state.size[k], book.market[k]
            fraction = 1 if bankrupt else fractions[k]
            order = Order(m, SELL if size > 0 else BUY, fraction * abs(size), k, fraction=fraction)
            order.by_fund = bankrupt
            order.bankruptcy_price = margin.bankruptcy_price(k, standing, state, market, book)
            if venue.limit != "none" and not bankrupt:
                order.limit_price = limit_price(order, standing, state, market, venue)
                order.limit = clearing.tolerance(order, state, market)
                if venue.limit == "fillable" and math.isfinite(order.limit):
                    order.limit = round(order.limit / SAME_LIMIT) * SAME_LIMIT
            if order.quantity > 0 and not bypassed(m, state, venue):
                orders.append(order)
    return orders


def sent(standing, venue):
    """The account's positions that a step sends: all, or those of the largest maintenance margin."""
    if venue.positions == "all":
        return list(standing.margins)
    most = max(standing.margins.values(), default=0)
    return [k for k, required in standing.margins.items() if required >= LARGEST * most]


LARGEST = 1 - 1e-9  # of the largest margin: as large but for rounding


def limit_price(order, standing, state, market, venue):
    """By `limit`: P_bk; P - clip(1 - h, 0, 1) s M_k / size; P - sign s P."""
    mark, size = market.mark[order.market], state.size[order.position]
    if venue.limit == "bankruptcy":
        return order.bankruptcy_price
    if venue.limit == "mark":
        return mark - order.sign * venue.slack * mark
    lost = clip(1 - standing.health, 0, 1)
    return mark - standing.margins[order.position] * (lost * venue.slack) / size


def order_fractions(account, standing, state, market, book, venue):
    """{position: f}: how much of each position is sent, by `sizing`; dust is sent along."""
    fractions, clips, whole, members = {}, {}, 1, book.members[account]
    if venue.sizing == "to_margin":
        cost = closing_cost(standing, state, market, book, venue)
        whole = fraction_to_margin(standing, cost, venue)
    if venue.sizing == "clips":
        clips = clip_fractions(members, standing, state, market, book, venue)
    for k in standing.margins:
        notional = abs(state.size[k]) * market.mark[book.market[k]]
        part = whole
        if venue.sizing == "fractional" and state.cooldown[account] == 0:
            part = venue.fraction if notional / members > venue.fraction_above else 1
        elif venue.sizing == "tiers":
            part = fraction_down_tiers(k, state, market, book, venue)
        elif venue.sizing == "clips":
            part = clips[k]
        part *= ramp(account, state, venue)
        fractions[k] = 1 if (1 - part) * notional / members < venue.dust else part
    return fractions


def ramp(account, state, venue):
    """Share of what sizing asks that may be sent: start + time in liquidation / ramp, at most 1."""
    if not venue.remembers or venue.ramp == 0:
        return 1
    return min(venue.ramp_start + max(state.since[account], 0) / venue.ramp, 1)


CRUMB = 1e-9  # of an order: rounding, not a fill
SAME_LIMIT = 1e-9  # distances so near are one: bankrupt accounts' limits differ by rounding alone
INSIDE = 1 - 1e-6  # of a tier's ceiling: what is left lies inside the tier


def fraction_down_tiers(position, state, market, book, venue):
    """1 - ceiling / v: to the ceiling of the tier `tiers_down` below; 0 where there is none."""
    m = book.market[position]
    value = margin.tier_value(state.size[position], state.entry[position], market.mark[m], venue)
    value /= book.members[book.account[position]]
    tier = margin.tier_of(value, m, venue)
    if tier < venue.tiers_down:
        return 0
    return 1 - INSIDE * venue.tier_floor[m][tier - venue.tiers_down + 1] / value


def clip_fractions(members, standing, state, market, book, venue):
    """min(n, max(least, fraction n) dt / clip) of each position, the account's sum at most most dt / clip."""
    clips = market.dt / venue.clip
    price = {k: market.mark[book.market[k]] / members for k in standing.margins}
    notional = {k: abs(state.size[k]) * price[k] for k in standing.margins}
    wanted = {
        k: min(n, max(venue.clip_least, venue.fraction * n) * clips) for k, n in notional.items()
    }
    together = sum(wanted.values())
    allowed = min(venue.clip_most * clips / together, 1) if together > 0 else 1
    return {k: wanted[k] * allowed / n if n > 0 else 0 for k, n in notional.items()}


def closing_cost(standing, state, market, book, venue):
    """c: fee and distance of mid from the mark, if all positions are closed."""
    cost = 0
    for k in standing.margins:
        m = book.market[k]
        mark, size = market.mark[m], state.size[k]
        gap = (1 - pricing.mid_price(state, market, m) / mark) * sign_of(size)
        cost += abs(size) * mark * (venue.liquidation_fee + max(0, gap))
    return cost


STEP_ROUNDING = 1e-9  # of a multiple


def fraction_to_margin(standing, cost, venue):
    """clip(((1+b) M - e) / ((1+b) M - c), 0, 1), rounded up to a multiple.

    Equity after costs c is then (1+b) times margin.
    """
    target = (1 + venue.buffer) * standing.maintenance
    if target - cost <= 0:
        part = 1
    else:
        part = clip((target - standing.equity) / (target - cost), 0, 1)
    if venue.multiple > 0:
        part = min(math.ceil(part / venue.multiple - STEP_ROUNDING) * venue.multiple, 1)
    return part


def settle_liquidated(orders, state, book):
    """Accounts trade what was filled at the fill price, unless the fund settles it."""
    for order in orders:
        if not order.by_fund:
            records.trade(state, book, order.position, -order.sign * order.filled, order.price)


def charge_fees(orders, state, market, book, venue, flows):
    """Fee phi y p per fill, within what `fee_cap` allows.

    equity: at most the account's equity after its fills; surplus: at most what each fill brings
    above the bankruptcy price.
    """
    fees = defaultdict(list)
    for order in orders:
        if not order.by_fund and order.filled > 0:
            fee = venue.liquidation_fee * order.filled * order.price
            if venue.fee_cap == "surplus":
                better = order.sign * (order.price - order.bankruptcy_price)
                fee = min(fee, max(order.filled * better, 0))
            fees[book.account[order.position]].append((order.market, fee))
    after = margin.standings(state, market, book, venue, fees.keys())
    for i, parts in fees.items():
        total = sum(fee for _, fee in parts)
        payable = total
        if venue.fee_cap == "equity":
            payable = min(total, max(after[i].equity, 0))
        if payable > 0:
            pay_fees(i, [(m, fee * (payable / total)) for m, fee in parts], state, venue)
            flows.fees += payable


def pay_fees(account, fees, state, venue):
    """The share fee_to_pool goes to the pool of the position's market, the rest to `fees`."""
    for m, fee in fees:
        to_pool = venue.fee_to_pool * fee
        state.pool_cash[venue.pool_of_market[m]] += to_pool
        state.fees += fee - to_pool
    state.cash[account] -= sum(fee for _, fee in fees)


def settle_backed(orders, state, market, book, venue, flows):
    """Backed fills are settled at P_bk and the pool takes the difference to the fill price.

    If the pool's loss exceeds its balance, only the share balance / loss of each fill takes place.
    A pool that gains in total has nothing to pay: its fills all take place.
    """
    backed = [order for order in orders if order.by_fund]
    losses = defaultdict(int)
    for order in backed:
        worse = order.sign * (order.bankruptcy_price - order.price)
        losses[venue.pool_of_market[order.market]] += order.filled * worse
    shares = {
        pool: payable_share(pool, loss, state, market, venue, flows)
        for pool, loss in losses.items()
    }
    for order in backed:
        pool = venue.pool_of_market[order.market]
        order.filled *= shares[pool]
        closed = order.sign * order.filled
        records.trade(state, book, order.position, -closed, order.bankruptcy_price)
        state.pool_cash[pool] += closed * (order.price - order.bankruptcy_price)


def payable_share(pool, loss, state, market, venue, flows):
    """psi: the share of its loss on backed fills that the pool can pay."""
    if loss <= 0:
        return 1
    need = flows.loss[pool] = pools.loss_need(pool, state, loss)
    flows.exit[pool] = pools.exit_need(pool, loss, state, market)
    share = 1
    if pools.exceeds(need, pool, venue):
        share = max(pools.balance_of(pool, state, venue), 0) / loss
    flows.bad_debt += loss
    flows.fund_draw += share * loss
    return share


def note_liquidations(orders, state, book, venue, flows):
    """Count the fills; an account with a partial order that was filled starts its cooldown."""
    for order in orders:
        if order.side == SELL:
            flows.liquidated_long += order.filled * order.price
        else:
            flows.liquidated_short += order.filled * order.price
        if order.filled <= CRUMB * order.quantity:
            continue
        account = book.account[order.position]
        flows.liquidated.add(account)
        if order.fraction < 1 or venue.waits:
            state.cooldown[account] = venue.cooldown_period
