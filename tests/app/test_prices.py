"""Recorded prices from files: exact when good, refused by line when not."""

import numpy as np
import pytest
from user_files import parquet, refused, write

from riskengine.app import data

PRICES = "timestamp,market,price\n0,BTC,100\n0,ETH,10\n60,BTC,90\n30,ETH,9\n"


def test_long_prices(tmp_path):
    found = data.read_prices(write(tmp_path, PRICES))
    assert list(found.series) == ["BTC", "ETH"]
    np.testing.assert_array_equal(found.series["BTC"], ([0.0, 60.0], [100.0, 90.0]))
    np.testing.assert_array_equal(found.series["ETH"], ([0.0, 30.0], [10.0, 9.0]))
    assert found.inputs == {found.path: found.sha256} and found.warnings == ()


def test_wide_prices(tmp_path):
    text = "timestamp,BTC,kPEPE\n2025-10-10T20:30:00Z,1e12,1e-9\n2025-10-10T20:30:00.5Z,2,3\n"
    found = data.read_prices(write(tmp_path, text))
    np.testing.assert_array_equal(found.series["kPEPE"][1], [1e-9, 3.0])
    np.testing.assert_array_equal(found.series["BTC"][1], [1e12, 2.0])
    np.testing.assert_array_equal(found.series["BTC"][0], [1760128200.0, 1760128200.5])


def test_seconds_and_iso_are_the_same_instant():
    assert data.seconds("2025-10-10T20:30:00.123456Z", "x") == 1760128200.123456
    assert data.seconds("1760128200.123456", "x") == 1760128200.123456
    assert data.seconds("1970-01-01T00:00:00Z", "x") == 0.0
    refused(
        lambda: data.seconds("noon", "scenario.replay.start"), "scenario.replay.start", "'noon'"
    )


def test_parquet_prices(tmp_path):
    query = "SELECT {} AS timestamp, 'BTC' AS market, 2.5 + i AS price FROM range(3) t(i)"
    for time in ("1760128200 + i", "1760128200.0::DOUBLE + i", "('2025-10-10T20:30:0' || i || 'Z')",
                 "to_timestamp(1760128200 + i)"):  # fmt: skip
        found = data.read_prices(parquet(tmp_path, query.format(time)))
        np.testing.assert_array_equal(found.series["BTC"][0], 1760128200.0 + np.arange(3))
    path = parquet(tmp_path, query.format("TIMESTAMP '2025-10-10' + to_seconds(i)"))
    refused(lambda: data.read_prices(path), "timestamp", "type TIMESTAMP", "UTC")


TIMES = (
    "1760128200000",
    "-1",
    "2025-10-10T20:30:00",
    "2025-10-10T20:30:00+00:00",
    "2025-10-10 20:30:00Z",
    "2025-10-10",
    "2025-13-10T20:30:00Z",
    "20251010T203000Z",
    "2025-10-10T20:30:00.1234567Z",
    "1969-12-31T23:59:59Z",
    "10/10/2025",
    "nan",
    "",
)


@pytest.mark.parametrize("time", TIMES)
def test_bad_time(tmp_path, time):
    path = write(tmp_path, f"timestamp,BTC\n0,1\n{time},2\n")
    refused(lambda: data.read_prices(path), "book.csv:3", "column timestamp", "Z", "milliseconds")


def prices(*rows: str) -> str:
    return "\n".join(["timestamp,market,price", "0,BTC,1", "60,BTC,1.1", *rows])


BAD_PRICES = {
    "PRC-001 zero": (prices("120,BTC,0"), "book.csv:4", "price", "> 0", "row"),
    "PRC-001 negative": (prices("120,BTC,-1"), "line 4", "price", "> 0", "'-1'"),
    "PRC-002 nan": (prices("120,BTC,nan"), "line 4", "price", "row", "'nan'"),
    "PRC-002 empty": (prices("120,BTC,"), "line 4", "price", "row", "empty"),
    "PRC-002 wide": ("timestamp,BTC,ETH\n0,1,2\n60,1,\n", "line 3", "column ETH", "row", "empty"),
    "PRC-003 twice": (prices("60,BTC,2"), "line 4", "timestamp", "later"),
    "PRC-003 back": (prices("30,BTC,2", "20,BTC,1"), "line 4", "timestamp", "30.0"),
    "PRC-003 wide": ("timestamp,BTC\n60,1\n0,1\n", "line 3", "timestamp", "later"),
    "PRC-007": (prices("0,ETH,2"), "2 rows (bars)", "1 of 'ETH'"),
    "PRC-008": ("timestamp,return\n0,-1.2\n60,0.1\n", "header", "'return'", "market"),
    "bars": ("timestamp,open,high,low,close\n0,1,1,1,1\n60,1,1,1,1\n", "header", "'open'"),
    "no market": ("timestamp,price\n0,1\n60,1\n", "column market"),
    "more columns": ("timestamp,market,price,volume\n0,BTC,1,1\n", "column", "'volume'"),
    "no time": ("t,BTC\n0,1\n60,1\n", "column timestamp"),
    "only time": ("timestamp\n0\n60\n", "market"),
    "twins": ("timestamp,BTC,BTC\n0,1,2\n60,1,2\n", "one column BTC"),
    "empty market": ("timestamp,BTC,\n0,1,2\n60,1,2\n", "header", "market"),
    "ACC-009": ("timestamp,market,price\n", "rows"),
}


@pytest.mark.parametrize("case", BAD_PRICES)
def test_bad_prices(tmp_path, case):
    text, *parts = BAD_PRICES[case]
    path = write(tmp_path, text)
    refused(lambda: data.read_prices(path), "scenario.path", "book.csv", *parts)


def test_gaps_and_constants_are_warnings(tmp_path):
    """PRC-002, PRC-006: replay bridges gaps, and a fit has nothing to fit."""
    times = [60 * i for i in range(40) if i not in (10, 11, 20)]
    rows = "".join(f"{t},{t + 1},7\n" for t in times)
    gaps, constant = data.read_prices(write(tmp_path, f"timestamp,BTC,USDT\n{rows}")).warnings
    assert gaps == "3 bars of 60 s are missing in 2 gaps: BTC, USDT"
    assert "variance" in constant and constant.endswith(": USDT")
