"""Which accounts a run simulates: all of them on every path, or super-accounts and some paths in full.

`grouped` runs every path on books of super-accounts (`specs/grouping.py`) and some on the books
themselves; `montecarlo/two_level.py` makes unbiased answers of both. The first paths, which also run
at the venue's fund, all run in full: what is asked of single accounts, of levels of the fund and of
what follows an intervention has the same bits as under `full`. Only the needs of the other paths rest
on groups and their correction.

`auto` is `full` unless all of these hold (docs/model.md 9.1):

- shocks are drawn, not a ladder's;
- the books have at least `FEW` times as many accounts as `simulation.super_accounts`;
- no rule of the venue tells accounts apart that a group merges (`breaking`);
- for the same accuracy it is expected to take less than `ENOUGH` of the work.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from riskengine.app import books
from riskengine.app.amounts import percent
from riskengine.app.build import Question
from riskengine.app.config import Config, SimulationConfig
from riskengine.montecarlo import two_level
from riskengine.montecarlo.simulate import Results
from riskengine.montecarlo.two_level import SURE, Choice
from riskengine.specs import grouping
from riskengine.specs.scenario import Ladder
from riskengine.specs.venue import Venue

FEW = 8  # times the super-accounts: in smaller books grouping saves too little
ENOUGH = 1.0 / 3.0  # of the work of full paths
# Variance over that of as many full paths, the most seen: in one market; in several, whose groups are
# poor (benchmarks/README.md)
VARIANCE = (2.0, 8.0)
NEEDS = ("adl_required_fund", "required_fund")


@dataclass(frozen=True)
class Fidelity:
    """How the paths of a question run, and why."""

    question: Question  # as it was asked: the books themselves
    asked: str
    why: str
    groups: Question | None = None  # the same with books of super-accounts, where paths run on them
    choices: tuple[Choice, ...] = ()  # of paths that then run in full

    @property
    def name(self) -> str:
        return "grouped" if self.groups else "full"

    @property
    def every(self) -> Question:
        """The question as all of its paths run it."""
        return self.groups or self.question

    @property
    def cost(self) -> float:
        """Work of a path on groups over that of a full one: their positions."""
        return _positions(self.every) / _positions(self.question)

    def record(self) -> dict[str, str | int]:
        """As plain JSON."""
        accounts = int(self.every.books.layout.number_of_accounts)
        return {"asked": self.asked, "ran": self.name, "why": self.why, "accounts": accounts}

    def chances(self, results: Results, first: int) -> np.ndarray:
        """π of every path to run in full; the first ones all do."""
        each = [two_level.chances(results[choice.need], choice) for choice in self.choices]
        return np.where(np.arange(len(results)) < first, 1.0, np.max(each, axis=0))

    def chosen(self, chance: np.ndarray, results: Results) -> np.ndarray:
        """The paths that run in full."""
        return results.path[two_level.lots(self.question.key, results.path) < chance]


def decide(config: Config, question: Question) -> Fidelity:
    """What the configuration asks for, or, where it says `auto`, what is expected to be less work."""
    asked = config.simulation.fidelity
    if asked == "full":
        return Fidelity(question, asked, "every account on every path, as asked")
    against = _against(asked, config.simulation, question)
    if against:
        return Fidelity(question, asked, against)
    groups = grouped(config, question)
    choices = _choices(config, question)
    work, why = _expected(config.simulation, Fidelity(question, asked, "", groups, choices))
    if asked == "auto" and work >= ENOUGH:
        return Fidelity(question, asked, f"grouping would take {why}")
    return Fidelity(question, asked, f"it takes {why}", groups, choices)


def _against(asked: str, simulation: SimulationConfig, question: Question) -> str:
    """Why grouping makes no sense here, as far as the books and the rules show; else nothing."""
    accounts = max(len(h.cash) for h in question.opened.holdings)
    few = simulation.super_accounts * (FEW if asked == "auto" else 1)
    if isinstance(question.scenario.law, Ladder):
        return "a ladder tells every shock by itself"
    if accounts <= few:
        times = f"{FEW} times " if asked == "auto" else ""
        return (
            f"no book has more than {accounts:,} accounts, and grouping begins above {times}"
            f"simulation.super_accounts={simulation.super_accounts}"
        )
    rule = breaking(question.venue, len(question.markets))
    return f"groups break the venue's rule {rule}" if rule and asked == "auto" else ""


def breaking(venue: Venue, markets: int) -> str:
    """A rule that tells accounts apart which a group merges, by its key; nothing if there is none.

    Queues that serve one account after the other, in sequence or from a lot, meet one party where
    there were many; the largest position of a group need not be that of its accounts.
    """
    if venue.adl.allocation == "sequence" and "adl" in venue.stages:
        return "venue.adl.allocation=sequence"
    if venue.adl.ranking == "line" and "adl" in venue.stages:
        return "venue.adl.ranking=line"
    if venue.liquidation.positions == "largest" and markets > 1:
        return "venue.liquidation.positions=largest"
    return ""


def _expected(simulation: SimulationConfig, plan: Fidelity) -> tuple[float, str]:
    """Work for the accuracy of full paths, in full paths, and how that comes about.

    Every path on groups; the first ones, and of the others the least chance, in full; and as many more
    paths as the variance that the choice of full runs adds.
    """
    least = max(two_level.least(choice, simulation.paths) for choice in plan.choices)
    first = simulation.fund_paths / simulation.paths
    chance = 1.0 if least > SURE else min(least + first, 1.0)
    markets = len(plan.question.markets)
    variance = VARIANCE[markets > 1]
    work = (plan.cost + chance) * variance
    poor = f"the poor groups of {markets} markets" if markets > 1 else "the variance of the choice"
    return work, (
        f"about {percent(work, 2)} of the work of full paths for the same accuracy: "
        f"{percent(plan.cost, 2)} for groups and {percent(chance, 2)} for paths in full, "
        f"times {variance:g} for {poor}"
    )


def _choices(config: Config, question: Question) -> tuple[Choice, ...]:
    """Paths near the venue's fund and near the targets asked for, by each of the two needs."""
    asked, capital = config.target, float(question.venue.capital)
    seldom = (asked.adl_probability, asked.depletion_probability)
    return tuple(
        Choice(need=need, exceed=(exceed,), capitals=(capital,))
        for need, exceed in zip(NEEDS, seldom, strict=True)
    )


def grouped(config: Config, question: Question) -> Question:
    """The same question with books of super-accounts."""
    accounts = config.simulation.super_accounts
    holdings = tuple(
        grouping.grouped(h, question.venue, accounts).holdings for h in question.opened.holdings
    )
    names = tuple(np.full(len(h.cash), "", object) for h in holdings)  # nobody's
    opened = dataclasses.replace(question.opened, holdings=holdings, names=names)
    packed, rows = books.packed(opened, config)
    return dataclasses.replace(question, opened=opened, books=packed, account_rows=rows)


def _positions(question: Question) -> int:
    return question.books.layout.number_of_positions
