"""Designs of a venue and the free parameters that a search moves: every vector is a valid design.

A search works on a vector x of any real numbers. `Space.design` makes of it a `Levers` within
bounds: each lever lies between its least and its most value by a logistic function of its own
coordinate, of the lever itself where it is a share, of its logarithm where it is a factor. What is
least and most may depend on levers before it, so that designs that no venue could publish cannot be
reached: caps on leverage do not rise from tier to tier and are never below 1x, and maintenance
margin stays below initial margin in every tier of every market.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from riskengine.calibration import levers
from riskengine.calibration.levers import Levers
from riskengine.specs.venue import Venue
from riskengine.types import InputError, pytree, static

BELOW = 0.999  # of initial margin: what maintenance margin may be at most
END = 1e-9  # of a range: how near a lever comes to its ends when it is read back
NAMES = ("caps", "maintenance", "fund", "vault", "fee", "fee_to_pool")
Vector = Float[Array, " parameters"]
Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Least and most of every lever: factors on today's, but for `fee` and `fee_to_pool`."""

    caps: Range = (0.1, 1.0)
    maintenance: Range = (1.0, 2.0)
    fund: Range = (1e-3, 1e3)
    vault: Range = (0.1, 10.0)
    fee: Range = (0.0, 0.1)  # of notional
    fee_to_pool: Range = (0.0, 1.0)  # of fees


@pytree
class Space:
    """Free levers with their bounds, and what they must respect of the venue as it is."""

    least: Float[Array, " groups"]  # factor on caps
    most: Float[Array, " groups"]
    rise: Float[Array, " groups"]  # how much a group's factor may exceed that of the group before
    room: Float[Array, " tiers"]  # today's initial over maintenance margin, least of all markets
    ranges: dict[str, Float[Array, " ends"]]
    fee: Float[Array, ""]  # today's, of notional
    fee_to_pool: Float[Array, ""]  # today's, of fees
    group: tuple[int, ...] = static()  # of every tier: tiers of a group share a factor
    free: tuple[str, ...] = static()

    @property
    def size(self) -> int:
        """Coordinates of the vector."""
        return sum(len(self.least) if name == "caps" else 1 for name in self.free)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the coordinates."""
        caps = tuple(f"caps[{n}]" for n in range(len(self.least)))
        return sum((caps if name == "caps" else (name,) for name in self.free), ())

    def design(self, x: Vector) -> Levers:
        """The design of a vector, with levers that are not free as they are today."""
        share, at = jax.nn.sigmoid(x), 0
        moved: dict[str, Array] = {}
        caps = jnp.ones(len(self.group))
        if "caps" in self.free:
            factors = self._caps(share[: len(self.least)])
            caps, at = factors[jnp.asarray(self.group)], len(self.least)
        for name in self.free[1:] if at else self.free:
            low, high = self._ends(name, caps)
            moved[name], at = _between(share[at], low, high, name in FACTORS), at + 1
        for name in set(moved) & set(ADDED):
            moved[name] = moved[name] - getattr(self, name)
        one, none = jnp.asarray(1.0), jnp.asarray(0.0)
        rest = dict.fromkeys(("fund", "vault", "maintenance", "depth", "volatility"), one)
        return Levers(**rest | dict.fromkeys(ADDED, none) | {"leverage_cap": caps} | moved)

    def vector(self, design: Levers) -> Vector:
        """The vector of a design; what lies at an end of its range or beyond comes to it."""
        found = []
        if "caps" in self.free:
            found.append(self._shares(design.leverage_cap[jnp.asarray(self._first)]))
        for name in self.free[1:] if found else self.free:
            low, high = self._ends(name, design.leverage_cap)
            value = getattr(design, name)
            value = value + getattr(self, name) if name in ADDED else value
            found.append(_share(value, low, high, name in FACTORS)[None])
        share = jnp.clip(jnp.concatenate(found), END, 1.0 - END)
        return jnp.log(share) - jnp.log1p(-share)

    @property
    def _first(self) -> tuple[int, ...]:
        """The first tier of every group."""
        return tuple(self.group.index(n) for n in range(len(self.least)))

    def _caps(self, share: Vector) -> Vector:
        """Factors group by group: at most today's most, and no cap above that of the tier before."""
        found, before = [], jnp.asarray(jnp.inf)
        for n in range(len(self.least)):
            high = jnp.minimum(self.most[n], before * self.rise[n])
            before = _between(share[n], self.least[n], high, True)
            found.append(before)
        return jnp.stack(found)

    def _shares(self, factors: Vector) -> Vector:
        """What `_caps` undoes."""
        found, before = [], jnp.asarray(jnp.inf)
        for n in range(len(self.least)):
            high = jnp.minimum(self.most[n], before * self.rise[n])
            found.append(_share(factors[n], self.least[n], high, True))
            before = jnp.clip(factors[n], self.least[n], high)
        return jnp.stack(found)

    def _ends(self, name: str, caps: Float[Array, " tiers"]) -> tuple[Array, Array]:
        """Least and most of a lever under these factors on caps."""
        low, high = self.ranges[name]
        if name == "maintenance":
            high = jnp.minimum(high, BELOW * jnp.min(self.room / caps))
        return low, high


FACTORS = ("maintenance", "fund", "vault")
ADDED = ("fee", "fee_to_pool")


def _between(share: Array, low: Array, high: Array, factor: bool) -> Array:
    """Part of the way from low to high, by logarithms for a factor; never beyond either."""
    if factor:
        return jnp.clip(low * (high / low) ** share, low, high)
    return jnp.clip(low + (high - low) * share, low, high)


def _share(value: Array, low: Array, high: Array, factor: bool) -> Array:
    """What `_between` undoes; the middle where low and high are one."""
    way, done = (jnp.log(high / low), jnp.log(value / low)) if factor else (high - low, value - low)
    return jnp.where(way > 0, done / jnp.where(way > 0, way, 1.0), 0.5)


def space(
    venue: Venue, free: tuple[str, ...], groups: int, bounds: Bounds, held: np.ndarray | None = None
) -> Space:
    """The designs of a venue in which these levers are free; its tiers fall into so many groups.

    A group holds about as much notional as another, where `held` says what each tier holds, and
    about as many tiers otherwise. Raises `InputError` where bounds contradict each other or what a
    venue may publish.
    """
    unknown = [name for name in free if name not in NAMES]
    if unknown or not free:
        raise InputError("design.free", f"must be of {', '.join(NAMES)}", (unknown or [""])[0])
    for name in free:
        low, high = getattr(bounds, name)
        if not low <= high:
            raise InputError(f"design.{name}", "must have a least value <= its most", (low, high))
    tiers = _Tiers.of(venue)
    group = _grouped(np.ones(len(tiers.room)) if held is None else held, groups)
    least, most, rise = _chain(tiers, group, bounds.caps)
    if (least > most).any() and "caps" in free:
        must = "must leave a cap of at least 1x in every tier, not rising from tier to tier"
        raise InputError("design.caps", must, bounds.caps)
    low, caps = bounds.maintenance[0], most[np.asarray(group)] if "caps" in free else 1.0
    if "maintenance" in free and low > BELOW * np.min(tiers.room / caps):
        must = "must leave maintenance margin below initial margin in every tier"
        raise InputError("design.maintenance", must, bounds.maintenance)
    ordered = tuple(name for name in NAMES if name in free)
    fee = venue.liquidation
    return Space(
        least=jnp.asarray(least), most=jnp.asarray(most), rise=jnp.asarray(rise),
        room=jnp.asarray(tiers.room),
        ranges={n: jnp.asarray(getattr(bounds, n), float) for n in NAMES if n != "caps"},
        fee=fee.fee, fee_to_pool=fee.fee_to_pool, group=group, free=ordered,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Tiers:
    """What of the margin tables bounds caps, least favourable market first."""

    floor_of_caps: np.ndarray  # factor with which a tier's cap is 1x
    rise: np.ndarray  # factor by which a tier's may exceed the factor of the tier before
    room: np.ndarray  # initial over maintenance margin; infinite in a tier that no market has

    @classmethod
    def of(cls, venue: Venue) -> "_Tiers":
        tables = venue.margin
        real = np.isfinite(np.asarray(tables.floor))
        initial, ratio = np.asarray(tables.initial), np.asarray(tables.ratio)
        step = np.where(real[1:], initial[1:] / initial[:-1], np.inf).min(1)
        room = np.where(real, initial / ratio, np.inf).min(1)
        least = np.where(real, initial, 0.0).max(1)
        return cls(least, np.append(np.inf, step), room)


def _grouped(held: np.ndarray, groups: int) -> tuple[int, ...]:
    """Contiguous groups of tiers with about as much in each: a tier goes where its middle lies."""
    middle = (np.cumsum(held) - 0.5 * held) / held.sum()
    asked = np.minimum((groups * middle).astype(int), groups - 1)
    return tuple(int(n) for n in np.unique(asked, return_inverse=True)[1])


def _chain(tiers: _Tiers, group: tuple[int, ...], asked: Range) -> tuple[np.ndarray, ...]:
    """Least and most factor of every group, and its rise; least ones leave room for later groups.

    Within a group all share a factor, which keeps caps falling since today's do.
    """
    number = np.asarray(group)
    count = int(number.max()) + 1
    first = [int(np.argmax(number == n)) for n in range(count)]
    rise = tiers.rise[first]
    least = np.asarray([tiers.floor_of_caps[number == n].max() for n in range(count)])
    least = np.maximum(least, asked[0])
    for n in reversed(range(count - 1)):
        least[n] = max(least[n], least[n + 1] / rise[n + 1])
    return least, np.full(count, asked[1]), rise


def today(of: Space) -> Vector:
    """The vector of the design that a venue has, as far as it lies within the bounds."""
    one, none = jnp.asarray(1.0), jnp.asarray(0.0)
    return of.vector(
        Levers(
            fund=one, vault=one, maintenance=one, leverage_cap=jnp.ones(len(of.group)), fee=none,
            fee_to_pool=none, depth=one, volatility=one,
        )
    )  # fmt: skip


def published(venue: Venue, design: Levers) -> list[str]:
    """What of a design no venue could publish, in words; nothing for what `Space.design` gives."""
    moved, said = levers.of_venue(venue, jax.tree.map(jnp.asarray, design)), []
    tables = moved.margin
    real = np.isfinite(np.asarray(tables.floor))
    initial, ratio = np.asarray(tables.initial), np.asarray(tables.ratio)
    if (np.where(real, initial, 0.0) > 1.0 + 1e-12).any():
        said.append("a cap on leverage below 1x")
    if np.where(real[1:], initial[1:] < initial[:-1] * (1.0 - 1e-12), False).any():
        said.append("a cap that rises from tier to tier")
    if np.where(real, ratio >= initial, False).any():
        said.append("maintenance margin not below initial margin")
    if (np.where(real, ratio, 1.0) <= 0.0).any():
        said.append("a margin that is not positive")
    for name in ADDED:
        value = float(getattr(moved.liquidation, name))
        if not -1e-12 <= value <= 1.0 + 1e-12:
            said.append(f"a {name} outside 0 to 1")
    if float(moved.capital) < 0.0 or (np.asarray(moved.pools.fixed) < 0.0).any():
        said.append("negative capital")
    return said
