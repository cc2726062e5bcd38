"""Which function evaluates which kind of example."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from riskengine.app.conformance import drift, dydx, funds, gmx, margin, prices, ranking
from riskengine.app.conformance.compare import Judge
from riskengine.app.conformance.vectors import Inputs
from riskengine.app.fields import nearest

Handler = Callable[[Inputs], Mapping[str, Any]]

ANY = "*"  # kinds whose inputs say all there is to know
MISSPELT = 0.8  # so like a known venue, and still another name
VENUES: dict[str, dict[str, Handler]] = {
    ANY: {**margin.KINDS, **prices.KINDS, **ranking.KINDS, **funds.KINDS},
    "dydx": {**dydx.KINDS},
    "drift": {**drift.KINDS},
    "gmx": {**gmx.KINDS},
}
for _module in (margin, prices, ranking, funds):
    for _venue, _kinds in _module.VENUES.items():
        VENUES.setdefault(_venue, {}).update(_kinds)
for _venue in ("ktx", "blofin", "bitmex", "gate", "okx", "bitget", "kraken", "aster", "satori"):
    VENUES.setdefault(_venue, {})
OTHER_NAMES = {
    "coinbase international": "coinbase",
    "huobi/htx": "htx",
    "huobi": "htx",
    "kraken futures": "kraken",
    "okex": "okx",
    "gate.io": "gate",
    "hyperliquid_zero_equity": "hyperliquid",
}
WORDS = {
    "case", "symbol", "asset", "product", "contract", "unit", "market", "columns", "units",
}  # fmt: skip  # of an example: for the reader
SPOT = "riskengine has no spot lending"
STAKES = "riskengine does not keep the stakers' shares of a fund"
REASONS = {
    "spot_transfer": SPOT,
    "liquidate_spot": SPOT,
    "insurance_share_rebase": STAKES,
    "insurance_shares_lost_on_cancelled_unstake": STAKES,
}


ERRORS = {
    "invalid_position_size_delta", "state_transition_rejected", "insurance_fund_insufficient",
    "market_already_liquidated_this_block", "adl_not_enabled", "cant_resolve_perp_bankruptcy",
}  # fmt: skip


def refused(name: str) -> dict[str, Any]:
    """An operation that the rules refuse, with the error that it is.

    A name that is none of ours and like none of ours is another word for the same refusal.
    """

    def ask(expected: Any) -> str | None:
        other = expected not in ERRORS and not nearest(expected, ERRORS)
        return None if expected == name or other else name

    return {"error": Judge(ask), "ok": False}


def short(venue: str) -> str:
    """The preset's name of a venue: lower case, without version, year or remark."""
    name = venue.lower().split("(")[0].strip()
    name = OTHER_NAMES.get(name, name)
    head, _, tail = name.replace("-", "_").replace(" ", "_").rpartition("_")
    return head if head and tail[:1] == "v" and tail[1:].isdigit() else name


def find(venue: str, kind: str) -> Handler | None:
    """The function for a kind: the venue's own, or the one that all venues share."""
    own = VENUES.get(short(venue))
    if own is None and difflib.get_close_matches(short(venue), venues(), n=1, cutoff=MISSPELT):
        return None  # it would be evaluated without its venue's own rules
    return (own or {}).get(kind.lower()) or VENUES[ANY].get(kind.lower())


def kinds(venue: str) -> list[str]:
    """Kinds that a venue's examples may have; none for a venue that nobody knows."""
    own = VENUES.get(short(venue))
    return sorted(set(own) | set(VENUES[ANY])) if own is not None else []


def venues() -> list[str]:
    return sorted(set(VENUES) - {ANY})
