"""`task=sensitivity` as a user meets it: what it says and leaves, and that it can be stopped."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import SMALL, Said, Worker, environment

from riskengine.app import store
from riskengine.calibration import sensitivity

TASK = ("task=sensitivity", "design.response=0.5")
FILES = {
    "config.yaml", "estimates.json", "manifest.json", "sensitivity.csv", "sensitivity.html",
    "tornado.png", "tornado.svg",
}  # fmt: skip
LEVERS = {
    "fund", "vault", "fee", "top_up", "maintenance", "depth", "volatility",
    "leverage_cap_tier1_response50",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sensitivity")


@pytest.fixture(scope="module")
def worker(place):
    started = Worker(environment(place / "cache"))
    yield started
    started.close()


def asked(place: Path, name: str, *more: str) -> list[str]:
    return [*SMALL, f"runs={place / 'runs'}", f"name={name}", *more]


def folder_of(place: Path, name: str) -> Path:
    (folder,) = (place / "runs" / name).iterdir()
    return folder


@pytest.fixture(scope="module")
def said(worker, place) -> Said:
    found = worker.main(*asked(place, "levers", *TASK))
    assert found.code == 0, found.err
    return found


@pytest.fixture(scope="module")
def table(said, place) -> pd.DataFrame:
    return pd.read_csv(folder_of(place, "levers") / "sensitivity.csv")


def test_one_program_serves_all_levers_and_the_answer_is_the_last_line(said, place):
    folder = folder_of(place, "levers")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert said.compiled == 1
    assert said.last == manifest["answer"]
    assert {p.name for p in folder.iterdir()} - {store.LOCK} == FILES
    assert manifest["run"]["simulations_of_levers"] <= 20
    page = (folder / "sensitivity.html").read_text()
    assert manifest["answer"] in page and "<script" not in page and "http" not in page.lower()
    assert (folder / "tornado.png").read_bytes()[:4] == b"\x89PNG"


def test_the_table_has_every_lever_and_every_measure(table):
    assert set(table["lever"]) == LEVERS
    assert set(table["measure"]) == set(sensitivity.MEASURES)
    assert len(table) == len(LEVERS) * len(sensitivity.MEASURES)
    known = table[table["effect"].notna() & table["effect_low"].notna()]
    assert (known["effect_low"] <= known["effect"]).all()
    assert (known["effect"] <= known["effect_high"]).all()
    exact = table[(table["method"] == "exact")]
    assert (exact["effect"] == 0).all() and exact["note"].str.startswith("exactly 0").all()
    assert set(exact["lever"]) == {"top_up", "fund"}  # the venue has no fee; needs know no fund
    more = table[(table["lever"] == "fee") & (table["measure"] == "excess_draw")].iloc[0]
    assert np.isnan(more["effect_down"]) and more["effect_up"] == more["effect"]


def test_estimates_have_the_format_of_all_tasks(said, place, table):
    read = json.loads((folder_of(place, "levers") / "estimates.json").read_text())
    fields = ["name", "value", "low", "high", "level", "n", "hits", "method", "unit", "note"]
    assert all(list(e) == fields for e in read["estimates"])
    named = {e["name"]: e for e in read["estimates"]}
    assert len(named) == len(read["estimates"])
    for row in table.itertuples():
        value = named[f"{row.measure}_by_{row.lever}"]["value"]
        assert value == row.effect or (value is None and np.isnan(row.effect))
    slope = named["excess_draw_slope"]
    assert slope["value"] < 0 and slope["unit"] == "USD per USD"


def test_as_things_are_it_is_what_a_run_says(said, worker, place):
    """Not the interventions' or needs' numbers alone: also what happens at the fund."""
    run = worker.main(*asked(place, "plain"))
    assert run.code == 0 and run.compiled == 0, run.err
    ours, theirs = (
        {e["name"]: e for e in json.loads((folder_of(place, n) / "estimates.json").read_text())[
            "estimates"]}
        for n in ("levers", "plain")
    )  # fmt: skip
    for name in sensitivity.MEASURES:
        assert ours[name]["value"] == theirs[name]["value"], name
        assert ours[name]["low"] == theirs[name]["low"], name


def test_a_stopped_run_goes_on_and_ends_the_same(said, worker, place):
    again = asked(place, "stopped", *TASK)
    stopped = worker.main(*again, stop_after=7)
    assert stopped.code == 130, stopped.err
    done = worker.main(*again)
    assert done.code == 0, done.err
    whole, parts = (folder_of(place, n) / "sensitivity.csv" for n in ("levers", "stopped"))
    assert parts.read_bytes() == whole.read_bytes()
    assert done.last == said.last
    same = worker.main(*again)
    assert same.code == 0 and "was done before" in same.err and same.last == said.last
