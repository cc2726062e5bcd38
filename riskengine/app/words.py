"""What estimates are called where people read them."""

from riskengine.app.amounts import percent, usd
from riskengine.montecarlo.estimators import Estimate

GROUPS: dict[str, dict[str, str]] = {
    "How likely": {
        "adl_probability": "An intervention: the first ADL, or a payment or takeover not made whole",
        "adl_probability_falls": "the same in crashes that fall",
        "adl_probability_rises": "the same in crashes that rise: short squeezes",
        "depletion_probability": "The fund runs dry, inventory at its exit price",
        "deleveraging_probability": "At least one account is deleveraged",
        "owner_pays_probability": "The owner behind the vault pays",
        "social_loss_probability": "Winners pay by socialized loss",
        "unfunded_probability": "A loss is left that nobody can pay, however small",
        "unfunded_material_probability": "the same, above 0.1 % of open interest",
    },
    "How much capital": {
        "fund_target": "Fund that keeps interventions as rare as asked for",
        "fund_target_within_history": "the same without crashes larger than the largest seen",
        "fund_target_depletion": "Fund that keeps depletion as rare as asked for",
        "excess_draw": "Need beyond the fund, mean per crash",
        "excess_draw_p99": "Need beyond the fund, 99th percentile",
        "required_fund_median": "Need of the median crash, inventory at its exit price",
        "required_fund_cash_median": "Need of the median crash in cash",
        "fund_target_without_largest": "Change of a fund target (see note) if the ten largest cannot fail",
        "fund_target_dt_difference": "Change of a fund target (see note) at half the time step",
    },
    "What winners lose": {
        "expected_haircut": "Expected haircut of deleveraged winners, of equity, at the mark",
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
        "owner_profit": "Profit of the owner behind the vault, outside F",
        "provider_profit": "Profit of outside providers that take over, outside F",
        "adl_loss_mark_per_crash": "Winners' loss by ADL, at the mark",
        "adl_loss_horizon_per_crash": "Winners' loss by ADL, at the mark at the end",
        "social_loss": "Paid by winners through socialized loss",
        "unfunded": "Paid by nobody",
    },
    "How large the crashes are": {
        "crash_size_median": "Size of the median crash",
        "crash_size_p90": "Size that one crash in ten exceeds",
        "crash_size_p99": "Size that one crash in a hundred exceeds",
        "crash_size_largest": "Size of the largest crash",
        "target_crash_size_median": "Median size of the crashes that set the fund target",
        "target_crash_rises": "Share of them that are rises",
    },
    "What checks it": {
        "ledger_residual": "Largest change of total cash or size, share of gross",
        "leftover": "Loss in the inventory left at the horizon, without a limit",
        "paths_needed": "Paths for a relative error of 10 % of the target's probability",
        "vault_worst_p99": "Worst loss of the vault at mark, without a limit, 99th percentile",
        "drawdown_p99": "Fall of its cash from the peak, without a limit, 99th percentile",
        "adl_probability_simulation": "Intervention, error of these books alone",
        "depletion_probability_simulation": "Dry fund, error of these books alone",
        "fund_target_simulation": "Fund for interventions, error of these books alone",
        "fund_target_depletion_simulation": "Fund for depletion, error of these books alone",
        "adl_probability_sd_within_books": "Standard deviation of P(intervention) within books",
        "adl_probability_sd_between_books": "Standard deviation of P(intervention) between books",
    },
    "What sampling of rare events changes": {
        "fund_target_plain": "Fund for interventions by the run's own paths alone",
        "fund_target_depletion_plain": "Fund for depletion by the run's own paths alone",
        "rare_work": "Work of survey, pilot and chosen paths, in paths",
        "rare_error": "Standard error of the target's probability over it, these books",
        "rare_gain": "Work of plain paths for the accuracy of the target's probability, over this",
    },
    "What grouped accounts change": {
        "grouping_bias_adl_probability": "Bias of groups alone in P(intervention)",
        "grouping_bias_depletion_probability": "the same in P(fund runs dry), from needs",
        "grouping_bias_expected_haircut": "the same in the expected haircut at the mark",
        "grouping_bias_adl_loss_mark": "the same in winners' loss by ADL, mean per crash at the mark",
        "grouping_bias_bad_debt": "the same in debts of closed accounts, mean per crash",
        "grouping_bias_fund_draw": "the same in debts paid, mean per crash",
        "grouping_work": "Work of the paths without a limit, of that in full",
        "grouping_gain_probability": "Work of full paths for the accuracy of P(intervention), over this",
        "grouping_gain_target": "the same for the probability at the fund target",
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


def other_prices(names: dict[str, Estimate]) -> str:
    """What the haircut is against later prices, where it is known."""
    labels = {
        "index": "against the index",
        "5min": "the mark 5 minutes later",
        "horizon": "the end",
    }
    known = {words: names.get(f"haircut_{name}") for name, words in labels.items()}
    said = [
        f"{words} {percent(e.value)}" for words, e in known.items() if e and e.value is not None
    ]
    return f"{', '.join(said)}; negative: winners gain" if said else ""


def differ(names: dict[str, Estimate]) -> str:
    """Why a dry fund and an intervention are not the same, whichever is more frequent."""
    adl, dry = names["adl_probability"].value, names["depletion_probability"].value
    if adl is None or dry is None or dry > adl:
        return (
            "P(fund runs dry) can exceed P(intervention): dry counts what closing the inventory "
            "would fetch, a venue's rules look at the mark"
        )
    return (
        "P(fund runs dry) can be below P(intervention): rules of the venue can end takeovers, or "
        "deleverage winners, while the fund still has money"
    )


NEGATIVE = "a negative loss or haircut is a gain: being deleveraged paid"
NOT_MODELLED = (
    "funding payments", "collateral other than dollars", "inverse contracts",
    "open orders and their cancellation", "outages",
    "top-ups and withdrawals during the crash", "re-hedging by deleveraged accounts",
    "makers that leave after ADL", "trading fees", "one venue's effect on another",
    "the frequency of crashes",
)  # fmt: skip
GLOSSARY = {
    "ADL": "auto-deleveraging: winners' positions are closed against losers that nobody else takes",
    "backstop vault": "takes over positions that the order book did not, with its own equity",
    "book": "all open positions of a venue at the start, never its order book",
    "exit price": "what closing an inventory at once would fetch",
    "first-loss capital, F": "the fund's pools, or the vault's equity where there is no fund",
    "F*": "the smallest F that keeps an event as rare as asked for",
    "haircut": "what ADL cost an account, over its equity just before; negative: a gain",
    "intervention": "the first ADL, or payment or takeover that the capital did not make whole",
    "mark": "the venue's price for margin and profit, near the index and the book's mid price",
    "need": "the smallest F with which a path has no such event",
    "open interest": "one side of all positions, at the mark",
    "owner, parent": "who a vault passes its shortfall to, outside F",
    "path": "one simulated crash, against one book",
    "unfunded": "what neither losers, fund, winners nor owners paid",
    "without a limit": "run with unlimited capital, to see what every path needs",
}
