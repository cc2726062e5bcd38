"""Drift v2: the liquidation of a perp position, from its shortage to the state it leaves."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from riskengine.app.conformance.vectors import Inputs, Refused
from riskengine.waterfall import formulas

BASE, PRICE, MARGIN, FEE, PCT = 10**9, 10**6, 10**4, 10**6, 10**4
OPEN_ORDER = 10**4  # quote of requirement per open order
SMALL = 50 * PRICE  # quote: a shortage or a position below it is not throttled
AFFORDED = Fraction(95, 100)  # of what the account can pay goes to the fund at most
EVERYTHING = 2**64 - 1  # base: no amount restores the shortage
KEEPER = Fraction(1, 10)  # of the taker fee
TAKER_FEE, MAKER_REBATE = 1000, 200  # 1e-6, of the program's tests
FEE_MULTIPLE = 3  # a ramped fee is at most so many times its start


def requirement(base: int, oracle: int, ratio: int, orders: int) -> int:
    """Margin of a size at the oracle's price, and a cent per open order."""
    value = base * oracle // BASE
    return math.floor(formulas.marginal_margin(value, Fraction(ratio, MARGIN), 0)) + (
        orders * OPEN_ORDER
    )


def worst_case(base: int, bids: int, asks: int) -> int:
    """The larger position that open orders may lead to."""
    up, down = base + abs(bids), base - abs(asks)
    return up if abs(up) >= abs(down) else down


def margin_ratio(inputs: Inputs, size: int, kind: str) -> int:
    """The ratio of a size; in high leverage mode the size premium shrinks the discount first."""
    pair = [inputs.integer(f"margin_ratio_{name}", 0) for name in ("initial", "maintenance")]
    high = inputs.flag("high_leverage_mode", False)
    own = [inputs.integer(f"hlm_{name}", 0) for name in ("initial", "maintenance")]
    imf = inputs.integer("imf_factor", 0)
    if not high or not all(own):
        return _with_premium(_of_kind(pair, kind, inputs), size, imf)
    if kind == "initial" and imf:
        return _high_leverage(_of_kind(pair, kind, inputs), own[0], size, imf)
    return _with_premium(_of_kind(own, kind, inputs), size, imf)


def _of_kind(pair: list[int], kind: str, inputs: Inputs) -> int:
    kinds = {"initial": pair[0], "maintenance": pair[1], "fill": sum(pair) // 2}
    if kind not in kinds:
        raise inputs.wrong("type", f"one of {', '.join(kinds)}", kind)
    return kinds[kind]


def _premium(ratio: int, size: int, imf: int) -> int:
    root = math.isqrt(10 * size + 1)
    return ratio - ratio // 5 + root * imf // 10**7


def _with_premium(ratio: int, size: int, imf: int) -> int:
    return max(ratio, _premium(ratio, size, imf)) if imf else ratio


def _high_leverage(usual: int, own: int, size: int, imf: int) -> int:
    """From the mode's ratio towards the usual one, as the premium uses up the fifth left out of it."""
    adjusted = _premium(usual, size, imf)
    if adjusted > usual:
        return max(adjusted, own)
    if adjusted == usual:
        return own
    unused = (usual - adjusted) * FEE // (usual // 5)
    return own + max(usual - own, 1) * max(FEE - unused, 0) // FEE


def base_to_cover(shortage: int, ratio: int, fee: int, fund: int, oracle: int, quote: int) -> int:
    """S / (p (MR − φ) − p φ_f) in base, cut; everything where closing restores nothing."""
    ratio *= FEE // MARGIN
    if oracle == 0 or ratio <= fee:
        return EVERYTHING
    restored = oracle * quote * (ratio - fee) // (PRICE * FEE) - oracle * fund // FEE
    if restored <= 0:
        return EVERYTHING
    return math.floor(formulas.size_for_shortage(Fraction(shortage * BASE), restored, 1, 0, 0, 0))


def fund_fee(
    shortage: int, base: int, ratio: int, fee: int, oracle: int, quote: int, most: int
) -> int:
    """The fund's fee, 1e-6: 95 % of what is left of the margin, at most the market's."""
    ratio *= FEE // MARGIN
    price = oracle * quote // PRICE
    if not price or not base or ratio <= fee:
        return 0
    lacking = shortage * BASE // base * PRICE // price
    return math.floor(formulas.affordable_fee(ratio, fee, lacking, 1, AFFORDED, most))


def ramped(fee: int, most: int, elapsed: int, grace: int = 1500, increase: int = 1) -> int:
    """The liquidator's fee: as set, and after the grace period more for every slot."""
    return fee if elapsed < grace else formulas.ramped_fee(fee, increase, elapsed, most)


def most_pct(shortage: int, freed: int, elapsed: int, initial: int, duration: int) -> int:
    """Part of the need that may be closed now, 1e-4."""
    if shortage < SMALL:
        return PCT
    part = min((elapsed * PCT // duration if duration else PCT) + initial, PCT)
    free = max((shortage + freed) * part // PCT - freed, 0)
    return free * PCT // shortage


def funded_loss(loss: int, long: int, short: int) -> int:
    """Funding index that shares a loss, rounded up to the quote's unit."""
    if not long and not short:
        raise Refused("cant_resolve_perp_bankruptcy")
    return math.ceil(formulas.funding_delta(Fraction(abs(loss) * BASE), long, short)) * 1000


# A liquidation


@dataclass(frozen=True)
class Perp:
    """A user's perp position and collateral, and what earlier liquidations have freed."""

    base: int
    quote: int
    entry: int
    break_even: int
    collateral: int
    bids: int = 0
    asks: int = 0
    orders: int = 0
    freed: int = 0
    liquidator_base: int = 0
    liquidator_quote: int = 0
    fee: int = 0  # of the fund, so far
    open: bool = True  # still being liquidated


def perp(inputs: Inputs) -> Perp:
    """The position of an example; its cost is its quote where nothing else is said."""
    quote = inputs.integer("user_quote")
    bids, asks = inputs.integer("user_open_bids", 0), inputs.integer("user_open_asks", 0)
    return Perp(
        base=inputs.integer("user_base"),
        quote=quote,
        entry=inputs.integer("user_quote_entry", quote),
        break_even=inputs.integer("user_quote_break_even", quote),
        collateral=inputs.integer("user_collateral_quote", 0),
        bids=bids,
        asks=asks,
        orders=inputs.integer("user_open_orders", int(bids != 0) + int(asks != 0)),
        freed=inputs.integer("margin_already_freed", 0),
    )


def _shortage(held: Perp, inputs: Inputs, buffer: int) -> int:
    """Requirement with buffer less collateral; the buffer also scales a loss."""
    oracle, quote_price = inputs.integer("oracle_price"), _quote_price(inputs)
    worst = worst_case(held.base, held.bids, held.asks)
    ratio = margin_ratio(inputs, abs(worst), "maintenance")
    value = abs(worst) * oracle // BASE * quote_price // PRICE
    needed = value * (ratio + buffer) // MARGIN + held.orders * OPEN_ORDER
    profit = math.trunc(Fraction(held.base * oracle, BASE)) + held.quote
    profit = math.trunc(Fraction(profit * quote_price, PRICE))
    lost = math.trunc(Fraction(min(profit, 0) * buffer, MARGIN))
    deposit = math.trunc(Fraction(held.collateral * quote_price, PRICE))
    return needed - (deposit + profit + lost)


def _quote_price(inputs: Inputs) -> int:
    return inputs.integer("quote_oracle_price", PRICE)


def _buffer(inputs: Inputs) -> int:
    return inputs.integer("liquidation_margin_buffer_ratio", 0)


def _cancelled(held: Perp, inputs: Inputs) -> Perp:
    """Open orders are cancelled first, and what that frees is counted."""
    if not (held.bids or held.asks or held.orders):
        return held
    before = _shortage(held, inputs, _buffer(inputs))
    after = replace(held, bids=0, asks=0, orders=0)
    freed = before - max(_shortage(after, inputs, _buffer(inputs)), 0)
    return replace(after, freed=after.freed + max(freed, 0))


@dataclass(frozen=True)
class Plan:
    """How much is closed, and at which fees."""

    base: int
    cover: int  # base that restores everything
    fee: int  # of the liquidator
    fund: int


def _plan(held: Perp, inputs: Inputs, call: Inputs, limit: int) -> Plan:
    """The amount: what the shortage needs, as far as the ramp and the liquidator allow."""
    oracle, quote, step = inputs.integer("oracle_price"), _quote_price(inputs), _step(inputs)
    short = _shortage(held, inputs, _buffer(inputs))
    usual = inputs.integer("margin_ratio_maintenance")
    ratio = margin_ratio(inputs, abs(held.base), "maintenance") + _buffer(inputs)
    slot, active = (
        call.integer("slot", 0),
        inputs.integer("last_active_slot", call.integer("slot", 0)),
    )
    base_fee = inputs.integer("liquidator_fee")
    highest = inputs.integer(
        "max_liquidator_fee", min(FEE_MULTIPLE * base_fee, usual * FEE // MARGIN)
    )
    fee = ramped(base_fee, max(highest, base_fee), slot - active)
    most = inputs.integer("max_insurance_fee", 0)
    fund = fund_fee(short, abs(held.base), ratio, fee, oracle, quote, most)
    cover = base_to_cover(short, ratio, fee, fund, oracle, quote)
    if cover != EVERYTHING:
        cover = -(-cover // step) * step
    pct = PCT
    if inputs.text("margin_mode", "cross") == "cross":
        initial = inputs.integer("initial_pct_to_liquidate", PCT)
        duration = inputs.integer("liquidation_duration_slots", 150)
        pct = most_pct(short, held.freed, slot - active, initial, duration)
    allowed = cover * pct // PCT
    if allowed == 0:
        return Plan(0, cover, fee, fund)
    if abs(held.base) * oracle // BASE <= SMALL:
        allowed = max(allowed, abs(held.base))
    amount = min(abs(held.base), limit, allowed)
    return Plan(min(-(-amount // step) * step, abs(held.base)), cover, fee, fund)


def _step(inputs: Inputs) -> int:
    step = inputs.integer("order_step_size", 1)
    if step <= 0:
        raise inputs.wrong("order_step_size", "an integer > 0", step)
    return step


def _close(held: Perp, amount: int, value: int, charges: int) -> Perp:
    """A part is closed for a value; its entry goes in proportion, charges go off the rest."""
    side = 1 if held.base > 0 else -1
    share = Fraction(amount, abs(held.base))
    return replace(
        held,
        base=held.base - side * amount,
        quote=held.quote + side * value - charges,
        entry=held.entry - math.trunc(held.entry * share),
        break_even=held.break_even - math.trunc(held.break_even * share) - charges,
    )


def _liquidated(held: Perp, inputs: Inputs, call: Inputs) -> Perp:
    """One call of a liquidator, who takes over at the oracle's price less the fee."""
    buffer = _buffer(inputs)
    held = _cancelled(held, inputs)
    before = _shortage(held, inputs, buffer)
    if before <= 0:
        return replace(held, freed=0, open=False)
    limit = call.integer("liquidator_max_base", inputs.integer("liquidator_max_base", EVERYTHING))
    plan = _plan(held, inputs, call, limit)
    if not plan.base:
        return held
    value = plan.base * inputs.integer("oracle_price") // BASE
    premium, fund = value * plan.fee // FEE, value * plan.fund // FEE
    side = 1 if held.base > 0 else -1
    after = _close(held, plan.base, value, premium + fund)
    freed = max(before - max(_shortage(after, inputs, buffer), 0), 0)
    done = plan.base >= plan.cover
    return replace(
        after,
        freed=0 if done else held.freed + freed,
        fee=held.fee + fund,
        open=not done,
        liquidator_base=held.liquidator_base + side * plan.base,
        liquidator_quote=held.liquidator_quote - side * value + premium,
    )


def _must_be_short(held: Perp, inputs: Inputs) -> None:
    if _shortage(held, inputs, 0) <= 0 and not inputs.flag("being_liquidated", False):
        raise Refused("sufficient_collateral")


def liquidate(inputs: Inputs) -> dict[str, Any]:
    """A liquidator takes over what the margin lacks."""
    held = perp(inputs)
    _must_be_short(held, inputs)
    return _shown(_liquidated(held, inputs, inputs))


def _shown(held: Perp) -> dict[str, Any]:
    return {
        "user_base": held.base,
        "user_quote": held.quote,
        "user_quote_entry": held.entry,
        "user_quote_break_even": held.break_even,
        "liquidator_base": held.liquidator_base,
        "liquidator_quote": held.liquidator_quote,
        "insurance_fee_quote": held.fee,
        "margin_freed": held.freed,
        "still_being_liquidated": held.open,
        "exited_liquidation": not held.open,
    }


def time_ramp(inputs: Inputs) -> dict[str, Any]:
    """Several calls one after the other: the ramp counts from the slot of the first."""
    held, states, exited = perp(inputs), [], None
    calls = inputs.groups("calls")
    if not calls:
        raise inputs.wrong("calls", "at least one call", [])
    active = inputs.integer("last_active_slot", calls[0].integer("slot"))
    rules = Inputs(dict(inputs.given) | {"last_active_slot": active}, inputs.where)
    inputs.used |= set(inputs)
    for place, call in enumerate(calls, 1):
        if held.open:
            held = _liquidated(held, rules, call)
            exited = place if not held.open else None
        states.append({"margin_freed": held.freed, "user_base": held.base})
    return {
        "after_each_call": states,
        "last_active_slot": active,
        "exited_liquidation_after_call": exited,
        "still_being_liquidated": held.open,
    }


def liquidate_with_fill(inputs: Inputs) -> dict[str, Any]:
    """An order at the liquidator's price meets a resting maker; the keeper gets a part of the fee."""
    held = _cancelled(perp(inputs), inputs)
    _must_be_short(held, inputs)
    plan = _plan(held, inputs, inputs, EVERYTHING)
    maker = inputs.group("maker")
    side, oracle = (1 if held.base > 0 else -1), inputs.integer("oracle_price")
    price = maker.integer("price")
    limit = formulas.with_fee(oracle, side, Fraction(plan.fee, FEE))
    meets = maker.side() == side and (price >= limit if side > 0 else price <= limit)
    amount = min(plan.base, maker.integer("base")) if meets else 0
    amount = amount // _step(inputs) * _step(inputs)
    value = amount * price // BASE
    taker = -(-value * inputs.integer("taker_fee", TAKER_FEE) // FEE)
    rebate = value * inputs.integer("maker_rebate", MAKER_REBATE) // FEE
    fund = value * plan.fund // FEE
    after = _close(held, amount, value, taker + fund)
    keeper = math.floor(formulas.share_of(taker, KEEPER))
    return {
        **_shown(replace(after, fee=fund, open=amount < plan.cover)),
        "maker_base": side * amount,
        "maker_quote": rebate - side * value,
        "keeper_quote_reward": keeper,
        "taker_fee": taker,
    }
