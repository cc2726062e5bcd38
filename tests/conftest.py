"""Double precision, no silent promotion, the CPU, and examples that are the same on every run."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["RISKENGINE_CACHE"] = ""  # tests compile what they test

import hypothesis  # noqa: E402
import jax  # noqa: E402

from riskengine.types import use_double  # noqa: E402

use_double()
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Checks are slow because programs are compiled inside the first example: no deadline.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("fixed")
