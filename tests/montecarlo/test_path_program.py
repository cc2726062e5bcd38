"""The one program of a run: what it contains, and what its numbers may and may not depend on."""

import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rulebook
import twins
import worlds

from riskengine import reference
from riskengine.montecarlo import keys, shadow, simulate
from riskengine.types import compiled
from riskengine.waterfall import margin

PATHS = np.arange(64)
BATCH = 64
BOOKS = 4
KEY = keys.root(7)
READS_CAPITAL = (
    "excess_draw", "depleted", "depletion_time", "intervened", "intervention_time", "unfunded",
)  # fmt: skip
COUNTS = ("accounts_deleveraged", "accounts_liquidated", "winner_bankrupted")
TIMES = ("depletion_time", "intervention_time", "depleted", "intervened")


@functools.cache
def books(dtype: str = "float64"):
    rng = np.random.default_rng(20)
    return worlds.several(
        [worlds.holdings(rng, makers=2, rest=1) for _ in range(BOOKS)], dtype=dtype
    )


def run(name: str = "hyperliquid", batch: int = BATCH, paths=PATHS, **numbers):
    venue = rulebook.venue(name, np.random.default_rng(0), **(dict(dust=1.0) | numbers))
    return simulate.simulate(
        KEY, books(), venue, worlds.crash(), worlds.simulation(), paths, batch=batch
    )


def same(a, b) -> list[str]:
    """Names of the numbers of two runs that differ in any bit."""
    columns = {**a.metrics, **{f"hit {n}": x for n, x in a.hits.items()}}
    others = {**b.metrics, **{f"hit {n}": x for n, x in b.hits.items()}}
    columns["liquidated"], others["liquidated"] = a.liquidated, b.liquidated
    return [name for name, values in columns.items() if not identical(values, others[name])]


def identical(a: np.ndarray, b: np.ndarray) -> bool:
    """The same bits, NaN included."""
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


# What the program contains


def programs(jaxpr):
    """A program and all programs inside it."""
    yield jaxpr
    for equation in jaxpr.eqns:
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from programs(inner)


def operations(name: str, dtype: str = "float64") -> list:
    """Every operation of a batch of paths under the rules of that name."""
    venue = rulebook.venue(name, np.random.default_rng(0))
    book = jax.tree.map(lambda x: x[0], books(dtype))

    def path(number):
        attached = margin.attach(book, venue)
        return simulate.one_path(KEY, number, attached, venue, worlds.crash(), worlds.simulation())

    traced = jax.make_jaxpr(jax.vmap(path))(jnp.arange(32, dtype=jnp.uint32))
    return [equation for program in programs(traced.jaxpr) for equation in program.eqns]


def floating(equation) -> bool:
    return any(jnp.issubdtype(v.aval.dtype, jnp.floating) for v in equation.outvars)


@pytest.mark.parametrize("name", ["hyperliquid", "sequence", "bankrupt_orders"])
def test_the_program_holds_no_operation_of_unstated_order(name):
    """No scatter-add, no dot product, no reduction of floats: their order of adding is XLA's own.

    Nor a sort, but where the venue prescribes a sequence; nor anything that calls back to Python.
    """
    found = {e.primitive.name for e in operations(name)}
    adding = {e.primitive.name for e in operations(name) if floating(e)}
    assert "while" in found and "select_n" in found  # the walk went inside
    assert not found & {
        "scatter-add",
        "scatter_add",
        "scatter_mul",
        "dot_general",
        "conv_general_dilated",
    }
    assert not {p for p in found if "callback" in p or "infeed" in p or "outfeed" in p}
    assert not adding & {"reduce_sum", "reduce_prod", "cumsum", "cumprod", "cumlogsumexp"}
    assert ("sort" in found) == (name == "sequence")


def test_the_walk_finds_what_it_looks_for():
    def path(x):
        add = lambda v: jnp.zeros(2).at[jnp.array([1, 1])].add(v)  # noqa: E731
        inside = jax.lax.cond(x > 0, add, jnp.zeros_like, x * jnp.ones(2))
        return inside @ jnp.ones(2)

    traced = jax.make_jaxpr(path)(1.0)
    found = {e.primitive.name for program in programs(traced.jaxpr) for e in program.eqns}
    assert {"scatter-add", "dot_general"} <= found


DOWN = {
    ("ledger", "share"): "marks and prices per position",
    ("ledger", "add_dense"): "what makers trade",
    ("margin", "attach"): "margin tables per position",
    ("adl", "_unflatten"): "quantities and prices of the sequence, which is float64 inside",
    ("select", "of"): "scores of pools, compared with those of accounts",
    ("orderbook", "_makers"): "cash of makers, whose margin is worked out in float64",
    ("social", "_winners"): "the share of a loss",
}  # fmt: skip
UP = {
    ("ledger", "total"): "sums of money",
    ("ledger", "market_sum"): "sums per market",
    ("step", "_dense_entry"): "entries of makers",
    ("orderbook", "_makers"): "size and cash of makers",
    ("orderbook", "offered"): "distances, which the book maps to quantities",
    ("adl", "_flatten"): "quantities and prices of the sequence",
    ("select", "work"): "inside a guard, whose operations carry its place: distances, as above",
}  # fmt: skip


def conversions(name: str) -> set[tuple[str, str, str]]:
    """(from, module, function) of all conversions between the precisions in a step in float32."""
    venue = rulebook.venue(name, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    book = rulebook.book(name, rng, dtype="float32")
    quote = worlds.at(worlds.quotes(rng), 0)
    state = twins.step.opening(book, venue)
    traced = jax.make_jaxpr(twins._stages)(
        state, quote, rulebook.order_book(name, rng), book, venue
    )
    found = set()
    for program in programs(traced.jaxpr):
        for e in program.eqns:
            if e.primitive.name != "convert_element_type":
                continue
            given, wanted = str(e.invars[0].aval.dtype), str(e.outvars[0].aval.dtype)
            single = e.invars[0].aval.size == 1
            if {given, wanted} == {"float32", "float64"} and not single:
                found.add((given, *_place(e)))
    return found


def _place(equation) -> tuple[str, str]:
    """The module and function of the engine that an operation comes from."""
    for frame in equation.source_info.traceback.frames:
        path = Path(frame.file_name)
        if path.parent.name == "waterfall" and "riskengine" in path.parts:
            return path.stem, frame.function_name.split(".")[-1]
    return "?", "?"


def test_precision_changes_where_it_is_said():
    """In float32 numbers change precision at the places listed here and nowhere else.

    Single numbers of the venue (a fee, a threshold) meet positions in the positions' precision.
    """
    for name in ("hyperliquid", "binance", "sequence", "owners"):
        places = conversions(name)
        assert ("float64", "ledger", "share") in places
        unknown = {(m, f) for given, m, f in places if given == "float32" and (m, f) not in UP}
        assert not unknown, f"float32 becomes float64 in {unknown}"


# What the numbers depend on


@pytest.fixture(scope="module")
def eight_devices(tmp_path_factory):
    """The same run on eight forced host devices, in a process of its own; started early."""
    out = tmp_path_factory.mktemp("devices") / "run.npz"
    here = Path(__file__).parent
    code = "import eight_devices; eight_devices.main()"
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parent), str(here.parents[1])]),
        "OUT": str(out),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True
    )
    yield process, out
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def whole(eight_devices):
    """64 paths of four books at once, with little capital."""
    return run(capital=2e3, takeover_above=0.0)


def test_the_paths_are_eventful(whole):
    """What follows would hold for a run in which nothing happens."""
    for name in ("takeover", "unwound", "bad_debt", "deleveraged_long", "deleveraged_short"):
        assert np.mean(whole[name] > 0) > 0.1, name
    for name in ("depleted", "intervened"):
        assert 0.1 < np.mean(whole[name]) < 1.0, name


@pytest.mark.parametrize("batch", [1, 7])
def test_bits_do_not_depend_on_the_batch(whole, batch):
    assert not same(whole, run(batch=batch, capital=2e3, takeover_above=0.0))


def test_bits_do_not_depend_on_the_other_paths(whole):
    """Some of the paths, in another order."""
    some = np.random.default_rng(2).permutation(PATHS)[:20]
    alone = run(paths=some, capital=2e3, takeover_above=0.0)
    for name, values in alone.metrics.items():
        assert identical(values, whole[name][some]), name


def test_bits_do_not_depend_on_the_devices(whole, eight_devices):
    process, out = eight_devices
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    with np.load(out) as there:
        assert int(there["devices"]) == 8
        for name, values in whole.metrics.items():
            assert identical(values, there[name]), name


def test_a_sweep_over_numbers_compiles_once(whole):
    program = simulate._program(tuple(jax.local_devices()), BATCH)
    before = program._cache_size()
    for numbers in (
        dict(capital=3e3),
        dict(liquidation_fee=0.01),
        dict(book_above=0.5),
        dict(dust=5.0),
    ):
        run(**(dict(takeover_above=0.0) | numbers))
    thin = dataclasses.replace(worlds.crash(exponent=0.5), depth=_halved(worlds.crash().depth))
    venue = rulebook.venue("hyperliquid", np.random.default_rng(0))
    simulate.simulate(KEY, books(), venue, thin, worlds.simulation(), PATHS, batch=BATCH)
    assert program._cache_size() == before


def _halved(depth):
    return dataclasses.replace(depth, calm=0.5 * depth.calm)


# What one run with unlimited capital says about every capital


@pytest.fixture(scope="module")
def unlimited(whole):
    return run(capital=np.inf, takeover_above=0.0)


@pytest.fixture(scope="module", params=["none", "some", "exactly", "more", "one less", "plenty"])
def level(request, unlimited) -> float:
    """A capital; `exactly` is what one of the paths needs, to the bit."""
    finite = np.sort(unlimited["adl_required_fund"][np.isfinite(unlimited["adl_required_fund"])])
    exact = finite[len(finite) // 2]
    return {
        "none": 0.0,
        "some": 0.5 * (finite[5] + finite[6]),
        "exactly": exact,
        "one less": np.nextafter(exact, 0.0),
        "more": np.quantile(finite, 0.8),
        "plenty": finite[-1] * 2,
    }[request.param]


def test_one_unlimited_run_says_who_needs_more(unlimited, level):
    """Intervened if and only if the need exceeds the capital, which does not matter until then."""
    limited = run(capital=level, takeover_above=0.0)
    needs_more = unlimited["adl_required_fund"] > level
    assert np.array_equal(limited["intervened"], needs_more)
    assert np.array_equal(limited["depleted"], limited["required_fund"] > level)
    assert np.array_equal(limited["depleted"], np.isfinite(limited["depletion_time"]))
    assert np.array_equal(limited["intervened"], np.isfinite(limited["intervention_time"]))
    free = ~needs_more
    assert np.array_equal(limited["depleted"][free], unlimited["required_fund"][free] > level)
    for name, values in limited.metrics.items():
        if name not in READS_CAPITAL:
            assert identical(values[free], unlimited[name][free]), name


def test_levels_divide_the_paths(unlimited):
    """There are paths that no capital saves, and paths that need some."""
    need = unlimited["adl_required_fund"]
    assert 0 < np.isinf(need).sum() < len(need) - 12
    assert len(np.unique(need[np.isfinite(need)])) > 12


# Whole paths against the reference


def _quotes(key, path, book, venue, scenario, simulation):
    return simulate.quotes_of(key, path, margin.attach(book, venue), scenario, simulation)


_quotes_program = compiled(_quotes)


def _reference(path: int, venue) -> dict:
    """The metrics of a path by the reference engine, on the prices that the program drew."""
    book = jax.tree.map(lambda x: x[path % BOOKS], books())
    scenario, simulation = worlds.crash(), worlds.simulation()
    drawn = _quotes_program(KEY, jnp.uint32(path), book, venue, scenario, simulation)
    quotes = jax.device_get(drawn)
    metrics, _ = reference.run(
        shadow.plain_book(book),
        shadow.plain_venue(venue),
        shadow.plain_order_book(scenario.order_book),
        [shadow.plain_quote(quotes, t) for t in range(len(quotes.dt))],
    )
    return metrics


@pytest.mark.parametrize("capital", [2e3, np.inf])
@pytest.mark.parametrize("name", ["hyperliquid", "binance"])
def test_whole_paths_agree_with_the_reference(whole, name, capital):
    """Every number of section 6 of the model, of the program that a run uses."""
    numbers = dict(capital=capital, takeover_above=0.0 if name == "hyperliquid" else -np.inf)
    fast = run(name, **numbers)
    venue = rulebook.venue(name, np.random.default_rng(0), dust=1.0, **numbers)
    gross = float(np.abs(np.asarray(books().cash)).sum(axis=1).min())
    for path in PATHS:
        slow = _reference(int(path), venue)
        pairs = {
            n: (fast[n][path], x, 1.0 if n in (*COUNTS, *TIMES) else gross)
            for n, x in slow.items()
            if n != "ledger_residual"
        }
        assert not twins.beyond(pairs), path
    assert not fast["flags"].any()
