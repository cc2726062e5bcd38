"""The law of a synthetic book: who trades, how large, on which side, with how much equity.

A book is a function of uniform numbers, one array per purpose (`draw`), so it does not depend on
any library's normal, gamma or choice routine. `build` turns them into `Holdings`.
"""

import dataclasses
import enum

import jax
import numpy as np
from jaxtyping import Array, Key

from riskengine import types
from riskengine.specs.book import MAKER, TRADER, Holdings
from riskengine.specs.census import TOP, describe
from riskengine.types import InputError

STEERED = 0.95  # of notional: the accounts that are placed by hand, largest first
INDEPENDENT = 100_000  # from this many accounts on draws are independent, not stratified
SMALLEST = 2.0**-53


__all__ = ["Population", "build", "describe", "draw", "sample"]


class Draw(enum.IntEnum):
    """Purposes of the uniforms of a book. Part of every result: only ever appended."""

    RADIUS = 1
    ANGLE = 2
    NOTIONAL = 3
    CASH = 4
    DETACHED = 5
    COUNT = 6
    FIRST = 7
    OTHERS = 8
    SPLIT = 9
    HEDGED = 10
    FLIP = 11
    SIDE = 12
    ENTRY = 13
    MAKER = 14


@dataclasses.dataclass(frozen=True)
class Population:
    """Accounts of a venue. Money in USD at the opening marks, ratios as fractions.

    Between two quantiles the logarithm is linear in the log-odds of the probability, so every
    piece is a power law and the first one goes on below the first quantile. Beyond the last one
    P(X > x) ∝ x^−tail. In each book the largest 1 % are then raised to one power, so that they
    hold `…_top_share`: tails this heavy have no usable mean, and a book whose total is left to its
    largest account is another venue every time. How the 1 % divide that share stays random.

    Sources: [A] 19,337 accounts deleveraged on Hyperliquid on 2025-10-10 (data: ConejoCapital,
    HyperMultiAssetedADL), [B] 608 large accounts of 2026-02-22 (kittycapital, hyperliquid-whales).
    An account's cash, without unrealised profit in [A], is taken as its equity.
    """

    accounts: int = 2000  # traders
    makers: int = 8
    # Of open interest: BTC, ETH, SOL, XRP in proportion to notional deleveraged [A].
    market_share: tuple[float, ...] = (0.448, 0.330, 0.199, 0.023)
    probabilities: tuple[float, ...] = (
        0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999,
    )  # fmt: skip
    notional: tuple[float, ...] = (
        1.996, 13.37, 33.27, 144.6, 481.1, 3125.0, 27_040.0, 114_400.0, 1.041e6, 1.828e7,
    )  # fmt: skip  # per account, over all its positions [A]
    notional_tail: float = 1.31  # Hill estimate of the largest 0.1 % [A]
    notional_top_share: float = 0.842  # [A]
    cash: tuple[float, ...] = (
        0.4236, 14.9, 44.11, 283.5, 957.5, 6102.0, 44_210.0, 180_900.0, 1.675e6, 2.555e7,
    )  # fmt: skip  # [A]
    cash_tail: float = 1.37  # [A]
    cash_top_share: float = 0.818  # [A]
    # No account holds this part of the total (twice the mean of the largest 1 % where those are
    # few). In [A] the largest of all has 0.157 of notional and 0.108 of cash.
    largest_share: float = 0.25
    # Normal scores of notional and cash of an account correlate by `correlation`, unless its cash
    # has nothing to do with its positions: probability `detached` for the smallest account,
    # falling linearly to 0 for the largest. Fitted to [A]: the correlation of logs (0.782) and the
    # quantiles of notional / cash. One correlation of 0.78 for all fits neither: half of the
    # largest 1 % would have leverage above 4, in [A] it is 1.05.
    correlation: float = 0.95
    detached: float = 0.36
    # Shares of accounts with 1, 2, … positions; the rest has more, P(count ≥ k) ∝ k^−tail; never
    # more than there are markets [B].
    positions: tuple[float, ...] = (0.382, 0.151, 0.140, 0.039, 0.044)
    positions_tail: float = 0.9
    hedged: float = 0.25  # of accounts: long in one market, short in another [B]
    # Mark / entry − 1 [B]; beyond the outer quantiles their values.
    gain_probabilities: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
    gain_long: tuple[float, ...] = (
        -0.8341, -0.6271, -0.4695, -0.1562, -0.02646, 0.001533, 0.03339, 0.08042, 0.2836,
    )  # fmt: skip
    gain_short: tuple[float, ...] = (
        -0.8841, -0.7208, -0.5612, -0.3377, -0.06711, -0.004106, 0.02587, 0.07286, 0.2628,
    )  # fmt: skip
    # Of the traders' notional; makers hold the balance. [B] has 0.369 among winners, who were
    # short; assumed nearer to one half for everybody.
    long_share: float = 0.42
    # A long has this many times less cash than a short would have in its place; the law of cash
    # over all accounts stays. [A] are winners and nearly all short, and nobody publishes the
    # leverage of those who are liquidated: the largest assumption.
    long_leverage: float = 2.0
    # Nobody opens with more, weighted by notional; the highest that Hyperliquid offers.
    leverage_cap: float | tuple[float, ...] = 40.0
    maker_leverage: float = 2.0  # a maker's inventory / equity; assumed
    # Equity of the makers on top, of open interest, so that makers without inventory can still
    # take some; assumed.
    maker_floor: float = 0.02
    # USD, over all markets, to which sizes and cash of every book are scaled; None: what the law
    # expects.
    open_interest: float | None = None

    def __post_init__(self):
        _check(self)

    @property
    def markets(self) -> int:
        return len(self.market_share)

    @property
    def expected_open_interest(self) -> float:
        """USD: the larger side of what the traders hold, since makers take the difference."""
        level = (np.arange(2**14) + 0.5) / 2**14 * (1.0 - TOP)
        body = np.exp(_log_quantile(level, self.probabilities, self.notional, self.notional_tail))
        mean = (1.0 - TOP) * body.mean() / (1.0 - self.notional_top_share)
        return float(max(self.long_share, 1.0 - self.long_share) * self.accounts * mean)


@dataclasses.dataclass(frozen=True)
class Uniforms:
    """Numbers in (0, 1), one array per purpose of `Draw`."""

    radius: np.ndarray  # accounts
    angle: np.ndarray
    notional: np.ndarray
    cash: np.ndarray
    detached: np.ndarray
    count: np.ndarray
    first: np.ndarray  # accounts, markets
    others: np.ndarray
    split: np.ndarray
    hedged: np.ndarray  # accounts
    flip: np.ndarray  # accounts, markets
    side: np.ndarray  # accounts
    entry: np.ndarray  # accounts, markets
    maker: np.ndarray  # makers, markets


PER_MARKET = {Draw.FIRST, Draw.OTHERS, Draw.SPLIT, Draw.FLIP, Draw.ENTRY, Draw.MAKER}


def sample(population: Population, key: Key[Array, ""]) -> Holdings:
    """One book. Traders come first, in no order, then the makers."""
    return build(population, draw(population, key))


def draw(population: Population, key: Key[Array, ""]) -> Uniforms:
    """All that is random in a book."""
    types.use_double()
    arrays = {}
    for purpose in Draw:
        rows = population.makers if purpose is Draw.MAKER else population.accounts
        shape = (rows, population.markets) if purpose in PER_MARKET else (rows,)
        uniform = jax.random.uniform(
            jax.random.fold_in(key, purpose), shape, "float64", minval=SMALLEST
        )
        arrays[purpose.name.lower()] = np.asarray(uniform)
    return Uniforms(**arrays)


def build(population: Population, uniforms: Uniforms) -> Holdings:
    """The book that these uniforms stand for."""
    notional, cash = _wealth(population, uniforms)
    signed = _positions(population, uniforms, notional)
    is_long = signed.sum(1) > 0.0
    relative = np.where(is_long, cash / population.long_leverage, cash)
    cash = np.sort(cash)[_rank(relative)]
    cap = np.broadcast_to(np.asarray(population.leverage_cap, float), population.markets)
    cash = np.maximum(cash, (np.abs(signed) / cap).sum(1))

    longs = np.maximum(signed, 0.0).sum(0)
    shorts = np.maximum(-signed, 0.0).sum(0)
    interest = population.open_interest or population.expected_open_interest
    scale = interest / np.maximum(longs, shorts).sum()
    signed, cash = scale * signed, scale * cash

    inventory = _makers(uniforms.maker, signed)
    gross = np.abs(inventory)
    floor = population.maker_floor * interest / population.makers
    equity = np.maximum(gross.sum(1) / population.maker_leverage, (gross / cap).sum(1)) + floor

    account, market = np.nonzero(signed)
    size = signed[account, market]
    maker, maker_market = (x.ravel() for x in np.indices(inventory.shape))
    return Holdings(
        cash=np.concatenate([cash, equity]),
        role=np.repeat([TRADER, MAKER], [population.accounts, population.makers]),
        account=np.concatenate([account, population.accounts + maker]),
        market=np.concatenate([market, maker_market]),
        size=np.concatenate([size, inventory.ravel()]),
        entry=np.concatenate(
            [_entry(population, size, uniforms.entry[account, market]), np.ones(inventory.size)]
        ),
    )


def _check(p: Population) -> None:
    """Raises `InputError` for the first number that cannot be."""
    for field, least in (("accounts", 2), ("makers", 1)):
        value = getattr(p, field)
        ok = isinstance(value, int | np.integer) and bool(value >= least)
        _must(ok, field, f"must be an integer >= {least}", value)
    shares = p.market_share
    ok = len(shares) > 0 and all(x > 0.0 for x in shares) and abs(sum(shares) - 1.0) < 1e-6
    _must(ok, "market_share", "must be positive shares, one per market, that sum to 1", shares)
    for field in ("probabilities", "gain_probabilities"):
        x = getattr(p, field)
        ok = len(x) > 1 and _rising(x) and len(set(x)) == len(x) and 0.0 < x[0] and x[-1] < 1.0
        _must(ok, field, "must be at least two rising numbers between 0 and 1", x)
    for field, count, least in (
        ("notional", len(p.probabilities), 0.0), ("cash", len(p.probabilities), 0.0),
        ("gain_long", len(p.gain_probabilities), -1.0),
        ("gain_short", len(p.gain_probabilities), -1.0),
    ):  # fmt: skip
        x = getattr(p, field)
        ok = len(x) == count and _rising(x) and least < x[0] and x[-1] < float("inf")
        _must(ok, field, f"must be {count} quantiles above {least:g} that never fall", x)
    for field in ("notional_top_share", "cash_top_share"):
        value = getattr(p, field)
        _must(TOP < value < 1.0, field, f"must be a share between {TOP} and 1", value)
    ok = 0.0 < p.largest_share <= 1.0
    _must(ok, "largest_share", "must be above 0 and at most 1", p.largest_share)
    for field in ("correlation", "detached", "hedged", "long_share"):
        value = getattr(p, field)
        _must(0.0 <= value <= 1.0, field, "must be between 0 and 1", value)
    x = p.positions
    ok = len(x) > 0 and all(a >= 0.0 for a in x) and sum(x) <= 1.0 + 1e-9
    _must(ok, "positions", "must be shares that sum to at most 1", x)
    for field in ("notional_tail", "cash_tail", "positions_tail", "maker_leverage"):
        value = getattr(p, field)
        _must(0.0 < value < float("inf"), field, "must be a positive number", value)
    ok = 1.0 <= p.long_leverage < float("inf")
    _must(ok, "long_leverage", "must be a number >= 1", p.long_leverage)
    caps = np.atleast_1d(np.asarray(p.leverage_cap, float))
    ok = len(caps) in (1, len(shares)) and bool(np.all(caps > 0.0))
    _must(ok, "leverage_cap", "must be positive, one number or one per market", p.leverage_cap)
    ok = 0.0 <= p.maker_floor < float("inf")
    _must(ok, "maker_floor", "must be a number >= 0", p.maker_floor)
    ok = p.open_interest is None or 0.0 < p.open_interest < float("inf")
    _must(ok, "open_interest", "must be null or a positive number of USD", p.open_interest)


def _must(condition: bool, field: str, text: str, got: object) -> None:
    if not condition:
        raise InputError(f"book.{field}", text, got)


def _rising(x: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(x[:-1], x[1:], strict=True))


def _odds(level: np.ndarray | tuple[float, ...]) -> np.ndarray:
    return np.log(level) - np.log1p(-np.asarray(level))


def _log_quantile(
    level: np.ndarray, probabilities: tuple[float, ...], values: tuple[float, ...], tail: float
) -> np.ndarray:
    """Logarithm of the quantile function: straight lines in log-odds, then a power law."""
    knots, y = _odds(probabilities), np.log(values)
    x = _odds(level)
    below = y[0] + (x - knots[0]) * (y[1] - y[0]) / (knots[1] - knots[0])
    beyond = y[-1] - (np.log1p(-level) - np.log1p(-probabilities[-1])) / tail
    middle = np.interp(x, knots, y)
    return np.where(x < knots[0], below, np.where(x > knots[-1], beyond, middle))


def _bent(
    level: np.ndarray, log_value: np.ndarray, corner: float, share: float, largest: float
) -> np.ndarray:
    """Values, those of the largest 1 % bent until they hold their share of the total.

    Above the quantile q of 1 − `TOP` a value x becomes y with

        1/y = 1/cap + (q/x)^γ (1/q − 1/cap),

    so the order stays and nothing exceeds the cap; one γ for all of a book.
    """
    top = level > 1.0 - TOP
    value = np.exp(log_value)
    distance = np.maximum(log_value[top] - corner, 0.0)
    if not distance.any() or top.all():
        return value
    total = value[~top].sum() / (1.0 - share)
    least = np.exp(-corner)
    most = min(1.0 / (total * max(largest, 2.0 * share / top.sum())), least)  # 1 / cap
    low, high = 0.0, 40.0 / distance[distance > 0.0].min()
    for _ in range(100):
        power = 0.5 * (low + high)
        value[top] = 1.0 / (most + (least - most) * np.exp(-power * distance))
        low, high = (power, high) if value[top].sum() < share * total else (low, power)
    return value


def _levels(rank: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Probabilities in the order of `rank`: one in each n-th, or independent in a large book."""
    n = len(uniform)
    ordered = np.sort(uniform) if n >= INDEPENDENT else (np.arange(n) + uniform) / n
    return np.minimum(ordered[rank], 1.0 - SMALLEST)


def _rank(score: np.ndarray) -> np.ndarray:
    rank = np.empty(len(score), int)
    rank[np.argsort(score, kind="stable")] = np.arange(len(score))
    return rank


def _wealth(p: Population, u: Uniforms) -> tuple[np.ndarray, np.ndarray]:
    """Notional and cash of each account: quantiles at the ranks of two correlated normals."""
    radius, angle = np.sqrt(-2.0 * np.log(u.radius)), 2.0 * np.pi * u.angle
    score, noise = radius * np.cos(angle), radius * np.sin(angle)
    rank = _rank(score)
    detached = u.detached < p.detached * (1.0 - (rank + 0.5) / p.accounts)
    attached = p.correlation * score + np.sqrt(1.0 - p.correlation**2) * noise
    columns = []
    for where, uniform, values, tail, share in (
        (rank, u.notional, p.notional, p.notional_tail, p.notional_top_share),
        (_rank(np.where(detached, noise, attached)), u.cash, p.cash, p.cash_tail, p.cash_top_share),
    ):
        level = _levels(where, uniform)
        log_value = _log_quantile(level, p.probabilities, values, tail)
        corner = _log_quantile(np.array([1.0 - TOP]), p.probabilities, values, tail)[0]
        columns.append(_bent(level, log_value, corner, share, p.largest_share))
    return columns[0], columns[1]


def _counts(p: Population, uniform: np.ndarray) -> np.ndarray:
    """Positions per account, at most one per market."""
    edges = np.cumsum(p.positions)
    listed = np.searchsorted(edges, uniform, side="right") + 1
    rest = 1.0 - edges[-1]
    more = len(edges) + 1
    beyond = np.maximum((1.0 - uniform) / max(rest, SMALLEST), SMALLEST)  # survival, given more
    reach = np.minimum(more * np.minimum(beyond, 1.0) ** (-1.0 / p.positions_tail), p.markets + 1.0)
    count = np.where(listed < more, listed, reach.astype(int))
    return np.clip(count, 1, p.markets)


def _positions(p: Population, u: Uniforms, notional: np.ndarray) -> np.ndarray:
    """Signed notional per account and market.

    The first market is drawn in proportion to the market shares and the others uniformly; the
    notional is split by exponentials times the market shares. (With a split by the shares alone
    each market would expect exactly its share, whatever the counts: Lahiri and Midzuno.)

    The accounts that hold the first 95 % of notional are placed largest first into what is left
    of each market and side, `room`; all others independently of each other.
    """
    share = np.asarray(p.market_share) / sum(p.market_share)
    count = _counts(p, u.count)
    several = max(1.0 - p.positions[0], SMALLEST)
    hedged = (count > 1) & (u.hedged < p.hedged / several)
    race, split = -np.log(u.first), -np.log(u.split)
    flip = (u.flip < 0.5) & hedged[:, None]

    first = np.argmin(race / share, axis=1)
    queue = u.others.copy()  # the first market, then the others as they come
    queue[np.arange(p.accounts), first] = 0.0
    place = np.argsort(np.argsort(queue, axis=1), axis=1)
    weight = np.where(place < count[:, None], split * share, 0.0)
    amount = notional[:, None] * weight / weight.sum(1, keepdims=True)
    main = np.where(u.side < p.long_share, 1.0, -1.0)
    signed = main[:, None] * _oriented(amount, flip, first, hedged)

    order = np.argsort(-notional, kind="stable")
    before = np.cumsum(notional[order]) - notional[order]
    room = np.outer([p.long_share, 1.0 - p.long_share], share) * notional.sum()
    least = 1e-3 * room.sum() * share
    for i in order[before < STEERED * notional.sum()]:
        signed[i] = _placed(
            float(notional[i]), int(count[i]), room, least, race[i], split[i], u.others[i],
            flip[i], bool(hedged[i]), float(u.side[i]),
        )  # fmt: skip
        room -= np.maximum(np.stack([signed[i], -signed[i]]), 0.0)
    return signed


def _oriented(
    amount: np.ndarray, flip: np.ndarray, first: np.ndarray, hedged: np.ndarray
) -> np.ndarray:
    """Amounts with signs, positive in sum: `flip` turns some, in a hedged account at least one."""
    rows = np.arange(len(amount))
    held = amount > 0.0
    turned = (flip & held).sum(1)
    same = hedged & ((turned == 0) | (turned == held.sum(1)))
    flip = flip.copy()
    flip[rows, first] ^= same
    signed = np.where(flip, -amount, amount)
    return np.where(signed.sum(1, keepdims=True) < 0.0, -signed, signed)


def _placed(
    notional: float,
    count: int,
    room: np.ndarray,
    least: np.ndarray,
    race: np.ndarray,
    split: np.ndarray,
    others: np.ndarray,
    flip: np.ndarray,
    hedged: bool,
    uniform: float,
) -> np.ndarray:
    """Signed notional per market of one large account.

    It is long with the probability of the long side's part of the room, or on the only side that
    has room for it. Its first market is drawn by room, among those that have enough, and it holds
    as many more as it needs. It is hedged only where all of it finds room.
    """
    free = np.maximum(room, least)
    sides = free.sum(1)
    fits = sides >= notional
    side = int(uniform * sides.sum() >= sides[0]) if fits.all() else int(np.argmax(sides))
    mine, sign = free[side], 1.0 - 2.0 * side
    weight = np.where(mine >= notional, mine, 0.0)
    first = int(np.argmin(race / np.maximum(weight if weight.any() else mine, least)))
    queue = others.copy()
    queue[first] = 0.0
    order = np.argsort(queue)
    if hedged:
        amount = _spread(notional, order[:count], mine * split)
        signed = sign * _oriented(amount[None], flip[None], np.array([first]), np.array([True]))[0]
        if np.all(np.stack([signed, -signed]) <= free):
            return signed
    needed = int(np.searchsorted(np.cumsum(mine[order]), notional)) + 1
    held = order[: max(count, needed)]
    amount = _spread(notional, held, mine * split)
    if np.any(amount > mine):  # then by room alone
        amount = _spread(notional, held, mine)
    return sign * amount


def _spread(notional: float, held: np.ndarray, weight: np.ndarray) -> np.ndarray:
    amount = np.zeros(len(weight))
    amount[held] = weight[held]
    return notional / amount.sum() * amount


def _makers(uniform: np.ndarray, signed: np.ndarray) -> np.ndarray:
    """Sizes per maker and market: what the traders lack, by uniform spacings, the last the rest."""
    weight = -np.log(uniform)
    inventory = -signed.sum(0) * weight / weight.sum(0)
    inventory[-1] = -(signed.sum(0) + inventory[:-1].sum(0))
    return inventory


def _entry(p: Population, size: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Entry price / opening mark: 1 / (1 + gain), the gain's quantiles log-linear in log-odds."""
    knots, x = _odds(p.gain_probabilities), _odds(uniform)
    log_long = np.interp(x, knots, np.log1p(p.gain_long))
    log_short = np.interp(x, knots, np.log1p(p.gain_short))
    return np.exp(-np.where(size > 0.0, log_long, log_short))
