# %% [markdown]
# # A first study
#
# How much first-loss capital does a venue with Hyperliquid's rules need, who is deleveraged where it
# has less, and what would another venue's rules change on the same crashes?
#
# Every cell runs as it is, in a notebook or with `python examples/first_study.py`. The numbers are
# those of a small venue and few paths, to be quick: about two minutes.

# %%
import numpy as np
import pandas as pd

import riskengine
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Sample

SMALL = ("experiment=small", "simulation.shadow_paths=0")

# %% [markdown]
# ## The question, the crashes, the answers
#
# `question` takes what the command line takes. `simulate` runs every crash once without a limit on
# capital, and some of them at the venue's fund. `estimate` gives every number its interval.

# %%
question = riskengine.question(*SMALL)
study = riskengine.simulate(question)
answers = riskengine.estimate(study, question)
print(answers.sentence)

# %%
table = pd.DataFrame([e.record() for e in answers.estimates]).set_index("name")
print(table.loc[["adl_probability", "depletion_probability", "expected_haircut"],
                ["value", "low", "high", "hits", "n"]])  # fmt: skip

# %% [markdown]
# ## What every crash needs
#
# One run says how likely ADL is for every size of the fund: a crash leads to it where its need is
# larger. Counting is all there is to it.

# %%
need = study.results["adl_required_fund"]  # USD, one number per crash
for fund in (0.0, study.capital, 1e6, 1e7):
    print(f"fund {fund:12,.0f} USD: ADL in {np.mean(need > fund):.1%} of {len(need)} crashes")

# %% [markdown]
# ## Who is deleveraged
#
# Cohorts of accounts that are alike, and every single account.

# %%
for cohort in answers.people.cohorts:
    if cohort.dimension == "leverage" and cohort.haircut.value is not None:
        low, high = cohort.haircut.low, cohort.haircut.high
        shown = "no interval" if low is None else f"{low:.2%} to {high:.2%}"
        print(
            f"{cohort.name:12} haircut {cohort.haircut.value:6.2%} ({shown}, {cohort.haircut.hits} hits)"
        )

# %%
accounts = pd.DataFrame(answers.people.accounts)
print(accounts.sort_values("times_deleveraged", ascending=False).head(5)[
    ["book", "account", "side", "leverage", "times_deleveraged", "paths", "expected_haircut"]
])  # fmt: skip

# %% [markdown]
# ## Another venue on the same crashes
#
# Path 17 draws the same crash against any venue, so the difference is taken crash by crash. (The
# books are the same but for accounts that a venue's initial margin makes put up more.) The need is
# that of a fund without limits; Binance's cap on inventory would keep some of it from arising. The
# interval is the estimator's own: it carries the variance between books, which crashes share.

# %%
other = riskengine.question(*SMALL, "venue=binance", "simulation.seed=0")
theirs = riskengine.simulate(other).results["required_fund"]
ours = study.results["required_fund"]
sample = Sample(study.results.book)
more = estimators.mean("difference", theirs - ours, sample, "USD")
print(
    f"Binance's rules need {more.value:,.0f} USD more per crash, {more.low:,.0f} to {more.high:,.0f}"
)

# %% [markdown]
# ## Step by step
#
# The path with the largest need, at the venue's fund.

# %%
assert study.replays is not None
steps = pd.DataFrame(study.replays.steps).query("replay == 'worst'").set_index("time")
print(steps[["index_move", "displacement", "fund", "inventory", "unfunded"]].iloc[::10])
