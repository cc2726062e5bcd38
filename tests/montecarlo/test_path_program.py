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
from riskengine.montecarlo import keys, metrics, noise, shadow, simulate, survey
from riskengine.types import compiled
from riskengine.waterfall import margin, step

PATHS = np.arange(64)
BATCH = 32
BOOKS = 2
KEY = keys.root(7)
POOR = dict(capital=2e3, takeover_above=0.0)
READS_CAPITAL = (
    "excess_draw", "depleted", "depletion_time", "intervened", "intervention_time", "unfunded",
)  # fmt: skip
COUNTS = ("accounts_deleveraged", "accounts_liquidated", "winner_bankrupted")
DECISIONS = ("depletion_time", "intervention_time", "depleted", "intervened", "flags", *COUNTS)
RATIOS = ("haircut", "pnl_haircut", "index_fall", "index_rise", "ledger_cash", "ledger_size")


@functools.cache
def books(dtype: str = "float64"):
    rng = np.random.default_rng(20)
    held = [worlds.holdings(rng, makers=2, rest=1) for _ in range(BOOKS)]
    return worlds.several(held, dtype=dtype)


def run(batch: int = BATCH, paths=PATHS, hits: bool = True, **numbers):
    """Paths of a venue like Hyperliquid."""
    venue = rulebook.venue("hyperliquid", np.random.default_rng(0), **(dict(dust=1.0) | numbers))
    return simulate.simulate(
        KEY, books(), venue, worlds.crash(), worlds.simulation(), paths, batch=batch, hits=hits
    )


def identical(a: np.ndarray, b: np.ndarray) -> bool:
    """The same bits, NaN included."""
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def gross() -> float:
    return float(np.abs(np.asarray(books().cash)).sum(axis=1).min())


def apart(columns: dict, others: dict) -> dict[str, float]:
    """What differs between two runs: decisions and counts at all, amounts beyond rounding."""
    found = {}
    for name, values in columns.items():
        a, b = np.nan_to_num(values, nan=-1.0), np.nan_to_num(others[name], nan=-1.0)
        scale = 1.0 if name in (*DECISIONS, *RATIOS) else gross()
        with np.errstate(invalid="ignore"):
            differences = np.where(a == b, 0.0, np.abs(a.astype(float) - b))
        worst = np.max(differences / scale, initial=0.0)
        if not worst <= (0.0 if name in DECISIONS else 1e-12):
            found[name] = float(worst)
    return found


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


@functools.cache
def operations(name: str, batch: int = 0) -> list:
    """Every operation of a path under the rules of that name, or of a batch of paths."""
    rng = np.random.default_rng(0)
    venue, order_book = rulebook.venue(name, rng), rulebook.order_book(name, rng)
    book = rulebook.book(name, rng)
    scenario = dataclasses.replace(worlds.crash(), order_book=order_book)

    def path(number):
        attached = margin.attach(book, venue)
        return simulate.one_path(KEY, number, attached, venue, scenario, worlds.simulation())

    numbers = jnp.arange(batch, dtype=jnp.uint32)
    traced = jax.make_jaxpr(jax.vmap(path) if batch else path)(numbers if batch else jnp.uint32(0))
    return [equation for program in programs(traced.jaxpr) for equation in program.eqns]


def floating(equation) -> bool:
    return any(jnp.issubdtype(v.aval.dtype, jnp.floating) for v in equation.outvars)


@pytest.mark.parametrize(
    ("name", "batch"),
    [("hyperliquid", 32), *[(n, 0) for n in ("binance", "sequence", "pro_rata")]],
)
def test_the_program_adds_in_a_stated_order(name, batch):
    """No scatter-add, no dot product, no reduction of floats: their order of adding is XLA's own.

    Nor a sort, but where the venue prescribes a sequence; nor anything that calls back to Python.
    """
    found = {e.primitive.name for e in operations(name, batch)}
    adding = {e.primitive.name for e in operations(name, batch) if floating(e)}
    assert {"while", "select_n", "scan"} <= found  # the walk went inside
    assert not found & {"scatter_mul", "dot_general", "conv_general_dilated"}
    added = [e for e in operations(name, batch) if e.primitive.name == "scatter-add"]
    assert all(e.params["unique_indices"] for e in added)  # a slice, each entry once
    assert not {p for p in found if "callback" in p or "infeed" in p or "outfeed" in p}
    assert not adding & {"reduce_sum", "reduce_prod", "cumprod", "cumlogsumexp"}
    clocks = [e for e in operations(name, batch) if e.primitive.name == "cumsum" and floating(e)]
    assert [e.outvars[0].aval.shape for e in clocks] == [(60,)]  # the grid's, of no path
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
    ("allocation", "_unflatten"): "quantities and prices of the sequence, which is float64 inside",
    ("select", "of"): "scores of pools, compared with those of accounts",
    ("orderbook", "_makers"): "cash of makers, whose margin is worked out in float64",
    ("social", "_winners"): "the share of a loss",
}  # fmt: skip
UP = {
    ("ledger", "_in_double"): "sums of money, and per market",
    ("step", "_dense_entry"): "entries of makers",
    ("orderbook", "_makers"): "size and cash of makers",
    ("orderbook", "offered"): "distances, which the book maps to quantities",
    ("allocation", "_flatten"): "quantities and prices of the sequence",
    ("select", "work"): "inside a guard, whose operations carry its place: distances, as above",
}  # fmt: skip


def conversions(name: str) -> set[tuple[str, str, str]]:
    """(from, module, function) of all conversions between the precisions in a step in float32."""
    venue = rulebook.venue(name, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    book = rulebook.book(name, rng, dtype="float32")
    quote = worlds.at(worlds.quotes(rng), 0)
    state = step.opening(book, venue)
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
    for name in ("binance", "sequence", "owners"):
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
    """64 paths of two books, with little capital."""
    return run(**POOR)


def test_the_paths_are_eventful(whole):
    """What follows would hold for a run in which nothing happens."""
    for name in ("takeover", "unwound", "bad_debt", "deleveraged_long", "deleveraged_short"):
        assert np.mean(whole[name] > 0) > 0.1, name
    for name in ("depleted", "intervened"):
        assert 0.1 < np.mean(whole[name]) < 1.0, name


@pytest.fixture(
    scope="module",
    params=[
        1,
        "other paths",
        "eight devices",
        *(pytest.param(n, marks=pytest.mark.nightly) for n in (7, 64)),
    ],
)
def elsewhere(request, whole, eight_devices):
    """Rows of `whole`, and the same paths in other batches, company, or on more devices."""
    if request.param == "eight devices":
        process, out = eight_devices
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        with np.load(out) as there:
            assert int(there["devices"]) == 8
            return PATHS, {name: there[name] for name in whole.metrics}
    if request.param == "other paths":
        some = np.random.default_rng(2).permutation(PATHS)[:20]
        return some, run(paths=some, **POOR).metrics
    return PATHS, run(batch=request.param, **POOR).metrics


def test_bits_do_not_depend_on_the_batch(whole, elsewhere):
    rows, columns = elsewhere
    assert not [n for n, x in columns.items() if not identical(x, whole[n][rows])]


def test_deleveraged_accounts_may_be_left_out(whole):
    """They alone grow with paths times accounts."""
    lean = run(hits=False, **POOR)
    assert len(whole.hits["row"]) > 0
    assert all(len(lean.hits[name]) == 0 for name in whole.hits)
    assert np.array_equal(lean.liquidated, whole.liquidated)
    assert not [n for n, x in lean.metrics.items() if not identical(x, whole[n])]


def test_a_sweep_over_numbers_compiles_once(whole):
    program = simulate._program(tuple(jax.local_devices()), BATCH)
    before = program.function._cache_size()
    for numbers in (dict(capital=3e3), dict(liquidation_fee=0.01), dict(book_above=0.5)):
        run(**(POOR | numbers))
    law = worlds.crash(exponent=0.5)
    thin = dataclasses.replace(law, depth=dataclasses.replace(law.depth, calm=0.5 * law.depth.calm))
    venue = rulebook.venue("hyperliquid", np.random.default_rng(0))
    simulate.simulate(KEY, books(), venue, thin, worlds.simulation(), PATHS, batch=BATCH)
    assert program.function._cache_size() == before


# Paths whose size is given


def world():
    """What `run` simulates."""
    venue = rulebook.venue("hyperliquid", np.random.default_rng(0), dust=1.0)
    return KEY, books(), venue, worlds.crash(), worlds.simulation()


@pytest.fixture(scope="module")
def own_scale():
    """The uniform number that decides the scale of each path."""
    grid = world()[-1]

    def scale(path):
        return noise.draw(KEY, path, grid.market_ids, grid.whole, grid.half).scale

    return np.asarray(jax.vmap(scale)(PATHS.astype(np.uint32)))


def test_a_path_given_its_own_scale_is_that_path(own_scale):
    plain = run()
    given = simulate.simulate(*world(), PATHS, batch=BATCH, scale=own_scale)
    for name, values in plain.metrics.items():
        np.testing.assert_array_equal(values, given[name], err_msg=name)
    larger = simulate.simulate(*world(), PATHS, batch=BATCH, scale=0.01 * own_scale)
    assert (np.maximum(larger["index_fall"], larger["index_rise"])
            > np.maximum(plain["index_fall"], plain["index_rise"])).all()  # fmt: skip


def test_the_survey_sees_the_prices_of_the_paths(own_scale):
    some = PATHS[:12]
    seen = survey.survey(*world(), some, own_scale[:12])
    steps = simulate.traces(*world(), some, batch=BATCH)
    for row, path in enumerate(some):
        index = np.log(steps["index"][row])
        book = jax.tree.map(lambda x, number=path % BOOKS: x[number], books())
        interest = 0.5 * np.asarray(
            [np.abs(np.asarray(book.size)[np.asarray(book.market) == m]).sum() for m in range(2)]
        )
        whole = index @ (interest / interest.sum())
        assert seen.fall[row] == pytest.approx(max(-whole.min(), 0.0), abs=1e-12)
        assert seen.rise[row] == pytest.approx(max(whole.max(), 0.0), abs=1e-12)
        assert seen.rises[row] == (seen.rise[row] > seen.fall[row])
        side = index if seen.rises[row] else -index
        assert seen.market[row] == pytest.approx(max(side.max(), 0.0), abs=1e-12)
        taken = steps["depth"][row][:, int(seen.rises[row])].sum(axis=1)
        assert seen.thin[row] == pytest.approx(np.log(taken.min() / taken[0]), abs=1e-9)
    assert np.isfinite(seen.features).all()


# What one run with unlimited capital says about every capital


@pytest.fixture(scope="module")
def unlimited(whole):
    return run(capital=np.inf)


@pytest.fixture(scope="module", params=["none", "some", "exactly", "one less", "more", "plenty"])
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
    """Intervened if and only if the need exceeds the capital, which does not matter until then.

    Amounts agree to rounding: which paths share a guard's passes depends on who needs the stage.
    """
    limited = run(capital=level)
    needs_more = unlimited["adl_required_fund"] > level
    assert np.array_equal(limited["intervened"], needs_more)
    assert np.array_equal(limited["depleted"], limited["required_fund"] > level)
    assert np.array_equal(limited["depleted"], np.isfinite(limited["depletion_time"]))
    assert np.array_equal(limited["intervened"], np.isfinite(limited["intervention_time"]))
    free = ~needs_more
    assert np.array_equal(limited["depleted"][free], unlimited["required_fund"][free] > level)
    kept = [name for name in limited.metrics if name not in READS_CAPITAL]
    there = {name: limited[name][free] for name in kept}
    assert not apart(there, {name: unlimited[name][free] for name in kept})


def test_levels_divide_the_paths(unlimited):
    need = unlimited["adl_required_fund"]
    assert len(np.unique(need[np.isfinite(need)])) > 30


# Whole paths against the reference


def _one(quotes, book, venue, order_book):
    """A path's metrics."""
    book = margin.attach(book, venue)
    state, market, steps = simulate.run(quotes, book, venue, order_book)
    return metrics.finish(state, market, steps, quotes.dt, book, venue, 1e-12)


def _quotes(key, path, book, venue, scenario, simulation):
    return simulate.quotes_of(key, path, margin.attach(book, venue), scenario, simulation)


_one_program, _quotes_program = compiled(_one), compiled(_quotes)


def _reference(book, venue, order_book, quotes) -> dict:
    """The metrics of a path by the reference engine."""
    quotes = jax.device_get(quotes)
    found, _ = reference.run(
        shadow.plain_book(book),
        shadow.plain_venue(venue),
        shadow.plain_order_book(order_book),
        [shadow.plain_quote(quotes, t) for t in range(len(quotes.dt))],
    )
    found.pop("ledger_residual")
    return found


def _disagree(fast: dict, slow: dict, gross: float) -> dict[str, float]:
    return twins.beyond(
        {n: (fast[n], x, 1.0 if n in DECISIONS else gross) for n, x in slow.items()}
    )


@pytest.mark.parametrize("capital", [2e3, np.inf])
def test_the_program_agrees_with_the_reference(whole, capital):
    """Every number of section 6 of the model, of the program that a run uses."""
    numbers = POOR | dict(capital=capital, dust=1.0)
    fast = run(**numbers)
    venue = rulebook.venue("hyperliquid", np.random.default_rng(0), **numbers)
    scenario, simulation = worlds.crash(), worlds.simulation()
    assert not fast["flags"].any()
    for path in PATHS[:12]:
        book = jax.tree.map(lambda x, path=path: x[path % BOOKS], books())
        quotes = _quotes_program(KEY, jnp.uint32(path), book, venue, scenario, simulation)
        slow = _reference(book, venue, scenario.order_book, quotes)
        row = {name: values[path] for name, values in fast.metrics.items()}
        assert not _disagree(row, slow, gross()), path


@pytest.mark.parametrize("name", ["binance", pytest.param("owners", marks=pytest.mark.nightly)])
def test_whole_paths_agree_with_the_reference(name):
    """The same for other rules, path by path, each with its own book, prices and numbers."""
    for seed in range(16):
        rng = np.random.default_rng(seed)
        book, venue = rulebook.book(name, rng), rulebook.venue(name, rng)
        order_book = rulebook.order_book(name, rng)
        quotes = worlds.quotes(rng, steps=24, depth=2e4, dt=20.0)
        found = _one_program(quotes, book, venue, order_book)
        slow = _reference(book, venue, order_book, quotes)
        fast = {f.name: float(getattr(found, f.name)) for f in dataclasses.fields(found)}
        assert not _disagree(fast, slow, float(np.abs(np.asarray(book.cash)).sum())), seed
        assert not fast["flags"], metrics.FATAL


@pytest.mark.parametrize("name", ["tiers", "clips", "funding", "backstop", "profit_cap"])
def test_every_rule_that_reads_capital_says_from_which_capital_on_it_is_slack(name):
    """One unlimited run says at which capital a path has an intervention, to the bit."""
    needs = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        book, order_book = rulebook.book(name, rng), rulebook.order_book(name, rng)
        venue = rulebook.venue(name, rng, capital=np.inf)
        quotes = worlds.quotes(rng, steps=24, depth=2e4, dt=20.0)

        def intervened(capital, book=book, venue=venue, order_book=order_book, quotes=quotes):
            limited = dataclasses.replace(venue, capital=jnp.float64(capital))
            found = _one_program(quotes, book, limited, order_book)
            return bool(found.intervened), float(found.adl_required_fund)

        _, need = intervened(np.inf)
        needs.append(need)
        for capital in (0.0, np.nextafter(need, 0.0), need, 2.0 * need):
            if np.isfinite(capital):
                assert intervened(capital)[0] == (need > capital), (seed, need, capital)
    assert sum(0.0 < need < np.inf for need in needs) > 3
