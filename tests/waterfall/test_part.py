"""A large book in part: stages that work on some blocks of accounts do what they do on the whole."""

import copy
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import worlds
import yardstick

from riskengine.montecarlo import keys, simulate
from riskengine.specs import book as books
from riskengine.waterfall import ledger, part, select

ACCOUNTS, PATHS = 1200, 24
TOLERANCE = 1e-9  # of gross cash
RULES = dict(
    stages=("book", "takeover", "unwind", "fund", "adl"),
    triggers=(),
    limit="bankruptcy",
    adl_price="bankruptcy",
    adl_below=0.4,
    takeover_above=0.4,
    winners_only=True,
    unmatched="unfunded",
    capital=1e5,
)


@pytest.fixture(scope="module")
def held():
    return worlds.holdings(np.random.default_rng(3), ACCOUNTS, makers=2, rest=1, leverage=(2, 40))


@pytest.fixture(scope="module")
def in_blocks(held):
    """The book in blocks so small that many steps need more of them than a part holds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(books, "LARGE", 1)
        return books.pack([held], worlds.MARKETS, together=True)


def run(book, paths=range(PATHS)):
    scenario, grid = worlds.crash(takers=False), worlds.simulation()
    venue = worlds.venue(**RULES)
    return simulate.simulate(keys.root(11), book, venue, scenario, grid, np.asarray(paths), batch=4)


def test_accounts_that_fall_together_lie_together(held, in_blocks):
    """Every account once, in groups whose falls do not overlap, each in order of profit."""
    book, (accounts,), (positions,) = in_blocks
    assert book.layout.blocks == books.FALLS * books.PROFITS
    assert sorted(accounts[accounts >= 0]) == list(range(len(held.cash)))
    assert sorted(positions[positions >= 0]) == list(range(len(held.size)))
    start = 0
    for _, count in book.layout.accounts[:-1]:
        groups = accounts[start : start + count].reshape(books.FALLS, -1)
        falls = [-(held.cash / books.net(held))[g[g >= 0]] for g in groups]
        falls = [f for f in falls if f.size]
        assert all(a.max() <= b.min() for a, b in zip(falls, falls[1:], strict=False))
        start += count


def test_a_small_book_lies_as_before(held):
    for together in (False, True):
        book, _, _ = books.pack([held], worlds.MARKETS, together=together)
        assert book.layout.blocks == 1
    assert ACCOUNTS < books.LARGE


def whole(book):
    """The same book, worked on whole."""
    same = copy.copy(book)
    object.__setattr__(same, "layout", dataclasses.replace(book.layout, blocks=1))
    return same


def differences(parts, whole, gross: float) -> int:
    """In how many numbers the bits differ, of those that agree."""
    assert not parts["flags"].any() and not whole["flags"].any()
    differs = 0
    for name, values in whole.metrics.items():
        mine, theirs = (np.nan_to_num(x.astype(float), posinf=1e30) for x in (parts[name], values))
        scale = 1.0 if name.endswith(("haircut", "time")) else gross
        assert np.abs(mine - theirs).max() <= TOLERANCE * scale, name
        differs += not np.array_equal(mine, theirs)
    assert np.array_equal(parts.hits["account"], whole.hits["account"])
    assert np.array_equal(parts.liquidated, whole.liquidated)
    return differs


@pytest.fixture(scope="module")
def one_market():
    """The textbook venue on a book in blocks, on paths with and without ADL."""
    rng = np.random.default_rng(5)
    side = np.where(np.arange(ACCOUNTS) < ACCOUNTS // 2, 1.0, -1.0)
    size = rng.pareto(1.5, ACCOUNTS) + 0.02
    size *= 2.0 / size.sum()
    lever = np.clip(np.exp(rng.normal(np.log(4.0), 0.8, ACCOUNTS)), 1.1, 40.0)
    entry = np.exp(rng.normal(0.0, 0.06, ACCOUNTS))
    book = yardstick.Positions(q=side * size, cash=size / lever, entry=entry)
    fall = rng.uniform(-0.2, 0.2, (PATHS, 1)) / 16
    returns = rng.normal(fall, 0.01, (PATHS, 16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(books, "LARGE", 1)
        packed, *rest = yardstick.specs(
            yardstick.Parameters(depth=0.02, fund0=0.002), book, returns
        )
    return packed, rest


def run_one_market(book, rest, paths=range(PATHS)):
    return simulate.simulate(keys.root(11), book, *rest, np.asarray(paths), batch=4)


def test_stages_on_parts_do_what_they_do_on_the_whole(one_market):
    book, rest = one_market
    assert book.layout.blocks > 1
    ran, other = run_one_market(book, rest), run_one_market(whole(book), rest)
    for name in ("liquidated_long", "liquidated_short", "deleveraged_long", "deleveraged_short"):
        assert np.mean(other[name] > 0) > 0.2, name
    assert differences(ran, other, 1.0) > 3  # sums of parts have other bits: parts were in use
    some = np.array([1, 4, 5, 9, 17, 20])
    alone = run_one_market(book, rest, some)
    for name, values in alone.metrics.items():
        same = np.array_equal(values, ran[name][some], equal_nan=values.dtype.kind == "f")
        assert same, name  # the bits do not depend on the company


@pytest.mark.nightly
def test_parts_of_books_with_makers_and_several_markets(held, in_blocks):
    book = in_blocks[0]
    ran, other = run(book), run(whole(book))
    for name in ("liquidated_long", "takeover", "bad_debt", "deleveraged_short"):
        assert np.sum(other[name] > 0) > 1, name
    assert differences(ran, other, np.abs(held.cash).sum()) > 3


def test_what_is_taken_is_put_back_where_it_was():
    """Of each class the chosen blocks, makers always; nothing else is written."""
    layout = books.Layout(
        accounts=((1, 8), (2, 4), (4, 1)), markets=((20, (0, 1)),), dense=1, blocks=4
    )
    packing = select.Packing(None, (), ())
    view = part.Part(2, lambda *x: x, lambda *x: True, packing, layout)
    view.__dict__["_leaves"] = [True, False]
    chosen, x = jnp.asarray([3, 1], jnp.int32), jnp.arange(20.0)
    mine = view._read(x, chosen, True)
    assert mine.tolist() == [6, 7, 2, 3, 11, 9, 15, 13, 16, 17, 18, 19]
    assert view._read(jnp.arange(13.0), chosen, False).tolist() == [6, 7, 2, 3, 11, 9, 12]
    every = jnp.zeros((3, 20)).at[1].set(x)
    found = view.put(0, every, -mine, jnp.int32(1), chosen)
    moved = np.isin(np.arange(20), np.asarray(mine))
    assert np.array_equal(found[1], np.where(moved, -x, x))
    assert not found[0].any() and not found[2].any()
    rows = jnp.asarray([2, 3], jnp.int32)  # the second is beyond the last path
    many = view.put(0, every, jnp.stack([-mine, mine]), rows, jnp.stack([chosen, chosen]))
    assert np.array_equal(many[2], np.where(moved, -x, 0.0)) and np.array_equal(many[:2], every[:2])


def test_the_lowest_of_each_block(in_blocks):
    book = jax.tree.map(lambda x: x[0], in_blocks[0])
    health = jnp.asarray(np.random.default_rng(0).normal(size=book.cash.shape))
    resting = book.role == books.REST
    weakest, lowest = ledger.least(health, resting, book)
    start, found = 0, []
    for _, count in book.layout.accounts[:-1]:
        found.append(np.asarray(health[start : start + count]).reshape(book.layout.blocks, -1))
        start += count
    assert np.array_equal(lowest, np.concatenate(found, axis=1).min(axis=1))
    assert weakest == np.where(resting, np.inf, health).min()
