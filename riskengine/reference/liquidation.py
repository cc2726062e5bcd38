"""Section 4.1: accounts below maintenance margin are closed into the order book."""

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
        if state.entered[i] >= venue.book_above
    }
    if not entering:
        return flows
    before = list(state.size)
    orders = liquidation_orders(entering, state, market, book, venue)
    for (m, side), quantity in clearing.clear_all(orders, state, market).items():
        pricing.eat(state, market, m, side, quantity)
    settle_liquidated(orders, state, book)
    charge_fees(orders, state, market, book, venue, flows)
    settle_bankrupt(orders, state, market, book, venue, flows)
    takers.take_forced_flow(clearing.executed(orders), state, market, book, venue)
    note_liquidations(orders, state, book, venue, flows)
    flows.bad_debt += margin.write_off(state, before, market, book, venue)
    return flows


def liquidation_orders(entering, state, market, book, venue):
    """The orders of the accounts that enter; bankrupt ones whole and without limit."""
    orders = []
    for i, standing in entering.items():
        bankrupt = venue.bankrupt_orders == "fund" and state.entered[i] <= 0
        fractions = order_fractions(i, standing, state, market, book, venue)
        for k in standing.margins:
            size, m = state.size[k], book.market[k]
            fraction = 1 if bankrupt else fractions[k]
            order = Order(m, SELL if size > 0 else BUY, fraction * abs(size), k, fraction=fraction)
            order.bankrupt = bankrupt
            order.bankruptcy_price = margin.bankruptcy_price(k, standing, state, market, book)
            if venue.limit == "bankruptcy" and not bankrupt:
                order.limit = clearing.tolerance(order, state, market)
            if order.quantity > 0:
                orders.append(order)
    return orders


def order_fractions(account, standing, state, market, book, venue):
    """{position: f}: how much of each position is sent, by `sizing`; dust is sent along."""
    fractions = {}
    whole = 1
    if venue.sizing == "to_margin":
        whole = fraction_to_margin(standing, state, market, book, venue)
    for k in standing.margins:
        notional = abs(state.size[k]) * market.mark[book.market[k]]
        part = whole
        if venue.sizing == "fractional" and state.cooldown[account] == 0:
            part = venue.fraction if notional > venue.fraction_above else 1
        fractions[k] = 1 if (1 - part) * notional < venue.dust else part
    return fractions


def fraction_to_margin(standing, state, market, book, venue):
    """clip(((1+b) M - e) / ((1+b) M - c), 0, 1): equity after costs c is (1+b) times margin."""
    target = (1 + venue.buffer) * standing.maintenance
    cost = 0
    for k in standing.margins:
        m = book.market[k]
        mark, size = market.mark[m], state.size[k]
        gap = (1 - pricing.mid_price(state, market, m) / mark) * sign_of(size)
        cost += abs(size) * mark * (venue.liquidation_fee + max(0, gap))
    if target - cost <= 0:
        return 1
    return clip((target - standing.equity) / (target - cost), 0, 1)


def settle_liquidated(orders, state, book):
    """Solvent accounts trade what was filled at the fill price."""
    for order in orders:
        if not order.bankrupt:
            records.trade(state, book, order.position, -order.sign * order.filled, order.price)


def charge_fees(orders, state, market, book, venue, flows):
    """Fee phi y p per fill; with fee_cap equity at most the account's equity after its fills."""
    fees = defaultdict(list)
    for order in orders:
        if not order.bankrupt and order.filled > 0:
            fee = venue.liquidation_fee * order.filled * order.price
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


def settle_bankrupt(orders, state, market, book, venue, flows):
    """Bankrupt accounts are settled at P_bk and the pool takes the difference to the fill price.

    If the pool's loss exceeds its balance, only the share balance / loss of each fill takes place.
    A pool that gains in total has nothing to pay: its fills all take place.
    """
    bankrupt = [order for order in orders if order.bankrupt]
    losses = defaultdict(int)
    for order in bankrupt:
        worse = order.sign * (order.bankruptcy_price - order.price)
        losses[venue.pool_of_market[order.market]] += order.filled * worse
    shares = {
        pool: payable_share(pool, loss, state, market, venue, flows)
        for pool, loss in losses.items()
    }
    for order in bankrupt:
        pool = venue.pool_of_market[order.market]
        order.filled *= shares[pool]
        closed = order.sign * order.filled
        records.trade(state, book, order.position, -closed, order.bankruptcy_price)
        state.pool_cash[pool] += closed * (order.price - order.bankruptcy_price)


def payable_share(pool, loss, state, market, venue, flows):
    """psi: the share of its loss on bankrupt accounts that the pool can pay."""
    if loss <= 0:
        return 1
    need = flows.loss[pool] = pools.loss_need(pool, state, loss)
    flows.exit[pool] = pools.exit_need(pool, loss, state, market)
    share = 1
    if need > pools.capital_of(pool, venue):
        share = max(pools.balance_of(pool, state, venue), 0) / loss
    flows.bad_debt += loss
    flows.fund_draw += share * loss
    return share


def note_liquidations(orders, state, book, venue, flows):
    """Count the fills; an account with a partial order that was filled starts its cooldown."""
    for order in orders:
        if order.filled <= 0:
            continue
        account = book.account[order.position]
        flows.liquidated.add(account)
        if order.side == SELL:
            flows.liquidated_long += order.filled * order.price
        else:
            flows.liquidated_short += order.filled * order.price
        if order.fraction < 1:
            state.cooldown[account] = venue.cooldown_period
