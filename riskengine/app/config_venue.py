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
    "social": "what is still owed is shared, or stays unfunded",
}
TRIGGERS = {
    "inventory": "a pool refuses takeovers beyond its inventory cap",
    "margin": "a pool below its margin is deleveraged",
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
    )
    fraction_pct: float = number(
        100.0, "part of a large position that is sent first", above=0, most=100
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
    )
    bankrupt_orders: str = choice(
        "none",
        "how bankrupt accounts are closed in this stage",
        none="like all others",
        fund="whole, at their bankruptcy price, as far as the fund can pay the difference",
    )
    liquidation_fee_pct: float = number(0.0, "fee on what is filled", least=0, most=10)
    fee_cap: str = choice(
        "equity",
        "how much fee an account can be charged",
        equity="what is left of its equity",
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
    owner: str = plain("", "the pool that pays what this one still owes")
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
        previous_mark="the mark of the step before",
        mark="the mark",
    )
    pool_price: str = choice(
        "bankruptcy",
        "price at which a pool's inventory is closed",
        bankruptcy="the price at which the pool's equity is zero",
        previous_mark="the mark of the step before",
        mark="the mark",
    )
    policy: str = choice(
        "queue",
        "who is closed against them",
        queue="the highest score first",
        pro_rata="everyone in proportion to size",
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
    )
    winners_only: bool = plain(False, "only positions with profit are closed against")
    pools_in_queue: bool = plain(False, "pools with equity are counterparties, too")
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
    )
    dt_max_s: float = number(
        60.0, "longest step the preset was tested with; longer ones are noted", above=0, most=3600
    )
    evidence: list[EvidenceConfig] = field(
        default_factory=list, metadata={"meaning": "where the values come from"}
    )
