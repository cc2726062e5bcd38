"""One step of every lever: by how much each number is moved up and down, and where it cannot be.

A step is a tenth of a number, and for shares and fees, which may be 0, an amount. What nothing
depends on is not moved: its derivative is exactly 0, and `why` says so.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from riskengine.calibration import levers
from riskengine.calibration.levers import Levers
from riskengine.montecarlo.setting import Setting
from riskengine.specs.book import Book
from riskengine.specs.venue import Venue

STEP = 0.1  # of a number
FEE = 1e-3  # of notional
SHARE = 0.1  # of fees
ALONE = 0.1  # of traders' notional: a tier with less is moved together with others
LEAST = 0.01  # of traders' notional: tiers with less are left out
TIERS = 3  # at most so many tiers alone


@dataclass(frozen=True)
class Move:
    """A lever with its step down and up; neither: its derivative is exactly 0, and `why`."""

    name: str  # as in the names of estimates
    said: str  # what is moved
    step: str  # by how much
    down: Levers | None = None
    up: Levers | None = None
    response: float = 0.0  # of accounts to caps on leverage
    why: str = ""  # why it is not moved, or to one side only


def moves(setting: Setting, responses: Sequence[float], step: float = 1.0) -> list[Move]:
    """All levers but the fund, each by `step` of its steps; caps once for every response."""
    venue = setting.venue
    found = [_vault(venue, step), *_fees(venue, step)]
    for name, said in (
        ("maintenance", "maintenance margin"), ("depth", "depth of the order book"),
        ("volatility", "volatility"),
    ):  # fmt: skip
        found.append(_factor(venue, name, said, step))
    return found + _caps(setting.books, venue, responses, step)


def _factor(venue: Venue, name: str, said: str, step: float) -> Move:
    """A number that is multiplied."""
    down, up = (
        dataclasses.replace(levers.still(venue), **{name: jnp.asarray(1.0 + sign * step * STEP)})
        for sign in (-1, 1)
    )
    return Move(name, said, f"{100 * step * STEP:g} %", down, up)


def _vault(venue: Venue, step: float) -> Move:
    move = _factor(venue, "vault", "equity of vaults outside the fund", step)
    if bool(jnp.any((venue.pools.share == 0) & (venue.pools.fixed > 0))):
        return move
    why = "exactly 0: the venue has no capital outside the fund"
    return dataclasses.replace(move, down=None, up=None, why=why)


def _fees(venue: Venue, step: float) -> list[Move]:
    """The liquidation fee, and the part of it that tops up the fund and the vaults."""
    fee, to_pool = float(venue.liquidation.fee), float(venue.liquidation.fee_to_pool)
    by, share = step * FEE, step * SHARE
    still = levers.still(venue)
    name, said, words = "fee", "liquidation fee", f"{100 * by:g} % of notional"
    top = "top_up", "share of liquidation fees that goes to the pools", f"{100 * share:g} points"
    if "book" not in venue.stages:
        why = "exactly 0: the venue sends no orders to a book"
        return [Move(name, said, words, why=why), Move(*top, why=why)]
    if fee <= 0:  # a fee that goes nowhere helps nobody
        up = dataclasses.replace(still, fee=jnp.asarray(by), fee_to_pool=jnp.asarray(1.0 - to_pool))
        why = "up only: the venue charges none; all of the new one goes to the pools"
        return [
            Move(name, said, words, up=up, why=why),
            Move(*top, why="exactly 0: the venue charges no liquidation fee"),
        ]
    down = dataclasses.replace(still, fee=jnp.asarray(-by)) if fee >= by else None
    up = dataclasses.replace(still, fee=jnp.asarray(by))
    found = [Move(name, said, words, down, up, why="" if down else f"up only: it is {fee:.3g}")]
    # a little less than 1 is 1, where shares were given in percent
    ends = [
        dataclasses.replace(still, fee_to_pool=jnp.asarray(sign * share))
        if -1e-9 <= to_pool + sign * share <= 1 + 1e-9
        else None
        for sign in (-1, 1)
    ]
    sides = {(True, False): "down only", (False, True): "up only"}
    side = sides.get((ends[0] is not None, ends[1] is not None), "")
    why = f"{side}: it is {100 * to_pool:.3g} %" if side else ""
    return [*found, Move(*top, ends[0], ends[1], why=why)]


def _caps(books: Book, venue: Venue, responses: Sequence[float], step: float) -> list[Move]:
    """Caps on leverage, tier by tier: those with notional alone, the small ones together."""
    notional = levers.by_tier(books, venue)
    share = notional / max(float(notional.sum()), 1e-300)
    found = []
    for tiers in tier_groups(share):
        held = float(share[tiers].sum())
        one = len(tiers) == 1
        which = f"tier {tiers[0] + 1}" if one else f"tiers {_listed(tiers)}"
        name = f"leverage_cap_tier{tiers[0] + 1}" if one else "leverage_cap_other_tiers"
        ends = []
        for sign in (-1, 1):
            factor = np.ones(len(share))
            factor[tiers] += sign * step * STEP
            ends.append(dataclasses.replace(levers.still(venue), leverage_cap=jnp.asarray(factor)))
        for response in responses:
            said = (
                f"leverage cap, {which} ({100 * held:.3g} % of notional), accounts follow by "
                f"{response:g}"
            )
            named = f"{name}_response{100 * response:.0f}"
            found.append(Move(named, said, f"{100 * step * STEP:g} %", *ends, response=response))
    return found


def tier_groups(share: np.ndarray) -> list[list[int]]:
    """Tiers that are moved together, by their shares of traders' notional.

    The largest, if they have `ALONE`, alone; the others with some notional together, unless they all
    have less than `LEAST`.
    """
    order = np.argsort(-share, kind="stable")
    alone = [int(n) for n in order[:TIERS] if share[n] >= ALONE]
    rest = [int(n) for n in np.flatnonzero(share > 0) if n not in alone]
    found = [[n] for n in sorted(alone)]
    return [*found, rest] if rest and share[rest].sum() >= LEAST else found


def _listed(tiers: Sequence[int]) -> str:
    """1–4, 6."""
    parts, first = [], tiers[0]
    for before, after in zip(tiers, [*tiers[1:], -1], strict=True):
        if after != before + 1:
            parts.append(f"{first + 1}" if first == before else f"{first + 1}–{before + 1}")
            first = after
    return ", ".join(parts)
