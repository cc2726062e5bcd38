"""Super-accounts on the command line: when they are chosen, what they answer, and that runs go on."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from commands import PROJECT, Said, Worker, environment

from riskengine.app import build, configure, fidelity, parquet
from riskengine.app.overrides import options
from riskengine.app.show import Screen

LARGE = [
    "experiment=small", "name=large", "book.markets=[BTC]", "book.books=1", "book.accounts=3000",
    "simulation.paths=400", "simulation.fund_paths=24", "simulation.level_paths=8",
    "simulation.refine_paths=8", "simulation.largest_paths=8", "simulation.replay_paths=8",
    "simulation.shadow_paths=1", "simulation.super_accounts=128", "venue.fund_pct=1",
    "simulation.grid=[{duration_min: 20, dt_s: 30}]",
    "target.adl_probability=0.2", "target.depletion_probability=0.2",
]  # fmt: skip
GROUPED = "simulation.fidelity=grouped"
AT_FUND = (  # read from the paths at the venue's fund, which all run in full
    "unfunded_probability", "expected_haircut", "haircut_p99", "adl_loss_mark", "accounts_hit",
    "largest_account_loss", "fund_profit", "accounts_liquidated",
)  # fmt: skip


# Which fidelity, and why


def large(*more: str) -> list[str]:
    """Overrides of a large book; what is said again replaces what was."""
    return list({override.partition("=")[0]: override for override in (*LARGE, *more)}.values())


def decided(*overrides: str) -> fidelity.Fidelity:
    config = configure.load(large(*overrides))
    return fidelity.decide(config, build.build(config))


MANY = "simulation.paths=4000"
TWO = ["book.markets=[BTC,ETH]"]


@pytest.mark.parametrize(
    "asked, overrides, ran, why",
    [
        ("full", [], "full", "every account on every path, as asked"),
        ("grouped", [], "grouped", "it takes about 67 % of the work"),
        ("grouped", TWO, "grouped", "times 8 for the poor groups of 2 markets"),
        ("grouped", ["venue=bitmex"], "grouped", "it takes"),
        ("grouped", ["book.accounts=100"], "full", "no book has more than 108 accounts, and "),
        ("grouped", ["scenario=ladder"], "full", "a ladder tells every shock by itself"),
        ("auto", [MANY], "grouped", "it takes about 1[45] % of the work"),
        ("auto", [], "full", "grouping would take about 67 % of the work"),
        ("auto", [MANY, "book.accounts=1000"], "full", "no book has more than 1,008 accounts, and "
         "grouping begins above 8 times simulation.super_accounts=128"),
        ("auto", [MANY, *TWO], "full", "would take .* poor groups of 2 markets"),
        ("auto", [MANY, "venue=bitmex"], "full", "the venue's rule venue.adl.allocation=sequence"),
        ("auto", [MANY, "venue=dydx_v4"], "full", "the venue's rule venue.adl.ranking=line"),
        ("auto", [MANY, *TWO, "venue.liquidation.positions=largest"], "full",
         "the venue's rule venue.liquidation.positions=largest"),
        ("auto", [MANY, "venue.liquidation.positions=largest"], "grouped", "it takes"),
    ],
)  # fmt: skip
def test_the_choice_follows_from_book_rules_and_work(asked, overrides, ran, why):
    found = decided(f"simulation.fidelity={asked}", *overrides)
    assert found.name == ran and re.match(f".*{why}", found.why), found.why
    accounts = found.every.books.layout.number_of_accounts
    assert (found.every is found.question) == (ran == "full")
    assert (accounts < 0.2 * found.question.books.layout.number_of_accounts) == (ran == "grouped")


def test_the_expected_work_is_that_of_groups_and_of_the_least_chance():
    found = decided(GROUPED, MANY)
    assert found.cost == pytest.approx(128 / 3008, rel=0.1)
    floor = np.log(40) / (0.2 * 0.2 * 4000)
    work, _ = fidelity._expected(configure.load(large(MANY)).simulation, found)
    assert work == pytest.approx(2.0 * (found.cost + floor + 24 / 4000))


AHEAD = {"gmx_v2"}  # presets that take whole accounts over before any order to the book


def test_only_one_preset_could_be_a_table_lookup():
    """What docs/model.md 9.1 says of a fidelity that is not there; that one has a profit cap."""
    for name in options("venue"):
        venue = configure.load([f"venue={name}"]).venue
        first = venue.stages[0] == "takeover" and venue.takeover.sizing == "full"
        assert first == (name in AHEAD), name
        assert not first or "profit_cap" in venue.stages


@pytest.mark.parametrize("venue, rule", [
    ("hyperliquid", ""), ("gmx_v2", ""), ("ftx_2022", ""), ("lighter", ""),
    ("bitmex", "venue.adl.allocation=sequence"), ("dydx_v4", "venue.adl.ranking=line"),
])  # fmt: skip
def test_rules_that_groups_break_are_named_by_their_key(venue, rule):
    config = configure.load([f"venue={venue}"])
    built = build.build_venue(config.venue, ("BTC", "ETH"), np.full(2, 1e8))
    assert fidelity.breaking(built, 2) == rule


# From the command line: one process, so that a program is compiled once for all runs


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fidelity")


@pytest.fixture(scope="module")
def worker(place):
    started = Worker(environment(place / "cache"))
    yield started
    started.close()


def run(worker: Worker, place: Path, *more: str, **how) -> Said:
    return worker.main(*large(f"runs={place / 'runs'}", *more), **how)


def folder_of(said: Said) -> Path:
    (line,) = (line for line in said.out.splitlines() if line.startswith("the report: "))
    return Path(line.removeprefix("the report: ")).parent


@pytest.fixture(scope="module")
def said(worker, place) -> Said:
    found = run(worker, place, GROUPED)
    assert found.code == 0, found.err
    return found


@pytest.fixture(scope="module")
def folder(said) -> Path:
    return folder_of(said)


@pytest.fixture(scope="module")
def whole(worker, place) -> Path:
    found = run(worker, place)
    assert found.code == 0 and found.compiled == 0, found.err
    return folder_of(found)


def estimates(folder: Path) -> dict[str, dict]:
    listed = json.loads((folder / "estimates.json").read_text())["estimates"]
    return {e["name"]: e for e in listed}


def needs(folder: Path, table: str) -> dict[str, np.ndarray]:
    return parquet.read(folder / f"{table}.parquet")


def test_the_run_says_which_accounts_it_simulates_and_why(said, folder):
    assert said.compiled == 2  # for groups, and for the books themselves
    assert "note: simulation.fidelity=grouped: runs grouped: it takes about 67 %" in said.err
    (line,) = (line for line in said.out.splitlines() if line.startswith("grouped: "))
    facts = json.loads((folder / "manifest.json").read_text())["run"]["fidelity"]
    assert facts["asked"] == facts["ran"] == "grouped" and facts["why"] in said.err
    assert f"400 paths on {facts['accounts']} super-accounts" in line
    assert f"{facts['paths_in_full']} of them in full too" in line
    assert "groups alone are off by P(intervention) " in line and "; haircut " in line
    assert 128 <= facts["accounts"] < 160 and 60 < facts["paths_in_full"] < 300


def test_the_estimate_is_that_of_horvitz_and_thompson(folder):
    """By hand, from the tables that the run leaves."""
    cheap, known = needs(folder, "grouped"), needs(folder, "unlimited")
    found, facts = estimates(folder), json.loads((folder / "manifest.json").read_text())["run"]
    full = known["in_full"]
    assert full[:24].all() and (cheap["chance"][:24] == 1.0).all()
    assert (cheap["chance"] < 1.0).any() and not full.all()
    for name, need in (("adl_probability", "adl_required_fund"),
                       ("depletion_probability", "required_fund")):  # fmt: skip
        g, x = (table[need] > facts["fund_usd"] for table in (cheap, known))
        assert np.array_equal(g[~full], x[~full])
        z = g + full / cheap["chance"] * (x.astype(float) - g)
        assert found[name]["value"] == pytest.approx(z.mean()), name
        bias = found[f"grouping_bias_{name}"]
        assert bias["value"] == pytest.approx(np.mean(g - z), abs=1e-12)
        assert bias["low"] <= bias["value"] <= bias["high"]
        assert f"{full.sum()} full runs, {np.sum(g != x)} of them differ" in bias["note"]
    share = facts["fidelity"]["accounts"] / 3008
    assert found["grouping_work"]["value"] == pytest.approx(share + full.mean(), rel=0.05)
    assert found["grouping_gain_probability"]["value"] > 1.0


def test_the_answers_hold_those_of_full_paths(folder, whole):
    """Within the intervals; and at the venue's fund they are the same, bit for bit."""
    grouped, full = estimates(folder), estimates(whole)
    for name in ("adl_probability", "depletion_probability", "fund_target", "excess_draw",
                 "fund_target_depletion", "required_fund_median", "adl_probability_falls"):  # fmt: skip
        assert grouped[name]["low"] <= full[name]["value"] <= grouped[name]["high"], name
    assert grouped["adl_probability"]["value"] != full["adl_probability"]["value"]
    for name in AT_FUND:
        assert grouped[name] == full[name], name
    assert grouped["crash_size_p90"]["value"] == pytest.approx(full["crash_size_p90"]["value"])
    new = {name for name in grouped if name.startswith("grouping_")}
    assert set(grouped) - set(full) == new and len(new) == 9
    assert set(full) <= set(grouped)


def test_paths_in_full_are_those_of_a_full_run(folder, whole):
    mine, other, cheap = (
        needs(folder, "unlimited"),
        needs(whole, "unlimited"),
        needs(folder, "grouped"),
    )
    full = mine["in_full"]
    for name in other:
        np.testing.assert_array_equal(mine[name][full], other[name][full], err_msg=name)
        np.testing.assert_array_equal(mine[name][~full], cheap[name][~full], err_msg=name)
    assert not np.array_equal(mine["required_fund"], other["required_fund"])
    assert not mine["flags"].any() and not cheap["flags"].any()
    assert max(mine["ledger_cash"].max(), cheap["ledger_cash"].max()) < 1e-12
    for table in ("hits", "accounts"):
        assert (folder / f"{table}.parquet").exists()
    hits = [needs(f, "hits") for f in (folder, whole)]
    assert len(hits[0]["path"]) and all(np.array_equal(hits[0][n], hits[1][n]) for n in hits[0])


def test_both_kinds_of_books_get_a_second_opinion(said, folder):
    shadows = json.loads((folder / "manifest.json").read_text())["run"]["shadow"]
    assert len(shadows) == 2 and all(one["difference"] < 1e-9 for one in shadows)
    assert "the reference engine repeated 2 of 400 paths" in said.out


def test_the_page_tells_the_bias_and_the_work(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    found = estimates(folder)
    told = PROJECT.joinpath("docs", "output.md").read_text("utf-8")
    assert "What grouped accounts change" in page and "super-accounts" in page
    for name in found:
        assert f"<code>{name.replace('_', '_<wbr>')}</code>" in page and f"`{name}`" in told
    assert "grouped: it takes about" in page.replace("\u00a0", " ")


def test_a_full_run_says_nothing_of_groups(whole):
    page = (whole / "report.html").read_text(encoding="utf-8")
    assert "What grouped accounts change" not in page
    assert not (whole / "grouped.parquet").exists()
    assert "in_full" not in needs(whole, "paths")


@pytest.mark.parametrize("shards, in_full", [(2, False), (8, True)])
def test_a_run_that_was_stopped_goes_on_to_the_same_files(
    worker, said, folder, place, shards, in_full
):
    """While paths run on groups, and while they run in full."""
    runs = f"runs={place / f'stopped_{shards}'}"
    stopped = run(worker, place, GROUPED, runs, stop_after=shards)
    assert stopped.code == 130, stopped.err
    again = run(worker, place, GROUPED, runs)
    assert again.code == 0 and again.out.splitlines()[-1] == said.last
    (note,) = (line for line in again.err.splitlines() if "from an earlier start" in line)
    assert ("400 of 400 paths, and 24 of those in full" in note) == in_full, note
    mine = folder_of(again)
    assert mine.name == folder.name and not list(mine.glob("shard-*"))
    for path in folder.glob("*.parquet"):
        assert (mine / path.name).read_bytes() == path.read_bytes(), path.name
    assert (mine / "curves.csv").read_bytes() == (folder / "curves.csv").read_bytes()
    assert estimates(mine) == estimates(folder)


def test_fidelity_is_part_of_what_a_run_is(worker, folder, whole, place):
    """A sweep over it finds both runs done; super-accounts do not matter to a full run."""
    found = worker.main(
        "-m", *LARGE, f"runs={place / 'runs'}", "simulation.fidelity=full,grouped"
    )  # fmt: skip
    assert found.code == 0 and found.err.count("was done before") == 2, found.err
    assert folder.name != whole.name and folder.name in found.out and whole.name in found.out
    again = run(worker, place, "simulation.super_accounts=256")
    assert again.code == 0 and "was done before" in again.err


def test_python_gives_the_same_numbers(worker, folder, tmp_path):
    answer = worker.ask(call="python", overrides=[*LARGE, GROUPED], folder=str(tmp_path))
    assert {e["name"]: e for e in answer["estimates"]} == estimates(folder)


def test_a_book_that_is_too_small_runs_in_full_and_the_terminal_says_so(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(Screen, "note", lambda _, text: said.append(text))
    Screen().fidelity(decided())
    assert not said
    Screen().fidelity(decided(GROUPED, "book.accounts=60"))
    assert said[0].startswith("simulation.fidelity=grouped: runs full: no book has more than 68")
