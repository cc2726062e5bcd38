"""dYdX v4, one rule at a time: risk, prices, sizes and payments in quantums, exactly.

Quote amounts are whole quote quantums of 1e-6 USDC. Notionals are cut towards zero, requirements
rounded up, ppm rates down, a bankruptcy price up.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from riskengine.app.conformance import dydx_book
from riskengine.app.conformance.dydx_account import (
    PPM,
    Account,
    Market,
    account,
    bankruptcy_quote,
    markets,
    risk,
    valid_delta,
)
from riskengine.app.conformance.vectors import Inconsistent, Inputs, Number, Refused
from riskengine.waterfall import formulas


def _market(inputs: Inputs) -> tuple[str, dict[str, Market]]:
    known = markets(inputs)
    name = inputs.text("market")
    if name not in known:
        raise inputs.wrong("market", f"one of {', '.join(known)}", name)
    return name, known


# Margin


def maintenance_margin_ppm(inputs: Inputs) -> dict[str, Any]:
    """A part of the initial margin, rounded down to ppm."""
    part = Fraction(inputs.integer("maintenance_fraction_ppm"), PPM)
    ratio = formulas.share_of(inputs.integer("initial_margin_ppm"), part)
    return {"maintenance_margin_ppm": math.floor(ratio)}


def _scaled_ppm(inputs: Inputs, interest: int) -> int:
    """Initial margin that grows with open interest between two caps; both zero: it does not."""
    initial = inputs.integer("initial_margin_ppm")
    lower = inputs.integer("open_interest_lower_cap", 0)
    upper = inputs.integer("open_interest_upper_cap", 0)
    if not upper:
        return initial
    if upper <= lower:
        return PPM if interest >= upper else initial
    ratio = formulas.interest_scaled_ratio(Fraction(initial, PPM), Fraction(interest), lower, upper)
    return math.floor(ratio * PPM)


def oi_scaled_initial_margin_ppm(inputs: Inputs) -> dict[str, Any]:
    """Initial margin at an open interest."""
    return {
        "adjusted_initial_margin_ppm": _scaled_ppm(inputs, inputs.integer("open_interest_notional"))
    }


def initial_margin_requirement(inputs: Inputs) -> dict[str, Any]:
    """Initial margin of a notional, rounded up."""
    ppm = _scaled_ppm(inputs, inputs.integer("open_interest_notional", 0))
    value = abs(inputs.integer("notional"))
    return {
        "initial_margin": math.ceil(formulas.marginal_margin(value, Fraction(ppm, PPM), 0)),
        "adjusted_initial_margin_ppm": ppm,
    }


def margin_requirements(inputs: Inputs) -> dict[str, Any]:
    """Both requirements of a position; the maintenance one is not scaled by open interest."""
    price = inputs.integer("price_mantissa") * Fraction(10) ** _small(inputs, "price_exponent")
    market = Market(
        price,
        _small(inputs, "base_atomic_resolution"),
        inputs.integer("initial_margin_ppm"),
        inputs.integer("maintenance_fraction_ppm"),
    )
    size = inputs.integer("base_quantums")
    interest = market.notional(inputs.integer("open_interest_base_quantums", 0))
    scaled = Fraction(_scaled_ppm(inputs, abs(interest)), PPM)
    value = abs(market.notional(size))
    return {
        "initial_margin": math.ceil(formulas.marginal_margin(value, scaled, 0)),
        "maintenance_margin": market.maintenance(size),
        "notional": market.notional(size),
    }


def _small(inputs: Inputs, name: str) -> int:
    value = inputs.integer(name)
    if abs(value) > 100:
        raise inputs.wrong(name, "an exponent within ±100", value)
    return value


def is_liquidatable(inputs: Inputs) -> dict[str, Any]:
    """Net collateral below a requirement that is not zero."""
    if inputs.has("net_collateral"):
        net, required = inputs.number("net_collateral"), _required(inputs)
    else:
        total = risk(account(inputs, "account"), markets(inputs))
        net, required = total.net, total.maintenance
    return {
        "liquidatable": bool(formulas.liquidatable(net, required)),
        "total_net_collateral": net,
        "total_maintenance_margin": required,
    }


def _required(inputs: Inputs) -> Number:
    return inputs.number(inputs.first("maintenance_margin_requirement", "maintenance_margin"))


# Prices and payments


def bankruptcy_price(inputs: Inputs) -> dict[str, Any]:
    """Quote received by the account when a part of a position closes at bankruptcy."""
    name, known = _market(inputs)
    held = account(inputs, "account")
    delta = inputs.integer("delta_base_quantums")
    return {"bankruptcy_price_quote_quantums": bankruptcy_quote(held, name, delta, known)}


def fillable_price(inputs: Inputs) -> dict[str, Any]:
    """The worst price of a liquidation order, exactly: quote per base quantum and USD."""
    name, known = _market(inputs)
    held = account(inputs, "account")
    valid_delta(held, name, inputs.integer("delta_base_quantums"))
    at = dydx_book.fillable(
        held,
        name,
        known,
        Fraction(inputs.integer("bankruptcy_adjustment_ppm", PPM), PPM),
        Fraction(inputs.integer("spread_to_maintenance_margin_ratio_ppm"), PPM),
    )
    return {
        "fillable_price_quote_quantums_per_base_quantum": [at.numerator, at.denominator],
        "fillable_price_usd": at / known[name].quote_per_base(1),
    }


def to_subticks(inputs: Inputs) -> dict[str, Any]:
    """A price in subticks: up where a long is closed, down where a short is."""
    name = inputs.first("fillable_price_quote_quantums_per_base_quantum", "fillable_price", "price")
    if isinstance(inputs.need(name), list):
        top, bottom = (Fraction(x) for x in inputs.numbers(name)[:2])
        price = top / bottom
    else:
        price = Fraction(inputs.number(name))
    exponent = _small(inputs, "quantum_conversion_exponent")
    tick = inputs.integer("subticks_per_tick", 1)
    if tick <= 0:
        raise inputs.wrong("subticks_per_tick", "an integer > 0", tick)
    flag = inputs.first("is_liquidating_long", "is_long", "closing_long")
    longs = inputs.flag(flag) if inputs.has(flag) else inputs.side() > 0
    steps = price / Fraction(10) ** exponent / tick
    ticks = math.ceil(steps) if longs else math.floor(steps)
    found = max(ticks, 1) * tick
    return {"subticks": found, "fillable_price_subticks": found}


def insurance_fund_delta(inputs: Inputs) -> dict[str, Any]:
    """What a fill pays to the fund out of its surplus, or costs it."""
    name, known = _market(inputs)
    held, amount = account(inputs, "account"), inputs.integer("fill_base_quantums")
    if amount == 0:
        raise Refused("invalid_quantums_for_insurance_fund_delta")
    buys = inputs.flag("is_buy")
    if inputs.has("fill_price_subticks"):
        exponent = _small(inputs, "quantum_conversion_exponent")
        quote = math.floor(
            amount * inputs.integer("fill_price_subticks") * Fraction(10) ** exponent
        )
    else:
        quote = math.floor(amount * known[name].quote_per_base(inputs.number("fill_price_usd")))
    delta, received = (amount, -quote) if buys else (-amount, quote)
    most = Fraction(inputs.integer("max_liquidation_fee_ppm"), PPM)
    found = dydx_book.to_fund(held, name, delta, received, most, known)
    return {"insurance_fund_delta_quote_quantums": found, "insurance_fund_delta": found}


def is_payable(inputs: Inputs) -> dict[str, Any]:
    """A fund that would be negative refuses."""
    balance, delta = inputs.number("insurance_fund_balance"), inputs.number("insurance_fund_delta")
    return {"valid": bool(formulas.payable(balance, delta))}


def sufficiency(inputs: Inputs) -> dict[str, Any]:
    """Whether the fund can pay what a fill costs it."""
    fill = inputs.group("fill")
    known = markets(inputs, fill.number("price_usd"))
    taker = account(inputs, "liquidated")
    name = next(iter(taker.size), "")
    if not name:
        raise inputs.wrong("liquidated", "an account with a position", {})
    amount = -int(math.copysign(fill.integer("base_quantums"), taker.size[name]))
    quote = known[name].quote(-amount, fill.number("price_usd"))
    fee = Fraction(inputs.integer("max_liquidation_fee_ppm", 5000), PPM)
    delta = dydx_book.to_fund(taker, name, amount, quote, fee, known)
    if inputs.has("required_payment") and delta != -inputs.integer("required_payment"):
        stated = inputs.integer("required_payment")
        raise Inconsistent(f"the fill costs the fund {-delta}, required_payment is {stated}")
    if not formulas.payable(inputs.integer("insurance_fund_balance"), delta):
        raise Refused("insurance_fund_insufficient")
    return {"ok": True, "insurance_fund_delta": delta}


def transfer_by_pool(inputs: Inputs) -> dict[str, Any]:
    """Payments move between a collateral pool and its own fund; neither may be overdrawn."""
    fund, pool = inputs.integer("insurance_fund_balance"), inputs.integer("collateral_pool_balance")
    delta = inputs.integer("insurance_fund_delta")
    fine = bool(formulas.payable(fund, delta) & formulas.payable(pool, -delta))
    moved = delta if fine else 0
    return {
        "ok": fine,
        "collateral_pool_balance": pool - moved,
        "insurance_fund_balance": fund + moved,
    }


# Sizes and limits


def _bounds(inputs: Inputs) -> tuple[int, int, Market, int]:
    """Least and largest notional of a position to liquidate in a block."""
    market = Market(inputs.number("oracle_price_usd"), _small(inputs, "base_atomic_resolution"))
    size = inputs.integer("position_base_quantums")
    value = abs(market.notional(size))
    portion = Fraction(inputs.integer("max_position_portion_liquidated_ppm", PPM), PPM)
    least = min(inputs.integer("min_position_notional_liquidated", 0), value)
    most = max(least, math.floor(formulas.share_of(value, portion)))
    return least, most, market, size


def notional_bounds(inputs: Inputs) -> dict[str, Any]:
    """Least and largest notional of one step."""
    least, most, _, _ = _bounds(inputs)
    return {"min_notional": least, "max_notional": most}


def step_size(inputs: Inputs) -> dict[str, Any]:
    """Base quantums of one liquidation order, against the position."""
    market = Market(inputs.number("oracle_price_usd"), _small(inputs, "base_atomic_resolution"))
    delta = dydx_book.step(
        inputs.integer("position_base_quantums"), market, dydx_book.Limits.of(inputs),
        inputs.integer("step_base_quantums", 1),
    )  # fmt: skip
    return {"delta_base_quantums": delta}


def block_limits(inputs: Inputs) -> dict[str, Any]:
    """What is left of a subaccount's limits in a block."""
    if inputs.flag("same_market_as_previous", False):
        raise Refused("market_already_liquidated_this_block")
    notional, lost = inputs.limit("max_notional_liquidated"), inputs.limit("max_insurance_lost")
    done = inputs.integer("previous_notional_liquidated_this_block", 0)
    delta = inputs.integer("previous_insurance_delta_this_block", 0)
    return {
        "max_notional_liquidatable": None if notional is None else max(notional - done, 0),
        "max_insurance_lost": None if lost is None else max(lost - max(-delta, 0), 0),
    }


# Deleveraging


def can_deleverage(inputs: Inputs) -> dict[str, Any]:
    """Negative accounts close at bankruptcy; in final settlement the others at the oracle price."""
    net = risk(account(inputs, "account"), markets(inputs)).net
    final = "final" in inputs.text("market_status", "ACTIVE").lower()
    return {
        "at_bankruptcy_price": net < 0,
        "at_oracle_price": final and net >= 0,
        "total_net_collateral": net,
    }


def process_deleveraging(inputs: Inputs) -> dict[str, Any]:
    """One account closes against another, unless one of them would be riskier."""
    name, known = _market(inputs)
    loser, other = account(inputs, "liquidated"), account(inputs, "offsetting")
    delta = inputs.integer("delta_base_quantums")
    closed = dydx_book.offset(
        loser, other, name, delta, inputs.text("price_rule", "bankruptcy"), known
    )
    if closed is None:
        raise Refused("state_transition_rejected")
    return {
        "ok": True,
        "liquidated_after": closed[0].shown(),
        "offsetting_after": closed[1].shown(),
    }


def deleveraging_offsets(inputs: Inputs) -> dict[str, Any]:
    """One account closes against candidates, one after the other."""
    name, known = _market(inputs)
    listed = inputs.group("candidates_in_order")
    others = {who: account(listed, who) for who in listed}
    loser, others, fills, left = dydx_book.offsets(
        account(inputs, "liquidated"), others, name, inputs.integer("delta_base_quantums"),
        inputs.text("price_rule", "bankruptcy"), known,
    )  # fmt: skip
    return {
        "liquidated_after": loser.shown(),
        "candidates_after": {who: held.shown() for who, held in others.items()},
        "fills": [{"account": who, "base_quantums": abs(amount)} for who, amount in fills],
        "remaining_base_quantums": abs(left),
    }


# Fills


@dataclass
class _Trade:
    taker: Account
    maker: Account
    fund: list[int]


def _filled(inputs: Inputs, taker: str, fills: list[Inputs], fees: Fraction) -> _Trade:
    """Fills of a liquidated account against one maker, with the maker's fee."""
    known = markets(inputs, fills[0].number("price_usd") if fills else None)
    trade = _Trade(account(inputs, taker), account(inputs, "maker"), [])
    most = Fraction(inputs.integer("max_liquidation_fee_ppm", 5000), PPM)
    charged = Fraction(inputs.integer("liquidated_taker_fee_ppm", 0), PPM)
    for fill in fills:
        _one_fill(trade, fill, most, charged, fees, known)
    return trade


def _one_fill(trade: _Trade, fill: Inputs, most, charged, fees, known) -> None:
    name = next(iter(trade.taker.size), "")
    if not name:
        raise Refused("invalid_position_size_delta")
    amount = fill.integer("base_quantums")
    delta = -amount if trade.taker.size[name] > 0 else amount
    quote = known[name].quote(-delta, fill.number("price_usd"))
    gained = dydx_book.to_fund(trade.taker, name, delta, quote, most, known)
    trade.fund.append(gained)
    fee = math.ceil(formulas.share_of(abs(quote), charged))
    trade.taker = trade.taker.after(name, delta, quote - gained - fee)
    maker_fee = math.ceil(formulas.share_of(abs(quote), fees))
    trade.maker = trade.maker.after(name, -delta, -quote - maker_fee)


def fills_with_fees(inputs: Inputs) -> dict[str, Any]:
    """Fills of a liquidation: the maker pays its fee, the liquidated account pays the fund alone."""
    fees = Fraction(inputs.integer("maker_fee_ppm", 0), PPM)
    trade = _filled(inputs, "liquidated", inputs.groups("fills"), fees)
    return {
        "liquidated_after": trade.taker.shown(),
        "maker_after": trade.maker.shown(),
        "insurance_fund_transfers": trade.fund,
    }


def isolated_liquidation(inputs: Inputs) -> dict[str, Any]:
    """A fill in a market with its own pool and fund: the fund pays before collateral leaves."""
    fill = inputs.group("fill")
    taker, maker = fill.text("taker"), fill.text("maker")
    people = inputs.group("accounts")
    known = markets(inputs, fill.number("price_usd"))
    trade = _Trade(account(people, taker), account(people, maker), [])
    most = Fraction(inputs.integer("max_liquidation_fee_ppm", 5000), PPM)
    _one_fill(trade, fill, most, Fraction(0), Fraction(0), known)
    fund, pool = (
        inputs.integer(f"isolated_{name}_balance", 0) for name in ("insurance_fund", "pool")
    )
    delta = trade.fund[0]
    if not formulas.payable(fund, delta):
        raise Refused("insurance_fund_insufficient")
    leaving = sum(held.quote for held in (trade.taker, trade.maker) if not held.size)
    return {
        "ok": pool - delta >= leaving,
        "insurance_fund_pays": max(-delta, 0),
        "insurance_fund_receives": max(delta, 0),
        "isolated_pool_balance_after": pool - delta - leaving,
        "isolated_insurance_fund_balance_after": fund + delta,
        f"{taker}_quote_after": trade.taker.quote,
        f"{maker}_quote_after": trade.maker.quote,
    }


KINDS = {
    "maintenance_margin_ppm": maintenance_margin_ppm,
    "oi_scaled_initial_margin_ppm": oi_scaled_initial_margin_ppm,
    "initial_margin_requirement": initial_margin_requirement,
    "margin_requirements": margin_requirements,
    "is_liquidatable": is_liquidatable,
    "is_liquidatable_risk": is_liquidatable,
    "bankruptcy_price_quote_quantums": bankruptcy_price,
    "fillable_price": fillable_price,
    "fillable_price_to_subticks": to_subticks,
    "insurance_fund_delta": insurance_fund_delta,
    "insurance_fund_delta_is_payable": is_payable,
    "insurance_fund_sufficiency": sufficiency,
    "insurance_fund_transfer_by_pool": transfer_by_pool,
    "liquidatable_notional_bounds": notional_bounds,
    "liquidation_step_size": step_size,
    "subaccount_block_limits": block_limits,
    "can_deleverage": can_deleverage,
    "process_deleveraging": process_deleveraging,
    "deleveraging_offsets": deleveraging_offsets,
    "liquidation_fills_with_fees": fills_with_fees,
    "isolated_market_liquidation": isolated_liquidation,
    "waterfall_scenario": dydx_book.scenario,
}
