"""A file of positions becomes a book: accounts, isolated positions, the other side."""

import numpy as np
import pytest

from riskengine.app import books, data
from riskengine.errors import InputError

HEADER = "account,market,size,entry_price,collateral,margin,mark_price\n"


def read(tmp_path, rows: str):
    path = tmp_path / "positions.csv"
    path.write_text(HEADER + rows)
    return data.read_positions(str(path))


def test_isolated_positions_are_accounts_of_their_own(tmp_path):
    rows = read(
        tmp_path,
        "a,BTC,2,90,50,cross,100\n"
        "a,ETH,-10,11,50,cross,10\n"
        "a,SOL,5,30,40,isolated,20\n"
        "a / SOL,SOL,-5,20,7,cross,20\n",
    )
    holdings, names = books._accounts(rows, ("BTC", "SOL", "ETH"))
    # two accounts that read alike: the isolated position of `a`, and the account `a / SOL`
    assert names.tolist() == ["a", "a / SOL", "a / SOL"]
    assert holdings.account.tolist() == [0, 0, 1, 2]
    # equity: collateral + Σ size (mark − entry)
    assert holdings.cash.tolist() == [50 + 2 * 10 + 10 * 1, 40 - 5 * 10, 7.0]
    assert holdings.size.tolist() == [200.0, -100.0, 100.0, -100.0]
    assert holdings.entry.tolist() == [0.9, 1.1, 1.5, 1.0]


def test_a_mark_is_needed_in_every_row(tmp_path):
    rows = read(tmp_path, "a,BTC,2,90,50,cross,100\nb,ETH,-2,90,50,cross,\n")
    with pytest.raises(InputError, match=r"positions.csv:3 .*mark_price"):
        books._accounts(rows, ("BTC", "ETH"))


def test_the_missing_side_is_held_by_rest(tmp_path):
    rows = read(tmp_path, "a,BTC,2,90,50,cross,100\nb,BTC,-1,90,50,cross,100\n")
    holdings, names = books._accounts(rows, ("BTC",))
    missing = books._imbalance(holdings, 1)
    whole, named = books._with_rest(holdings, names, missing, 2.0)
    assert np.bincount(whole.market, whole.size).tolist() == [0.0]
    assert named[-1] == "rest" and whole.cash[-1] == 100.0 / 2.0
