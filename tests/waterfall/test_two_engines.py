"""The fast engine against the reference: every stage from the same state, and whole paths."""

from collections import Counter
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import rulebook
import twins
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from riskengine import reference

STEPS = 8
BOOKS = 24  # per rule set; every other one starts from a state that no path would reach
EVENTS = {
    "book": ("liquidated",),
    "takeover": ("takeover",),
    "unwind": ("unwound",),
    "fund": ("fund_draw",),
    "adl": ("deleveraged",),
    "profit_cap": ("deleveraged",),
    "social": (),
}


def _world(name: str, rng, members: bool = False) -> tuple[twins.World, object]:
    """A random book under the rules of that name, and its quotes: violent and thin."""
    world = twins.World(
        book=rulebook.book(name, rng, members=members),
        venue=rulebook.venue(name, rng),
        order_book=rulebook.order_book(name, rng),
    )
    depth = np.exp(rng.uniform(np.log(3e3), np.log(3e5)))
    return world, worlds.quotes(rng, STEPS, move=rng.choice([0.01, 0.03, 0.1]), depth=depth)


def shaken(state, rng, venue):
    """A state in which pools hold inventory, debts are open and the order book is eaten."""

    def normal(x, scale):
        return scale * rng.normal(size=np.shape(x)) * (rng.random(np.shape(x)) < 0.7)

    return worlds.replaced(
        state,
        pool_size=normal(state.pool_size, 3e3),
        pool_cash=normal(state.pool_cash, 1e3),
        pool_basis=normal(state.pool_basis, 3e2),
        debt=np.abs(normal(state.debt, 5e2)),
        cooldown=np.abs(normal(state.cooldown, 20.0)),
        since=normal(state.since, 40.0),
        pool_peak=np.abs(normal(state.pool_peak, 1e3)),
        pool_on=np.abs(np.sign(normal(state.pool_on, 1.0))) * ("drawdown" in venue.pools.triggers),
        owner_paid=np.abs(normal(state.owner_paid, 1e2)),
        eaten=np.abs(normal(state.eaten, 1e4)),
        shift=normal(state.shift, 0.01),
        basis=normal(state.basis, 0.01),
    )


def _advance(world: twins.World, state, quote, market, found) -> dict[str, float]:
    """The price move on the same state in both engines."""
    plain = world.plain(state)
    seen = reference.advance(plain, quote, world.plain_order_book, world.plain_venue)
    reference.watch(plain, seen, world.plain_book, world.plain_venue)
    reference.remember(plain, seen, world.plain_venue)
    needs = reference.needs(plain, seen, world.plain_book, world.plain_venue)
    prices = dict(mark=(market.mark, seen.mark, 1.0), index=(market.index, seen.index, 1.0))
    return (
        world.differences(found["state"], plain)
        | world.noted(found["noted"], needs)
        | twins.beyond(prices)
    )


def _stage(world: twins.World, name: str, before, found, market) -> dict[str, float]:
    """One stage on the same state in both engines."""
    theirs = world.stage(name, before, market)
    state = found["state"]
    return (
        world.differences(state, theirs.state)
        | world.moved(found["flows"], theirs.flows)
        | world.noted(found["noted"], theirs.needs)
        | world.recorded(before, state, theirs.flows)
    )


def _untouched(before, found) -> bool:
    """A stage that is not needed leaves every bit and moves nothing (the guard relies on it)."""
    same = jax.tree.map(np.array_equal, before, found["state"])
    nothing = [not np.any(x) for x in jax.tree.leaves(found["flows"])]
    return all(jax.tree.leaves(same)) and all(nothing)


def _compare(name: str, seed: int, seen: Counter, members: bool = False) -> None:
    """One book on a few steps; what happened is counted in `seen`."""
    rng = np.random.default_rng(seed)
    world, quotes = _world(name, rng, members)
    state = twins.begin(world.book, world.venue)
    state = shaken(state, rng, world.venue) if seed % 2 else state
    for t in range(STEPS):
        quote = worlds.at(quotes, t)
        market, found = twins.stages(state, quote, world.order_book, world.book, world.venue)
        plain_quote = twins.plain_quote(quote)
        assert not _advance(world, state, plain_quote, market, found[0]), ("price", t)
        before = found[0]["state"]
        for stage, left in zip(world.venue.stages, found[1:], strict=True):
            assert not _stage(world, stage, before, left, market), (stage, t)
            if not left["needed"]:
                assert _untouched(before, left), (stage, t)
            seen.update(k for k in EVENTS[stage] if np.any(getattr(left["flows"], k)))
            seen[f"{stage} not needed"] += not left["needed"]
            before = left["state"]
        state = before


@pytest.mark.parametrize("name", rulebook.RULES)
def test_every_stage_agrees_with_the_reference(name):
    seen = Counter()

    @settings(max_examples=BOOKS)
    @given(seed=st.integers(0, 2**32 - 1))
    def check(seed):
        _compare(name, seed, seen)

    check()
    for stage in rulebook.venue(name, np.random.default_rng(0)).stages:
        for event in EVENTS[stage]:
            assert seen[event] > 2, f"{event} hardly ever happened: {seen}"
        assert seen[f"{stage} not needed"] > 2, f"{stage} was always needed: {seen}"


NIGHTLY = (
    pytest.param(name, marks=pytest.mark.nightly) for name in ("clips", "funding", "backstop")
)


@pytest.mark.parametrize("name", ("tiers", *NIGHTLY))
def test_super_accounts_agree_with_the_reference(name):
    """The rules that speak of dollars per account, where several accounts stand behind one."""
    seen = Counter()
    for seed in range(5):
        _compare(name, seed, seen, members=True)
    assert sum(seen[e] for e in ("liquidated", "takeover", "deleveraged")) > 2, seen


def _copied(book, members: list[int]):
    """Every account as so many equal ones, whose sizes and cash add up to its own."""
    copies = [[i] * n for i, n in enumerate(members)]
    accounts = [i for group in copies for i in group]
    first = np.concatenate([[0], np.cumsum(members)])
    every = [(k, first[i] + c) for k, i in enumerate(book.account) for c in range(members[i])]
    part = np.repeat(1.0 / np.asarray(members), members)
    return SimpleNamespace(
        size=[book.size[k] * part[a] for k, a in every],
        entry=[book.entry[k] for k, _ in every],
        market=[book.market[k] for k, _ in every],
        account=[int(a) for _, a in every],
        cash=[book.cash[i] * part[a] for a, i in enumerate(accounts)],
        role=[book.role[i] for i in accounts],
        members=[1] * len(accounts),
        rest_in_adl=book.rest_in_adl,
        markets=book.markets,
    )


COPIED = ("required_fund", "liquidated_long", "takeover", "fees", "bad_debt", "deleveraged_long",
          "deleveraged_short", "adl_loss_mark", "adl_equity", "social_loss", "naked_delta")  # fmt: skip
COUNTED = ("accounts_liquidated", "accounts_deleveraged", "winner_bankrupted")
ONE_BY_ONE = ("clips", "entry_first", "sequence")  # an order in which equal accounts differ


@pytest.mark.parametrize("name", sorted(set(rulebook.RULES) - set(ONE_BY_ONE)))
def test_equal_accounts_are_as_one_account_with_members(name):
    """What a rule says in dollars, it says to each of them; nothing else changes."""
    for seed in range(3):
        world, quotes = _world(name, np.random.default_rng(seed))
        one = world.plain_book
        members = np.random.default_rng(seed).integers(1, 4, len(one.cash))
        one.members = np.where(np.asarray(one.role) == 0, members, 1).tolist()
        rows = [twins.plain_quote(worlds.at(quotes, t)) for t in range(STEPS)]
        (merged, _), (apart, _) = (
            reference.run(book, world.plain_venue, world.plain_order_book, rows)
            for book in (one, _copied(one, one.members))
        )
        for metric in COPIED:
            assert merged[metric] == pytest.approx(apart[metric], abs=1e-9 * world.gross), metric
        for metric in COUNTED:
            assert merged[metric] == apart[metric], metric


@pytest.mark.parametrize("name", rulebook.RULES)
def test_paths_agree_with_the_reference(name):
    """Not only from the same state: whatever differs would add up over the steps of a path."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        world, quotes = _world(name, rng)
        went = twins.trajectory(quotes, world.order_book, world.book, world.venue)
        state = went[-1][1][-1]["state"]
        rows = [twins.plain_quote(worlds.at(quotes, t)) for t in range(STEPS)]
        _, plain = reference.run(world.plain_book, world.plain_venue, world.plain_order_book, rows)
        assert not world.differences(state, plain), seed


def test_states_convert_both_ways():
    """What the comparison rests on: nothing is lost between the records of the two engines."""
    rng = np.random.default_rng(5)
    for name in ("hyperliquid", "sequence"):
        world, _ = _world(name, rng)
        state = shaken(twins.begin(world.book, world.venue), rng, world.venue)
        again = world.fast(world.plain(state), state)
        assert jax.tree.all(jax.tree.map(np.array_equal, state, again))


def test_the_comparison_sees_a_cent():
    """A difference of 1e-8 of gross cash is found, one of 1e-11 is not."""
    world, _ = _world("hyperliquid", np.random.default_rng(6))
    state = twins.begin(world.book, world.venue)
    for share, visible in ((1e-8, True), (1e-11, False)):
        plain = world.plain(state)
        plain.cash[0] += share * world.gross
        assert bool(world.differences(state, plain)) == visible
