"""Capital for rare crashes: many are surveyed, those that matter run (docs/model.md 9.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from riskengine.app import bench
from riskengine.app.bench import Bench
from riskengine.app.build import Question
from riskengine.calibration.frontier import Needs
from riskengine.montecarlo import importance
from riskengine.montecarlo.estimators import RARE, Estimate
from riskengine.montecarlo.importance import Aim, Surveyed, Trust
from riskengine.montecarlo.simulate import Results
from riskengine.montecarlo.weighted import WeightedPaths

FIRST = 2**29  # path from which on those of a survey are numbered
SURVEYED = 20  # crashes that are looked at for each that runs
PILOT = 0.5  # crashes of the pilot for each that runs
AIMS = (Aim("adl", 1e-3), Aim("adl", 1e-4))  # that the choice of crashes is for


@dataclass(frozen=True)
class RareNeeds:
    """Weighted paths, by either need."""

    adl: WeightedPaths
    dry: WeightedPaths

    def better(self, risk: str, level: float, plain: Estimate) -> Estimate:
        """The capital for a rare level: of weighted paths where plain ones are too few for it."""
        if (plain.hits or 0) >= RARE and plain.value is not None:
            return plain
        of = {"adl_probability": self.adl, "depletion_probability": self.dry}[risk]
        found = of.fund_target(risk, level)
        if found.value is not None:
            return found
        return plain.noted(f"{len(of.need):,} weighted paths: {found.note}", last=True)


def bounded(results: Results, needs: Needs) -> Needs:
    """Needs, infinite on paths whose numbers cannot be used (`rare.usable`)."""
    bad = results["flags"] != 0
    adl, dry, beyond = (np.where(bad, np.inf, x) for x in (needs.adl, needs.dry, needs.beyond))
    return Needs(adl, dry, beyond, needs.sample)


def run(
    question: Question,
    runs: Bench,
    paths: int,
    level: float,
    aims: Sequence[Aim] = AIMS,
    what: str = "rare crashes",
    batch: int | None = None,
    trust: Trust = importance.BOLD,
    looks: int = importance.LOOKS,
) -> RareNeeds | None:
    """About so many weighted paths; None where nothing is asked for."""
    if not paths:
        return None
    setting = question.setting
    rarest = min(aim.exceed for aim in aims if aim.exceed is not None)
    surveyed = Surveyed.of(
        setting.key, setting.books, setting.venue, setting.scenario, setting.simulation,
        FIRST + np.arange(SURVEYED * paths), rarest, trust,
    )  # fmt: skip

    def needs(chosen: np.ndarray, scale: np.ndarray) -> dict[str, np.ndarray]:
        order = bench.by_book(chosen, setting.books)
        results = runs.unlimited(
            setting, chosen[order], what, scale=scale[order], checked=False, batch=batch
        )
        found, back = bounded(results, bench.needs(question, results, level)), np.argsort(order)
        return {"adl": found.adl[back], "dry": found.dry[back]}

    pilot = int(PILOT * paths)
    found = importance.run(setting.key, surveyed, needs, aims, pilot, paths, looks, trust=trust)
    random_books = len(question.opened.holdings) > 1
    return RareNeeds(*(found.weighted(name, level, random_books) for name in ("adl", "dry")))
