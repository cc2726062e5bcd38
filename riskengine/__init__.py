"""How likely is a perpetual-futures venue's insurance fund to run dry, and who pays then?

    import riskengine

    question = riskengine.question("venue=binance", "simulation.paths=512")
    results = riskengine.simulate(question)
    answers = riskengine.estimate(results, question)
    print(answers.sentence)

Nothing heavy is imported before it is used.
"""

import os
import sys
from typing import TYPE_CHECKING

from riskengine.errors import InputError

if TYPE_CHECKING:
    from riskengine.app.api import Asked, estimate, load, question, simulate

__version__ = "0.1.0"
# XLA logs a page whenever it finds a program that an earlier process left (docs/output.md), because
# its own preferences are no features of the processor; it reads this once, when jax is imported.
if "jaxlib" not in sys.modules:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
__all__ = ["Asked", "InputError", "estimate", "load", "question", "simulate"]


def __getattr__(name: str):
    if name in __all__:
        from riskengine.app import api

        return getattr(api, name)
    raise AttributeError(f"module 'riskengine' has no attribute {name!r}")
