"""Prices: where accounts are liquidated and bankrupt, marks, and at what ADL closes."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from riskengine.app.conformance import margin
from riskengine.app.conformance.vectors import Inputs, Number
from riskengine.waterfall import formulas

AT_ENTRY = ("bybit", "btse")  # maintenance margin is that of the entry price
ISOLATED = ("isolated_margin", "position_margin", "posted_margin", "margin", "collateral")


@dataclass(frozen=True)
class Position:
    """One position and the account behind it."""

    size: Number  # coins, or contracts of an inverse market; signed
    entry: Number
    equity: Number  # at the entry price, after what other positions need
    ratio: Number
    deduction: Number
    fee: Number
    inverse: bool
    at_entry: bool

    def liquidation_price(self) -> Number:
        """Equity meets maintenance margin, and the fee of closing."""
        if self.inverse:
            frozen = self.ratio * abs(self.size) / Fraction(self.entry) if self.at_entry else 0
            marked = 0 if self.at_entry else self.ratio
            return formulas.inverse_price(
                self.size, Fraction(self.entry), self.equity, frozen, marked + self.fee
            )
        frozen = self.ratio * abs(self.size) * self.entry if self.at_entry else 0
        marked = 0 if self.at_entry else self.ratio
        return formulas.liquidation_price(
            Fraction(self.equity), self.entry, self.size, marked + self.fee, self.deduction - frozen
        )

    def bankruptcy_price(self) -> Number:
        """Equity is zero, after the fee of closing."""
        if self.inverse:
            return formulas.inverse_price(self.size, Fraction(self.entry), self.equity, 0, self.fee)
        return formulas.liquidation_price(Fraction(self.equity), self.entry, self.size, self.fee, 0)


def position(inputs: Inputs) -> Position:
    """The position of an example, isolated or cross, linear or inverse."""
    inverse = "inverse" in inputs.text("contract", "").lower() or inputs.flag("inverse", False)
    entry = inputs.positive(inputs.first("entry", "entry_price", "mark"))
    name = inputs.first("size", "contracts", "qty", "quantity", "position")
    if inputs.has(name):
        quantity = inputs.number(name)
    elif inputs.gives("notional"):
        quantity = inputs.number(inputs.first("notional")) / Fraction(entry)
    else:
        quantity = 1
    for multiplier in ("multiplier", "quanto_multiplier", "face"):
        quantity = quantity * inputs.number(multiplier, 1)
    size = abs(quantity) * inputs.side() if inputs.has("side") else quantity
    if size == 0:
        raise inputs.wrong(name, "other than 0", size)
    fee = inputs.number(inputs.first("taker_fee", "fee_rate", "fee"), 0)
    return Position(
        size=size,
        entry=entry,
        equity=_equity(inputs, size, entry, fee, inverse),
        ratio=_ratio(inputs),
        deduction=inputs.number(inputs.first("maint_amount", "mm_amount", "mm_deduction"), 0),
        fee=fee,
        inverse=inverse,
        at_entry=inputs.text("mm_at", "entry" if _freezes(inputs) else "mark") == "entry",
    )


def _freezes(inputs: Inputs) -> bool:
    return inputs.venue.startswith(AT_ENTRY)


def _ratio(inputs: Inputs) -> Number:
    if inputs.has("maintenance_leverage"):
        return Fraction(1) / inputs.positive("maintenance_leverage")
    return inputs.number(inputs.first("mmr", "mm_rate", "maintenance_margin_rate"), 0)


def _equity(inputs: Inputs, size, entry, fee, inverse: bool) -> Number:
    """Equity at the entry price: a balance, a margin, or the margin that leverage asks for."""
    if inputs.has("account_value"):
        return inputs.number("account_value") - inputs.number("other_maint_margin", 0)
    isolated = inputs.text("margin_mode", "").lower() == "isolated"
    wallet = inputs.first("wallet_balance", "balance", "available_balance")
    own = inputs.first(*ISOLATED)
    if inputs.has(own) or inputs.has(wallet):
        given = [inputs.number(name) for name in (own, wallet) if inputs.has(name)]
        extra = inputs.number(inputs.first("extra_margin"), 0)
        rest = 0
        if not isolated:
            rest = inputs.number("other_upnl", 0) - inputs.number("other_maint_margin", 0)
        return sum(given) + extra + rest
    value = abs(size) / Fraction(entry) if inverse else abs(size) * entry
    initial = value / Fraction(inputs.positive("leverage"))
    extra = inputs.number(inputs.first("extra_margin"), 0)
    if inputs.venue == "phemex":
        return initial + fee * (value - initial) + extra  # keeps the fee of closing at bankruptcy
    return initial + extra


def liquidation_price(inputs: Inputs) -> dict[str, Any]:
    """The price at which a position is liquidated; its tier is the one at that price."""
    held = position(inputs)
    at = _tiered(held, inputs) if _has_tiers(inputs) else held.liquidation_price()
    found = prices(held, inputs) | _rounded("liquidation_price", at, inputs)
    if inputs.has("account_value") or inputs.has("isolated_margin"):
        needs = abs(held.size) * held.entry * held.ratio - held.deduction
        if _has_tiers(inputs):
            needs = margin.tiers(inputs).marginal(abs(held.size) * held.entry)
        found["margin_available"] = held.equity - needs
    return found


def _has_tiers(inputs: Inputs) -> bool:
    return inputs.has("tiers") or inputs.has("brackets")


def _tiered(held: Position, inputs: Inputs) -> Number:
    """The solution whose notional lies in the tier that it was solved with."""
    table = margin.tiers(inputs)
    ends = [*table.floors[1:], math.inf]
    found = held.liquidation_price()
    rows = zip(table.floors, ends, table.ratios, table.deductions(), strict=True)
    for floor, end, ratio, deduction in rows:
        flat = inputs.venue in margin.FLAT
        solved = Position(
            held.size, held.entry, held.equity, ratio, 0 if flat else deduction, held.fee,
            held.inverse, held.at_entry,
        ).liquidation_price()  # fmt: skip
        if floor <= abs(held.size) * solved <= end:
            return solved
        found = solved
    return found


def prices(held: Position, inputs: Inputs) -> dict[str, Any]:
    """Both prices and both margins under the names that venues give them."""
    value = abs(held.size) / Fraction(held.entry) if held.inverse else abs(held.size) * held.entry
    initial = value / Fraction(inputs.positive("leverage")) if inputs.has("leverage") else None
    if inputs.has("im_rate"):
        initial = value * inputs.number("im_rate")
    return {
        **_rounded("liquidation_price", held.liquidation_price(), inputs),
        **_rounded("bankruptcy_price", held.bankruptcy_price(), inputs),
        "maintenance_margin": value * held.ratio - held.deduction,
        "liquidation_mark": held.liquidation_price(),
        "ioc_limit_price": held.bankruptcy_price(),
        "zero_equity_price": held.bankruptcy_price(),
        "assigned_balance": held.equity,
    } | ({} if initial is None else {"initial_margin": initial})


def _rounded(name: str, at: Number, inputs: Inputs) -> dict[str, Number]:
    """With a tick, prices of longs round up and of shorts down, towards the mark."""
    if not inputs.has("tick"):
        return {name: at, f"{name}_raw": at}
    tick, steps = inputs.positive("tick"), Fraction(at) / inputs.positive("tick")
    longs = not inputs.has("side") or inputs.side() > 0
    return {name: (math.ceil(steps) if longs else math.floor(steps)) * tick, f"{name}_raw": at}


def both(inputs: Inputs) -> dict[str, Any]:
    """Liquidation and bankruptcy price of one position."""
    return liquidation_price(inputs)


def mark_price(inputs: Inputs) -> dict[str, Any]:
    """Binance: index plus funding still due; later the median of it, index plus basis, and last."""
    index = inputs.number("index")
    interval = inputs.positive(inputs.first("funding_interval_h"), 8)
    one = formulas.funding_mark(
        index,
        Fraction(inputs.number("funding_rate")),
        inputs.number(inputs.first("hours_to_funding", "time_to_funding_h")),
        interval,
    )
    if not inputs.gives("contract_price", "last_price"):
        return {"mark_price": one, "price_1": one, "price1": one}
    basis = inputs.number(inputs.first("basis_ma", "moving_average_basis", "basis"), 0)
    two = inputs.number(inputs.first("price_2", "price2"), index + basis)
    last = inputs.number(inputs.first("contract_price", "last_price"))
    return {
        "mark_price": formulas.median(one, two, last),
        "price_1": one, "price1": one, "price_2": two, "price2": two,
    }  # fmt: skip


def adl_close_price(inputs: Inputs) -> dict[str, Any]:
    """Bybit: bankruptcy price, or the mark where they are too far apart."""
    at, mark = position(inputs).bankruptcy_price(), inputs.positive("mark")
    far = formulas.deviation(Fraction(at), mark) > inputs.number("max_deviation_from_mark")
    return {
        "bankruptcy_price": at,
        "deviates_more_than_limit": far,
        "adl_close_price": mark if far else at,
    }


def zero_price(inputs: Inputs) -> dict[str, Any]:
    """Lighter: closing there keeps equity over maintenance margin as it is."""
    size, mark = inputs.number("position"), inputs.number("mark")
    equity, required = inputs.number("total_account_value"), inputs.positive("maintenance_margin")
    own = inputs.number("maintenance_fraction") * mark * abs(size)
    at = formulas.bankruptcy_price(mark, size, own, formulas.health(Fraction(equity), required))
    half = equity + formulas.gain(Fraction(size) / 2, at, mark)
    left = required - own / 2
    return {
        "zero_price": at,
        "account_value_after_half_close": half,
        "ratio_unchanged": formulas.health(half, left),
    }


KINDS = {
    "liquidation_price": liquidation_price,
    "bankruptcy_price": both,
    "liquidation_and_bankruptcy_price": both,
    "mark_price": mark_price,
    "adl_close_price": adl_close_price,
}
VENUES = {"lighter": {"zero_price": zero_price}, "phemex": {}, "btse": {}, "binance": {}}
