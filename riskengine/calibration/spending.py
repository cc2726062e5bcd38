"""What each look on fresh crashes may be wrong with, and how many crashes that takes."""

import math


def spent(alpha: float, look: int) -> float:
    """What of α the k-th look may be wrong with, α/2^k: together less than α. Looks count from 1."""
    return alpha / 2.0**look


def paths_needed(exceed: float, tail: float) -> int:
    """Independent paths without which no order statistic is an upper limit: (1 − ε)ⁿ ≤ tail."""
    return math.ceil(math.log(tail) / math.log1p(-exceed))
