"""task=calibrate on the command line: what it answers and writes, that it goes on, and what it refuses."""

import html
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from commands import Said, Worker, environment

from riskengine import __main__ as command
from riskengine.errors import InputError

TINY = [
    "task=calibrate", "experiment=small", "name=tiny", "venue=hyperliquid", "book.books=12",
    "book.accounts=40", "book.markets=[BTC]", "simulation.paths=144", "simulation.fund_paths=24",
    "simulation.batch=4", "simulation.grid=[{duration_min: 20, dt_s: 60}]", "design.paths=36",
    "design.rare_paths=48",
    "design.looks=2", "design.verify_paths=144", "target.adl_probability=0.3",
    "target.depletion_probability=0.4",
]  # fmt: skip
SEARCH = [
    "design.response=0.5", "design.weights.capital=0.01", "design.weights.open_interest=0.001",
    "design.search.free=[caps,maintenance]", "design.search.budget=8", "design.search.paths=16",
    "design.search.starts=1", "design.search.groups=1",
]  # fmt: skip
CSV = {
    "frontier", "risks", "curves", "what_if", "prices", "practice", "looks", "pools", "iso_risk",
}  # fmt: skip
FIGURES = {"frontier", "caps", "designs", "iso_risk"}


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    made = Worker(environment(tmp_path_factory.mktemp("programs")))
    yield made
    made.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def done(worker, runs) -> Said:
    return worker.main(*TINY, f"runs={runs}")


def folder(runs: Path) -> Path:
    (found,) = [path.parent for path in runs.glob("tiny/*/manifest.json")]
    return found


def table(runs: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder(runs) / f"{name}.csv")


def test_the_answer_leads_with_a_range_and_ends_with_the_main_figure(done, runs):
    assert done.code == 0, done.err
    lead = done.out.splitlines()[0]
    assert re.search(
        r"take [\d.]+ to [\d.]+ % of open interest as first-loss capital \(point", lead
    )
    assert "verified by simulation under law crash and book synthetic" in lead
    assert "what binds is the probability of" in lead
    assert "Today's published design, 0.0587 % of open interest" in lead
    assert done.last == lead
    assert "0, 0.5, 1" in done.err and "optima" in done.out


def test_every_file_is_there(done, runs):
    files = {p.name for p in folder(runs).iterdir()} - {".lock"}
    expected = {f"{name}.csv" for name in CSV} | {
        "config.yaml", "estimates.json", "manifest.json", "calibration.html",
    }  # fmt: skip
    assert files == expected | {f"{n}.{kind}" for n in FIGURES for kind in ("svg", "png")}
    assert json.loads((folder(runs) / "manifest.json").read_text())["exit_code"] == 0


def test_the_page_holds_what_the_terminal_says(done, runs):
    """Every cell of every table, all figures, the verdict; no script and nothing from elsewhere."""
    page = html.unescape((folder(runs) / "calibration.html").read_text())
    assert done.last in page and '<h2 id="verification">Verified by simulation</h2>' in page
    assert "<script" not in page and not re.search(r'(src|href)="(?!data:image/svg)', page)
    assert page.count("<img") == len(FIGURES)
    said = re.sub(r"\s+", "", re.sub("<[^>]+>", " ", page))
    rows = [line for line in done.out.splitlines() if re.match(r" ?\S.*  \S", line)]
    assert len(rows) > 40
    for cell in (c for line in rows for c in re.split(r"  +", line.strip()) if "─" not in c):
        assert re.sub(r"\s+", "", cell) in said, cell
    for line in (x for x in done.out.splitlines() if x.startswith("look ")):
        assert re.sub(r"\s+", "", line) in said


def test_designs_are_put_beside_todays(done, runs):
    found = table(runs, "what_if")
    caps = found[found.kind == "caps"]
    assert sorted(set(caps.response)) == [0.0, 0.5, 1.0] and set(caps.factor) == {
        0.25,
        0.5,
        0.75,
        0.9,
    }
    assert (caps.open_interest_given_up > 0).all()
    for _, of_one in caps.groupby("factor"):  # the further they follow, the more is given up
        assert of_one.sort_values("response").open_interest_given_up.is_monotonic_increasing
    others = found[found.kind != "caps"]
    assert (others.open_interest_given_up == 0).all() and others.response.isna().all()
    assert (found.fund_target_change_low <= found.fund_target_change).all()
    assert set(others[others.kind == "vault"].factor) == {0.0, 0.5, 2.0, 4.0}
    (policy,) = found[found.kind == "policy"].itertuples()
    assert policy.design == "ADL pro rata"  # the venue's own is the queue
    assert policy.expected_haircut_change < 0 and policy.adl_probability_change == 0
    prices = table(runs, "prices")
    million = prices[prices.notch.str.contains("million")].set_index("risk").change
    assert million["adl"] < 0 and million["beyond"] < 0


def test_the_verified_capital_is_the_least_of_the_looks(done, runs):
    looks, said = table(runs, "looks"), json.loads((folder(runs) / "estimates.json").read_text())
    needed = looks.groupby("look").capital.max()
    design = said["design"]
    assert design["verified"] and design["first_loss_capital_usd"] == needed.min()
    assert looks.groupby("look").spends.first().tolist() == pytest.approx([0.025, 0.0125])
    names = {e["name"]: e for e in said["estimates"]}
    assert names["verified_capital"]["value"] == needed.min()
    assert names["fund_target"]["low"] < names["fund_target"]["high"]
    rules = table(runs, "practice")
    assert len(rules) >= 6 and (rules.paths == 288).all()
    assert (looks.books == 18).all() and not looks.weighted.any()  # one for every 8 crashes


def test_the_same_command_finds_it_again(worker, done, runs):
    again = worker.main(*TINY, f"runs={runs}")
    assert again.code == 0 and again.last == done.last and again.compiled == 0
    assert "done before" in again.err


def test_a_stopped_search_goes_on_and_what_is_not_met_says_what_binds(worker, done, runs, tmp_path):
    """One run, stopped within its search: what no search changes equals that of another run."""
    asked = [*TINY, *SEARCH, "design.fund_most_pct=0.01", f"runs={tmp_path}"]
    stopped = worker.main(*asked, stop_after=118)  # within the gradient search
    assert stopped.code == 130 and "gradient search" in stopped.err
    resumed = worker.main(*asked)
    assert resumed.code == 6 and "earlier start" in resumed.err
    assert "Not met: the highest first-loss capital" in resumed.last
    assert "with 0.01 % of open interest, is infeasible" in resumed.last
    (one,) = tmp_path.glob("tiny/*/")
    for name in ("frontier.csv", "risks.csv", "curves.csv"):
        assert (one / name).read_bytes() == (folder(runs) / name).read_bytes()
    assert "only under your weights (capital 0.01, open_interest 0.001)" in resumed.out
    page = html.unescape((one / "calibration.html").read_text())
    assert ">Not met</h2>" in page and "One optimum, with your weights" in page
    assert "gradient search: 2 of 8 evaluations" in resumed.err
    design = json.loads((one / "estimates.json").read_text())["design"]
    cost = design["cost"]
    assert cost[cost["winner"]] == min(cost[n] for n in ("today", "gradient", "derivative-free"))
    assert not design["feasible"] and design["binds"] == "fund"
    assert set(pd.read_csv(one / "what_if.csv").response.dropna()) == {0.5}
    assert worker.main(*asked).code == 6  # found again, it ends alike


@pytest.mark.parametrize(
    "arguments, field",
    [
        (["target.adl_probability=0"], "target.adl_probability"),
        (["target.adl_probability=1.5"], "target.adl_probability"),
        (["target.haircut_pct=0"], "target.haircut_pct"),
        (["design.response=1.5"], "design.response"),
        (["design.looks=0"], "design.looks"),
        (["design.verify_paths=100", "target.adl_probability=1e-3"], "design.verify_paths"),
        (["ranges=true"], "ranges"),
        (["scenario=ladder"], "scenario.law"),
        (["simulation.fidelity=grouped"], "simulation.fidelity"),
        (["design.search.free=[caps]"], "design.search.free"),
        (["design.search.free=[price]"], "design.search.free"),
        (["design.weights.capital=0.1"], "design.search.free"),
        (["design.weights.capital=0"], "design.weights"),
        (["design.weights.capital=0.1", "design.search.free=[caps]"], "design.response"),
        (
            ["design.weights.capital=0.1", "design.search.free=[maintenance]",
             "design.search.maintenance_least=3"], "design.search.maintenance_least",
        ),
        (["design.weights.capital=0.1", "design.search.free=[vault]"], "design.search.free"),
        (["design.search.caps_least=2"], "design.search.caps_least"),
        (["design.rare_paths=1"], "design.rare_paths"),
        (
            ["design.weights.capital=0.1", "design.search.free=[maintenance]",
             "design.search.budget=8", "design.search.starts=64"], "design.search.starts",
        ),
        (["target.adl_probability=1e-7"], "target.adl_probability"),
        (["design.verify_books=1"], "design.verify_books"),
        (["design.verify_books=5000"], "design.verify_books"),
        (["design.verify_books=500", "book.accounts=50000"], "design.verify_books"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_line(arguments, field, capsys, tmp_path):
    asked = ["task=calibrate", "venue=bybit", *arguments, f"runs={tmp_path / 'runs'}"]
    assert command.main(asked) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"error: {field}") and said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_caps_below_1x_are_refused_before_anything_is_simulated(worker, tmp_path):
    asked = [
        *TINY, "design.response=1", "design.weights.capital=0.1", "design.search.free=[caps]",
        "design.search.caps_least=0.01", "design.search.caps_most=0.02", f"runs={tmp_path / 'runs'}",
    ]  # fmt: skip
    said = worker.main(*asked)
    assert said.code == 2 and said.out == "" and said.compiled == 0
    assert said.err.startswith("error: design.caps must leave a cap of at least 1x")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_does_not_calibrate():
    with pytest.raises(InputError, match="task must be run or replay"):
        command._sweep(["task=calibrate", "simulation.seed=1,2"])
