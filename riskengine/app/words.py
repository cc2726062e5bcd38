"""What estimates are called where people read them."""

from riskengine.app.answers import usd
from riskengine.app.canvas import percent
from riskengine.montecarlo.estimators import Estimate

GROUPS: dict[str, dict[str, str]] = {
    "How likely": {
        "adl_probability": "First intervention: ADL, or a payment or takeover not made whole",
        "adl_probability_falls": "the same in crashes that fall",
        "adl_probability_rises": "the same in crashes that rise: short squeezes",
        "depletion_probability": "The fund runs dry, inventory at its exit price",
        "deleveraging_probability": "At least one account is deleveraged",
        "social_loss_probability": "Winners pay by socialized loss",
        "unfunded_probability": "A loss is left that nobody can pay, however small",
        "unfunded_material_probability": "the same, above a millionth of open interest",
    },
    "How much capital": {
        "fund_target": "Fund that keeps ADL as rare as asked for",
        "fund_target_depletion": "Fund that keeps depletion as rare as asked for",
        "excess_draw": "Need beyond the fund, mean per crash",
        "excess_draw_p99": "Need beyond the fund, 99th percentile",
        "required_fund_median": "Need of the median crash, inventory at its exit price",
        "required_fund_cash_median": "Need of the median crash in cash",
        "fund_target_without_largest": "Change of a fund target (see note) if the ten largest cannot fail",
        "fund_target_dt_difference": "Change of a fund target (see note) at half the time step",
    },
    "What winners lose": {
        "expected_haircut": "Expected haircut, of equity, at the mark",
        "haircut_index": "the same at the index",
        "haircut_5min": "the same at the mark 5 minutes later",
        "haircut_60min": "the same at the mark 60 minutes later",
        "haircut_horizon": "the same at the end",
        "expected_pnl_haircut": "Expected haircut, of profit, at the mark",
        "haircut_p99": "99th percentile of one account's haircut",
        "adl_loss_mark": "Loss by ADL per crash with ADL, at the mark",
        "adl_loss_index": "the same at the index",
        "adl_loss_5min": "the same at the mark 5 minutes later",
        "adl_loss_60min": "the same at the mark 60 minutes later",
        "adl_loss_horizon": "the same at the end",
        "deleveraged": "Notional closed by ADL, per crash with ADL",
        "naked_delta": "One-sided exposure that ADL opened, per crash with ADL",
        "accounts_hit": "Share of accounts deleveraged, mean per crash",
        "accounts_hit_p99": "the same, 99th percentile of crashes",
        "largest_account_loss": "Largest loss of one account that was seen",
        "winner_bankrupted": "Accounts that ADL itself drove below zero, mean per crash",
    },
    "Who pays, mean per crash": {
        "liquidated_long": "Longs liquidated through the book",
        "liquidated_short": "Shorts liquidated through the book",
        "accounts_liquidated": "Share of accounts liquidated",
        "takeover": "Taken over by vault or fund",
        "bad_debt": "Debts of closed accounts",
        "fund_draw": "Debts paid by fund, vault and owner",
        "fund_profit": "Profit of the first-loss capital, at most all of it lost",
        "vault_profit": "Profit of fund and vault, with what they owe and lack",
        "owner_profit": "Profit of the vault's owner, outside F",
        "adl_loss_mark_per_crash": "Winners' loss by ADL, at the mark",
        "adl_loss_horizon_per_crash": "Winners' loss by ADL, at the mark at the end",
        "social_loss": "Paid by winners through socialized loss",
        "unfunded": "Paid by nobody",
    },
    "What checks it": {
        "ledger_residual": "Largest change of total cash or size, share of gross",
        "leftover": "Loss in the inventory left at the horizon, without a limit",
        "paths_needed": "Paths for a relative error of 10 % of the target's probability",
        "vault_worst_p99": "Worst loss of the vault at mark, without a limit, 99th percentile",
        "drawdown_p99": "Fall of its cash from the peak, without a limit, 99th percentile",
        "adl_probability_simulation": "First intervention, error of these books alone",
        "depletion_probability_simulation": "Dry fund, error of these books alone",
        "fund_target_simulation": "Fund for ADL, error of these books alone",
        "fund_target_depletion_simulation": "Fund for depletion, error of these books alone",
        "adl_probability_sd_within_books": "Standard deviation of P(ADL) within books",
        "adl_probability_sd_between_books": "Standard deviation of P(ADL) between books",
    },
}


def value(e: Estimate) -> str:
    """A number in its unit; what the sample cannot carry is said."""
    return "not known" if e.value is None else amount(e, e.value)


def interval(e: Estimate) -> str:
    """Both ends of an interval."""
    if e.low is None and e.high is None:
        return "none"
    low, high = ("unbounded" if x is None else amount(e, x) for x in (e.low, e.high))
    return f"{low} to {high}"


def amount(e: Estimate, x: float, digits: int = 3) -> str:
    """A number in the unit of an estimate."""
    if e.unit == "USD":
        return usd(x)
    if e.unit in ("probability", "fraction"):
        return percent(x)
    return f"{x:.0f}" if e.unit == "paths" else f"{x:.{digits}g}"
