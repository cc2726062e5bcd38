"""Write docs/venues.md: which venue has which rules, from conf/venue/ itself.

python docs/make_venues.py
"""

import dataclasses
from pathlib import Path
from typing import Any

from riskengine.app import configure, evidence, rulebook, schema
from riskengine.app.config import VenueConfig
from riskengine.app.overrides import options

PAGE = Path(__file__).with_name("venues.md")
INTRO = """\
# Venues

<!-- Made by docs/make_venues.py from conf/venue/; change it there. -->

A venue is data: a file in [conf/venue](../conf/venue) that names its stages in order, chooses its
rules from the small vocabulary below, and gives the numbers. Every number says where it comes from:
*published* by the venue, *observed* in its data or quoted by others, or an *assumption* of ours;
the shares are printed with every answer. Where a value is assumed and another is as plausible,
`ranges` lists it, and a comparison of venues ([comparison.md](comparison.md): one that was run) runs
it, too:

    riskengine -m experiment=venues venue={names}

The rules are equations in [model.md](model.md) 3 to 5; the words are explained in
[config.md](config.md). In the tables – stands for a rule that plays no part, because its stage is
not there or the venue does not use it.

"""
TITLES = {
    "prices and margin": "Prices and margin",
    "book": "Stage book: orders",
    "takeover": "Stage takeover",
    "adl": "Stage adl",
    "social": "What is still owed",
}


def page() -> str:
    """The whole page."""
    venues = {name: configure.load([f"venue={name}"]).venue for name in options("venue")}
    parts = [INTRO.replace("{names}", ",".join(venues)), _overview(venues)]
    for group, keys in rulebook.OPTIONS.items():
        parts.append(_table(TITLES[group], group, keys, venues))
    parts += [_numbers(venues), _ranges(venues)]
    return "\n".join(parts).rstrip() + "\n"


def _rows(title: str, head: list[str], rows: list[list[str]]) -> str:
    lines = [f"## {title}", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join(lines) + "\n"


def _overview(venues: dict[str, VenueConfig]) -> str:
    rows = []
    for name, venue in venues.items():
        found = evidence.grade(venue)
        shares = [f"{100 * found.share(k):.0f} %" for k in evidence.KINDS] if found else []
        triggers = ", ".join(venue.triggers) or "–"
        rows.append(
            [f"[{name}](../conf/venue/{name}.yaml)", " → ".join(venue.stages), triggers, *shares]
        )
    head = [
        "venue",
        "stages in order",
        "rules that read the fund",
        "published",
        "observed",
        "assumed",
    ]
    return _rows("The waterfalls", head, rows)


def _table(title: str, stage: str, keys: tuple[str, ...], venues: dict[str, VenueConfig]) -> str:
    head = ["venue", *(f"`{key}`" for key in keys)]
    rows = [[name, *(_option(venue, stage, key) for key in keys)] for name, venue in venues.items()]
    return _rows(title, head, rows)


def _option(venue: VenueConfig, stage: str, key: str) -> str:
    if stage in ("book", "takeover", "adl", "social") and stage not in venue.stages:
        if not (stage == "adl" and "profit_cap" in venue.stages and key == "adl.ranking"):
            return "–"
    value = schema.at(venue, key)
    if value is False or value == "none":
        return "–"
    return "yes" if value is True else f"`{value}`"


NUMBERS = {
    "fund_pct": "fund, % of open interest",
    "liquidation.below_pct": "book below, % of maintenance",
    "takeover.below_pct": "takeover below, %",
    "adl.below_pct": "ADL below, %",
    "liquidation.liquidation_fee_pct": "fee, %",
}


def _numbers(venues: dict[str, VenueConfig]) -> str:
    rows = []
    for name, venue in venues.items():
        stages = {"liquidation": "book", "takeover": "takeover", "adl": "adl"}
        cells = []
        for key in NUMBERS:
            stage = stages.get(key.partition(".")[0])
            there = stage is None or stage in venue.stages
            cells.append(f"{schema.at(venue, key):.4g}" if there else "–")
        rows.append([name, *cells, ", ".join(f"{n} ({_pool(p)})" for n, p in venue.pools.items())])
    return _rows("Numbers", ["venue", *NUMBERS.values(), "pools"], rows)


def _pool(pool: Any) -> str:
    told = [
        f"{pool.share_pct:.4g} % of the fund"
        if pool.share_pct
        else f"{pool.fixed_pct:.4g} % of open interest"
    ]
    told += ["one for each market"] if pool.per_market else []
    named = {
        "inventory_cap_pct": "inventory up to {:.4g} %",
        "rate_pct": "takes {:.4g} % per second",
        "drawdown_pct": "ADL from a fall of {:.4g} %",
        "owner_pays_pct": "owner pays up to {:.4g} % of open interest",
    }
    told += [
        words.format(x) for key, words in named.items() if (x := getattr(pool, key)) is not None
    ]
    return "; ".join([*told, f"owner {pool.owner}"] if pool.owner else told)


def _ranges(venues: dict[str, VenueConfig]) -> str:
    rows = [
        [name, f"`{key}`", f"{_now(venue, key)}", ", ".join(str(v) for v in values)]
        for name, venue in venues.items()
        for key, values in venue.ranges.items()
    ]
    return _rows("Other plausible values", ["venue", "key", "preset", "others"], rows)


def _now(venue: VenueConfig, key: str) -> Any:
    found = schema.at(dataclasses.asdict(venue), key)
    return "null" if found is None else found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
