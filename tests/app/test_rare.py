"""Rare events on the command line: when they are sampled, what replaces what, and that runs go on.

What is estimated is tested in `tests/montecarlo/test_importance.py`; here nothing rests on chance, as
seeds are fixed and comparisons are of one run's tables with its own answers.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from commands import SMALL, Said, Worker, environment

from riskengine.app import configure, rare, validate
from riskengine.errors import InputError

ASKED = [
    *SMALL, "book.markets=[BTC]", "simulation.grid=[{duration_min: 20, dt_s: 60}]",
    "simulation.replay_paths=0", "simulation.estimator=auto", "simulation.rare_paths=1200",
    "simulation.batch=8", "simulation.relative_error=0.15", "target.adl_probability=0.02",
    "target.depletion_probability=0.02",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("rare")


@pytest.fixture(scope="module")
def worker(place):
    started = Worker(environment(place / "cache"))
    yield started
    started.close()


def run(worker: Worker, place: Path, *more: str, **how) -> Said:
    given = {o.partition("=")[0]: o for o in (*ASKED, *more)}
    return worker.main(*given.values(), f"runs={place / 'runs'}", **how)


def folder_of(said: Said) -> Path:
    (line,) = (line for line in said.out.splitlines() if line.startswith("the report: "))
    return Path(line.removeprefix("the report: ")).parent


@pytest.fixture(scope="module")
def said(worker, place) -> Said:
    found = run(worker, place)
    assert found.code == 0, found.err
    return found


def estimates(folder: Path) -> dict[str, dict]:
    listed = json.loads((folder / "estimates.json").read_text())["estimates"]
    return {e["name"]: e for e in listed}


def facts(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())["run"]["estimator"]


def test_the_run_says_what_it_chose_and_why(said):
    (line,) = (line for line in said.out.splitlines() if line.startswith("simulation.estimator"))
    assert line.startswith(
        "simulation.estimator=auto: importance sampling: 48 paths know 2 % to 101 % of itself, "
        "15 % are asked for: that takes 2,178 plain paths; 16,000 crashes surveyed, 300 run"
    )
    found, e = facts(folder_of(said)), estimates(folder_of(said))
    assert (found["ran"], found["surveyed"], found["pilot"]) == ("importance", 16_000, 300)
    assert e["fund_target"]["n"] == found["chosen"] < 1200
    assert e["rare_work"]["value"] == pytest.approx(300 + found["chosen"] + 0.012 * 16_000)
    assert e["rare_gain"]["value"] > 1.0
    reached = e["rare_error"]
    assert ("not met" in reached["note"]) == (reached["value"] > 0.15)
    assert found["looks"] == 3 or reached["value"] <= 0.15  # it stops when it knows enough


def test_what_was_sampled_replaces_what_the_few_paths_say(said):
    e = estimates(folder_of(said))
    for name in ("fund_target", "fund_target_depletion"):
        assert e[name]["method"].startswith("importance sampling") and e[name]["hits"] > 100
        assert e[name]["low"] <= e[name]["value"] <= e[name]["high"]
        assert e[f"{name}_plain"]["method"] == "order statistic" or e[f"{name}_plain"]["n"] == 48
    assert e["fund_target_simulation"]["method"] == "importance sampling"
    with (folder_of(said) / "rare.csv").open() as file:
        rows = list(csv.DictReader(file))
    known = [row for row in rows if not row["refused"]]
    assert 8 <= len(known) <= len(rows) and all(float(row["worth"]) >= 100 for row in known)
    assert all(np.isnan(float(row["probability"])) for row in rows if row["refused"])
    for event, need in (("adl_probability", "fund_target"),
                        ("depletion_probability", "fund_target_depletion")):  # fmt: skip
        mine = [row for row in known if row["event"] == event]
        capital, p = (
            np.asarray([float(row[n]) for row in mine]) for n in ("capital", "probability")
        )
        order = np.argsort(capital)
        assert (np.diff(p[order]) <= 0).all()
        at = np.interp(e[need]["value"], capital[order], p[order])
        assert at == pytest.approx(0.02, rel=0.4)


def test_a_run_that_was_stopped_goes_on_to_the_same_answer(worker, place, said):
    before = estimates(folder_of(said))
    stopped = run(worker, place, "name=again", stop_after=3)
    assert stopped.code == 130
    again = run(worker, place, "name=again")
    assert again.code == 0 and "from an earlier start" in again.err
    after = estimates(folder_of(again))
    for name, e in before.items():
        assert after[name] == e, name


def test_plain_says_nothing_of_it(worker, place):
    found = run(worker, place, "name=plain", "simulation.estimator=plain")
    e = estimates(folder_of(found))
    assert found.code == 0 and "simulation.estimator" not in found.out
    assert not [name for name in e if name.endswith("_plain") or name.startswith("rare_")]
    assert facts(folder_of(found)) == {"asked": "plain", "why": "as asked", "ran": "plain"}


@pytest.mark.parametrize(
    "overrides, why",
    [
        pytest.param(["scenario=ladder", "simulation.fund_paths=36", "simulation.paths=36"],
                     "law ladder has no", marks=pytest.mark.nightly),
        (["target.adl_probability=0.2", "target.depletion_probability=0.3"], "20 % is not rare"),
        (["simulation.relative_error=0.99", "target.adl_probability=0.03",
          "target.depletion_probability=0.05"], "48 paths know 3 % to 82 % of itself"),
    ],
)  # fmt: skip
def test_auto_leaves_it_to_plain_paths_and_says_why(worker, place, overrides, why):
    found = run(worker, place, *overrides)
    assert found.code == 0, found.err
    (line,) = (line for line in found.out.splitlines() if line.startswith("simulation.estimator"))
    assert line.startswith("simulation.estimator=auto: plain paths: ") and why in line


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["scenario=ladder"], "where scenario.law=ladder, whose crashes have no random scale"),
        (["simulation.fidelity=grouped"], "where simulation.fidelity=grouped"),
        (["book=file", "book.path=x.csv"], "where book.complete=false"),
    ],
)
def test_importance_is_refused_where_it_cannot_be(overrides, words):
    config = configure.load(["experiment=small", *overrides, "simulation.estimator=importance"])
    with pytest.raises(InputError, match="^simulation.estimator must be plain " + words):
        validate.check(config)


def test_the_error_of_plain_paths_is_that_of_a_binomial():
    assert rare.error_of(0.01, 9900) == pytest.approx(0.1)
