"""Section 6: what is reported per path."""

from riskengine.reference import aftermath, pools, records
from riskengine.reference.records import INFINITE, every_pool

SUMS = (
    "liquidated_long",
    "liquidated_short",
    "takeover",
    "unwound",
    "fees",
    "bad_debt",
    "fund_draw",
    "social_loss",
    "deleveraged_long",
    "deleveraged_short",
    "unmatched",
    "adl_loss_mark",
    "adl_loss_index",
    "winner_bankrupted",
    "naked_delta",
)  # added up over stages
OTHERS = (
    "required_fund_cash",
    "required_fund",
    "capital_rule_fund",
    "adl_required_fund",
    "net_inflow",
    "vault_profit",
    "vault_worst",
    "drawdown",
    "adl_loss_5min",
    "adl_loss_60min",
    "adl_loss_horizon",
    "adl_equity",
    "adl_profit",
    "accounts_deleveraged",
    "accounts_liquidated",
    "unfunded",
    "street_pnl",
    "leftover",
    "ledger_residual",
)
ROUNDING = 1e-6  # s: what sums of time steps may be off
LATER = (("adl_loss_5min", 300), ("adl_loss_60min", 3600), ("adl_loss_horizon", INFINITE))


class Metrics(dict):
    """The names of section 6, and as attributes what must be remembered on the way to them."""

    def __init__(self, state, book):
        super().__init__(dict.fromkeys(SUMS + OTHERS, 0))
        self.update(depleted=False, intervened=False)
        self.update(depletion_time=INFINITE, intervention_time=INFINITE)
        self.time = 0
        self.peak = 0  # of the pools' realised inflow
        self.liquidated, self.deleveraged = set(), set()
        self.members = book.members
        self.closed = False  # accounts were deleveraged in this step
        self.pending = []  # (name, time due, sold, proceeds): ADL closings not yet valued
        self.cash, self.size = records.totals(state, book)
        self.gross = sum(abs(cash) for cash in book.cash)
        self.interest = [0] * book.markets
        for m, size in zip(book.market, book.size, strict=True):
            self.interest[m] += abs(size) / 2


def shared_pools(venue):
    """The pools whose capital is a share of F."""
    return [pool for pool, share in enumerate(venue.capital_share) if share > 0]


def rules_of(venue):
    """The rules that read capital: `loss` in every venue, the others if listed."""
    stages = {"profit_cap"} & set(venue.stages)
    return {"loss", *venue.triggers, *stages}


def raise_to(metrics, name, need, venue):
    """A running maximum over time and shared pools of need / share."""
    for pool in shared_pools(venue):
        metrics[name] = max(metrics[name], need[pool] / venue.capital_share[pool])


def note_pools(metrics, state, market, book, venue):
    """After the price move and after every stage: needs, worst equity, drawdown."""
    found = pools.needs(state, market, book, venue)
    raise_to(metrics, "required_fund_cash", found["cash"], venue)
    raise_to(metrics, "required_fund", found["exit"], venue)
    inflow = sum(pools.realised(k, state) for k in shared_pools(venue))
    paper = sum(pools.unrealised(k, state, market.mark) for k in shared_pools(venue))
    metrics.peak = max(metrics.peak, inflow)
    metrics["drawdown"] = max(metrics["drawdown"], metrics.peak - inflow)
    metrics["vault_worst"] = min(metrics["vault_worst"], inflow + paper)
    note_first_times(metrics, venue)


def note_first_times(metrics, venue):
    """adl_required_fund follows capital_rule_fund; first times of depletion and intervention."""
    metrics["adl_required_fund"] = max(metrics["adl_required_fund"], metrics["capital_rule_fund"])
    metrics["depleted"] = metrics["required_fund"] > venue.capital
    metrics["intervened"] = metrics["adl_required_fund"] > venue.capital
    for flag, name in (("depleted", "depletion_time"), ("intervened", "intervention_time")):
        if metrics[flag]:
            metrics[name] = min(metrics[name], metrics.time)


def note_flows(metrics, flows, venue):
    """After a stage: its amounts, the rule needs it met, the accounts it closed."""
    for name in SUMS:
        metrics[name] += getattr(flows, name)
    for rule in rules_of(venue):
        raise_to(metrics, "capital_rule_fund", getattr(flows, rule), venue)
    raise_to(metrics, "capital_rule_fund", flows.queue, venue)
    raise_to(metrics, "required_fund", flows.exit, venue)
    due = [
        loss if at_exit > -INFINITE else -INFINITE
        for loss, at_exit in zip(flows.loss, flows.exit, strict=True)
    ]
    raise_to(metrics, "required_fund_cash", due, venue)
    metrics.closed |= bool(flows.deleveraged)
    metrics.liquidated |= flows.liquidated
    for account, (equity, gains) in flows.deleveraged.items():
        if account not in metrics.deleveraged:
            metrics["adl_equity"] += equity
            metrics["adl_profit"] += gains
    metrics.deleveraged |= flows.deleveraged.keys()
    metrics["accounts_liquidated"] = sum(metrics.members[i] for i in metrics.liquidated)
    metrics["accounts_deleveraged"] = sum(metrics.members[i] for i in metrics.deleveraged)
    if any(flows.sold) or any(flows.proceeds):
        for name, delay in LATER:
            metrics.pending.append((name, metrics.time + delay, flows.sold, flows.proceeds))


def note_step(metrics, venue):
    """After a step in which accounts were deleveraged though every rule on capital was obeyed."""
    if metrics.closed and metrics["capital_rule_fund"] <= venue.capital:
        metrics["adl_required_fund"] = INFINITE
    metrics.closed = False
    note_first_times(metrics, venue)


def value_pending(metrics, mark, until):
    """Value earlier ADL closings at this step's mark, once their time has come."""
    waiting = []
    for name, due, sold, proceeds in metrics.pending:
        if due - ROUNDING <= until:
            metrics[name] += aftermath.adl_loss(sold, proceeds, mark)
        else:
            waiting.append((name, due, sold, proceeds))
    metrics.pending = waiting


def check_ledger(metrics, state, book):
    """Largest change of total cash over gross cash, and of total size over open interest."""
    cash, sizes = records.totals(state, book)
    residuals = [abs(cash - metrics.cash) / (metrics.gross or 1)]
    for size, first, interest in zip(sizes, metrics.size, metrics.interest, strict=True):
        residuals.append(abs(size - first) / (interest or 1))
    metrics["ledger_residual"] = max(metrics["ledger_residual"], *residuals)


def finish(metrics, state, market, book, venue):
    """The amounts that are read at the end of the path."""
    value_pending(metrics, market.mark, INFINITE)
    every = every_pool(venue)
    at_exit = [pools.unrealised(k, state, pools.exit_prices(k, state, market)) for k in every]
    metrics["net_inflow"] = sum(pools.realised(k, state) for k in shared_pools(venue))
    metrics["vault_profit"] = metrics["net_inflow"] + sum(at_exit[k] for k in shared_pools(venue))
    metrics["leftover"] = -sum(at_exit)
    metrics["street_pnl"] = state.street_cash + worth(state.street_size, market.mark)
    metrics["unfunded"] = -state.unfunded_cash - worth(state.unfunded_size, market.mark)
    for k in every:
        has = pools.balance_of(k, state, venue) + at_exit[k]
        metrics["unfunded"] += max(state.debt[k] - has, 0)


def worth(sizes, prices):
    """Sum of size (price - 1)."""
    return sum(size * (price - 1) for size, price in zip(sizes, prices, strict=True))
