"""Who is deleveraged first, and how much of whom."""

import math
from fractions import Fraction
from typing import Any

from riskengine.app.conformance.compare import Some
from riskengine.app.conformance.vectors import Inputs, Number
from riskengine.waterfall import formulas

LIGHT = Fraction(1, 5)  # a light of BitMEX's queue, of the side's quantity


def score_of_return(profit_share: Number, leverage: Number) -> Number:
    """Winners by return times leverage, losers by return over leverage."""
    if profit_share >= 0:
        return formulas.return_leverage(profit_share, leverage)
    return formulas.loss_leverage(profit_share, leverage)


def margin_ratio_score(inputs: Inputs, losers: bool) -> dict[str, Any]:
    """Profit over wallet times maintenance margin over equity; where losers count, as a loss."""
    profit = inputs.number(inputs.first("unrealized_profit", "unrealized_pnl", "upnl"))
    wallet = inputs.number(inputs.first("wallet_balance", "balance"))
    counted = profit if losers else max(profit, 0)
    share = Fraction(formulas.wallet_return(Fraction(counted), wallet))
    equity = wallet + profit
    if inputs.has("margin_ratio"):
        ratio = inputs.number("margin_ratio")
    else:
        required = inputs.number(inputs.first("maintenance_margin", "maint_margin"))
        ratio = formulas.health(Fraction(required), equity) if equity > 0 else 0
    if losers and share <= 0:
        ratio = 0
    score = formulas.return_leverage(share, ratio)
    return {
        "pnl_percent": share,
        "margin_ratio": ratio,
        "leverage_pnl": score,
        "adl_score": score,
        "score": score,
    } | _quantile(inputs)


def _quantile(inputs: Inputs) -> dict[str, Any]:
    if not inputs.has("rank", "users"):
        return {}
    return {"quantile": Fraction(inputs.number("rank")) / inputs.positive("users")}


def binance(inputs: Inputs) -> dict[str, Any]:
    """Binance: until 2023 by wallet and margin ratio, now by return and effective leverage."""
    given = inputs.text("formula_version", "v2" if inputs.gives("notional") else "v1")
    if given.startswith("v1"):
        return margin_ratio_score(inputs, losers=False)
    profit = inputs.number(inputs.first("unrealized_profit", "unrealized_pnl", "upnl"))
    value = Fraction(abs(inputs.number(inputs.first("notional"))))
    if value == 0:
        raise inputs.wrong("notional", "other than 0", 0)
    if inputs.has("account_equity"):
        equity = inputs.number("account_equity")
    else:
        wallet = inputs.number(inputs.first("wallet_balance", "balance"))
        equity = wallet + inputs.number("account_upnl", profit)
    share = profit / value
    leverage = value / inputs.positive("account_equity", equity)
    score = score_of_return(share, leverage)
    return {
        "pnl_percent": share, "effective_leverage": leverage, "leverage_pnl": score,
        "adl_score": score, "score": score,
    } | _quantile(inputs)  # fmt: skip


def aevo(inputs: Inputs) -> dict[str, Any]:
    """Aevo: return on balance times margin ratio, which counts for winners alone."""
    return margin_ratio_score(inputs, losers=True)


def hyperliquid(inputs: Inputs) -> dict[str, Any]:
    """Hyperliquid: the page's index, and the score that was observed."""
    mark, entry = Fraction(inputs.positive("mark")), inputs.positive("entry")
    leverage = inputs.number("notional") / Fraction(inputs.positive("account_value"))
    share = max(formulas.entry_return(mark, entry, inputs.side()), 0)
    return {
        "doc_index": formulas.quoted_index(mark, entry, leverage),
        "reconstructed_score": formulas.profit_leverage(share, leverage),
    }


def adl_ranking(inputs: Inputs) -> dict[str, Any]:
    """One side in order of score, each with the share of quantity up to and with its own."""
    rows = inputs.groups("accounts")
    named = [(str(row.need("account")), row) for row in rows]
    scores = {name: _score(row) for name, row in named}
    order = sorted(named, key=lambda one: -scores[one[0]])  # the first listed among equals
    total = sum(row.number("quantity") for _, row in named)
    percentile, until = {}, Fraction(0)
    for name, row in order:
        until += row.number("quantity")
        lights = math.ceil(until / inputs.positive("total", total) / LIGHT)
        percentile[name] = int(100 * LIGHT) * lights
    return {
        "order": [row["account"] for _, row in order],
        "percentile": percentile,
        "lights": {name: 6 - p // 20 for name, p in percentile.items()},
        "scores": scores,
    }


def _score(row: Inputs) -> Number:
    """A score as given, or from values: return on entry value and effective leverage (BitMEX)."""
    if row.has("score"):
        return row.number("score")
    if row.has("pnl_percent"):
        return score_of_return(
            Fraction(row.number("pnl_percent")), row.positive(row.first("effective_leverage"))
        )
    value, entry = Fraction(row.number("mark_value")), row.number("avg_entry_value")
    share = (value - entry) / abs(entry)
    return score_of_return(share, formulas.effective_leverage(value, row.number("bankrupt_value")))


def adl_allocation(inputs: Inputs) -> dict[str, Any]:
    """Counterparties in their order close the loser: the engine's own pairing."""
    rows = inputs.groups("queue")
    wanted = inputs.number("liquidated_size")
    held = [row.number("quantity") for row in rows]
    price = inputs.number("bankruptcy_price")
    taken, at = _paired(inputs.side("liquidated_side"), wanted, held, price)
    names = [row.need("account") for row in rows]
    fills = [
        {"account": name, "quantity": quantity, "price": paid}
        for name, quantity, paid in zip(names, taken, at, strict=True)
        if quantity > 0
    ]
    left = {str(n): q - t for n, q, t in zip(names, held, taken, strict=True)}
    return {"fills": fills, "remaining": Some(left), "unfilled": max(wanted - sum(taken), 0)}


def _paired(side: int, wanted: Number, held: list[Number], price: Number):
    """What each of a queue closes of one loser, and the price that it gets."""
    import jax.numpy as jnp

    from riskengine.types import use_double
    from riskengine.waterfall import sequence

    use_double()
    zeros = [0.0] * len(held)
    signed = [-side * float(q) for q in held]
    row = 0 if side < 0 else 1  # counterparties' longs close a loser's short
    there, gap = float(sum(held)), float(wanted)
    each = [[0.0], [0.0]]
    amounts = {}
    for name, value in (("wanted", min(gap, there)), ("there", there), ("gap", gap)):
        amounts[name] = jnp.asarray([[value if i == row else each[i][0]] for i in (0, 1)])
    _, at, closed = sequence.pair(
        jnp.asarray([side * gap, *zeros]),
        jnp.asarray([float(price), *zeros]),
        jnp.asarray([0.0, *signed]),
        jnp.asarray([0.0, *(-float(i) for i in range(len(held)))]),
        jnp.zeros(len(held) + 1, jnp.int32),
        amounts["wanted"],
        amounts["there"],
        amounts["gap"],
    )
    return [_whole(abs(x)) for x in closed.tolist()[1:]], [_whole(x) for x in at.tolist()[1:]]


def _whole(x: float) -> int | float:
    return int(x) if x == int(x) else x


def ethereal(inputs: Inputs) -> dict[str, Any]:
    """Ethereal: with an empty fund, at the oracle's mark, but no further than bankruptcy."""
    loser = inputs.group(inputs.first("trader_a", "trader", "loser"))
    mark, equity = Fraction(inputs.positive("mark")), loser.number("equity_at_mark")
    size = loser.number("size")
    if size == 0:
        raise loser.wrong("size", "other than 0", 0)
    zero = formulas.bankruptcy_price(mark, size, 1, equity)
    triggered = inputs.number("insurance_fund_equity", 0) <= 0
    at = min(mark, zero) if size > 0 else max(mark, zero)
    return {
        "adl": triggered,
        "triggered": triggered,
        "bankruptcy_price": zero,
        "execution_price": at,
        "pnl_transferred": max(-equity, 0) if triggered else 0,
    }


KINDS = {
    "adl_ranking": adl_ranking,
    "adl_allocation": adl_allocation,
    "adl_rank_score": binance,
    "adl_score": binance,
}
VENUES = {
    "aevo": {"adl_score": aevo},
    "hyperliquid": {"adl_rank": hyperliquid},
    "ethereal": {"adl": ethereal},
}
