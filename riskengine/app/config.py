"""The schema of `conf/`: every key with its type, its default, its meaning and what it may be.

Human units live here and names end with them; `build` converts once. A key that a file in `conf/`
leaves out has the default given here. docs/config.md is made from this.
"""

from dataclasses import dataclass
from typing import Any

from riskengine.app.config_scenario import CrashConfig, MarketLawConfig, ScenarioConfig, SeenConfig
from riskengine.app.config_venue import MONEY_MAX, PoolConfig, VenueConfig
from riskengine.app.fields import choice, group, listed, number, plain, table

PATHS_MAX = 10_000_000
STEPS_MAX = 100_000


@dataclass
class BookConfig:
    """The open positions: drawn from a law, or read from a file (`path` replaces the law)."""

    path: str | None = plain(None, "file or folder of positions; null: books are drawn")
    reader: str = choice(
        "positions",
        "what book.path is",
        positions="a file of positions (docs/files.md)",
        hyperliquid_snapshot="the folder of the Hyperliquid snapshot of 2026-02-22",
    )
    markets: list[str] = listed("markets of the drawn books")
    market_share_pct: dict[str, float] = table(
        "a market's part of open interest; scaled to 100", least=0, most=1e6
    )
    accounts: int = number(2000, "traders in a drawn book", least=2, most=1_000_000)
    books: int = number(32, "drawn books; path i meets book i modulo books", least=1, most=4096)
    makers: int = number(8, "accounts that balance the markets", least=0, most=100)
    maker_leverage: float = number(2.0, "leverage of makers at the start", above=0, most=50)
    long_share_pct: float = number(
        42.0, "part of traders' notional that is long", above=0, below=100
    )
    long_leverage: float = number(2.0, "leverage of longs relative to shorts", least=0.1, most=20)
    leverage: float = number(
        1.0, "leverage of traders at the start relative to that of the law", least=0.1, most=10
    )
    leverage_cap: float | None = number(
        None, "highest leverage at the start; null: the venue's", least=1, most=200
    )
    open_interest_usd: float | None = number(
        None, "one side of all markets; null: what the accounts add up to", above=0, most=MONEY_MAX
    )
    rest_leverage: float = number(
        2.0, "leverage of the missing side of a partial book", above=0, most=50
    )
    rest_in_adl: bool = plain(False, "the missing side can be deleveraged")
    complete: bool = plain(False, "nobody's positions are missing in the file")
    allow_underwater: bool = plain(False, "accounts of a file may start with negative collateral")
    ranges: dict[str, Any] = table(
        "lowest and highest plausible value of a key, for task=assumptions"
    )


@dataclass
class PhaseConfig:
    """A stretch of the time grid."""

    duration_min: float = number(20.0, "length of the phase", above=0, most=480)
    dt_s: float = number(5.0, "time step in the phase", above=0, most=3600)


@dataclass
class SimulationConfig:
    """How much, how exactly, and with which random numbers."""

    paths: int = number(4096, "crashes that are simulated", least=1, most=PATHS_MAX, limit=True)
    seed: int = number(0, "seed of all random numbers", least=0, most=2**32 - 1)
    precision: str = choice(
        "float64",
        "precision of positions and cash; sums of money are always float64",
        float64="exact to 1e-12 of gross",
        float32="faster, exact to 1e-6",
    )
    fidelity: str = choice(
        "full",
        "which accounts are simulated (docs/model.md 9.1)",
        full="every account on every path",
        grouped="super-accounts on every path, every account on some",
        auto="grouped where that is expected to save two thirds of the work, else full; says why",
    )
    super_accounts: int = number(
        1024, "accounts of a grouped book, about", least=100, most=1_000_000
    )
    estimator: str = choice(
        "plain",
        "how events are sampled that are rare (docs/model.md 9.2)",
        plain="by the run's own paths, each with the same weight",
        importance="by surveying many crashes and running those that matter, too",
        auto="so where the run's paths do not know the target well enough; says why",
    )
    relative_error: float = number(
        0.1,
        "standard error of a rare probability, as a share of it, at which importance sampling stops",
        least=0.01,
        below=1,
    )
    rare_paths: int = number(
        3072, "paths that importance sampling runs at most", least=300, most=PATHS_MAX
    )
    grid: list[PhaseConfig] = listed("phases of the time grid, one after the other")
    batch: int | None = number(
        None,
        "paths per device and call; null: 16 on a CPU, 1024 on a GPU, fewer for large books",
        least=1,
        most=1_000_000,
    )
    device: str = choice(
        "auto",
        "where paths run",
        auto="on a GPU if there is one",
        cpu="on all cores",
        gpu="on a GPU, or not at all",
    )
    confidence: float = number(0.95, "confidence of intervals", above=0.5, below=1)
    fund_paths: int = number(
        512, "paths that also run at the venue's fund", least=1, most=PATHS_MAX
    )
    level_paths: int = number(
        64, "paths that also run at levels of the fund", least=0, most=PATHS_MAX
    )
    refine_paths: int = number(
        128, "paths that also run at half the time step", least=0, most=PATHS_MAX
    )
    largest_paths: int = number(
        128, "paths that also run with the ten largest accounts safe", least=0, most=PATHS_MAX
    )
    replay_paths: int = number(
        128, "paths that are followed step by step for the report", least=0, most=PATHS_MAX
    )
    shadow_paths: int = number(16, "paths that the reference engine repeats", least=0, most=4096)


@dataclass
class TargetConfig:
    """What the fund should achieve."""

    adl_probability: float = number(
        0.01, "highest probability of an intervention in a crash", above=0, below=1
    )
    depletion_probability: float = number(
        0.01, "highest probability of a dry fund in a crash", above=0, below=1
    )
    haircut_pct: float | None = number(
        None,
        "task=calibrate: highest expected haircut of deleveraged winners, of equity",
        above=0,
        below=100,
    )
    loss_pct: float | None = number(
        None,
        "task=calibrate: highest mean need beyond the fund per crash, of open interest",
        above=0,
        below=100,
    )


@dataclass
class WeightsConfig:
    """What a design costs: with these a single optimum is searched, without them none is named."""

    capital: float | None = number(
        None, "per crash, of a dollar of first-loss or vault capital", least=0, most=1
    )
    open_interest: float | None = number(
        None, "per crash, of a dollar of open interest given up", least=0, most=1
    )
    equity: float | None = number(
        None, "per crash, of a dollar that traders post more", least=0, most=1
    )
    loss: float | None = number(
        None,
        "of a dollar that a crash needs beyond the fund: ADL, social losses",
        least=0,
        most=1e6,
    )


@dataclass
class SearchConfig:
    """The search for a single optimum: only with weights."""

    free: list[str] = listed(
        "levers that are searched",
        {
            "caps": "leverage caps of groups of tiers",
            "maintenance": "maintenance margin of all tiers",
            "vault": "capital of vaults and owners outside the first-loss capital",
            "fee": "liquidation fee",
            "fee_to_pool": "part of fees that pools receive",
        },
    )
    groups: int = number(3, "groups of tiers whose caps move together", least=1, most=100)
    caps_least: float = number(0.25, "factor on caps", above=0, most=10)
    caps_most: float = number(1.0, "factor on caps", above=0, most=10)
    maintenance_least: float = number(1.0, "factor on maintenance margin", above=0, most=10)
    maintenance_most: float = number(2.0, "factor on maintenance margin", above=0, most=10)
    vault_least: float = number(0.5, "factor on capital outside F", above=0, most=1000)
    vault_most: float = number(4.0, "factor on capital outside F", above=0, most=1000)
    fee_least_pct: float = number(0.0, "liquidation fee, of notional", least=0, most=100)
    fee_most_pct: float = number(2.0, "liquidation fee, of notional", least=0, most=100)
    fee_to_pool_least_pct: float = number(0.0, "part of fees that pools receive", least=0, most=100)
    fee_to_pool_most_pct: float = number(
        100.0, "part of fees that pools receive", least=0, most=100
    )
    paths: int = number(256, "crashes of one evaluation", least=8, most=PATHS_MAX)
    budget: int = number(40, "evaluations of each of the two searches", least=8, most=100_000)
    starts: int = number(2, "starts that share the budget of the gradient search", least=1, most=64)


@dataclass
class DesignConfig:
    """What the venue may change, for task=calibrate and task=sensitivity (docs/calibration.md)."""

    response: float | None = number(
        None,
        "how far accounts' leverage follows a cap: 0 only where it forces them, 1 in proportion; "
        "null: 0, 1/2 and 1 are shown",
        least=0,
        most=1,
    )
    paths: int = number(
        512,
        "crashes that each design beside today's meets: at most all of the run",
        least=8,
        most=PATHS_MAX,
    )
    rare_paths: int = number(
        2048,
        "weighted crashes, for what happens once in 1,000 or more seldom, and of looks for rare targets; "
        "0: none", least=0, most=PATHS_MAX,
    )  # fmt: skip
    looks: int = number(
        3, "verifications on fresh books and crashes, at (1 - confidence) / 2^k", least=1, most=20
    )
    verify_paths: int | None = number(
        None,
        "crashes of a look, none of them weighted; null: what the target takes",
        least=8,
        most=PATHS_MAX,
    )
    verify_books: int | None = number(
        None,
        "synthetic books of a look; null: one for every 8 crashes, from book.books to 512",
        least=8,
        most=100_000,
    )
    fund_most_pct: float | None = number(
        None, "highest first-loss capital, of open interest; null: any", above=0, most=1e6
    )
    policies: list[str] = listed(
        "ADL policies that are put beside the venue's",
        {
            "queue": "the highest score first",
            "pro_rata": "everyone in proportion to size",
            "top": "the venue.adl.top highest scores of a side in proportion to size",
        },
        default=("queue", "pro_rata"),
    )
    weights: WeightsConfig = group(WeightsConfig)
    search: SearchConfig = group(SearchConfig)


@dataclass
class AssumptionsConfig:
    """How an answer is followed over what nobody knows, for task=assumptions."""

    points: int = number(64, "sets of assumptions, a power of two", least=16, most=4096)
    paths: int = number(512, "crashes of each set", least=32, most=PATHS_MAX)
    books: int = number(8, "drawn books of each set, of the run's", least=1, most=4096)


@dataclass
class DataConfig:
    """Where recorded data lie."""

    root: str | None = plain(None, "folder of the data sets that some experiments read")


@dataclass
class Config:
    """One run."""

    task: str = choice(
        "run",
        "what is done",
        run="simulate and estimate",
        replay="the same for recorded prices",
        sensitivity="what a step of every lever changes (docs/sensitivity.md)",
        assumptions="the answer's band over what nobody knows (docs/assumptions.md)",
        calibrate="capital, leverage caps and margins that meet the target (docs/calibration.md)",
        doctor="check this machine, its packages and its arithmetic",
        conformance="evaluate venues' worked examples (docs/conformance.md)",
    )
    vectors: str | None = plain(None, "file of worked examples, for task=conformance")
    name: str = plain("run", "folder of the run within runs")
    runs: str = plain("runs", "folder of all runs")
    ranges: bool = plain(
        False, "run the other plausible values of what the venue's preset assumes, too"
    )
    venue: VenueConfig = group(VenueConfig)
    book: BookConfig = group(BookConfig)
    scenario: ScenarioConfig = group(ScenarioConfig)
    simulation: SimulationConfig = group(SimulationConfig)
    target: TargetConfig = group(TargetConfig)
    assumptions: AssumptionsConfig = group(AssumptionsConfig)
    design: DesignConfig = group(DesignConfig)
    data: DataConfig = group(DataConfig)


__all__ = [
    "MONEY_MAX",
    "PATHS_MAX",
    "STEPS_MAX",
    "BookConfig",
    "Config",
    "CrashConfig",
    "DesignConfig",
    "MarketLawConfig",
    "PoolConfig",
    "ScenarioConfig",
    "SearchConfig",
    "SeenConfig",
    "SimulationConfig",
    "TargetConfig",
    "VenueConfig",
    "WeightsConfig",
]
