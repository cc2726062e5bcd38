"""Section 4.5: debts are paid while the money lasts."""

from riskengine.reference import pools, records


def fund_stage(state, market, book, venue):
    """Each pool pays min(max(capital + A, 0), debt) of its debt."""
    flows = records.no_flows(venue)
    for pool, debt in enumerate(state.debt):
        if debt > 0:
            flows.loss[pool] = pools.loss_need(pool, state, debt)
            flows.fund_draw += pay_debt(pool, pool, state, venue)
    return flows


def pay_debt(payer, debtor, state, venue, due=None):
    """Pool `payer` pays what it can of what pool `debtor` owes, or of `due`; returns the amount."""
    due = state.debt[debtor] if due is None else due
    amount = min(max(pools.balance_of(payer, state, venue), 0), due)
    state.pool_cash[payer] -= amount
    state.debt[debtor] -= amount
    return amount
