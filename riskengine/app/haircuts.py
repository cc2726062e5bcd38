"""The expected haircut of docs/model.md 9: what deleveraged winners lose of their equity."""

from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate, Sample
from riskengine.montecarlo.simulate import Results


def expected(results: Results, sample: Sample) -> Estimate:
    """E[Σ loss by ADL at the mark] / E[Σ equity of deleveraged accounts]."""
    count = int(results["accounts_deleveraged"].sum())
    parts = results["adl_loss_mark"], results["adl_equity"]
    return estimators.ratio("expected_haircut", *parts, sample, hits=count)


def changed(results: Results, today: Results, sample: Sample) -> Estimate:
    """What a design adds to it, on the same paths."""
    mine, theirs = ((r["adl_loss_mark"], r["adl_equity"]) for r in (results, today))
    return estimators.ratio_change("expected_haircut_change", mine, theirs, sample)
