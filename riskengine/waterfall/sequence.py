"""Exact pairing of losers and counterparties, where a venue prescribes the order of both."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int


def pair(
    losing: Float[Array, " entries"],
    losing_price: Float[Array, " entries"],
    candidate: Float[Array, " entries"],
    score: Float[Array, " entries"],
    market: Int[Array, " entries"],
    wanted: Float[Array, "2 markets"],
    there: Float[Array, "2 markets"],
    gap: Float[Array, "2 markets"],
):
    """Close losers from the first entry and counterparties from the best score, market by market.

    Entries carry signed quantities. Rows 0 and 1 are counterparties' longs and shorts: what is wanted of
    them, what there is, and the gap that they face. A counterparty that takes the interval [a, b] of
    the losers' cumulative quantity receives K(b) − K(a), with K the losers' cumulative cash. Equal
    scores are served in order of entry. Returns the signed quantities closed of losers, the price that
    each counterparty receives, and the signed quantities closed of counterparties.
    """
    aims, all_queue, all_line = (x.T.reshape(-1) for x in (wanted, wanted >= there, wanted >= gap))
    groups = aims.shape[0]  # by market, then 0 for counterparties' longs, 1 for their shorts
    own = jnp.where(candidate > 0, 0, 1) + 2 * market
    theirs = jnp.where(losing > 0, 1, 0) + 2 * market  # losers' longs meet counterparties' shorts

    queue = _Line(own, -score, jnp.abs(candidate), groups)
    line = _Line(theirs, jnp.zeros_like(score), jnp.abs(losing), groups)
    taken = queue.first(aims, all_queue)
    closed = line.first(aims, all_line)

    cash = jnp.abs(losing) * (losing_price - 1.0)
    before = queue.position()
    received = line.integral(cash, own, before + taken) - line.integral(cash, own, before)
    price = 1.0 + jnp.where(taken > 0, received / jnp.where(taken > 0, taken, 1.0), 0.0)
    return jnp.sign(losing) * closed, price, jnp.sign(candidate) * taken


class _Line:
    """Entries in groups, in a line within each group."""

    def __init__(self, group: Int[Array, " n"], order, quantity, groups: int):
        number = jnp.arange(group.shape[0])
        self.group, _, self.number = lax.sort((group, order, number), num_keys=3)
        self.quantity = quantity[self.number]
        self.until = lax.associative_scan(jnp.add, self.quantity)
        self.start = self.until - self.quantity
        first = jnp.searchsorted(self.group, jnp.arange(groups, dtype=group.dtype))
        last = jnp.clip(first, 0, group.shape[0] - 1)
        self.base = jnp.where(first < group.shape[0], self.start[last], self.until[-1])
        self.back = jnp.argsort(self.number)

    def position(self) -> Float[Array, " n"]:
        """Quantity of the group in front of each entry."""
        return (self.start - self.base[self.group])[self.back]

    def first(
        self, aims: Float[Array, " groups"], everything: Bool[Array, " groups"]
    ) -> Float[Array, " n"]:
        """Quantity of each entry within the first `aims` of its group: nothing or all are exact."""
        aim = aims[self.group]
        left = jnp.where(aim > 0, aim - (self.start - self.base[self.group]), 0.0)
        left = jnp.where(everything[self.group] & (aim > 0), jnp.inf, left)
        return jnp.clip(left, 0.0, self.quantity)[self.back]

    def integral(self, amount, group, until) -> Float[Array, " n"]:
        """Sum of `amount` over the first `until` of a group, entries counting in proportion."""
        amount = amount[self.number]
        sums = lax.associative_scan(jnp.add, amount)
        at = self.base[group] + until
        entry = jnp.clip(jnp.searchsorted(self.until, at), 0, self.until.shape[0] - 1)
        some = self.quantity[entry] > 0
        part = (at - self.start[entry]) / jnp.where(some, self.quantity[entry], 1.0)
        part = jnp.where(some, jnp.clip(part, 0.0, 1.0), 0.0)
        return sums[entry] - amount[entry] * (1.0 - part)
