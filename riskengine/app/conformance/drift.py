"""Drift v2, one rule at a time, in the program's integers.

Quote and price 1e-6 USD, base 1e-9, margin ratios 1e-4, fees 1e-6, funding 1e-9 quote per base. Every
quotient is cut towards zero, as the program does; what is rounded up says so.
"""

import math
from fractions import Fraction
from typing import Any

from riskengine.app.conformance import drift_perp
from riskengine.app.conformance.drift_perp import (
    BASE,
    MARGIN,
    PRICE,
    base_to_cover,
    fund_fee,
    funded_loss,
    margin_ratio,
    most_pct,
    ramped,
    requirement,
    worst_case,
)
from riskengine.app.conformance.vectors import Inputs, Unsupported
from riskengine.waterfall import formulas

ISOLATED = "isolated_"


def to_cover(inputs: Inputs) -> dict[str, Any]:
    """Base whose closing restores a margin shortage."""
    found = base_to_cover(
        inputs.integer("margin_shortage"), inputs.integer("margin_ratio"),
        inputs.integer("liquidator_fee"), inputs.integer("insurance_fee", 0),
        inputs.integer("oracle_price"), inputs.integer("quote_oracle_price", PRICE),
    )  # fmt: skip
    return {"base_asset_amount": found}


def perp_insurance_fee(inputs: Inputs) -> dict[str, Any]:
    """The fund's fee, as far as the account can pay it."""
    fee = fund_fee(
        inputs.integer("margin_shortage"), abs(inputs.integer("base_asset_amount")),
        inputs.integer("margin_ratio"), inputs.integer("liquidator_fee"),
        inputs.integer("oracle_price"), inputs.integer("quote_oracle_price", PRICE),
        inputs.integer("max_insurance_fee"),
    )  # fmt: skip
    return {"insurance_fee": fee}


def liquidator_fee_ramp(inputs: Inputs) -> dict[str, Any]:
    """A fee that grows with every slot once nobody came for a while."""
    if inputs.has("slots_since_active"):
        elapsed = inputs.integer("slots_since_active")
    else:
        elapsed = inputs.integer("slot") - inputs.integer("last_active_slot")
    fee = ramped(
        inputs.integer("base_fee"), inputs.integer("max_fee"), elapsed,
        inputs.integer("grace_slots", 1500), inputs.integer("increase_per_slot", 1),
    )  # fmt: skip
    return {"liquidator_fee": fee}


def max_pct_to_liquidate(inputs: Inputs) -> dict[str, Any]:
    """Part of what is needed that may be closed now."""
    pct = most_pct(
        inputs.integer("margin_shortage"), inputs.integer("margin_already_freed", 0),
        inputs.integer("slot") - inputs.integer("last_active_slot"),
        inputs.integer("initial_pct"), inputs.integer("duration_slots"),
    )  # fmt: skip
    return {"pct": pct}


def perp_margin_ratio(inputs: Inputs) -> dict[str, Any]:
    """Margin ratio of a size, for opening, filling or keeping it."""
    return {"margin_ratio": margin_ratio(inputs, inputs.integer("size_base"), inputs.text("type"))}


def size_premium(inputs: Inputs) -> dict[str, Any]:
    """Requirement of a position with its worst open orders, and whether it is met."""
    oracle = inputs.integer("oracle_price")
    base = inputs.integer("position_base")
    worst = worst_case(
        base, inputs.integer("open_bids_base", 0), inputs.integer("open_asks_base", 0)
    )
    ratio = margin_ratio(inputs, abs(worst), "maintenance")
    orders = inputs.integer("open_orders", 0)
    needed = requirement(abs(worst), oracle, ratio, orders)
    worth = inputs.integer("user_collateral_quote", 0) + (
        math.trunc(Fraction(base * oracle, BASE)) + inputs.integer("user_quote", 0)
    )
    buffer = inputs.integer("buffer", 0)
    return {
        "margin_requirement": needed,
        "margin_requirement_plus_buffer": requirement(abs(worst), oracle, ratio + buffer, orders),
        "margin_ratio": ratio,
        "total_collateral": worth,
        "liquidatable": worth < needed,
    }


def margin_requirement(inputs: Inputs) -> dict[str, Any]:
    """Requirement and collateral of a cross account, and of isolated positions beside it."""
    if not inputs.has("cross") and not inputs.has("isolated"):
        part = _part(inputs, inputs)
        return part
    found: dict[str, Any] = {}
    oks = []
    for name in ("cross", "isolated"):
        if not inputs.has(name):
            continue
        part = _part(inputs.group(name), inputs)
        found |= {f"{name}_{key}": value for key, value in part.items()}
        oks.append(part["ok"])
    return found | {"account_ok": all(oks)}


def _part(held: Inputs, rules: Inputs) -> dict[str, Any]:
    """One pot of collateral: deposits, a perp position and a borrow."""
    buffer, kind = rules.integer("buffer", 0), rules.text("type", "maintenance")
    base = held.integer(held.first("perp_base", "base"), 0)
    quote = held.integer(held.first("perp_quote", "quote"), 0)
    oracle = held.integer("oracle_price", 0)
    collateral = held.integer(held.first("deposit_quote", "collateral", "deposit"), 0)
    profit = math.trunc(Fraction(base * oracle, BASE)) + quote
    needed = needed_buffer = 0
    if base:
        ratio = margin_ratio(held, abs(base), kind)
        needed = requirement(abs(base), oracle, ratio, held.integer("open_orders", 0))
        needed_buffer = requirement(
            abs(base), oracle, ratio + buffer, held.integer("open_orders", 0)
        )
    if held.has("spot_borrow"):
        lent = held.group("spot_borrow")
        weight = lent.integer(lent.first(f"{kind}_liability_weight", "liability_weight"), MARGIN)
        value = lent.integer("tokens") * lent.integer("oracle_price")
        needed += value * weight // MARGIN
        needed_buffer += value * (weight + buffer) // MARGIN
    worth = collateral + profit
    return {
        "total_collateral": worth,
        "total_collateral_plus_buffer": worth
        + min(math.trunc(Fraction(profit * buffer, MARGIN)), 0),
        "margin_requirement": needed,
        "margin_requirement_plus_buffer": needed_buffer,
        "ok": worth >= needed,
    }


def is_bankrupt(inputs: Inputs) -> dict[str, Any]:
    """Nothing left but debts: no position, no deposit, no gain, no order."""
    cross = {name: inputs.integer(name) for name in inputs if _counts(name, inputs)}
    alone = {
        name.removeprefix(ISOLATED): cross.pop(name) for name in list(cross) if ISOLATED in name
    }
    any_isolated = bool(alone) or inputs.text("margin_mode", "") == "isolated"
    found = {"cross_bankrupt": _bankrupt(cross), "isolated_bankrupt": _bankrupt(alone)}
    return found | {"bankrupt": found["isolated_bankrupt" if any_isolated else "cross_bankrupt"]}


def _counts(name: str, inputs: Inputs) -> bool:
    value = inputs.given[name]
    return name not in ("case", "margin_mode") and not isinstance(value, bool | dict | list)


def _bankrupt(held: dict[str, int]) -> bool:
    open_ = owed = False
    for name, value in held.items():
        if any(word in name for word in ("deposit", "collateral")):
            open_ |= value > 0
        elif "borrow" in name:
            owed |= value != 0
        elif "quote" in name:
            open_, owed = open_ or value > 0, owed or value < 0
        elif any(word in name for word in ("base", "order", "bids", "asks", "lp_shares")):
            open_ |= value != 0
    return owed and not open_


def resolve_bankruptcy(inputs: Inputs) -> dict[str, Any]:
    """Fund first, then the fee pool of the AMM, then both sides' funding."""
    owed = inputs.integer(inputs.first("bankrupt_user_quote", "loss"))
    loss = abs(min(owed, 0)) if inputs.has("bankrupt_user_quote") else abs(owed)
    paid = _insurance(inputs, loss)
    left = loss - paid
    pool = inputs.integer("amm_fee_pool_quote", 0)
    from_pool = formulas.fund_payment(pool, left)
    shared = left - from_pool
    long, short = inputs.integer("open_interest_long"), inputs.integer("open_interest_short")
    delta = funded_loss(shared, long, short) if shared else 0
    found: dict[str, Any] = {
        "bankrupt_user_quote": 0,
        "insurance_payment": paid,
        "user_total_social_loss": left,
        "market_total_social_loss": shared,
        "funding_rate_delta": delta,
        "amm_fee_pool_quote": pool - from_pool,
        "cumulative_funding_rate_long": inputs.integer("cumulative_funding_rate_long", 0) + delta,
        "cumulative_funding_rate_short": inputs.integer("cumulative_funding_rate_short", 0) - delta,
    }
    for side, change in (("long", delta), ("short", -delta)):
        if inputs.has(f"{side}_user"):
            user = inputs.group(f"{side}_user")
            payment = math.trunc(Fraction(-change * user.integer("base"), BASE * 1000))
            found[f"{side}_user_quote_after_settle"] = user.integer("quote") + payment
    return found


def _insurance(inputs: Inputs, loss: int) -> int:
    """What the fund pays: at most its vault but one unit, and what is left of the market's limit."""
    if inputs.has("insurance_payment"):
        return abs(inputs.integer("insurance_payment"))
    vault = inputs.first("insurance_vault", "vault", "insurance_fund_vault_balance")
    if not inputs.has(vault):
        return 0
    paid = formulas.fund_payment(inputs.integer(vault) - 1, loss)
    if inputs.has("quote_max_insurance"):
        room = inputs.integer("quote_max_insurance") - inputs.integer("quote_settled_insurance", 0)
        paid = formulas.fund_payment(room, paid)
    return paid


def social_loss(inputs: Inputs) -> dict[str, Any]:
    """What a loss adds to the funding index of both sides."""
    delta = funded_loss(
        inputs.integer("loss"),
        inputs.integer("base_asset_amount_long"),
        inputs.integer("base_asset_amount_short"),
    )
    return {"funding_rate_delta": delta, "delta": delta, "cumulative_funding_rate_delta": delta}


def deposit_loss(inputs: Inputs) -> dict[str, Any]:
    """What a bad loan takes from the deposit index, rounded up."""
    deposits = inputs.integer(inputs.first("total_deposits", "deposit_balance", "deposits"))
    index = inputs.integer(inputs.first("cumulative_deposit_interest", "deposit_index"), 10**10)
    borrow = abs(inputs.integer(inputs.first("borrow", "borrow_amount", "loss")))
    if deposits == 0:
        return {"delta": 0, "cumulative_deposit_interest_delta": 0}
    delta = math.ceil(formulas.deposit_delta(index, Fraction(borrow), deposits))
    return {
        "delta": delta,
        "cumulative_deposit_interest_delta": delta,
        "cumulative_deposit_interest": index - delta,
    }


def spot_insurance_fee(inputs: Inputs) -> dict[str, Any]:
    """The fund's fee on a spot liability needs the weights of both assets."""
    raise Unsupported("riskengine has no spot lending")


KINDS = {
    "base_to_cover_margin_shortage": to_cover,
    "perp_insurance_fee": perp_insurance_fee,
    "liquidator_fee_ramp": liquidator_fee_ramp,
    "max_pct_to_liquidate": max_pct_to_liquidate,
    "perp_margin_ratio": perp_margin_ratio,
    "maintenance_requirement_with_size_premium": size_premium,
    "margin_requirement": margin_requirement,
    "is_cross_bankrupt": is_bankrupt,
    "is_isolated_bankrupt": is_bankrupt,
    "resolve_perp_bankruptcy": resolve_bankruptcy,
    "social_loss_funding_delta": social_loss,
    "social_loss_deposit_index_delta": deposit_loss,
    "social_loss_deposit_interest_delta": deposit_loss,
    "spot_insurance_fee": spot_insurance_fee,
    "resolve_spot_bankruptcy": spot_insurance_fee,
    "liquidate_perp": drift_perp.liquidate,
    "liquidate_perp_with_fill": drift_perp.liquidate_with_fill,
    "liquidation_time_ramp": drift_perp.time_ramp,
}
