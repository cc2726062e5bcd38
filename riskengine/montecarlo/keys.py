"""Which random number belongs to which path and purpose.

Every draw has its own stream: `fold_in` by purpose, then by market where there is one, then by
path. Path 17 meets the same crash alone, in any chunk, on any number of devices, and against any
venue; a market that is added changes nobody else's prices. The numbers are part of every result:
streams are only ever appended.
"""

import enum
import zlib

import jax
from jaxtyping import Array, Key


class Stream(enum.IntEnum):
    """Purposes of random numbers."""

    BOOK = 1
    SCALE = 2
    DIRECTION = 3
    TURNING = 4
    REBOUND = 5
    DEPTH = 6
    BETA = 7
    JUMP_COUNT = 8
    JUMP_TIME = 9
    JUMP_PARENT = 10
    JUMP_SIZE = 11
    JUMP_SIDE = 12
    COMMON = 13
    MARKET = 14
    REFINE_COMMON = 15
    REFINE_MARKET = 16
    SHADOW = 17
    LEVEL = 18
    LEAN = 19
    CHOICE = 20
    GRID = 21
    FRESH = 22  # another root: other books and other crashes


SEEDS = 2**32


def root(seed: int) -> Key[Array, ""]:
    """The key of a run. Seeds lie in [0, 2³²): others would silently repeat these."""
    if not 0 <= seed < SEEDS:
        raise ValueError(f"seed must be an integer from 0 to {SEEDS - 1}, got {seed}")
    return jax.random.key(seed, impl="threefry2x32")


def stream(key: Key[Array, ""], purpose, *where) -> Key[Array, ""]:
    """Key of a purpose, then of a market, a path or a book."""
    for number in (purpose, *where):
        key = jax.random.fold_in(key, number)
    return key


def market_id(name: str) -> int:
    """A number for a market that depends on its name alone."""
    return zlib.crc32(name.encode())
