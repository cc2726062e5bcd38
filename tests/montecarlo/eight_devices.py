"""Run by test_path_program in a process of its own, with eight forced host devices."""

import os

import conftest  # noqa: F401  # double precision, strict promotion
import jax
import numpy as np
import test_path_program


def main() -> None:
    """The run of `whole`, one path at a time on each device."""
    results = test_path_program.run(batch=1, **test_path_program.POOR)
    np.savez(os.environ["OUT"], devices=len(jax.local_devices()), **results.metrics)
