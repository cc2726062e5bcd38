"""Designs beside today's that move no lever."""

import dataclasses

import numpy as np
import pytest
import rulebook

from riskengine.app import designs
from riskengine.app.config import DesignConfig


@pytest.mark.parametrize(
    ("own", "asked", "expected"),
    [
        ("queue", ["queue", "pro_rata"], ["pro_rata"]),
        ("pro_rata", ["queue", "pro_rata"], ["queue"]),
        ("top", ["queue", "top"], ["queue"]),
        ("queue", [], []),
    ],
)
def test_other_policies_are_put_beside_the_venues(own, asked, expected):
    venue = rulebook.venue("hyperliquid", np.random.default_rng(0), policy=own)
    found = designs.what_ifs(venue, DesignConfig(policies=asked))
    assert [one.policy for one in found if one.kind == "policy"] == expected


def test_one_after_the_other_there_is_only_the_queue():
    venue = rulebook.venue("hyperliquid", np.random.default_rng(0), policy="queue")
    adl = dataclasses.replace(venue.adl, allocation="sequence")
    found = designs.what_ifs(dataclasses.replace(venue, adl=adl), DesignConfig())
    assert not [one for one in found if one.kind == "policy"]
