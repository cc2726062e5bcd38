"""Configuration → specs: units are converted and names looked up here, once."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from riskengine.app import books, scenarios, tiers, validate, validate_venue
from riskengine.app.books import OpenBook
from riskengine.app.config import Config, VenueConfig
from riskengine.app.config_venue import MarginConfig
from riskengine.montecarlo import keys
from riskengine.montecarlo.setting import Setting
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
    tiers: dict[str, str] = dataclasses.field(default_factory=dict)  # file → SHA-256

    @property
    def setting(self) -> Setting:
        """What of it paths run on."""
        return Setting(self.key, self.books, self.venue, self.scenario, self.simulation)

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
        read = dict(self.opened.inputs) | self.tiers
        return read | (self.prices.inputs if self.prices else {})


def build(config: Config, key: jax.Array | None = None) -> Question:
    """The specs of a run, with the random numbers of its seed or of another key.

    Raises `InputError` where the input is wrong.
    """
    validate.check(config)
    config, read = tiers.applied(config)
    use_double()
    key = keys.root(config.simulation.seed) if key is None else key
    seconds = grid([(p.duration_min * MINUTE, p.dt_s) for p in config.simulation.grid])
    opened = books.opening(config, key)
    prices = scenarios.prices(config, opened.markets, seconds)
    scenario, opened = scenarios.build(config, opened, prices, seconds)
    packed, rows = books.packed(opened, config)
    interest = np.mean([open_interest(h, len(opened.markets)) for h in opened.holdings], axis=0)
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
        open_interest=float(interest.sum()),
        prices=prices,
        tiers=read,
    )


def number(x: float | None, otherwise: float = math.inf) -> jax.Array:
    return jnp.asarray(otherwise if x is None else x, float)


def percent(x: float | None, otherwise: float = math.inf) -> jax.Array:
    return number(None if x is None else PCT * x, otherwise)


def build_venue(config: VenueConfig, markets: tuple[str, ...], interest: np.ndarray) -> Venue:
    """A venue for a book with these markets and this open interest of each in USD."""
    fund = config.fund_usd
    if fund is None:
        fund = PCT * config.fund_pct * float(interest.sum())
    liquidation, adl = config.liquidation, config.adl
    return Venue(
        capital=number(fund),
        mark_window=number(config.mark.window_s),
        margin=margin_tables(config, markets),
        liquidation=Liquidation(
            below=percent(liquidation.below_pct),
            above=percent(liquidation.above_pct, -math.inf),
            until=percent(liquidation.until_pct, 0.0),
            fraction=percent(liquidation.fraction_pct),
            fraction_above=number(liquidation.fraction_above_usd),
            cooldown=number(liquidation.cooldown_s),
            buffer=percent(liquidation.buffer_pct),
            multiple=percent(liquidation.multiple_pct),
            clip=number(liquidation.clip_s),
            clip_least=number(liquidation.clip_min_usd),
            clip_most=number(liquidation.clip_max_usd),
            ramp=number(liquidation.ramp_s),
            ramp_start=percent(liquidation.ramp_start_pct),
            dust=number(liquidation.dust_usd),
            slack=percent(liquidation.limit_pct),
            fee=percent(liquidation.liquidation_fee_pct),
            fee_to_pool=percent(liquidation.fee_to_pool_pct),
            sizing=liquidation.sizing,
            tiers_down=liquidation.tiers_down,
            limit=liquidation.limit,
            positions=liquidation.positions,
            execution=liquidation.execution,
            backing=liquidation.backing,
            fee_cap=liquidation.fee_cap,
            remembers=liquidation.until_pct is not None or liquidation.ramp_s > 0,
            cools=liquidation.cooldown_s > 0,
        ),
        takeover=Takeover(
            below=percent(config.takeover.below_pct),
            above=percent(config.takeover.above_pct, -math.inf),
            gap=percent(config.takeover.gap_pct),
            discount=percent(config.takeover.discount_pct),
            penalty=percent(config.takeover.penalty_pct),
            sizing=config.takeover.sizing,
            price=config.takeover.price,
            has_gap=config.takeover.gap_pct is not None,
        ),
        pools=_pools(config, markets, interest),
        adl=Deleveraging(
            below=percent(adl.below_pct),
            spread=percent(adl.spread_pct),
            deviation=percent(adl.deviation_pct),
            mark_share=percent(adl.mark_share_pct),
            top=number(float(adl.top)),
            profit_cap=percent(adl.profit_cap_pct),
            profit_left=percent(
                adl.profit_cap_pct if adl.profit_left_pct is None else adl.profit_left_pct
            ),
            price=adl.price,
            pool_price=adl.pool_price,
            policy=adl.policy,
            allocation=adl.allocation,
            ranking=adl.ranking,
            winners_only=adl.winners_only,
            pools_in_queue=adl.pools_in_queue,
            overlap_only=adl.overlap_only,
            waits=adl.waits,
            bypass=adl.bypass,
            blends=adl.mark_share_pct > 0,
            unmatched=adl.unmatched,
        ),
        social_share=percent(config.withdrawn_pct),
        stages=tuple(config.stages),
        mark_rule=config.mark.rule,
        social=config.social,
    )


def _pools(config: VenueConfig, markets: tuple[str, ...], interest: np.ndarray) -> Pools:
    """Pools as the venue has them; one that stands for each market becomes one for each."""
    weight = dict(zip(markets, interest / interest.sum(), strict=True))
    kinds, names, serves, parts = zip(*_each(config, markets, weight), strict=True)
    pools = [config.pools[kind] for kind in kinds]
    number_of = {market: n for n, served in enumerate(serves) for market in served}
    total = float(interest.sum())

    def leaf(values) -> jax.Array:
        return jnp.stack([jnp.asarray(x, float) for x in values])

    return Pools(
        of_market=jnp.asarray([number_of[m] for m in markets], jnp.int32),
        share=leaf(PCT * p.share_pct * part for p, part in zip(pools, parts, strict=True)),
        fixed=leaf(PCT * p.fixed_pct * total * part for p, part in zip(pools, parts, strict=True)),
        inventory_cap=leaf(percent(p.inventory_cap_pct) for p in pools),
        rate_cap=leaf(percent(p.rate_pct) for p in pools),
        margin_multiple=leaf(p.margin_multiple for p in pools),
        drawdown=leaf(percent(p.drawdown_pct) for p in pools),
        release=leaf(
            percent(p.drawdown_pct if p.release_pct is None else p.release_pct) for p in pools
        ),
        unwind_rate=leaf(PCT * p.unwind_pct for p in pools),
        owner_pays=leaf(total * percent(p.owner_pays_pct) for p in pools),
        owner=tuple(kinds.index(p.owner) if p.owner else -1 for p in pools),
        names=names,
        triggers=tuple(config.triggers),
    )


def _each(
    config: VenueConfig, markets: tuple[str, ...], weight: dict[str, float]
) -> Iterator[tuple[str, str, list[str], float]]:
    """Of every pool its kind, its name, the markets it serves, and its part of the kind's capital.

    Where a kind has a pool for each market, these share its capital by open interest.
    """
    others = validate_venue.catch_all(config.pools) or next(iter(config.pools))
    named = {market: kind for kind, pool in config.pools.items() for market in pool.markets}
    for kind, pool in config.pools.items():
        served = [m for m in markets if named.get(m, others) == kind]
        if pool.per_market:
            whole = sum(weight[m] for m in served)
            yield from ((kind, f"{kind} {m}", [m], weight[m] / whole) for m in served)
        else:
            yield kind, kind, served, 1.0


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
        premium=jnp.asarray([PCT * _premium(margin, m) for m in markets], float),
        premium_on=percent(margin.premium_on_pct),
        growth=margin.growth,
        kind=margin.kind,
        at=margin.at,
    )


def _premium(margin: MarginConfig, market: str) -> float:
    return margin.premium_pct.get(market, margin.premium_pct.get("default", 0.0))


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
