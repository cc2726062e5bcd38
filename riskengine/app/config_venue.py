"""The schema of `conf/venue/`: the rules and numbers of a venue, and the evidence for them."""

from dataclasses import dataclass, field
from typing import Any

from riskengine.app.fields import choice, group, listed, number, plain, table

MONEY_MAX = 1e15  # USD; float64 keeps a ten-thousandth of a cent of that apart

STAGES = {
    "book": "orders of under-margined accounts to the order book",
    "takeover": "a pool takes positions and margin",
    "unwind": "pools close their inventory",
    "fund": "pools pay debts",
    "adl": "auto-deleveraging",
    "profit_cap": "winners are closed against the pool when a side's profit is too large for it",
    "social": "what is still owed is shared, or stays unfunded",
}
TRIGGERS = {
    "inventory": "a pool refuses takeovers beyond its inventory cap",
    "rate": "a pool refuses takeovers beyond what it may take per second",
    "margin": "a pool below its margin is deleveraged",
    "drawdown": "a pool that has lost too much of its peak is deleveraged until it has recovered",
}


@dataclass
class MarkConfig:
    """What liquidations and PnL are measured at."""

    rule: str = choice(
        "median",
        "how the mark is made",
        index="the index, an oracle venue",
        mid="the venue's own mid",
        median="median of index, index plus averaged basis, and mid",
    )
    window_s: float = number(150.0, "time over which the basis is averaged", above=0, most=86400)


@dataclass
class MarginConfig:
    """Tiers by table: rows of [floor in USD of notional, highest leverage, maintenance %]."""

    kind: str = choice(
        "marginal",
        "what a tier's maintenance rate applies to",
        marginal="the part of the notional above its floor",
        flat="the whole notional",
    )
    at: str = choice(
        "mark",
        "the price of the notional that margin is asked for",
        mark="the mark",
        entry="the entry price",
    )
    tables: dict[str, Any] = table(
        "rows [floor USD, highest leverage, maintenance %] by table name"
    )
    markets: dict[str, str] = table("the table of a market")
    default: str = plain("", "the table of all other markets")
    growth: str = choice(
        "none",
        "how margin grows with size, beside the tiers",
        none="not at all",
        linear="premium times size, in millions of USD at the opening mark",
        root="premium times the square root of that size",
    )
    premium_pct: dict[str, float] = table(
        "premium on maintenance margin, % of the notional of a position of 1 million USD, by market; "
        "`default`: all others"
    )
    premium_on_pct: float = number(
        100.0,
        "share of the table's margin that the premium adds to; the larger is asked",
        least=0,
        most=100,
    )
    path: str | None = plain(
        None,
        "file of leverage tiers (docs/files.md), for the markets in it; null: the tables alone",
    )


@dataclass
class LiquidationConfig:
    """Stage `book`."""

    below_pct: float = number(
        100.0, "accounts enter below this share of their maintenance margin", least=0, most=1000
    )
    above_pct: float | None = number(
        None,
        "accounts enter at or above this share of it; null: no lower bound",
        least=-1e6,
        most=1000,
    )
    sizing: str = choice(
        "full",
        "how much of a position is sent",
        full="all of it",
        fractional="a fraction of large positions first",
        to_margin="the least that restores maintenance margin",
        tiers="down to a lower tier of margin; nothing in the lowest tiers",
        clips="clips of a fraction, one every `clip_s`",
    )
    tiers_down: int = number(1, "tiers that sizing tiers goes down at once", least=1, most=100)
    multiple_pct: float = number(
        0.0, "shares that restore margin are multiples of this; 0: any", least=0, most=100
    )
    clip_s: float = number(1.0, "time between clips", above=0, most=3600)
    clip_min_usd: float = number(
        0.0, "least notional of a position per clip", least=0, most=MONEY_MAX
    )
    clip_max_usd: float | None = number(
        None, "most notional of an account per clip; null: any", above=0, most=MONEY_MAX
    )
    until_pct: float | None = number(
        None,
        "a liquidation that has begun lasts until this share of maintenance margin; null: no memory",
        least=0,
        most=1000,
    )
    ramp_s: float = number(
        0.0,
        "time from the start of a liquidation until all that sizing asks is sent",
        least=0,
        most=3600,
    )
    ramp_start_pct: float = number(100.0, "share of it that is sent at once", least=0, most=100)
    fraction_pct: float = number(
        100.0, "part of a large position that is sent first, or of a clip", above=0, most=100
    )
    fraction_above_usd: float = number(
        0.0, "notional above which a position is large", least=0, most=MONEY_MAX
    )
    cooldown_s: float = number(
        0.0, "time after a partial fill during which whole positions are sent", least=0, most=86400
    )
    buffer_pct: float = number(
        0.0, "margin that sizing to_margin restores beyond maintenance", least=0, most=1000
    )
    dust_usd: float = number(10.0, "a remainder of less notional is sent too", least=0, most=1e6)
    limit: str = choice(
        "none",
        "limit price of an order",
        none="no limit",
        bankruptcy="the position's bankruptcy price",
        fillable="the mark less `limit_pct` of the position's margin, times the share of margin that is lost",
        mark="the mark less `limit_pct` of itself",
    )
    limit_pct: float = number(
        0.0, "how far beyond the mark limits fillable and mark lie", least=0, most=1000
    )
    positions: str = choice(
        "all",
        "which positions of an account are sent in a step",
        all="all of them",
        largest="the one with the largest maintenance margin",
    )
    execution: str = choice(
        "partial",
        "what happens to an order that the book takes in part",
        partial="it is filled in part",
        all_or_none="it is not filled",
    )
    backing: str = choice(
        "none",
        "whose fills the fund settles at the bankruptcy price, as far as it can pay the difference",
        none="nobody's",
        bankrupt="those of bankrupt accounts, which are closed whole and without limit",
        fills="all fills beyond it; what the fund cannot pay for is not filled",
    )
    liquidation_fee_pct: float = number(0.0, "fee on what is filled", least=0, most=10)
    fee_cap: str = choice(
        "equity",
        "how much fee an account can be charged",
        equity="what is left of its equity",
        surplus="what each fill brings above the bankruptcy price",
        none="all, even into debt",
    )
    fee_to_pool_pct: float = number(100.0, "share of the fee that the pool gets", least=0, most=100)


@dataclass
class TakeoverConfig:
    """Stage `takeover`."""

    below_pct: float = number(
        0.0, "accounts enter below this share of their maintenance margin", least=0, most=1000
    )
    above_pct: float | None = number(
        None,
        "accounts enter at or above this share of it; null: no lower bound",
        least=-1e6,
        most=1000,
    )
    gap_pct: float | None = number(
        None,
        "accounts also enter below maintenance margin less this share of notional; null: no such rule",
        least=0,
        most=100,
    )
    sizing: str = choice(
        "full",
        "how much passes",
        full="the whole account",
        to_margin="the least that restores maintenance margin and its buffer",
    )
    price: str = choice(
        "bankruptcy",
        "price at which positions pass",
        bankruptcy="the bankruptcy price: all equity passes, too",
        mark="the mark less discount and penalty: the account keeps the rest",
    )
    discount_pct: float = number(0.0, "discount from the mark", least=0, most=100)
    penalty_pct: float = number(
        0.0, "share of a position's maintenance margin that goes with it", least=0, most=100
    )


@dataclass
class PoolConfig:
    """A vault or a fund pool. Its capital is a share of the fund, or fixed and its own."""

    share_pct: float = number(
        0.0, "its part of the fund; parts add to 100; 0: fixed capital", least=0, most=100
    )
    fixed_pct: float = number(
        0.0, "its own capital as a share of the book's open interest", least=0, most=1e6
    )
    markets: list[str] = listed("markets that it serves; empty: all that no other pool names")
    per_market: bool = plain(
        False, "one such pool for each market, which share its capital by open interest"
    )
    owner: str = plain("", "the pool that pays what this one still owes")
    owner_pays_pct: float | None = number(
        None,
        "most that the owner pays for it, as a share of open interest; null: any",
        least=0,
        most=1e6,
    )
    rate_pct: float | None = number(
        None,
        "notional that it may take over per second, as a share of its capital; null: any",
        above=0,
        most=1e6,
    )
    drawdown_pct: float | None = number(
        None,
        "fall from its peak, as a share of its capital at the peak, that starts ADL; null: never",
        above=0,
        most=100,
    )
    release_pct: float | None = number(
        None, "fall at which that ends; null: drawdown_pct", above=0, most=100
    )
    inventory_cap_pct: float | None = number(
        None,
        "net inventory it may take over, as a share of its balance; null: any",
        above=0,
        most=1e6,
    )
    margin_multiple: float = number(
        0.0, "maintenance margins that it must keep on its inventory", least=0, most=100
    )
    unwind_pct: float = number(1.0, "share of depth that it closes per second", least=0, most=1000)


@dataclass
class DeleveragingConfig:
    """Stage `adl`."""

    below_pct: float = number(
        0.0, "accounts enter below this share of their maintenance margin", least=0, most=1000
    )
    price: str = choice(
        "bankruptcy",
        "price at which accounts are closed",
        bankruptcy="their bankruptcy price",
        bankruptcy_or_mark="their bankruptcy price, but the mark once they are bankrupt",
        previous_mark="the mark of the step before",
        mark="the mark",
    )
    pool_price: str = choice(
        "bankruptcy",
        "price at which a pool's inventory is closed",
        bankruptcy="the price at which the pool's equity is zero",
        cost="what the pool paid for it",
        threshold="the mark, bettered so far that the pool ends where its drawdown rule began",
        previous_mark="the mark of the step before",
        mark="the mark",
    )
    policy: str = choice(
        "queue",
        "who is closed against them",
        queue="the highest score first",
        pro_rata="everyone in proportion to size",
        top="the `top` highest scores of a side in proportion to size",
    )
    top: int = number(10, "holders among whom policy top shares", least=1, most=100_000)
    spread_pct: float = number(
        0.0, "how far prices mark and previous_mark are moved against the losers", least=0, most=50
    )
    deviation_pct: float | None = number(
        None,
        "bankruptcy prices further from the mark are replaced by the mark; null: never",
        above=0,
        most=1e4,
    )
    mark_share_pct: float = number(
        0.0,
        "weight of the mark in the counterparties' price; the pool keeps the difference",
        least=0,
        most=100,
    )
    allocation: str = choice(
        "average",
        "how losers and counterparties are paired",
        average="all of a market and step at the losers' average price",
        sequence="one after the other, each at its own price",
    )
    ranking: str = choice(
        "profit_leverage",
        "the score",
        profit_leverage="profit on entry times leverage of the position, both at least 1e-8",
        return_leverage="profit on notional times leverage of the account; losses divided by it",
        return_margin="profit on entry times margin ratio of the account; losses divided by it",
        balance_margin="profit on balance times margin ratio of the account",
        price_leverage="mark over entry times leverage of the position",
        leverage="leverage of the account",
        profit_rate="profit on notional",
        largest="size",
        line="one account after the other, from one drawn by lot",
    )
    winners_only: bool = plain(False, "only positions with profit are closed against")
    pools_in_queue: bool = plain(False, "pools with equity are counterparties, too")
    overlap_only: bool = plain(
        False, "only positions that the losers' price does not make riskier are closed against"
    )
    waits: bool = plain(False, "accounts whose cooldown runs are not closed")
    bypass: bool = plain(
        False, "while a pool's drawdown rule holds, its markets are not liquidated into the book"
    )
    profit_cap_pct: float | None = number(
        None,
        "stage profit_cap: profit of a side, as a share of half the pool, beyond which it is cut",
        above=0,
        most=1e4,
    )
    profit_left_pct: float | None = number(
        None, "share to which it is cut; null: profit_cap_pct", above=0, most=1e4
    )
    unmatched: str = choice(
        "keep",
        "what happens to positions without counterparties",
        keep="they stay open",
        unfunded="they count as unfunded",
    )


@dataclass
class EvidenceConfig:
    """Where values come from."""

    fields: list[str] = listed("keys, or beginnings of keys, that this is about")
    kind: str = choice(
        "assumption",
        "how sure it is",
        published="the venue says so",
        observed="seen in its data",
        assumption="ours",
    )
    url: str = plain("", "where it stands")
    date: str = plain("", "when it was so")
    note: str = plain("", "what it says, or why it is assumed")


@dataclass
class VenueConfig:
    """The rules and numbers of a venue."""

    name: str = plain("", "short name")
    title: str = plain("", "name in sentences and figures")
    stages: list[str] = listed("the waterfall, in order", STAGES)
    fund_pct: float = number(
        0.0, "first-loss capital F as a share of the book's open interest", least=0, most=1e6
    )
    fund_usd: float | None = number(
        None, "F in dollars, goes before fund_pct; null: fund_pct", least=0, most=MONEY_MAX
    )
    mark: MarkConfig = group(MarkConfig)
    margin: MarginConfig = group(MarginConfig)
    liquidation: LiquidationConfig = group(LiquidationConfig)
    takeover: TakeoverConfig = group(TakeoverConfig)
    triggers: list[str] = listed("rules that read the fund", TRIGGERS)
    pools: dict[str, PoolConfig] = table("vaults and funds")
    adl: DeleveragingConfig = group(DeleveragingConfig)
    social: str = choice(
        "none",
        "who pays what is still owed after all stages",
        none="nobody, it is unfunded",
        winners="accounts with profit, in proportion to it",
        positions="all positions of the market, long and short, in proportion to notional",
        balances="balances that are withdrawn, see withdrawn_pct",
    )
    withdrawn_pct: float = number(
        100.0, "share of balances that is withdrawn while money is short", least=0, most=100
    )
    dt_max_s: float = number(
        60.0, "longest step the preset was tested with; longer ones are noted", above=0, most=3600
    )
    ranges: dict[str, Any] = table(
        "other values of assumed keys that are as plausible: a comparison of venues runs them, too"
    )
    evidence: list[EvidenceConfig] = field(
        default_factory=list, metadata={"meaning": "where the values come from"}
    )
