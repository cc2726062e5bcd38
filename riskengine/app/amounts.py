"""Numbers as people read them."""

import numpy as np

from riskengine.montecarlo.estimators import Estimate

WHOLE = 6  # digits of a number that is written out
ROUNDING = 1e-12  # of a whole: less is nothing


def hundredths(share: float, digits: int = 3) -> str:
    """A fraction in percent, without the sign of it."""
    x = 100 * share if abs(share) > ROUNDING else 0.0
    whole = round(x) if abs(x) < 10**WHOLE else 0
    return str(whole) if abs(whole) >= 10**digits else f"{x:.{digits}g}"


def percent(share: float, digits: int = 3) -> str:
    """A fraction in percent."""
    return f"{hundredths(share, digits)} %"


def usd(x: float | None) -> str:
    """Dollars."""
    if x is None or not np.isfinite(x):
        return "unknown"
    for size, name in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:.3g} {name} USD"
    return f"{x:.3g} USD" if abs(x) >= CENT else "0 USD"


CENT = 0.01  # USD: less is rounding


def counted(count: int, what: str) -> str:
    """A number of things: 1 path, 4,096 paths, 41 crashes."""
    several = "es" if what.endswith("sh") else "s"
    return f"{count:,} {what}{'' if count == 1 else several}"


def ends(low: float | None, high: float | None, unit: float = 1.0) -> str:
    """Both ends of an interval in percent of a unit: 57.7 to 73.5 %."""
    if low is None or high is None:
        return " to ".join("unbounded" if x is None else percent(x / unit) for x in (low, high))
    return f"{hundredths(low / unit)} to {percent(high / unit)}"


def probability(e: Estimate, before: str = "") -> str:
    """A probability with its interval; a bound where nothing was hit."""
    if e.value is None:
        return "unknown"
    if e.hits == 0:
        return f"0 of {e.n:,} (at most {percent(e.high or 0.0, 2)})"
    return f"{percent(e.value)} ({before}{ends(e.low or 0.0, e.high)})"
