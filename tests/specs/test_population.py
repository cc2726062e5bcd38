"""Synthetic books: the bars of the data they are fitted to, and what holds for every one of them.

The bars (data: ConejoCapital, HyperMultiAssetedADL, and kittycapital, hyperliquid-whales,
2026-02-22): p10, p50, p90 and p99 within a factor of 1.5, shares of the largest 1 % and 10 %
within 5 points, the long share within 10 points. They are tested on every book, not on averages.
"""

import dataclasses
import re

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskengine.specs import book, population
from riskengine.specs.book import MAKER, TRADER
from riskengine.specs.population import Draw, Population, Uniforms
from riskengine.types import InputError

BARS = {
    "notional": {
        "p10": 33.27, "p50": 481.1, "p90": 27_040.0, "p99": 1.041e6,
        "top_1pct": 0.8417, "top_10pct": 0.9827,
    },
    "cash": {
        "p10": 44.11, "p50": 957.5, "p90": 44_210.0, "p99": 1.675e6,
        "top_1pct": 0.8178, "top_10pct": 0.9780,
    },
}  # fmt: skip
LONG_SHARE = 0.369
LEVERAGE = {"p10": 0.113, "p25": 0.298, "p50": 0.590, "p75": 1.093, "p90": 3.601, "p95": 6.964}
LARGE_LEVERAGE = {"p50": 1.406, "p90": 5.867, "p95": 7.632}  # of 608 large accounts
POSITIONS = {"1": 0.382, "2": 0.151, "3": 0.140}
GOLDEN_RADIUS = [0.3012957486516406, 0.37495916233136867]


def books(law, count, seed=0):
    root = jax.random.key(seed)
    return [population.sample(law, jax.random.fold_in(root, i)) for i in range(count)]


@pytest.fixture(scope="module")
def default():
    return books(Population(), 32)


@pytest.fixture(scope="module")
def described(default):
    return [population.describe(b, 4) for b in default]


def mean(described, *names):
    def read(record):
        for name in names:
            record = record[name]
        return record

    return np.mean([read(d) for d in described], axis=0)


def per_account(holdings):
    """Gross and net notional of every account."""
    n = len(holdings.cash)
    gross = np.bincount(holdings.account, np.abs(holdings.size), minlength=n)
    return gross, np.bincount(holdings.account, holdings.size, minlength=n)


def meets_the_bars(described):
    for name, bars in BARS.items():
        for statistic, target in bars.items():
            got = described[name][statistic]
            if statistic.startswith("top"):
                assert abs(got - target) <= 0.05, (name, statistic, got)
            else:
                assert target / 1.5 <= got <= target * 1.5, (name, statistic, got)
    assert abs(described["long_share"] - LONG_SHARE) <= 0.10, described["long_share"]


# --- against the data ---------------------------------------------------------------------------


def test_every_default_book_meets_the_bars(described):
    for d in described:
        meets_the_bars(d)


@pytest.mark.parametrize(
    "law, count",
    [(Population(accounts=500, market_share=(1.0,)), 32), (Population(accounts=10_000), 8)],
    ids=["500 accounts, 1 market", "10,000 accounts, 4 markets"],
)
def test_every_book_of_other_sizes_meets_the_bars(law, count):
    for b in books(law, count):
        meets_the_bars(population.describe(b, law.markets))


def test_leverage_fits_on_average(described):
    assert mean(described, "log_correlation") == pytest.approx(0.782, abs=0.03)
    for name, target in LEVERAGE.items():
        assert target / 1.5 < mean(described, "leverage", name) < target * 1.5, name
    for name, target in LARGE_LEVERAGE.items():
        assert target / 2.0 < mean(described, "leverage_top_1pct", name) < target * 2.0, name


def test_longs_have_the_stated_leverage_over_shorts(described):
    ratio = mean(described, "leverage_long", "p50") / mean(described, "leverage_short", "p50")
    assert ratio == pytest.approx(2.0, rel=0.1)


def test_positions_and_sides_fit_on_average(described):
    for name, target in POSITIONS.items():
        assert mean(described, "positions", name) == pytest.approx(target, abs=0.01)
    assert mean(described, "one_sided_accounts") == pytest.approx(0.75, abs=0.02)
    assert mean(described, "long_accounts") == pytest.approx(0.42, abs=0.02)


def test_markets_have_their_share_of_open_interest(described):
    share = np.array([d["market_share"] for d in described])
    np.testing.assert_allclose(share.mean(0), Population().market_share, atol=0.01)
    assert (np.abs(share - Population().market_share) < 0.06).all()


def test_no_market_is_one_sided(described):
    long = np.array([d["long_share_by_market"] for d in described])
    assert (np.abs(long - 0.42) < 0.2).all()
    assert np.array([d["makers_of_open_interest"] for d in described]).max() < 0.5


def test_entries_have_the_quantiles_of_the_law(default):
    law = Population()
    for sign, gains in ((1.0, law.gain_long), (-1.0, law.gain_short)):
        gain = np.concatenate(
            [1.0 / b.entry[mine] - 1.0 for b in default
             for mine in [(b.role[b.account] == TRADER) & (np.sign(b.size) == sign)]]
        )  # fmt: skip
        np.testing.assert_allclose(np.quantile(gain, law.gain_probabilities), gains, atol=0.02)
        assert min(gains) - 1e-12 <= gain.min() and gain.max() <= max(gains) + 1e-12


def test_many_markets_have_long_tails_of_positions():
    share = 1.0 / np.arange(1, 101) ** 1.5
    law = Population(market_share=tuple(float(s) for s in share / share.sum()))
    holdings = books(law, 1)[0]
    held = np.bincount(holdings.account)[:2000]
    assert 12 < np.quantile(held, 0.9) < 27 and 26 < np.quantile(held, 0.95) < 60  # 18, 40
    interest = book.open_interest(holdings, 100)
    np.testing.assert_allclose(interest / interest.sum(), share / share.sum(), atol=0.03)


def test_large_books_are_drawn_independently(monkeypatch):
    law = Population(accounts=4000)
    stratified = books(law, 8)
    monkeypatch.setattr(population, "INDEPENDENT", 4000)
    independent = books(law, 8)

    def median_spread(sample):
        return np.std([np.log(np.median(per_account(b)[0][:4000])) for b in sample])

    assert median_spread(independent) > 2.0 * median_spread(stratified)
    median = np.mean([np.median(per_account(b)[0][:4000]) for b in independent])
    assert median == pytest.approx(481.1, rel=0.1)
    for b in independent:
        assert population.describe(b, 4)["cash"]["top_1pct"] == pytest.approx(0.818, abs=0.05)


# --- what holds in every book -------------------------------------------------------------------


def check_invariants(law, holdings):
    markets = law.markets
    interest = book.open_interest(holdings, markets)
    net = np.bincount(holdings.market, holdings.size, minlength=markets)
    assert np.all(np.abs(net) <= 1e-12 * 2.0 * interest)
    expected = law.open_interest or law.expected_open_interest
    assert interest.sum() == pytest.approx(expected, rel=1e-12)
    assert (interest > 0.0).any()
    for column in (holdings.cash, holdings.size, holdings.entry):
        assert np.isfinite(column).all()
    assert (holdings.cash >= 0.0).all() and (holdings.entry > 0.0).all()

    assert len(holdings.cash) == len(holdings.role) == law.accounts + law.makers
    assert (holdings.role[: law.accounts] == TRADER).all()
    assert (holdings.role[law.accounts :] == MAKER).all()
    pairs = holdings.account * markets + holdings.market
    assert len(np.unique(pairs)) == len(pairs)
    held = np.bincount(holdings.account, minlength=law.accounts + law.makers)
    assert (held[: law.accounts] >= 1).all() and (held[law.accounts :] == markets).all()

    cap = np.broadcast_to(law.leverage_cap, markets)
    margin = np.bincount(holdings.account, np.abs(holdings.size) / cap[holdings.market])
    assert (margin <= holdings.cash * (1.0 + 1e-12)).all()

    maker = holdings.role[holdings.account] == MAKER
    for m in range(markets):  # the makers of a market stand on one side
        inventory = holdings.size[maker & (holdings.market == m)]
        tiny = 1e-12 * interest.sum()
        assert (inventory >= -tiny).all() or (inventory <= tiny).all()
    gross, _ = per_account(holdings)
    free = holdings.cash - gross / law.maker_leverage
    floor = law.maker_floor * interest.sum() / law.makers
    assert (free[law.accounts :] >= floor * (1.0 - 1e-9) - 1e-12 * holdings.cash.max()).all()


def test_default_books_hold_together(default):
    for b in default:
        check_invariants(Population(), b)


def random_uniforms(law, seed):
    source = np.random.default_rng(seed)
    arrays = {}
    for purpose in Draw:
        rows = law.makers if purpose is Draw.MAKER else law.accounts
        shape = (rows, law.markets) if purpose in population.PER_MARKET else (rows,)
        arrays[purpose.name.lower()] = source.uniform(2.0**-53, 1.0, shape)
    return Uniforms(**arrays)


@st.composite
def fields(draw):
    """Fields of a law, not the law: the type checker draws random numbers when it sees a tuple."""
    markets = draw(st.integers(1, 5))
    weight = np.array(draw(st.lists(st.floats(0.01, 1.0), min_size=markets, max_size=markets)))
    unit, cap = st.floats(0.0, 1.0), st.floats(1.0, 100.0)
    caps = st.lists(cap, min_size=markets, max_size=markets).map(tuple)
    return dict(
        accounts=draw(st.integers(2, 400)),
        makers=draw(st.integers(1, 5)),
        market_share=tuple(float(w) for w in weight / weight.sum()),
        correlation=draw(unit),
        detached=draw(unit),
        hedged=draw(unit),
        long_share=draw(unit),
        positions=draw(st.sampled_from([(1.0,), (0.0, 0.5), (0.4, 0.2, 0.1), (0.2,)])),
        largest_share=draw(st.floats(0.05, 1.0)),
        long_leverage=draw(st.floats(1.0, 10.0)),
        leverage_cap=draw(st.one_of(cap, caps)),
        maker_leverage=draw(st.floats(0.5, 10.0)),
        maker_floor=draw(st.floats(0.0, 0.1)),
        open_interest=draw(st.one_of(st.none(), st.floats(1e3, 1e11))),
    )


@settings(max_examples=150, deadline=None)
@given(fields(), st.integers(0, 2**32 - 1))
def test_any_book_holds_together(given_fields, seed):
    law = Population(**given_fields)
    check_invariants(law, population.build(law, random_uniforms(law, seed)))


@settings(max_examples=50, deadline=None)
@given(fields(), st.integers(0, 2**32 - 1), st.permutations(range(5)))
def test_markets_are_interchangeable(given_fields, seed, permutation):
    """Markets listed in another order, with their uniforms: the same book."""
    law = Population(**given_fields)
    order = [m for m in permutation if m < law.markets]
    uniforms = random_uniforms(law, seed)
    names = [d.name.lower() for d in population.PER_MARKET]
    other_uniforms = dataclasses.replace(
        uniforms, **{name: getattr(uniforms, name)[:, order] for name in names}
    )
    cap = law.leverage_cap
    other = dataclasses.replace(
        law,
        market_share=tuple(law.market_share[m] for m in order),
        leverage_cap=tuple(cap[m] for m in order) if isinstance(cap, tuple) else cap,
    )

    def table(law, holdings):
        size = np.zeros((law.accounts + law.makers, law.markets))
        size[holdings.account, holdings.market] = holdings.size
        return size

    a, b = population.build(law, uniforms), population.build(other, other_uniforms)
    gross = np.abs(a.size).sum()
    np.testing.assert_allclose(table(law, a)[:, order], table(other, b), atol=1e-9 * gross)
    np.testing.assert_allclose(a.cash, b.cash, rtol=1e-9, atol=1e-9 * gross)


def test_the_same_key_gives_the_same_bits_and_another_key_another_book(default):
    again, other = books(Population(), 2)
    for field in dataclasses.fields(again):
        np.testing.assert_array_equal(
            getattr(again, field.name), getattr(default[0], field.name), strict=True
        )
    assert not np.array_equal(np.sort(again.cash), np.sort(other.cash))
    assert not np.array_equal(again.account, other.account)


def test_the_first_numbers_stay(default):
    """Golden: a change here changes every result. Uniforms are exact on every device."""
    uniforms = population.draw(Population(accounts=2, makers=1), jax.random.key(7))
    assert uniforms.radius.dtype == np.float64
    np.testing.assert_array_equal(uniforms.radius, GOLDEN_RADIUS)


def test_uniforms_of_purposes_differ():
    uniforms = population.draw(Population(), jax.random.key(0))
    first = [getattr(uniforms, d.name.lower()).ravel()[:100] for d in Draw if d != Draw.MAKER]
    assert len({x.tobytes() for x in first}) == len(first)
    everything = np.concatenate(
        [getattr(uniforms, field.name).ravel() for field in dataclasses.fields(uniforms)]
    )
    assert everything.min() > 0.0 and everything.max() < 1.0


def test_the_corners_of_the_uniforms_are_finite():
    law = Population(accounts=50)
    for corner in (2.0**-53, 1.0 - 2.0**-52):
        uniforms = random_uniforms(law, 0)
        names = [f.name for f in dataclasses.fields(uniforms)]
        filled = {name: np.full_like(getattr(uniforms, name), corner) for name in names}
        check_invariants(law, population.build(law, Uniforms(**filled)))


# --- fields -------------------------------------------------------------------------------------


def test_long_leverage_moves_cash_between_accounts_and_not_the_law_of_cash():
    free = dataclasses.replace(Population(), leverage_cap=float("inf"))
    key = jax.random.key(1)
    one = population.sample(dataclasses.replace(free, long_leverage=1.0), key)
    five = population.sample(dataclasses.replace(free, long_leverage=5.0), key)
    np.testing.assert_array_equal(np.sort(one.cash[:2000]), np.sort(five.cash[:2000]))
    np.testing.assert_array_equal(one.size, five.size)
    _, net = per_account(one)
    long = net[:2000] > 0.0
    assert (five.cash[:2000][long] <= one.cash[:2000][long]).all()
    assert (five.cash[:2000][~long] >= one.cash[:2000][~long]).all()


def test_open_interest_scales_everything():
    key = jax.random.key(2)
    given = population.sample(Population(open_interest=5e9), key)
    law = population.sample(Population(), key)
    scale = 5e9 / Population().expected_open_interest
    np.testing.assert_allclose(given.size, scale * law.size, rtol=1e-9)
    np.testing.assert_allclose(given.cash, scale * law.cash, rtol=1e-9)
    assert book.open_interest(given, 4).sum() == pytest.approx(5e9, rel=1e-12)


def test_the_leverage_cap_raises_cash_and_nothing_else():
    key = jax.random.key(3)
    free = population.sample(dataclasses.replace(Population(), leverage_cap=float("inf")), key)
    capped = population.sample(
        dataclasses.replace(Population(), leverage_cap=(10.0, 5.0, 3.0, 2.0)), key
    )
    np.testing.assert_array_equal(free.size, capped.size)
    margin = np.bincount(
        capped.account, np.abs(capped.size) / np.array([10.0, 5.0, 3.0, 2.0])[capped.market]
    )[:2000]
    np.testing.assert_allclose(capped.cash[:2000], np.maximum(free.cash[:2000], margin))
    assert (capped.cash[:2000] > free.cash[:2000]).mean() > 0.05


def test_no_account_is_larger_than_its_bound():
    for bound in (0.1, 0.25, 0.6):
        for b in books(Population(largest_share=bound), 8):
            gross, _ = per_account(b)
            assert gross[:2000].max() <= bound * gross[:2000].sum() * (1.0 + 1e-9)


def test_books_differ_in_their_largest_accounts(default):
    largest = [per_account(b)[0][:2000] for b in default]
    share = np.array([x.max() / x.sum() for x in largest])
    assert share.std() > 0.01
    long = [per_account(b)[1][np.argmax(x)] > 0.0 for b, x in zip(default, largest, strict=True)]
    assert 0 < sum(long) < len(long)


WRONG = [
    (dict(accounts=1), "book.accounts must be an integer >= 2, got 1"),
    (dict(makers=0), "book.makers must be an integer >= 1, got 0"),
    (dict(market_share=(0.5, 0.4)), "book.market_share must be positive shares, one per market"),
    (dict(market_share=(1.5, -0.5)), "book.market_share must be positive shares, one per market"),
    (dict(market_share=()), "book.market_share must be positive shares, one per market"),
    (dict(probabilities=(0.5, 0.1)), "book.probabilities must be at least two rising numbers"),
    (dict(notional=(1.0, 2.0)), "book.notional must be 10 quantiles above 0 that never fall"),
    (dict(cash=(0.0,) * 10), "book.cash must be 10 quantiles above 0 that never fall"),
    (dict(gain_long=(-1.0,) * 9), "book.gain_long must be 9 quantiles above -1 that never fall"),
    (dict(notional_top_share=1.0), "book.notional_top_share must be a share between"),
    (dict(largest_share=0.0), "book.largest_share must be above 0 and at most 1, got 0.0"),
    (dict(correlation=1.1), "book.correlation must be between 0 and 1, got 1.1"),
    (dict(detached=-0.1), "book.detached must be between 0 and 1, got -0.1"),
    (dict(long_share=float("nan")), "book.long_share must be between 0 and 1, got nan"),
    (dict(positions=(0.7, 0.7)), "book.positions must be shares that sum to at most 1"),
    (dict(cash_tail=0.0), "book.cash_tail must be a positive number, got 0.0"),
    (dict(maker_leverage=0.0), "book.maker_leverage must be a positive number, got 0.0"),
    (dict(maker_floor=-1.0), "book.maker_floor must be a number >= 0, got -1.0"),
    (dict(long_leverage=0.5), "book.long_leverage must be a number >= 1, got 0.5"),
    (dict(leverage_cap=(1.0, 2.0)), "book.leverage_cap must be positive, one number or one per"),
    (dict(leverage_cap=0.0), "book.leverage_cap must be positive, one number or one per market"),
    (dict(open_interest=0.0), "book.open_interest must be null or a positive number of USD"),
]


@pytest.mark.parametrize("wrong, message", WRONG, ids=[m.split()[0] for _, m in WRONG])
def test_impossible_numbers_are_refused_by_name(wrong, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Population(**wrong)


# --- describe -----------------------------------------------------------------------------------


def test_describe_a_book_by_hand():
    holdings = book.Holdings(
        cash=np.array([10.0, 5.0, 20.0, 100.0]),
        role=np.array([TRADER, TRADER, TRADER, MAKER]),
        account=np.array([0, 1, 1, 2, 3, 3]),
        market=np.array([0, 0, 1, 1, 0, 1]),
        size=np.array([30.0, -10.0, 10.0, -40.0, -20.0, 30.0]),
        entry=np.ones(6),
    )
    d = population.describe(holdings, 2)
    assert (d["accounts"], d["makers"], d["open_interest"]) == (3, 1, 70.0)
    assert d["market_share"] == pytest.approx([3 / 7, 4 / 7])
    assert d["notional"]["p50"] == 30.0 and d["notional"]["top_1pct"] == pytest.approx(40 / 90)
    assert d["cash"]["p50"] == 10.0
    assert d["leverage"]["p50"] == 3.0  # 3, 4 and 2
    assert d["leverage_long"]["p50"] == 3.0 and d["leverage_short"]["p50"] == 2.0
    assert d["long_share"] == pytest.approx(40 / 90)
    assert d["long_share_by_market"] == pytest.approx([30 / 40, 10 / 50])
    assert d["positions"]["1"] == pytest.approx(2 / 3)
    assert d["positions"]["2"] == pytest.approx(1 / 3)
    assert d["one_sided_accounts"] == pytest.approx(2 / 3)
    assert d["makers_of_open_interest"] == pytest.approx(50 / 70)
    assert d["largest_of_open_interest"] == pytest.approx(40 / 70)
    assert d["maker_cash"] == 100.0
