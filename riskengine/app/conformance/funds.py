"""Funds, backstops and what is left: triggers, capacities, partial liquidation, shared losses."""

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from riskengine.app.conformance import prices
from riskengine.app.conformance.compare import Judge, Unchecked
from riskengine.app.conformance.vectors import Inconsistent, Inputs, Number, Unsupported, Written
from riskengine.waterfall import formulas

FTX_WEIGHT = Fraction(2, 3)  # of the zero price in the price of who takes over
COMPARED = re.compile(r"\s*([a-z_ ]+?)\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)\s*")
CLAUSE = re.compile(r"\s*fill\s*([<>])\s*([\d.]+)\s+(adds|drains)\s+\((.+?)\)\s*\*\s*size.*", re.S)


def insurance_fund_flow(inputs: Inputs) -> dict[str, Any]:
    """The trader settles at bankruptcy; the fund keeps or pays the difference to the fill."""
    side = inputs.side("side")
    size = side * inputs.positive(inputs.first("size", "contracts", "quantity"), 1)
    inverse = "inverse" in inputs.text("contract", "").lower() or inputs.flag("inverse", False)
    settled = inputs.first("bankruptcy_price", "settle_price_for_trader")
    bankruptcy = Fraction(inputs.positive(settled))

    def delta(fill: Number, quantity: Number = size) -> Number:
        if inverse:
            return formulas.inverse_insurance_delta(quantity, bankruptcy, fill)
        return formulas.insurance_delta(quantity, bankruptcy, fill)

    found: dict[str, Any] = {"rule": Judge(lambda said: _fund_rule(said, side, delta))}
    if inputs.has("fill_price"):
        gained = delta(Fraction(inputs.positive("fill_price")))
        found |= {"fund_delta": gained, "fund_delta_sign": (gained > 0) - (gained < 0)}
        if inputs.has("fund_before"):
            fund = inputs.number("fund_before")
            paid = bool(formulas.payable(fund, gained))
            found |= {
                "fund_after": fund + gained if paid else fund,
                "adl": not paid,
                "order_limit_price": formulas.improved_limit(bankruptcy, fund, size),
            }
    return found


def _fund_rule(said: Any, side: int, delta: Callable[..., Number]) -> str | Unchecked | None:
    """ "fill>P adds (fill-P)*size; fill<P drains (P-fill)*size": every clause at two fills."""
    clauses = [CLAUSE.fullmatch(part) for part in str(said).split(";")]
    if not all(clauses):
        return Unchecked("prose")
    for clause in clauses:
        assert clause is not None
        sign, at, word, difference = clause.groups()
        for away in (1, 7):
            fill = Fraction(at) + (away if sign == ">" else -away)
            gained = delta(fill, 3 * side)
            stated = _difference(difference, fill)
            if stated is None:
                return Unchecked("prose")
            if gained != 3 * (stated if word == "adds" else -stated):
                return f"{float(gained):.12g} at a fill of {float(fill):.12g} of size 3"
    return None


def _difference(text: str, fill: Fraction) -> Fraction | None:
    """ "fill-64000" or "64000-fill"."""
    parts = [part.strip() for part in text.split("-")]
    if len(parts) != 2 or not all(p == "fill" or re.fullmatch(r"\d+(\.\d+)?", p) for p in parts):
        return None
    first, second = (fill if part == "fill" else Fraction(part) for part in parts)
    return first - second


# Triggers


def bybit_trigger(inputs: Inputs) -> dict[str, Any]:
    """Bybit: a market's fall in profit against its pool, or an empty pool; on until it has recovered."""
    start = inputs.number("insurance_pnl_ratio", Fraction(-3, 10))
    stop = inputs.number("adl_stop_ratio", Fraction(-1, 4))
    balance = inputs.number(inputs.first("pool_balance", "balance"))
    enough = inputs.number("adl_trigger_threshold", 0)
    was_on = inputs.flag(inputs.first("adl_on", "previously_triggered"), False)

    def on(balance: Number, ratio: Number | None) -> bool:
        if balance <= 0:
            return True
        if ratio is None or balance <= enough:
            return False
        return ratio <= start or (was_on and ratio <= stop)

    found: dict[str, Any] = {}
    ratio = None
    if inputs.gives("symbol_pnl_now"):
        peak = inputs.number(inputs.first("symbol_pnl_max_8h"))
        now = inputs.number(inputs.first("symbol_pnl_now"))
        pool = Fraction(inputs.positive(inputs.first("pool_max_8h")))
        ratio = formulas.drawdown(now, peak, pool)
        beyond = max((start - ratio) * pool, 0)
        found |= {"pnl_ratio": ratio, "loss_at_threshold": -start * pool}
        found |= dict.fromkeys(
            ("excess_loss", "loss_borne_by_adl", "loss_borne_by_users", "adl_loss"), beyond
        )
    triggered = on(balance, ratio)
    kind = "pool_equity<=0" if balance <= 0 else "pnl_drawdown"
    return found | {
        "triggered": triggered,
        "stopped": not triggered,
        "trigger_kind": Judge(lambda said: _kind(said, kind)),
        "stop_when": Judge(lambda said: _stops(said, on, start)),
        "allocation": Unchecked("prose"),
    }


def _kind(said: Any, kind: str) -> str | None:
    """A name of a trigger; those of the drawdown differ."""
    empty = any(word in str(said).replace(" ", "").lower() for word in ("<=0", "equity", "balance"))
    return None if empty == (kind == "pool_equity<=0") else kind


def _stops(said: Any, on: Callable[..., bool], start: Number) -> str | Unchecked | None:
    """ "balance>0": off on one side of a level, on on the other."""
    match = COMPARED.fullmatch(str(said).replace("pool ", ""))
    if not match or match[2] not in (">", ">="):
        return Unchecked("prose")
    level = Fraction(match[3])
    if "balance" in match[1] or "equity" in match[1]:
        right = not on(level + 1, None) and on(level, None)
        return None if right else "balance > 0"
    return Unchecked("prose")


def okx_trigger(inputs: Inputs) -> dict[str, Any]:
    """OKX: the fund falls below its 8 h average (before: peak) by 30 % and a floor in dollars."""
    before = inputs.number(inputs.first("fund_avg_8h", "fund_peak_8h", "fund_max_8h"))
    share = inputs.number("decline_pct", Fraction(3, 10))
    line = formulas.drawdown_line(before, share, inputs.number("decline_abs_floor", 0))
    now = inputs.number(inputs.first("fund_now"))
    return {"threshold": line, "triggered": now < line or now <= 0}


def adl_trigger(inputs: Inputs) -> dict[str, Any]:
    """By what is given: a fund with its average or peak, or a pool with its market's profit."""
    return okx_trigger(inputs) if inputs.gives("fund_now") else bybit_trigger(inputs)


# Backstops


def deribit_capacity(inputs: Inputs) -> dict[str, Any]:
    """Deribit: what a liquidity provider still takes, of its equity and of its group's limit."""
    equity, used = inputs.number("equity"), inputs.number("group_used", 0)
    share = Fraction(inputs.number("group_limit_pct")) / 100
    room = formulas.backstop_capacity(
        equity, inputs.number("notional_capacity_factor", 2), inputs.number("current_notional", 0),
        share, used,
    )  # fmt: skip
    capacity = formulas.share_of(equity, inputs.number("notional_capacity_factor", 2))
    return {
        "group_cap": formulas.share_of(equity, share),
        "notional_capacity": capacity,
        "remaining_capacity": max(room, 0),
    }


def ftx_transfer(inputs: Inputs) -> dict[str, Any]:
    """FTX: the account leaves at its zero price, who takes over pays ⅔ of it and ⅓ of the mark."""
    side, mark = inputs.side(), Fraction(inputs.positive("mark"))
    size, entry = side * inputs.positive("size"), inputs.number("entry")
    collateral = inputs.number("collateral")
    equity = collateral + formulas.gain(size, mark, entry)
    zero = formulas.bankruptcy_price(mark, size, 1, equity)
    start, backstop = (
        formulas.liquidation_price(Fraction(collateral), entry, size, inputs.number(name), 0)
        for name in ("mmf", "acmf")
    )
    other = formulas.blend(zero, mark, FTX_WEIGHT)
    gained = formulas.insurance_delta(size, zero, other)
    return {
        "account_zero_price": zero,
        "margin_fraction": formulas.health(equity, abs(size) * mark),
        "liquidation_start_price": start,
        "backstop_start_price": backstop,
        "counterparty_price": other,
        "fund_gain": gained,
        "fund_gain_fraction_of_notional": gained / (abs(size) * mark),
    }


STAGES = (
    "normal", "no_new_orders", "order_book_liquidation", "backstop_auto_close",
    "backstop_plus_insurance_fund",
)  # fmt: skip


def ftx_stage(inputs: Inputs) -> dict[str, Any]:
    """FTX: how far an account has fallen, by its equity over its first notional."""
    notional, collateral = Fraction(inputs.positive("notional")), inputs.number("collateral")
    levels = [inputs.number(name) for name in ("imf", "mmf", "acmf")]
    worth, stage = [], []
    for drop in inputs.numbers("drops"):
        left = collateral - formulas.share_of(notional, drop)
        ratio = formulas.health(left, notional)
        fallen = sum(ratio < level for level in [*levels, 0])
        worth.append(left)
        stage.append(STAGES[fallen])
    return {"assets": worth, "stage": stage}


def kraken_assignment(inputs: Inputs) -> dict[str, Any]:
    """Kraken: what the book leaves goes to providers, in equal parts up to each one's limit."""
    assigned = {
        row.text("symbol"): formulas.excess(row.number("size"), row.number("book_filled"))
        for row in inputs.groups("positions")
    }
    found: dict[str, Any] = {"assigned": assigned}
    if inputs.has("participants"):
        rows = inputs.groups("participants")
        limits = {row.text(row.first("name", "participant")): row.number("limit") for row in rows}
        return found | {"received": _equal_parts(sum(assigned.values()), limits)}
    return found | {"one_participant_received": Judge(lambda part: _one_part(part, assigned))}


def _equal_parts(total: Number, limits: dict[str, Number]) -> dict[str, Number]:
    """The same for all, and what somebody cannot take for the others."""
    left, parts, open_ = Fraction(total), dict.fromkeys(limits, Fraction(0)), set(limits)
    for name in sorted(limits, key=lambda n: limits[n]):
        parts[name] = Fraction(formulas.taken(Fraction(limits[name]), 0, left / len(open_)))
        left, open_ = left - parts[name], open_ - {name}
    return dict(parts)


def _one_part(part: Any, assigned: dict[str, Number]) -> str | Unchecked:
    most = sum(assigned.values())
    if isinstance(part, int | Fraction) and 0 <= part <= most:
        return Unchecked("the limits of the participants are not among the inputs")
    return f"between 0 and {most}"


# Partial liquidation


def okx_partial(inputs: Inputs) -> dict[str, Any]:
    """OKX: from the third tier on down to the first one, or two tiers down; below it, everything."""
    held = inputs.number(inputs.first("position"))
    if inputs.has("tier_caps"):
        caps = [0, *inputs.numbers("tier_caps")]
        tier = sum(cap < held for cap in caps[:-1])
        lower = max(tier - inputs.integer("tiers_down", 2), 0) if tier >= 3 else 0
        kept = caps[lower]
    else:
        kept = inputs.number("tier1_max") if held >= inputs.number("tier3_min") else 0
    return {"contracts_to_close": formulas.excess(held, kept), "contracts_left": min(held, kept)}


def paradex_share(inputs: Inputs) -> dict[str, Any]:
    """Paradex: all positions cut by the same share, with a penalty for it."""
    return _after_share(inputs, inputs.number("liquidation_share"))


def paradex_chosen(inputs: Inputs) -> dict[str, Any]:
    """Paradex: the smallest multiple of a step with a margin ratio below the target."""
    required, equity = (
        Fraction(inputs.positive("maintenance_margin")),
        inputs.number("account_value"),
    )
    step = Fraction(inputs.positive("share_step", Fraction(1, 5)))
    target = inputs.positive("target_margin_ratio", Fraction(9, 10))
    whole = formulas.penalty(1, _penalty_rate(inputs), required)
    least = required / target  # of equity, or below it with all of the penalty
    if least > whole:
        exact = formulas.share_to_margin(least, equity, whole)
        steps = max(math.floor(exact / step) + 1, 0) if exact >= 0 else 0
    else:
        steps = math.ceil(1 / step)
    if equity > 0 and required / equity < target:
        steps = 0
    return _after_share(inputs, min(steps * step, Fraction(1)))


def _penalty_rate(inputs: Inputs) -> Number:
    """The page's table charges half of the margin released; its text says 70 %."""
    return inputs.number("penalty_rate", Fraction(1, 2))


def _after_share(inputs: Inputs, share: Number) -> dict[str, Any]:
    required, equity = inputs.number("maintenance_margin"), inputs.number("account_value")
    charged = formulas.penalty(share, _penalty_rate(inputs), required)
    left, worth = formulas.margin_after_closing(required, share), equity - charged
    found: dict[str, Any] = {
        "liquidation_share": share,
        "maintenance_margin_after": left,
        "penalty": charged,
        "account_value_after": worth,
        "margin_ratio_after": Fraction(left) / worth if worth else math.inf,
        "collateral_after": Unchecked("neither collateral nor positions are among the inputs"),
    }
    source = inputs.borrowed("collateral")
    if source is not None:
        gained = formulas.share_of(equity - source.number("collateral"), share)
        found["collateral_after"] = source.number("collateral") + gained - charged
    return found


# Shared losses


def paradex_loss(inputs: Inputs) -> dict[str, Any]:
    """Paradex: what the fund lacks is charged on withdrawals while it lacks it."""
    balances, held = inputs.group("user_balances"), inputs.group("positions")
    mark, entry = inputs.number("mark"), inputs.number("entry")
    own = {user: balances.number(user) for user in balances}
    settled = {
        user: money + formulas.gain(held.number(user, 0), mark, entry)
        for user, money in own.items()
    }
    bankrupt = {user: max(-money, 0) for user, money in settled.items()}
    loss = formulas.excess(sum(bankrupt.values()), inputs.number("insurance_fund"))
    factor = formulas.withdrawal_haircut(Fraction(loss), sum(own.values())) if loss else 0
    found: dict[str, Any] = {
        f"bankruptcy_amount_{user}": money for user, money in bankrupt.items()
    } | {"exchange_bankruptcy_amount": loss, "socialized_loss_factor": factor}
    if inputs.has("withdrawal"):
        asked = inputs.group("withdrawal")
        charge = formulas.share_of(asked.number("amount"), factor)
        found[f"{asked.text('user')}_receives"] = asked.number("amount") - charge
        found["insurance_fund_receives"] = charge
    return found


def clawback(inputs: Inputs) -> dict[str, Any]:
    """The same part of every winner's profit: (loss − fund) / Σ profits."""
    loss = inputs.number(inputs.first("uncovered_loss_btc_approx", "uncovered_loss", "loss"))
    injected = inputs.number(inputs.first("platform_injection", "fund", "insurance_fund"), 0)
    profits = inputs.first("sum_net_profit", "winners_net_profit", "total_net_profit", "net_profit")
    if inputs.has(inputs.first(profits)):
        total = Fraction(inputs.positive(inputs.first(profits)))
        gross = inputs.first("loss") in inputs
        without = loss if gross else loss + injected
        rate = formulas.loss_rate(formulas.excess(without, injected), total)
        return {"clawback_rate": rate, "clawback_rate_without_injection": without / total}
    _two_rates(inputs, loss, injected)
    raise Unsupported("the winners' net profit is not among the inputs")


def _two_rates(inputs: Inputs, loss: Number, injected: Number) -> None:
    """Rates with and without an injection are as the losses that they share out."""
    rates = [v for k, v in inputs.expected.items() if "rate" in k and isinstance(v, Fraction)]
    if len(rates) != 2 or not all(isinstance(rate, Written) and rate > 0 for rate in rates):
        return
    rounding = [Fraction(1, 2 * 10**rate.decimals) for rate in rates if isinstance(rate, Written)]
    (low, less), (high, more) = sorted(zip(rates, rounding, strict=True))
    most = (high + more) / (low - less)
    needed = Fraction(loss + injected) / loss
    if needed > most:
        raise Inconsistent(
            f"losses of {float(loss):g} and, without the {float(injected):g} injected, "
            f"{float(loss + injected):g} shared by the same winners need rates in the ratio "
            f"{float(needed):.3g}; {float(high):g} to {float(low):g} is {float(high / low):.3g}, "
            f"with rounding at most {float(most):.3g}: they imply profits of "
            f"{float(loss / low):.5g} and {float((loss + injected) / high):.5g}"
        )


KINDS = {
    "insurance_fund_flow": insurance_fund_flow,
    "socialized_loss": clawback,
    "adl_trigger": adl_trigger,
    "partial_liquidation_size": okx_partial,
}
VENUES = {
    "deribit": {"backstop_capacity": deribit_capacity},
    "ftx": {"backstop_transfer": ftx_transfer, "waterfall_stage": ftx_stage},
    "kraken": {"backstop_assignment": kraken_assignment, "zero_price": prices.both},
    "paradex": {
        "partial_liquidation_share": paradex_share,
        "partial_liquidation_chosen": paradex_chosen,
        "socialized_loss": paradex_loss,
    },
}
