"""Files that are not what they should be: paths, kinds of files, damaged or odd Parquet."""

import os
from pathlib import Path

import numpy as np
import pytest
from user_files import GOOD, parquet, refused, row, write

from riskengine.app import data, sources


@pytest.mark.parametrize("read", [data.read_positions, data.read_prices])
def test_bad_path(tmp_path, monkeypatch, read):
    """ACC-036, BIN-007, BIN-008, BIN-010: refused by kind, with the path as it was typed."""
    (tmp_path / "link.csv").symlink_to(tmp_path / "gone.csv")
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name, *parts in (
        ("missing.csv", "file that exists"),
        ("link.csv", "file that exists", "link"),
        ("folder.csv", "file", "folder", "schema"),
        ("pipe.csv", "regular file", "pipe"),
    ):
        monkeypatch.chdir(tmp_path)  # the path that is said is short enough to be said whole
        refused(lambda path=f"./{name}": read(path), "path", name, *parts)
    for path, part in (
        ("https://example.org/a.csv", "file on this machine"),
        ("s3://bucket/a.parquet", "file on this machine"),
        ("file:///etc/passwd", "file on this machine"),
        ("/dev/zero", "regular file"),
        ("a\0b.csv", "file that can be read"),
        ("a\udc80.csv", "file that can be read"),
        ("x" * 300 + ".csv", "file that can be read"),
        ("", "file that exists"),
    ):
        refused(lambda path=path: read(path), part)


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".pt", ".pth", ".joblib"])
def test_pickles_are_refused(tmp_path, suffix):
    path = write(tmp_path, b"cos\nsystem\n(S'true'\ntR.", f"book{suffix}")
    refused(lambda: data.read_positions(path), "pickle", ".csv or .parquet")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_numpy_files_are_refused(tmp_path, suffix):
    path = write(tmp_path, b"\x93NUMPY", f"book{suffix}")
    refused(lambda: data.read_positions(path), "object", "pickle")


@pytest.mark.parametrize("name", ["book.xlsx", "book.csv.gz", "book", ".csv"])
def test_other_kinds_are_refused(tmp_path, name):
    path = write(tmp_path, GOOD, name)
    refused(lambda: data.read_positions(path), ".csv or .parquet file")


def test_no_permission(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path, GOOD)
    monkeypatch.setattr(sources, "open", denied, raising=False)
    refused(
        lambda: data.read_positions(path), "file that can be read", "Permission denied", path[-20:]
    )


def test_long_path_keeps_the_message_short(tmp_path):
    folder = tmp_path / ("f" * 200) / ("g" * 200)
    folder.mkdir(parents=True)
    path = write(folder, row(size="x" * 500, account="a"), "positions.csv")
    refused(lambda: data.read_positions(path), "positions.csv:3", "column size", "'xxx")


# Bad files: Parquet

FINE = {
    "account": "'a'",
    "market": "'BTC'",
    "size": "1.0::DOUBLE",
    "entry_price": "1.0::DOUBLE",
    "collateral": "1.0::DOUBLE",
}


def select(**columns_: str) -> str:
    return "SELECT " + ", ".join(f"{v} AS {k}" for k, v in (FINE | columns_).items())


@pytest.mark.parametrize(
    "column, value, parts",
    [
        ("size", "'1'", ("type", "VARCHAR")),
        ("size", "[1.0]", ("type", "[]")),
        ("size", "TIMESTAMP '2025-01-01'", ("type", "TIMESTAMP")),
        ("size", "{'a': 1}", ("type", "STRUCT")),
        ("size", "true", ("type", "BOOLEAN")),
        ("account", "1.5::DOUBLE", ("type", "DOUBLE")),
        ("account", "'a'::BLOB", ("type", "BLOB")),
        ("account", "uuid()", ("type", "UUID")),
        ("margin", "1", ("type", "INTEGER")),
    ],
)
def test_bad_parquet_type(tmp_path, column, value, parts):
    """BIN-001, BIN-002."""
    path = parquet(tmp_path, select(**{column: value}))
    refused(lambda: data.read_positions(path), "book.parquet", f"column {column}", *parts)


@pytest.mark.parametrize(
    "column, value, parts",
    [
        ("size", "NULL::DOUBLE", ("null",)),
        ("size", "'nan'::DOUBLE", ("'nan'",)),
        ("size", "'inf'::DOUBLE", ("'inf'",)),
        ("leverage", "'nan'::DOUBLE", ("'nan'",)),
        ("account", "NULL::VARCHAR", ("null",)),
        ("market", "''", ("empty",)),
        ("collateral", "-1.0", ("'-1.0'",)),
        ("size", "0.0", ("'0.0'",)),
    ],
)
def test_bad_parquet_value(tmp_path, column, value, parts):
    """BIN-003: null and not a number are told apart."""
    good = select(**({column: "1.0"} if column == "leverage" else {}))
    bad = select(**({"account": "'b'"} | {column: value}))
    path = parquet(tmp_path, f"{good} UNION ALL {bad}")
    where = f"book.parquet:2 (row 2, column {column})"
    refused(lambda: data.read_positions(path), where, *parts)


def test_broken_parquet(tmp_path):
    """BIN-004."""
    whole = Path(parquet(tmp_path, select())).read_bytes()
    damaged = bytearray(whole)
    damaged[4:40] = b"\xff" * 36
    for text in (b"", GOOD.encode(), whole[: len(whole) // 2], whole[:-4] + b"PARE", bytes(damaged),
                 b"PAR1" + b"\0" * 40 + b"PAR1"):  # fmt: skip
        path = write(tmp_path, text, "bad.parquet")
        refused(lambda path=path: data.read_positions(path), "valid Parquet file", "bad.parquet")
    path = write(tmp_path, whole, "really_parquet.csv")
    refused(lambda: data.read_positions(path), "line 1", "UTF-8")


def test_parquet_without_rows(tmp_path):
    path = parquet(tmp_path, select() + " WHERE false")
    refused(lambda: data.read_positions(path), "rows")


def test_half_precision_and_twins(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns_ = [["a"], ["BTC"], np.ones(1), np.ones(1), np.ones(1)]
    path = str(tmp_path / "book.parquet")
    half = [*columns_[:2], np.ones(1, np.float16), *columns_[3:]]
    pq.write_table(pa.table([pa.array(c) for c in half], names=list(FINE)), path)
    refused(lambda: data.read_positions(path), "column size", "type FLOAT16")
    twins = pa.table([pa.array(c) for c in [*columns_, [2.0]]], names=[*FINE, "size"])
    pq.write_table(twins, path)
    refused(lambda: data.read_positions(path), "one column size")
    words = pa.array(["a"]).dictionary_encode()
    pq.write_table(pa.table([words, *map(pa.array, columns_[1:])], names=list(FINE)), path)
    assert data.read_positions(path).account.tolist() == ["a"]
