"""Two recorded data sets as positions and prices: a book of Hyperliquid, and 10 October 2025.

Neither ships with riskengine; docs/files.md says what the folders hold.
"""

import hashlib
from pathlib import Path

import numpy as np

from riskengine.app.data import Positions, Prices
from riskengine.errors import InputError

SNAPSHOT = ("accounts.parquet", "positions.parquet")
MARK = Path("oct10_2025_binance_btc") / "mark_1m_btcusd_perp.parquet"
SECONDS = Path("oct10_2025_trade_bars") / "bars_1s_2030_2230.parquet"
MINUTES = Path("oct10_2025_trade_bars") / "bars_1m.parquet"
THOUSANDS = {"PEPE": "kPEPE", "BONK": "kBONK"}  # Hyperliquid quotes a thousand of these


def hyperliquid_snapshot(path: str, allow_underwater: bool = False) -> Positions:
    """Positions and equity of large accounts on Hyperliquid, 2026-02-22 (credit: kittycapital).

    The snapshot gives an account's value, unrealised profit included; collateral is that less the
    profit of the positions listed. Accounts count as cross.
    """
    files = _files("data.root", Path(path), SNAPSHOT)
    rows = _query(
        """SELECT account_id, coin, side * size AS size, entry_px, mark_px, account_value,
                  positions_complete
           FROM read_parquet(?) AS p JOIN read_parquet(?) AS a USING (account_id)
           ORDER BY account_id, coin""",
        [str(files[1]), str(files[0])],
    )
    size, entry, mark = rows["size"], rows["entry_px"], rows["mark_px"]
    _, account = np.unique(rows["account_id"], return_inverse=True)
    profit = np.bincount(account, size * (mark - entry))
    collateral = rows["account_value"] - profit[account]
    if not allow_underwater and (collateral < 0).any():
        must = "must have collateral of at least 0 unless book.allow_underwater is true"
        worst = int(np.argmin(collateral))
        raise InputError(f"book.path {path}", must, f"{collateral[worst]:.6g} USD")
    known = len(np.unique(rows["account_id"][~rows["positions_complete"].astype(bool)]))
    return Positions(
        account=np.asarray([f"{number}" for number in rows["account_id"]], object),
        market=rows["coin"].astype(object),
        size=size,
        entry_price=entry,
        collateral=collateral,
        margin=np.full(len(size), "cross", object),
        leverage=np.full(len(size), np.nan),
        mark_price=mark,
        path=path,
        rows=len(size),
        sha256=_digest(files),
        warnings=(f"{known} accounts show only their largest positions",) if known else (),
    )


def october_2025(path: str) -> Prices:
    """10 October 2025: BTC from Binance's one-minute mark, other coins from Coinbase's trades.

    Contracts of other venues are left out: their prints ran far from the index that day. Coinbase
    bars are of one second until 22:30 UTC and of one minute after.
    """
    files = _files("data.root", Path(path), (MARK, SECONDS, MINUTES))
    series = {"BTC": _minute_knots(files[0])}
    bars = _query(
        """SELECT symbol, t_s + 1 AS t, close FROM read_parquet(?) WHERE venue = 'coinbase'
           UNION ALL
           SELECT symbol, t_s + 60 AS t, close FROM read_parquet(?)
           WHERE venue = 'coinbase' AND t_s >= (SELECT max(t_s) + 1 FROM read_parquet(?))
           ORDER BY symbol, t""",
        [str(files[1]), str(files[2]), str(files[1])],
    )
    for symbol in np.unique(bars["symbol"].astype(str)):
        mine = bars["symbol"] == symbol
        coin = str(symbol).removesuffix("-USD")
        series[THOUSANDS.get(coin, coin)] = (bars["t"][mine].astype(float), bars["close"][mine])
    return Prices(series=series, path=path, sha256=_digest(files), warnings=())


def _minute_knots(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Open, low, high, close of every minute as prices at 0, 20, 40 and 60 seconds.

    Where the minute falls the high comes first: the path through a bar is not recorded.
    """
    bars = _query(
        "SELECT t_s, open, high, low, close FROM read_parquet(?) ORDER BY t_s", [str(path)]
    )
    falls = bars["close"] < bars["open"]
    first = np.where(falls, bars["high"], bars["low"])
    second = np.where(falls, bars["low"], bars["high"])
    time = bars["t_s"][:, None] + np.asarray([20.0, 40.0, 60.0])
    price = np.stack([first, second, bars["close"]], axis=1)
    start = float(bars["t_s"][0])
    return np.append(start, time.ravel()), np.append(bars["open"][0], price.ravel())


def _files(field: str, root: Path, names) -> list[Path]:
    files = [root / name for name in names]
    for file in files:
        if not file.is_file():
            raise InputError(field, "must be the folder of the data set; file not found", str(file))
    return files


def _query(sql: str, parameters: list) -> dict[str, np.ndarray]:
    import duckdb

    try:
        with duckdb.connect() as connection:
            found = connection.execute(sql, parameters).fetchnumpy()
    except duckdb.Error as error:
        line = str(error).splitlines()[0]
        raise InputError(parameters[0], f"cannot be read as Parquet: {line}") from None
    return {name: np.asarray(values) for name, values in found.items()}


def _digest(files: list[Path]) -> str:
    """SHA-256 of all files together."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()
