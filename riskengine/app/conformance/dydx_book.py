"""dYdX v4, the waterfall: liquidation orders meet the book, the fund pays, the rest deleverages."""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from riskengine.app.conformance.compare import Some
from riskengine.app.conformance.dydx_account import (
    PPM,
    Account,
    Market,
    account,
    bankruptcy_quote,
    markets,
    may_change,
    risk,
    valid_delta,
)
from riskengine.app.conformance.vectors import Inputs, Number, Refused
from riskengine.waterfall import formulas


@dataclass(frozen=True)
class Limits:
    """Limits of a liquidation in a block; None where there is none."""

    least: int  # notional
    portion: Fraction  # of the position
    notional: int | None  # per subaccount
    lost: int | None  # that the fund may pay, per subaccount

    @classmethod
    def of(cls, inputs: Inputs) -> "Limits":
        notional = inputs.limit("subaccount_max_notional_liquidated")
        lost = inputs.limit("subaccount_max_insurance_lost")
        return cls(
            inputs.integer("min_position_notional_liquidated", 0),
            Fraction(inputs.integer("max_position_portion_liquidated_ppm", PPM), PPM),
            None if notional is None else int(notional),
            None if lost is None else int(lost),
        )


def step(size: int, market: Market, limits: Limits, step_base: int) -> int:
    """Base quantums of an order against a position, whole steps, at least one."""
    value = abs(market.notional(size))
    left = value if limits.notional is None else limits.notional
    quote = math.floor(
        formulas.clip(value, min(limits.least, value), limits.portion, Fraction(left))
    )
    sign = -1 if size > 0 else 1
    if value <= quote or abs(size) <= step_base:
        return sign * abs(size)
    base = math.floor(quote / market.quote_per_base(market.oracle))
    base = max(base // step_base * step_base, step_base)
    return sign * min(base, abs(size))


def fillable(
    held: Account, name: str, known: dict[str, Market], adjustment: Fraction, spread: Fraction
) -> Fraction:
    """Quote quantums per base quantum at which an account's position may be closed at worst."""
    market, size, total = known[name], held.size[name], risk(held, known)
    if total.maintenance == 0:
        return Fraction(market.notional(size), size)
    part = formulas.distress(Fraction(total.net), total.maintenance, adjustment)
    mark = Fraction(market.notional(size), size)
    return Fraction(
        formulas.fillable_price(mark, size, market.maintenance(size), Fraction(part), spread)
    )


def to_fund(
    held: Account, name: str, delta: int, received: int, most: Fraction, known: dict[str, Market]
) -> int:
    """What the fund gets of a fill, at most a rate of it; below zero what it pays."""
    surplus = received - bankruptcy_quote(held, name, delta, known)
    if surplus <= 0:
        return surplus
    return math.floor(formulas.surplus_fee(surplus, received, most))


# Deleveraging


def offset(
    loser: Account, other: Account, name: str, delta: int, rule: str, known: dict[str, Market]
) -> tuple[Account, Account] | None:
    """Both accounts after one closes against the other; None where one would be riskier."""
    valid_delta(loser, name, delta)
    valid_delta(other, name, -delta)
    if rule == "oracle":
        quote = -known[name].notional(delta)
    else:
        quote = bankruptcy_quote(loser, name, delta, known)
    closed = loser.after(name, delta, quote), other.after(name, -delta, -quote)
    fine = all(
        may_change(before, after, known)
        for before, after in zip((loser, other), closed, strict=True)
    )
    return closed if fine else None


def offsets(
    loser: Account,
    others: dict[str, Account],
    name: str,
    delta: int,
    rule: str,
    known: dict[str, Market],
) -> tuple[Account, dict[str, Account], list[tuple[str, int]], int]:
    """Candidates in turn close what they hold on the other side, as long as something is left."""
    others, fills, left = dict(others), [], delta
    for who, held in others.items():
        if left == 0:
            break
        opposite = held.size.get(name, 0) * left > 0
        if not opposite:
            continue
        size = held.size[name]
        part = formulas.taken(abs(size), 0, abs(left))
        amount = int(math.copysign(1, left)) * part
        try:
            closed = offset(loser, held, name, amount, rule, known)
        except Refused:
            continue
        if closed is None:
            continue
        loser, others[who] = closed
        fills.append((who, amount))
        left -= amount
    return loser, others, fills, left


# The whole scenario


@dataclass
class Resting:
    """A resting order; its size is what it buys, negative what it sells."""

    owner: str
    size: int
    price: Number


@dataclass
class World:
    """Accounts, book and fund, and what a block has done to them."""

    known: dict[str, Market]
    accounts: dict[str, Account]
    book: list[Resting]
    fund: int | None  # None: without limit
    limits: Limits
    most: Fraction  # fee out of surplus
    final: bool
    price: tuple[Fraction, Fraction] | None  # adjustment and spread of the order's limit
    step_base: int = 1
    gained: int = 0
    lost: int = 0
    filled: int = 0
    deleveraged: list[tuple[str, int]] = field(default_factory=list)


def scenario(inputs: Inputs) -> dict[str, Any]:
    """Liquidate accounts one after the other: book and fund first, then deleveraging."""
    world = _world(inputs)
    named = [str(name) for name in inputs.listed("liquidate")] if inputs.has("liquidate") else []
    named = named or list(world.accounts)
    for name in named:
        if name not in world.accounts:
            raise inputs.wrong("liquidate", f"among {', '.join(world.accounts)}", name)
    if world.final:
        for name in named:
            for market in list(world.accounts[name].size):
                _deleverage(world, name, market)
    else:
        for name, market in _ordered(world, named):
            _liquidate(world, name, market)
    accounts = {name: held.shown() for name, held in world.accounts.items()}
    return {
        "accounts": Some(accounts),
        "insurance_fund_change": world.gained,
        "insurance_fund_balance": None if world.fund is None else world.fund,
        "filled_base_quantums": world.filled,
        "quantums_insurance_lost": world.lost,
        "deleveraged_base_quantums": sum(abs(amount) for _, amount in world.deleveraged),
        "deleveraging_fills": [
            {"account": who, "base_quantums": abs(amount)} for who, amount in world.deleveraged
        ],
    }


def _world(inputs: Inputs) -> World:
    people = inputs.group("accounts")
    rules = inputs.group("config") if inputs.has("config") else Inputs({}, f"{inputs.where}.config")
    book = [
        Resting(row.text("owner"), _signed(row), row.number("price_usd"))
        for row in (inputs.groups("book") if inputs.has("book") else [])
    ]
    for order in book:
        if order.owner not in people:
            raise inputs.wrong("book", f"by owners among {', '.join(people)}", order.owner)
    fund = inputs.limit("insurance_fund_balance")
    price = None
    if rules.has("spread_to_maintenance_margin_ratio_ppm"):
        spread = rules.integer("spread_to_maintenance_margin_ratio_ppm")
        adjustment = rules.integer("bankruptcy_adjustment_ppm", PPM)
        price = (Fraction(adjustment, PPM), Fraction(spread, PPM))
    return World(
        known=markets(inputs),
        accounts={name: account(people, name) for name in people},
        book=book,
        fund=None if fund is None else int(fund),
        limits=Limits.of(rules),
        most=Fraction(rules.integer("max_liquidation_fee_ppm", 5000), PPM),
        final="final" in inputs.text("market_status", "ACTIVE").lower(),
        price=price,
        step_base=rules.integer("step_base_quantums", 1),
    )


def _signed(row: Inputs) -> int:
    return row.side() * row.integer("base_quantums")


def _ordered(world: World, named: list[str]) -> list[tuple[str, str]]:
    """Orders in the protocol's order: the furthest limit first, then the largest; ties from the end."""
    found = []
    for name in reversed(named):
        held = world.accounts[name]
        total = risk(held, world.known)
        if not formulas.liquidatable(total.net, total.maintenance):
            continue
        market = next(iter(held.size))
        adjustment, spread = world.price or (Fraction(1), Fraction(1))
        oracle = Fraction(world.known[market].notional(held.size[market]), held.size[market])
        limit = fillable(held, market, world.known, adjustment, spread)
        away = formulas.deviation(limit, oracle)
        found.append((-away, -abs(world.known[market].notional(held.size[market])), name, market))
    found.sort(key=lambda one: one[:2])
    return [(name, market) for _, _, name, market in found]


def _liquidate(world: World, name: str, market: str) -> None:
    """One order: fills that the fund can pay, and deleveraging where there was none."""
    held = world.accounts[name]
    size = held.size.get(market, 0)
    total = risk(held, world.known)
    if not size or not formulas.liquidatable(total.net, total.maintenance):
        return
    left = step(size, world.known[market], world.limits, world.step_base)
    limit = None if world.price is None else fillable(held, market, world.known, *world.price)
    filled = lost = 0
    for order in _opposite(world, name, left):
        amount = int(math.copysign(1, left)) * min(abs(order.size), abs(left))
        done = _fill(world, name, market, order, amount, limit, lost)
        if done is None:
            break
        lost += max(-done, 0)
        filled, left = filled + abs(amount), left - amount
        if not left:
            break
    world.filled += filled
    if not filled and risk(world.accounts[name], world.known).net < 0:
        _deleverage(world, name, market)


def _opposite(world: World, name: str, left: int) -> list[Resting]:
    """Resting orders on the other side, the best first, then the oldest; none of one's own."""
    other = [o for o in world.book if o.size * left < 0 and o.owner != name]
    return sorted(other, key=lambda order: order.price if left > 0 else -order.price)


def _fill(world: World, name: str, market: str, order: Resting, amount: int, limit, lost: int):
    """What the fund gains by a fill; None where the limit, the fund or a cap refuses it."""
    taker, maker = world.accounts[name], world.accounts[order.owner]
    listed = world.known[market]
    price = listed.quote_per_base(order.price)
    if limit is not None and (price > limit if amount > 0 else price < limit):
        return None
    quote = listed.quote(-amount, order.price)
    gained = to_fund(taker, market, amount, quote, world.most, world.known)
    too_much = world.limits.lost is not None and lost + max(-gained, 0) > world.limits.lost
    if too_much or (world.fund is not None and not formulas.payable(world.fund, gained)):
        return None
    after = maker.after(market, -amount, -quote)
    if not may_change(maker, after, world.known):
        return None
    world.accounts[name] = taker.after(market, amount, quote - gained)
    world.accounts[order.owner] = after
    world.fund = None if world.fund is None else world.fund + gained
    world.gained += gained
    world.lost += max(-gained, 0)
    order.size += amount
    return gained


def _deleverage(world: World, name: str, market: str) -> None:
    """The whole position against every account on the other side, in the order listed."""
    held = world.accounts[name]
    net = risk(held, world.known).net
    if net >= 0 and not world.final:
        return
    rule = "bankruptcy" if net < 0 else "oracle"
    others = {who: other for who, other in world.accounts.items() if who != name}
    loser, others, fills, _ = offsets(
        held, others, market, -held.size.get(market, 0), rule, world.known
    )
    world.accounts |= others
    world.accounts[name] = loser
    world.deleveraged += fills
