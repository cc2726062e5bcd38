"""The rulebook of docs/model.md in plain Python: a second opinion on the fast engine.

Written from sections 1 to 6 of docs/model.md alone, with loops and the standard library only, and
in their order: records, prices, margin, pools, stages, what is reported. Where the page leaves a
choice open, the docstring names the choice made here.

Conventions. Everything that happens within one stage is simultaneous: every decision and every
price is taken from the state that the stage finds. `side` SELL is a forced sell (bids take it), BUY
a forced buy (asks take it). `sign` is +1 for a long and -1 for a short. An account has at most one
position per market. Rational rules use operators only, so they also run on fractions.Fraction.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import groupby

INFINITE = math.inf
TRADER, MAKER, REST = 0, 1, 2
SELL, BUY = 0, 1
LOWEST_SCORE = 1e-8
ROUNDING = 1e-10  # of the maintenance margin closed: less than this is no debt but rounding


# -------------------------------------------------------------------------------------------------
# 1. Records
# -------------------------------------------------------------------------------------------------


@dataclass
class State:
    """Who holds what (section 1), the order book's memory (2) and what the rules remember (3)."""

    size: list
    entry: list  # of the book; a maker's follows its trades (section 4.2)
    cash: list
    pool_size: list  # [pool][market]
    pool_cash: list
    pool_basis: list  # [pool][market]
    street_size: list
    debt: list  # owed, positive; as a holder it has the cash -debt
    unfunded_size: list
    cooldown: list
    entered: list
    eaten: list  # [side][market]
    shift: list
    basis: list
    mark_before: list
    street_cash: float = 0
    fees: float = 0
    unfunded_cash: float = 0


@dataclass
class Market:
    """What one step's stages see of the market."""

    index: list
    depth: list
    dt: float
    mark: list
    previous_mark: list
    orderbook: object


@dataclass
class Flows:
    """The amounts of section 6 that one stage produced, and the rule needs it met per pool."""

    loss: list  # needs of the rules; -inf where the stage did not test the rule for the pool
    inventory: list
    margin: list
    queue: list  # +inf where the pool stood in the ADL queue
    exit: list  # need exit while a loss on bankrupt fills was due
    sold: list  # per market: what ADL counterparties closed, signed ...
    proceeds: list  # ... and what they received for it
    liquidated: set = field(default_factory=set)  # accounts
    deleveraged: dict = field(default_factory=dict)  # account: (equity, profit) just before
    liquidated_long: float = 0
    liquidated_short: float = 0
    takeover: float = 0
    unwound: float = 0
    fees: float = 0
    bad_debt: float = 0
    fund_draw: float = 0
    social_loss: float = 0
    deleveraged_long: float = 0
    deleveraged_short: float = 0
    unmatched: float = 0
    adl_loss_mark: float = 0
    adl_loss_index: float = 0
    winner_bankrupted: int = 0
    naked_delta: float = 0


def no_flows(venue):
    """Flows of a stage that does nothing."""
    pools, markets = len(venue.capital_share), len(venue.pool_of_market)
    untested = [[-INFINITE] * pools for _ in range(5)]
    return Flows(*untested, sold=[0] * markets, proceeds=[0] * markets)


def opening(book, venue):
    """The state before the first step: the book as given, everybody else empty, marks at 1."""
    pools, markets, accounts = len(venue.capital_share), book.markets, len(book.cash)
    return State(
        size=list(book.size),
        entry=list(book.entry),
        cash=list(book.cash),
        pool_size=[[0] * markets for _ in range(pools)],
        pool_cash=[0] * pools,
        pool_basis=[[0] * markets for _ in range(pools)],
        street_size=[0] * markets,
        debt=[0] * pools,
        unfunded_size=[0] * markets,
        cooldown=[0] * accounts,
        entered=[INFINITE] * accounts,
        eaten=[[0] * markets, [0] * markets],
        shift=[0] * markets,
        basis=[0] * markets,
        mark_before=[1] * markets,
    )


def sign_of(size):
    """+1 for a long, -1 for a short."""
    return 1 if size > 0 else -1


def clip(value, low, high):
    """value, but not below low nor above high."""
    return max(low, min(value, high))


def trade(state, book, position, quantity, price):
    """An account trades quantity (signed) at price: size + x, cash - x (p - 1).

    Entry at average cost: adding moves it to the size-weighted average, reducing leaves it,
    crossing zero sets it to the price (only makers ever add or cross).
    """
    held = state.size[position]
    after = held + quantity
    if quantity * after > 0:
        added = quantity if held * quantity >= 0 else after
        kept = after - added
        state.entry[position] = (kept * state.entry[position] + added * price) / after
    state.size[position] = after
    state.cash[book.account[position]] -= quantity * (price - 1)


def totals(state, book):
    """Cash and size per market over all holders: both are constants of every stage."""
    size = [
        street + nobody
        for street, nobody in zip(state.street_size, state.unfunded_size, strict=True)
    ]
    for m, held in zip(book.market, state.size, strict=True):
        size[m] += held
    for inventory in state.pool_size:
        size = [total + held for total, held in zip(size, inventory, strict=True)]
    cash = sum(state.cash) + sum(state.pool_cash) - sum(state.debt)
    return cash + state.street_cash + state.fees + state.unfunded_cash, size


# -------------------------------------------------------------------------------------------------
# 2. Prices
# -------------------------------------------------------------------------------------------------


def distance(eaten, depth, orderbook):
    """delta: the best price's distance, min(0.01 (eaten/D)^(1/a), distance_max); 0 if uneaten."""
    if eaten <= 0:
        return 0
    if depth <= 0:
        return orderbook.distance_max
    return min(0.01 * (eaten / depth) ** (1 / orderbook.exponent), orderbook.distance_max)


def depth_within(reach, depth, orderbook):
    """Quantity of the whole book nearer than the distance reach: D (100 reach)^a."""
    return depth * (100 * reach) ** orderbook.exponent


def distance_integral(eaten, depth, orderbook):
    """Integral of delta from 0 to eaten: a power law inside distance_max, constant beyond."""
    inside = min(eaten, depth_within(orderbook.distance_max, depth, orderbook))
    beyond = orderbook.distance_max * (eaten - inside)
    if inside <= 0:
        return beyond
    power = 1 + 1 / orderbook.exponent
    return 0.01 * depth / power * (inside / depth) ** power + beyond


def mean_distance(eaten, quantity, depth, orderbook):
    """Average distance that a flow pays which takes the book from eaten to eaten + quantity."""
    if quantity == 0:
        return distance(eaten, depth, orderbook)
    after = distance_integral(eaten + quantity, depth, orderbook)
    return (after - distance_integral(eaten, depth, orderbook)) / quantity


def displacement(state, m, depth, orderbook):
    """Log distance of mid from index: shift - (1 - permanent) (delta_bid - delta_ask)."""
    bid = distance(state.eaten[SELL][m], depth[SELL][m], orderbook)
    ask = distance(state.eaten[BUY][m], depth[BUY][m], orderbook)
    return state.shift[m] - (1 - orderbook.permanent) * (bid - ask)


def mid_price(state, market, m):
    """mid = index exp(displacement)."""
    return market.index[m] * math.exp(displacement(state, m, market.depth, market.orderbook))


def fill_price(state, market, m, side, quantity):
    """Average price of a forced flow: mid moved by the average distance beyond the best price."""
    eaten, depth, orderbook = state.eaten[side][m], market.depth[side][m], market.orderbook
    beyond = mean_distance(eaten, quantity, depth, orderbook) - distance(eaten, depth, orderbook)
    move = -beyond if side == SELL else beyond
    factor = 1 + move if orderbook.distance == "linear" else math.exp(move)
    return mid_price(state, market, m) * factor


def eat(state, market, m, side, quantity):
    """A flow leaves its trace: eaten + Q, and the permanent share of the move goes into shift."""
    depth, orderbook = market.depth[side][m], market.orderbook
    best_before = distance(state.eaten[side][m], depth, orderbook)
    state.eaten[side][m] += quantity
    moved = distance(state.eaten[side][m], depth, orderbook) - best_before
    state.shift[m] += orderbook.permanent * (-moved if side == SELL else moved)


def advance(state, quote, orderbook, venue):
    """A step begins: the book refills, basis follows mid, the venue marks; returns the market."""
    left = 0 if orderbook.resilience == INFINITE else math.exp(-orderbook.resilience * quote.dt)
    weight = 1 if venue.mark_window == 0 else 1 - math.exp(-quote.dt / venue.mark_window)
    mark = []
    for m, index in enumerate(quote.index):
        for side in (SELL, BUY):
            state.eaten[side][m] *= left
        displaced = displacement(state, m, quote.depth, orderbook)
        state.basis[m] += weight * (displaced - state.basis[m])
        mark.append(mark_price(index, displaced, state.basis[m], venue.mark_rule))
    previous, state.mark_before = state.mark_before, mark
    return Market(list(quote.index), quote.depth, quote.dt, mark, previous, orderbook)


def mark_price(index, displaced, basis, rule):
    """index, mid, or index moved by the median of (0, mid's displacement, its average)."""
    moves = {"index": 0, "mid": displaced, "median": sorted((0, displaced, basis))[1]}
    return index if rule == "index" else index * math.exp(moves[rule])


# -------------------------------------------------------------------------------------------------
# 3. Margin
# -------------------------------------------------------------------------------------------------


@dataclass
class Standing:
    """One account on the state as it was when this was worked out."""

    equity: float
    maintenance: float = 0
    margins: dict = field(default_factory=dict)  # position: its maintenance margin

    @property
    def health(self):
        """h = e / M; infinite without positions."""
        return self.equity / self.maintenance if self.maintenance > 0 else INFINITE


def tier_value(size, entry, mark, venue):
    """v: the notional that the tiers refer to, at mark or at entry."""
    return abs(size) * (entry if venue.margin_at == "entry" else mark)


def tier_of(value, m, venue):
    """The highest tier whose floor is not above value."""
    return max(j for j, floor in enumerate(venue.tier_floor[m]) if j == 0 or floor <= value)


def maintenance_margin(value, m, venue):
    """M: max over tiers of (r v - d) where marginal; r v of the value's own tier where flat."""
    if venue.margin_kind == "flat":
        return venue.tier_ratio[m][tier_of(value, m, venue)] * value
    lines = zip(venue.tier_ratio[m], venue.tier_deduction[m], strict=True)
    return max([ratio * value - deduction for ratio, deduction in lines])


def position_margin(position, size, state, market, book, venue):
    """Maintenance margin of a position if it has this size."""
    m = book.market[position]
    value = tier_value(size, state.entry[position], market.mark[m], venue)
    return maintenance_margin(value, m, venue)


def standings(state, market, book, venue, wanted=None):
    """{account: Standing} of the wanted accounts (all of them if None)."""
    accounts = range(len(state.cash)) if wanted is None else wanted
    result = {i: Standing(state.cash[i]) for i in accounts}
    for k, size in enumerate(state.size):
        if size == 0 or book.account[k] not in result:
            continue
        standing = result[book.account[k]]
        standing.equity += size * (market.mark[book.market[k]] - 1)
        standing.margins[k] = position_margin(k, size, state, market, book, venue)
        standing.maintenance += standing.margins[k]
    return result


def initial_margins(accounts, state, market, book, venue):
    """{account: IM}: the sum of (initial ratio of the tier of v) v over its positions."""
    result = dict.fromkeys(accounts, 0)
    for k, size in enumerate(state.size):
        i, m = book.account[k], book.market[k]
        if size != 0 and i in result:
            value = tier_value(size, state.entry[k], market.mark[m], venue)
            result[i] += venue.tier_initial[m][tier_of(value, m, venue)] * value
    return result


def bankruptcy_price(position, standing, state, market, book):
    """P_bk = mark - e (M_k / M) / size: where the position has used up its share of equity."""
    share = standing.margins[position] / standing.maintenance
    mark = market.mark[book.market[position]]
    return mark - standing.equity * share / state.size[position]


def profit(position, state, market, book):
    """u = size (mark - entry)."""
    mark = market.mark[book.market[position]]
    return state.size[position] * (mark - state.entry[position])


def watch(state, market, book, venue):
    """Start of a step, after the marks: note the health, let cooldowns run down."""
    for i, standing in standings(state, market, book, venue).items():
        state.entered[i] = standing.health
    state.cooldown = [max(left - market.dt, 0) for left in state.cooldown]


def entrants(state, market, book, venue, threshold):
    """{account: Standing} of those below the threshold both at the step's start and now.

    They hold positions and are not `rest`.
    """
    suspects = {
        i for i, health in enumerate(state.entered) if health < threshold and book.role[i] != REST
    }
    if not suspects:
        return {}
    found = standings(state, market, book, venue, suspects)
    return {
        i: found[i] for i in sorted(suspects) if found[i].margins and found[i].health < threshold
    }


def write_off(state, before, market, book, venue):
    """Closed-out accounts with negative cash owe it; returns the total newly owed.

    The debt goes to the pools of the markets where this stage closed the account's positions, in
    proportion to their maintenance margin before the stage (`before`: the sizes it found). What
    rounding leaves of an account closed at its bankruptcy prices is not a debt.
    """
    closed = defaultdict(list)
    for k, size in enumerate(before):
        if size != 0 and state.size[k] == 0 and state.cash[book.account[k]] < 0:
            closed[book.account[k]].append(k)
    if not closed:
        return 0
    holding = {book.account[k] for k, size in enumerate(state.size) if size != 0}
    owed = 0
    for i, positions in closed.items():
        if i not in holding:
            owed += owe(i, positions, before, state, market, book, venue)
    return owed


def owe(account, positions, before, state, market, book, venue):
    """Move one account's negative cash to the debt of the pools of its closed positions."""
    amount = -state.cash[account]
    margins = {k: position_margin(k, before[k], state, market, book, venue) for k in positions}
    total = sum(margins.values())
    if amount <= ROUNDING * total:
        return 0
    state.cash[account] = 0
    for k, margin in margins.items():
        state.debt[venue.pool_of_market[book.market[k]]] += amount * (margin / total)
    return amount


# -------------------------------------------------------------------------------------------------
# 5. Pools (before 4, because the stages use them)
# -------------------------------------------------------------------------------------------------


def capital_of(pool, venue):
    """capital_k: the pool's share of F, or its own fixed capital where it has no share."""
    share = venue.capital_share[pool]
    return share * venue.capital if share > 0 else venue.fixed_capital[pool]


def realised(pool, state):
    """A = pool_cash + sum of basis: realised net inflow since the start."""
    return state.pool_cash[pool] + sum(state.pool_basis[pool])


def balance_of(pool, state, venue):
    """B = capital + A."""
    return capital_of(pool, venue) + realised(pool, state)


def unrealised(pool, state, prices):
    """U = sum of size (price - 1) - basis: at mark, or U_exit at exit prices."""
    rows = zip(state.pool_size[pool], prices, state.pool_basis[pool], strict=True)
    return sum(size * (price - 1) - basis for size, price, basis in rows)


def exit_prices(pool, state, market):
    """Price of closing all inventory of a market through the book now, never better than mark."""
    prices = []
    for m, (size, mark) in enumerate(zip(state.pool_size[pool], market.mark, strict=True)):
        if size > 0:
            prices.append(min(mark, fill_price(state, market, m, SELL, size)))
        elif size < 0:
            prices.append(max(mark, fill_price(state, market, m, BUY, -size)))
        else:
            prices.append(mark)
    return prices


def pool_equity(pool, state, market, venue):
    """E = capital + A + U."""
    return balance_of(pool, state, venue) + unrealised(pool, state, market.mark)


def pool_margins(pool, state, market, venue):
    """Maintenance of the inventory per market, by the market's tiers, at mark."""
    rows = zip(state.pool_size[pool], market.mark, strict=True)
    return [
        maintenance_margin(abs(size) * mark, m, venue) if size != 0 else 0
        for m, (size, mark) in enumerate(rows)
    ]


def margin_need(pool, state, market, venue):
    """theta M - (A + U), the capital that saves the pool from ADL; 0 without inventory."""
    if not any(state.pool_size[pool]):
        return 0
    required = venue.margin_multiple[pool] * sum(pool_margins(pool, state, market, venue))
    return required - (realised(pool, state) + unrealised(pool, state, market.mark))


def loss_need(pool, state, due):
    """due - A: the capital with which a payment of due is covered whole."""
    return due - realised(pool, state)


def exit_need(pool, due, state, market):
    """due - (A + U_exit): the capital with which the pool, marked at exit, covers what is due."""
    return due - (realised(pool, state) + unrealised(pool, state, exit_prices(pool, state, market)))


def pool_trade(state, pool, m, quantity, cost):
    """A pool trades quantity (signed) for cost = quantity (price - 1); basis at average cost.

    A trade in the direction of the inventory adds its cost to the basis, one against it removes the
    closed share of the basis, one that crosses zero leaves the cost of what it opens.
    """
    if quantity == 0:
        return
    size, basis = state.pool_size[pool][m], state.pool_basis[pool][m]
    if size * quantity >= 0:
        state.pool_basis[pool][m] = basis + cost
    elif abs(quantity) <= abs(size):
        state.pool_basis[pool][m] = basis * ((size + quantity) / size)
    else:
        state.pool_basis[pool][m] = cost * ((size + quantity) / quantity)
    state.pool_size[pool][m] = size + quantity
    state.pool_cash[pool] -= cost


def needs(state, market, book, venue):
    """Per pool the smallest capital with which each rule is obeyed, on the state as it is now.

    `loss` and `inventory` are tested only where something is due or on offer: see Flows.
    """
    pools = range(len(venue.capital_share))
    return {
        "cash": [state.debt[k] - realised(k, state) for k in pools],
        "exit": [exit_need(k, state.debt[k], state, market) for k in pools],
        "loss": [-INFINITE for k in pools],
        "inventory": [-INFINITE for k in pools],
        "margin": [margin_need(k, state, market, venue) for k in pools],
    }


# -------------------------------------------------------------------------------------------------
# 4.1 book: liquidation into the order book
# -------------------------------------------------------------------------------------------------


@dataclass
class Order:
    """A forced order of an account's position or of a pool's inventory."""

    market: int
    side: int
    quantity: float
    position: int | None = None
    pool: int | None = None
    fraction: float = 1
    limit: float = INFINITE  # the distance that it tolerates
    bankrupt: bool = False
    bankruptcy_price: float = 0
    filled: float = 0
    price: float = 0

    @property
    def sign(self):
        """Of the position that is closed."""
        return 1 if self.side == SELL else -1


def book_stage(state, market, book, venue):
    """book_above <= entered < book_below and still below it: sold through the order book."""
    flows = no_flows(venue)
    entering = {
        i: standing
        for i, standing in entrants(state, market, book, venue, venue.book_below).items()
        if state.entered[i] >= venue.book_above
    }
    if not entering:
        return flows
    before = list(state.size)
    orders = liquidation_orders(entering, state, market, book, venue)
    intended = clear_all(orders, state, market)
    settle_liquidated(orders, state, book)
    charge_fees(orders, state, market, book, venue, flows)
    settle_bankrupt(orders, state, market, book, venue, flows)
    take_forced_flow(executed(orders), state, market, book, venue)
    for (m, side), quantity in intended.items():
        eat(state, market, m, side, quantity)
    note_liquidations(orders, state, book, venue, flows)
    flows.bad_debt += write_off(state, before, market, book, venue)
    return flows


def liquidation_orders(entering, state, market, book, venue):
    """The orders of the accounts that enter; bankrupt ones whole and without limit."""
    orders = []
    for i, standing in entering.items():
        bankrupt = venue.bankrupt_orders == "fund" and state.entered[i] <= 0
        fractions = order_fractions(i, standing, state, market, book, venue)
        for k in standing.margins:
            size, m = state.size[k], book.market[k]
            fraction = 1 if bankrupt else fractions[k]
            order = Order(m, SELL if size > 0 else BUY, fraction * abs(size), k, fraction=fraction)
            order.bankrupt = bankrupt
            order.bankruptcy_price = bankruptcy_price(k, standing, state, market, book)
            if venue.limit == "bankruptcy" and not bankrupt:
                order.limit = tolerance(order, state, market)
            if order.quantity > 0:
                orders.append(order)
    return orders


def order_fractions(account, standing, state, market, book, venue):
    """{position: f}: how much of each position is sent, by `sizing`; dust is sent along."""
    fractions = {}
    whole = 1
    if venue.sizing == "to_margin":
        whole = fraction_to_margin(standing, state, market, book, venue)
    for k in standing.margins:
        notional = abs(state.size[k]) * market.mark[book.market[k]]
        part = whole
        if venue.sizing == "fractional" and state.cooldown[account] == 0:
            part = venue.fraction if notional > venue.fraction_above else 1
        fractions[k] = 1 if (1 - part) * notional < venue.dust else part
    return fractions


def fraction_to_margin(standing, state, market, book, venue):
    """clip(((1+b) M - e) / ((1+b) M - c), 0, 1): equity after costs c is (1+b) times margin."""
    target = (1 + venue.buffer) * standing.maintenance
    cost = 0
    for k in standing.margins:
        m = book.market[k]
        mark, size = market.mark[m], state.size[k]
        gap = (1 - mid_price(state, market, m) / mark) * sign_of(size)
        cost += abs(size) * mark * (venue.liquidation_fee + max(0, gap))
    if target - cost <= 0:
        return 1
    return clip((target - standing.equity) / (target - cost), 0, 1)


def tolerance(order, state, market):
    """Distance up to which the order may trade: best + ln(mid/P) to sell, best + ln(P/mid) to buy.

    In a linear book 1 - P/mid and P/mid - 1 take the place of the logarithms. A price <= 0 is no limit for a seller and cannot be met for a buyer.
    """
    price = order.bankruptcy_price
    if price <= 0:
        return INFINITE if order.side == SELL else -INFINITE
    m, side = order.market, order.side
    best = distance(state.eaten[side][m], market.depth[side][m], market.orderbook)
    ratio = price / mid_price(state, market, m)
    room = 1 - ratio if market.orderbook.distance == "linear" else -math.log(ratio)
    return best + (room if side == SELL else -room)


def clear_all(orders, state, market):
    """Clear every (market, side) at one price each; {(market, side): quantity}."""
    groups = defaultdict(list)
    for order in orders:
        groups[order.market, order.side].append(order)
    cleared = {}
    for (m, side), group in groups.items():
        clear(group, m, side, state, market)
        cleared[m, side] = sum(order.filled for order in group)
        price = fill_price(state, market, m, side, cleared[m, side])
        for order in group:
            order.price = price
    return cleared


def clear(orders, m, side, state, market):
    """The most tolerant orders first; each level gets what the book offers up to its distance.

    This is the rule of W and C: x* is the level that is filled in part, or lies between two levels.
    A tolerance beyond distance_max counts as distance_max: there the book is at its end.
    """
    levels = defaultdict(list)
    for order in orders:
        levels[min(order.limit, market.orderbook.distance_max)].append(order)
    taken = 0
    for reach in sorted(levels, reverse=True):
        asked = sum(order.quantity for order in levels[reach])
        room = max(offered(reach, m, side, state, market) - taken, 0)
        share = 1 if room >= asked else room / asked
        for order in levels[reach]:
            order.filled = order.quantity * share
        taken += asked * share


def offered(reach, m, side, state, market):
    """C: what the book still holds up to a distance; any quantity at distance_max; fill_cap D."""
    eaten, depth, orderbook = state.eaten[side][m], market.depth[side][m], market.orderbook
    if reach >= orderbook.distance_max:
        quantity = INFINITE
    elif reach <= distance(eaten, depth, orderbook):
        quantity = 0
    else:
        quantity = depth_within(reach, depth, orderbook) - eaten
    return quantity if orderbook.fill_cap == INFINITE else min(quantity, orderbook.fill_cap * depth)


def executed(orders):
    """{(market, side): (quantity, price)} of what was really filled."""
    flow = {}
    for order in orders:
        quantity, _ = flow.get((order.market, order.side), (0, 0))
        flow[order.market, order.side] = (quantity + order.filled, order.price)
    return flow


def settle_liquidated(orders, state, book):
    """Solvent accounts trade what was filled at the fill price."""
    for order in orders:
        if not order.bankrupt:
            trade(state, book, order.position, -order.sign * order.filled, order.price)


def charge_fees(orders, state, market, book, venue, flows):
    """Fee phi y p per fill; with fee_cap equity at most the account's equity after its fills."""
    fees = defaultdict(list)
    for order in orders:
        if not order.bankrupt and order.filled > 0:
            fee = venue.liquidation_fee * order.filled * order.price
            fees[book.account[order.position]].append((order.market, fee))
    after = standings(state, market, book, venue, fees.keys())
    for i, parts in fees.items():
        total = sum(fee for _, fee in parts)
        payable = total
        if venue.fee_cap == "equity":
            payable = min(total, max(after[i].equity, 0))
        if payable > 0:
            pay_fees(i, [(m, fee * (payable / total)) for m, fee in parts], state, venue)
            flows.fees += payable


def pay_fees(account, fees, state, venue):
    """The share fee_to_pool goes to the pool of the position's market, the rest to `fees`."""
    for m, fee in fees:
        to_pool = venue.fee_to_pool * fee
        state.pool_cash[venue.pool_of_market[m]] += to_pool
        state.fees += fee - to_pool
    state.cash[account] -= sum(fee for _, fee in fees)


def settle_bankrupt(orders, state, market, book, venue, flows):
    """Bankrupt accounts are settled at P_bk and the pool takes the difference to the fill price.

    If the pool's loss exceeds its balance, only the share balance / loss of each fill takes place.
    A pool that gains in total has nothing to pay: its fills all take place.
    """
    bankrupt = [order for order in orders if order.bankrupt]
    losses = defaultdict(int)
    for order in bankrupt:
        worse = order.sign * (order.bankruptcy_price - order.price)
        losses[venue.pool_of_market[order.market]] += order.filled * worse
    shares = {
        pool: payable_share(pool, loss, state, market, venue, flows)
        for pool, loss in losses.items()
    }
    for order in bankrupt:
        pool = venue.pool_of_market[order.market]
        order.filled *= shares[pool]
        closed = order.sign * order.filled
        trade(state, book, order.position, -closed, order.bankruptcy_price)
        state.pool_cash[pool] += closed * (order.price - order.bankruptcy_price)


def payable_share(pool, loss, state, market, venue, flows):
    """psi: the share of its loss on bankrupt accounts that the pool can pay."""
    if loss <= 0:
        return 1
    need = flows.loss[pool] = loss_need(pool, state, loss)
    flows.exit[pool] = exit_need(pool, loss, state, market)
    share = 1
    if need > capital_of(pool, venue):
        share = max(balance_of(pool, state, venue), 0) / loss
    flows.bad_debt += loss
    flows.fund_draw += share * loss
    return share


def note_liquidations(orders, state, book, venue, flows):
    """Count the fills; an account with a partial order that was filled starts its cooldown."""
    for order in orders:
        if order.filled <= 0:
            continue
        account = book.account[order.position]
        flows.liquidated.add(account)
        if order.side == SELL:
            flows.liquidated_long += order.filled * order.price
        else:
            flows.liquidated_short += order.filled * order.price
        if order.fraction < 1:
            state.cooldown[account] = venue.cooldown_period


# -------------------------------------------------------------------------------------------------
# 4.2 Who takes forced flow
# -------------------------------------------------------------------------------------------------


def take_forced_flow(flow, state, market, book, venue):
    """{(market, side): (quantity, price)} goes to profit takers, then makers, then the street.

    All sides and markets are taken at once, from the state after the liquidated were settled; for
    a maker's entry price its purchases of a market come before its sales.
    """
    trades, left = [], {}
    for (m, side), (quantity, price) in flow.items():
        taken = profit_takers(m, side, quantity, price, state, market, book)
        trades += taken
        left[m, side] = (max(quantity - sum(abs(x) for _, x, _ in taken), 0), price)
    for key, capacities in sorted(maker_capacities(left, state, market, book, venue).items()):
        quantity, price = left[key]
        total = sum(capacities.values())
        if total <= 0:
            continue
        share = min(quantity / total, 1)
        direction = 1 if key[1] == SELL else -1
        trades += [(k, direction * share * capacity, price) for k, capacity in capacities.items()]
        left[key] = (quantity - share * total, price)
    for k, quantity, price in trades:
        trade(state, book, k, quantity, price)
    street_takes(left, state)


def profit_takers(m, side, quantity, price, state, market, book):
    """[(position, trade, price)]: healthy traders and rest, on the other side, with a gain.

    Together they take min(profit_taking Q, their size), never more than Q, in proportion to size.
    """
    rate = min(market.orderbook.profit_taking, 1)
    if rate <= 0 or quantity <= 0:
        return []
    direction = 1 if side == SELL else -1
    sizes = {}
    for k, size in enumerate(state.size):
        i = book.account[k]
        if book.market[k] == m and size * direction < 0 and book.role[i] != MAKER:
            if state.entered[i] >= 1 and (state.entry[k] - price) * direction > 0:
                sizes[k] = abs(size)
    total = sum(sizes.values())
    if total <= 0:
        return []
    share = min(rate * quantity / total, 1)
    return [(k, direction * share * size, price) for k, size in sizes.items()]


def maker_capacities(left, state, market, book, venue):
    """{(market, side): {position: capacity}} of makers with entered >= 1.

    Capacity is g w / (p iota) + opposite inventory: free margin g = max(e - IM, 0) is divided over
    sides and markets by demand weight w = q p iota / (sum of them).
    """
    demand = {
        (m, side): quantity * price * venue.tier_initial[m][0]
        for (m, side), (quantity, price) in left.items()
        if quantity > 0
    }
    free = free_margins(state, market, book, venue) if demand else {}
    total = sum(demand.values())
    result = {key: {} for key in demand}
    for k, i in enumerate(book.account):
        for side in (SELL, BUY):
            key = (book.market[k], side)
            if i in free and key in demand:
                cost = left[key][1] * venue.tier_initial[key[0]][0]
                opposite = -state.size[k] if side == SELL else state.size[k]
                result[key][k] = free[i] * (demand[key] / total) / cost + max(opposite, 0)
    return result


def free_margins(state, market, book, venue):
    """{maker: max(e - IM, 0)} of the makers that were healthy at the start of the step."""
    makers = {i for i, role in enumerate(book.role) if role == MAKER and state.entered[i] >= 1}
    if not makers:
        return {}
    found = standings(state, market, book, venue, makers)
    initial = initial_margins(makers, state, market, book, venue)
    return {i: max(found[i].equity - initial[i], 0) for i in makers}


def street_takes(left, state):
    """The street takes the rest: {(market, side): (quantity, price)}."""
    for (m, side), (quantity, price) in left.items():
        bought = quantity if side == SELL else -quantity
        state.street_size[m] += bought
        state.street_cash -= bought * (price - 1)


# -------------------------------------------------------------------------------------------------
# 4.3 takeover: a pool takes the position
# -------------------------------------------------------------------------------------------------


def takeover_stage(state, market, book, venue):
    """Below takeover_below (and not below takeover_above): positions go to the pools at P_bk."""
    flows = no_flows(venue)
    found = entrants(state, market, book, venue, venue.takeover_below)
    entering = {i: s for i, s in found.items() if takeover_allowed(s, venue)}
    if not entering:
        return flows
    prices = {
        k: bankruptcy_price(k, standing, state, market, book)
        for standing in entering.values()
        for k in standing.margins
    }
    accepted = accepted_shares(prices, state, market, book, venue, flows)
    hand_to_pools(prices, accepted, state, market, book, venue, flows)
    return flows


def takeover_allowed(standing, venue):
    """e >= takeover_above M; -inf is no lower bound."""
    lowest = venue.takeover_above
    return lowest == -INFINITE or standing.equity >= lowest * standing.maintenance


def accepted_shares(positions, state, market, book, venue, flows):
    """{pool: a}: the share that a pool accepts of every piece it is offered.

    1, unless the venue has the rule `inventory` and N1 / cap - A exceeds the pool's capital.
    """
    after = [list(sizes) for sizes in state.pool_size]
    for k in positions:
        after[venue.pool_of_market[book.market[k]]][book.market[k]] += state.size[k]
    shares = {}
    for pool in sorted({venue.pool_of_market[book.market[k]] for k in positions}):
        shares[pool] = 1
        if "inventory" in venue.triggers:
            now = net_inventory(state.pool_size[pool], market)
            then = net_inventory(after[pool], market)
            shares[pool] = share_within_cap(pool, now, then, state, venue, flows)
    return shares


def net_inventory(sizes, market):
    """N = sum over markets of |size| mark."""
    return sum(abs(size) * mark for size, mark in zip(sizes, market.mark, strict=True))


def share_within_cap(pool, now, then, state, venue, flows):
    """a = clip((cap B - N0) / (N1 - N0), 0, 1) in breach; 1 otherwise and where N1 <= N0."""
    if then <= now:
        return 1
    cap = venue.inventory_cap[pool]
    need = flows.inventory[pool] = then / cap - realised(pool, state)
    if need <= capital_of(pool, venue):
        return 1
    return clip((cap * balance_of(pool, state, venue) - now) / (then - now), 0, 1)


def hand_to_pools(prices, accepted, state, market, book, venue, flows):
    """Accounts trade the accepted share at P_bk; a pool books longs and shorts as one trade each.

    Longs first: with average cost the order matters for A and U (not for their sum) where a pool is
    offered both sides of a market in one stage.
    """
    received = {SELL: defaultdict(int), BUY: defaultdict(int)}
    costs = {SELL: defaultdict(int), BUY: defaultdict(int)}
    for k, price in prices.items():
        m = book.market[k]
        quantity = accepted[venue.pool_of_market[m]] * state.size[k]
        if quantity == 0:
            continue
        trade(state, book, k, -quantity, price)
        side = SELL if quantity > 0 else BUY
        received[side][m] += quantity
        costs[side][m] += quantity * (price - 1)
        flows.takeover += abs(quantity) * market.mark[m]
        flows.liquidated.add(book.account[k])
    for side in (SELL, BUY):
        for m, quantity in received[side].items():
            pool_trade(state, venue.pool_of_market[m], m, quantity, costs[side][m])


# -------------------------------------------------------------------------------------------------
# 4.4 unwind and 4.5 fund
# -------------------------------------------------------------------------------------------------


def unwind_stage(state, market, book, venue):
    """Each pool sends min(|size|, unwind_rate D dt) per market through the order book."""
    flows = no_flows(venue)
    orders = unwind_orders(state, market, venue)
    if not orders:
        return flows
    before = list(state.size)
    cleared = clear_all(orders, state, market)
    for order in orders:
        quantity = -order.sign * order.filled
        pool_trade(state, order.pool, order.market, quantity, quantity * (order.price - 1))
        flows.unwound += order.filled * order.price
    take_forced_flow(executed(orders), state, market, book, venue)
    for (m, side), quantity in cleared.items():
        eat(state, market, m, side, quantity)
    flows.bad_debt += write_off(state, before, market, book, venue)
    return flows


def unwind_orders(state, market, venue):
    """One order without limit per pool and market with inventory."""
    orders = []
    for pool, sizes in enumerate(state.pool_size):
        for m, size in enumerate(sizes):
            side = SELL if size > 0 else BUY
            allowed = venue.unwind_rate[pool] * market.depth[side][m] * market.dt
            quantity = min(abs(size), allowed)
            if quantity > 0:
                orders.append(Order(m, side, quantity, pool=pool))
    return orders


def fund_stage(state, market, book, venue):
    """Each pool pays min(max(capital + A, 0), debt) of its debt."""
    flows = no_flows(venue)
    for pool, debt in enumerate(state.debt):
        if debt > 0:
            flows.loss[pool] = loss_need(pool, state, debt)
            flows.fund_draw += pay_debt(pool, pool, state, venue)
    return flows


def pay_debt(payer, debtor, state, venue):
    """Pool `payer` pays what it can of the debt of pool `debtor`; returns the amount."""
    amount = min(max(balance_of(payer, state, venue), 0), state.debt[debtor])
    state.pool_cash[payer] -= amount
    state.debt[debtor] -= amount
    return amount


# -------------------------------------------------------------------------------------------------
# 4.6 adl: auto-deleveraging
# -------------------------------------------------------------------------------------------------


@dataclass
class Loser:
    """A losing position: of an account (position) or of a pool."""

    market: int
    sign: int
    quantity: float
    price: float  # p*
    position: int | None = None
    pool: int | None = None
    bankruptcy_price: float = 0
    closed: float = 0


@dataclass
class Party:
    """A counterparty: a position of an account, or a pool's inventory in the market."""

    market: int
    sign: int
    quantity: float
    score: float
    position: int | None = None
    pool: int | None = None
    closed: float = 0
    value: float = 0  # sum of quantity x price received

    @property
    def order(self):
        """Highest score first, ties by position number, pools after accounts."""
        last = self.position is None
        return (-self.score, last, self.pool if last else self.position)


def adl_stage(state, market, book, venue):
    """Losers are closed against the other side, and what a pool cannot bear becomes debt."""
    flows = no_flows(venue)
    entering = entrants(state, market, book, venue, venue.adl_below)
    breached = pools_in_breach(state, market, venue, flows)
    losers = account_losers(entering, state, market, book, venue)
    for pool in breached:
        losers += pool_losers(pool, state, market, venue)
    if losers:
        deleverage(losers, entering, breached, state, market, book, venue, flows)
    hand_over_shortfalls(breached, state, venue)
    return flows


def pools_in_breach(state, market, venue, flows):
    """Pools whose need by the rule `margin` exceeds their capital, where the venue has the rule."""
    if "margin" not in venue.triggers:
        return []
    pools = range(len(venue.capital_share))
    flows.margin = [margin_need(pool, state, market, venue) for pool in pools]
    return [pool for pool in pools if flows.margin[pool] > capital_of(pool, venue)]


def account_losers(entering, state, market, book, venue):
    """All positions of the accounts that enter, by position number."""
    losers = []
    for standing in entering.values():
        for k in standing.margins:
            m, size = book.market[k], state.size[k]
            bankruptcy = bankruptcy_price(k, standing, state, market, book)
            price = losing_price(venue.adl_price, bankruptcy, m, market)
            losers.append(Loser(m, sign_of(size), abs(size), price, k, None, bankruptcy))
    return sorted(losers, key=lambda loser: loser.position)


def losing_price(rule, bankruptcy, m, market):
    """p* by rule: the bankruptcy price, the previous mark or the mark."""
    prices = {
        "bankruptcy": bankruptcy,
        "previous_mark": market.previous_mark[m],
        "mark": market.mark[m],
    }
    return prices[rule]


def pool_losers(pool, state, market, venue):
    """The fraction f of a breached pool's inventory, in every market."""
    equity = pool_equity(pool, state, market, venue)
    margins = pool_margins(pool, state, market, venue)
    prices = {}
    for m, size in enumerate(state.pool_size[pool]):
        if size != 0:
            bankruptcy = market.mark[m] - equity * (margins[m] / sum(margins)) / size
            prices[m] = losing_price(venue.pool_adl_price, bankruptcy, m, market)
    fraction = fraction_of_pool(pool, equity, sum(margins), prices, state, market, venue)
    sizes = state.pool_size[pool]
    losers = [
        Loser(m, sign_of(sizes[m]), fraction * abs(sizes[m]), price, pool=pool)
        for m, price in prices.items()
    ]
    return [loser for loser in losers if loser.quantity > 0]


def fraction_of_pool(pool, equity, margin, prices, state, market, venue):
    """1 at bankruptcy prices; else clip((theta M - E) / (theta M + g), 0, 1) ends the breach."""
    if venue.pool_adl_price == "bankruptcy":
        return 1
    sizes = state.pool_size[pool]
    gain = sum(sizes[m] * (price - market.mark[m]) for m, price in prices.items())
    required = venue.margin_multiple[pool] * margin
    if required + gain <= 0:
        return 1
    return clip((required - equity) / (required + gain), 0, 1)


def deleverage(losers, entering, breached, state, market, book, venue, flows):
    """Match every (market, losing side) on the state found, then settle all of them."""
    before = list(state.size)
    gaps = defaultdict(list)
    for loser in losers:
        gaps[loser.market, loser.sign].append(loser)
    standing = standings(state, market, book, venue)
    parties = account_parties(gaps, entering, standing, state, market, book, venue)
    if venue.pools_in_queue:
        parties += pool_parties(gaps, breached, state, market, venue, flows)
    for (m, sign), group in gaps.items():
        match(group, [p for p in parties if p.market == m and p.sign == -sign], venue)
    closing = [party for party in parties if party.closed > 0]
    note_deleveraging(closing, losers, standing, state, market, book, flows)
    nets = net_notionals(flows.deleveraged, state, market, book)
    settle_losers(losers, state, book, venue, flows)
    settle_parties(closing, state, book)
    note_aftermath(nets, state, market, book, venue, flows)
    flows.bad_debt += write_off(state, before, market, book, venue)


def account_parties(gaps, entering, standing, state, market, book, venue):
    """Positions against a gap, of accounts with positive equity that are not losers themselves."""
    notional = defaultdict(int)
    for k, size in enumerate(state.size):
        notional[book.account[k]] += abs(size) * market.mark[book.market[k]]
    parties = []
    for k, size in enumerate(state.size):
        m, i = book.market[k], book.account[k]
        if size == 0 or (m, -sign_of(size)) not in gaps or i in entering:
            continue
        if standing[i].equity <= 0 or (book.role[i] == REST and not book.rest_in_adl):
            continue
        upnl = profit(k, state, market, book)
        if venue.winners_only and upnl <= 0:
            continue
        at_mark, at_entry = abs(size) * market.mark[m], abs(size) * state.entry[k]
        rank = score(venue.ranking, upnl, at_mark, at_entry, notional[i], standing[i].equity)
        parties.append(Party(m, sign_of(size), abs(size), rank, k))
    return parties


def pool_parties(gaps, breached, state, market, venue, flows):
    """Inventory against a gap, of pools with positive equity and not in breach.

    Where a pool could be closed, no capital keeps F out of the ranking: its need is +inf.
    """
    parties = []
    for pool, sizes in enumerate(state.pool_size):
        equity = pool_equity(pool, state, market, venue)
        account_notional = net_inventory(sizes, market)
        for m, size in enumerate(sizes):
            if size == 0 or (m, -sign_of(size)) not in gaps or pool in breached or equity <= 0:
                continue
            basis = state.pool_basis[pool][m]
            upnl = size * (market.mark[m] - 1) - basis
            if venue.winners_only and upnl <= 0:
                continue
            at_mark, at_entry = abs(size) * market.mark[m], abs(size + basis)
            rank = score(venue.ranking, upnl, at_mark, at_entry, account_notional, equity)
            parties.append(Party(m, sign_of(size), abs(size), rank, pool=pool))
            flows.queue[pool] = INFINITE
    return parties


def score(ranking, upnl, notional, entry_notional, account_notional, equity):
    """profit_leverage: max(max(u, 0)/v, 1e-8) max(n/e, 1e-8).

    return_leverage: with r = u/n and L = (account notional)/e, r L if r >= 0, else r / L.
    """
    if ranking == "profit_leverage":
        gain = max(upnl, 0) / entry_notional if entry_notional > 0 else INFINITE
        return max(gain, LOWEST_SCORE) * max(notional / equity, LOWEST_SCORE)
    earned, leverage = upnl / notional, account_notional / equity
    if earned >= 0:
        return earned * leverage
    return earned / leverage if leverage > 0 else -INFINITE


def match(losers, parties, venue):
    """Close X = min(G, C) of one gap: who is closed, and at what price."""
    gap = sum(loser.quantity for loser in losers)
    available = sum(party.quantity for party in parties)
    closed = min(gap, available)
    if closed <= 0:
        return
    in_sequence = venue.allocation == "sequence" and venue.policy == "queue"
    close_parties(parties, closed, available, venue.policy, in_sequence)
    if in_sequence:
        close_in_sequence(losers, closed, gap)
        value_in_sequence(losers, sorted(parties, key=lambda party: party.order))
    else:
        close_in_proportion(losers, closed, gap)
        average = sum(loser.quantity * loser.price for loser in losers) / gap
        for party in parties:
            party.value = party.closed * average


def close_parties(parties, closed, available, policy, in_sequence):
    """How much of each counterparty is closed, by `policy`; equal scores share unless in sequence."""
    if policy == "pro_rata" or closed == available:
        for party in parties:
            party.closed = party.quantity * (closed / available)
        return
    left = closed
    queue = sorted(parties, key=lambda party: party.order)
    rank = (lambda party: party.order) if in_sequence else (lambda party: party.score)
    for _, equals in groupby(queue, key=rank):
        group = list(equals)
        total = sum(party.quantity for party in group)
        share = clip(left / total, 0, 1)
        for party in group:
            party.closed = party.quantity * share
        left -= total


def close_in_proportion(losers, closed, gap):
    """Every loser is closed to the same share X / G."""
    for loser in losers:
        loser.closed = loser.quantity * (closed / gap)


def close_in_sequence(losers, closed, gap):
    """Losers are closed one after the other until X is reached."""
    left = closed
    for loser in losers:
        loser.closed = loser.quantity if closed == gap else clip(left, 0, loser.quantity)
        left -= loser.quantity


def value_in_sequence(losers, parties):
    """Each counterparty in turn takes the next stretch of the losers' quantity, at its p*."""
    stretches = [[loser.closed, loser.price] for loser in losers if loser.closed > 0]
    first = 0
    for party in parties:
        left = party.closed
        while left > 0:
            last = first == len(stretches) - 1  # takes what rounding leaves over
            part = left if last else min(left, stretches[first][0])
            party.value += part * stretches[first][1]
            stretches[first][0] -= part
            left -= part
            if stretches[first][0] <= 0 and not last:
                first += 1


def settle_losers(losers, state, book, venue, flows):
    """A loser closes at its own p*; with `unfunded` an account's rest passes on at P_bk."""
    for loser in losers:
        closed = loser.sign * loser.closed
        if loser.position is None:
            pool_trade(state, loser.pool, loser.market, -closed, -closed * (loser.price - 1))
            continue
        trade(state, book, loser.position, -closed, loser.price)
        rest = state.size[loser.position]
        if venue.unmatched == "unfunded" and rest != 0:
            trade(state, book, loser.position, -rest, loser.bankruptcy_price)
            state.unfunded_size[loser.market] += rest
            state.unfunded_cash -= rest * (loser.bankruptcy_price - 1)
        if state.size[loser.position] != loser.sign * loser.quantity:
            flows.liquidated.add(book.account[loser.position])


def settle_parties(parties, state, book):
    """A counterparty closes x for the value x p: size - sign x, cash + sign (value - x)."""
    for party in parties:
        closed = party.sign * party.closed
        gain = party.sign * (party.value - party.closed)
        if party.position is None:
            pool_trade(state, party.pool, party.market, -closed, -gain)
        else:
            state.size[party.position] -= closed
            state.cash[book.account[party.position]] += gain


def note_deleveraging(parties, losers, standing, state, market, book, flows):
    """Who is closed, what it costs them now, and what stays unmatched (before settlement)."""
    for party in parties:
        m, closed = party.market, party.closed
        flows.sold[m] += party.sign * closed
        flows.proceeds[m] += party.sign * party.value
        if party.sign > 0:
            flows.deleveraged_long += closed * market.mark[m]
        else:
            flows.deleveraged_short += closed * market.mark[m]
        if party.position is not None:
            account = book.account[party.position]
            flows.deleveraged[account] = (standing[account].equity, 0)
    for k in range(len(state.size)):
        if book.account[k] in flows.deleveraged:
            equity, gains = flows.deleveraged[book.account[k]]
            gains += max(profit(k, state, market, book), 0)
            flows.deleveraged[book.account[k]] = (equity, gains)
    flows.adl_loss_mark = adl_loss(flows.sold, flows.proceeds, market.mark)
    flows.adl_loss_index = adl_loss(flows.sold, flows.proceeds, market.index)
    for loser in losers:
        flows.unmatched += (loser.quantity - loser.closed) * market.mark[loser.market]


def adl_loss(sold, proceeds, reference):
    """Sum of x sign (P_ref - price received)."""
    rows = zip(sold, proceeds, reference, strict=True)
    return sum(quantity * price - value for quantity, value, price in rows)


def net_notionals(accounts, state, market, book):
    """{account: net notional over its markets, at mark}."""
    nets = dict.fromkeys(accounts, 0)
    for k, size in enumerate(state.size):
        if book.account[k] in nets:
            nets[book.account[k]] += size * market.mark[book.market[k]]
    return nets


def note_aftermath(nets, state, market, book, venue, flows):
    """Accounts bankrupted or left more one-sided by having been closed (before write-offs)."""
    after = net_notionals(nets, state, market, book)
    standing = standings(state, market, book, venue, nets.keys())
    for i, net in nets.items():
        flows.naked_delta += max(abs(after[i]) - abs(net), 0)
        if flows.deleveraged[i][0] >= 0 and standing[i].equity < 0:
            flows.winner_bankrupted += 1


def hand_over_shortfalls(breached, state, venue):
    """A closed pool, now without inventory, with a negative balance hands the shortfall to `debt`.

    Only pools that this stage deleveraged: a pool that is not in breach obeys every rule, and its
    capital must not matter.
    """
    for pool in breached:
        shortfall = -balance_of(pool, state, venue)
        if shortfall > 0 and not any(state.pool_size[pool]):
            state.pool_cash[pool] += shortfall
            state.debt[pool] += shortfall


# -------------------------------------------------------------------------------------------------
# 4.7 social: what is still owed
# -------------------------------------------------------------------------------------------------


def social_stage(state, market, book, venue):
    """Owners pay, then winners where the venue socialises, and the rest is unfunded.

    An owner's payment reads its capital, so its need `loss` is noted like that of a debtor.
    """
    flows = no_flows(venue)
    for pool, debt in enumerate(state.debt):
        owner = venue.owner[pool]
        if debt > 0 and owner >= 0:
            flows.loss[owner] = max(flows.loss[owner], loss_need(owner, state, debt))
            flows.fund_draw += pay_debt(owner, pool, state, venue)
    owed = sum(state.debt)
    if owed > 0 and venue.social == "winners":
        flows.social_loss = take_from_winners(owed, state, market, book, venue)
        owed -= flows.social_loss
    state.unfunded_cash -= owed
    state.debt = [0] * len(state.debt)
    return flows


def take_from_winners(owed, state, market, book, venue):
    """Take S = min(owed, sum of w) in proportion to w = min(sum of max(u, 0), max(e, 0))."""
    gains = [0] * len(state.cash)
    for k, size in enumerate(state.size):
        if size != 0:
            gains[book.account[k]] += max(profit(k, state, market, book), 0)
    standing = standings(state, market, book, venue)
    weights = [min(gain, max(standing[i].equity, 0)) for i, gain in enumerate(gains)]
    total = sum(weights)
    taken = min(owed, total)
    if taken > 0:
        state.cash = [
            cash - weight * (taken / total)
            for cash, weight in zip(state.cash, weights, strict=True)
        ]
    return taken


STAGES = {
    "book": book_stage,
    "takeover": takeover_stage,
    "unwind": unwind_stage,
    "fund": fund_stage,
    "adl": adl_stage,
    "social": social_stage,
}


# -------------------------------------------------------------------------------------------------
# 6. What is reported per path
# -------------------------------------------------------------------------------------------------

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
        self.pending = []  # (name, time due, sold, proceeds): ADL closings not yet valued
        self.cash, self.size = totals(state, book)
        self.gross = sum(abs(cash) for cash in book.cash)
        self.interest = [0] * book.markets
        for m, size in zip(book.market, book.size, strict=True):
            self.interest[m] += abs(size) / 2


def shared_pools(venue):
    """The pools whose capital is a share of F."""
    return [pool for pool, share in enumerate(venue.capital_share) if share > 0]


def rules_of(venue):
    """The rules that read capital: `loss` in every venue, `inventory` and `margin` if listed."""
    return {"loss", *venue.triggers}


def raise_to(metrics, name, need, venue):
    """A running maximum over time and shared pools of need / share."""
    for pool in shared_pools(venue):
        metrics[name] = max(metrics[name], need[pool] / venue.capital_share[pool])


def note_pools(metrics, state, market, book, venue):
    """After the price move and after every stage: needs, worst equity, drawdown."""
    found = needs(state, market, book, venue)
    raise_to(metrics, "required_fund_cash", found["cash"], venue)
    raise_to(metrics, "required_fund", found["exit"], venue)
    for rule in rules_of(venue):
        raise_to(metrics, "capital_rule_fund", found[rule], venue)
    inflow = sum(realised(k, state) for k in shared_pools(venue))
    paper = sum(unrealised(k, state, market.mark) for k in shared_pools(venue))
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
    if flows.deleveraged and metrics["capital_rule_fund"] <= venue.capital:
        metrics["adl_required_fund"] = INFINITE
    metrics.liquidated |= flows.liquidated
    for account, (equity, gains) in flows.deleveraged.items():
        if account not in metrics.deleveraged:
            metrics["adl_equity"] += equity
            metrics["adl_profit"] += gains
    metrics.deleveraged |= flows.deleveraged.keys()
    metrics["accounts_liquidated"] = len(metrics.liquidated)
    metrics["accounts_deleveraged"] = len(metrics.deleveraged)
    if any(flows.sold) or any(flows.proceeds):
        for name, delay in LATER:
            metrics.pending.append((name, metrics.time + delay, flows.sold, flows.proceeds))


def value_pending(metrics, mark, until):
    """Value earlier ADL closings at this step's mark, once their time has come."""
    waiting = []
    for name, due, sold, proceeds in metrics.pending:
        if due <= until:
            metrics[name] += adl_loss(sold, proceeds, mark)
        else:
            waiting.append((name, due, sold, proceeds))
    metrics.pending = waiting


def check_ledger(metrics, state, book):
    """Largest change of total cash over gross cash, and of total size over open interest."""
    cash, sizes = totals(state, book)
    residuals = [abs(cash - metrics.cash) / (metrics.gross or 1)]
    for size, first, interest in zip(sizes, metrics.size, metrics.interest, strict=True):
        residuals.append(abs(size - first) / (interest or 1))
    metrics["ledger_residual"] = max(metrics["ledger_residual"], *residuals)


def step(state, quote, orderbook, book, venue, metrics):
    """One step: the price moves, the venue's stages in its order; returns the market."""
    market = advance(state, quote, orderbook, venue)
    metrics.time += quote.dt
    watch(state, market, book, venue)
    note_pools(metrics, state, market, book, venue)
    for name in venue.stages:
        flows = STAGES[name](state, market, book, venue)
        note_flows(metrics, flows, venue)
        note_pools(metrics, state, market, book, venue)
    value_pending(metrics, market.mark, metrics.time)
    check_ledger(metrics, state, book)
    return market


def finish(metrics, state, market, book, venue):
    """The amounts that are read at the end of the path."""
    value_pending(metrics, market.mark, INFINITE)
    pools = range(len(venue.capital_share))
    at_exit = [unrealised(k, state, exit_prices(k, state, market)) for k in pools]
    metrics["net_inflow"] = sum(realised(k, state) for k in shared_pools(venue))
    metrics["vault_profit"] = metrics["net_inflow"] + sum(at_exit[k] for k in shared_pools(venue))
    metrics["leftover"] = -sum(at_exit)
    metrics["street_pnl"] = state.street_cash + worth(state.street_size, market.mark)
    metrics["unfunded"] = -state.unfunded_cash - worth(state.unfunded_size, market.mark)
    for k in pools:
        metrics["unfunded"] += max(-(balance_of(k, state, venue) + at_exit[k]), 0)


def worth(sizes, prices):
    """Sum of size (price - 1)."""
    return sum(size * (price - 1) for size, price in zip(sizes, prices, strict=True))


def run(book, venue, orderbook, quotes):
    """One path from the opening to the last quote: (metrics, state)."""
    state = opening(book, venue)
    metrics = Metrics(state, book)
    market = None
    for quote in quotes:
        market = step(state, quote, orderbook, book, venue, metrics)
    if market is not None:
        finish(metrics, state, market, book, venue)
    return metrics, state
