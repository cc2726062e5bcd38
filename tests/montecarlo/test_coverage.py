"""Intervals hold the truth as often as they say: the study of docs/coverage.md, by hand and shorter.

With 400 repeats an interval that covers 0.95 falls below 0.92 or above 0.975 with probability 0.02; so
bounds are widened by what 400 repeats leave open at a false-alarm rate of 1e-4 per row.
"""

import intervals
import pytest
from scipy import stats

REPEATS, ALPHA = 400, 1e-4


@pytest.mark.nightly
@pytest.mark.parametrize(
    "case", list(intervals.cases()), ids=lambda case: f"{case.name}: {case.law}"
)
def test_intervals_cover(case):
    found = intervals.study(case, REPEATS, seed=1)
    given = found.repeats - found.refused
    assert given >= 0.5 * found.repeats, f"refused {found.refused}"
    low, high = case.meant
    assert found.held >= stats.binom.ppf(ALPHA, given, low), found
    assert found.held <= stats.binom.ppf(1.0 - ALPHA, given, high), found
