"""Positions from files: good ones give exact arrays, from CSV and Parquet alike."""

import hashlib
import subprocess
import sys

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from user_files import GOOD, HEADER, parquet, refused, row, write

from riskengine.app import cells, data

ARRAYS = (
    "account",
    "market",
    "size",
    "entry_price",
    "collateral",
    "margin",
    "leverage",
    "mark_price",
)


def test_import_is_light():
    """A wrong setting is answered in a second only if nothing heavy is imported for it."""
    heavy = "{'jax', 'pandas', 'duckdb', 'scipy', 'hydra'}"
    code = f"import sys, riskengine.app.data; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_positions_are_exact(tmp_path):
    found = data.read_positions(write(tmp_path, GOOD))
    assert found.account.tolist() == ["alice", "bob"]
    assert found.market.tolist() == ["BTC", "ETH"]
    assert found.size.tolist() == [1.5, -2.0]
    assert found.entry_price.tolist() == [100.0, 10.0]
    assert found.collateral.tolist() == [1000.0, 50.0]
    assert found.margin.tolist() == ["cross", "cross"]
    assert np.isnan(found.leverage).all() and np.isnan(found.mark_price).all()
    assert (found.rows, found.warnings) == (2, ())
    assert found.lines is not None and found.lines.tolist() == [2, 3]


def test_hash_is_of_the_bytes(tmp_path):
    path = write(tmp_path, GOOD)
    assert data.read_positions(path).sha256 == hashlib.sha256(GOOD.encode()).hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n"),
        GOOD.rstrip("\n"),
        GOOD.replace("\n", "\n\n"),
        GOOD.replace(",", " , "),
        GOOD.replace("alice", '"alice"').replace("1.5", '"1.5"'),
        GOOD.replace("entry_price", "entry"),
        GOOD.replace("1.5", "+15.e-1").replace(",-2,", ",-.2E1,"),
    ],
    ids=["bom", "crlf", "no-end", "blank", "spaces", "quotes", "entry", "float"],
)
def test_same_table_written_otherwise(tmp_path, text):
    assert_same(
        data.read_positions(write(tmp_path, text)),
        data.read_positions(write(tmp_path, GOOD, "plain.csv")),
    )


def assert_same(one: data.Positions, two: data.Positions) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def test_all_columns(tmp_path):
    text = (
        "side,size,account,market,entry,collateral,margin,leverage,mark\n"
        "long,2,a,BTC,100,10,cross,,101\n"
        "short,3,a,ETH,5,10,cross,20,\n"
        "short,4,a,BTC,100,7,isolated,50,101\n"
    )
    found = data.read_positions(write(tmp_path, text))
    assert found.size.tolist() == [2.0, -3.0, -4.0]
    assert found.margin.tolist() == ["cross", "cross", "isolated"]
    np.testing.assert_array_equal(found.leverage, [np.nan, 20.0, 50.0])
    np.testing.assert_array_equal(found.mark_price, [101.0, np.nan, 101.0])


@pytest.mark.parametrize(
    "name",
    [
        "=1+1",
        "@SUM(A1)",
        "-2+3",
        "007",
        "9007199254740993",
        "NA",
        "null",
        "nan",
        "1e5",
        "名",
        "a;b",
    ],
)
def test_names_are_text(tmp_path, name):
    found = data.read_positions(write(tmp_path, row(account=name, market=name)))
    assert (found.account[1], found.market[1]) == (name, name)


def test_large_ids_stay_apart(tmp_path):
    text = row(account="9007199254740993") + "9007199254740992,BTC,1,100,10\n"
    assert len(set(data.read_positions(write(tmp_path, text)).account)) == 3
    select = (
        "SELECT a::UBIGINT AS account, 'BTC' AS market, 1.0::DOUBLE AS size, 1 AS entry, 1 AS"
        " collateral FROM (VALUES (18446744073709551615), (18446744073709551614)) t(a)"
    )
    found = data.read_positions(parquet(tmp_path, select))
    assert found.account.tolist() == ["18446744073709551615", "18446744073709551614"]


def test_odd_but_true_books_are_accepted(tmp_path):
    """One side only; one account with nearly all of it; a loss beyond the collateral."""
    text = f"{HEADER},mark\na,BTC,95,100,0,90\nb,BTC,5,100,1,90\n"
    assert data.read_positions(write(tmp_path, text)).rows == 2


def test_negative_collateral_on_request(tmp_path):
    found = data.read_positions(write(tmp_path, row(collateral="-5")), allow_underwater=True)
    assert found.collateral.tolist() == [10.0, -5.0]


def test_far_entry_is_a_warning(tmp_path):
    text = f"{HEADER},mark\na,BTC,1,100,10,100\nb,BTC,1,100000,10,100\n"
    (warning,) = data.read_positions(write(tmp_path, text)).warnings
    assert "1 positions" in warning and "entry_price" in warning and "line 3" in warning


def test_file_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "CHUNK", 64)
    text = HEADER + "".join(f"\nacc{i},BTC,{i + 1},100,{i}" for i in range(100))
    found = data.read_positions(write(tmp_path, text))
    assert found.size.tolist() == [i + 1.0 for i in range(100)]
    assert found.lines is not None and found.lines.tolist() == list(range(2, 102))
    bad = write(tmp_path, text.replace("acc77,BTC", "acc77,"))
    refused(lambda: data.read_positions(bad), "book.csv:79", "column market", "empty")


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
    lambda s: s.isprintable() and s == s.strip(" \t")
)
# Products of these stay within the limits of a notional.
numbers = st.floats(1e-4, 1e7)
signed = st.tuples(numbers, st.sampled_from([-1.0, 1.0])).map(lambda pair: pair[0] * pair[1])
tables = st.dictionaries(
    st.tuples(names, names), st.tuples(signed, numbers, numbers), min_size=1, max_size=5
)


@given(tables)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(tmp_path, table):
    """What is written with `repr` reads back with the same bits, from CSV and from Parquet."""
    rows = [(*key, *values) for key, values in table.items()]
    quoted = [[f'"{c.replace(chr(34), chr(34) * 2)}"' for c in r[:2]] for r in rows]
    lines = [
        ",".join([*q, *map(repr, r[2:]), "isolated"]) for q, r in zip(quoted, rows, strict=True)
    ]
    text = "\n".join([f"{HEADER},margin", *lines])
    found = data.read_positions(write(tmp_path, text))
    got = zip(*(getattr(found, name) for name in ARRAYS[:5]), strict=True)
    assert [tuple(r) for r in got] == rows

    path = tmp_path / "book.parquet"
    with duckdb.connect() as connection:
        names_ = "account VARCHAR, market VARCHAR"
        doubles = "size DOUBLE, entry_price DOUBLE, collateral DOUBLE, margin VARCHAR"
        connection.execute(f"CREATE TABLE t ({names_}, {doubles})")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, 'isolated')", rows)
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    assert_same(found, data.read_positions(str(path)))


def test_parquet_numbers_are_exact(tmp_path):
    """Decimals and integers to the nearest double, float32 as it is."""
    select = (
        "SELECT 'a' AS account, 'BTC' AS market, 0.1::DECIMAL(38, 30) AS size, 0.1::FLOAT AS entry,"
        " 900719925474099::BIGINT AS collateral, 3::TINYINT AS leverage, NULL::DOUBLE AS mark"
    )
    found = data.read_positions(parquet(tmp_path, select))
    assert found.size[0] == 0.1
    assert found.entry_price[0] == float(np.float32(0.1))
    assert (found.collateral[0], found.leverage[0]) == (900719925474099.0, 3.0)
    assert np.isnan(found.mark_price[0])


def test_pattern_in_a_path_is_a_name(tmp_path):
    """duckdb would read all files that match; and a folder named k=v would become a column."""
    folder = tmp_path / "market=X"
    folder.mkdir()
    good = "SELECT '{}' AS account, 'BTC' AS market, 1 AS size, 1 AS entry, 1 AS collateral"
    parquet(folder, good.format("other"), "book1.parquet")
    path = parquet(folder, good.format("mine"), "book[1]*?.parquet")
    found = data.read_positions(path)
    assert (found.account.tolist(), found.market.tolist()) == (["mine"], ["BTC"])
