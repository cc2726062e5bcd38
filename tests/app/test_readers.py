"""JSON of ccxt, Hyperliquid and dYdX: the arrays of the same book as CSV, and one line if wrong.

The structures are those of the public documentation; the numbers are ours unless a test says so:
https://docs.ccxt.com/#/README?id=position-structure (leverage-tiers-structure, ohlcv-structure),
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint/perpetuals,
https://docs.dydx.xyz/types/subaccount_response_object
"""

import copy
import dataclasses
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from user_files import parquet, refused, write

from riskengine.app import build, configure, data, tiers, validate
from riskengine.app.readers import tree
from riskengine.montecarlo import keys

COLUMNS = ("account", "market", "size", "entry_price", "collateral", "margin", "mark_price")
HEADER = f"{','.join(COLUMNS)},leverage\n"


def dump(folder, value, name="book.json") -> str:
    return write(folder, json.dumps(value), name)


def positions(folder, value):
    return data.read_positions(dump(folder, value))


def assert_same(folder, value, rows: str):
    """The same arrays as a CSV file with these rows."""
    found = positions(folder, value)
    expected = data.read_positions(write(folder, HEADER + rows, "same.csv"))
    for name in (*COLUMNS, "leverage"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    return found


def position(**changed) -> dict:
    """A ccxt position: 500 contracts of 0.01 BTC, short, with isolated margin 5000 and profit 300."""
    return {
        "info": {"any": ["thing", float("nan")]},
        "id": None,
        "symbol": "BTC/USDT:USDT",
        "timestamp": 1607723554607,
        "side": "short",
        "contracts": 500,
        "contractSize": 0.01,
        "entryPrice": "20000",
        "markPrice": 19940.0,
        "notional": 99700,
        "leverage": 20,
        "collateral": 5300,
        "initialMargin": 4985,
        "unrealizedPnl": 300,
        "liquidationPrice": 20850,
        "marginMode": "isolated",
        "percentage": float("nan"),
    } | changed


def state(**changed) -> dict:
    """A Hyperliquid user: the documented isolated ETH, and a cross BTC short with a loss of 500."""
    eth = {
        "coin": "ETH",
        "cumFunding": {"allTime": "514.085417", "sinceChange": "0.0", "sinceOpen": "0.0"},
        "entryPx": "2986.3",
        "leverage": {"rawUsd": "-95.059824", "type": "isolated", "value": 20},
        "liquidationPx": "2866.26936529",
        "marginUsed": "4.967826",
        "maxLeverage": 50,
        "positionValue": "100.02765",
        "returnOnEquity": "-0.0026789",
        "szi": "0.0335",
        "unrealizedPnl": "-0.0134",
    }
    btc = {
        "coin": "BTC",
        "entryPx": "60000.0",
        "leverage": {"type": "cross", "value": 5},
        "liquidationPx": None,
        "marginUsed": "6050.0",
        "positionValue": "30250.0",
        "szi": "-0.5",
        "unrealizedPnl": "-250.0",
    }
    return {
        "assetPositions": [{"type": "oneWay", "position": one} for one in (eth, btc)],
        "crossMarginSummary": {"accountValue": "13104.5", "totalRawUsd": "43354.5"},
        "marginSummary": {"accountValue": "13109.467826", "totalMarginUsed": "6054.967826"},
        "time": 1708622398623,
        "withdrawable": "7054.5",
    } | changed


HYPERLIQUID = (
    "{0},BTC,-0.5,60000,13354.5,cross,60500,5\n{0},ETH,0.0335,2986.3,4.981226,isolated,2985.9,20\n"
)


def subaccount(**changed) -> dict:
    """A dYdX subaccount: equity 9000, profit 100 on a long and −57.2 on a short."""
    return {
        "address": "dydx1abc",
        "subaccountNumber": 0,
        "equity": "9000",
        "freeCollateral": "7000.5",
        "marginEnabled": True,
        "openPerpetualPositions": {
            "BTC-USD": {
                "market": "BTC-USD",
                "status": "OPEN",
                "side": "SHORT",
                "size": "-0.4",
                "entryPrice": "118692",
                "unrealizedPnl": "-57.2",
                "netFunding": "503.13121",
            },
            "ETH-USD": {
                "side": "LONG",
                "size": "2",
                "entryPrice": "3000",
                "unrealizedPnl": "100",
            },
        },
        "assetPositions": {"USDC": {"symbol": "USDC", "side": "LONG", "size": "50362.4"}},
    } | changed


DYDX = "{0},BTC,-0.4,118692,8957.2,cross,118835,\n{0},ETH,2,3000,8957.2,cross,3050,\n"


# Positions


def test_ccxt_isolated(tmp_path):
    """Collateral is what can be lost, 5300 with a profit of 300 in it; sizes are exact decimals."""
    found = assert_same(tmp_path, [position()], "account,BTC,-5,20000,5000,isolated,19940,20\n")
    assert found.lines is not None and found.lines.tolist() == ["[0]"] and found.warnings == ()
    raw = (tmp_path / "book.json").read_bytes()
    assert found.sha256 == hashlib.sha256(raw).hexdigest()
    tenths = position(contracts="3", contractSize="0.1", positionMargin=77, leverage=None)
    assert_same(tmp_path, [tenths], "account,BTC,-0.3,20000,77,isolated,19940,\n")
    whole = position(initialMargin=5300)  # ccxt: such a collateral is without profit
    assert_same(tmp_path, [whole], "account,BTC,-5,20000,5300,isolated,19940,20\n")


def test_ccxt_mark_and_profit_follow_from_each_other(tmp_path):
    row = "account,BTC,-5,20000,5000,isolated,19940,20\n"
    assert_same(tmp_path, [position(markPrice=None)], row)
    assert_same(tmp_path, [position(unrealizedPnl=None)], row)


def test_ccxt_accounts_that_state_their_money(tmp_path):
    """Equity is with the profit of cross positions, collateral without; both of these are 9300."""
    cross = [
        position(marginMode="cross", collateral=None, leverage=0),
        position(symbol="ETH/USDC:USDC", side="long", contracts=2, contractSize=1, entryPrice=2000,
                 markPrice=2100, unrealizedPnl="200", marginMode=None, collateral=None),
        position(symbol="SOL/USDT:USDT", contracts=0, side=None, entryPrice=None),
        position(symbol="XRP/USDT:USDT", contracts=1, contractSize=1, unrealizedPnl=60),
    ]  # fmt: skip
    rows = (
        "{0},BTC,-5,20000,9300,cross,19940,\n{0},ETH,2,2000,9300,cross,2100,20\n"
        "{0},XRP,-1,20000,5240,isolated,19940,20\n"
    )
    for money in ({"equity": "9800"}, {"collateral": 9300}):
        one = {"positions": cross, **money}
        assert assert_same(tmp_path, [{"account": "a", **one}], rows.format("a")).warnings == ()
        assert_same(tmp_path, {"a": one}, rows.format("a"))
        assert_same(tmp_path, one, rows.format("account"))
    many = {"a": one, "b": one, "empty": []}
    assert_same(tmp_path, many, rows.format("a") + rows.format("b"))


def test_ccxt_cross_margin_of_positions(tmp_path):
    """One amount in all rows is the account's; otherwise margins add up. The report says so."""
    short = position(marginMode="cross")
    long = position(marginMode="cross", symbol="ETH/USDT:USDT", side="long", unrealizedPnl=-300)
    rows = "account,BTC,-5,20000,{0},cross,19940,20\naccount,ETH,5,20000,{0},cross,19940,20\n"
    found = assert_same(tmp_path, [short, long], rows.format(5300))
    assert len(found.warnings) == 1 and "1 cross accounts do not state" in found.warnings[0]
    assert_same(tmp_path, [short, long | {"collateral": 900}], rows.format(5000 + 1200))
    assert_same(tmp_path, [short, long | {"positionMargin": 50}], rows.format(5000 + 50))
    refused(
        lambda: positions(tmp_path, [short, long | {"collateral": None}]),
        *("book.json[1].collateral", "equity", "got null"),
    )


def test_hyperliquid(tmp_path):
    """Isolated equity is marginUsed: 4.967826 + 0.0134; cross 13104.5 + 250, stated or what is left."""
    assert_same(tmp_path, state(), HYPERLIQUID.format("account"))
    assert_same(tmp_path, state(user="0xa"), HYPERLIQUID.format("0xa"))
    left = state(crossMarginSummary=None)
    two = HYPERLIQUID.format("0xa") + HYPERLIQUID.format("0xb")
    assert_same(tmp_path, {"0xa": left, "0xb": state()}, two)
    closed = {"position": {"coin": "SOL", "szi": "0.0", "positionValue": "0.0"}}
    more = state(assetPositions=[*state()["assetPositions"], closed], address="0xb")
    empty = state(assetPositions=[], user="0xc")
    assert_same(tmp_path, [state(user="0xa"), more, empty], two)


def test_dydx(tmp_path):
    """Collateral is equity without profit, 9000 − 42.8; the mark is entry + profit / size."""
    rows = DYDX.format("dydx1abc/0")
    assert_same(tmp_path, subaccount(), rows)
    assert_same(tmp_path, {"subaccount": subaccount()}, rows)
    assert_same(tmp_path, {"me": subaccount()}, DYDX.format("me/0"))
    other = subaccount(subaccountNumber=128)
    both = rows + DYDX.format("dydx1abc/128")
    assert_same(tmp_path, [subaccount(), {"subaccount": other}], both)
    assert_same(tmp_path, {"subaccounts": [subaccount(), other]}, both)
    parent = {"address": "dydx1abc", "childSubaccounts": [subaccount(), other]}
    assert_same(tmp_path, {"subaccount": parent}, both)


def test_dydx_oracle_price(tmp_path):
    """It is the mark where it is given, and gives the profit where that is not."""
    oracle = subaccount()
    for name, price in (("BTC-USD", "118835"), ("ETH-USD", 3050)):
        oracle["openPerpetualPositions"][name]["oraclePrice"] = price
        oracle["openPerpetualPositions"][name]["unrealizedPnl"] = None
    assert_same(tmp_path, oracle, DYDX.format("dydx1abc/0"))


def test_one_mark_per_market(tmp_path):
    """That of the largest position; others may be rounded or a moment older, not of another time."""
    small = position(contracts=1, markPrice=19950.0)
    found = positions(tmp_path, {"a": [position()], "b": [small]})
    assert found.mark_price.tolist() == [19940.0, 19940.0]
    assert found.warnings == (
        "1 positions count at the mark of their market's largest, up to 0.05% away",
    )
    small["markPrice"] = 19940.1
    assert positions(tmp_path, {"a": [position()], "b": [small]}).warnings == ()
    small["markPrice"] = 21000
    refused(
        lambda: positions(tmp_path, {"a": [position()], "b": [small]}),
        *("book.json.b[0]", "within 1%", "19940", ".a[0]", "21000 in market BTC"),
    )


def test_a_book_that_opens(tmp_path):
    """Equity at the opening is what the venue said it was."""
    path = dump(tmp_path, {"0xa": state(), "0xb": state()})
    config = configure.load(["book=file", f"book.path={path}", "experiment=small"])
    opened = build.books.opening(config, keys.root(0))
    assert opened.markets == ("BTC", "ETH") and opened.inputs.keys() == {path}
    assert opened.names[0].tolist() == ["0xa", "0xa / ETH", "0xb", "0xb / ETH", "rest"]
    np.testing.assert_allclose(opened.holdings[0].cash[:4], [13104.5, 4.967826] * 2, rtol=1e-12)


def broken(source: dict, *path, value) -> dict:
    """A copy with one value changed."""
    copied = copy.deepcopy(source)
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copied


def wrong_position(**changed) -> list:
    return [position(), position(symbol="ETH/USDT:USDT", markPrice=20000) | changed]


MANY = {
    "entry": (wrong_position(entryPrice="x"), "book.json[1].entryPrice", "finite price", '"x"'),
    "entry null": (wrong_position(entryPrice=None), "[1].entryPrice", "finite price", "null"),
    "entry zero": (wrong_position(entryPrice=0), "[1].entryPrice", "> 0", "got 0"),
    "entry list": (wrong_position(entryPrice=[1]), "[1].entryPrice", "got a list of 1"),
    "entry true": (wrong_position(entryPrice=True), "[1].entryPrice", "got true"),
    "entry nan": (wrong_position(entryPrice=float("nan")), "[1].entryPrice", "got NaN"),
    "entry inf": (wrong_position(entryPrice=float("inf")), "[1].entryPrice", "got Infinity"),
    "entry spelt": (wrong_position(entryPrice="1,000"), "[1].entryPrice", "1,000"),
    "contracts": (wrong_position(contracts=-1), "[1].contracts", ">= 0", "got -1"),
    "contracts null": (wrong_position(contracts=None), "[1].contracts", "null"),
    "contract size": (wrong_position(contractSize=None), "[1].contractSize", "> 0", "null"),
    "contract zero": (wrong_position(contractSize=0), "[1].contractSize", "> 0", "got 0"),
    "side": (wrong_position(side="sell"), "[1].side", "long or short", "sell"),
    "mode": (wrong_position(marginMode="portfolio"), "[1].marginMode", "cross or isolated"),
    "leverage": (wrong_position(leverage=-3), "[1].leverage", ">= 0", "got -3"),
    "huge": (wrong_position(contracts=1e300, contractSize=1e300), "book.json[1]", "size", "finite"),
    "worth": (wrong_position(contracts=1e30), "book.json[1]", "column size", "1e+15 USD"),
    "no mark": (wrong_position(markPrice=None, unrealizedPnl=None), "[1].markPrice", "null"),
    "mark below 0": (
        wrong_position(markPrice=None, unrealizedPnl=1e9),
        *("[1].unrealizedPnl", "mark > 0"),
    ),
    "inverse": (wrong_position(symbol="BTC/USD:BTC"), "[1].symbol", "inverse", "BTC/USD:BTC"),
    "quanto": (wrong_position(symbol="ETH/USD:XRP"), "[1].symbol", "linear perpetual"),
    "spot": (wrong_position(symbol="ETH/USDT"), "[1].symbol", "BTC/USDT:USDT", "ETH/USDT"),
    "dated": (wrong_position(symbol="ETH/USDT:USDT-251226"), "[1].symbol", "perpetual"),
    "in coins": (wrong_position(symbol="ETH/BTC:BTC"), "[1].symbol", "in dollars"),
    "no symbol": (wrong_position(symbol=None), "[1].symbol", "null"),
    "both sides": ([position(), position(side="long")], "book.json[1]", "one row", "[0] is the same"),
    "underwater": ([position(collateral=-1)], "book.json[0]", "column collateral", ">= 0", "-301"),
    "no name": ([{"positions": [position()]}], "book.json[0]", "whose", "account, user, address"),
    "twice": ([{"account": "a", "positions": [position()]}] * 2, "book.json[1]", "before", "'a'"),
    "mixed": ({"a": [position()], "b": state()}, "book.json.b", "ccxt", "'assetPositions'"),
    "long name": ({"a" * 500: [position()]}, "column account", "200 printable"),
    "ansi name": ({"\x1b[31m": [position()]}, "column account", "\\x1b[31m"),
    "half a pair": ({"\ud800": [position()]}, "column account", "\\ud800"),
    "positions not a list": ({"a": {"positions": 3, "symbol": 1}}, "ccxt", "Hyperliquid", "dYdX"),
    "no one": ([], "book.json", "ccxt (fetch_positions)", "Hyperliquid", "dYdX v4", "list of 0"),
    "nobody": ({}, "ccxt", "Hyperliquid", "dYdX", "object of 0"),
    "nothing open": ({"a": []}, "at least one open position"),
    "number": (3, "ccxt", "got 3"),
    "null": (None, "ccxt", "got null"),
    "bars": ([[1, 2, 3, 4, 5, 6]], "ccxt", "Hyperliquid", "dYdX", "list of 6"),
    "other": ({"rows": [{"size": 1}]}, "ccxt", "list of 1"),
    "hl size": (
        broken(state(), "assetPositions", 1, "position", "szi", value="NaN"),
        *("book.json.assetPositions[1].position.szi", "finite", '"NaN"'),
    ),
    "hl no position": (
        state(assetPositions=[{}]),
        *("book.json.assetPositions[0].position", "object", "null"),
    ),
    "hl mode": (
        broken(state(), "assetPositions", 0, "position", "leverage", "type", value="both"),
        *("position.leverage.type", "cross or isolated", "both"),
    ),
    "hl value": (
        state(crossMarginSummary={"accountValue": None}),
        *("crossMarginSummary.accountValue", "finite", "null"),
    ),
    "hl no value": (
        state(crossMarginSummary=None, marginSummary=None),
        *("book.json.marginSummary", "object", "null"),
    ),
    "hl anonymous": ([state()], "book.json[0]", "whose"),
    "dydx equity": (subaccount(equity=None), "book.json.equity", "finite", "null"),
    "dydx side": (
        broken(subaccount(), "openPerpetualPositions", "BTC-USD", "side", value="short"),
        *('openPerpetualPositions["BTC-USD"].side', "LONG or SHORT"),
    ),
    "dydx sign": (
        broken(subaccount(), "openPerpetualPositions", "ETH-USD", "size", value="-2"),
        *('["ETH-USD"].size', "> 0", "LONG"),
    ),
    "dydx market": (
        subaccount(openPerpetualPositions={"BTC-EUR": {"size": "1"}}),
        *('["BTC-EUR"]', "COIN-USD"),
    ),
    "dydx no mark": (
        broken(subaccount(), "openPerpetualPositions", "ETH-USD", "unrealizedPnl", value=None),
        *('["ETH-USD"].oraclePrice', "unrealizedPnl"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MANY)
def test_wrong_positions(tmp_path, case):
    value, *parts = MANY[case]
    refused(lambda: positions(tmp_path, value), "book.path", "book.json", *parts)


TEXTS = {
    "empty": ("", "must be JSON", "empty file"),
    "not JSON": ("account,market\na,BTC\n", "book.json:1", "line 1", "'account,market'"),
    "half": ('[{"symbol": "BTC/USDT:USDT",\n', "must be JSON", "line 2"),
    "two": ("[]\n[]", "line 2", "extra data"),
    "repeated": ('[{"symbol": "a", "symbol": "b"}]', "every key", "once", "'symbol'"),
    "nested": ("[" * 100_000 + "]" * 100_000, "nested"),
    "nested objects": ('{"a":' * 100_000, "nested"),
    "utf-16": ("[]".encode("utf-16"), "UTF-8", "line 1"),
    "nul": (b"[\0]", "UTF-8", "NUL"),
    "digits": ('[{"symbol": "BTC/USDT:USDT", "contracts": ' + "9" * 5000 + "}]", "[0].contracts"),
    "long path": ('{"' + "k" * 3000 + '": [{"symbol": "x", "contracts": 1}]}', "contractSize", "kkk"),
}  # fmt: skip


@pytest.mark.parametrize("case", TEXTS)
@pytest.mark.parametrize("read", [data.read_positions, data.read_prices, tiers.read_tiers])
def test_hostile_text(tmp_path, case, read):
    text, *parts = TEXTS[case]
    parts = parts if read is data.read_positions or "JSON" in parts[0] else []
    path = write(tmp_path, text, "book.json")
    refused(lambda: read(path), "book.json", *parts)


def test_a_large_file_is_refused_unread(tmp_path):
    path = tmp_path / "book.json"
    with open(path, "wb") as file:
        file.truncate(100_000_000)
    refused(lambda: data.read_positions(str(path)), "book.json", str(tree.SIZE_MAX), "limit", "CSV")


def test_row_limit(tmp_path):
    path = dump(tmp_path, {"a": [position()], "b": [position()]})
    assert data.read_positions(path, row_limit=2).rows == 2
    refused(lambda: data.read_positions(path, row_limit=1), "rows", "limit", "1")


# Prices


def prices(folder, value, name="BTC.json"):
    return data.read_prices(dump(folder, value, name))


BARS = [  # a rising bar, a falling one, and one after a gap of a bar
    [1760130900000, "100", 110, 90, 105, 12.5],
    [1760130960000, 105, 106, 80, 85, None],
    [1760131080000, 88, 91, 87, 90],
]


def test_bars_are_prices_at_their_thirds(tmp_path):
    """Low before high where a bar rises, high before low where it falls; open, close at the ends."""
    text = "timestamp,BTC\n" + "\n".join(
        f"{1760130900 + t},{p}" for t, p in [
            (0, 100), (20, 90), (40, 110), (60, 105), (80, 106), (100, 80), (120, 85),
            (180, 88), (200, 87), (220, 91), (240, 90),
        ]
    )  # fmt: skip
    expected = data.read_prices(write(tmp_path, text)).series["BTC"]
    for value, name in (
        (BARS, "BTC.json"),
        (BARS, "BTC_USDT_USDT-1m-futures.json"),
        ({"BTC/USDT:USDT": BARS}, "x.json"),
        ({"BTC/USD": BARS}, "x.json"),
        ({"BTC": BARS}, "x.json"),
    ):
        found = prices(tmp_path, value, name)
        assert list(found.series) == ["BTC"]
        np.testing.assert_array_equal(found.series["BTC"], expected)
    assert found.inputs == {found.path: found.sha256}


def test_bars_of_many_markets(tmp_path):
    found = prices(tmp_path, {"BTC/USDT:USDT": BARS, "ETH/USDT:USDT": BARS[:2]})
    assert {name: len(time) for name, (time, _) in found.series.items()} == {"BTC": 11, "ETH": 7}


BAD_BARS = {
    "none": ([], "bars", "list of 0"),
    "no markets": ({}, "bars", "object of 0"),
    "text": ("x", "bars", '"x"'),
    "objects": ([{"open": 1}], "BTC.json[0]", "bar [milliseconds", "object of 1"),
    "short": ([BARS[0], [1, 2]], "BTC.json[1]", "bar [milliseconds", "list of 2"),
    "one": ({"BTC": BARS[:1]}, "BTC.json.BTC", "at least 2 bars"),
    "seconds": ([[1760130900, 1, 1, 1, 1, 0]] * 2, "BTC.json[0][0]", "milliseconds", "1760130900"),
    "twice": ([BARS[0], BARS[0]], "BTC.json[1]", "later"),
    "order": ({"ETH/USDT:USDT": BARS[::-1]}, '["ETH/USDT:USDT"][1]', "later"),
    "null": ([BARS[0], [1760130960000, 1, None, 1, 1]], "BTC.json[1][2]", "price > 0", "null"),
    "zero": ([BARS[0], [1760130960000, 0, 1, 0, 1]], "BTC.json[1][1]", "price > 0", "got 0"),
    "nan": ([BARS[0], [1760130960000, 1, float("nan"), 1, 1]], "BTC.json[1][2]", "got NaN"),
    "high": ([BARS[0], [1760130960000, 5, 4, 3, 4]], "BTC.json[1]", "from low to high", "5, 4, 3"),
    "inverse": ({"BTC/USD:BTC": BARS}, "BTC/USD:BTC", "inverse"),
    "in coins": ({"ETH/BTC": BARS}, "ETH/BTC", "in dollars"),
    "positions": ([position()], "BTC.json[0]", "bar [milliseconds"),
}


@pytest.mark.parametrize("case", BAD_BARS)
def test_wrong_bars(tmp_path, case):
    value, *parts = BAD_BARS[case]
    refused(lambda: prices(tmp_path, value), "scenario.path", "BTC.json", *parts)


# Leverage tiers


def tier(number, floor, cap, rate, leverage, symbol="BTC/USDT:USDT") -> dict:
    return {
        "tier": number, "symbol": symbol, "currency": "USDT", "minNotional": floor, "maxNotional": cap,
        "maintenanceMarginRate": rate, "maxLeverage": leverage, "info": {"cum": "0.0"},
    }  # fmt: skip


BTC = [
    tier(1, 0, 300000, 0.004, 150),
    tier(2, 300000.0, 800000.0, "0.005", "100"),
    tier(3, 800000, 3000000, 0.0065, 75),
    tier(4, 3000000, 12000000, 0.01, 50),
]
TABLE = [[0, 150, 0.4], [300e3, 100, 0.5], [800e3, 75, 0.65], [3e6, 50, 1.0]]


def test_tiers_are_the_table_by_hand(tmp_path):
    """The first brackets of BTC on Binance, as the preset has them."""
    path = dump(tmp_path, {"BTC/USDT:USDT": BTC}, "tiers.json")
    found = tiers.read_tiers(path)
    assert found.tables == {"BTC/USDT:USDT": TABLE} and found.markets == {"BTC": "BTC/USDT:USDT"}
    preset = configure.load(["venue=binance"]).venue.margin
    assert found.tables["BTC/USDT:USDT"] == preset.tables["BTC"][:4]


def test_tiers_go_before_the_preset_for_their_markets(tmp_path):
    """Others keep their tables, also where a market of the file was the default's."""
    doge = [tier(1, 0, 1e9, "0.07", 10)]
    value = {
        "DOGE/USDC:USDC": BTC,  # of two contracts on a coin the one in USDT counts
        "DOGE/USDT:USDT": doge,
        "DOGE/USDT:USDT-251226": BTC,
        "PEPE/USDC:USDC": doge,
    }
    path = dump(tmp_path, value, "tiers.json")
    config = configure.load(["venue=binance", f"venue.margin.path={path}"])
    validate.check(config)
    changed, read = tiers.applied(config)
    assert read == {path: hashlib.sha256((tmp_path / "tiers.json").read_bytes()).hexdigest()}
    assert config.venue.margin.markets["DOGE"] == "DOGE"
    before, margin = config.venue.margin, changed.venue.margin
    table = {m: margin.tables[name] for m, name in margin.markets.items()}
    assert table["DOGE"] == table["PEPE"] == [[0, 10, 7]]
    assert margin.tables[margin.default] == before.tables["DOGE"]
    assert table["BTC"] == before.tables["BTC"]
    margins = build.margin_tables(changed.venue, ("BTC", "DOGE"))
    assert margins.ratio[0].tolist() == [0.004, 0.07]
    assert tiers.applied(dataclasses.replace(changed)) == (changed, read)


BAD_TIERS = {
    "list": (BTC, "fetch_leverage_tiers", "list of 4"),
    "none": ({}, "fetch_leverage_tiers", "object of 0"),
    "no tiers": ({"BTC/USDT:USDT": []}, '["BTC/USDT:USDT"]', "at least one tier"),
    "not a list": ({"BTC/USDT:USDT": 1}, '["BTC/USDT:USDT"]', "list", "got 1"),
    "dated only": ({"BTC/USDT:USDT-251226": BTC}, "at least one perpetual"),
    "inverse": ({"BTC/USD:BTC": BTC}, "inverse", "BTC/USD:BTC"),
    "spot": ({"BTC/USDT": BTC}, "linear perpetual", "BTC/USDT"),
    "floor": ({"BTC/USDT:USDT": BTC[1:]}, '["BTC/USDT:USDT"][0] floor', "0 in the first"),
    "order": ({"BTC/USDT:USDT": [BTC[0], BTC[2], BTC[1]]}, "[2]", "higher floor"),
    "falls": ({"B/USDT:USDT": [BTC[3] | {"minNotional": 0}, BTC[1]]}, "[1]", "no lower maintenance"),
    "initial": (
        {"B/USDT:USDT": [tier(1, 0, 1, 0.04, 25)]},
        *("[0]", "below initial margin", "4 % at leverage 25"),
    ),
    "leverage": ({"B/USDT:USDT": [tier(1, 0, 1, 0.04, 0.5)]}, "[0] leverage", ">= 1", "0.5"),
    "rate": ({"B/USDT:USDT": [tier(1, 0, 1, None, 25)]}, "[0].maintenanceMarginRate", "null"),
    "nan": ({"B/USDT:USDT": [tier(1, float("nan"), 1, 0.1, 2)]}, "[0].minNotional", "got NaN"),
    "contracts": (
        {"B/USDT:USDT": [tier(1, 0, 1, 0.1, 2) | {"info": {"minSz": "0"}}]},
        *("[0]", "counts contracts"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TIERS)
def test_wrong_tiers(tmp_path, case):
    value, *parts = BAD_TIERS[case]
    path = dump(tmp_path, value, "tiers.json")
    refused(lambda: tiers.read_tiers(path), "venue.margin.path", "tiers.json", *parts)


def test_tiers_are_json(tmp_path):
    path = write(tmp_path, "x,y\n1,2\n", "tiers.csv")
    refused(
        lambda: tiers.read_tiers(path), "venue.margin.path", "must be a .json file", "tiers.csv"
    )
    refused(lambda: tiers.read_tiers(""), "venue.margin.path", "file that exists", "empty path")
    path = parquet(tmp_path, "SELECT 1 AS x", "tiers.json")
    refused(lambda: tiers.read_tiers(path), "UTF-8")


# From outside


def test_readers_do_without_jax():
    code = "import sys, riskengine.app.data, riskengine.app.tiers; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_line_says_it_in_a_line(tmp_path):
    path = dump(tmp_path, wrong_position(entryPrice="x"))
    command = [sys.executable, "-m", "riskengine", "book=file", f"book.path={path}"]
    done = subprocess.run(
        [*command, f"runs={tmp_path}/runs", "experiment=small"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr + done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: book.path") and "book.json[1].entryPrice must be" in last
