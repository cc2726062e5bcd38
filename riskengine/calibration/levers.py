"""What a venue may set, and two things that it must bear, as factors and shares on top of a setting.

A lever is a number: moving one changes leaves of the books, the venue and the law, and never what is
compiled. A `Levers` of the values in `still` leaves everything as it is.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from riskengine.montecarlo.setting import Setting
from riskengine.specs import scenario as scenarios
from riskengine.specs.book import TRADER, Book
from riskengine.specs.scenario import Scenario
from riskengine.specs.venue import Venue
from riskengine.types import compiled, pytree
from riskengine.waterfall import ledger, margin


@pytree
class Levers:
    """Factors on numbers of the venue and its world, but for `fee` and `fee_to_pool`: added."""

    fund: Float[Array, ""]  # first-loss capital F
    vault: Float[Array, ""]  # capital of pools outside F: owners and providers
    maintenance: Float[Array, ""]  # maintenance margin of all tiers
    leverage_cap: Float[Array, " tiers"]  # highest leverage of every tier, of all markets
    fee: Float[Array, ""]  # of notional, on top of the liquidation fee
    fee_to_pool: Float[Array, ""]  # of fees, on top of what goes to the pools
    depth: Float[Array, ""]  # calm depth of the order book
    volatility: Float[Array, ""]  # all log moves of the index


def still(venue: Venue) -> Levers:
    """No lever moved."""
    one, none = jnp.asarray(1.0), jnp.asarray(0.0)
    tiers = venue.margin.initial.shape[0]
    return Levers(
        fund=one, vault=one, maintenance=one, leverage_cap=jnp.ones(tiers), fee=none,
        fee_to_pool=none, depth=one, volatility=one,
    )  # fmt: skip


def moved(setting: Setting, levers: Levers, response: float) -> Setting:
    """The setting with its levers moved; accounts follow caps on leverage with this response."""
    books = responding(setting.books, setting.venue, levers.leverage_cap, response)
    return dataclasses.replace(
        setting, books=books, venue=of_venue(setting.venue, levers),
        scenario=of_scenario(setting.scenario, levers),
    )  # fmt: skip


def of_venue(venue: Venue, levers: Levers) -> Venue:
    """The venue's own numbers moved."""
    tables = {
        name: getattr(venue.margin, name) * levers.maintenance
        for name in ("ratio", "deduction", "premium")
    }
    initial = venue.margin.initial / levers.leverage_cap[:, None]
    liquidation = dataclasses.replace(
        venue.liquidation,
        fee=venue.liquidation.fee + levers.fee,
        fee_to_pool=venue.liquidation.fee_to_pool + levers.fee_to_pool,
    )
    pools = dataclasses.replace(venue.pools, fixed=venue.pools.fixed * levers.vault)
    return dataclasses.replace(
        venue,
        capital=venue.capital * levers.fund,
        margin=dataclasses.replace(venue.margin, initial=initial, **tables),
        liquidation=liquidation,
        pools=pools,
    )


def of_scenario(scenario: Scenario, levers: Levers) -> Scenario:
    """Depth and volatility moved."""
    depth = dataclasses.replace(scenario.depth, calm=scenario.depth.calm * levers.depth)
    law = scenarios.louder(scenario.law, levers.volatility)
    return dataclasses.replace(scenario, depth=depth, law=law)


def responding(
    books: Book, venue: Venue, caps: Float[Array, " tiers"], response: float | Float[Array, ""]
) -> Book:
    """The books as their traders would open them under caps on leverage multiplied by `caps`.

    With m the initial margin of an account's positions before and m' after, its cap on leverage
    is m/m' times what it was. Its own leverage follows with an elasticity ρ, the response, and where
    it opened at or below its cap, it stays there:

        e' = max(e (m'/m)^ρ, min(m', e m'/m)).

    Positions stay and equity changes, so that every market still balances; `given_up` says what
    open interest goes if traders hold less instead. Makers and `rest` stay as they are.
    """
    return _respond(books, venue, caps, jnp.asarray(response, float))


@compiled
def _respond(books: Book, venue: Venue, caps, response) -> Book:
    def one(book: Book) -> Book:
        before, after = _initial(book, venue), _initial(book, _capped(venue, caps))
        open_ = (book.role == TRADER) & (before > 0) & (book.cash > 0)
        tighter = jnp.where(open_, after, 1.0) / jnp.where(open_, before, 1.0)
        follows = book.cash * tighter ** response.astype(book.cash.dtype)
        forced = jnp.minimum(after, book.cash * tighter)
        cash = jnp.where(open_, jnp.maximum(follows, forced), book.cash)
        # factors of 1 must leave every bit as it is
        return dataclasses.replace(book, cash=jnp.where(after == before, book.cash, cash))

    return jax.vmap(one)(books)


def _capped(venue: Venue, caps) -> Venue:
    initial = venue.margin.initial / caps[:, None]
    return dataclasses.replace(venue, margin=dataclasses.replace(venue.margin, initial=initial))


def _initial(book: Book, venue: Venue) -> Float[Array, " accounts"]:
    """Initial margin of every account's positions at the opening marks."""
    tiers = margin.attach(book, venue).margin
    assert tiers is not None
    value = jnp.abs(book.size)
    required = value * margin.tier_rate(value, tiers.floor, tiers.initial)
    return ledger.per_account(required, book)


def by_tier(books: Book, venue: Venue) -> np.ndarray:
    """Traders' notional at the opening marks whose margin each tier decides, USD, mean over books."""

    @compiled
    def count(books, venue):
        def one(book: Book):
            tiers = margin.attach(book, venue).margin
            assert tiers is not None
            value = jnp.abs(book.size)
            mine = jnp.where(ledger.per_position(book.role == TRADER, book), value, 0.0)
            numbers = jnp.broadcast_to(
                jnp.arange(tiers.floor.shape[0], dtype=value.dtype)[:, None], tiers.floor.shape
            )
            tier = margin.tier_rate(value, tiers.floor, numbers)
            return jnp.stack(
                [ledger.tree(jnp.where(tier == n, mine, 0.0)) for n in range(len(numbers))]
            )

        return jax.vmap(one)(books).mean(0)

    return np.asarray(count(books, venue))


@dataclasses.dataclass(frozen=True)
class GivenUp:
    """What traders give for caps on leverage, in USD, mean over books: one or the other."""

    equity: float  # posted more, positions as they are; negative: less
    open_interest: float  # held less on both sides, equity as it is; negative: more


def given_up(before: Book, after: Book) -> GivenUp:
    """What `responding` costs traders: equity e' − e, or notional N (1 − e/e') of the same leverage."""

    def one(before: Book, after: Book):
        gross = ledger.per_account(jnp.abs(before.size), before)
        more = after.cash - before.cash
        kept = jnp.where(more == 0, 1.0, before.cash / jnp.where(more == 0, 1.0, after.cash))
        return ledger.tree(more), 0.5 * ledger.tree(gross * (1.0 - kept))

    equity, interest = (x.mean() for x in jax.vmap(one)(before, after))
    return GivenUp(float(equity), float(interest))
