"""What a step of a lever does, where every path's answer to it is known in closed form.

Needs are R = exp(a + θ d + z) with z normal: P(R > F) = Φ((a + θ d − log F)), and so on.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import worlds
from scipy import stats

from riskengine.calibration import levers, moves, sensitivity
from riskengine.calibration.moves import Move
from riskengine.calibration.sensitivity import Case, Side
from riskengine.montecarlo.setting import Setting
from riskengine.montecarlo.simulate import Results
from riskengine.montecarlo.two_level import lots
from riskengine.specs import book as books_
from riskengine.specs.book import MAKER, TRADER, Holdings

BOOKS, STEP = 20, 0.1
SLOPE = 1.3  # of log needs by the logarithm of the lever
LEVER = Move("depth", "depth", "10 %")
FUND = Move("fund", "fund", "10 %")
LOSS = 0.05  # of the need above the fund, haircut over an equity of 2


def needs(n: int, seed: int, spread: float = 0.0) -> np.ndarray:
    """z of every path; with `spread` books differ."""
    random = np.random.default_rng(seed)
    book = spread * random.standard_normal(BOOKS)
    return random.standard_normal(n) + book[np.arange(n) % BOOKS]


def results(z: np.ndarray, shift: float = 0.0, capital: float = 1.0) -> Results:
    """Paths whose needs are exp(z + shift)."""
    need = np.exp(z + shift)
    beyond = np.maximum(need - capital, 0.0)
    metrics = {
        "adl_required_fund": need, "required_fund": 0.5 * need,
        "adl_loss_mark": LOSS * beyond, "adl_equity": np.full(len(z), 2.0),
    }  # fmt: skip
    paths = np.arange(len(z))
    return Results(paths, paths % BOOKS, metrics, {"row": np.zeros(0, int)},
                   np.zeros((BOOKS, 1), int), 0.0, 1, 1)  # fmt: skip


@pytest.fixture(scope="module")
def setting():
    held = Holdings(
        cash=np.array([1000.0, 500.0]), role=np.array([TRADER, MAKER]), account=np.arange(2),
        market=np.zeros(2, int), size=np.array([10.0, -10.0]), entry=np.ones(2),
    )  # fmt: skip
    packed, _, _ = books_.pack([held], 1)
    return Setting(
        jax.random.key(0),
        packed,
        worlds.venue(1, capital=1.0),
        worlds.crash(),
        worlds.simulation(8),
    )


def case_of(setting, n: int, exceed: float | None = 0.05, random_books=True) -> Case:
    return Case(setting, n, exceed, False, 0.95, random_books)


def sides_of(case: Case, z: np.ndarray, chance: np.ndarray | None = None) -> tuple[Side, list]:
    """The paths as they are and with the lever a step down and up, all run or those with luck."""
    still = results(z)
    at = sensitivity.base(case, still, still)
    chance = np.ones(len(z)) if chance is None else chance
    rows = sensitivity.chosen(case.setting.key, still.path, chance)
    moved = [results(z, SLOPE * math.log1p(sign * STEP)).some(rows) for sign in (-1, 1)]
    return at, [sensitivity.side(at, chance, each, each) for each in moved]


def truth(measure: str, shift: float) -> float:
    """The measures in closed form with all log needs shifted."""
    normal = stats.norm
    if measure == "adl_probability":
        return normal.cdf(shift)
    if measure == "depletion_probability":
        return normal.cdf(shift - math.log(2.0))
    if measure == "fund_target":
        return math.exp(shift + normal.isf(0.05))
    level = math.log(2.0) if measure == "excess_draw" else 0.0
    call = math.exp(shift + 0.5) * normal.cdf(shift - level + 1) - math.exp(level) * normal.cdf(
        shift - level
    )
    return {"excess_draw": 0.5, "adl_loss_mark_per_crash": LOSS, "expected_haircut": 0.5 * LOSS}[
        measure
    ] * call


def step_of(measure: str) -> float:
    """What one step does, exactly."""
    up, down = (truth(measure, SLOPE * math.log1p(sign * STEP)) for sign in (1, -1))
    return 0.5 * (up - down)


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_every_measure_answers_a_step_as_its_law_says(setting, share):
    n = 40_000
    z = needs(n, 1)
    case = case_of(setting, n)
    at, sides = sides_of(case, z, np.full(n, share))
    for one in sensitivity.compare(case, at, LEVER, (sides[0], sides[1])):
        error = sensitivity.standard_error(one.step, at.free.sample)
        exact = step_of(one.measure)
        assert one.step.value is not None
        # misses once in 10,000; smoothing may be off by 1 %
        assert abs(one.step.value - exact) < 4.0 * error + 0.01 * abs(exact), one.measure
        assert error < (0.2 if share < 1 else 0.1) * abs(exact), one.measure
        assert one.up and one.down and one.up.value is not None and one.down.value is not None
        assert math.isclose(0.5 * (one.up.value - one.down.value), one.step.value, rel_tol=1e-9)


@pytest.mark.nightly
def test_intervals_cover_where_books_differ(setting):
    """Of 200 intervals at 95 % so many hold the truth: false alarm once in 1,000.

    A target that rests on 40 paths above it is known a little worse than its interval says: 91 %.
    """
    n, held, sizes = 800, dict.fromkeys(sensitivity.MEASURES, 0), 200
    case = case_of(setting, n)
    spread = 0.5
    wide = math.hypot(1.0, spread)

    def exact(measure: str) -> float:
        if measure == "adl_probability":
            return 0.5 * sum(
                sign * stats.norm.cdf(SLOPE * math.log1p(sign * STEP) / wide) for sign in (1, -1)
            )
        assert measure == "fund_target"
        base = math.exp(wide * stats.norm.isf(0.05))
        return 0.5 * base * ((1 + STEP) ** SLOPE - (1 - STEP) ** SLOPE)

    for seed in range(sizes):
        at, sides = sides_of(case, needs(n, 100 + seed, spread))
        full = sensitivity.Measured(case, at)
        for measure in ("adl_probability", "fund_target"):
            e = sensitivity.effect(LEVER, measure, full, at, sides).step
            assert e.low is not None and e.high is not None
            held[measure] += e.low <= exact(measure) <= e.high
    for measure, least in (("adl_probability", 0.9), ("fund_target", 0.84)):
        assert least <= held[measure] / sizes <= 0.995, (measure, held[measure])


def test_smoothing_has_less_variance_than_counting(setting):
    """Here four to five times less."""
    case = case_of(setting, 20_000)
    at, sides = sides_of(case, needs(20_000, 3))
    errors = [
        sensitivity.standard_error(
            sensitivity.effect(LEVER, "adl_probability", of, at, sides).step, at.free.sample
        )
        for of in (sensitivity.Measured(case, at, 0.0), sensitivity.Measured(case, at))
    ]
    assert errors[1] ** 2 < errors[0] ** 2 / 3.0


def test_the_fund_moves_the_need_beyond_it_by_the_identity(setting):
    n = 20_000
    case = case_of(setting, n)
    still = results(needs(n, 4))
    at = sensitivity.base(case, still, still)
    steps = sensitivity.fund_steps(case, still)
    assert np.allclose(steps, (0.9, 1.1))
    ends = sensitivity.fund_sides(case, at, dict.fromkeys(steps, still))
    found = {s.measure: s.step for s in sensitivity.of_fund(case, at, FUND, ends)}
    slope = sensitivity.slope_of_excess_draw(case, at)
    assert slope.value == -float((still["required_fund"] > 1.0).mean())
    assert slope.low is not None and slope.high is not None and slope.low < slope.value < slope.high
    draw = found["excess_draw"].value
    assert draw is not None
    assert abs(draw / STEP - slope.value) < 0.01 * abs(slope.value)  # the need is curved in F
    assert found["fund_target"].value == 0.0 and found["fund_target"].method == "exact"
    # dP/dlog F = −φ(0)
    likely = found["adl_probability"]
    error = sensitivity.standard_error(likely, at.free.sample)
    assert likely.value is not None
    assert abs(likely.value + STEP * stats.norm.pdf(0.0)) < 4 * error + 5e-4


def test_a_fund_of_nothing_can_only_rise(setting):
    none = dataclasses.replace(
        setting, venue=dataclasses.replace(setting.venue, capital=jnp.asarray(0.0))
    )
    case = case_of(none, 100)
    still = results(needs(100, 5))
    at = sensitivity.base(case, still, still)
    down, up = sensitivity.fund_steps(case, still)
    assert math.isnan(down) and up >= 1.0
    ends = sensitivity.fund_sides(case, at, {up: still})
    assert ends[0] is None and ends[1].capital == up
    found = {s.measure: s for s in sensitivity.of_fund(case, at, FUND, ends)}
    likely = found["adl_probability"]
    assert likely.down is None and likely.step.value is not None and likely.step.value <= 0.0


def test_likelihood_ratio_and_difference_together_are_better_than_either(setting):
    """Here log R = SLOPE · (log scale) + noise, and the lever shifts the log scale."""
    n, random = 20_000, np.random.default_rng(6)
    size, rest = random.standard_normal(n), random.standard_normal(n)
    score = size  # of a standard normal
    case = case_of(setting, n, random_books=False)
    still = results(SLOPE * size + rest)
    at = sensitivity.base(case, still, still)
    sides = [
        sensitivity.base(case, *[results(SLOPE * (size + math.log1p(sign * STEP)) + rest)] * 2)
        for sign in (-1, 1)
    ]
    of = sensitivity.Measured(case, at, 0.0)
    alone, both = (
        sensitivity.effect(LEVER, "adl_probability", of, at, sides, given).step
        for given in (None, score)
    )
    exact = 0.5 * sum(
        sign * stats.norm.cdf(SLOPE * math.log1p(sign * STEP) / math.hypot(1, SLOPE))
        for sign in (1, -1)
    )
    errors = [sensitivity.standard_error(e, at.free.sample) for e in (alone, both)]
    assert errors[1] < 0.9 * errors[0]
    assert both.value is not None and abs(both.value - exact) < 4 * errors[1] + 0.01 * exact
    assert "likelihood ratio" in both.method


def test_paths_that_decide_run_and_all_together_keep_to_the_cost(setting):
    n = 4000
    case = dataclasses.replace(case_of(setting, n), fund_paths=400)
    still = results(2.0 * needs(n, 7))
    at = sensitivity.base(case, still, still.some(np.arange(400)))
    few, many = (sensitivity.chances(case, at, sides) for sides in (8, 60))
    assert (few[:400] == 1.0).all() and (many[:400] == 1.0).all()
    near = np.abs(np.log(still["adl_required_fund"])) < sensitivity.WIDTH
    assert (few[near] == 1.0).all() and few.min() >= sensitivity.FLOOR
    assert many.min() > 0 and 60 * (many.sum() + 400) <= 1.01 * sensitivity.COST * n
    ran = (lots(setting.key, still.path) < few).sum()
    assert abs(ran - few.sum()) < 4 * math.sqrt((few * (1 - few)).sum())


def test_what_cannot_be_known_has_no_value(setting):
    n = 200
    case = case_of(setting, n, exceed=0.001)  # less than one path
    z = needs(n, 8)
    at, sides = sides_of(case, z)
    found = {s.measure: s for s in sensitivity.compare(case, at, LEVER, (sides[0], sides[1]))}
    assert found["fund_target"].step.value is None and found["fund_target"].step.note
    partial = case_of(setting, n, exceed=None)
    assert "fund_target" not in sensitivity.measures(partial)


def test_a_lever_without_effect_is_exactly_nothing_and_says_why(setting):
    case = case_of(setting, 100)
    at, _ = sides_of(case, needs(100, 9))
    idle = dataclasses.replace(LEVER, why="exactly 0: there is none")
    for one in sensitivity.compare(case, at, idle, (None, None)):
        assert (one.step.value, one.step.low, one.step.high) == (0.0, 0.0, 0.0)
        assert one.step.method == "exact" and one.step.note == idle.why


# Steps of levers


def test_steps_of_a_venue_without_fees_and_without_other_vaults(setting):
    found = {m.name: m for m in moves.moves(setting, (0.0, 1.0))}
    assert found["vault"].up is None and "no capital outside" in found["vault"].why
    for name in ("maintenance", "depth", "volatility"):
        down, up = found[name].down, found[name].up
        assert down is not None and up is not None
        assert float(getattr(down, name)) == 0.9 and float(getattr(up, name)) == 1.1
    caps = [m for m in found.values() if m.name.startswith("leverage_cap")]
    assert [m.response for m in caps] == [0.0, 1.0]
    assert caps[0].down is not None and float(caps[0].down.leverage_cap[0]) == 0.9


@pytest.mark.parametrize(
    "fee, to_pool, sides",
    [
        (0.0, 0.5, {"fee": (None, (moves.FEE, 0.5)), "top_up": (None, None)}),
        (5e-4, 1.0, {"fee": (None, (moves.FEE, 0.0)), "top_up": ((0.0, -0.1), None)}),
        (0.01, 0.0, {"fee": ((-moves.FEE, 0.0), (moves.FEE, 0.0)), "top_up": (None, (0.0, 0.1))}),
        (0.01, 0.5, {"fee": ((-moves.FEE, 0.0), (moves.FEE, 0.0)),
                     "top_up": ((0.0, -0.1), (0.0, 0.1))}),
    ],
)  # fmt: skip
def test_fees_and_their_share_are_moved_as_far_as_they_go(setting, fee, to_pool, sides):
    liquidation = dataclasses.replace(
        setting.venue.liquidation, fee=jnp.asarray(fee), fee_to_pool=jnp.asarray(to_pool)
    )
    venue = dataclasses.replace(setting.venue, liquidation=liquidation)
    if "book" not in venue.stages:
        venue = dataclasses.replace(venue, stages=("book", *venue.stages))
    found = {m.name: m for m in moves.moves(dataclasses.replace(setting, venue=venue), (0.0,))}
    for name, ends in sides.items():
        move = found[name]
        for by, end in ((move.down, ends[0]), (move.up, ends[1])):
            if end is None:
                assert by is None
            else:
                assert by is not None
                assert np.allclose((float(by.fee), float(by.fee_to_pool)), end)
        assert bool(move.why) == (None in ends)


def test_no_step_is_where_the_venue_stands(setting):
    """Every side moves something: what it leaves as it is would be simulated for nothing."""
    still = levers.still(setting.venue)
    for move in moves.moves(setting, (0.5,)):
        for by in (move.down, move.up):
            if by is not None:
                leaves = zip(jax.tree.leaves(by), jax.tree.leaves(still), strict=True)
                assert any(not np.array_equal(x, y) for x, y in leaves), move.name


@pytest.mark.parametrize(
    "share, groups",
    [
        ([1.0, 0.0], [[0]]),
        ([0.5, 0.3, 0.15, 0.04, 0.01], [[0], [1], [2], [3, 4]]),
        ([0.3, 0.25, 0.2, 0.15, 0.1], [[0], [1], [2], [3, 4]]),
        ([0.995, 0.005], [[0]]),
        ([0.05, 0.9, 0.05], [[1], [0, 2]]),
        ([0.0, 0.0], []),
    ],
)
def test_tiers_with_little_are_moved_together(share, groups):
    assert moves.tier_groups(np.asarray(share)) == groups
