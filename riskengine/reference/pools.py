"""Section 5: what the venue's pools have, and how much capital they would need."""

from riskengine.reference import margin, pricing
from riskengine.reference.records import BUY, SELL, every_pool


def capital_of(pool, venue):
    """capital_k: the pool's share of F, or its own fixed capital where it has no share."""
    share = venue.capital_share[pool]
    return share * venue.capital if share > 0 else venue.fixed_capital[pool]


def exceeds(need, pool, venue):
    """need > capital_k, compared in first-loss capital where the pool has a share of it."""
    share = venue.capital_share[pool]
    return need / share > venue.capital if share > 0 else need > venue.fixed_capital[pool]


def realised(pool, state):
    """A = pool_cash + sum of basis: realised net inflow since the start."""
    return state.pool_cash[pool] + sum(state.pool_basis[pool])


def balance_of(pool, state, venue):
    """B = capital + A."""
    return capital_of(pool, venue) + realised(pool, state)


def unrealised(pool, state, prices):
    """U = sum of size (price - 1) - basis: at mark, or U_exit at exit prices."""
    rows = zip(state.pool_size[pool], prices, state.pool_basis[pool], strict=True)
    return sum(size * (price - 1) - basis for size, price, basis in rows)


def exit_prices(pool, state, market):
    """Price of closing all inventory of a market through the book now, never better than mark."""
    prices = []
    for m, (size, mark) in enumerate(zip(state.pool_size[pool], market.mark, strict=True)):
        if size > 0:
            prices.append(min(mark, pricing.fill_price(state, market, m, SELL, size)))
        elif size < 0:
            prices.append(max(mark, pricing.fill_price(state, market, m, BUY, -size)))
        else:
            prices.append(mark)
    return prices


def pool_equity(pool, state, market, venue):
    """E = capital + A + U."""
    return balance_of(pool, state, venue) + unrealised(pool, state, market.mark)


def pool_margins(pool, state, market, venue):
    """Maintenance of the inventory per market, by the market's tiers, at mark."""
    rows = zip(state.pool_size[pool], market.mark, strict=True)
    return [
        margin.maintenance_margin(abs(size) * mark, size, m, venue) if size != 0 else 0
        for m, (size, mark) in enumerate(rows)
    ]


def margin_need(pool, state, market, venue):
    """theta M - (A + U), the capital that saves the pool from ADL; 0 without inventory."""
    if not any(state.pool_size[pool]):
        return 0
    required = venue.margin_multiple[pool] * sum(pool_margins(pool, state, market, venue))
    return required - (realised(pool, state) + unrealised(pool, state, market.mark))


def change(pool, state, market):
    """A + U: change of a pool's equity since the start."""
    return realised(pool, state) + unrealised(pool, state, market.mark)


def drawdown_need(pool, state, market, venue):
    """DD / r - peak, with DD the fall of A + U from its peak; 0 where it has not fallen."""
    fall = state.pool_peak[pool] - change(pool, state, market)
    return fall / venue.drawdown[pool] - state.pool_peak[pool] if fall > 0 else 0


def switch(state, market, venue, flows):
    """Drawdown rules start where their need exceeds the capital, and end where the fall is small."""
    for pool in every_pool(venue):
        need = flows.drawdown[pool] = drawdown_need(pool, state, market, venue)
        peak = state.pool_peak[pool]
        if exceeds(need, pool, venue):
            state.pool_on[pool] = 1
        elif peak - change(pool, state, market) < venue.release[pool] * (
            capital_of(pool, venue) + peak
        ):
            state.pool_on[pool] = 0


def remember(state, market, venue):
    """After the price move and after every stage: the peaks of A + U, where a rule asks for them."""
    if "drawdown" in venue.triggers:
        for pool in every_pool(venue):
            state.pool_peak[pool] = max(state.pool_peak[pool], change(pool, state, market))


def loss_need(pool, state, due):
    """due - A: the capital with which a payment of due is covered whole."""
    return due - realised(pool, state)


def exit_need(pool, due, state, market):
    """due - (A + U_exit): the capital with which the pool, marked at exit, covers what is due."""
    return due - (realised(pool, state) + unrealised(pool, state, exit_prices(pool, state, market)))


def pool_trade(state, pool, m, quantity, cost):
    """A pool trades quantity (signed) for cost = quantity (price - 1); basis at average cost.

    A trade in the direction of the inventory adds its cost to the basis, one against it removes the
    closed share of the basis, one that crosses zero leaves the cost of what it opens.
    """
    if quantity == 0:
        return
    size, basis = state.pool_size[pool][m], state.pool_basis[pool][m]
    if size * quantity >= 0:
        state.pool_basis[pool][m] = basis + cost
    elif abs(quantity) <= abs(size):
        state.pool_basis[pool][m] = basis * ((size + quantity) / size)
    else:
        state.pool_basis[pool][m] = cost * ((size + quantity) / quantity)
    state.pool_size[pool][m] = size + quantity
    state.pool_cash[pool] -= cost


def needs(state, market, book, venue):
    """Per pool the smallest capital that covers what is owed, in cash and marked at exit.

    What the venue's rules need is noted where the stages test them: see Flows.
    """
    every = every_pool(venue)
    return {
        "cash": [state.debt[k] - realised(k, state) for k in every],
        "exit": [exit_need(k, state.debt[k], state, market) for k in every],
    }


def net_inventory(sizes, market):
    """N = sum over markets of |size| mark."""
    return sum(abs(size) * mark for size, mark in zip(sizes, market.mark, strict=True))
