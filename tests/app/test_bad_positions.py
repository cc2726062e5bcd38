"""Positions that are wrong: the first wrong place is named, in one line."""

import pytest
from user_files import GOOD, HEADER, parquet, refused, row, write

from riskengine.app import cells, columns, data

BAD_TEXT = {
    "ACC-001": ("account,market,size,entry\nx,BTC,1,1", "column", "collateral", "market, size"),
    "ACC-002": (GOOD.replace("market", "account"), ":1", "account", "one column"),
    "ACC-003": (GOOD.replace("size", "sise"), "column", "did you mean size", "'sise'"),
    "upper": (GOOD.replace("size", "SIZE"), "column", "did you mean size", "'SIZE'"),
    "two entries": (GOOD.replace("collateral", "entry"), "one column entry_price"),
    "empty name": (GOOD.replace("market", ""), "header", "column", "''"),
    "ACC-007": (f"{GOOD}c,BTC,1,100\n", "book.csv:4", "line 4", "5 cells", "got 4"),
    "ACC-008": (f"{GOOD}c,BTC,1,100,10,7\n", "book.csv:4", "line 4", "5 cells", "got 6"),
    "decimal comma": (row(size="1,5"), "line 3", "5 cells", "got 6"),
    "ACC-009 empty": ("", "rows", "empty"),
    "ACC-009 header": (HEADER, "rows"),
    "ACC-009 blank": ("\n\n\n", "rows"),
    "ACC-011 quote": (row(account='"a'), "book.csv:3", "line 3", "quote"),
    "ACC-011 span": (f'{HEADER}\n"a\n",BTC,1,1,1\nb,BTC,1,1,1\n', "book.csv:2", "line 2", "quote"),
    "ACC-011 after": (row(account='"a"b'), "line 3", "quote"),
    "ACC-011 nul": (row(account="a\0b"), "line 3", "UTF-8", "NUL"),
    "ACC-011 utf-16": (GOOD.encode("utf-16"), "line 1", "UTF-8"),
    "utf-16 without mark": (GOOD.encode("utf-16-le"), "line 1", "UTF-8"),
    "latin-1": (row(account="José").encode("latin-1"), "line 3", "UTF-8", "byte 4"),
    "two marks": (b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD.encode(), "column", "\\ufeffaccount"),
    "old mac": (GOOD.replace("\n", "\r"), "line 1", "line feed"),
    "ACC-012": ("# exported by x\n" + GOOD, "header", "book.csv:1", "# exported"),
    "no header": (GOOD.split("\n", 1)[1], "header", "column", "'alice'"),
    "semicolon": (GOOD.replace(",", ";"), "header", "comma"),
    "tab": (GOOD.replace(",", "\t"), "header", "comma"),
    "ACC-019": (row(size="1e30"), "size", "line 3", "limit", "1e+15 USD"),
    "ACC-019 product": (row(size="1e308", entry="1e10"), "size", "line 3", "1e+15 USD"),
    "too small": (row(size="1e-300"), "size", "line 3", "1e-09"),
    "ACC-024": (row(account=""), "account", "line 3", "empty"),
    "ACC-024 space": (row(account="  "), "account", "line 3", "empty"),
    "ACC-024 long": (row(account="a" * 10000), "account", "line 3", "200", "aaa"),
    "ACC-024 ansi": (row(account="\x1b[31mred"), "account", "line 3", "\\x1b[31mred"),
    "ACC-024 rtl": (row(account="a\u202eb"), "account", "line 3", "\\u202e"),
    "ACC-024 market": (row(market="\x07"), "market", "line 3", "\\x07"),
    "ACC-029 zero": (row(entry="0"), "entry_price", "line 3", "> 0"),
    "ACC-029 negative": (row(entry="-1"), "entry_price", "line 3", "> 0"),
    "ACC-030": (row(collateral="-5"), "collateral", "line 3", ">= 0", "'-5'"),
    "much collateral": (row(collateral="1e16"), "collateral", "line 3", "1e+15 USD"),
    "twice": (row(account="x"), "book.csv:3", "line 3", "line 2", "'x'"),
    "collateral twice": (
        row(account="x", market="ETH", collateral="11"),
        *("collateral", "line 3", "line 2", "11.0", "10.0"),
    ),
}
BAD_NUMBERS = (
    "inf -Infinity 1e400 nan NaN null None - + . e5 1e 1.2.3 1_000 1.000,00 (100) $100 5% 1d5"
)
BAD_NUMBERS += " 0x1p3 0x10 1e5f ١٢ １ 1\xa0000 1·5 true 1/2 1e+ --1 +-1"


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_text(tmp_path, case):
    text, *parts = BAD_TEXT[case]
    path = write(tmp_path, text)
    refused(lambda: data.read_positions(path), "book.path", "book.csv", *parts)


@pytest.mark.parametrize("number", [*BAD_NUMBERS.split(" "), "1,000", "", "0", "1e-400", "1 2"])
@pytest.mark.parametrize("column", ["size", "entry"])
def test_bad_number(tmp_path, number, column):
    path = write(tmp_path, row(**{column: f'"{number}"'}))
    shown = ascii(number)[1:-1] if not number.isprintable() else number
    where = "book.csv:3 (line 3, column " + {"size": "size)", "entry": "entry_price)"}[column]
    refused(lambda: data.read_positions(path), where, "finite", shown or "an empty cell")


@pytest.mark.parametrize(
    "cells_, parts",
    [
        ("L,1,cross,,", ("side", "long or short", "'L'")),
        ("buy,1,cross,,", ("side", "'buy'")),
        ("1,1,cross,,", ("side", "'1'")),
        ("Long,1,cross,,", ("side", "'Long'")),
        (",1,cross,,", ("side", "empty")),
        ("long,-1,cross,,", ("size", "side", "> 0", "'-1'")),
        ("short,0,cross,,", ("size", "side", "> 0", "'0'")),
        ("long,1,Cross,,", ("margin", "cross or isolated", "'Cross'")),
        ("long,1,,,", ("margin", "empty")),
        ("long,1,cross,0,", ("leverage", "> 0")),
        ("long,1,cross,nan,", ("leverage", "'nan'")),
        ("long,1,cross,,-1", ("mark_price", "> 0")),
        ("long,1,cross,,101", ("mark_price", "same", "line 2 has 100.0", "101.0")),
    ],
)
def test_bad_choice(tmp_path, cells_, parts):
    head = "account,market,entry,collateral,side,size,margin,leverage,mark\n"
    text = f"{head}x,BTC,100,10,long,1,cross,5,100\na,BTC,100,10,{cells_}\n"
    path = write(tmp_path, text)
    refused(lambda: data.read_positions(path), "book.csv:3", "line 3", *parts)


def test_first_of_many_is_named_with_a_count(tmp_path):
    path = write(tmp_path, f"{GOOD}c,BTC,inf,1,1\nd,BTC,nan,1,1\ne,BTC,1,1,1\nf,BTC,x,1,1\n")
    refused(lambda: data.read_positions(path), "line 4", "'inf'", "at least 2 more")


def test_row_limit(tmp_path):
    """ACC-035."""
    path = write(tmp_path, GOOD)
    assert data.read_positions(path, row_limit=2).rows == 2
    refused(lambda: data.read_positions(path, row_limit=1), "rows", "limit", "1")
    path = parquet(tmp_path, "SELECT i AS account, 'B' AS market, 1 AS size, 1 AS entry,"
                   " 1 AS collateral FROM range(9) t(i)")  # fmt: skip
    refused(lambda: data.read_positions(path, row_limit=8), "rows", "limit", "8")


def test_endless_line(tmp_path):
    path = write(tmp_path, GOOD.encode() + b"a" * (3 << 20))
    refused(lambda: data.read_positions(path), "line 4", "shorter")
    path = write(tmp_path, row(account="b" * 200_000))
    refused(lambda: data.read_positions(path), "line 3", "bbb")


def test_growing_file(tmp_path, monkeypatch):
    """ACC-035: while rows are read, and while all else is."""
    path = write(tmp_path, GOOD)
    known = columns.known

    def growing(*arguments):
        with open(path, "a") as file:
            file.write("c,BTC,1,1,1\n" * 100)
        return known(*arguments)

    monkeypatch.setattr(columns, "known", growing)
    refused(lambda: data.read_positions(path), "rows", "while")
    monkeypatch.setattr(cells, "CHUNK", 50)
    refused(lambda: data.read_positions(path), "grow", "rows", "limit")
