"""Accounts of dYdX v4 in whole quantums: what they hold and what they need."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from riskengine.app.conformance.vectors import Inputs, Number, Refused, Unsupported
from riskengine.waterfall import formulas

PPM = 10**6
QUOTE = 6  # digits of a quote quantum
DEFAULT = (-8, 200_000, 500_000)  # the test market of the source: 20 % initial, half of it to keep


@dataclass(frozen=True)
class Market:
    """A market's oracle price, the digits of its base quantum, and its margin."""

    oracle: Number
    resolution: int
    initial_ppm: int = DEFAULT[1]
    fraction_ppm: int = DEFAULT[2]

    def quote_per_base(self, price: Number) -> Fraction:
        """Quote quantums of one base quantum at a price in USD."""
        return Fraction(price) * Fraction(10) ** (self.resolution + QUOTE)

    def quote(self, size: int, price: Number) -> int:
        """Quote quantums of a size, cut towards zero."""
        return math.trunc(formulas.share_of(self.quote_per_base(price), size))

    def notional(self, size: int) -> int:
        return self.quote(size, self.oracle)

    def initial(self, size: int) -> int:
        """Initial margin, rounded up."""
        ratio = Fraction(self.initial_ppm, PPM)
        return math.ceil(formulas.marginal_margin(abs(self.notional(size)), ratio, 0))

    def maintenance(self, size: int) -> int:
        """A part of initial margin, rounded up again."""
        return math.ceil(formulas.share_of(self.initial(size), Fraction(self.fraction_ppm, PPM)))


@dataclass(frozen=True)
class Account:
    """Quote quantums and base quantums by market."""

    quote: int
    size: dict[str, int]

    def after(self, market: str, delta: int, received: int) -> "Account":
        """With a signed size more and quote received."""
        size = self.size | {market: self.size.get(market, 0) + delta}
        return Account(self.quote + received, {m: q for m, q in size.items() if q})

    def shown(self) -> dict[str, Any]:
        return {"quote_quantums": self.quote, "perp_base_quantums": dict(self.size)}


@dataclass(frozen=True)
class Risk:
    """Net collateral and both requirements of an account."""

    net: int
    initial: int
    maintenance: int


def markets(inputs: Inputs, default_price: Number | None = None) -> dict[str, Market]:
    """The markets of an example; without a price of their own they have the default one."""
    given = (
        inputs.group("markets")
        if inputs.has("markets")
        else Inputs({"BTC": {}}, f"{inputs.where}.markets")
    )
    found = {}
    for name in given:
        row = given.group(name)
        price = row.number("oracle_price_usd", default_price)
        resolution = row.integer("base_atomic_resolution", DEFAULT[0])
        if price <= 0 or abs(resolution) > 100:
            raise row.wrong("oracle_price_usd", "> 0, with a resolution within ±100", price)
        found[name] = Market(
            price,
            resolution,
            row.integer("initial_margin_ppm", DEFAULT[1]),
            row.integer("maintenance_fraction_ppm", DEFAULT[2]),
        )
    return found


def account(inputs: Inputs, name: str) -> Account:
    """An account of an example."""
    held = inputs.group(name)
    sizes = held.group("perp_base_quantums") if held.has("perp_base_quantums") else {}
    positions = {m: sizes.integer(m) for m in sizes} if isinstance(sizes, Inputs) else {}
    return Account(held.integer("quote_quantums"), {m: q for m, q in positions.items() if q})


def risk(held: Account, known: dict[str, Market]) -> Risk:
    """Net collateral at oracle prices, and requirements summed over positions."""
    net, initial, maintenance = held.quote, 0, 0
    for name, size in held.size.items():
        market = _of(name, known)
        net += market.notional(size)
        initial += market.initial(size)
        maintenance += market.maintenance(size)
    return Risk(net, initial, maintenance)


def _of(name: str, known: dict[str, Market]) -> Market:
    if name not in known:
        raise Unsupported(f"the formula here reads inputs.markets.{name}, which is not given")
    return known[name]


def valid_delta(held: Account, market: str, delta: int) -> None:
    """A change that closes some of the position, or all of it."""
    size = held.size.get(market, 0)
    if size * delta >= 0 or abs(delta) > abs(size):
        raise Refused("invalid_position_size_delta")


def bankruptcy_quote(held: Account, name: str, delta: int, known: dict[str, Market]) -> int:
    """Quote received for a change at bankruptcy: −ΔNNV − TNC·|ΔMMR|/TMMR, rounded up."""
    valid_delta(held, name, delta)
    market, size, total = _of(name, known), held.size[name], risk(held, known)
    at_oracle = market.notional(size) - market.notional(size + delta)
    released = market.maintenance(size) - market.maintenance(size + delta)
    required = total.maintenance
    if required == 0:
        return at_oracle
    return math.ceil(formulas.bankruptcy_quote(at_oracle, Fraction(total.net), released, required))


def may_change(before: Account, after: Account, known: dict[str, Market]) -> bool:
    """Collateralised afterwards, or at least not riskier: neither M nor M/e may rise."""
    old, new = risk(before, known), risk(after, known)
    if new.net >= new.initial:
        return True
    if old.net >= old.initial or new.maintenance > old.maintenance:
        return False
    if new.maintenance == 0:
        return new.net > old.net
    return new.net * old.maintenance >= old.net * new.maintenance
