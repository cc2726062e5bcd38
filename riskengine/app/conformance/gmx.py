"""GMX v2: a pool on the other side of every position, at the oracle's price."""

from fractions import Fraction
from typing import Any

from riskengine.app.conformance.vectors import Inputs, Number, Refused
from riskengine.waterfall import formulas

FACTOR, LEAST_USD = Fraction(1, 100), 1  # of size, and USD: collateral below it is liquidated


def _profit(inputs: Inputs) -> Number:
    """Profit of a position of so many dollars at entry."""
    entry = Fraction(inputs.positive("entry_price"))
    size = inputs.number("position_size_usd")
    tokens = inputs.number("position_size_tokens", size / entry)
    return formulas.gain(inputs.side() * tokens, inputs.number("index_price"), size / tokens)


def _pool(inputs: Inputs) -> Number:
    side = "long" if inputs.side() > 0 else "short"
    stem = inputs.first(f"pool_{side}_token_amount", "pool_token_amount")
    default = inputs.number("index_price") if side == "long" else 1
    price = inputs.number(inputs.first(f"{side}_token_price", "token_price"), default)
    return Fraction(inputs.number(stem) * price)


def _factor(inputs: Inputs) -> tuple[Number, Number, bool]:
    profit, pool = _profit(inputs), _pool(inputs)
    if pool <= 0:
        raise inputs.wrong("pool_long_token_amount", "a pool of more than 0", pool)
    factor = formulas.profit_factor(profit, pool)
    return profit, factor, factor > inputs.number("max_pnl_factor_for_adl")


def adl_enabled(inputs: Inputs) -> dict[str, Any]:
    """Winners of a side have more than a share of its pool."""
    profit, factor, on = _factor(inputs)
    return {"pnl_usd": profit, "pnl_to_pool_factor": factor, "adl_enabled": on}


def execute_adl(inputs: Inputs) -> dict[str, Any]:
    """A keeper closes part of a position: the factor must fall, not below its floor."""
    profit, factor, on = _factor(inputs)
    if not on:
        raise Refused("adl_not_enabled")
    share = inputs.number("close_size_usd") / Fraction(inputs.positive("position_size_usd"))
    paid = formulas.share_of(profit, share)
    after = formulas.profit_factor(profit - paid, _pool(inputs) - paid)
    if after >= factor:
        raise Refused("invalid_adl")
    if after < inputs.number("min_pnl_factor_after_adl", 0):
        raise Refused("pnl_overcorrected")
    return {
        "adl_enabled": True, "ok": True, "pnl_usd": profit, "pnl_to_pool_factor": factor,
        "pnl_to_pool_factor_after": after, "pnl_realized_usd": paid,
    }  # fmt: skip


def _remaining(inputs: Inputs) -> tuple[Number, Number, Number]:
    """Collateral in dollars, its price, and profit."""
    price = inputs.number(inputs.first("collateral_price", "index_price"))
    if inputs.has("collateral_usd"):
        return inputs.number("collateral_usd"), price, _profit(inputs)
    amount = inputs.number(inputs.first("collateral", "collateral_amount"))
    return formulas.share_of(price, amount), price, _profit(inputs)


def liquidatable(inputs: Inputs) -> dict[str, Any]:
    """Collateral with profit, less fees, is under a share of size, a dollar, or nothing."""
    collateral, _, profit = _remaining(inputs)
    left = collateral + profit
    net = left - inputs.number("fees_usd", 0) + min(inputs.number("price_impact_usd", 0), 0)
    factor = inputs.number(
        inputs.first("min_collateral_factor", "min_collateral_factor_for_liquidation"), FACTOR
    )
    needed = formulas.share_of(inputs.number("position_size_usd"), factor)
    least = inputs.number("min_collateral_usd", LEAST_USD)
    return {
        "pnl_usd": profit,
        "remaining_collateral_usd_before_fees": left,
        "remaining_collateral_usd": net,
        "liquidatable": net <= 0 or net < least or net < needed,
    }


def liquidation_payout(inputs: Inputs) -> dict[str, Any]:
    """What is left of the collateral goes back, in its own coin."""
    collateral, price, profit = _remaining(inputs)
    left = max(collateral + profit - inputs.number("fees_usd", 0), 0)
    short = max(-(collateral + profit), 0)
    returned = Fraction(left) / inputs.positive("collateral_price", price)
    return {
        "pnl_usd": profit, "collateral_returned": returned, "collateral_returned_usd": left,
        "pool_loss_usd": short,
    }  # fmt: skip


def paid_share(inputs: Inputs) -> dict[str, Any]:
    """Winners share what their pool may pay."""
    profit = Fraction(inputs.number("pnl_usd")) if inputs.has("pnl_usd") else _profit(inputs)
    factor = inputs.number("max_pnl_factor_for_traders")
    share = formulas.paid_share(factor, _pool(inputs), profit) if profit > 0 else 1
    return {"paid_share": share, "paid_usd": share * profit}


KINDS = {
    "adl_enabled": adl_enabled,
    "execute_adl": execute_adl,
    "liquidatable": liquidatable,
    "liquidation_payout": liquidation_payout,
    "profit_payout": paid_share,
}
