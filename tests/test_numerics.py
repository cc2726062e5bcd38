"""Faults of jax itself that would give wrong numbers without a word."""

import jax
import numpy as np
import pytest

from riskengine.app import device
from riskengine.montecarlo import probes


def test_the_product_of_every_row_is_right():
    """jax 0.10.2 and 0.11.0 get half of 32,769 rows wrong on CPU, and are excluded."""
    assert probes.product_probe()


def test_in_single_precision_at_most_one_row_is_wrong_and_none_from_0_11_on():
    """A fault of jax 0.9 to 0.10.2 that the engine cannot meet: its paths hold no such product."""
    known = tuple(int(part) for part in jax.__version__.split(".")[:2]) < (0, 11)
    assert len(probes.wrong_rows("float32")) <= int(known)


def test_reordered_values_are_right_in_programs_that_keep_their_barriers():
    """jax 0.10.1 to 0.11.2 compute garbage here when they merge a gather with a concatenation."""
    assert probes.gather_probe(calls=200)


@pytest.mark.parametrize("probe", [probes.product_probe, probes.gather_probe])
def test_a_probe_sees_a_program_that_is_wrong(probe):
    def broken(function):
        def program(*arguments):
            right = np.array(function(*arguments))
            right[-1] += 1.0
            return right

        return program

    assert not probe(jit=broken)


def test_a_run_stops_where_a_probe_fails(monkeypatch):
    monkeypatch.setattr(probes, "failed", lambda: ("gather",))
    with pytest.raises(device.NoDevice, match="gather"):
        device.probe()
