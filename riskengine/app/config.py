"""The schema of `conf/`: every key with its type, its default, what it may be.

Human units live here and names end with them; `build` converts once. A key that a file in `conf/`
leaves out has the default given here.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Optional  # noqa: UP035

from riskengine.errors import InputError

MONEY_MAX = 1e15  # USD; float64 keeps a ten-thousandth of a cent of that apart
PATHS_MAX = 10_000_000
STEPS_MAX = 100_000


def number(default: Any, **bounds: Any) -> Any:
    """A number with bounds: `least`, `most` (inclusive), `above`, `below` (exclusive)."""
    return field(default=default, metadata=bounds)


def choice(default: str, *names: str) -> Any:
    """One of a few names; what they mean is said in docs/config.md."""
    return field(default=default, metadata={"names": names})


def group(kind: type) -> Any:
    return field(default_factory=kind)


def table(**rows: Any) -> Any:
    return field(default_factory=lambda: dict(rows))


# Venue


@dataclass
class MarkConfig:
    """What liquidations and PnL are measured at."""

    rule: str = choice("median", "index", "mid", "median")
    window_s: float = number(150.0, above=0, most=86400)


@dataclass
class MarginConfig:
    """Tiers by table: rows of [floor in USD of notional, highest leverage, maintenance margin in %]."""

    kind: str = choice("marginal", "marginal", "flat")
    at: str = choice("mark", "mark", "entry")
    tables: dict[str, Any] = table()  # build checks the rows
    markets: dict[str, str] = table()  # which table a market has
    default: str = ""  # table of all other markets


@dataclass
class LiquidationConfig:
    """Stage `book`."""

    below_pct: float = number(100.0, least=0, most=1000)
    above_pct: Optional[float] = number(None, least=-1e6, most=1000)  # noqa: UP045
    sizing: str = choice("full", "full", "fractional", "to_margin")
    fraction_pct: float = number(100.0, above=0, most=100)
    fraction_above_usd: float = number(0.0, least=0, most=MONEY_MAX)
    cooldown_s: float = number(0.0, least=0, most=86400)
    buffer_pct: float = number(0.0, least=0, most=1000)
    dust_usd: float = number(10.0, least=0, most=1e6)
    limit: str = choice("none", "none", "bankruptcy")
    bankrupt_orders: str = choice("none", "none", "fund")
    liquidation_fee_pct: float = number(0.0, least=0, most=10)
    fee_cap: str = choice("equity", "equity", "none")
    fee_to_pool_pct: float = number(100.0, least=0, most=100)


@dataclass
class TakeoverConfig:
    """Stage `takeover`."""

    below_pct: float = number(0.0, least=0, most=1000)
    above_pct: Optional[float] = number(None, least=-1e6, most=1000)  # noqa: UP045


@dataclass
class PoolConfig:
    """A vault or a fund pool. Its capital is a share of the fund, or fixed and its own."""

    share_pct: float = number(0.0, least=0, most=100)
    fixed_pct: float = number(0.0, least=0, most=1e6)  # of the book's open interest
    markets: list[str] = field(default_factory=list)  # empty: all that no other pool names
    owner: str = ""  # pool that pays what this one still owes
    inventory_cap_pct: Optional[float] = number(None, above=0, most=1e6)  # noqa: UP045  of its balance
    margin_multiple: float = number(0.0, least=0, most=100)
    unwind_pct: float = number(1.0, least=0, most=1000)  # of depth per second


@dataclass
class DeleveragingConfig:
    """Stage `adl`."""

    below_pct: float = number(0.0, least=0, most=1000)
    price: str = choice("bankruptcy", "bankruptcy", "previous_mark", "mark")
    pool_price: str = choice("bankruptcy", "bankruptcy", "previous_mark", "mark")
    policy: str = choice("queue", "queue", "pro_rata")
    allocation: str = choice("average", "average", "sequence")
    ranking: str = choice("profit_leverage", "profit_leverage", "return_leverage")
    winners_only: bool = False
    pools_in_queue: bool = False
    unmatched: str = choice("keep", "keep", "unfunded")


@dataclass
class EvidenceConfig:
    """Where values come from: published by the venue, observed, or an assumption of ours."""

    fields: list[str] = field(default_factory=list)
    kind: str = choice("assumption", "published", "observed", "assumption")
    url: str = ""
    date: str = ""
    note: str = ""


@dataclass
class VenueConfig:
    """The rules and numbers of a venue, and the evidence for them."""

    name: str = ""
    title: str = ""
    stages: list[str] = field(default_factory=list)
    fund_pct: float = number(0.0, least=0, most=1e6)  # F in % of the book's open interest
    fund_usd: Optional[float] = number(None, least=0, most=MONEY_MAX)  # noqa: UP045  goes before fund_pct
    mark: MarkConfig = group(MarkConfig)
    margin: MarginConfig = group(MarginConfig)
    liquidation: LiquidationConfig = group(LiquidationConfig)
    takeover: TakeoverConfig = group(TakeoverConfig)
    triggers: list[str] = field(default_factory=list)
    pools: dict[str, PoolConfig] = field(default_factory=dict)
    adl: DeleveragingConfig = group(DeleveragingConfig)
    social: str = choice("none", "none", "winners")
    dt_max_s: float = number(60.0, above=0, most=3600)
    evidence: list[EvidenceConfig] = field(default_factory=list)


# Book


@dataclass
class BookConfig:
    """The open positions: drawn from a law, or read from a file (`path` replaces the law)."""

    path: Optional[str] = None  # noqa: UP045
    reader: str = choice("positions", "positions", "hyperliquid_snapshot")
    markets: list[str] = field(default_factory=list)  # of the law
    market_share_pct: dict[str, float] = table()  # of open interest; scaled to 100
    accounts: int = number(2000, least=2, most=1_000_000)
    books: int = number(32, least=1, most=4096)
    makers: int = number(8, least=0, most=100)
    maker_leverage: float = number(2.0, above=0, most=50)
    long_share_pct: float = number(42.0, above=0, below=100)  # of traders' notional
    long_leverage: float = number(2.0, least=0.1, most=20)  # of longs relative to shorts
    leverage_cap: Optional[float] = number(None, least=1, most=200)  # noqa: UP045
    open_interest_usd: Optional[float] = number(None, above=0, most=MONEY_MAX)  # noqa: UP045
    rest_leverage: float = number(2.0, above=0, most=50)
    rest_in_adl: bool = False
    complete: bool = False  # of a file: nobody's positions are missing
    allow_underwater: bool = False


# Scenario


@dataclass
class MarketLawConfig:
    """How a market moves, relative to the common factor, and how deep it is."""

    beta: float = number(1.0, least=-10, most=10)
    own_volatility: float = number(0.5, least=0, most=10)
    depth_pct: float = number(1.0, least=0, most=1e4)  # of open interest, within 1 % of mid, a side


@dataclass
class CrashConfig:
    """A crash or a rally with a common factor, jumps and a rebound."""

    probability_down_pct: float = number(80.0, least=0, most=100)
    df: float = number(3.0, above=2, most=1000)
    drift_pct: float = number(3.5, least=0, most=90)
    duration_min: float = number(20.0, above=0, most=1440)
    volatility_pct: float = number(0.6, least=0, most=20)  # of a minute
    volatility_after_pct: float = number(0.25, least=0, most=20)
    calming_min: float = number(20.0, above=0, most=1440)
    jumps: float = number(3.0, least=0, most=20)
    jump_branching: float = number(0.5, least=0, most=0.95)
    jump_lag_s: float = number(30.0, above=0, most=3600)
    jump_pct: float = number(1.0, least=0, below=100)
    jump_against_pct: float = number(20.0, least=0, most=100)
    rebound_pct: float = number(50.0, least=0, most=100)
    rebound_dispersion_pct: float = number(20.0, least=0, most=100)
    rebound_min: float = number(20.0, above=0, most=1440)
    beta_dispersion: float = number(0.25, least=0, most=2)


@dataclass
class LadderConfig:
    """All markets move by the same shock, in a straight line; path i takes shock i."""

    shocks_pct: list[float] = field(default_factory=list)
    duration_min: float = number(20.0, above=0, most=1440)


@dataclass
class ConcentrationConfig:
    """One account holds a share of a market and y days of its depth; that market alone moves."""

    market: str = ""
    share_pct: float = number(25.0, above=0, below=100)  # of the market's open interest
    depth_days: float = number(0.01, above=0, most=1000)  # days in which the order book replaces it
    side: str = choice("long", "long", "short")
    withdraws: bool = True  # takes out all margin above the initial margin


@dataclass
class ReplayConfig:
    """Recorded prices; markets without prices follow the first market with its beta."""

    reader: str = choice("prices", "prices", "october_2025")
    start: Optional[str] = None  # noqa: UP045  ISO time of the first price; the file's first by default
    bridge_volatility_pct: float = number(0.25, least=0, most=20)  # of a minute, between knots
    bridge_above_s: float = number(30.0, least=0, most=86400)


@dataclass
class DepthConfig:
    """How the order book thins out."""

    own_sensitivity: float = number(25.0, least=0, most=1000)
    other_sensitivity: float = number(17.0, least=0, most=1000)
    memory_min: float = number(30.0, above=0, most=1e5)
    recovery_min: float = number(30.0, above=0, most=1e5)
    floor_pct: float = number(2.0, above=0, most=100)
    dispersion: float = number(0.3, least=0, most=3)


@dataclass
class OrderBookConfig:
    """How prices answer to forced flow, and who takes it."""

    exponent: float = number(0.67, above=0, most=2)
    distance: str = choice("log", "log", "linear")
    distance_max_pct: float = number(50.0, above=0, most=1000)
    resilience_s: Optional[float] = number(60.0, above=0, most=1e6)  # noqa: UP045  null: at once
    permanent_pct: float = number(0.0, least=0, most=1000)
    fill_cap_pct: Optional[float] = number(None, above=0, most=1e6)  # noqa: UP045  of depth
    profit_taking_pct: float = number(30.0, least=0, most=100)


@dataclass
class ScenarioConfig:
    """The law of prices and depth."""

    law: str = choice("crash", "crash", "ladder", "concentration", "replay")
    path: Optional[str] = None  # noqa: UP045
    crash: CrashConfig = group(CrashConfig)
    ladder: LadderConfig = group(LadderConfig)
    concentration: ConcentrationConfig = group(ConcentrationConfig)
    replay: ReplayConfig = group(ReplayConfig)
    markets: dict[str, MarketLawConfig] = field(default_factory=dict)
    other_markets: MarketLawConfig = group(MarketLawConfig)
    depth: DepthConfig = group(DepthConfig)
    order_book: OrderBookConfig = group(OrderBookConfig)
    evidence: list[EvidenceConfig] = field(default_factory=list)


# Run


@dataclass
class PhaseConfig:
    """A stretch of the time grid."""

    duration_min: float = number(20.0, above=0, most=480)
    dt_s: float = number(5.0, above=0, most=3600)


@dataclass
class SimulationConfig:
    """How much, how exactly, and with which random numbers."""

    paths: int = number(4096, least=1, most=PATHS_MAX)
    seed: int = number(0, least=0, most=2**32 - 1)
    precision: str = choice("float64", "float64", "float32")
    fidelity: str = choice("full", "full")
    estimator: str = choice("plain", "plain")
    grid: list[PhaseConfig] = field(default_factory=list)
    batch: Optional[int] = number(None, least=1, most=1_000_000)  # noqa: UP045
    device: str = choice("auto", "auto", "cpu", "gpu")
    confidence: float = number(0.95, above=0.5, below=1)
    fund_paths: int = number(512, least=1, most=PATHS_MAX)  # run at the venue's fund, too
    level_paths: int = number(128, least=0, most=PATHS_MAX)  # run at six levels of F, too
    refine_paths: int = number(128, least=0, most=PATHS_MAX)  # run at dt/2, too
    shadow_paths: int = number(16, least=0, most=4096)  # re-run by the reference engine


@dataclass
class TargetConfig:
    """What the fund should achieve."""

    adl_probability: float = number(0.01, above=0, below=1)
    depletion_probability: float = number(0.01, above=0, below=1)


@dataclass
class DataConfig:
    root: Optional[str] = None  # noqa: UP045


@dataclass
class Config:
    """One run."""

    task: str = choice("run", "run", "replay")
    name: str = "run"
    runs: str = "runs"
    venue: VenueConfig = group(VenueConfig)
    book: BookConfig = group(BookConfig)
    scenario: ScenarioConfig = group(ScenarioConfig)
    simulation: SimulationConfig = group(SimulationConfig)
    target: TargetConfig = group(TargetConfig)
    data: DataConfig = group(DataConfig)


def check(config: Any, path: str = "") -> None:
    """Every number within its bounds, every name known; raises `InputError` at the first that is not."""
    for entry in dataclasses.fields(config):
        value, where = getattr(config, entry.name), f"{path}{entry.name}"
        _check_value(value, entry.metadata, where)


def _check_value(value: Any, rules: Any, where: str) -> None:
    if dataclasses.is_dataclass(value):
        check(value, f"{where}.")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_value(item, rules, f"{where}.{key}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _check_value(item, rules, f"{where}[{place}]")
    elif isinstance(value, str) and "names" in rules:
        choose(where, rules["names"], value)
    elif isinstance(value, float | int) and not isinstance(value, bool):
        _check_number(value, rules, where)


def _check_number(value: float, rules: Any, where: str) -> None:
    if value != value or value in (float("inf"), float("-inf")):
        raise InputError(where, "must be finite," + bounds(rules), value)
    too_low = ("least" in rules and value < rules["least"]) or (
        "above" in rules and value <= rules["above"]
    )
    too_high = ("most" in rules and value > rules["most"]) or (
        "below" in rules and value >= rules["below"]
    )
    if too_low or too_high:
        kind = "an integer" if isinstance(value, int) else "a number"
        raise InputError(where, f"must be {kind}{bounds(rules)}", value)


def bounds(rules: Any) -> str:
    """The bounds in words: ` >= 1 and <= 10000000`."""
    signs = {"least": ">=", "above": ">", "most": "<=", "below": "<"}
    each = [f"{signs[name]} {rules[name]:.15g}" for name in signs if name in rules]
    limit = " (the limit)" if "most" in rules and rules["most"] in (PATHS_MAX, STEPS_MAX) else ""
    return f" {' and '.join(each)}{limit}" if each else ""


def choose(where: str, known: Any, name: str) -> str:
    """`name` if it is known; otherwise an error that lists what is, nearest first."""
    if name in known:
        return name
    near = nearest(name, known)
    hint = f" (did you mean {near}?)" if near else ""
    raise InputError(where, f"must be one of {', '.join(known)}{hint}", name)


def nearest(name: str, known: Any) -> str | None:
    """The known name that is most like this one."""
    import difflib

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None
