"""A second opinion on every run: the reference engine repeats a few of its paths.

It takes seconds per path, so it gets a small share of the run's time and stops in the middle of a path
when that is over; the fast engine then repeats that path up to the same step.
"""

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from riskengine import reference
from riskengine.app.build import Question
from riskengine.montecarlo import keys, simulate
from riskengine.montecarlo import shadow as plain
from riskengine.montecarlo.keys import Stream
from riskengine.specs.scenario import Replay
from riskengine.waterfall.state import Quote

SHARE = 0.02  # of the run's time
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}  # of gross
COUNTS = ("accounts_deleveraged", "accounts_liquidated", "winner_bankrupted")
SKIP = ("excess_draw", "flags", "log_weight", "ledger_cash", "ledger_size")  # not in the reference


@dataclass(frozen=True)
class Shadow:
    """What the two engines said about one path."""

    path: int
    steps: int  # that both went
    of: int
    difference: float  # largest of all metrics, share of gross; 1 where a count differs
    metric: str  # that differs most


def check(question: Question, count: int, paths: int, seconds: float, batch=None) -> list[Shadow]:
    """Compare up to `count` random paths while the time lasts; at least part of one."""
    chosen = np.random.Generator(np.random.PCG64(_seed(question))).permutation(paths)[:count]
    found, left = [], seconds
    for path in chosen:
        began = time.monotonic()
        found.append(compare(question, int(path), left, batch))
        left -= time.monotonic() - began
        if left <= 0:
            break
    return found


def _seed(question: Question) -> int:
    return int(jax.random.bits(keys.stream(question.key, Stream.SHADOW)))


def compare(
    question: Question, path: int, seconds: float = np.inf, batch: int | None = None
) -> Shadow:
    """One path in both engines, as far as the slow one gets in the time."""
    books = len(question.opened.holdings)
    book = jax.tree.map(lambda x: x[path % books], question.books)
    quotes = _quotes(question, path, batch)
    order_book, ends = question.scenario.order_book, time.monotonic() + seconds
    of, went = len(quotes.dt), 0

    def until() -> Iterator:
        nonlocal went
        for step in range(of):
            if step and time.monotonic() > ends:
                return
            went = step + 1
            yield plain.plain_quote(quotes, step)

    slow, _ = reference.run(
        plain.plain_book(book),
        plain.plain_venue(question.venue),
        plain.plain_order_book(order_book),
        until(),
    )
    cut = stopped(question, went)
    fast = simulate.simulate(
        cut.key, cut.books, cut.venue, cut.scenario, cut.simulation, [path], batch=batch
    )
    gross = float(np.abs(np.asarray(book.cash, float)).sum())
    worst, metric = max(
        (_difference(name, float(fast[name][0]), float(slow[name]), gross), name)
        for name in fast.metrics
        if name in slow and name not in SKIP
    )
    return Shadow(path, went, of, worst, metric)


def _quotes(question: Question, path: int, batch: int | None) -> Quote:
    """Prices and depth of one path, as the fast engine saw them."""
    seen = simulate.traces(
        question.key, question.books, question.venue, question.scenario, question.simulation,
        [path], batch=batch,
    )  # fmt: skip
    index, depth = jnp.asarray(seen["index"][0]), jnp.asarray(seen["depth"][0])
    return jax.device_get(Quote(index=index, depth=depth, dt=question.simulation.dt))


def _difference(name: str, fast: float, slow: float, gross: float) -> float:
    if fast == slow or (np.isnan(fast) and np.isnan(slow)):
        return 0.0
    if not (np.isfinite(fast) and np.isfinite(slow)) or name in COUNTS:
        return 1.0
    of = 1.0 if name in ("haircut", "pnl_haircut", "depleted", "intervened") else gross
    return abs(fast - slow) / of


def stopped(question: Question, steps: int) -> Question:
    """The same question with prices that stand still after `steps`: nothing happens from then on."""
    simulation = simulate.stopped(question.simulation, steps)
    law = question.scenario.law
    if isinstance(law, Replay):
        row = np.minimum(np.arange(law.log_index.shape[0]), steps - 1)
        held = ("log_index", "knot_before", "knot_after", "weight")
        law = dataclasses.replace(law, **{name: getattr(law, name)[row] for name in held})
    scenario = dataclasses.replace(question.scenario, law=law)
    return dataclasses.replace(question, simulation=simulation, scenario=scenario)
