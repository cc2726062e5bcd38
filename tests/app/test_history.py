"""Recorded books and prices: what the two data sets give, and how prices become knots."""

import math

import duckdb
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shared_data import shared

from riskengine.app import books, configure, history, scenarios, validate
from riskengine.montecarlo import keys, noise
from riskengine.montecarlo.simulate import Simulation
from riskengine.specs import scenario as laws
from riskengine.specs.book import REST

COINS = (
    "BTC AAVE ADA ATOM AVAX BCH CRV DOGE DOT ENA ETC FIL LINK POL SKY UNI WIF WLD XLM kBONK kPEPE"
).split()


def table(path, columns: str, where: str = "true") -> dict[str, np.ndarray]:
    with duckdb.connect() as connection:
        query = f"SELECT {columns} FROM read_parquet(?) WHERE {where}"
        return connection.execute(query, [str(path)]).fetchnumpy()


def configured(*overrides: str):
    config = configure.load(overrides)
    validate.check(config)
    return config


# The book of 22 February 2026


@pytest.fixture(scope="module")
def snapshot():
    return history.hyperliquid_snapshot(
        str(shared("data", "hl_whales_20260222")), allow_underwater=True
    )


def test_snapshot_has_accounts_under_water():
    folder = shared("data", "hl_whales_20260222")
    with pytest.raises(ValueError, match="must have collateral of at least 0"):
        history.hyperliquid_snapshot(str(folder))


def test_snapshot_is_whole(snapshot):
    listed = table(shared("data", "hl_whales_20260222", "accounts.parquet"), "n_positions")
    assert len(listed["n_positions"]) == 833
    assert len(snapshot.size) == snapshot.rows == 5298
    assert len(set(snapshot.account)) == np.sum(listed["n_positions"] > 0) == 643
    assert len(set(snapshot.market)) == 191
    assert set(snapshot.margin) == {"cross"}
    assert snapshot.warnings == ("35 accounts show only their largest positions",)


def test_snapshot_gives_every_account_its_value(snapshot):
    folder = shared("data", "hl_whales_20260222")
    known = table(folder / "accounts.parquet", "account_id, account_value")
    value = dict(zip(map(str, known["account_id"]), known["account_value"], strict=True))
    gain = snapshot.size * (snapshot.mark_price - snapshot.entry_price)
    for account in sorted(set(snapshot.account)):
        mine = snapshot.account == account
        assert len(set(snapshot.collateral[mine])) == 1
        equity = snapshot.collateral[mine][0] + gain[mine].sum()
        scale = abs(snapshot.collateral[mine][0]) + np.abs(gain[mine]).sum()
        assert equity == pytest.approx(value[account], abs=1e-12 * scale)


def test_snapshot_as_a_book():
    root = shared("data", "hl_whales_20260222").parent
    config = configured("experiment=oct10_crashes", f"data.root={root}")
    opened = books.opening(config, keys.root(0))
    (holdings,) = opened.holdings
    assert opened.markets[:2] == ("BTC", "ETH") and not opened.complete
    assert opened.names[0][-1] == "rest" and holdings.role[-1] == REST
    net = np.bincount(holdings.market, holdings.size)
    gross = np.bincount(holdings.market, np.abs(holdings.size))
    assert np.all(np.abs(net) <= 1e-12 * gross)
    mine = holdings.account == len(holdings.cash) - 1
    share = np.abs(holdings.size[mine]).sum() / gross.sum()
    assert f"{100 * share:.1f} % of all notional is held by `rest`" in opened.notes[-1]
    assert holdings.cash[-1] == pytest.approx(np.abs(holdings.size[mine]).sum() / 2)
    assert list(opened.inputs) == [config.book.path]


# The prices of 10 October 2025


@pytest.fixture(scope="module")
def october():
    return history.october_2025(str(shared("data", "oct10_2025_binance_btc").parent))


def test_october_has_these_coins(october):
    assert sorted(october.series) == sorted(COINS)
    for coin, (time, price) in october.series.items():
        assert np.all(np.diff(time) > 0) and np.all(price > 0), coin
        assert time[0] <= 1760128800 and time[-1] == 1760140800, coin


def test_october_btc_is_the_mark(october):
    """116,848 at 20:50, 102,497 at 21:20 UTC; opens, highs, lows and closes of every minute."""
    time, price = october.series["BTC"]
    assert price.min() == pytest.approx(102_497, abs=1) and price.max() < 123_749
    assert 1760131200 <= time[np.argmin(price)] <= 1760131260
    at = np.interp(1760129400, time, price)
    assert at == pytest.approx(116_848, abs=1)
    bars = table(shared("data", "oct10_2025_binance_btc", "mark_1m_btcusd_perp.parquet"), "*")
    assert len(time) == 3 * len(bars["t_s"]) + 1
    closes = price[np.searchsorted(time, bars["t_s"] + 60)]
    np.testing.assert_array_equal(closes, bars["close"])
    thirds = price[1:].reshape(-1, 3)
    np.testing.assert_array_equal(thirds.max(axis=1).max(), bars["high"].max())
    np.testing.assert_array_equal(np.sort(thirds[:, :2], axis=1)[:, 0], bars["low"])
    np.testing.assert_array_equal(np.sort(thirds[:, :2], axis=1)[:, 1], bars["high"])


def test_october_takes_no_contracts_of_other_venues(october):
    """Coinbase's AVAX fell to 17, a contract elsewhere far below that."""
    folder = shared("data", "oct10_2025_trade_bars")
    closes = table(folder / "bars_1s_2030_2230.parquet", "venue, symbol, close")
    minutes = table(folder / "bars_1m.parquet", "venue, symbol, close")
    for coin in COINS[1:]:
        symbol = f"{coin.removeprefix('k')}-USD"
        own = set()
        for bars in (closes, minutes):
            mine = (bars["venue"] == "coinbase") & (bars["symbol"] == symbol)
            own |= set(bars["close"][mine])
        assert set(october.series[coin][1]) <= own, coin
    elsewhere = table(
        folder / "bars_1m.parquet", "min(low) AS low", "symbol LIKE 'AVAX%' AND venue != 'coinbase'"
    )
    assert float(elsewhere["low"][0]) < 0.7 * october.series["AVAX"][1].min()


def test_october_as_a_scenario():
    root = shared("data", "oct10_2025_binance_btc").parent
    config = configured("experiment=oct10", f"data.root={root}")
    dt = np.concatenate([np.full(1200, 5.0), np.full(80, 60.0)])
    source = scenarios.prices(config, ("BTC", "ETH", "AVAX"), dt)
    assert source is not None and source.modelled == ("ETH",)
    law = scenarios.build(config, opened(("BTC", "ETH", "AVAX")), source, dt)[0].law
    assert isinstance(law, laws.Replay)
    fall = float(jnp.exp(law.log_index[:, 0].min()))
    assert fall == pytest.approx(102_497.5 / 116_848, abs=1e-4)
    np.testing.assert_allclose(law.log_index[:, 1], law.log_index[:, 0] * 1.3, rtol=1e-12)
    assert float(law.bridge_volatility[1]) == 0.0 < float(law.own_volatility[1])


# Knots


def opened(markets: tuple[str, ...]) -> books.OpenBook:
    return books.OpenBook(markets=markets, holdings=(), names=(), complete=True)


def knots(time, price, steps: int = 4, dt: float = 5.0, bridge_above: float = 30.0):
    series = np.asarray(time, float), np.asarray(price, float)
    return scenarios._knots(*series, np.full(steps, dt), bridge_above)


def test_prices_at_the_ends_of_steps():
    path, before, after, weight = knots([0, 5, 10, 15, 20], [100, 101, 99, 98, 102])
    np.testing.assert_allclose(path, np.log([1.01, 0.99, 0.98, 1.02]), rtol=1e-14)
    assert before.tolist() == after.tolist() == [0, 1, 2, 3] and weight.tolist() == [1.0] * 4


def test_the_last_price_of_a_step_counts_at_its_end():
    path, *_ = knots([0, 1, 4, 5, 5.5, 12, 14.9, 20], [100, 50, 60, 101, 99, 70, 98, 102])
    np.testing.assert_allclose(path, np.log([1.01, 0.99, 0.98, 1.02]), rtol=1e-14)


@pytest.mark.parametrize(
    "first, opening", [([-3, -1], 80), ([-1, 0], 80), ([0], 70), ([-0.5], 70), ([1.0], 70)]
)
def test_the_opening_price(first, opening):
    """The last one at or before the start; the first one where the series starts later."""
    price = [70, 80][: len(first)]
    path, *_ = knots([*first, 5, 10, 15, 20], [*price, 100, 100, 100, 100])
    np.testing.assert_allclose(path, np.log(100 / opening), rtol=1e-14)


def test_close_knots_are_interpolated_and_far_ones_bridged():
    near = knots([0, 20], [100, 90], bridge_above=20.0)
    far = knots([0, 20], [100, 90], bridge_above=19.9)
    line = math.log(0.9) * np.asarray([0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(near[0], line, rtol=1e-14)
    np.testing.assert_allclose(far[0], line, rtol=1e-14)
    assert near[1].tolist() == near[2].tolist() == [0, 1, 2, 3] and set(near[3]) == {1.0}
    assert far[1].tolist() == [-1, -1, -1, 3] and far[2].tolist() == [3, 3, 3, 3]
    np.testing.assert_allclose(far[3], [0.25, 0.5, 0.75, 1.0], rtol=1e-14)


def test_only_the_long_gap_is_bridged():
    path, before, after, weight = knots([0, 5, 10, 50, 55], [8, 4, 2, 1, 4], 11, 5.0, 30.0)
    ln2 = math.log(2)
    expected = [-1, -2, *(-2 - k / 8 for k in range(1, 8)), -3, -1]
    np.testing.assert_allclose(path, ln2 * np.asarray(expected), rtol=1e-13)
    assert before.tolist() == [0, 1, *[1] * 7, 9, 10]
    assert after.tolist() == [0, 1, *[9] * 7, 9, 10]
    np.testing.assert_allclose(weight, [1, 1, *(k / 8 for k in range(1, 8)), 1, 1], rtol=1e-13)


def test_after_the_last_price_nothing_moves():
    path, before, after, weight = knots([0, 10], [100, 90])
    np.testing.assert_allclose(path[1:], math.log(0.9), rtol=1e-14)
    assert before[1:].tolist() == [1, 2, 3] and after[2:].tolist() == [2, 3]
    assert set(weight[1:]) == {1.0}


def test_steps_of_two_lengths():
    dt = np.asarray([5.0, 5.0, 60.0, 60.0])
    path, before, after, weight = scenarios._knots(
        np.asarray([0.0, 10, 130]), np.asarray([1.0, 2, 4]), dt, 30.0
    )
    np.testing.assert_allclose(path, math.log(2) * np.asarray([0.5, 1, 1.5, 2]), rtol=1e-14)
    assert before.tolist() == [0, 1, 1, 3] and after.tolist() == [0, 1, 3, 3]
    np.testing.assert_allclose(weight, [1, 1, 0.5, 1], rtol=1e-14)


def test_bridges_meet_the_recorded_prices(tmp_path):
    """Every path passes through the knots; a market without prices follows with its beta."""
    file = tmp_path / "prices.csv"
    file.write_text("timestamp,BTC\n1000,100\n1060,90\n1120,95\n1130,96\n")
    config = configured(
        *("scenario=replay", f"scenario.path={file}", "scenario.markets.SOL.own_volatility=0"),
        "simulation.grid=[{duration_min: 2, dt_s: 10}]",
    )
    dt = np.full(12, 10.0)
    source = scenarios.prices(config, ("SOL", "BTC"), dt)
    assert source is not None and source.modelled == ("SOL",)
    built = scenarios.build(config, opened(("SOL", "BTC")), source, dt)[0]
    ids = jnp.asarray([keys.market_id("SOL"), keys.market_id("BTC")], jnp.uint32)
    grid = Simulation.of(dt, ids)

    def path(number):
        drawn = noise.draw(keys.root(1), number, ids, grid.whole, grid.half)
        return laws.log_index(drawn, number, built, grid.dt)

    x = np.asarray(jax.jit(jax.vmap(path))(jnp.arange(16, dtype=jnp.uint32)))
    recorded = np.log([0.9, 0.95])
    np.testing.assert_allclose(x[:, [5, 11], 1], np.tile(recorded, (16, 1)), atol=1e-15)
    spread = x[:, 2, 1].std()
    expected = 0.0025 * math.sqrt(0.5 * 0.5)  # of a bridge over 60 s, in the middle
    assert 0.5 * expected < spread < 1.6 * expected
    assert isinstance(built.law, laws.Replay)
    follows = np.tile(1.5 * np.asarray(built.law.log_index[:, 1]), (16, 1))
    np.testing.assert_allclose(x[:, :, 0], follows, atol=1e-15)


def test_prices_must_cover_the_run(tmp_path):
    file = tmp_path / "prices.csv"
    file.write_text("timestamp,BTC\n1000,100\n1060,90\n")
    config = configured("scenario=replay", f"scenario.path={file}")
    with pytest.raises(ValueError, match="scenario.path must cover 240 min from the start for BTC"):
        scenarios.prices(config, ("BTC",), np.full(240, 60.0))
    with pytest.raises(ValueError, match="scenario.path must hold prices of a market of the book"):
        scenarios.prices(config, ("ETH",), np.full(1, 60.0))


def test_a_folder_that_is_not_the_data_set(tmp_path):
    with pytest.raises(ValueError, match="data.root must be the folder of the data set"):
        history.october_2025(str(tmp_path))
    for name in history.SNAPSHOT:
        (tmp_path / name).write_bytes(b"PAR1 no, it is not")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        history.hyperliquid_snapshot(str(tmp_path), allow_underwater=True)
