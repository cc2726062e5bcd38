"""The two engines side by side: the fast one stage by stage, and its records as plain numbers."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import worlds

from riskengine import reference
from riskengine.montecarlo import shadow
from riskengine.types import compiled
from riskengine.waterfall import margin, pools, price, step

TOLERANCE = 1e-9  # of gross cash; times and ratios: absolute, prices: relative to 1
NUMBERS = ("street_cash", "fees", "unfunded_cash")
PER_POOL = ("pool_size", "pool_cash", "pool_basis", "debt", "pool_peak", "owner_paid")
PER_MARKET = ("street_size", "unfunded_size", "eaten")
MONEY = (*PER_POOL, *PER_MARKET, *NUMBERS)
RATIOS = ("shift", "basis", "mark_before", "pool_on")
PER_ACCOUNT = ("cooldown", "entered", "since")
AMOUNTS = (
    "takeover", "unwound", "fees", "bad_debt", "fund_draw", "social_loss", "unmatched",
    "adl_loss_mark", "adl_loss_index", "naked_delta",
)  # fmt: skip


def _stages(state, quote, order_book, book, venue):
    book = margin.attach(book, venue)
    state, market = price.advance(state, quote, order_book, venue)
    state = margin.watch(state, market, book, venue)
    state, noted = pools.note(state, market, venue)
    found = [dict(state=state, noted=noted, residual=step.audit(state, book))]
    for name in venue.stages:
        needed, run = step.STAGES[name]
        must = needed(state, market, book, venue)
        state, flows = run(state, market, book, venue)
        state, noted = pools.note(state, market, venue)
        residual = step.audit(state, book)
        found.append(dict(state=state, noted=noted, needed=must, flows=flows, residual=residual))
    return market, found


_program = compiled(_stages)


def stages(state, quote, order_book, book, venue):
    """One step, every stage run whether needed or not: the market, and what each stage left.

    The first entry is the state after the price move, the others follow the venue's stages. All
    numbers come back as NumPy arrays.
    """
    return jax.device_get(_program(state, quote, order_book, book, venue))


def begin(book, venue):
    """The state before the first step, in NumPy arrays."""
    return jax.device_get(step.opening(margin.attach(book, venue), venue))


def trajectory(quotes, order_book, book, venue, state=None) -> list:
    """All steps, each as `stages` returns it."""
    state, went = begin(book, venue) if state is None else state, []
    for t in range(len(quotes.dt)):
        went.append(stages(state, worlds.at(quotes, t), order_book, book, venue))
        state = went[-1][1][-1]["state"]
    return went


@dataclasses.dataclass
class World:
    """What both engines need to know, in the words of each."""

    book: object
    venue: object
    order_book: object

    def __post_init__(self):
        self.plain_book = shadow.plain_book(self.book)
        self.plain_venue = shadow.plain_venue(self.venue)
        self.plain_order_book = shadow.plain_order_book(self.order_book)
        self.kept = shadow.positions_of(self.book)
        self.gross = float(np.abs(np.asarray(self.book.cash)).sum())

    def entry(self, state) -> np.ndarray:
        """Entry price of every slot; that of makers and `rest` follows their trades."""
        entry = np.asarray(self.book.entry, float).copy()
        if self.book.layout.dense:
            slots, accounts = self.book.layout.accounts[-1]
            markets = self.book.layout.number_of_markets
            first = entry.size - slots * accounts
            entry[first : first + markets * accounts] = np.asarray(state.dense_entry).T.ravel()
        return entry

    def plain(self, state) -> reference.State:
        """A state of the fast engine as one of the reference."""
        lists = {
            name: np.asarray(getattr(state, name), float).tolist()
            for name in (*MONEY, *RATIOS, *PER_ACCOUNT, "cash")
        }
        return reference.State(
            size=np.asarray(state.size, float)[self.kept].tolist(),
            entry=self.entry(state)[self.kept].tolist(),
            **lists,
        )

    def fast(self, plain: reference.State, like):
        """A state of the reference as one of the fast engine; what only `like` knows is its own."""
        size = np.zeros_like(np.asarray(like.size))
        size[self.kept] = plain.size
        entry = np.asarray(self.book.entry, float).copy()
        entry[self.kept] = plain.entry
        changes = {
            name: np.asarray(getattr(plain, name), np.asarray(getattr(like, name)).dtype)
            for name in (*MONEY, *RATIOS, *PER_ACCOUNT, "cash")
        }
        if self.book.layout.dense:
            slots, accounts = self.book.layout.accounts[-1]
            markets = self.book.layout.number_of_markets
            first = entry.size - slots * accounts
            rows = entry[first : first + markets * accounts].reshape(markets, accounts)
            changes["dense_entry"] = rows.T
        return worlds.replaced(like, size=size, **changes)

    def market(self, market) -> reference.Market:
        """The prices of a step, as the reference has them."""
        return reference.Market(
            index=np.asarray(market.index).tolist(),
            depth=np.asarray(market.depth).tolist(),
            dt=float(market.dt),
            mark=np.asarray(market.mark).tolist(),
            previous_mark=np.asarray(market.mark_before).tolist(),
            orderbook=self.plain_order_book,
        )

    def stage(self, name: str, state, market) -> SimpleNamespace:
        """The reference's stage on a state of the fast engine: what it left, moved and needs."""
        plain = self.plain(state)
        seen = self.market(market)
        flows = reference.STAGES[name](plain, seen, self.plain_book, self.plain_venue)
        reference.remember(plain, seen, self.plain_venue)
        needs = reference.needs(plain, seen, self.plain_book, self.plain_venue)
        return SimpleNamespace(state=plain, flows=flows, needs=needs)

    def differences(self, state, plain: reference.State) -> dict[str, float]:
        """What differs between a state of each engine, in shares of the tolerance."""
        mine = self.plain(state)
        scales = dict.fromkeys((*MONEY, "size", "cash"), self.gross)
        pairs = {
            f.name: (getattr(mine, f.name), getattr(plain, f.name), scales.get(f.name, 1.0))
            for f in dataclasses.fields(reference.State)
        }
        value = [np.multiply(x.size, x.entry) for x in (mine, plain)]  # no size, no entry
        held = np.bincount(self.plain_book.account, np.abs(mine.size), len(mine.cash))
        holds = held > TOLERANCE * self.gross  # the health of what rounding left over is arbitrary
        health = [np.where(holds, _bounded(x.entered), 0.0) for x in (mine, plain)]
        return beyond(pairs | dict(entry=(*value, self.gross), entered=(*health, 1.0)))

    def moved(self, flows, plain: reference.Flows) -> dict[str, float]:
        """What differs between the flows of a stage."""
        pairs = {name: (getattr(flows, name), getattr(plain, name), self.gross) for name in AMOUNTS}
        for name in ("liquidated", "deleveraged"):
            both = [getattr(plain, f"{name}_{side}") for side in ("long", "short")]
            pairs[name] = (getattr(flows, name), both, self.gross)
        due = np.where(np.isfinite(plain.exit), plain.loss, 0.0)
        rules = np.max([plain.loss, plain.inventory, plain.rate, plain.queue], axis=0)
        for name, needs in (("cash", due), ("exit", plain.exit), ("rules", rules)):
            mine = np.maximum(getattr(flows, f"need_{name}"), 0.0)
            pairs[f"need_{name}"] = (mine, np.maximum(needs, 0.0), self.gross)
        pairs |= dict(
            adl_size=(flows.adl_size, plain.sold, self.gross),
            adl_paid=(flows.adl_paid, sum(plain.proceeds), self.gross),
            winner_bankrupted=(flows.winner_bankrupted, plain.winner_bankrupted, 1.0),
        )
        return beyond(pairs)

    def noted(self, noted: dict, needs: dict) -> dict[str, float]:
        """What differs between the pools' needs."""
        pairs = dict(need_cash=needs["cash"], need_exit=needs["exit"])
        return beyond({f"noted {n}": (noted[n], x, self.gross) for n, x in pairs.items()})

    def recorded(self, before, after, plain: reference.Flows) -> dict[str, float]:
        """What differs in who was liquidated or deleveraged, and with what, first."""
        pairs = {}
        was, now = before.record, after.record
        for name in ("liquidated", "deleveraged"):
            hit = np.isin(np.arange(was.liquidated.size), list(getattr(plain, name)))
            pairs[name] = (getattr(now, name), getattr(was, name) | hit, 1.0)
        first = [i for i in plain.deleveraged if not was.deleveraged[i]]
        mine = [(now.adl_equity[i], now.adl_profit[i]) for i in first]
        pairs["first"] = (mine, [plain.deleveraged[i] for i in first], self.gross)
        return beyond(pairs)


def beyond(pairs: dict) -> dict[str, float]:
    """{name: (a, b, scale)} → the differences above the tolerance, in units of the scale.

    Infinities must be the same on both sides.
    """
    found = {}
    for name, (a, b, scale) in pairs.items():
        a, b = np.asarray(a, float), np.asarray(b, float)
        with np.errstate(invalid="ignore"):
            apart = np.where(a == b, 0.0, np.abs(a - b)) / scale
        worst = np.max(np.where(np.isnan(apart), np.inf, apart), initial=0.0)
        if worst > TOLERANCE:
            found[name] = float(worst)
    return found


def _bounded(health) -> np.ndarray:
    """Health between −1 and 1, in its order."""
    health = np.asarray(health, float)
    finite = np.where(np.isinf(health), 0.0, health)
    return np.where(np.isinf(health), np.sign(health), finite / (1.0 + np.abs(finite)))


def plain_quote(quote) -> SimpleNamespace:
    """One step's quote as lists of Python numbers."""
    return shadow.plain_quote(jax.tree.map(lambda x: x[None], quote), 0)
