"""The schema of `conf/scenario/`: the law of prices and depth."""

from dataclasses import dataclass, field
from typing import Any

from riskengine.app.config_venue import EvidenceConfig
from riskengine.app.fields import choice, group, listed, number, plain


@dataclass
class MarketLawConfig:
    """How a market moves, relative to the common factor, and how deep it is."""

    beta: float = number(1.0, "move per move of the common factor", least=-10, most=10)
    own_volatility: float = number(
        0.5, "volatility of its own, relative to the factor's", least=0, most=10
    )
    depth_pct: float = number(
        1.0,
        "calm depth within 1 % of mid on one side, as a share of open interest",
        least=0,
        most=1e4,
    )


@dataclass
class CrashConfig:
    """A crash or a rally with a common factor, jumps and a rebound (docs/model.md 7.1)."""

    probability_down_pct: float = number(
        80.0, "chance of a crash rather than a rally", least=0, most=100
    )
    df: float = number(3.0, "degrees of freedom of a path's scale, Student t", above=2, most=1000)
    drift_pct: float = number(3.5, "log move of the factor at scale 1", least=0, most=90)
    duration_min: float = number(20.0, "latest end of the fall", above=0, most=1440)
    volatility_pct: float = number(0.6, "volatility of a minute during the fall", least=0, most=20)
    volatility_after_pct: float = number(
        0.25, "volatility of a minute long after it", least=0, most=20
    )
    calming_min: float = number(
        20.0, "time constant of volatility calming down", above=0, most=1440
    )
    jumps: float = number(3.0, "expected number of jumps that no jump caused", least=0, most=20)
    jump_branching: float = number(
        0.5, "expected number of jumps that a jump causes", least=0, most=0.95
    )
    jump_lag_s: float = number(30.0, "mean time until those follow", above=0, most=3600)
    jump_pct: float = number(1.0, "mean log size of a jump at scale 1", least=0, below=100)
    jump_against_pct: float = number(
        20.0, "share of jumps that go against the crash", least=0, most=100
    )
    rebound_pct: float = number(50.0, "mean share of the fall that comes back", least=0, most=100)
    rebound_dispersion_pct: float = number(
        20.0, "standard deviation of that share", least=0, most=100
    )
    rebound_min: float = number(20.0, "time constant of the rebound", above=0, most=1440)
    beta_dispersion: float = number(
        0.25, "standard deviation of the log of betas from path to path", least=0, most=2
    )


@dataclass
class LadderConfig:
    """All markets move by the same shock, in a straight line; every shock meets every book once."""

    shocks_pct: list[float] = listed("price changes", above=-100, most=1000)
    duration_min: float = number(20.0, "time until the shock is complete", above=0, most=1440)


@dataclass
class ConcentrationConfig:
    """One account holds a share of a market and y days of its depth; that market alone moves."""

    market: str = plain("", "the market that moves")
    share_pct: float = number(25.0, "the account's part of its open interest", above=0, below=100)
    depth_days: float = number(
        0.01, "days in which the order book replaces the position", above=0, most=1000
    )
    side: str = choice("long", "side of the account", long="it is long", short="it is short")
    withdraws: bool = plain(True, "the account takes out all margin above the initial margin")


@dataclass
class ReplayConfig:
    """Recorded prices; markets without prices follow the first market with its beta."""

    reader: str = choice(
        "prices",
        "what scenario.path is",
        prices="a file of prices (docs/files.md)",
        october_2025="the folder of the 10 October 2025 data",
    )
    start: str | None = plain(
        None, "ISO time of the first price; null: where all series have begun"
    )
    bridge_volatility_pct: float = number(
        0.25, "volatility of a minute between recorded prices", least=0, most=20
    )
    bridge_above_s: float = number(
        30.0, "prices further apart than this are bridged", least=0, most=86400
    )


@dataclass
class DepthConfig:
    """How the order book thins out (docs/model.md 7.2)."""

    factor: float = number(1.0, "calm depth of all markets, times depth_pct", above=0, most=1000)
    own_sensitivity: float = number(
        25.0, "log fall of depth per log move, on the side of the move", least=0, most=1000
    )
    other_sensitivity: float = number(17.0, "the same on the other side", least=0, most=1000)
    memory_min: float = number(
        30.0, "time constant of a new price becoming normal", above=0, most=1e5
    )
    recovery_min: float = number(30.0, "time constant of depth coming back", above=0, most=1e5)
    floor_pct: float = number(2.0, "share of calm depth that always stays", above=0, most=100)
    dispersion: float = number(
        0.3, "standard deviation of the log of depth from path to path", least=0, most=3
    )


@dataclass
class OrderBookConfig:
    """How prices answer to forced flow, and who takes it (docs/model.md 2)."""

    exponent: float = number(
        0.67, "power of distance with which cumulative depth grows", above=0, most=2
    )
    distance: str = choice(
        "log", "how distance from mid is measured", log="in logs", linear="as a share of mid"
    )
    distance_max_pct: float = number(
        50.0, "distance at which outside capital takes any quantity", above=0, most=1000
    )
    resilience_s: float | None = number(
        60.0, "time constant of the book refilling; null: at once", above=0, most=1e6
    )
    permanent_pct: float = number(0.0, "share of a displacement that stays", least=0, most=1000)
    fill_cap_pct: float | None = number(
        None, "share of depth that one clearing may take; null: any", above=0, most=1e6
    )
    profit_taking_pct: float = number(
        30.0, "share of forced flow that meets holders who take profit", least=0, most=100
    )


@dataclass
class SeenConfig:
    """Sizes of the recorded crashes that the law was set to; the report compares, nothing else does."""

    what: str = plain("", "what they are")
    events: int | None = number(
        None, "how many; what is ten times rarer than one of them is called extrapolation",
        least=1, most=1_000_000,
    )  # fmt: skip
    median_pct: float | None = number(None, "their median", above=0, most=1000)
    decile_pct: float | None = number(None, "what one in ten exceeds", above=0, most=1000)
    largest_pct: float | None = number(None, "the largest", above=0, most=1000)


@dataclass
class ScenarioConfig:
    """The law of prices and depth."""

    law: str = choice(
        "crash",
        "law of prices",
        crash="thousands of crashes and rallies",
        ladder="one shock after the other",
        concentration="one account and one market",
        replay="recorded prices",
    )
    path: str | None = plain(None, "file or folder of recorded prices; only for law replay")
    crash: CrashConfig = group(CrashConfig)
    ladder: LadderConfig = group(LadderConfig)
    concentration: ConcentrationConfig = group(ConcentrationConfig)
    replay: ReplayConfig = group(ReplayConfig)
    markets: dict[str, MarketLawConfig] = field(
        default_factory=dict, metadata={"meaning": "the laws of single markets"}
    )
    other_markets: MarketLawConfig = group(MarketLawConfig)
    depth: DepthConfig = group(DepthConfig)
    order_book: OrderBookConfig = group(OrderBookConfig)
    seen: SeenConfig = group(SeenConfig)
    ranges: dict[str, Any] = field(
        default_factory=dict,
        metadata={"meaning": "lowest and highest plausible value of a key, for task=assumptions"},
    )
    evidence: list[EvidenceConfig] = field(
        default_factory=list, metadata={"meaning": "where the values come from"}
    )
