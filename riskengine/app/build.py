"""Configuration → specs: units are converted and names looked up here, once."""

import dataclasses
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from riskengine.app import books, scenarios, validate
from riskengine.app.books import OpenBook
from riskengine.app.config import Config, VenueConfig
from riskengine.montecarlo import keys
from riskengine.montecarlo.simulate import Simulation, grid
from riskengine.specs.book import Book, open_interest
from riskengine.specs.scenario import Scenario
from riskengine.specs.venue import Deleveraging, Liquidation, Margin, Pools, Takeover, Venue
from riskengine.types import use_double
from riskengine.waterfall import formulas

PCT = 0.01
MINUTE = 60.0


@dataclass(frozen=True)
class Question:
    """All that a run needs: what `simulate` takes, and the names that go with it."""

    key: jax.Array
    books: Book
    account_rows: list[np.ndarray]  # per book and account slot: row in its holdings; −1 if empty
    venue: Venue
    scenario: Scenario
    simulation: Simulation
    opened: OpenBook
    open_interest: float  # USD, one side, mean over books
    prices: scenarios.PriceSource | None

    @property
    def account_names(self) -> list[np.ndarray]:
        """Per book and account slot; empty where the slot is."""
        return [
            np.asarray([names[row] if row >= 0 else "" for row in rows], object)
            for names, rows in zip(self.opened.names, self.account_rows, strict=True)
        ]

    @property
    def markets(self) -> tuple[str, ...]:
        return self.opened.markets

    @property
    def inputs(self) -> dict[str, str]:
        """SHA-256 of every file that was read."""
        read = dict(self.opened.inputs)
        return read | (self.prices.inputs if self.prices else {})


def build(config: Config) -> Question:
    """The specs of a run. Raises `InputError` where the input is wrong."""
    validate.check(config)
    use_double()
    key = keys.root(config.simulation.seed)
    seconds = grid([(p.duration_min * MINUTE, p.dt_s) for p in config.simulation.grid])
    opened = books.opening(config, key)
    prices = scenarios.prices(config, opened.markets, seconds)
    scenario, opened = scenarios.build(config, opened, prices, seconds)
    packed, rows = books.packed(opened, config)
    interest = float(
        np.mean([open_interest(h, len(opened.markets)).sum() for h in opened.holdings])
    )
    return Question(
        key=key,
        books=packed,
        account_rows=rows,
        venue=build_venue(config.venue, opened.markets, interest),
        scenario=scenario,
        simulation=Simulation.of(
            seconds, jnp.asarray([keys.market_id(m) for m in opened.markets], jnp.uint32)
        ),
        opened=opened,
        open_interest=interest,
        prices=prices,
    )


def number(x: float | None, otherwise: float = math.inf) -> jax.Array:
    return jnp.asarray(otherwise if x is None else x, float)


def percent(x: float | None, otherwise: float = math.inf) -> jax.Array:
    return number(None if x is None else PCT * x, otherwise)


def build_venue(config: VenueConfig, markets: tuple[str, ...], open_interest: float) -> Venue:
    """A venue for a book with these markets and this open interest in USD."""
    fund = config.fund_usd if config.fund_usd is not None else PCT * config.fund_pct * open_interest
    liquidation, adl = config.liquidation, config.adl
    return Venue(
        capital=number(fund),
        mark_window=number(config.mark.window_s),
        margin=margin_tables(config, markets),
        liquidation=Liquidation(
            below=percent(liquidation.below_pct),
            above=percent(liquidation.above_pct, -math.inf),
            fraction=percent(liquidation.fraction_pct),
            fraction_above=number(liquidation.fraction_above_usd),
            cooldown=number(liquidation.cooldown_s),
            buffer=percent(liquidation.buffer_pct),
            dust=number(liquidation.dust_usd),
            fee=percent(liquidation.liquidation_fee_pct),
            fee_to_pool=percent(liquidation.fee_to_pool_pct),
            sizing=liquidation.sizing,
            limit=liquidation.limit,
            bankrupt_orders=liquidation.bankrupt_orders,
            fee_cap=liquidation.fee_cap,
        ),
        takeover=Takeover(
            below=percent(config.takeover.below_pct),
            above=percent(config.takeover.above_pct, -math.inf),
        ),
        pools=_pools(config, markets, open_interest),
        adl=Deleveraging(
            below=percent(adl.below_pct),
            price=adl.price,
            pool_price=adl.pool_price,
            policy=adl.policy,
            allocation=adl.allocation,
            ranking=adl.ranking,
            winners_only=adl.winners_only,
            pools_in_queue=adl.pools_in_queue,
            unmatched=adl.unmatched,
        ),
        stages=tuple(config.stages),
        mark_rule=config.mark.rule,
        social=config.social,
    )


def _pools(config: VenueConfig, markets: tuple[str, ...], open_interest: float) -> Pools:
    names = tuple(config.pools)
    pools = tuple(config.pools.values())
    others = validate.catch_all(config.pools)
    named = {market: name for name, pool in config.pools.items() for market in pool.markets}
    of_market = [names.index(named.get(m, others or names[0])) for m in markets]
    return Pools(
        of_market=jnp.asarray(of_market, jnp.int32),
        share=jnp.asarray([PCT * p.share_pct for p in pools]),
        fixed=jnp.asarray([PCT * p.fixed_pct * open_interest for p in pools]),
        inventory_cap=jnp.stack([percent(p.inventory_cap_pct) for p in pools]),
        margin_multiple=jnp.asarray([p.margin_multiple for p in pools], float),
        unwind_rate=jnp.asarray([PCT * p.unwind_pct for p in pools]),
        owner=tuple(names.index(p.owner) if p.owner else -1 for p in pools),
        names=names,
        triggers=tuple(config.triggers),
    )


def margin_tables(config: VenueConfig, markets: tuple[str, ...]) -> Margin:
    """Tables of all markets side by side; short ones are filled up with their last tier."""
    margin = config.margin
    tables = [margin.tables[margin.markets.get(m, margin.default)] for m in markets]
    tiers = max(len(rows) for rows in tables)
    columns = [_column(rows, tiers) for rows in tables]
    floor, ratio, deduction, initial = (
        np.stack(part, axis=1) for part in zip(*columns, strict=True)
    )
    return Margin(
        floor=jnp.asarray(floor),
        ratio=jnp.asarray(ratio),
        deduction=jnp.asarray(deduction),
        initial=jnp.asarray(initial),
        kind=margin.kind,
        at=margin.at,
    )


def _column(rows: list[list[int | float]], tiers: int) -> tuple[np.ndarray, ...]:
    """Floor, maintenance ratio, deduction and initial ratio of one table.

    The deduction makes marginal brackets continuous: d_j = d_{j−1} + floor_j (r_j − r_{j−1}).
    """
    floor, leverage, maintenance = (np.asarray(c, float) for c in zip(*rows, strict=True))
    ratio = PCT * maintenance
    deduction = np.zeros_like(ratio)
    for j in range(1, len(rows)):
        deduction[j] = formulas.next_deduction(floor[j], ratio[j], ratio[j - 1], deduction[j - 1])
    more = tiers - len(rows)
    return (
        np.pad(floor, (0, more), constant_values=np.inf),
        np.pad(ratio, (0, more), mode="edge"),
        np.pad(deduction, (0, more), mode="edge"),
        np.pad(1.0 / leverage, (0, more), mode="edge"),
    )


def with_fund(question: Question, fund: float) -> Question:
    """The same question for another fund, USD; infinity shows what every path needs."""
    return dataclasses.replace(
        question, venue=dataclasses.replace(question.venue, capital=number(fund))
    )
