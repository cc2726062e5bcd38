"""Who is deleveraged first: scores of positions, the highest first (docs/model.md 4.6)."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from riskengine.specs.book import Book
from riskengine.types import pytree
from riskengine.waterfall import formulas, ledger
from riskengine.waterfall.margin import Accounts
from riskengine.waterfall.state import Market

LOT_DIGITS = 1e7


@pytree
class Standing:
    """What rankings look at, per position."""

    profit: Float[Array, "*held"]  # u
    notional: Float[Array, "*held"]  # n, at mark
    entry_notional: Float[Array, "*held"]  # v
    equity: Float[Array, "*held"]  # e, of the account, like all that follows
    account_notional: Float[Array, "*held"]
    account_profit: Float[Array, "*held"]
    maintenance: Float[Array, "*held"]  # M
    size: Float[Array, "*held"]
    lot: Float[Array, "*held"]  # place in a line that starts anywhere


def of_one(s: Standing, book: Book) -> Standing:
    """What one of the equal accounts shows of which several stand behind an account."""
    if book.members is None:
        return s
    members = ledger.per_position(book.members, book)
    return dataclasses.replace(jax.tree.map(lambda amount: amount / members, s), lot=s.lot)


def profit_leverage(s: Standing):
    """max(u, 0)/v × n/e, each at least 1e-8: profit on entry times leverage of the position."""
    gained = _ratio(jnp.maximum(s.profit, 0.0), s.entry_notional)
    return formulas.profit_leverage(gained, _ratio(s.notional, s.equity), jnp.maximum)


def return_leverage(s: Standing):
    """r = u/n times the account's leverage L where r ≥ 0, r / L where r < 0."""
    return _weighed(_ratio(s.profit, s.notional), _ratio(s.account_notional, s.equity))


def return_margin(s: Standing):
    """r = u/v times the account's margin ratio M/e where r ≥ 0, divided by it where r < 0."""
    return _weighed(_ratio(s.profit, s.entry_notional), _ratio(s.maintenance, s.equity))


def balance_margin(s: Standing):
    """max(u, 0) / max(1, balance) × M/e, balance = e − Σ u; nothing for a loss."""
    gained = formulas.wallet_return(
        jnp.maximum(s.profit, 0.0), s.equity - s.account_profit, jnp.maximum
    )
    return gained * _ratio(s.maintenance, s.equity)


def price_leverage(s: Standing):
    """mark/entry × n/e, as a venue's page words it: for shorts it falls with profit."""
    entered = s.entry_notional > 0
    entry = jnp.where(entered, s.entry_notional, 1.0)
    index = formulas.quoted_index(s.notional, entry, _ratio(s.notional, s.equity))
    return jnp.where(entered, index, 0.0)


def leverage(s: Standing):
    """The account's leverage alone."""
    return _ratio(s.account_notional, s.equity)


def profit_rate(s: Standing):
    """u/n: the most profitable entry price first."""
    return _ratio(s.profit, s.notional)


def largest(s: Standing):
    """The largest position first."""
    return s.size


def line(s: Standing):
    """One after the other from an account drawn by lot; neither profit nor leverage matters."""
    return 1.0 - s.lot


RANKINGS = {
    "profit_leverage": profit_leverage,
    "return_leverage": return_leverage,
    "return_margin": return_margin,
    "balance_margin": balance_margin,
    "price_leverage": price_leverage,
    "leverage": leverage,
    "profit_rate": profit_rate,
    "largest": largest,
    "line": line,
}


def _weighed(r, weight):
    """r × w for a gain, r / w for a loss."""
    weighs = weight > 0
    loses = formulas.loss_leverage(r, jnp.where(weighs, weight, 1.0))
    loses = jnp.where(weighs, loses, -jnp.inf)
    return jnp.where(r >= 0, formulas.return_leverage(r, weight), loses)


def _ratio(a, b):
    """a / b; 0 where b is not positive."""
    positive = b > 0
    return jnp.where(positive, a / jnp.where(positive, b, 1.0), 0.0)


def lots(market: Market, accounts: Accounts, book: Book) -> Float[Array, " positions"]:
    """Place of each position's account in a line that starts anywhere, from 0 to 1.

    Where it starts is drawn from digits of the index that nobody controls.
    """
    digits = LOT_DIGITS * market.index
    start = ledger.share(digits - jnp.floor(digits), book)
    count = accounts.equity.shape[0]
    number = ledger.per_position(jnp.arange(count, dtype=start.dtype) / count, book)
    return number - start + jnp.where(number < start, 1.0, 0.0)
