"""The rules and numbers of a venue. Which rule: a name. How much: a number that can be swept."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from riskengine.types import pytree, static

SIZE_UNIT = 1e6  # USD at the opening mark: the position size that margin premiums are quoted for


@pytree
class Margin:
    """Tiers of every market, or of every position once a book is under the venue.

    Short tables are padded with their last tier (floor: infinity).
    """

    floor: Float[Array, "tiers *held"]  # USD of notional
    ratio: Float[Array, "tiers *held"]  # maintenance margin / notional
    deduction: Float[Array, "tiers *held"]  # USD, makes marginal brackets continuous
    initial: Float[Array, "tiers *held"]  # initial margin / notional
    premium: Float[Array, " *held"]  # of notional, for a position of SIZE_UNIT
    premium_on: Float[Array, ""]  # share of the table's margin that the premium adds to
    kind: str = static()  # marginal | flat
    at: str = static()  # mark | entry
    growth: str = static()  # none | linear | root, of the premium in size


@pytree
class Liquidation:
    """Orders of under-margined accounts to the order book."""

    below: Float[Array, ""]  # of maintenance margin
    above: Float[Array, ""]
    until: Float[Array, ""]  # of maintenance margin: where a liquidation ends
    fraction: Float[Array, ""]
    fraction_above: Float[Array, ""]  # USD of notional
    cooldown: Float[Array, ""]  # s
    buffer: Float[Array, ""]
    multiple: Float[Array, ""]  # shares that restore margin are multiples of this; 0: any
    clip: Float[Array, ""]  # s between clips
    clip_least: Float[Array, ""]  # USD of notional, per position and clip
    clip_most: Float[Array, ""]  # USD of notional, per account and clip
    ramp: Float[Array, ""]  # s from the start of a liquidation until all may be sent
    ramp_start: Float[Array, ""]  # share that may be sent at once
    dust: Float[Array, ""]  # USD of notional
    slack: Float[Array, ""]  # how far beyond the mark a limit lies: of notional, or of margin
    fee: Float[Array, ""]  # of notional
    fee_to_pool: Float[Array, ""]
    sizing: str = static()  # full | fractional | to_margin | tiers | clips
    tiers_down: int = static()
    limit: str = static()  # none | bankruptcy | fillable | mark
    positions: str = static()  # all | largest: which of an account's are sent in a step
    execution: str = static()  # partial | all_or_none
    backing: str = static()  # none | bankrupt | fills
    fee_cap: str = static()  # equity | surplus | none
    remembers: bool = static()  # whether `until` or `ramp` is in use
    cools: bool = static()  # whether `cooldown` is in use


@pytree
class Takeover:
    """When a pool takes an account's positions, how much of them, and at which price."""

    below: Float[Array, ""]  # of maintenance margin
    above: Float[Array, ""]
    gap: Float[Array, ""]  # of notional: close-out margin is at least M − gap · N
    discount: Float[Array, ""]  # of notional, what a pool pays less than the mark
    penalty: Float[Array, ""]  # of maintenance margin, likewise
    sizing: str = static()  # full | to_margin
    price: str = static()  # bankruptcy | mark
    has_gap: bool = static()  # whether `gap` is in use


@pytree
class Pools:
    """The venue's own capital: vaults and fund pools."""

    of_market: Int[Array, " markets"]
    share: Float[Array, " pools"]  # of the first-loss capital
    fixed: Float[Array, " pools"]  # USD, where the share is 0
    inventory_cap: Float[Array, " pools"]  # net inventory notional / balance
    rate_cap: Float[Array, " pools"]  # notional taken over per second / capital
    margin_multiple: Float[Array, " pools"]  # of maintenance margin on inventory
    drawdown: Float[Array, " pools"]  # fall from the peak, of capital at the peak, that starts ADL
    release: Float[Array, " pools"]  # fall at which it ends
    unwind_rate: Float[Array, " pools"]  # of depth per second
    owner_pays: Float[Array, " pools"]  # USD, most that the owner pays for a pool in a run
    owner: tuple[int, ...] = static()  # who pays what a pool still owes; −1 nobody
    names: tuple[str, ...] = static()
    triggers: tuple[str, ...] = static()  # inventory | rate | margin | drawdown: read capital


@pytree
class Deleveraging:
    """Auto-deleveraging: who is closed, against whom, at which price."""

    below: Float[Array, ""]  # of maintenance margin
    spread: Float[Array, ""]  # of mark, against the losers
    deviation: Float[Array, ""]  # from the mark, beyond which the mark is used
    mark_share: Float[Array, ""]  # of the counterparties' price; the pool keeps the difference
    top: Float[Array, ""]  # holders of so many highest scores share pro rata
    profit_cap: Float[Array, ""]  # of a side, as a share of half the pool
    profit_left: Float[Array, ""]  # to which it is cut
    price: str = static()  # bankruptcy | bankruptcy_or_mark | previous_mark | mark
    pool_price: str = static()  # bankruptcy | cost | threshold | previous_mark | mark
    policy: str = static()  # queue | pro_rata | top
    allocation: str = static()  # average | sequence
    ranking: str = static()
    winners_only: bool = static()
    pools_in_queue: bool = static()
    overlap_only: bool = static()  # whom the losers' price would make riskier is left out
    waits: bool = static()  # accounts whose cooldown runs are not closed
    bypass: bool = static()  # while a pool's drawdown rule holds, its markets' book is left alone
    blends: bool = static()  # whether `mark_share` is in use
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
    social_share: Float[Array, ""]  # of balances that are withdrawn while money is short
    stages: tuple[str, ...] = static()  # the waterfall, in order
    mark_rule: str = static()  # index | mid | median
    social: str = static()  # none | winners | positions | balances


def owners(venue: Venue) -> Bool[Array, " pools"]:
    """Pools with capital outside F that another pool passes what it still owes to."""
    pools = venue.pools
    named = jnp.asarray([pool in pools.owner for pool in range(len(pools.names))])
    return named & (pools.share == 0)


def pool_capital(venue: Venue) -> Float[Array, " pools"]:
    """USD that each pool starts with: its share of F, or its own fixed capital."""
    pools = venue.pools
    first_loss = pools.share > 0
    return jnp.where(
        first_loss, jnp.where(first_loss, pools.share, 1.0) * venue.capital, pools.fixed
    )


def exceeds(need: Float[Array, " pools"], venue: Venue) -> Bool[Array, " pools"]:
    """Whether pools need more than they have: a rule is broken exactly where this holds.

    Compared as it is recorded, need / share against F, so that not even rounding comes between a
    decision and the capital that is said to prevent it.
    """
    pools = venue.pools
    first_loss = pools.share > 0
    shared = need / jnp.where(first_loss, pools.share, 1.0) > venue.capital
    return jnp.where(first_loss, shared, need > pools.fixed)
