"""A venue's rules in words and as a table, from the meanings that the schema gives its names."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from riskengine.app import schema
from riskengine.app.config_venue import STAGES, VenueConfig

OPTIONS: dict[str, tuple[str, ...]] = {
    "prices and margin": ("mark.rule", "margin.kind", "margin.at", "margin.growth"),
    "book": (
        "liquidation.sizing", "liquidation.positions", "liquidation.limit", "liquidation.execution",
        "liquidation.backing", "liquidation.fee_cap",
    ),
    "takeover": ("takeover.sizing", "takeover.price"),
    "adl": (
        "adl.price", "adl.pool_price", "adl.policy", "adl.allocation", "adl.ranking",
        "adl.winners_only", "adl.pools_in_queue", "adl.overlap_only", "adl.waits", "adl.bypass",
        "adl.unmatched",
    ),
    "social": ("social",),
}  # fmt: skip
PART_OF = {"unwind": "takeover", "fund": "social"}  # stages without options of their own


def meaning(key: str, name: Any) -> str:
    """What the key asks, and what the venue's answer means."""
    kind: Any = VenueConfig
    field = None
    for part in key.split("."):
        field = {f.name: f for f in dataclasses.fields(kind)}[part]
        kind = field.type
    names: Mapping[str, str] = field.metadata.get("names", {}) if field else {}
    asked = field.metadata["meaning"] if field else ""
    if names:
        return f"{asked}: {names[name]}"
    return asked if name is True else ""


def sentences(venue: VenueConfig) -> list[tuple[str, str]]:
    """The waterfall, stage by stage, in words; rules that do nothing are left out."""
    told = [("prices and margin", _said(venue, OPTIONS["prices and margin"]))]
    for stage in venue.stages:
        rules = _said(venue, OPTIONS.get(stage, ()))
        told.append((stage, "; ".join(filter(None, (STAGES[stage], rules)))))
    return told


def _said(venue: VenueConfig, keys: tuple[str, ...]) -> str:
    each = (meaning(key, schema.at(venue, key)) for key in keys)
    return "; ".join(
        text for text in each if text and not text.endswith((": not at all", ": no limit"))
    )


def differences(one: VenueConfig, other: VenueConfig) -> list[str]:
    """Keys of rules in which two venues differ, stages first."""
    keys = [key for group in OPTIONS.values() for key in group]
    apart = [key for key in keys if schema.at(one, key) != schema.at(other, key)]
    same_order = [s for s in one.stages if s != "unwind"] == [
        s for s in other.stages if s != "unwind"
    ]
    rest = [] if sorted(one.triggers) == sorted(other.triggers) else ["triggers"]
    return ([] if same_order else ["stages"]) + rest + apart
