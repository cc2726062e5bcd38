"""Paths at the venue's fund, step by step: how most of them go, and three of them in full."""

from dataclasses import dataclass

import numpy as np

from riskengine.app.build import Question
from riskengine.montecarlo import simulate
from riskengine.montecarlo.simulate import Results
from riskengine.specs.book import open_interest
from riskengine.specs.venue import Venue
from riskengine.waterfall.state import places

CHOSEN = {"typical": 0.5, "bad": 0.95, "worst": 1.0}  # quantile of the need, among all paths
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
FANS = ("fund", "index_move", "displacement", "depth")
MEMORY = 2e8  # bytes that one part of the traces may take
FLOWS = ("takeover", "bad_debt", "fund_draw", "social_loss")


@dataclass(frozen=True)
class Replays:
    """What is seen of some paths. Times in s, amounts in USD, prices relative to the start."""

    chosen: dict[str, int]  # name → path
    steps: dict[str, np.ndarray]  # one row per step of the chosen paths
    fans: dict[str, np.ndarray]  # one row per step: quantiles over paths
    paths: int  # in the fans
    books: int  # that these met


def replay(
    question: Question, results: Results, rows: np.ndarray, batch: int | None = None
) -> Replays | None:
    """Replay three paths, chosen by their need without a limit, and those at `rows` for the fans."""
    if not len(rows):
        return None
    chosen, of_fans = choose(results), results.path[rows]
    ids = np.unique(np.concatenate([of_fans, list(chosen.values())]))
    seen = _series(question, ids, batch)
    row = {int(path): number for number, path in enumerate(ids)}
    time = np.cumsum(np.asarray(question.simulation.dt))
    replayed = [_steps(name, path, row[path], time, seen) for name, path in chosen.items()]
    steps = {name: np.concatenate([one[name] for one in replayed]) for name in replayed[0]}
    first = [row[int(path)] for path in of_fans]
    fans = {"time": time}
    for name in FANS:
        for q in QUANTILES:
            fans[f"{name}_{_percent(q)}"] = np.quantile(seen[name][first], q, axis=0)
    books = len(np.unique(results.book[rows]))
    return Replays(chosen, steps, fans, len(first), books)


def choose(results: Results) -> dict[str, int]:
    """The paths whose need is the median, the 95th percentile and the largest."""
    order = np.argsort(results["required_fund"], kind="stable")
    last = len(order) - 1
    return {name: int(results.path[order[round(q * last)]]) for name, q in CHOSEN.items()}


def _percent(q: float) -> str:
    return f"p{round(100 * q):02d}"


def _series(question: Question, ids: np.ndarray, batch) -> dict[str, np.ndarray]:
    """Series of every path (paths, steps), summed over markets as the paths run."""
    steps, markets = question.simulation.dt.shape[0], len(question.markets)
    size = max(int(MEMORY // (8 * steps * (12 * markets + 40))), 1)
    parts = []
    books = len(question.opened.holdings)
    ids = ids[np.argsort(ids % books, kind="stable")]  # paths of a book share batches
    for first in range(0, len(ids), size):
        some = ids[first : first + size]
        seen = simulate.traces(
            question.key, question.books, question.venue, question.scenario, question.simulation,
            some, batch=batch,
        )  # fmt: skip
        parts.append(_together(question, some, seen))
    order = np.argsort(ids, kind="stable")
    return {name: np.concatenate([p[name] for p in parts])[order] for name in parts[0]}


def _together(question: Question, ids: np.ndarray, seen: dict) -> dict[str, np.ndarray]:
    """Markets together: prices weighted by open interest, depth and flows added."""
    markets = len(question.markets)
    weights = np.stack([open_interest(h, markets) for h in question.opened.holdings])
    share = (weights / weights.sum(axis=1, keepdims=True))[ids % len(weights)][:, None]
    moved = _flows(seen["moved"], question.venue, markets)
    depth = seen["depth"] * seen["mid"][:, :, None]
    return {
        "index_move": np.sum(share * (seen["index"] - 1.0), axis=2),
        "mark_move": np.sum(share * (seen["mark"] - 1.0), axis=2),
        "mid_move": np.sum(share * (seen["mid"] - 1.0), axis=2),
        "displacement": np.sum(share * np.log(seen["mid"] / seen["index"]), axis=2),
        "depth": depth.sum(axis=(2, 3)),
        "depth_bid": depth[:, :, 0].sum(axis=2),
        "depth_ask": depth[:, :, 1].sum(axis=2),
        "fund": float(question.venue.capital) + seen["gain"],
        "fund_at_exit": float(question.venue.capital) + seen["exit_gain"],
        "fund_cash": float(question.venue.capital) + seen["cash_gain"],
        "inventory": seen["inventory"],
        "unfunded": seen["unfunded"],
        "liquidated_long": moved["liquidated"][..., 0],
        "liquidated_short": moved["liquidated"][..., 1],
        "deleveraged_long": moved["deleveraged"][..., 0],
        "deleveraged_short": moved["deleveraged"][..., 1],
        **{name: moved[name][..., 0] for name in FLOWS},
    }


def _flows(moved: np.ndarray, venue: Venue, markets: int) -> dict[str, np.ndarray]:
    """The named flows of vectors (paths, steps, flows)."""
    where = places(markets, len(venue.pools.names))
    return {name: moved[..., where[name]] for name in ("liquidated", "deleveraged", *FLOWS)}


def _steps(name: str, path: int, row: int, time: np.ndarray, seen: dict) -> dict[str, np.ndarray]:
    """One chosen path as columns."""
    columns = {"replay": np.full(len(time), name, object), "path": np.full(len(time), path)}
    columns["time"] = time
    return columns | {series: values[row] for series, values in seen.items()}
