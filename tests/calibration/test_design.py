"""Designs: no vector reaches one that no venue could publish, and a vector comes back from its design."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import worlds
from hypothesis import strategies as st

from riskengine.calibration import design, levers
from riskengine.calibration.design import Bounds
from riskengine.errors import InputError

# floor, initial, maintenance: caps fall from 50x to 2x, and maintenance is near initial in one tier
ROWS = (
    (0.0, 0.02, 0.01), (1e4, 0.025, 0.0125), (5e4, 0.05, 0.04), (2e5, 0.25, 0.1), (1e6, 0.5, 0.25),
)  # fmt: skip
WIDE = Bounds(caps=(0.05, 1.5), maintenance=(0.5, 3.0))
FREE = design.NAMES


def two_markets():
    """The tables of ROWS, and a market with only three tiers of its own."""
    venue = worlds.venue(2, rows=ROWS, liquidation_fee=0.01)
    short = worlds.venue(2, rows=(*((f, 1.5 * i, m) for f, i, m in ROWS[:3]),))
    tables = {}
    for name in ("floor", "ratio", "deduction", "initial"):
        whole, part = (np.array(getattr(v.margin, name)) for v in (venue, short))
        fill = np.inf if name == "floor" else part[-1, 1]
        whole[:, 1] = np.append(part[:, 1], [fill] * 2)
        tables[name] = whole
    return worlds.replaced(venue, margin=worlds.replaced(venue.margin, **tables))


@functools.cache
def space(free=FREE, groups=5, bounds=WIDE):
    return design.space(two_markets(), free, groups, bounds)


@functools.cache
def program(groups):
    return jax.jit(space(groups=groups).design)


@functools.cache
def inverse(groups):
    return jax.jit(space(groups=groups).vector)


numbers = st.floats(-1e300, 1e300) | st.floats(-6.0, 6.0)


@hypothesis.given(data=st.data(), groups=st.sampled_from([1, 5]))
@hypothesis.settings(max_examples=300)
def test_no_vector_reaches_an_invalid_design(data, groups):
    of = space(groups=groups)
    x = np.asarray(data.draw(st.lists(numbers, min_size=of.size, max_size=of.size)))
    found = jax.tree.map(np.asarray, program(groups)(jnp.asarray(x)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert design.published(two_markets(), found) == []
    assert WIDE.maintenance[0] <= float(found.maintenance) <= WIDE.maintenance[1]
    assert (np.asarray(found.leverage_cap) <= WIDE.caps[1]).all()


@hypothesis.given(data=st.data(), groups=st.sampled_from([1, 5]))
@hypothesis.settings(max_examples=100)
def test_a_vector_comes_back_from_its_design(data, groups):
    of = space(groups=groups)
    inside = st.floats(-4.0, 4.0)
    x = np.asarray(data.draw(st.lists(inside, min_size=of.size, max_size=of.size)))
    found = program(groups)(jnp.asarray(x))
    back = inverse(groups)(found)
    again = program(groups)(back)
    assert np.allclose(back, x, atol=1e-6)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(again), strict=True):
        assert np.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_every_lever_answers_to_its_own_coordinate():
    of = space()
    assert of.names == (*(f"caps[{n}]" for n in range(5)), *design.NAMES[1:])
    slopes = jax.jit(jax.jacobian(of.design))(jnp.zeros(of.size))
    for name in design.NAMES[1:]:
        own = np.flatnonzero(np.asarray(getattr(slopes, name)))
        at = of.names.index(name)
        assert own.tolist() == [at] or (name == "maintenance" and at in own)
    assert (np.diagonal(np.asarray(slopes.leverage_cap)) > 0).all()


def test_todays_design_is_a_point_of_the_space():
    venue = two_markets()
    of = design.space(venue, ("caps", "maintenance"), 5, Bounds())
    found = of.design(design.today(of))
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(levers.still(venue)), strict=True
    ):
        assert np.allclose(one, other, rtol=1e-6, atol=1e-9)


def test_groups_hold_about_as_much():
    of = design.space(two_markets(), ("caps",), 2, WIDE, np.asarray([8.0, 1.0, 1.0, 3.0, 3.0]))
    assert of.group == (0, 1, 1, 1, 1) and of.size == 2
    assert design.space(two_markets(), ("caps",), 9, WIDE).group == (0, 1, 2, 3, 4)


def test_what_no_venue_could_publish_is_named():
    venue, still = two_markets(), levers.still(two_markets())
    caps = jnp.asarray([1.0, 1.5, 1.0, 1.0, 1.0])
    for changes, words in (
        ({"leverage_cap": caps}, "rises"),
        ({"leverage_cap": jnp.full(5, 0.4)}, "below 1x"),
        ({"maintenance": jnp.asarray(1.3)}, "not below initial"),
        ({"maintenance": jnp.asarray(0.0)}, "not positive"),
        ({"fee": jnp.asarray(1.0)}, "a fee outside"),
        ({"fund": jnp.asarray(-1.0)}, "negative"),
    ):
        said = design.published(venue, worlds.replaced(still, **changes))
        assert len(said) == 1 and words in said[0], said
    assert design.published(venue, still) == []


@pytest.mark.parametrize(
    "free, bounds, field",
    [
        (("caps", "price"), Bounds(), "design.free"),
        ((), Bounds(), "design.free"),
        (("caps",), Bounds(caps=(2.0, 1.0)), "design.caps"),
        (("caps",), Bounds(caps=(0.1, 0.4)), "design.caps"),  # 2x in the last tier becomes 0.8x
        (("maintenance",), Bounds(maintenance=(1.3, 2.0)), "design.maintenance"),
        (("fee",), Bounds(fee=(0.2, 0.1)), "design.fee"),
    ],
)
def test_bounds_that_contradict_are_refused(free, bounds, field):
    with pytest.raises(InputError, match=field):
        design.space(two_markets(), free, 5, bounds)
