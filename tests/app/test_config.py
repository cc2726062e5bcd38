"""Every file of `conf/` is right, every value has its evidence, docs/config.md is up to date."""

import dataclasses

import numpy as np
import pytest
import yaml
from shared_data import PROJECT, module

from riskengine.app import build, configure, evidence, schema, validate
from riskengine.app.config import Config
from riskengine.app.overrides import CONF, GROUPS, options

NEEDS = {
    "book=file": ["book.path=positions.csv"],
    "book=hyperliquid_snapshot": ["data.root=data"],
    "scenario=replay": ["scenario.path=prices.csv"],
    "scenario=october_2025_prices": ["data.root=data"],
    "experiment=oct10": ["data.root=data"],
    "experiment=oct10_crashes": ["data.root=data"],
}
CHOICES = [f"{group}={name}" for group in GROUPS for name in options(group)]
VENUES = options("venue")


def loaded(*overrides: str) -> Config:
    config = configure.load(overrides)
    validate.check(config)
    return config


@pytest.mark.parametrize("choice", CHOICES)
def test_every_file_composes(choice):
    config = loaded(choice, *NEEDS.get(choice, []))
    group, name = choice.split("=")
    if group == "venue":
        assert config.venue.name == name and config.venue.title
    if group == "experiment":
        assert config.name == name


@pytest.mark.parametrize("law", options("scenario"))
def test_every_law_goes_with_every_book(law):
    for book, venue in zip(options("book"), VENUES, strict=False):
        chosen = [f"venue={venue}", f"book={book}", f"scenario={law}"]
        needs = {need for choice in chosen for need in NEEDS.get(choice, [])}
        if law == "concentration" and book != "synthetic":
            needs.add("scenario.concentration.market=BTC")
        loaded(*chosen, *sorted(needs))


def test_defaults_are_those_of_the_documentation():
    config = loaded()
    assert config.name == "october_2025" and config.venue.name == "hyperliquid"
    assert config.simulation.paths == 4096 and config.simulation.precision == "float64"
    assert config.book.accounts == 2000 and config.book.books == 32
    assert config.book.markets == ["BTC", "ETH", "SOL", "XRP"]
    assert [(p.duration_min, p.dt_s) for p in config.simulation.grid] == [(20, 5), (220, 60)]


@pytest.mark.parametrize("name", VENUES)
def test_every_venue_builds(name):
    config = loaded(f"venue={name}")
    markets = (*config.book.markets, "unheard of")
    venue = build.build_venue(config.venue, markets, np.full(len(markets), 1e9 / len(markets)))
    assert venue.stages == tuple(config.venue.stages)
    assert float(venue.capital) == pytest.approx(1e7 * config.venue.fund_pct)
    assert venue.margin.ratio.shape[1] == len(markets)
    assert bool((venue.margin.ratio < venue.margin.initial).all())
    assert float(venue.pools.share.sum()) == pytest.approx(1.0)


def leaves(value, path: str = "") -> list[str]:
    if isinstance(value, dict):
        return [leaf for k, v in value.items() for leaf in leaves(v, f"{path}.{k}".strip("."))]
    return [path]


@pytest.mark.parametrize("name", VENUES)
def test_every_value_of_a_venue_has_evidence(name):
    told = [field for entry in loaded(f"venue={name}").venue.evidence for field in entry.fields]
    values = {
        k: v for k, v in evidence.preset(name).items() if k not in ("name", "title", "evidence")
    }
    bare = [
        leaf
        for leaf in leaves(values)
        if not any(leaf == field or leaf.startswith(f"{field}.") for field in told)
    ]
    assert not bare
    for field in told:
        assert schema.find(f"venue.{field}"), f"{field} is not a key"


@pytest.mark.parametrize("choice", [c for c in CHOICES if c.startswith(("venue", "scenario"))])
def test_evidence_says_where_and_when(choice):
    config = loaded(choice, *NEEDS.get(choice, []))
    found = config.venue.evidence if choice.startswith("venue") else config.scenario.evidence
    assert found
    for entry in found:
        assert entry.fields
        if entry.kind == "assumption":
            assert entry.note
        else:
            assert entry.url.startswith("https://") and entry.date[:3] == "202", entry


def test_files_hold_no_code():
    for path in CONF.rglob("*"):
        if path.is_dir():
            continue
        assert path.suffix == ".yaml", path
        text = path.read_text(encoding="utf-8")
        assert "_target_" not in text and "hydra" not in text.replace("hydra_", ""), path
        assert text.count("${") == text.count("${data.root}"), path
        keys = set(yaml.safe_load(text) or {})
        known = {field for kind in kinds(Config) for field in kind} | {"defaults"}
        assert keys <= known, path


def kinds(kind: type) -> list[set[str]]:
    """Keys of the whole and of its groups."""
    found = [{f.name for f in dataclasses.fields(kind)}]
    for entry in dataclasses.fields(kind):
        if dataclasses.is_dataclass(entry.type) and isinstance(entry.type, type):
            found += kinds(entry.type)
    return found


def test_every_key_has_a_meaning():
    for name, entry in schema.keys():
        if not dataclasses.is_dataclass(entry.type):
            assert entry.metadata.get("meaning"), name


@pytest.mark.parametrize("script", ["make_config.py", "make_venues.py"])
def test_pages_made_from_the_schema_and_from_conf_are_up_to_date(script):
    made = module(PROJECT / "docs" / script)
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), f"run python docs/{script}"
