"""Rare events: right where the truth is known, honest where the paths cannot know it.

The needs of most tests follow a law of their own, N = u^(−1/2) e^(s z) with u the uniform number of
the scale, so P(need > F) is an integral over the normal z. Comparisons with it fail by chance with
probability `ALPHA` each, fewer than 30 of them; seeds are fixed.
"""

import jax.numpy as jnp
import numpy as np
import pytest
import rulebook
import worlds
from scipy import integrate, special, stats

from riskengine.montecarlo import (
    estimators,
    grid,
    importance,
    keys,
    weighted,
)
from riskengine.montecarlo.estimators import Sample
from riskengine.montecarlo.importance import Aim, Surveyed
from riskengine.montecarlo.survey import Survey
from riskengine.montecarlo.weighted import WeightedPaths
from riskengine.specs.scenario import Ladder
from riskengine.types import InputError

ALPHA = 1e-5
REACH = float(-special.ndtri(0.5 * ALPHA))
KEY = keys.root(11)
BOOKS = 8
NOISE = 0.4  # s
LEVELS = (1e-2, 1e-3, 1e-4)


def truth(capital: float) -> float:
    """P(u^(−1/2) e^(s z) > F)."""

    def given(z):
        return min((capital * np.exp(-NOISE * z)) ** -2.0, 1.0) * stats.norm.pdf(z)

    return integrate.quad(given, -10.0, 10.0, points=[np.log(capital) / NOISE], limit=200)[0]


def capital(exceed: float) -> float:
    """The F that so few need more than."""
    found = np.geomspace(1.0, 1e6, 4001)
    return float(np.interp(-np.log(exceed), -np.log([truth(f) for f in found[::20]]), found[::20]))


class World:
    """Needs of paths by their scale, noise that nobody sees, and a survey that sees the scale."""

    def __init__(self, seed: int, seen: float = 1.0):
        self.random, self.seen, self.ran = np.random.default_rng(seed), seen, 0
        self.z = self.random.standard_normal(400_000)

    def needs(self, path, scale):
        self.ran += len(path)
        return {"need": scale**-0.5 * np.exp(NOISE * self.z[path])}

    def surveyed(self, paths: int, rarest: float) -> Surveyed:
        """`seen` of the logarithm of the scale shows in the size of the crash, the rest is noise."""
        path = np.arange(paths)
        scale, weight = importance.lean(*self.random.random((2, paths)), 0.01 * rarest)
        blurred = self.seen * -0.5 * np.log(scale)
        blurred = blurred + (1.0 - self.seen) * self.random.standard_normal(paths)
        fall, none = 0.01 * np.exp(blurred), np.zeros(paths)
        seen = Survey(fall, none, 1.2 * fall, none, none, none, none)
        return Surveyed(path, path % BOOKS, scale, weight, seen)


def ran(world: World, aims, paths=2000, pilot=500, surveyed=20_000, rarest=1e-4, **how):
    return importance.run(
        KEY, world.surveyed(surveyed, rarest), world.needs, aims, pilot, paths, **how
    )


def rare(world: World, exceed=LEVELS, paths=2000, pilot=500, surveyed=20_000) -> WeightedPaths:
    aims = [Aim("need", e) for e in exceed]
    return ran(world, aims, paths, pilot, surveyed, min(exceed)).weighted("need")


def test_the_leaning_law_is_the_density_that_weights_say():
    random = np.random.default_rng(0)
    u, weight = importance.lean(*random.random((2, 200_000)), 1e-7)
    assert weight.max() <= 10.0
    for bound in (1e-4, 1e-2, 0.5, 1.0):
        y = weight * (u < bound)
        assert abs(y.mean() - bound) < REACH * y.std() / np.sqrt(len(y)), bound
    inside = np.mean((u > 1e-5) & (u < 1e-3))
    expected = 0.1 * (1e-3 - 1e-5) + 0.9 * np.log(1e2) / np.log(1e7)
    assert abs(inside - expected) < REACH * 0.5 / np.sqrt(len(u))


def test_a_careful_survey_counts_no_path_more_than_twice():
    random = np.random.default_rng(0)
    u, weight = importance.lean(*random.random((2, 100_000)), 1e-7, importance.CAREFUL.lean)
    assert weight.max() <= 2.0
    y = weight * (u < 1e-4)
    assert abs(y.mean() - 1e-4) < REACH * y.std() / np.sqrt(len(y))


@pytest.mark.parametrize("seen", [1.0, 0.0])
def test_a_careful_choice_counts_what_it_overlooks_a_little(seen):
    """Unbiased as any, and no path is more than mean(w) / (half of the choice) of a probability."""
    found = ran(World(6, seen), [Aim("need", 1e-3)], looks=1, trust=importance.CAREFUL)
    paths = found.weighted("need")
    y = paths.exceed(capital(1e-3))
    error = np.sqrt(paths.sample.variance(y, total=False))
    assert abs(y.mean() - 1e-3) < REACH * error
    most = found.surveyed.weight.mean() / (0.5 * 2000)
    assert found.weight.max() / paths.sample.paths <= most * (1.0 + 1e-9)


def test_what_a_book_adds_is_left_out_where_few_of_its_paths_are_known():
    """A guess at it from one path or two would be taken for knowledge."""
    surveyed = World(5).surveyed(4000, 1e-3)
    event = surveyed.book == 0  # a matter of the book alone
    few, many = surveyed.some(slice(0, 60)), surveyed.some(slice(0, 640))
    others = surveyed.some(slice(2000, 4000))
    own = others.book == 0
    told = importance.predict(many, event[:640], others)
    assert told[own].min() > 0.5 > told[~own].max()
    blind = importance.predict(few, event[:60], others)
    assert blind[~own].max() > 0.05


@pytest.mark.parametrize("seen", [1.0, 0.3, 0.0])
def test_probabilities_are_unbiased_however_little_the_survey_sees(seen):
    found = rare(World(1, seen))
    for exceed in LEVELS:
        y = found.exceed(capital(exceed))
        error = np.sqrt(found.sample.variance(y, total=False))
        assert abs(y.mean() - exceed) < REACH * max(error, 0.3 * exceed), exceed


def test_a_rare_event_costs_a_hundredth_of_plain_paths_and_less():
    found = rare(World(2))
    for exceed, least in zip(LEVELS, (5.0, 50.0, 400.0), strict=True):
        assert found.gain(capital(exceed), float(len(found.need))) > least, exceed


@pytest.mark.nightly
def test_fund_targets_hold_the_truth_as_often_as_they_say():
    held = []
    for seed in range(30):
        e = rare(World(100 + seed), (1e-3,), 1500, 400, 8000).fund_target("f", 1e-3)
        if e.value is not None:  # else it is said that these paths cannot carry it
            held.append(e.low <= capital(1e-3) <= e.high)
    assert len(held) > 20
    assert stats.binom.cdf(sum(held), len(held), 0.95) > ALPHA


def test_looks_end_when_enough_is_known_and_each_is_unbiased():
    world, seen = World(7), []
    aims = [Aim("need", e) for e in LEVELS]

    def never(rare):
        seen.append(rare)
        return False

    ran(world, aims, enough=never)
    assert [one.looks for one in seen] == [1, 2, 3]
    assert world.ran == 500 + len(seen[-1].ran)  # no path twice
    for before, after in zip(seen, seen[1:], strict=False):
        assert np.isin(before.ran, after.ran).all() and len(after.ran) > len(before.ran)
    for one in seen:
        for exceed in LEVELS:
            y = one.weighted("need").exceed(capital(exceed))
            error = np.sqrt(one.weighted("need").sample.variance(y, total=False))
            assert abs(y.mean() - exceed) < REACH * max(error, 0.3 * exceed), exceed
    first = ran(World(7), aims, enough=lambda rare: True)
    assert first.looks == 1 and np.array_equal(first.ran, seen[0].ran)


def test_a_choice_can_aim_at_a_capital():
    world, at = World(8), capital(1e-3)
    y = ran(world, [Aim("need", capital=at)]).weighted("need").exceed(at)
    assert abs(y.mean() - 1e-3) < REACH * 0.3e-3 and y.mean() > 0


def test_a_grid_of_scales_agrees_and_shares_nothing():
    world = World(3)
    found = grid.run(
        KEY, lambda *paths: world.needs(*paths)["need"], BOOKS, np.arange(200_000, 200_400), 1e-4
    )
    assert found.together(found.weight) == pytest.approx(np.ones(400), rel=1e-12)
    for exceed in LEVELS:
        y = found.exceed(capital(exceed))
        error = np.sqrt(found.sample.variance(y, total=False))
        assert abs(y.mean() - exceed) < REACH * error, exceed
        assert error < 0.2 * exceed


def paths_of(need, weight, books=1) -> WeightedPaths:
    sample = Sample(np.arange(len(need)) % books)
    return WeightedPaths(need, weight, np.arange(len(need)), sample, "test")


def test_equal_weights_give_the_plain_order_statistic():
    need = np.random.default_rng(4).pareto(2.0, 4000)
    found = paths_of(need, np.ones(4000))
    assert found.target(0.05) == np.sort(need)[::-1][200]
    e = found.probability("p", found.target(0.05))
    assert e.value == 0.05 and e.hits == 200
    plain = estimators.proportion("p", need > found.target(0.05), Sample(np.zeros(4000, int)))
    assert (e.low, e.high) == pytest.approx((plain.low, plain.high), rel=1e-3)


def test_limits_are_the_nearest_on_either_side():
    """A small need counts for much on one path: there P(need > F) is hardly known."""
    random, asked = np.random.default_rng(9), 0.025
    need = np.concatenate([[0.8], np.full(4000, 0.1), 10.0 + random.pareto(2.0, 4000)])
    weight = np.concatenate([[160.0], np.full(4000, 1.9), np.full(4000, 0.06)])
    found = paths_of(need, weight)
    assert found._limits(0.5, total=False)[0] < asked < found._limits(10.0, total=False)[0]
    e = found.fund_target("f", asked)
    assert e.value is not None, e.note
    assert 10.0 < e.low < e.value < e.high
    ordered = np.sort(need)
    below, above = ordered[np.searchsorted(ordered, e.low) - 1], e.high
    assert found._limits(below, total=True)[0] > asked >= found._limits(above, total=True)[1]


def test_what_is_verified_counts_the_largest_hit_once_more():
    """With weights of 1: the order statistic whose hits and one more have an upper limit of ε."""
    need, asked = np.random.default_rng(4).pareto(2.0, 4000), 0.05
    found = paths_of(need, np.ones(4000))
    hits = int(np.sum(need > found.verified(asked)))

    def limit(count: int) -> float:
        z = np.zeros(4000)
        z[:count] = 1.0
        return estimators.proportion("p", z > 0, Sample(np.zeros(4000, int))).high

    assert limit(hits + 1) <= asked * 1.001 and limit(hits + 2) > asked
    # one hit of a large weight is taken for a sign of others
    heavy = np.ones(4000)
    heavy[np.argsort(need)[-1]] = 40.0
    assert paths_of(need, heavy).verified(asked) > found.verified(asked)


def test_nothing_is_verified_that_few_paths_exceed_or_whose_weights_are_wrong():
    need = np.random.default_rng(4).pareto(2.0, 4000)
    assert paths_of(need, np.ones(4000)).verified(1e-3) == np.inf
    assert paths_of(need, 1.3 + 1e-3 * (np.arange(4000) % 2)).verified(0.05) == np.inf


@pytest.mark.parametrize(
    ("need", "weight", "capital", "words"),
    [
        (np.arange(200.0), np.ones(200), 149.0, "worth 50 paths"),
        (np.arange(2000.0), np.where(np.arange(2000) < 1999, 0.97, 60.0), 999.0, "one path is 5"),
        (np.arange(2000.0), 1.3 + 1e-3 * (np.arange(2000) % 2), 999.0, "standard errors from 1"),
    ],
)
def test_what_paths_cannot_carry_is_not_said(need, weight, capital, words):
    e = paths_of(need, weight).probability("p", capital)
    assert e.value is None and e.low is None and e.high is None
    assert words in e.note


def test_weights_without_variance_are_found():
    y = np.random.default_rng(5).pareto(1.2, 5000)
    assert weighted.health(y, np.ones(5000), Sample(np.zeros(5000, int))).tail > 0.5
    light = np.random.default_rng(5).random(5000)
    assert weighted.health(light, np.ones(5000), Sample(np.zeros(5000, int))).problem == ""


# The engine

PATHS = np.arange(12)


@pytest.fixture(scope="module")
def specs():
    rng = np.random.default_rng(0)
    held = [worlds.holdings(rng, makers=2, rest=1) for _ in range(3)]
    venue = rulebook.venue("hyperliquid", np.random.default_rng(0), dust=1.0)
    return KEY, worlds.several(held), venue, worlds.crash(), worlds.simulation()


def test_only_laws_with_a_scale_can_be_leaned_on(specs):
    key, books, venue, scenario, grid_ = specs
    ladder = Ladder(books=jnp.uint32(1), shock=jnp.asarray([0.1]), duration=jnp.asarray(60.0))
    law = worlds.replaced(scenario, law=ladder)
    with pytest.raises(InputError, match="must be plain where the law of prices has no random"):
        Surveyed.of(key, books, venue, law, grid_, PATHS, 1e-3)


@pytest.mark.parametrize(("pilot", "exceed", "field"), [(0, (0.1,), "pilot"), (100, (0.1,), "pilot"),
                                                         (50, (1.0,), "aims"), (50, (), "aims")])  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_one_line(pilot, exceed, field):
    world = World(6)
    with pytest.raises(InputError, match=f"^{field} must"):
        ran(world, [Aim("need", e) for e in exceed], 10, pilot, 100, 0.01)
