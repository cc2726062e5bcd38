"""The rulebook of docs/model.md in plain Python: a second opinion on the fast engine.

Written from sections 1 to 6 of docs/model.md alone, with loops and the standard library only. Where
the page leaves a choice open, the docstring names the choice made here.

Everything that happens within one stage is simultaneous: every decision and every price is taken
from the state that the stage finds. `side` SELL is a forced sell (bids take it), BUY a forced buy
(asks take it). `sign` is +1 for a long and −1 for a short. An account has at most one position per
market. Rational rules use operators only, so they also run on fractions.Fraction.
"""

from riskengine.reference.margin import watch
from riskengine.reference.path import STAGES, run, step
from riskengine.reference.pools import needs, remember
from riskengine.reference.pricing import advance
from riskengine.reference.records import Flows, Market, State, opening, totals
from riskengine.reference.report import Metrics

__all__ = [
    "STAGES",
    "Flows",
    "Market",
    "Metrics",
    "State",
    "advance",
    "needs",
    "opening",
    "remember",
    "run",
    "step",
    "totals",
    "watch",
]
