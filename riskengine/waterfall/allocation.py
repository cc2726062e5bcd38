"""Who meets whom in an ADL, and at which price (docs/model.md 4.6)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from riskengine.specs.book import Book
from riskengine.specs.venue import Venue
from riskengine.types import pytree
from riskengine.waterfall import ledger, margin, select, sequence

ALL = 1e-14  # what may be missing from all of a side, as its sums round


@pytree
class Side:
    """One party of an ADL: signed quantities of accounts' positions and of pools' inventory."""

    accounts: Float[Array, " positions"]
    pools: Float[Array, "pools markets"]


@pytree
class Closing:
    """What ADL closes, and at which prices."""

    losers: Side
    winners: Side
    loser_price: Side
    winner_price: Side


def _average(losers, at, candidates, ranked, wanted, gap, book, venue) -> Closing:
    """Losers in the same proportion, all counterparties at the losers' average price."""
    share = POLICIES[venue.adl.policy](candidates, ranked, wanted, book)
    part = _part(wanted[::-1], gap)
    closed = Side(
        accounts=losers.accounts * ledger.share_side(part, losers.accounts > 0, book),
        pools=losers.pools * _by_side(part, losers.pools),
    )
    value = value_per_side(losers, at, book)
    mean = 1.0 + value / jnp.where(gap > 0, gap, 1.0)
    mean = mean[::-1]  # a counterparty's long closes losers' shorts
    return Closing(
        losers=closed,
        winners=share,
        loser_price=at,
        winner_price=Side(
            accounts=ledger.share_side(mean, candidates.accounts > 0, book),
            pools=_by_side(mean, candidates.pools),
        ),
    )


def queue(candidates: Side, ranked: Side, wanted, book: Book) -> Side:
    """Everyone above the marginal score whole; its holders share the rest in proportion to size."""
    everyone = select.Ranked.of(
        ranked.accounts, candidates.accounts, book, ranked.pools, candidates.pools
    )
    level = select.marginal(everyone, wanted)
    mine = ledger.share_side(level, candidates.accounts > 0, book)
    pool_mine = _by_side(level, candidates.pools)
    pool_score = ranked.pools.astype(ranked.accounts.dtype)  # as `select` compares them

    def those(accounts_in, pools_in):
        return Side(
            accounts=jnp.where(accounts_in, candidates.accounts, 0.0),
            pools=jnp.where(pools_in, candidates.pools, 0.0),
        )

    above = those(ranked.accounts > mine, pool_score > pool_mine)
    tied = those(ranked.accounts == mine, pool_score == pool_mine)
    tie = per_side(tied, book)
    part = _part(wanted - per_side(above, book), tie)
    return Side(
        accounts=above.accounts
        + tied.accounts * ledger.share_side(part, candidates.accounts > 0, book),
        pools=above.pools + tied.pools * _by_side(part, candidates.pools),
    )


def _pro_rata(candidates: Side, ranked: Side, wanted, book: Book) -> Side:
    """Everyone in proportion to size."""
    part = _part(wanted, per_side(candidates, book))
    return Side(
        accounts=candidates.accounts * ledger.share_side(part, candidates.accounts > 0, book),
        pools=candidates.pools * _by_side(part, candidates.pools),
    )


def highest(candidates: Side, ranked: Side, book: Book, venue: Venue) -> Side:
    """Only holders of the highest scores of each side of a market; equal scores are all in."""
    each = margin.of_position(jnp.sign(candidates.accounts), book)
    one = Side(accounts=each, pools=jnp.sign(candidates.pools))
    everyone = select.Ranked.of(ranked.accounts, one.accounts, book, ranked.pools, one.pools)
    places = jnp.broadcast_to(venue.adl.top, (2, one.pools.shape[1]))
    level = select.marginal(everyone, jnp.minimum(places, per_side(one, book)))
    mine = ledger.share_side(level, candidates.accounts > 0, book)
    high = ranked.pools.astype(ranked.accounts.dtype) >= _by_side(level, candidates.pools)
    return Side(
        accounts=jnp.where(ranked.accounts >= mine, candidates.accounts, 0.0),
        pools=jnp.where(high, candidates.pools, 0.0),
    )


def _sequence(losers, at, candidates, ranked, wanted, gap, book, venue) -> Closing:
    """Counterparties in order of score meet losers in order: each interval has its own prices."""
    losing, prices, standing, scores = (
        _flatten(side, book) for side in (losers, at, candidates, ranked)
    )
    markets = jnp.arange(book.layout.number_of_markets, dtype=book.market.dtype)
    everywhere = jnp.concatenate([book.market, jnp.tile(markets, losers.pools.shape[0])])
    there = per_side(candidates, book)
    closed, price, taken = sequence.pair(
        losing, prices, standing, scores, everywhere, wanted, there, gap[::-1]
    )
    return Closing(
        losers=_unflatten(closed, losers),
        winners=_unflatten(taken, losers),
        loser_price=at,
        winner_price=_unflatten(price, losers),
    )


def _flatten(side: Side, book: Book) -> Float[Array, " entries"]:
    return jnp.concatenate([side.accounts.astype(ledger.DOUBLE), side.pools.reshape(-1)])


def _unflatten(x: Float[Array, " entries"], like: Side) -> Side:
    n = like.accounts.shape[0]
    return Side(accounts=x[:n].astype(like.accounts.dtype), pools=x[n:].reshape(like.pools.shape))


POLICIES = {"queue": queue, "pro_rata": _pro_rata, "top": _pro_rata}
ALLOCATIONS = {"average": _average, "sequence": _sequence}


def _part(amount: Float[Array, "2 markets"], whole) -> Float[Array, "2 markets"]:
    """amount / whole, from 0 to 1: all where only rounding is missing, or crumbs would stay open."""
    part = jnp.clip(amount / jnp.where(whole > 0, whole, 1.0), 0.0, 1.0)
    return jnp.where(whole > 0, jnp.where(part > 1.0 - ALL, 1.0, part), 0.0)


def _by_side(x: Float[Array, "2 markets"], size) -> Float[Array, "pools markets"]:
    """Row 0 where a pool is long, row 1 where it is short."""
    return jnp.where(size > 0, x[0][None], x[1][None])


def per_side(side: Side, book: Book) -> Float[Array, "2 markets"]:
    """Long and short quantities per market, accounts and pools together."""
    up = ledger.tree(jnp.maximum(side.pools, 0.0))
    down = ledger.tree(jnp.maximum(-side.pools, 0.0))
    return ledger.per_side(side.accounts, book) + jnp.stack([up, down])


def value_per_side(side: Side, at: Side, book: Book) -> Float[Array, "2 markets"]:
    """Σ |quantity| (price − 1) of longs and of shorts per market."""
    rows = []
    for sign in (1.0, -1.0):
        mine = jnp.maximum(sign * side.accounts, 0.0) * (at.accounts - 1.0)
        pool = jnp.maximum(sign * side.pools, 0.0) * (at.pools - 1.0)
        rows.append(ledger.per_market(mine, book) + ledger.tree(pool))
    return jnp.stack(rows)
