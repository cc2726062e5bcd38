"""Venues side by side: which jobs are run, what is put below what, and what the page says."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from riskengine.app import compare, comparison, configure, evidence, rulebook, variants
from riskengine.app.compare import Range, Venue
from riskengine.app.overrides import options
from riskengine.errors import InputError

VENUES = options("venue")


def asked(*overrides: str) -> list[variants.Job]:
    return variants.expanded([list(overrides)], [configure.load(overrides)])


def test_a_job_that_asks_for_ranges_is_run_with_every_other_value_once():
    plain, ranged = asked("venue=hyperliquid"), asked("venue=hyperliquid", "ranges=true")
    ranges = configure.load(["venue=hyperliquid"]).venue.ranges
    assert len(plain) == 1 and len(ranged) == 1 + sum(map(len, ranges.values()))
    assert {job.of for job in ranged} == {0} and ranged[0].change == ""
    assert len({tuple(job.overrides) for job in ranged}) == len(ranged)
    for job in ranged[1:]:
        assert job.overrides[-1] == f"venue.{job.change}"
        assert dataclasses.asdict(job.config.venue) != dataclasses.asdict(ranged[0].config.venue)


def test_what_is_set_is_not_varied():
    """A comparison at equal capital stays one, and so does what the command line says."""
    varied = [job.change for job in asked("venue=bybit", "experiment=venues")]
    assert not [change for change in varied if change.startswith("fund_pct")]
    key, values = next(
        (k, v) for k, v in configure.load(["venue=hyperliquid"]).venue.ranges.items() if "." in k
    )
    changed = asked("venue=hyperliquid", "ranges=true", f"venue.{key}={values[0]}")
    assert not [job for job in changed[1:] if job.change.startswith(f"{key}=")]


@pytest.mark.parametrize("name", VENUES)
def test_every_other_value_of_every_venue_is_a_valid_one(name):
    for job in asked(f"venue={name}", "ranges=true"):
        assert job.config.venue.name == name


def test_a_value_out_of_range_is_one_clear_line():
    with pytest.raises(InputError, match="ranges.fund_pct must be a list"):
        asked("venue=binance", "ranges=true", "venue.ranges={fund_pct: 3}")
    with pytest.raises(InputError, match="ranges.social holds nosuch"):
        asked("venue=binance", "ranges=true", "venue.ranges={social: [nosuch]}")


# Evidence


def test_the_grade_counts_settings_by_the_nearest_evidence(tmp_path, monkeypatch):
    folder = tmp_path / "venue"
    folder.mkdir()
    text = "name: x\nstages: [book]\nmark: {rule: index, window_s: 3}\nmargin: {tables: {a: [], b: []}}\n"
    (folder / "x.yaml").write_text(text)
    monkeypatch.setattr(evidence, "CONF", tmp_path)
    venue = configure.load(["venue=yardstick"]).venue
    about = [
        dataclasses.replace(venue.evidence[0], fields=["stages", "mark.rule"], kind="published"),
        dataclasses.replace(venue.evidence[0], fields=["mark"], kind="observed"),
    ]
    found = evidence.grade(dataclasses.replace(venue, name="x", evidence=about))
    assert found == evidence.Grade(published=2, observed=1, assumption=1)
    assert found.share("published") == 0.5 and "of 4 settings 50 % published" in str(found)


@pytest.mark.parametrize("name", VENUES)
def test_every_preset_has_a_grade(name):
    found = evidence.grade(configure.load([f"venue={name}"]).venue)
    assert found and found.settings >= 15


# Words


@pytest.mark.parametrize("name", VENUES)
def test_every_rule_has_words(name):
    venue = configure.load([f"venue={name}"]).venue
    told = dict(rulebook.sentences(venue))
    assert set(venue.stages) < set(told) and all(told[stage] for stage in venue.stages)


def test_venues_differ_where_their_rules_do():
    one, other = (
        configure.load([f"venue={n}"]).venue for n in ("hyperliquid", "hyperliquid_zero_equity")
    )
    assert rulebook.differences(one, other) == ["adl.pool_price"]
    assert rulebook.differences(one, one) == []


# Order


def venue(title: str, hits: np.ndarray, least: float, most: float) -> Venue:
    """A venue whose intervention probability has a range, on 40 paths of 8 books."""
    value = float(hits.mean())
    known = Range(value, max(value - 0.1, 0.0), min(value + 0.1, 1.0), least, most)
    config = dataclasses.replace(configure.load(["venue=binance"]).venue, title=title)
    paths = {"path": np.arange(40), "book": np.arange(40) % 8, "intervened": hits, "depleted": hits}
    ranges = {name: known for name in compare.QUANTITIES}
    payers = dict.fromkeys(compare.PAYERS, 0.01)
    return Venue(config, Path("runs/x"), 1e6, evidence.grade(config), ranges, payers, paths)


SELDOM, OFTEN = np.arange(40) < 4, np.arange(40) < 30
ONE_BOOK = (np.arange(40) % 8 == 3) & (np.arange(40) < 30)


@pytest.mark.parametrize(
    ("hits", "least", "most", "below"),
    [
        (SELDOM, 0.05, 0.2, True),
        (SELDOM, 0.05, 0.75, False),  # another plausible value is not below
        (OFTEN, 0.05, 0.2, False),  # no difference on the same crashes
        (OFTEN & ~ONE_BOOK, 0.05, 0.2, False),  # a difference in one of eight books is no sure one
    ],
)
def test_one_venue_is_below_another_only_where_ranges_and_crashes_say_so(hits, least, most, below):
    one, other = venue("one", hits, least, most), venue("other", OFTEN, 0.7, 0.8)
    assert compare.lower(one, other, "adl_probability") == below
    assert not compare.lower(other, one, "adl_probability")
    assert compare.order([one, other], "adl_probability") == ([("one", "other")] if below else [])


def test_other_paths_are_never_compared():
    one, other = venue("one", SELDOM, 0.05, 0.2), venue("other", OFTEN, 0.7, 0.8)
    paths = other.paths | {"path": np.arange(40) + 1}
    assert not compare.lower(one, dataclasses.replace(other, paths=paths), "adl_probability")


def test_table_figure_and_page_say_the_same(tmp_path):
    found = [venue("One & only", SELDOM, 0.05, 0.2), venue("Other", OFTEN, 0.7, 0.8)]
    page = comparison.page(found, comparison.figure(found))
    for text in ("One &amp; only", "10 % (0–20) [5–20]", "75 % (65–85) [70–80]", "below Other"):
        assert text in page, text
    assert (
        page.count('class="scroll"') == page.count('class="scroll" tabindex="0" role="group"') > 0
    )
    assert "<script" not in page and "http" not in page.partition("<main>")[0]
    columns = compare.columns(found)
    assert columns["adl_probability_least"].tolist() == [0.05, 0.7]
    assert len({len(column) for column in columns.values()}) == 1
