"""Questions of a risk committee beside the probability: how small a crash is enough, and who is big."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from riskengine.app import study
from riskengine.app.build import Question
from riskengine.app.study import Study
from riskengine.calibration import target
from riskengine.montecarlo import two_level
from riskengine.montecarlo.estimators import Estimate, Sample
from riskengine.montecarlo.paths import Paths
from riskengine.montecarlo.simulate import Results
from riskengine.montecarlo.two_level import Number
from riskengine.specs.book import REST, Holdings, net
from riskengine.specs.scenario import Ladder

COVER = (1, 2, 5)  # largest debtors that the fund should survive
GAPS = (-0.05, -0.1, -0.2, -0.3, -0.5, 0.05, 0.1, 0.2, 0.3, 0.5)
EDGES = (0.0, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, np.inf)  # sizes of crashes


@dataclass(frozen=True)
class Stress:
    """What a study says to these questions."""

    reverse: dict[str, np.ndarray]  # per event: the smallest crash with it
    by_size: dict[str, np.ndarray]  # P(event | size of the crash)
    cover: dict[str, np.ndarray]  # debts of the largest debtors in gaps
    ladder: list["Rung"]  # where the scenario is one


def stressed(found: Study, every: Paths) -> Stress:
    """All of them."""
    return Stress(
        reverse(found, every), by_size(found, every), cover(found.question), ladder(found)
    )


# The smallest crash


def crash_size(results: Results) -> np.ndarray:
    """The larger of fall and rise of the index of all markets, weighted by open interest; signed."""
    fall, rise = results["index_fall"], results["index_rise"]
    return np.where(fall >= rise, -fall, rise)


def events(found: Study, every: Paths) -> dict[str, tuple[Paths, Number]]:
    """The paths on which each event is known, and whether it happens on them at the venue's fund."""
    fund = Paths(found.fund, dataclasses.replace(every.sample, book=found.fund.book))
    needs = two_level.exceeds("required_fund", found.capital)
    early = study.may_bind_early(found.question.venue)
    return {
        "intervention": (every, two_level.exceeds("adl_required_fund", found.capital)),
        "dry": (fund, lambda results: results["depleted"]) if early else (every, needs),
        "unfunded": (fund, lambda results: study.material(found.question, results)),
    }


def columns_of(rows: list[dict]) -> dict[str, np.ndarray]:
    """Rows that have the same names, as columns."""
    return {name: np.asarray([row[name] for row in rows]) for name in (rows[0] if rows else {})}


def reverse(found: Study, every: Paths) -> dict[str, np.ndarray]:
    """Per event: the paths, the hits, and the smallest fall and rise with it; NaN if there is none."""
    rows = []
    for name, (paths, event) in events(found, every).items():
        size, hit = crash_size(paths.results), event(paths.results)
        row = {"event": name, "paths": len(hit), "hits": int(hit.sum())}
        for side, mine in (("fall", hit & (size < 0)), ("rise", hit & (size > 0))):
            row[f"hits_{side}"] = int(mine.sum())
            row[f"smallest_{side}"] = float(np.abs(size[mine]).min()) if mine.any() else np.nan
        rows.append(row)
    return columns_of(rows)


def by_size(found: Study, every: Paths) -> dict[str, np.ndarray]:
    """P(event | size of the crash), in bins of size; falls and rises apart.

    A bin that few books met has no interval: what differs between books cannot be seen in it.
    """
    rows = []
    for name, (paths, event) in events(found, every).items():
        size = crash_size(paths.results)
        for side, low, high in BINS:
            signed = size if side == "rise" else -size
            inside = (signed > low) & (signed <= high)
            if not inside.any():
                continue
            part = paths.some(inside)
            e = part.proportion(name, event)
            known = not found.random_books or part.sample.books >= study.FEWEST_BOOKS
            rows.append(
                {
                    "event": name, "side": side, "from": low, "to": high, "paths": e.n,
                    "hits": e.hits, "probability": e.value, "low": e.low if known else np.nan,
                    "high": e.high if known else np.nan, "middle": np.median(signed[inside]),
                }
            )  # fmt: skip
    return columns_of(rows)


BINS = [
    (side, low, high)
    for side in ("fall", "rise")
    for low, high in zip(EDGES, EDGES[1:], strict=False)
]


# The largest accounts


def gap_debts(holdings: Holdings, move: float) -> np.ndarray:
    """What each account would owe if all prices jumped by `move` before anybody could act, USD."""
    debt = np.maximum(-(holdings.cash + move * net(holdings)), 0.0)
    return np.where(holdings.role != REST, debt, 0.0)


def cover(question: Question) -> dict[str, np.ndarray]:
    """Debts of the 1, 2 and 5 largest debtors, and of all, in gaps: mean and largest over books."""
    rows = []
    for move in GAPS:
        each = [np.sort(gap_debts(h, move))[::-1] for h in question.opened.holdings]
        row = {"move": move}
        for count in COVER:
            sums = [float(debts[:count].sum()) for debts in each]
            row |= {f"cover_{count}": float(np.mean(sums)), f"cover_{count}_largest": max(sums)}
        row["all"] = float(np.mean([debts.sum() for debts in each]))
        row["debtors"] = float(np.mean([np.count_nonzero(debts) for debts in each]))
        rows.append(row)
    return columns_of(rows)


def concentration(found: Study, level: float) -> list[Estimate]:
    """Change of the fund target when the ten largest accounts cannot fail, on the same crashes."""
    other = found.safe
    if other is None:
        return []
    rows = found.full.rows(other.path)
    sample = Sample(other.book, level, found.random_books)
    exceed = study.seldom(len(rows))
    if exceed > study.SELDOM:
        return []
    change = target.difference(
        "fund_target_without_largest", other["adl_required_fund"],
        found.full["adl_required_fund"][rows], exceed, sample,
    )  # fmt: skip
    note = f"F* of {100 * exceed:.3g} % with the {study.LARGEST} largest accounts safe, less that with them"
    return [change.noted(note, last=True)]


# The ladder


@dataclass(frozen=True)
class Rung:
    """One shock, over the books that met it."""

    shock: float
    books: int
    means: dict[str, float]  # USD per book
    deleveraged: int  # books in which winners were deleveraged
    dry: int  # in which the fund was
    unfunded: int  # that left a material unfunded loss


def ladder(found: Study) -> list[Rung]:
    """What each shock of a ladder does: the table that risk committees know."""
    law = found.question.scenario.law
    if not isinstance(law, Ladder):
        return []
    fund, books = found.fund, len(found.question.opened.holdings)
    shock = np.asarray(law.shock)
    left = study.material(found.question, fund)
    once = fund.path < len(shock) * books  # later paths repeat these
    number = fund.path // int(law.books) % len(shock)
    rungs = []
    for i in np.lexsort([np.abs(shock), shock > 0]):
        mine = once & (number == i)
        if not mine.any():
            continue
        liquidated = fund["liquidated_long"] + fund["liquidated_short"]
        deleveraged = fund["deleveraged_long"] + fund["deleveraged_short"]
        amounts = {
            "liquidated": liquidated, "takeover": fund["takeover"], "bad_debt": fund["bad_debt"],
            "fund_left": found.capital + fund["vault_profit"], "deleveraged": deleveraged,
            "adl_loss": fund["adl_loss_mark"], "social_loss": fund["social_loss"],
            "unfunded": fund["unfunded"],
        }  # fmt: skip
        rungs.append(
            Rung(
                shock=float(shock[i]),
                books=int(mine.sum()),
                means={name: float(x[mine].mean()) for name, x in amounts.items()},
                deleveraged=int((fund["accounts_deleveraged"][mine] > 0).sum()),
                dry=int(fund["depleted"][mine].sum()),
                unfunded=int(left[mine].sum()),
            )
        )
    return rungs
