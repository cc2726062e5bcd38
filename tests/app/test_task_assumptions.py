"""`task=assumptions` as its user meets it: what varies, what is refused, and that a run goes on.

The fit is tested in `tests/calibration/test_assumptions.py`; here nothing rests on chance.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from commands import Said, Worker, environment

from riskengine.app import assumptions, configure, validate
from riskengine.errors import InputError

ASKED = [
    "experiment=small", "task=assumptions", "book.markets=[BTC]", "book.books=2", "book.accounts=40",
    "simulation.grid=[{duration_min: 20, dt_s: 60}]", "simulation.paths=128", "simulation.batch=8",
    "assumptions.points=16", "assumptions.paths=64", "assumptions.books=2",
    "target.adl_probability=0.1", "target.depletion_probability=0.1", "venue.fund_pct=0.1",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("assumptions")


@pytest.fixture(scope="module")
def worker(place):
    started = Worker(environment(place / "cache"))
    yield started
    started.close()


def run(worker: Worker, place: Path, *more: str, **how) -> Said:
    given = {o.partition("=")[0]: o for o in (*ASKED, *more)}
    return worker.main(*given.values(), f"runs={place / 'runs'}", **how)


@pytest.fixture(scope="module")
def said(worker, place) -> Said:
    found = run(worker, place)
    assert found.code == 0, found.err
    return found


def folder_of(said: Said) -> Path:
    (line,) = (line for line in said.out.splitlines() if line.startswith("the figure: "))
    return Path(line.removeprefix("the figure: ")).parent


def estimates(folder: Path) -> dict[str, dict]:
    listed = json.loads((folder / "estimates.json").read_text())["estimates"]
    return {e["name"]: e for e in listed}


def test_the_answer_has_both_bands(said):
    e = estimates(folder_of(said))
    assert said.compiled == 1  # one program serves all sets
    for name in (
        "fund_target",
        "fund_target_depletion",
        "adl_probability",
        "depletion_probability",
    ):
        base, band = e[name], e[f"{name}_assumptions"]
        assert band["value"] == base["value"] and band["low"] < band["high"], name
        assert base["n"] == 128 and band["n"] == 16 and "12 assumptions" in band["note"]
    assert "(simulation error " in said.out and "over law, depth, leverage and book " in said.out
    shares = [x["value"] for name, x in e.items() if name.startswith("share_fund_target_scenario")]
    shares += [x["value"] for name, x in e.items() if name.startswith("share_fund_target_book")]
    assert len(shares) == 12 and sum(shares) == pytest.approx(1.0)
    assert said.out.splitlines()[-1].startswith(
        "Under Hyperliquid's rules a synthetic book has a fund"
    )
    for ending in ("png", "svg"):
        assert (folder_of(said) / f"assumptions.{ending}").stat().st_size > 5000


def test_every_set_lies_in_the_box(said):
    config = configure.load(ASKED)
    with (folder_of(said) / "assumptions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    for one in assumptions.box(config):
        values = np.asarray([float(row[one.name]) for row in rows])
        assert (values >= one.low).all() and (values <= one.high).all()
        assert values.min() < one.at(0.2) and values.max() > one.at(0.8)
    assert len({row["fund_target"] for row in rows}) == 16


def test_a_set_is_what_a_run_with_these_values_would_be(said, worker, place):
    """The first set by hand: the same books, crashes and need."""
    with (folder_of(said) / "assumptions.csv").open() as file:
        row = next(csv.DictReader(file))
    own = [f"{name}={value}" for name, value in row.items() if "." in name]
    plain = [
        "task=run", "simulation.paths=64", "simulation.fund_paths=8", "simulation.level_paths=0",
        "simulation.refine_paths=0", "simulation.largest_paths=0", "simulation.replay_paths=0",
        "simulation.shadow_paths=1",
    ]  # fmt: skip
    found = run(worker, place, *plain, *own)
    assert found.code == 0, found.err
    (line,) = (line for line in found.out.splitlines() if line.startswith("the report: "))
    e = estimates(Path(line.removeprefix("the report: ")).parent)["fund_target"]
    assert e["value"] == pytest.approx(float(row["fund_target"]), rel=1e-9)


def test_a_value_outside_its_range_was_chosen_on_purpose():
    config = configure.load([*ASKED, "scenario.crash.df=8", "book.leverage=1.4"])
    names = [one.name for one in assumptions.box(config)]
    assert "scenario.crash.df" not in names and "book.leverage" in names and len(names) == 11


def test_a_run_that_was_stopped_goes_on_to_the_same_answer(said, worker, place):
    stopped = run(worker, place, "name=again", stop_after=5)
    assert stopped.code == 130
    again = run(worker, place, "name=again")
    assert again.code == 0 and "from an earlier start" in again.err
    assert estimates(folder_of(again)) == estimates(folder_of(said))


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["scenario=ladder"], "scenario.law must draw or replay crashes for task=assumptions"),
        (["assumptions.points=24"], "assumptions.points must be a power of two, got 24"),
        (["target.adl_probability=0.01"], "assumptions.paths must be >= 500: 5 crashes beyond"),
        (["simulation.fidelity=auto"], "simulation.fidelity must be full for task=assumptions"),
        (["simulation.estimator=auto"], "simulation.estimator must be plain for task=assumptions"),
        (["book.ranges.leverage=[2,1]"], r"book.ranges.leverage must be \[lowest, highest\]"),
        (["book.ranges.leverage=[0.7,100]"], "book.ranges.leverage must be an? [a-z]+ >= 0.1 and <= 10"),
        (["+book.ranges.levarage=[1,2]"], "book.ranges.levarage must be named after a number of book"),
        (["+book.ranges.reader=[1,2]"], "book.ranges.reader must be named after a number of book"),
        (["+book.ranges.leverage_cap=[5,20]"], "book.ranges.leverage_cap must be left out while"),
        (["scenario.ranges={}", "book.ranges={}"], "scenario.ranges must hold the present value"),
        (["~scenario.ranges", "book.leverage=2", "book.long_leverage=5", "book.long_share_pct=30"],
         "scenario.ranges must hold the present value"),
        (["book=file", "book.path=x.csv"], "book.complete must be true for task=assumptions"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_one_line(overrides, words):
    asked = ["task=assumptions", "assumptions.paths=64", "target.adl_probability=0.1",
             "target.depletion_probability=0.1"]  # fmt: skip
    given = {o.partition("=")[0]: o for o in (*asked, *overrides)}
    with pytest.raises(InputError, match=f"^{words}"):
        validate.check(configure.load(list(given.values())))


@pytest.mark.parametrize(
    "overrides, gone, there",
    [
        (["~scenario.ranges"], "scenario.", "book.leverage"),
        (["~book.ranges"], "book.", "scenario.crash.df"),
        (["scenario.ranges={crash.df: null}"], "scenario.crash.df", "scenario.crash.jump_pct"),
        (["scenario.ranges={crash.df: [2.1, 5]}"], None, "scenario.crash.df"),
        (["+book.ranges.maker_leverage=[1,4]"], None, "book.maker_leverage"),
    ],
)
def test_ranges_are_the_users_own(overrides, gone, there):
    """Every form that docs/assumptions.md names."""
    config = configure.load(["task=assumptions", "assumptions.paths=500", *overrides])
    validate.check(config)
    found = {one.name: (one.low, one.high) for one in assumptions.box(config)}
    assert there in found and not (gone and any(name.startswith(gone) for name in found))
    if "[2.1, 5]" in overrides[0]:
        assert found[there] == (2.1, 5.0)
