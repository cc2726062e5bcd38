"""All paths, plainly or in two levels: the same questions, and the same answers where nothing is grouped."""

import numpy as np
import pytest
from test_two_level import NEED, above, drawn, results

from riskengine.montecarlo import estimators, two_level
from riskengine.montecarlo.estimators import Sample
from riskengine.montecarlo.paths import CoupledPaths, Paths
from riskengine.montecarlo.two_level import Choice, TwoLevel

PATHS, BOOKS, CAPITAL = 2000, 8, 1.5


def need(found):
    return found[NEED]


def capped(found):
    return np.minimum(found[NEED], 3.0)


@pytest.fixture(scope="module")
def plain() -> Paths:
    """Every path on the books themselves."""
    book, x, _ = drawn(np.random.default_rng(0), PATHS, 0.0, BOOKS, 0.1)
    return Paths(results(np.arange(PATHS), book, **{NEED: x}), Sample(book))


def coupled(plain: Paths, floor: float, error: float = 0.3) -> CoupledPaths:
    """The same in two levels: needs of groups are off by a factor with this spread."""
    random = np.random.default_rng(1)
    x, book, path = plain.results[NEED], plain.results.book, plain.results.path
    cheap = results(path, book, **{NEED: x * np.exp(error * random.standard_t(3.0, PATHS))})
    chance = two_level.chances(cheap[NEED], Choice(exceed=(0.1,), capitals=(CAPITAL,), floor=floor))
    rows = np.flatnonzero(random.random(PATHS) < chance)
    full = results(rows, book[rows], **{NEED: x[rows]})
    known = cheap.replaced({NEED: np.where(np.isin(path, rows), x, cheap[NEED])})
    return CoupledPaths(known, plain.sample, TwoLevel(cheap, full, chance))


def answers(paths: Paths) -> list[estimators.Estimate]:
    """One of every kind."""
    falls = np.arange(PATHS) % 3 > 0
    return [
        paths.proportion("p", above(CAPITAL)),
        paths.proportion("p", above(CAPITAL), total=False),
        paths.mean("m", capped, "USD"),
        paths.quantile("q", need, 0.1),
        paths.quantile("q", need, 0.4 / PATHS),
        paths.some(falls).proportion("p", above(CAPITAL)),
        paths.some(falls).quantile("q", need, 0.05),
    ]


def test_where_all_paths_ran_in_full_the_answers_are_the_plain_ones(plain):
    """Whatever the groups say; limits of quantiles to the nearest paths."""
    both = coupled(plain, floor=1.0)
    assert len(both.two.full) == PATHS and both.said == plain.said == ""
    for mine, other in zip(answers(both), answers(plain), strict=True):
        assert (mine.name, mine.n, mine.hits, mine.unit) == (
            other.name, other.n, other.hits, other.unit,
        )  # fmt: skip
        assert mine.value == (None if other.value is None else pytest.approx(other.value))
        loose = 0.2 if mine.name == "q" else 1e-9
        for end in ("low", "high"):
            limit = getattr(other, end)
            expected = None if limit is None else pytest.approx(limit, rel=loose)
            assert getattr(mine, end) == expected
    capital = np.asarray([0.5, CAPITAL, 4.0])
    curves = [p.curve(NEED, capital) for p in (both, plain)]
    for name in ("probability", "low", "high", "hits"):
        np.testing.assert_allclose(curves[0][name], curves[1][name])


def test_where_few_ran_in_full_the_answers_hold_those_of_all(plain):
    """And are nearer to them than the groups alone."""
    few = coupled(plain, floor=0.2, error=1.0)
    assert len(few.two.full) < 0.5 * PATHS
    assert few.said == f"of grouped accounts on {PATHS - len(few.two.full):,} of 2,000 paths"
    for mine, other in zip(answers(few), answers(plain), strict=True):
        if other.value is not None:
            assert mine.low <= other.value <= mine.high, mine
    alone = Paths(few.two.cheap, plain.sample)
    truth, found, off = (p.quantile("q", need, 0.1).value for p in (plain, few, alone))
    assert abs(found - truth) < 0.2 * abs(off - truth)


def test_values_are_numbers_of_paths_without_bias(plain):
    found = coupled(plain, floor=0.3)
    assert np.array_equal(plain.values(capped), capped(plain.results))
    error = found.values(capped) - plain.values(capped)
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(PATHS)
    certain = found.two.chance == 1.0
    np.testing.assert_allclose(error[certain], 0.0, atol=1e-12)
