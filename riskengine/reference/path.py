"""One path: prices move, then the venue's stages in the venue's order."""

from riskengine.reference import (
    adl,
    fund,
    liquidation,
    margin,
    pools,
    pricing,
    profit_cap,
    records,
    report,
    social,
    vault,
)
from riskengine.reference.report import Metrics

STAGES = {
    "book": liquidation.book_stage,
    "takeover": vault.takeover_stage,
    "unwind": vault.unwind_stage,
    "fund": fund.fund_stage,
    "adl": adl.adl_stage,
    "profit_cap": profit_cap.profit_cap_stage,
    "social": social.social_stage,
}


def step(state, quote, orderbook, book, venue, metrics):
    """One step: the price moves, the venue's stages in its order; returns the market."""
    market = pricing.advance(state, quote, orderbook, venue)
    metrics.time += quote.dt
    margin.watch(state, market, book, venue)
    pools.remember(state, market, venue)
    report.note_pools(metrics, state, market, book, venue)
    for name in venue.stages:
        flows = STAGES[name](state, market, book, venue)
        pools.remember(state, market, venue)
        report.note_flows(metrics, flows, venue)
        report.note_pools(metrics, state, market, book, venue)
    report.note_step(metrics, venue)
    report.value_pending(metrics, market.mark, metrics.time)
    report.check_ledger(metrics, state, book)
    return market


def run(book, venue, orderbook, quotes):
    """One path from the opening to the last quote: (metrics, state)."""
    state = records.opening(book, venue)
    metrics = Metrics(state, book)
    market = None
    for quote in quotes:
        market = step(state, quote, orderbook, book, venue, metrics)
    if market is not None:
        report.finish(metrics, state, market, book, venue)
    return metrics, state
