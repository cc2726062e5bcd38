"""Tables come back as they were written, to the bit, without pyarrow and pandas."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from riskengine.app import parquet

COLUMNS = {
    "path": np.array([0, -(2**62), 2**62, 7], np.int64),
    "loss": np.array([np.nan, np.inf, -np.inf, -0.0]),
    "depleted": np.array([True, False, True, True]),
    'a "name"': np.array(["", "é|`%s{0}", "a\nb'--", "NULL"]),
}


def test_every_type_comes_back(tmp_path):
    parquet.write(tmp_path / "t.parquet", COLUMNS, {"key": "it's", "a b": "é"})
    back = parquet.read(tmp_path / "t.parquet")
    assert list(back) == list(COLUMNS)
    for name, column in COLUMNS.items():
        assert back[name].dtype.kind == column.dtype.kind
        np.testing.assert_array_equal(back[name], column)
    assert type(back["loss"]) is np.ndarray and np.signbit(back["loss"][3])
    metadata = parquet.metadata(tmp_path / "t.parquet")
    assert metadata["key"] == "it's" and metadata["a b"] == "é"
    assert parquet.rows(tmp_path / "t.parquet") == 4
    assert os.listdir(tmp_path) == ["t.parquet"]


def test_a_not_a_number_is_not_a_missing_value(tmp_path):
    import duckdb

    parquet.write(tmp_path / "t.parquet", COLUMNS, {})
    query = f"SELECT count(*) FROM '{tmp_path}/t.parquet' WHERE loss IS NULL"
    assert duckdb.sql(query).fetchall() == [(0,)]


def test_narrow_numbers_widen_and_what_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    narrow = {"a": np.array([0.1], np.float32), "b": np.array([255], np.uint8)}
    parquet.write(path, narrow, {})
    assert parquet.read(path)["a"] == np.float64(np.float32(0.1))
    assert parquet.read(path)["b"].tolist() == [255]
    for column in (np.array([2**63], np.uint64), np.array([1j]), np.array([{}], object)):
        with pytest.raises(TypeError):
            parquet.write(path, {"a": column}, {})
    with pytest.raises(ValueError, match="a 1, b 2"):
        parquet.write(path, {"a": np.zeros(1), "b": np.zeros(2)}, {})


def test_a_table_without_rows(tmp_path):
    empty = {name: column[:0] for name, column in COLUMNS.items()}
    parquet.write(tmp_path / "t.parquet", empty, {})
    back = parquet.read(tmp_path / "t.parquet")
    assert [column.dtype.kind for column in back.values()] == ["i", "f", "b", "U"]
    assert parquet.rows(tmp_path / "t.parquet") == 0


def test_a_path_is_only_a_path(tmp_path):
    folder = tmp_path / "k=1" / "[a]*'?"
    folder.mkdir(parents=True)
    parquet.write(folder / "t.parquet", COLUMNS, {})
    assert list(parquet.read(folder / "t.parquet")) == list(COLUMNS)


def test_many_rows_keep_their_order(tmp_path):
    columns = {"path": np.arange(300_000), "loss": np.random.default_rng(0).normal(size=300_000)}
    parquet.write(tmp_path / "t.parquet", columns, {})
    back = parquet.read(tmp_path / "t.parquet")
    assert all(np.array_equal(back[name], columns[name]) for name in columns)


def test_what_cannot_be_written_or_read_is_the_systems_fault(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        parquet.write(tmp_path / "nowhere" / "t.parquet", COLUMNS, {})
    (tmp_path / "t.parquet").write_text("not a table at all")
    with pytest.raises(OSError):
        parquet.read(tmp_path / "t.parquet")


SCRIPT = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("pyarrow", "pandas", "polars"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from riskengine.app import parquet
from test_parquet import COLUMNS
parquet.write(Path(sys.argv[1]), COLUMNS, {"b": "1", "a": "2"})
parquet.read(Path(sys.argv[1]))
"""


def test_the_same_table_is_the_same_bytes_without_pyarrow(tmp_path):
    def written(seed: str) -> str:
        target = tmp_path / f"{seed}.parquet"
        folders = [str(Path(parquet.__file__).parents[2]), str(Path(__file__).parent)]
        env = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": "C", "TZ": f"UTC-{seed}"}
        subprocess.run([sys.executable, "-c", SCRIPT, target, *folders], env=env, check=True)
        return hashlib.sha256(target.read_bytes()).hexdigest()

    parquet.write(tmp_path / "0.parquet", COLUMNS, {"a": "2", "b": "1"})
    here = hashlib.sha256((tmp_path / "0.parquet").read_bytes()).hexdigest()
    assert written("1") == written("2") == here
