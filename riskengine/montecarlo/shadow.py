"""The reference engine on what the fast engine ran: the same book, venue and prices."""

from types import SimpleNamespace

import numpy as np

from riskengine.specs.book import Book
from riskengine.specs.scenario import OrderBook
from riskengine.specs.venue import Venue
from riskengine.waterfall.state import Quote


def positions_of(book: Book) -> np.ndarray:
    """Slots that hold a position or may come to hold one; the others are padding."""
    return np.sort(np.asarray(book.by_market)[np.asarray(book.occupied)])


def plain_book(book: Book) -> SimpleNamespace:
    """A book as lists of Python numbers."""
    kept = positions_of(book)
    return SimpleNamespace(
        size=np.asarray(book.size, float)[kept].tolist(),
        entry=np.asarray(book.entry, float)[kept].tolist(),
        market=np.asarray(book.market)[kept].tolist(),
        account=_account_of(book)[kept].tolist(),
        cash=np.asarray(book.cash, float).tolist(),
        role=np.asarray(book.role).tolist(),
        members=_members(book),
        rest_in_adl=bool(book.rest_in_adl),
        markets=book.layout.number_of_markets,
    )


def _members(book: Book) -> list:
    """How many equal accounts stand behind each."""
    if book.members is None:
        return [1] * book.cash.shape[0]
    return np.asarray(book.members, float).tolist()


def _account_of(book: Book) -> np.ndarray:
    """Account of every slot."""
    blocks, first = [], 0
    for slots, accounts in book.layout.accounts:
        blocks.append(np.tile(first + np.arange(accounts), slots))
        first += accounts
    return np.concatenate(blocks)


def plain_venue(venue: Venue) -> SimpleNamespace:
    """A venue as the names of docs/model.md, with lists of Python numbers."""
    liquidation, pools, adl = venue.liquidation, venue.pools, venue.adl
    return SimpleNamespace(
        stages=venue.stages,
        mark_rule=venue.mark_rule,
        mark_window=float(venue.mark_window),
        margin_kind=venue.margin.kind,
        growth=venue.margin.growth,
        premium=np.asarray(venue.margin.premium).tolist(),
        premium_on=float(venue.margin.premium_on),
        margin_at=venue.margin.at,
        tier_floor=np.asarray(venue.margin.floor).T.tolist(),
        tier_ratio=np.asarray(venue.margin.ratio).T.tolist(),
        tier_deduction=np.asarray(venue.margin.deduction).T.tolist(),
        tier_initial=np.asarray(venue.margin.initial).T.tolist(),
        book_below=float(liquidation.below),
        book_above=float(liquidation.above),
        sizing=liquidation.sizing,
        fraction=float(liquidation.fraction),
        fraction_above=float(liquidation.fraction_above),
        cooldown_period=float(liquidation.cooldown),
        buffer=float(liquidation.buffer),
        dust=float(liquidation.dust),
        limit=liquidation.limit,
        until=float(liquidation.until),
        remembers=liquidation.remembers,
        ramp=float(liquidation.ramp),
        ramp_start=float(liquidation.ramp_start),
        tiers_down=liquidation.tiers_down,
        multiple=float(liquidation.multiple),
        clip=float(liquidation.clip),
        clip_least=float(liquidation.clip_least),
        clip_most=float(liquidation.clip_most),
        slack=float(liquidation.slack),
        positions=liquidation.positions,
        execution=liquidation.execution,
        backing=liquidation.backing,
        liquidation_fee=float(liquidation.fee),
        fee_cap=liquidation.fee_cap,
        fee_to_pool=float(liquidation.fee_to_pool),
        takeover_below=float(venue.takeover.below),
        takeover_above=float(venue.takeover.above),
        takeover_gap=float(venue.takeover.gap) if venue.takeover.has_gap else None,
        takeover_sizing=venue.takeover.sizing,
        takeover_price=venue.takeover.price,
        discount=float(venue.takeover.discount),
        penalty=float(venue.takeover.penalty),
        adl_below=float(adl.below),
        spread=float(adl.spread),
        deviation=float(adl.deviation),
        mark_share=float(adl.mark_share),
        top=int(adl.top),
        profit_cap=float(adl.profit_cap),
        profit_left=float(adl.profit_left),
        overlap_only=adl.overlap_only,
        waits=adl.waits,
        bypass=adl.bypass,
        adl_price=adl.price,
        pool_adl_price=adl.pool_price,
        policy=adl.policy,
        allocation=adl.allocation,
        ranking=adl.ranking,
        winners_only=adl.winners_only,
        pools_in_queue=adl.pools_in_queue,
        unmatched=adl.unmatched,
        social=venue.social,
        social_share=float(venue.social_share),
        triggers=pools.triggers,
        capital=float(venue.capital),
        pool_of_market=np.asarray(pools.of_market).tolist(),
        capital_share=np.asarray(pools.share).tolist(),
        fixed_capital=np.asarray(pools.fixed).tolist(),
        inventory_cap=np.asarray(pools.inventory_cap).tolist(),
        rate_cap=np.asarray(pools.rate_cap).tolist(),
        margin_multiple=np.asarray(pools.margin_multiple).tolist(),
        drawdown=np.asarray(pools.drawdown).tolist(),
        release=np.asarray(pools.release).tolist(),
        owner_pays=np.asarray(pools.owner_pays).tolist(),
        unwind_rate=np.asarray(pools.unwind_rate).tolist(),
        owner=list(pools.owner),
    )


def plain_order_book(order_book: OrderBook) -> SimpleNamespace:
    """The order book's parameters as Python numbers."""
    names = (
        "exponent", "distance_max", "resilience", "permanent", "fill_cap", "profit_taking",
    )  # fmt: skip
    numbers = {name: float(getattr(order_book, name)) for name in names}
    return SimpleNamespace(distance=order_book.distance, **numbers)


def plain_quote(quotes: Quote, step: int) -> SimpleNamespace:
    """One step of a path's quotes."""
    return SimpleNamespace(
        index=np.asarray(quotes.index[step]).tolist(),
        depth=np.asarray(quotes.depth[step]).tolist(),
        dt=float(quotes.dt[step]),
    )
