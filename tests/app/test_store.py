"""What a run folder is called, what it holds, and what is not believed (FLT-15 to FLT-28)."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import numpy as np
import pytest
from small_run import ENVIRONMENT, KEY, NAME, RESULTS, run, tree

from riskengine.app import store
from riskengine.errors import CorruptRun, InputError


def test_shards_of_another_run_and_overlaps_are_left_out(tmp_path):
    other, key = "1" * 12, "2" * 12
    for owner in (other, key):
        with store.open_run(tmp_path, NAME, owner) as folder:
            folder.save_shard(0, 2, {"x": np.zeros(2)})
            folder.save_shard(1, 2, {"x": np.ones(2)})
    foreign = tmp_path / NAME / other / "shard-000000000001"
    (tmp_path / NAME / key / "shard-000000000009").write_bytes(foreign.read_bytes())
    (tmp_path / NAME / key / "shard-000000000012").mkdir()
    with store.open_run(tmp_path, NAME, key) as folder:
        assert [(shard.first, shard.count) for shard in folder.load_shards()] == [(0, 2)]
        assert "belongs to another run" in folder.notes[0] and len(folder.notes) == 2


def test_a_shard_holds_no_objects(tmp_path):
    with store.open_run(tmp_path, NAME, KEY) as folder, pytest.raises(ValueError):
        folder.save_shard(0, 1, {"x": np.array([{}], object)})


@pytest.mark.parametrize("name", sorted(RESULTS))
@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_a_damaged_result_is_named(tmp_path, name, damage):
    run(tmp_path)
    path = tmp_path / NAME / KEY / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-3] if damage == "cut" else content[:-1] + b"!")
    with pytest.raises(CorruptRun, match=name) as error:
        run(tmp_path)
    assert error.value.exit_code == 4 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[1]",
        lambda text: text.replace('"seed": 0', '"seed": 1'),
        lambda text: text.replace('"seed": 0', '"seed": NaN'),
        lambda text: text.replace('"schema": 1', '"schema": 2'),
        lambda text: '{"schema": 2}',
        lambda text: "\x00" * 100,
    ],
)
def test_a_strange_manifest_is_refused_and_kept(tmp_path, damage):
    run(tmp_path)
    path = tmp_path / NAME / KEY / store.MANIFEST
    path.write_text(damage(path.read_text()))
    before = path.read_bytes(), tree(tmp_path)
    with pytest.raises(CorruptRun, match=store.MANIFEST):
        run(tmp_path)
    assert (path.read_bytes(), tree(tmp_path)) == before


def test_a_run_can_be_moved(tmp_path):
    manifest = run(tmp_path / "here")
    os.rename(tmp_path / "here", tmp_path / "there")
    assert store.finished(tmp_path / "there" / NAME / KEY) == manifest
    os.rename(tmp_path / "there" / NAME / KEY, tmp_path / "there" / NAME / ("9" * 12))
    with (
        pytest.raises(CorruptRun, match="exists and holds run 0123456789ab"),
        store.open_run(tmp_path / "there", NAME, "9" * 12),
    ):
        pass


def test_the_manifest_says_what_there_is(tmp_path):
    manifest = run(tmp_path)
    listed = {record["name"]: record["rows"] for record in manifest["files"]}
    assert listed == {"config.yaml": None, "curves.csv": 6, "paths.parquet": 6}
    assert manifest["state"] == "finished" and manifest["seed"] == 0
    assert manifest["seconds"] >= 0
    datetime.strptime(manifest["ended"], "%Y-%m-%dT%H:%M:%SZ")
    assert json.loads((tmp_path / NAME / KEY / store.MANIFEST).read_text()) == manifest


@pytest.mark.parametrize("year", [1970, 2039])
def test_a_clock_may_say_anything(tmp_path, year):
    times = iter([datetime(year, 1, 1, 1, tzinfo=UTC), datetime(year, 1, 1, tzinfo=UTC)])
    with store.open_run(tmp_path, NAME, KEY, clock=lambda: next(times)) as folder:
        manifest = folder.finish({})
    assert manifest["started"] == f"{year}-01-01T01:00:00Z"
    assert manifest["ended"] == f"{year}-01-01T00:00:00Z"
    assert manifest["seconds"] >= 0


BAD_NAMES = [
    "../../x", "/abs/path", "..", ".", "", "a\0b", "a\nb", "-a", ".a", "a ", "a" * 81, "a/b",
    "a\\b", "CON", "nul.txt", "com1", "Lpt9.log", "naïve", "a\n", "\udcff", "a:b",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused_before_anything_is_made(tmp_path, name):
    with pytest.raises(InputError, match="run_name") as error, store.open_run(tmp_path, name, KEY):
        pass
    assert error.value.field == "name" and str(error.value).isprintable()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a", "_", "a" * 80, "oct-10_v2.1", "console", "0"])
def test_a_good_name_is_kept(name):
    assert store.checked(name) == name


def test_the_key_is_what_is_computed():
    config = {"fund": 1e6, "book": {"accounts": 10, "cap": None, "on": True}, "text": "é"}
    key = store.run_key(config, {"book.csv": "ab"}, "0.1.0")
    other = {"text": "é", "book": {"on": True, "cap": None, "accounts": 10}, "fund": 1e6}
    assert store.run_key(other, {"book.csv": "ab"}, "0.1.0") == key
    assert store.run_key(config | {"fund": 1e6 + 1}, {"book.csv": "ab"}, "0.1.0") != key
    assert store.run_key(config, {"book.csv": "ac"}, "0.1.0") != key
    assert store.run_key(config, {"book.csv": "ab"}, "0.1.1") != key
    assert len(key) == 12 and int(key, 16) >= 0
    assert store.run_key({}, {}, "") == "a03e02491a99"
    with pytest.raises(ValueError):
        store.run_key({"fund": float("nan")}, {}, "")


def test_text_and_tables_read_back(tmp_path):
    assert store.to_csv({"x": np.array([0.1, np.inf, np.nan]), "n": np.array([1, 2, 3])}) == (
        "x,n\n0.1,1\ninf,2\nnan,3\n"
    )
    with store.open_run(tmp_path, NAME, KEY) as folder:
        folder.write("config.yaml", "a: é\udcff\n")
        folder.write("curves.png", b"\x89PNG")
    assert (tmp_path / NAME / KEY / "config.yaml").read_bytes() == "a: é\\udcff\n".encode()


def test_the_store_starts_quickly():
    command = [sys.executable, "-c", "import sys, riskengine.app.store; print(*sys.modules)"]
    start = time.monotonic()
    modules = subprocess.check_output(command, text=True, env=ENVIRONMENT).split()
    assert time.monotonic() - start < 5
    heavy = {"jax", "pandas", "duckdb", "vl_convert", "scipy", "pyarrow", "hydra"}
    assert "numpy" in modules and not heavy & set(modules)


def test_ten_thousand_manifests_are_read_in_a_moment(tmp_path):
    run(tmp_path)
    start = time.monotonic()
    for _ in range(2000):
        store.read_manifest(tmp_path / NAME / KEY)
    assert time.monotonic() - start < 2.0
