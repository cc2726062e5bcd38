"""What a book looks like in numbers: sizes, leverage, concentration, sides."""

import numpy as np

from riskengine.specs.book import MAKER, TRADER, Holdings, open_interest

TOP = 0.01  # the accounts whose joint share of the total is part of the law


def describe(holdings: Holdings, markets: int) -> dict:
    """What a book looks like, at the opening marks; of traders where nothing else is said.

    An account is long where its net notional is positive; leverage is gross notional / cash.
    """
    accounts = len(holdings.cash)
    trader = holdings.role == TRADER
    size = np.abs(holdings.size)
    gross = np.bincount(holdings.account, size, minlength=accounts)
    net = np.bincount(holdings.account, holdings.size, minlength=accounts)
    held = np.bincount(holdings.account, holdings.size != 0.0, minlength=accounts).astype(int)
    mine = trader[holdings.account]
    per_market = np.bincount(holdings.market[mine], size[mine], minlength=markets)
    longs = mine & (holdings.size > 0.0)
    long = np.bincount(holdings.market[longs], size[longs], minlength=markets)
    interest = open_interest(holdings, markets)
    total = interest.sum()
    solvent = (gross > 0.0) & (holdings.cash > 0.0)
    leverage = np.divide(gross, holdings.cash, out=np.full(accounts, np.nan), where=solvent)
    large = trader & solvent & (gross >= np.quantile(gross[trader], 1.0 - TOP))
    both = trader & solvent
    logs = np.log(np.stack([gross[both], holdings.cash[both]]))
    maker = holdings.role == MAKER
    inventory = np.bincount(
        holdings.market[maker[holdings.account]],
        holdings.size[maker[holdings.account]],
        minlength=markets,
    )
    return {
        "accounts": int(trader.sum()),
        "makers": int(maker.sum()),
        "open_interest": float(total),
        "market_share": _ratio(interest, total).tolist(),
        "notional": _quantiles(gross[trader]) | _concentration(gross[trader]),
        "cash": _quantiles(holdings.cash[trader]) | _concentration(holdings.cash[trader]),
        "leverage": _quantiles(leverage[both]),
        "leverage_long": _quantiles(leverage[both & (net > 0.0)]),
        "leverage_short": _quantiles(leverage[both & (net < 0.0)]),
        "leverage_top_1pct": _quantiles(leverage[large]),
        "log_correlation": float(np.corrcoef(logs)[0, 1]) if both.sum() > 2 else float("nan"),
        "long_share": float(_ratio(long.sum(), per_market.sum())),
        "long_share_by_market": _ratio(long, per_market).tolist(),
        "long_accounts": float((net[trader] > 0.0).mean()),
        "one_sided_accounts": float((np.abs(net[trader]) > 0.99 * gross[trader]).mean()),
        "positions": {
            **{str(k): float((held[trader] == k).mean()) for k in range(1, 6)},
            "6+": float((held[trader] >= 6).mean()),
        },
        "largest_of_open_interest": float(_ratio(gross[trader].max(), total)),
        "makers_of_open_interest": float(_ratio(np.abs(inventory).sum(), total)),
        "maker_cash": float(holdings.cash[maker].sum()),
    }


def _ratio(part, whole):
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0.0)


def _quantiles(values: np.ndarray) -> dict:
    levels = (1, 5, 10, 25, 50, 75, 90, 95, 99)
    if len(values) == 0:
        return {f"p{level}": float("nan") for level in levels}
    return {f"p{level}": float(np.quantile(values, level / 100.0)) for level in levels}


def _concentration(values: np.ndarray) -> dict:
    """Shares of the total that the largest 1 % and 10 % hold, at least one account each."""
    ordered = np.sort(np.maximum(values, 0.0))[::-1]
    counts = {"top_1pct": 0.01, "top_10pct": 0.1}
    return {
        name: float(_ratio(ordered[: max(1, round(part * len(ordered)))].sum(), ordered.sum()))
        for name, part in counts.items()
    }
