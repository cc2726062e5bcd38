"""Groups of accounts: what they keep of a book, who is in them, and books on which they are exact."""

import dataclasses

import jax
import numpy as np
import pytest
import rulebook
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from riskengine.montecarlo import keys, simulate
from riskengine.specs import book as books
from riskengine.specs import grouping, population
from riskengine.specs.book import MAKER, REST, TRADER, Holdings
from riskengine.types import InputError

MARKETS = worlds.MARKETS
EXACT = 1e-9  # of gross: what a path of copies may differ from that of their groups


def venue(name: str = "hyperliquid"):
    return rulebook.venue(name, np.random.default_rng(0), dust=1.0)


def book(seed: int, accounts: int = 300) -> Holdings:
    rng = np.random.default_rng(seed)
    return worlds.holdings(rng, accounts=accounts, makers=2, rest=1)


def per_market_and_side(held: Holdings, x: np.ndarray) -> np.ndarray:
    return np.bincount(2 * held.market + (held.size > 0), x, minlength=2 * MARKETS)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**16),
    accounts=st.integers(1, 400),
    rules=st.sampled_from(["hyperliquid", "clips", "funding"]),
)
def test_groups_keep_what_the_book_has(seed, accounts, rules):
    """Size, size · entry and cash, market by market and side by side; and every account once."""
    held = book(seed)
    found = grouping.grouped(held, venue(rules), accounts)
    merged = found.holdings
    for amount in (lambda h: h.size, lambda h: h.size * h.entry):
        before, after = (per_market_and_side(h, amount(h)) for h in (held, merged))
        np.testing.assert_allclose(after, before, rtol=1e-12)
    cash = np.bincount(found.member_of, held.cash, minlength=len(merged.cash))
    np.testing.assert_allclose(merged.cash, cash, rtol=1e-12)
    if merged.members is not None:
        assert np.array_equal(merged.members, np.bincount(found.member_of))
    assert np.array_equal(merged.role[found.member_of], held.role)


def test_makers_rest_and_the_largest_stay_whole():
    held = book(1)
    found = grouping.grouped(held, venue(), 64)
    assert len(found.holdings.cash) < 120
    count = np.bincount(found.member_of)
    value = books.traded(held)
    largest = np.argsort(-value)[: round(grouping.WHOLE * 64)]
    others = np.flatnonzero(held.role != TRADER)
    assert {MAKER, REST} == set(held.role[others])
    assert (count[found.member_of[np.concatenate([largest, others])]] == 1).all()
    assert count.max() > 5


def test_nobody_merges_across_an_amount_that_a_rule_names():
    """Tiers and `fraction_above` of these rules: 1e4 and 5e4 USD; nor with the other side."""
    held, edges = book(2, 2000), [1e4, 5e4]
    found = grouping.grouped(held, venue(), 100)
    one = np.bincount(held.account, minlength=len(held.cash)) == 1
    alone = one[held.account]
    group = found.member_of[held.account[alone]]
    kind = np.searchsorted(edges, np.abs(held.size[alone])) * 2 + (held.size[alone] > 0)
    kind = MARKETS * kind + held.market[alone]
    assert len(np.unique(np.stack([group, kind]), axis=1).T) == len(np.unique(group))


def test_portfolios_merge_with_their_like():
    """No group is long and short in one market, unless an account of it alone is."""
    law = population.Population(accounts=3000, market_share=(0.3, 0.3, 0.2, 0.1, 0.1))
    held = population.sample(law, jax.random.key(0))
    rules = rulebook.worlds.venue(markets=5, dust=1.0)
    merged = grouping.grouped(held, rules, 256).holdings
    assert len(merged.cash) < 600
    place = merged.account * 5 + merged.market
    assert len(np.unique(place)) == len(place)


def test_the_same_accounts_in_another_order_are_grouped_alike():
    held = book(3)
    turned = np.random.default_rng(0).permutation(len(held.cash))
    place = np.argsort(turned)
    other = dataclasses.replace(
        held, cash=held.cash[turned], role=held.role[turned], account=place[held.account]
    )
    one, two = (grouping.grouped(h, venue(), 64).member_of for h in (held, other))
    same = np.stack([one, two[place]])
    assert len(np.unique(same, axis=1).T) == one.max() + 1 == two.max() + 1


def test_small_books_stay_as_they_are_and_nonsense_is_refused():
    held = book(4, 10)
    found = grouping.grouped(held, venue(), 1000)
    assert found.holdings is held
    assert np.array_equal(found.member_of, np.arange(13))
    with pytest.raises(InputError, match="positive number of super-accounts, got 0"):
        grouping.grouped(held, venue(), 0)


def copied(held: Holdings, times: int) -> Holdings:
    """Every trader so many times, each with its part of size and cash."""
    count = np.where(held.role == TRADER, times, 1)
    first = np.cumsum(count) - count
    row = np.repeat(np.arange(len(held.cash)), count)
    position = np.repeat(np.arange(len(held.size)), count[held.account])
    owner = held.account[position]
    seen = np.concatenate([np.arange(n) for n in count[held.account]])
    return Holdings(
        cash=held.cash[row] / count[row],
        role=held.role[row],
        account=first[owner] + seen,
        market=held.market[position],
        size=held.size[position] / count[owner],
        entry=held.entry[position],
    )


def test_copies_merge_without_any_change_of_the_path():
    """Tiers, dust and thresholds in dollars included: members see them as single accounts do."""
    held = worlds.holdings(np.random.default_rng(5), accounts=24, makers=1)
    apart = copied(held, 4)
    stages = ("book", "takeover", "adl", "social")
    rules = rulebook.venue(
        "hyperliquid", np.random.default_rng(0), dust=50.0, rows=rulebook.LADDER, stages=stages
    )
    found = grouping.grouped(apart, rules, 25)
    torn = [np.unique(found.member_of[i : i + 4]).size > 1 for i in range(0, 96, 4)]
    assert sum(torn) < 12, "copies are torn apart"
    merged = dataclasses.replace(held, members=np.where(held.role == TRADER, 4.0, 1.0))
    stacked, _, _ = books.pack([apart, merged], MARKETS)  # in one layout: one program
    specs = (rules, worlds.crash(), worlds.simulation(12))
    ran = [
        simulate.simulate(
            keys.root(2), jax.tree.map(lambda x, n=n: x[n : n + 1], stacked), *specs, np.arange(24),
            batch=8,
        )
        for n in (0, 1)
    ]  # fmt: skip
    gross = np.abs(held.cash).sum()
    for name, values in ran[0].metrics.items():
        counts = name.startswith("accounts_") or name == "winner_bankrupted"
        scale = 1.0 if counts or "haircut" in name else gross
        one, other = (
            np.nan_to_num(x.astype(float) / scale, posinf=-1.0)
            for x in (values, ran[1].metrics[name])
        )
        np.testing.assert_allclose(one, other, atol=EXACT, err_msg=name)
    assert ran[0]["accounts_liquidated"].max() >= 8
