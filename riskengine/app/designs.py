"""Designs that are put beside today's: caps, margins, vaults, pools, ADL policies, and single notches."""

import dataclasses
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from riskengine.app.config import DesignConfig, SearchConfig
from riskengine.calibration import design, levers
from riskengine.calibration.design import Bounds, Space
from riskengine.calibration.levers import Levers
from riskengine.montecarlo.setting import Setting
from riskengine.specs.venue import Venue

PCT = 0.01
CAPS = (0.75, 0.5, 0.25)
MAINTENANCE = (1.5, 2.0)
VAULTS = (0.0, 0.5, 2.0, 4.0)
RESPONSES = (0.0, 0.5, 1.0)
NOTCH_CAP, NOTCH_MAINTENANCE = 0.9, 1.1  # what a marginal price is worked out from
NOTCH_FEE = 0.001  # of notional


@dataclass(frozen=True)
class WhatIf:
    """A design beside today's."""

    kind: str  # caps, maintenance, vault, fee, fee_to_pool, policy or split
    factor: float  # on today's; what is added, for fees
    levers: Levers
    response: float | None = None  # how far accounts follow caps; None: caps stay
    marginal: bool = False  # a notch, for a marginal price
    share: np.ndarray | None = None  # of pools in the first-loss capital
    policy: str | None = None  # of ADL

    @property
    def words(self) -> str:
        """What it is, for people."""
        if self.kind == "split":
            return "pools split by what they draw"
        if self.policy is not None:
            return POLICIES[self.policy]
        if self.kind in ADDED:
            return f"{ADDED[self.kind]} {100 * self.factor:+.3g} points"
        said = f"{KINDS[self.kind]} x {self.factor:.3g}"
        return said if self.response is None else f"{said}, response {self.response:g}"

    def of(self, setting: Setting) -> Setting:
        """The setting under this design."""
        found = levers.moved(setting, self.levers, self.response or 0.0)
        venue = found.venue
        if self.share is not None:
            pools = dataclasses.replace(venue.pools, share=jnp.asarray(self.share))
            venue = dataclasses.replace(venue, pools=pools)
        if self.policy is not None:
            adl = dataclasses.replace(venue.adl, policy=self.policy)
            venue = dataclasses.replace(venue, adl=adl)
        return dataclasses.replace(found, venue=venue)


ADDED = {"fee": "liquidation fee", "fee_to_pool": "fees that pools receive"}
POLICIES = {"queue": "ADL by queue", "pro_rata": "ADL pro rata", "top": "ADL of the top holders"}
KINDS = {"caps": "leverage caps", "maintenance": "maintenance margin", "vault": "capital outside F"}


def responses(config: DesignConfig) -> tuple[float, ...]:
    """How accounts follow caps: as the user says, or all that are shown."""
    return RESPONSES if config.response is None else (config.response,)


def what_ifs(venue: Venue, config: DesignConfig) -> list[WhatIf]:
    """All designs beside today's, but for other splits of pools."""
    found = []
    for factor in (*CAPS, NOTCH_CAP):
        by = _caps(venue, factor)
        notch = factor == NOTCH_CAP
        found += [WhatIf("caps", factor, by, r, notch) for r in responses(config)]
    most = room(venue)
    asked = sorted({min(f, most) for f in MAINTENANCE} | {min(NOTCH_MAINTENANCE, most)})
    for factor in asked:
        by = dataclasses.replace(levers.still(venue), maintenance=jnp.asarray(factor))
        found.append(WhatIf("maintenance", factor, by, marginal=factor <= NOTCH_MAINTENANCE))
    found += _fees(venue)
    if outside(venue):
        for factor in VAULTS:
            by = dataclasses.replace(levers.still(venue), vault=jnp.asarray(factor))
            found.append(WhatIf("vault", factor, by))
    return found + _policies(venue, config)


def _policies(venue: Venue, config: DesignConfig) -> list[WhatIf]:
    """Other ADL policies; a venue that closes one loser after another has only its queue."""
    if venue.adl.allocation == "sequence":
        return []
    others = [policy for policy in config.policies if policy != venue.adl.policy]
    return [WhatIf("policy", 1.0, levers.still(venue), policy=policy) for policy in others]


def _fees(venue: Venue) -> list[WhatIf]:
    """A notch of the liquidation fee, and all of it for the pools where they receive a part."""
    now, still = venue.liquidation, levers.still(venue)
    found = []
    for name, added in (
        ("fee", min(NOTCH_FEE, 1.0 - float(now.fee))),
        ("fee_to_pool", 1.0 - float(now.fee_to_pool)),
    ):
        if added > 0.0:
            by = dataclasses.replace(still, **{name: jnp.asarray(added)})
            found.append(WhatIf(name, added, by, marginal=name == "fee"))
    return found


def _caps(venue: Venue, factor: float) -> Levers:
    """All caps on leverage multiplied, but never below 1x."""
    real = np.isfinite(np.asarray(venue.margin.floor))
    least = np.where(real, np.asarray(venue.margin.initial), 0.0).max(1)
    return dataclasses.replace(
        levers.still(venue), leverage_cap=jnp.asarray(np.maximum(factor, least))
    )


def room(venue: Venue) -> float:
    """The largest factor on maintenance margin that leaves it below initial margin."""
    real = np.isfinite(np.asarray(venue.margin.floor))
    ratio = np.asarray(venue.margin.initial) / np.asarray(venue.margin.ratio)
    return design.BELOW * float(np.where(real, ratio, np.inf).min())


def outside(venue: Venue) -> bool:
    """Whether pools have capital outside the first-loss capital: vaults, owners, providers."""
    pools = venue.pools
    return bool(np.any((np.asarray(pools.share) == 0.0) & (np.asarray(pools.fixed) > 0.0)))


def searched(setting: Setting, config: SearchConfig) -> Space:
    """The designs of the search for an optimum."""
    held = levers.by_tier(setting.books, setting.venue)
    return design.space(setting.venue, tuple(config.free), config.groups, bounds(config), held)


def bounds(config: SearchConfig) -> Bounds:
    """The user's bounds on levers."""
    return Bounds(
        caps=(config.caps_least, config.caps_most),
        maintenance=(config.maintenance_least, config.maintenance_most),
        vault=(config.vault_least, config.vault_most),
        fee=(PCT * config.fee_least_pct, PCT * config.fee_most_pct),
        fee_to_pool=(PCT * config.fee_to_pool_least_pct, PCT * config.fee_to_pool_most_pct),
    )
