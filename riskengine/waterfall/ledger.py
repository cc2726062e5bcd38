"""Sums over a ragged table of positions: per account, per market, in total.

Every sum is a written-out binary tree over a fixed order, in float64 where it is money or open
interest of the whole venue. So a path has the same bits alone, in any batch, chunk or device, which
XLA's own reductions do not promise. Sums go up to float64 in `per_market` and `total`; numbers come
back down to the precision of the positions in `share`, and nowhere else.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Shaped

from riskengine.specs.book import FEW, Book

DOUBLE = jnp.float64


@jax.custom_jvp
@jax.jit  # traced once for every shape, not for every sum
def tree(x: Shaped[Array, "n *rest"]) -> Shaped[Array, "*rest"]:
    """Sum over the first axis, eight blocks at a time, in an order that only its length decides.

    What eight blocks leave over is added at the end. One level is one pass over memory.
    """
    return _fold(x, jnp.add)


@tree.defjvp
def _tree_tangent(primals, tangents):
    """Of a derivative any order of adding will do, and the way back through it is a copy."""
    return tree(*primals), jnp.sum(tangents[0], axis=0)


@jax.custom_jvp
@jax.jit
def tree_in_double(x: Shaped[Array, "n *rest"]) -> Shaped[Array, "*rest"]:
    """`tree` of the entries in float64."""
    return _fold(x, jnp.add, _in_double)


@tree_in_double.defjvp
def _tree_in_double_tangent(primals, tangents):
    return tree_in_double(*primals), jnp.sum(_in_double(tangents[0]), axis=0)


def least(
    x: Float[Array, " accounts"], but: Bool[Array, " accounts"], book: Book
) -> tuple[Float[Array, ""], Float[Array, " blocks"]]:
    """The smallest entry but for some of the last accounts, and the smallest in each block of a large book.

    In float64; faster than XLA's own reduction of a batch.
    """
    if book.layout.blocks == 1:
        return _fold(jnp.where(but, jnp.inf, x), jnp.minimum).astype(DOUBLE), jnp.zeros(0, DOUBLE)
    layout, traders = book.layout, x.shape[0] - book.layout.dense
    found, start = [], 0
    for _, count in layout.accounts[: len(layout.accounts) - bool(layout.dense)]:
        found.append(x[start : start + count].reshape(layout.blocks, -1).min(axis=1))
        start += count
    lowest = _halves(found, jnp.minimum).astype(DOUBLE)
    others = jnp.where(but[traders:], jnp.inf, x[traders:]).min(initial=jnp.inf)
    return jnp.minimum(lowest.min(), others.astype(DOUBLE)), lowest


def most(x: Float[Array, " positions"], book: Book) -> Float[Array, " blocks"]:
    """The largest entry in each block of a large book."""
    layout, found, start = book.layout, [], 0
    for slots, count in layout.accounts[: len(layout.accounts) - bool(layout.dense)]:
        block = x[start : start + slots * count].reshape(slots, layout.blocks, -1)
        found.append(block.max(axis=(0, 2)))
        start += slots * count
    return _halves(found, jnp.maximum)


def _fold(x, pair, read=lambda piece: piece):
    """All entries together, in pairs; `read` is what becomes of each piece as it is read."""
    left_over = []
    while x.shape[0] > 8:
        block = x.shape[0] // 8
        left_over += [read(x[i]) for i in range(8 * block, x.shape[0])]
        x = _halves([read(x[i * block : (i + 1) * block]) for i in range(8)], pair)
    return _halves([read(x[i]) for i in range(x.shape[0])] + left_over, pair)


def _in_double(x):
    """Where the sums of money and quantities go up in precision: not in a pass of its own."""
    return x.astype(DOUBLE)


def _halves(parts: list, pair):
    """All parts together: the first half with the second, and so on down."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return pair(_halves(parts[:half], pair), _halves(parts[half:], pair))


def per_account(x: Float[Array, " positions"], book: Book) -> Float[Array, " accounts"]:
    """Sum over the positions of each account."""
    return _of_accounts(x, tree, book)


def largest(x: Float[Array, " positions"], book: Book) -> Float[Array, " accounts"]:
    """The largest entry among the positions of each account."""
    return _of_accounts(x, lambda block: block.max(0), book)


def _of_accounts(x, together, book: Book) -> Float[Array, " accounts"]:
    """What the positions of each account come to: `together` of blocks (slots, accounts)."""
    if _one_each(book):
        return x
    x = _settled(x)
    found, start = [], 0
    for slots, accounts in book.layout.accounts:
        block = x[start : start + slots * accounts].reshape(slots, accounts)
        found.append(together(block))
        start += slots * accounts
    return _settled(jnp.concatenate(found))


def per_position(x: Shaped[Array, " accounts"], book: Book) -> Shaped[Array, " positions"]:
    """Give every position the value of its account."""
    if _one_each(book):
        return x
    x = _settled(x)
    blocks, start = [], 0
    for slots, accounts in book.layout.accounts:
        block = x[start : start + accounts]
        blocks.append(jnp.broadcast_to(block, (slots, accounts)).reshape(-1))
        start += accounts
    return _settled(jnp.concatenate(blocks))


def by_market(x: Shaped[Array, " positions"], book: Book) -> Shaped[Array, " market_slots"]:
    """Reorder positions market by market; empty slots are 0. One market has them in order."""
    if book.layout.number_of_markets == 1:
        return x
    found = _settled(x).at[book.by_market].get(mode="promise_in_bounds")
    return _settled(jnp.where(book.occupied, found, jnp.zeros((), x.dtype)))


def market_sum(x: Shaped[Array, " market_slots"], book: Book) -> Float[Array, " markets"]:
    """Sum over the slots of each market, in float64."""
    sums, start = [], 0
    for slots, members in book.layout.markets:
        block = x[start : start + slots * len(members)].reshape(slots, len(members))
        sums.append(tree_in_double(block))
        start += slots * len(members)
    return _in_market_order(_settled(jnp.concatenate(sums)), book)


def market_extreme(x: Shaped[Array, " market_slots"], book: Book, least: bool):
    """Smallest or largest entry of each market."""
    found, start = [], 0
    for slots, members in book.layout.markets:
        block = x[start : start + slots * len(members)].reshape(slots, len(members))
        found.append(block.min(0) if least else block.max(0))
        start += slots * len(members)
    return _in_market_order(_settled(jnp.concatenate(found)), book)


def market_spread(x: Shaped[Array, " markets"], book: Book) -> Shaped[Array, " market_slots"]:
    """Give every slot of `by_market` the value of its market."""
    blocks = []
    for slots, members in book.layout.markets:
        mine = x[jnp.asarray(members)]
        blocks.append(jnp.broadcast_to(mine, (slots, len(members))).reshape(-1))
    return jnp.concatenate(blocks)


def per_market(x: Float[Array, " positions"], book: Book) -> Float[Array, " markets"]:
    """Sum over the positions of each market, in float64."""
    return market_sum(by_market(x, book), book)


def per_side(x: Float[Array, " positions"], book: Book) -> Float[Array, "2 markets"]:
    """Sums of the positive and of the negative entries per market, both as positive numbers."""
    slots = by_market(x, book)
    up, down = jnp.maximum(slots, 0), jnp.maximum(-slots, 0)
    return jnp.stack([market_sum(up, book), market_sum(down, book)])


def total(x: Shaped[Array, "*shape"]) -> Float[Array, ""]:
    """Sum of everything, in float64."""
    return tree_in_double(x.reshape(-1))


def count(chosen: Bool[Array, " accounts"], book: Book) -> Float[Array, ""]:
    """How many accounts these are, with all that stand behind each of them."""
    return total(chosen if book.members is None else jnp.where(chosen, book.members, 0.0))


def share(x: Float[Array, " markets"], book: Book) -> Float[Array, " positions"]:
    """Give every position the value of its market, in the precision of the positions."""
    x = _settled(x.astype(book.size.dtype))
    if not _few_markets(book):
        return x.at[book.market].get(mode="promise_in_bounds")
    mine = jnp.broadcast_to(x[0], book.market.shape)
    for m in range(1, book.layout.number_of_markets):
        mine = jnp.where(book.market == m, x[m], mine)
    return mine


def share_side(x: Float[Array, "2 markets"], long, book: Book) -> Float[Array, " positions"]:
    """As `share`: row 0 for the positions marked `long`, row 1 for the others."""
    return jnp.where(long, share(x[0], book), share(x[1], book))


def dense(x: Shaped[Array, " positions"], book: Book) -> Shaped[Array, "dense markets"]:
    """The slots of makers and `rest`, one row per account."""
    slots, accounts = book.layout.accounts[-1]
    block = x[x.shape[0] - slots * accounts :].reshape(slots, accounts)
    return block[: book.layout.number_of_markets].T


def add_dense(
    x: Float[Array, " positions"], change: Float[Array, "dense markets"], book: Book
) -> Float[Array, " positions"]:
    """Add to the slots of makers and `rest`."""
    slots, accounts = book.layout.accounts[-1]
    start = x.shape[0] - slots * accounts
    padding = slots - book.layout.number_of_markets
    block = jnp.pad(change.T.astype(x.dtype), ((0, padding), (0, 0)))
    return _settled(jnp.concatenate([x[:start], x[start:] + block.reshape(-1)]))


def joined(pieces: list[Shaped[Array, "*rows _"]]) -> Shaped[Array, "*rows whole"]:
    """Pieces one after the other."""
    return _settled(jnp.concatenate([_settled(piece) for piece in pieces], axis=-1))


def _settled(x):
    """Keep XLA from merging a reordering with the work before or after it (types.compiled)."""
    return lax.optimization_barrier(x)


def _one_each(book: Book) -> bool:
    """Whether no account can have a second position: then positions are in the order of accounts."""
    return all(slots == 1 for slots, _ in book.layout.accounts)


def _few_markets(book: Book) -> bool:
    """With few markets, comparing every position with each is faster than indexing."""
    return book.layout.number_of_markets <= FEW


def _in_market_order(x: Shaped[Array, " markets"], book: Book) -> Shaped[Array, " markets"]:
    order = [m for _, members in book.layout.markets for m in members]
    where = sorted(range(len(order)), key=order.__getitem__)
    return x if where == list(range(len(order))) else x[jnp.asarray(where)]
