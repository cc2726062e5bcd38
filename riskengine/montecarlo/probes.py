"""Small programs with known answers: does this jax compute them on this device?

jax 0.10.2 gets half the rows of a vmapped 3 × 3 product wrong on CPU (jax issue 39103), and jax
0.10.1 to 0.11.2 compute garbage where a gather is merged with a concatenation, unless programs are
compiled as in `riskengine.types.compiled`. `simulate` runs these once per process.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from riskengine.specs import book as books
from riskengine.specs.book import Holdings
from riskengine.types import compiled, use_double
from riskengine.waterfall import ledger

ROWS = 32_769  # one more than 2¹⁵: the fault of 0.10.2 begins there
CALLS = 20


def product_probe(jit=compiled) -> bool:
    """A vmapped 3 × 3 matrix-vector product and a sum equal NumPy on every one of 32,769 rows."""
    return not len(wrong_rows("float64", jit))


def wrong_rows(dtype: str, jit=compiled) -> np.ndarray:
    """Rows of the product that are wrong, with a matrix of their own or with one for all.

    In float32 jax 0.9 to 0.10.2 get one row of 32,769 wrong; the engine has no product of matrices.
    """
    use_double()
    random, error = np.random.default_rng(0), {"float32": 1e-3, "float64": 1e-9}[dtype]
    matrix = random.normal(size=(ROWS, 3, 3)).astype(dtype)
    vector = random.normal(size=(ROWS, 3)).astype(dtype)
    shared = jnp.asarray(matrix[0])
    each = jit(jax.vmap(lambda m, v: jnp.sum(m @ v)))(matrix, vector)
    one = jit(jax.vmap(lambda v: jnp.sum(shared @ v)))(vector)
    right = np.einsum("nij,nj->n", matrix, vector), np.einsum("ij,nj->n", matrix[0], vector)
    off = [np.abs(f - r) > error for f, r in zip((each, one), right, strict=True)]
    return np.flatnonzero(off[0] | off[1])


def gather_probe(jit=compiled, calls: int = CALLS) -> bool:
    """Values per account, spread over positions and reordered by market, equal NumPy's."""
    use_double()
    book, account, order = _ragged()
    random = np.random.default_rng(1)

    def spread(values, weights):
        return ledger.by_market(weights * ledger.per_position(values, book), book)

    program = jit(spread)
    for _ in range(calls):
        values, weights = random.normal(size=account.max() + 1), random.uniform(1, 2, len(account))
        expected = np.where(order >= 0, (weights * values[account])[order], 0.0)
        found = program(jnp.asarray(values), jnp.asarray(weights))
        if not np.array_equal(np.asarray(found), expected):
            return False
    return True


def _ragged():
    """A small book, the account of every slot, and the slot that each market's slots read."""
    count = np.asarray([1, 1, 1, 2, 2, 3, 4, 1, 2, 4])
    owner = np.repeat(np.arange(len(count)), count)
    holdings = Holdings(
        cash=np.ones(len(count)),
        role=np.zeros(len(count), int),
        account=owner,
        market=np.concatenate([np.arange(c) for c in count]),
        size=np.ones(len(owner)),
        entry=np.ones(len(owner)),
    )
    stacked, _, _ = books.pack([holdings], 4)
    book = jax.tree.map(lambda x: x[0], stacked)
    blocks, first = [], 0
    for slots, accounts in book.layout.accounts:
        blocks.append(np.tile(first + np.arange(accounts), slots))
        first += accounts
    order = np.where(np.asarray(book.occupied), np.asarray(book.by_market), -1)
    return book, np.concatenate(blocks), order


def tree_probe(jit=compiled) -> bool:
    """A sum of 1,000 numbers of 16 decades: the same bits alone and in a batch, right to rounding."""
    use_double()
    random = np.random.default_rng(2)
    x = random.normal(size=(7, 1000)) * 10.0 ** random.uniform(-8, 8, (7, 1000))
    together = np.asarray(jit(jax.vmap(ledger.total))(x))
    alone = np.asarray([jit(ledger.total)(row) for row in x])
    exact = np.asarray([math.fsum(row) for row in x])
    allowed = 10 * np.finfo(float).eps * np.abs(x).sum(axis=1)  # ⌈log₂ 1000⌉ roundings
    return bool((together == alone).all() and (np.abs(alone - exact) <= allowed).all())


def random_probe() -> bool:
    """Threefry-2x32-20 of key 0 and counter 0 is 6b200159, 99ba4efe (Random123, kat_vectors)."""
    key = jax.random.wrap_key_data(jnp.zeros(2, jnp.uint32), impl="threefry2x32")
    return int(jax.random.bits(key, (), jnp.uint32)) == 0x6B200159 ^ 0x99BA4EFE


def double_probe(jit=compiled) -> bool:
    """Quotients, roots and products have all their 53 bits, as NumPy's have."""
    use_double()
    x = np.random.default_rng(3).uniform(0.1, 10.0, 1000)
    found = jit(lambda x: (1.0 / x, jnp.sqrt(x), x * x))(x)
    return all(
        np.array_equal(np.asarray(one), known)
        for one, known in zip(found, (1.0 / x, np.sqrt(x), x * x), strict=True)
    )


@functools.lru_cache
def failed() -> tuple[str, ...]:
    """Names of the probes that this jax fails on this device; empty where all is well."""
    probes = {"product": product_probe, "gather": gather_probe}
    return tuple(name for name, probe in probes.items() if not probe())
