"""The rules and numbers of a venue. Which rule: a name. How much: a number that can be swept."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from riskengine.types import pytree, static


@pytree
class Margin:
    """Tiers of every market, or of every position once a book is under the venue.

    Short tables are padded with their last tier (floor: infinity).
    """

    floor: Float[Array, "tiers *held"]  # USD of notional
    ratio: Float[Array, "tiers *held"]  # maintenance margin / notional
    deduction: Float[Array, "tiers *held"]  # USD, makes marginal brackets continuous
    initial: Float[Array, "tiers *held"]  # initial margin / notional
    kind: str = static()  # marginal | flat
    at: str = static()  # mark | entry


@pytree
class Liquidation:
    """Orders of under-margined accounts to the order book."""

    below: Float[Array, ""]  # of maintenance margin
    above: Float[Array, ""]
    fraction: Float[Array, ""]
    fraction_above: Float[Array, ""]  # USD of notional
    cooldown: Float[Array, ""]  # s
    buffer: Float[Array, ""]
    dust: Float[Array, ""]  # USD of notional
    fee: Float[Array, ""]  # of notional
    fee_to_pool: Float[Array, ""]
    sizing: str = static()  # full | fractional | to_margin
    limit: str = static()  # none | bankruptcy
    bankrupt_orders: str = static()  # none | fund
    fee_cap: str = static()  # equity | none


@pytree
class Takeover:
    """When a pool takes an account's positions and all its margin."""

    below: Float[Array, ""]  # of maintenance margin
    above: Float[Array, ""]


@pytree
class Pools:
    """The venue's own capital: vaults and fund pools."""

    of_market: Int[Array, " markets"]
    share: Float[Array, " pools"]  # of the first-loss capital
    fixed: Float[Array, " pools"]  # USD, where the share is 0
    inventory_cap: Float[Array, " pools"]  # net inventory notional / balance
    margin_multiple: Float[Array, " pools"]  # of maintenance margin on inventory
    unwind_rate: Float[Array, " pools"]  # of depth per second
    owner: tuple[int, ...] = static()  # who pays what a pool still owes; −1 nobody
    names: tuple[str, ...] = static()
    triggers: tuple[str, ...] = static()  # rules that read capital: loss, inventory, margin


@pytree
class Deleveraging:
    """Auto-deleveraging: who is closed, against whom, at which price."""

    below: Float[Array, ""]  # of maintenance margin
    price: str = static()  # bankruptcy | previous_mark | mark
    pool_price: str = static()
    policy: str = static()  # queue | pro_rata
    allocation: str = static()  # average | sequence
    ranking: str = static()
    winners_only: bool = static()
    pools_in_queue: bool = static()
    unmatched: str = static()  # keep | unfunded


@pytree
class Venue:
    """A venue is data: an ordered list of stages and the numbers they read."""

    capital: Float[Array, ""]  # F, first-loss capital, USD; infinity shows what is needed
    mark_window: Float[Array, ""]  # s, of the basis that enters the mark
    margin: Margin
    liquidation: Liquidation
    takeover: Takeover
    pools: Pools
    adl: Deleveraging
    stages: tuple[str, ...] = static()  # the waterfall, in order
    mark_rule: str = static()  # index | mid | median
    social: str = static()  # none | winners


def pool_capital(venue: Venue) -> Float[Array, " pools"]:
    """USD that each pool starts with: its share of F, or its own fixed capital."""
    pools = venue.pools
    first_loss = pools.share > 0
    return jnp.where(
        first_loss, jnp.where(first_loss, pools.share, 1.0) * venue.capital, pools.fixed
    )
