"""The command line as a user meets it: what it says, what it writes, and how it ends."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import PROJECT, SMALL, Said, Worker, environment

import riskengine
from riskengine import __main__ as command
from riskengine.app import parquet, store

TABLES = {"paths", "unlimited", "hits", "accounts", "replays"}
CSV = {"curves", "levels", "cohorts", "fans", "reverse_stress", "crash_size", "cover"}
FIGURES = {
    "curves", "fund_over_time", "markets_over_time", "who_pays", "haircuts", "deleveraged",
    "crash_size", "replay_typical", "replay_bad", "replay_worst",
}  # fmt: skip
FILES = {f"{name}.parquet" for name in TABLES} | {f"{name}.csv" for name in CSV}
FILES |= {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
FILES |= {"config.yaml", "estimates.json", "manifest.json", "report.html"}
ESTIMATE = ["name", "value", "low", "high", "level", "n", "hits", "method", "unit", "note"]
ODD = {
    "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "7",
    "HOME": "/nonexistent", "SECRET": "hunter2-hunter2",
}  # fmt: skip


def process(*arguments: str, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
    """`riskengine ARGUMENTS` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "riskengine", *arguments],
        env=os.environ | {"PYTHONPATH": str(PROJECT)} | env,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def one_line(err: str, *parts: str) -> None:
    """One readable line that says what is wrong."""
    assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1, err
    assert err[:-1].isprintable() and len(err) <= 301 and "Traceback" not in err, err
    for part in parts:
        assert part in err


# Without a run


def test_help_is_there_at_once():
    """CLI-015: no jax, whatever the environment says."""
    began = time.monotonic()
    said = process("--help", JAX_PLATFORMS="nonsense", XLA_FLAGS="--nonsense", **ODD)
    assert time.monotonic() - began < 2
    assert said.returncode == 0 and said.stderr == ""
    assert "KEY=VALUE" in said.stdout and "  venue=binance  " in said.stdout
    assert said.stdout == process("-h").stdout


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["--cfg"], ["simulation.paths=0"]]
)
def test_what_needs_no_jax_does_not_import_it(arguments):
    code = (
        f"import sys; from riskengine.__main__ import main; main({arguments})\n"
        "assert not {'jax', 'pandas', 'scipy', 'vl_convert', 'duckdb'} & set(sys.modules)"
    )
    env = os.environ | {"PYTHONPATH": str(PROJECT)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True)


def test_version(capsys):
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out == f"riskengine {riskengine.__version__}\n"


def test_the_configuration_can_be_printed(capsys):
    assert command.main(["--cfg", "venue=binance", "simulation.seed=7"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["venue"]["name"] == "binance" and printed["simulation"]["seed"] == 7
    assert printed["simulation"]["grid"][1] == {"duration_min": 220.0, "dt_s": 60.0}


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (["simulation.paths=0"], ("simulation.paths", ">= 1", "0")),
        (["n_paths=5"], ("n_paths", "simulation.paths")),
        (["report"], ("report", "usage: riskengine")),
        (["--nosuch"], ("--nosuch", "usage: riskengine")),
        (["--config-dir", "x=y"], ("--config-dir", "not an option")),
        (["--cfg", "-m"], ("--cfg", "-m")),
        (["name=../../x"], ("run_name", "../../x")),
        (["venue=nosuch"], ("venue", "binance", "nosuch")),
        (["\udcff=1"], ("UTF-8",)),
        (["--\udcff"], ("not an option",)),
        (["name=\x1b[31m"], ("name", "\\x1b")),
        (["-m", "simulation.seed=range(0,1,0)"], ("range",)),
        (["-m", "simulation.seed=1,2", "simulation.paths=64,0"], ("simulation.paths", ">= 1")),
        (["-m", "venue=binance,nosuch"], ("venue", "nosuch")),
        (["-m", "simulation.seed=range(0,1000000)"], ("limit",)),
        (["+venue.pools.x={_target_: os.system, command: 'touch PWNED'}"], ("_target_",)),
        (["runs=${oc.env:SECRET}"], ("resolver",)),
        (["name=oc.env", "runs='${${name}:SECRET}'"], ("resolver",)),
        (["hydra.job.env_set={A: b}"], ("hydra",)),
    ],
)
def test_wrong_input_is_one_line(arguments, parts, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "hunter2")
    assert command.main(arguments) == 2
    said = capsys.readouterr()
    one_line(said.err, *parts)
    assert said.out == "" and "hunter2" not in said.err
    assert list(tmp_path.iterdir()) == []


def test_wrong_input_as_a_process(tmp_path):
    said = process("simulation.paths=0", f"runs={tmp_path / 'runs'}", timeout=10)
    assert said.returncode == 2 and said.stdout == ""
    one_line(said.stderr, "simulation.paths", ">= 1")
    latin = subprocess.run(
        [sys.executable.encode(), b"-m", b"riskengine", b"name=\xff"],
        env=os.environ | {"PYTHONPATH": str(PROJECT)} | ODD,
        capture_output=True,
    )
    assert latin.returncode == 2 and latin.stderr.startswith(b"error: override must be UTF-8")
    assert list(tmp_path.iterdir()) == []


def test_python_says_the_same():
    with pytest.raises(riskengine.InputError, match="simulation.paths must be an integer >= 1"):
        riskengine.question("simulation.paths=0")


def test_any_encoding_can_carry_it():
    said = process("--cfg", "venue.title='Zürich'", "name=a", **ODD)
    assert said.returncode == 0 and said.stderr == ""
    assert yaml.safe_load(said.stdout)["venue"]["title"] == "Zürich"
    said = process("venue.title='Zürich'", "simulation.sed='Zürich'", **ODD)
    assert said.returncode == 2
    one_line(said.stderr, "simulation.seed")


@pytest.mark.parametrize("arguments", [["--cfg"], ["--help"]])
def test_a_closed_pipe_is_no_error(arguments):
    with subprocess.Popen(
        [sys.executable, "-m", "riskengine", *arguments],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout and running.stderr
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(timeout=30) == 141


@pytest.mark.parametrize(
    "error, code, text",
    [
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (MemoryError(), 3, "simulation.batch"),
        (store.RunBusy("run directory x is in use"), 5, "in use"),
        (store.CorruptRun("x has\nchanged"), 4, "x has changed"),
    ],
)
def test_exit_codes(error, code, text, monkeypatch, capsys):
    monkeypatch.setattr(command, "_run", lambda _: (_ for _ in ()).throw(error))
    assert command.main([]) == code
    one_line(capsys.readouterr().err, text)


def test_a_bug_says_that_it_is_one(monkeypatch, capsys):
    monkeypatch.setattr(command, "_run", lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        command.main([])
    assert "please report" in capsys.readouterr().err


@pytest.mark.parametrize(
    "env, code, part",
    [
        ({"JAX_PLATFORMS": "cuda"}, 3, "JAX_PLATFORMS=cuda"),
        ({"JAX_PLATFORMS": "tpuu"}, 3, "JAX_PLATFORMS=tpuu"),
        ({"JAX_DISABLE_JIT": "1"}, 3, "JAX_DISABLE_JIT must not be set"),
    ],
)
def test_an_environment_that_cannot_work(env, code, part, tmp_path):
    """ENV-006, ENV-007."""
    said = process(*SMALL, f"runs={tmp_path / 'runs'}", **({"JAX_PLATFORMS": "cpu"} | env))
    assert said.returncode == code and said.stdout == ""
    one_line(said.stderr, part)
    assert list(tmp_path.iterdir()) == []


def test_unknown_flags_are_named(tmp_path):
    """ENV-005: XLA ends the process, and says why."""
    flags = {"XLA_FLAGS": "--xla_no_such_flag=1", "JAX_PLATFORMS": "cpu"}
    said = process(*SMALL, f"runs={tmp_path / 'runs'}", **flags)
    assert said.returncode not in (0, 2) and "XLA_FLAGS" in said.stderr
    assert list(tmp_path.iterdir()) == []


# With runs: one process computes them all, so the program is compiled once


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def worker(place):
    started = Worker(environment(place / "cache"))
    yield started
    started.close()


def small(place: Path, name: str, *more: str) -> list[str]:
    return [*SMALL, f"runs={place / 'runs'}", f"name={name}", *more]


@pytest.fixture(scope="session")
def first(worker, place) -> Said:
    said = worker.main(*small(place, "first"))
    assert said.code == 0, said.err
    return said


def folder_of(place: Path, name: str) -> Path:
    (folder,) = (place / "runs" / name).iterdir()
    return folder


def tables_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


@pytest.fixture(scope="session")
def folder(first, place) -> Path:
    return folder_of(place, "first")


@pytest.fixture(scope="session")
def manifest(folder) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def test_the_answer_is_the_last_line(first, manifest):
    assert first.last == manifest["answer"] == first.out.splitlines()[0]
    assert first.last.startswith(
        "In a simulated crash a synthetic book of 2.55 M USD open interest"
    )
    assert (
        "under Hyperliquid's rules (vault shortfall to its parent) has an intervention"
        in first.last
    )
    assert "say little about any venue" in first.err and "steps of" not in first.err
    assert first.compiled == 1
    for line in first.err.splitlines():
        assert line.startswith("note: ") or " of " in line, line


def test_the_page_explains_every_file_and_estimate(folder, manifest):
    page = Path(__file__).resolve().parents[2].joinpath("docs", "output.md").read_text("utf-8")
    named = set(re.findall(r"`([A-Za-z0-9_.]+)`", page))
    listed = json.loads((folder / "estimates.json").read_text())["estimates"]
    assert {e["name"] for e in listed} <= named
    files = {record["name"] for record in manifest["files"]}
    assert {name for name in files if name not in named and not name.startswith("curves.")} == {
        f"{figure}.{kind}" for figure in FIGURES - {"curves"} for kind in ("png", "svg")
    }
    assert FIGURES <= named | {"curves"}


def test_the_page_explains_every_column(folder):
    """In the rows of its table; intervals, hits and quantiles go by the name before them."""
    page = PROJECT.joinpath("docs", "output.md").read_text("utf-8")
    told: dict[str, set[str]] = {}
    tables: list[tuple[str, str]] = []
    for line in page.partition("## Columns")[2].partition("## Estimates")[0].splitlines():
        cells = line.split(" | ") if line.startswith("| ") else []
        if len(cells) == 3:
            tables = (
                re.findall(r"`(\w+)`|(all)", cells[0]) or tables
            )  # none: those of the row above
            for table in ("".join(pair) for pair in tables):
                told.setdefault(table, set()).update(re.findall(r"`(\w+)`", cells[1]))
    endings = re.compile(r"_(low|high|hits|largest|p05|p25|p50|p75|p95)$")
    for table, frame in riskengine.load(folder).items():
        known = told["all"] | told[table]
        bare = [c for c in frame.columns if c not in known and endings.sub("", c) not in known]
        assert not bare, (table, bare)
    assert set(told) - {"all", "ladder", "grouped"} == TABLES | CSV


def test_files_of_a_run(folder, manifest):
    assert {path.name for path in folder.iterdir()} == FILES | {store.LOCK}
    assert manifest["state"] == "finished" and manifest["key"] == folder.name
    assert {record["name"] for record in manifest["files"]} == FILES - {"manifest.json"}
    assert "hunter2" not in (folder / "manifest.json").read_text()
    assert manifest["command"].startswith("riskengine experiment=small")
    assert manifest["headline"]["adl_probability"] == estimate(folder, "adl_probability")["value"]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "curves.svg").read_text(encoding="utf-8")[:500]


def test_the_configuration_is_kept(folder):
    from riskengine.app import configure

    kept = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    asked = configure.load([*SMALL, "name=first", f"runs={folder.parents[1]}"])
    assert kept["simulation"]["paths"] == asked.simulation.paths == 48
    assert kept["name"] == "first" and kept["book"]["markets"] == asked.book.markets
    assert kept["venue"]["pools"]["parent"]["fixed_pct"] == 2.56


def test_tables_of_a_run(folder):
    paths = parquet.read(folder / "paths.parquet")
    assert paths["path"].tolist() == list(range(48))
    assert paths["book"].tolist() == [path % 2 for path in range(48)]
    assert {"required_fund", "adl_required_fund", "adl_loss_mark", "flags"} <= set(paths)
    assert paths["at_fund"][:32].all() and not paths["flags"].any()
    fund = json.loads((folder / "estimates.json").read_text())["run"]["fund_usd"]
    np.testing.assert_array_equal(paths["intervened"], paths["adl_required_fund"] > fund)
    hits, accounts = (parquet.read(folder / f"{name}.parquet") for name in ("hits", "accounts"))
    assert len(accounts["account"]) == 2 * 48 and set(hits["account"]) <= set(accounts["account"])
    assert accounts["times_deleveraged"].sum() == len(hits["path"])
    assert accounts["adl_loss"].sum() == pytest.approx(hits["adl_loss"].sum())


def estimate(folder: Path, name: str) -> dict:
    found = json.loads((folder / "estimates.json").read_text())["estimates"]
    return next(e for e in found if e["name"] == name)


def test_estimates_of_a_run(folder):
    """The schema that scripts may rely on."""
    document = json.loads((folder / "estimates.json").read_text())
    assert list(document) == ["run", "estimates"]
    facts = document["run"]
    assert facts["paths"] == 48 and facts["markets"] == ["BTC", "ETH", "SOL", "XRP"]
    assert facts["precision"] == "float64" and facts["ledger_residual"] < 1e-12
    assert len(facts["shadow"]) == 1 and facts["shadow"][0]["difference"] < 1e-9
    names = [e["name"] for e in document["estimates"]]
    assert len(set(names)) == len(names) and {"adl_probability", "fund_target"} <= set(names)
    for e in document["estimates"]:
        assert list(e) == ESTIMATE
        assert e["value"] is not None or e["note"], e
        if e["value"] is not None and e["low"] is not None and e["high"] is not None:
            assert e["low"] <= e["value"] <= e["high"], e
    paths = parquet.read(folder / "paths.parquet")
    assert estimate(folder, "adl_probability")["hits"] == paths["intervened"].sum()


def test_curves_of_a_run(folder):
    with (folder / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    needs = parquet.read(folder / "paths.parquet")["adl_required_fund"]
    for row in rows[:: len(rows) // 7]:
        capital, share = float(row["capital"]), float(row["adl_probability"])
        assert share == pytest.approx(np.mean(needs > capital)), capital
        assert float(row["adl_probability_low"]) <= share <= float(row["adl_probability_high"])


def test_a_finished_run_is_found_again(worker, first, folder, place):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    again = worker.main(*small(place, "first"))
    assert again.code == 0 and again.compiled == 0
    assert again.last == first.last and "was done before" in again.err
    same = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    assert same == before


def test_a_busy_folder(worker, folder, place):
    with store.open_run(place / "runs", "first", folder.name):
        said = worker.main(*small(place, "first"))
    assert said.code == 5 and said.out == ""
    one_line(said.err.splitlines(keepends=True)[-1], "run directory", "in use")


def test_a_damaged_run(worker, first, place):
    said = worker.main(*small(place, "damaged"))
    assert said.code == 0 and said.compiled == 0
    table = folder_of(place, "damaged") / "paths.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"X")
    said = worker.main(*small(place, "damaged"))
    assert said.code == 4 and said.out == ""
    one_line(said.err.splitlines(keepends=True)[-1], "paths.parquet has changed")


def test_no_gpu_here(worker, place):
    """CFG-052."""
    said = worker.main(*small(place, "gpu", "simulation.device=gpu"))
    assert said.code == 3 and said.out == "" and not (place / "runs" / "gpu").exists()
    one_line(said.err, "gpu", "simulation.device=cpu")


def test_a_folder_that_cannot_be_made(worker, place):
    (place / "file").write_text("mine")
    said = worker.main(*SMALL, f"runs={place / 'file'}")
    assert said.code == 2 and said.out == "" and (place / "file").read_text() == "mine"
    one_line(said.err, "runs", "must be a folder that can be written", "file")


@pytest.fixture(scope="session")
def sweep(worker, first, place) -> Said:
    return worker.main("-m", *small(place, "sweep"), "venue.fund_pct=0.05,0.5")


def test_a_sweep_compiles_once(sweep, place):
    said = sweep
    assert said.code == 0 and said.compiled == 0
    *_, less, more, _, where = said.out.rstrip().splitlines()
    jobs = [line for line in said.out.splitlines() if line.endswith("report.html")]
    assert len(jobs) == 2 and all(": P(intervention) " in line for line in jobs)
    assert "estimate" not in said.out
    for row, fund in ((less, "0.05"), (more, "0.5")):
        assert row.split()[0] == f"venue.fund_pct={fund}" and row.count("%") == 9
    table = pd.read_csv(where.partition(": ")[2])
    assert table["job"].tolist() == ["venue.fund_pct=0.05", "venue.fund_pct=0.5"]
    assert (table["adl_probability_low"] < table["adl_probability"]).all()
    assert all((Path(run) / "report.html").exists() for run in table["run"])
    found = {}
    for path in (place / "runs" / "sweep").glob("*/manifest.json"):
        document = json.loads(path.read_text())
        assert document["command"].startswith("riskengine ") and " -m " not in document["command"]
        found[document["run"]["fund_usd"]] = document["headline"]["adl_probability"]
    assert len(found) == 2
    (less, more) = sorted(found)
    assert more == pytest.approx(10 * less) and found[more] <= found[less]


def test_a_sweep_on_a_launcher_of_hydra(worker, sweep, place):
    """Its jobs find the runs that are done; hydra leaves nothing outside of the folder of runs."""
    before = {path.name for path in place.iterdir()}
    options = ["hydra/launcher=basic", "venue.fund_pct=0.05,0.5"]
    said = worker.main("-m", *small(place, "sweep"), *options)
    assert said.code == 0 and said.err.count("was done before") == 2, said.err
    assert {path.name for path in place.iterdir()} == before
    said = worker.main("-m", *small(place, "sweep"), "hydra/launcher=nosuch", options[1])
    assert said.code == 2 and said.out == ""
    one_line(said.err, "hydra/launcher", "basic", "nosuch")


def test_a_bad_job_stops_the_sweep_before_it_starts(worker, place):
    said = worker.main("-m", *small(place, "never"), "venue.fund_pct=0.05,-1")
    assert said.code == 2 and said.out == "" and not (place / "runs" / "never").exists()
    one_line(said.err, "venue.fund_pct", ">= 0")


def test_ctrl_c_and_the_same_command_again(worker, first, folder, place):
    command_ = small(place, "interrupted")
    said = worker.main(*command_, stop_after=1)
    assert said.code == 130 and said.out == ""
    one_line(said.err.splitlines(keepends=True)[-1], "interrupted", "goes on")
    stopped = folder_of(place, "interrupted")
    kept = json.loads((stopped / "manifest.json").read_text())
    assert kept["state"] == "interrupted" and len(list(stopped.glob("shard-*"))) == 1
    assert not tables_of(stopped)
    said = worker.main(*command_)
    assert said.code == 0 and said.last == first.last
    assert stopped.name == folder.name and tables_of(stopped) == tables_of(folder)
    assert not list(stopped.glob("shard-*"))


def test_kill_minus_nine_and_the_same_command_again(first, folder, place):
    """Killed after its first shard, then resumed, each in an odd environment: the same bytes."""
    env = environment(place / "cache", **ODD)
    command_ = small(place, "killed")
    script = [sys.executable, str(Path(__file__).with_name("commands.py")), "kill", *command_]
    killed = subprocess.run(script, env=env, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (left,) = (place / "runs" / "killed").iterdir()
    assert len(list(left.glob("shard-*"))) == 1 and not (left / "manifest.json").exists()
    said = subprocess.run(
        [sys.executable, "-m", "riskengine", *command_],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.returncode == 0, said.stderr
    assert "from an earlier start" in said.stderr
    assert said.stdout.isascii() and "hunter2" not in said.stdout + said.stderr
    assert tables_of(left) == tables_of(folder)
    assert (left / "curves.csv").read_bytes() == (folder / "curves.csv").read_bytes()
    for path in left.iterdir():
        assert b"hunter2" not in path.read_bytes(), path


def test_python_gives_the_same_numbers(worker, folder, tmp_path):
    """Bit for bit, and so do the frames that `load` returns."""
    answer = worker.ask(call="python", overrides=SMALL, folder=str(tmp_path))
    document = json.loads((folder / "estimates.json").read_text())
    manifest = json.loads((folder / "manifest.json").read_text())
    assert answer["sentence"] == manifest["answer"]
    assert answer["estimates"] == document["estimates"]
    unlimited, results = (
        parquet.read(folder / "unlimited.parquet"),
        np.load(tmp_path / "results.npz"),
    )
    for name in results.files:
        np.testing.assert_array_equal(results[name], unlimited[name], err_msg=name)
    paths, fund = parquet.read(folder / "paths.parquet"), np.load(tmp_path / "fund.npz")
    for name in ("adl_loss_mark", "unfunded", "social_loss", "depleted", "accounts_deleveraged"):
        np.testing.assert_array_equal(fund[name], paths[name][: len(fund["path"])], err_msg=name)
    with (folder / "curves.csv").open(newline="") as file:
        written = [float(row["capital"]) for row in csv.DictReader(file)]
    assert written == answer["curves"]["capital"]


def test_load_says_what_a_folder_lacks_and_where_runs_are(folder):
    with pytest.raises(
        riskengine.InputError, match="must hold manifest.json.*below it lie"
    ) as raised:
        riskengine.load(folder.parents[1])
    assert str(folder) in str(raised.value)
    with pytest.raises(riskengine.InputError, match="finished run does$"):
        riskengine.load(PROJECT / "docs")


def test_load_reads_a_run(folder):
    tables = riskengine.load(folder)
    assert set(tables) == TABLES | CSV
    assert len(tables["paths"]) == 48 and tables["levels"]["capital"].is_monotonic_increasing
    paths = parquet.read(folder / "paths.parquet")
    np.testing.assert_array_equal(tables["paths"]["required_fund"], paths["required_fund"])
