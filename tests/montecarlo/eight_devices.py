"""Run by test_path_program in a process of its own, with eight forced host devices."""

import os

import conftest  # noqa: F401  # double precision, strict promotion
import jax
import numpy as np
import test_path_program


def main() -> None:
    """The run of `whole` on all devices, two paths each at a time."""
    results = test_path_program.run(batch=2, capital=2e3, takeover_above=0.0)
    np.savez(os.environ["OUT"], devices=len(jax.local_devices()), **results.metrics)
