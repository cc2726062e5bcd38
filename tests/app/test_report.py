"""The report says what the tables say, stands alone, and can be read by everybody."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from commands import PROJECT, SMALL

import riskengine
from riskengine.app import build, cohorts, configure, doctor, report, stress, study, tables, words
from riskengine.app.show import Screen
from riskengine.montecarlo import estimators, simulate
from riskengine.specs.book import MAKER, TRADER, Holdings

HOSTILE = "<script>alert(1)</script>&\"'"


class Page(HTMLParser):
    """What a browser, and a screen reader, would find."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


FEW = [o for o in SMALL if not o.startswith("simulation.batch")]


@pytest.fixture(scope="session")
def asked():
    return riskengine.question(*FEW)


@pytest.fixture(scope="session")
def found(asked):
    return riskengine.simulate(asked)


@pytest.fixture(scope="session")
def answered(found, asked):
    return riskengine.estimate(found, asked)


@pytest.fixture(scope="session")
def page(found, answered, asked) -> str:
    from riskengine.app import pictures, run

    facts = run._facts(asked.config, found, answered, [], 1.0, 2.0)
    figures = pictures.draw(asked.config, found, answered)
    notes = [f"{HOSTILE} is a note"]
    return report.page(
        asked.config, found, answered, facts, ["a check"], notes, f"riskengine {HOSTILE}", figures
    )


# The page


def test_the_page_needs_neither_network_nor_scripts(page):
    read = Page(page)
    assert not read.all("script") and not read.all("link") and not read.all("iframe")
    assert not [a for _, a in read.tags if any(name.startswith("on") for name in a)]
    addresses = [a[name] for _, a in read.tags for name in ("src", "href") if name in a]
    assert addresses and all(a.startswith(("data:image/svg+xml;base64,", "#")) for a in addresses)
    assert not re.search(r"url\(|@import", page)
    assert len(page) < 1_500_000


def test_what_users_wrote_is_text(page):
    assert HOSTILE not in page and "alert(1)" in page
    assert f"{HOSTILE} is a note" in "".join(Page(page).words)


def test_the_page_leads_with_the_answer(page, answered):
    text = "".join(Page(page).words)
    assert (
        text.index(answered.sentence)
        < text.index("What it hangs on")
        < text.index("Capital and risk")
    )


def test_everybody_can_read_the_page(page):
    read = Page(page)
    assert read.all("html")[0]["lang"] == "en" and read.all("meta") and read.all("title")
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    images = read.all("img")
    assert len(images) >= 9 and all(len(image["alt"]) > 20 for image in images)
    assert all(th.get("scope") in ("col", "row") for th in read.all("th"))
    assert len(read.all("caption")) == len(read.all("table"))
    inside = {a["href"][1:] for a in read.all("a")}
    assert inside <= {a["id"] for _, a in read.tags if "id" in a}


def test_every_estimate_is_on_the_page(page, answered):
    named = {name for group in words.GROUPS.values() for name in group}
    assert {e.name for e in answered.estimates} <= named
    for e in answered.estimates:
        assert f"<code>{e.name}</code>" in page


def test_what_a_sample_cannot_carry_is_said(answered):
    unknown = [e for e in answered.estimates if e.value is None]
    assert unknown
    for e in unknown:
        assert words.value(e) == "not known" and e.note


def test_a_price_later_than_the_run_is_said_to_be_its_last(asked, answered):
    horizon = float(asked.specs.simulation.dt.sum())
    for name, after in (("5min", 300.0), ("60min", 3600.0), ("horizon", 0.0)):
        for e in (answered[f"haircut_{name}"], answered[f"adl_loss_{name}"]):
            assert ("the run ends after" in e.note) == (horizon <= after)


def test_paths_at_several_funds_are_those_at_each(found, asked):
    """All funds share batches; each path is what it is alone at its fund."""
    changed = 0
    for capital, together in found.levels.items():
        one = build.with_fund(asked.specs, capital)
        alone = simulate.simulate(
            one.key, one.books, one.venue, one.scenario, one.simulation, together.path
        )  # fmt: skip
        changed += int(study.bound(found.results.some(np.arange(len(together))), capital).sum())
        for name in (
            "intervened",
            "depleted",
            "unfunded",
            "adl_loss_mark",
            "fund_draw",
            "bad_debt",
        ):
            assert np.array_equal(together[name], alone[name], equal_nan=True), (capital, name)
        for name, values in alone.hits.items():
            assert np.array_equal(together.hits[name], values), (capital, name)
    assert len(found.levels) > 2 and changed > len(found.levels)


def test_a_fund_without_end_binds_nowhere(found, asked):
    (one,) = study.at_funds(asked.specs, found.results, {np.inf: 8}).values()
    assert len(one) == 8 and not one["depleted"].any() and not one["intervened"].any()
    assert np.array_equal(one["required_fund"], found.results["required_fund"][:8])


# Accounts and cohorts


def test_accounts_count_what_the_hits_count(found, answered):
    people, hits = pd.DataFrame(answered.people.accounts), found.fund.hits
    assert people["deleveraged"].sum() == len(hits["row"])
    assert people["adl_loss"].sum() == pytest.approx(hits["adl_loss"].sum())
    assert people["liquidated_without_limit"].sum() == found.results.liquidated.sum()
    some = people[people["deleveraged"] > 0].iloc[0]
    names = found.question.account_names
    mine = [
        i for i, (p, a) in enumerate(zip(hits["row"], hits["account"], strict=True))
        if p % 2 == some["book"] and names[p % 2][a] == some["account"]
    ]  # fmt: skip
    assert len(mine) == some["deleveraged"]
    expected = hits["adl_loss"][mine].sum() / hits["equity"][mine].sum()
    assert some["expected_haircut"] == pytest.approx(expected)
    assert some["adl_probability"] == len(mine) / np.sum(found.fund.book == some["book"])


def test_cohorts_of_a_dimension_are_all_traders(found, answered):
    people = pd.DataFrame(answered.people.accounts)
    traders = people[people["role"] == "trader"]
    for _, group in pd.DataFrame(cohorts.columns(answered.people.cohorts)).groupby("dimension"):
        if group["dimension"].iloc[0] == "role":
            continue
        assert group["accounts"].sum() == pytest.approx(len(traders) / 2)
        assert group["adl_probability_hits"].sum() == traders["deleveraged"].sum()


def test_a_cohort_by_hand(found, answered):
    shorts = next(c for c in answered.people.cohorts if c.name == "short")
    people = pd.DataFrame(answered.people.accounts)
    mine = people[(people["role"] == "trader") & (people["side"] == "short")]
    met = (mine["paths"]).sum()
    assert shorts.adl.value == pytest.approx(mine["deleveraged"].sum() / met)
    assert shorts.haircut.value == pytest.approx(
        mine["adl_loss"].sum() / mine["equity_when_deleveraged"].sum()
    )


def test_features_of_accounts_by_hand():
    holdings = Holdings(
        cash=np.asarray([10.0, 50.0, 0.0]),
        role=np.asarray([TRADER, MAKER, TRADER]),
        account=np.asarray([0, 0, 1, 2]),
        market=np.asarray([1, 0, 0, 1]),
        size=np.asarray([30.0, -25.0, 20.0, -5.0]),
        entry=np.ones(4),
    )
    found = cohorts.features(holdings)
    assert found["notional"].tolist() == [55.0, 20.0, 5.0]
    assert found["net_notional"].tolist() == [5.0, 20.0, -5.0]
    assert found["side"].tolist() == ["hedged", "long", "short"]
    assert found["market"].tolist() == [1, 0, 1]
    assert found["leverage"].tolist() == [5.5, 0.4, np.inf]
    assert found["role"].tolist() == ["trader", "maker", "trader"]


def test_many_intervals_equal_single_ones():
    hits, n = np.asarray([0, 3, 17, 20, 0]), np.asarray([20, 20, 20, 20, 0])
    p, low, high = estimators.proportions(hits, n, 0.95)
    for i in range(4):
        hit = np.arange(20) < hits[i]
        sample = estimators.Sample(np.zeros(20, int), 0.95, False)
        one = estimators.proportion("x", hit, sample)
        assert (p[i], low[i], high[i]) == pytest.approx((one.value, one.low, one.high))
    assert np.isnan([p[4], low[4], high[4]]).all()


def test_ratios_cover_what_they_should():
    """600 groups of 12 events: 95 % intervals cover the truth in 92 to 97.5 % (false alarm 1e-4)."""
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(600), 12)
    whole = random.uniform(1.0, 3.0, len(group))
    part = 0.2 * whole + random.normal(0.0, 0.3, len(group))
    r, low, high = estimators.ratios(group, part, whole, 600, 0.95)
    assert 0.92 <= np.mean((low <= 0.2) & (high >= 0.2)) <= 0.975
    assert np.abs(r - 0.2).max() < 0.3
    lone = estimators.ratios(np.asarray([1]), np.ones(1), np.ones(1), 3, 0.95)
    assert np.isnan(lone[0][0]) and lone[0][1] == 1.0 and np.isnan(lone[1][1])


def test_probabilities_of_cohorts_stay_probabilities(answered):
    table = cohorts.columns(answered.people.cohorts)
    for name in ("adl_probability", "liquidation_probability"):
        value, low, high = (table[f"{name}{end}"] for end in ("", "_low", "_high"))
        known = ~np.isnan(low)
        assert known.any()
        assert (0 <= low[known]).all() and (low <= value)[known].all()
        assert (value <= high)[known].all() and (high[known] <= 1).all()
        assert (high[known & (value == 0)] > 0).all()


def test_a_share_of_accounts_by_hand():
    """Independent paths of one account each: Wilson's interval of a proportion, but for n / (n − 1)."""
    hit = np.arange(400) % 4 == 0
    sample = estimators.Sample(np.zeros(400, int), 0.95, False)
    one = estimators.proportion("x", hit, sample)
    many = estimators.share_of("x", hit.astype(float), np.ones(400), sample)
    assert many.value == one.value == 0.25
    assert (many.low, many.high) == pytest.approx((one.low, one.high), rel=0.01)
    none = estimators.share_of("x", np.zeros(400), np.ones(400), sample)
    assert (none.low, none.high) == pytest.approx((0.0, 1 - 0.05 ** (1 / 400)))


# Stress


def holdings(cash, size) -> Holdings:
    count = len(cash)
    return Holdings(
        cash=np.asarray(cash, float),
        role=np.full(count, TRADER),
        account=np.arange(count),
        market=np.zeros(count, int),
        size=np.asarray(size, float),
        entry=np.ones(count),
    )


def test_gap_debts_by_hand():
    book = holdings([10.0, 5.0, 10.0], [100.0, -100.0, 20.0])
    assert stress.gap_debts(book, -0.2).tolist() == [10.0, 0.0, 0.0]
    assert stress.gap_debts(book, 0.2).tolist() == [0.0, 15.0, 0.0]


def test_reverse_stress_finds_the_smallest_crash(found, answered):
    move = stress.crash_size(found.results)
    hit = found.results["adl_required_fund"] > found.capital
    table = pd.DataFrame(answered.stress.reverse).set_index("event")
    assert table.loc["adl", "hits"] == hit.sum()
    falls = -move[hit & (move < 0)]
    assert table.loc["adl", "smallest_fall"] == (
        falls.min() if len(falls) else pytest.approx(np.nan, nan_ok=True)
    )
    sizes = pd.DataFrame(answered.stress.by_size)
    assert sizes[sizes["event"] == "adl"]["paths"].sum() == np.sum(move != 0)
    assert table.loc["adl", "hits_fall"] + table.loc["adl", "hits_rise"] == hit.sum()


def test_the_parts_of_a_loss_do_not_overlap(found, answered):
    """First-loss capital, owner and nobody together lose no more than fund and owner did and owe."""
    fund = found.fund
    spent = np.maximum(fund["vault_profit"], -found.capital)
    assert answered["fund_profit"].value == pytest.approx(spent.mean())
    assert (spent >= -found.capital).all() and (spent >= fund["vault_profit"]).all()


def test_falls_and_rises_make_the_whole(found, answered):
    move = stress.crash_size(found.results)
    hits = answered["adl_probability_falls"].hits + answered["adl_probability_rises"].hits
    assert hits == answered["adl_probability"].hits == answered.stress.reverse["hits"][0]
    assert answered["adl_probability_falls"].n == np.sum(move < 0)


def test_crash_sizes_are_those_of_the_index(found):
    """Fall and rise of the index as the traces show it, on the same paths."""
    question = found.question
    path = int(found.results.path[5])
    seen = simulate.traces(
        question.key,
        question.books,
        question.venue,
        question.scenario,
        question.simulation,
        [path],
        batch=8,
    )
    book = question.opened.holdings[path % 2]
    weight = np.bincount(book.market, np.abs(book.size), minlength=len(question.markets))
    level = (seen["index"][0] - 1.0) @ weight / weight.sum()
    assert found.results["index_fall"][5] == pytest.approx(max(-level.min(), 0.0), abs=1e-12)
    assert found.results["index_rise"][5] == pytest.approx(max(level.max(), 0.0), abs=1e-12)


def test_the_largest_accounts_are_safe(found, asked):
    """Their equity is 100 times their notional, and nobody else's changes."""
    seen = {}

    def spy(question, paths, *_):
        seen["books"] = question.books
        return found.results.some(np.arange(len(paths)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "_simulate", spy)
        study.without_largest(found.question, found.results, 8)
    before, after = np.asarray(found.question.books.cash), np.asarray(seen["books"].cash)
    changed = before != after
    assert changed.sum(axis=1).tolist() == [10, 10]
    people = cohorts.opening(found)
    for book in range(2):
        mine = (people["book"] == book) & (people["role"] == "trader")
        largest = np.sort(people["notional"][mine])[-10:]
        np.testing.assert_allclose(np.sort(after[book][changed[book]]), 100.0 * largest)


# Replays


def test_a_replay_is_what_happened(found):
    """What the steps add up to is what the path reported at the venue's fund."""
    steps = pd.DataFrame(found.replays.steps)
    checked = 0
    for name, path in found.replays.chosen.items():
        row = np.flatnonzero(found.fund.path == path)
        if not len(row):
            continue
        mine, checked = steps[steps["replay"] == name], checked + 1
        for flow in (
            "liquidated_long",
            "takeover",
            "bad_debt",
            "fund_draw",
            "social_loss",
            "deleveraged_short",
        ):
            assert mine[flow].sum() == pytest.approx(found.fund[flow][row[0]], rel=1e-9, abs=1e-6)
        assert mine["fund_cash"].iloc[-1] - found.capital == pytest.approx(
            found.fund["net_inflow"][row[0]], rel=1e-9, abs=1e-6
        )
        last = mine.iloc[-1]
        for series, metric in (("unfunded", "unfunded"), ("fund_at_exit", "vault_profit")):
            start = found.capital if series == "fund_at_exit" else 0.0
            expected = found.fund[metric][row[0]]
            assert last[series] - start == pytest.approx(expected, rel=1e-9, abs=1e-3)
    assert checked


def test_the_replayed_paths_are_typical_bad_and_worst(found):
    need = found.results["required_fund"]
    chosen = [need[p] for p in found.replays.chosen.values()]
    assert chosen[0] <= chosen[1] <= chosen[2] == need.max()
    assert np.mean(need <= chosen[0]) == pytest.approx(0.5, abs=0.05)


def test_fans_are_quantiles_of_the_paths(found):
    fans = found.replays.fans
    assert found.replays.paths == 8 and len(fans["time"]) == len(found.question.simulation.dt)
    for name in ("fund", "index_move", "displacement", "depth"):
        stacked = np.stack([fans[f"{name}_{q}"] for q in ("p05", "p25", "p50", "p75", "p95")])
        assert (np.diff(stacked, axis=0) >= 0).all()
    assert fans["time"][-1] == 3600.0


# The ladder


@pytest.fixture(scope="module")
def rungs():
    fewer = [o for o in FEW if not re.search("paths=", o)]
    asked = riskengine.question(
        *fewer, "scenario=ladder", "scenario.ladder.shocks_pct=[-10,10,-40,40]",
        "simulation.paths=8", "simulation.fund_paths=8", "simulation.level_paths=0",
        "simulation.refine_paths=0", "simulation.largest_paths=0", "simulation.replay_paths=0",
    )  # fmt: skip
    found = riskengine.simulate(asked)
    return found, riskengine.estimate(found, asked)


def test_every_shock_of_a_ladder_meets_every_book(rungs):
    found, answered = rungs
    assert [r.shock for r in answered.stress.ladder] == pytest.approx([-0.1, -0.4, 0.1, 0.4])
    assert [r.books for r in answered.stress.ladder] == [2, 2, 2, 2]
    signed = found.results["index_rise"] - found.results["index_fall"]
    assert signed == pytest.approx([-0.1, -0.1, 0.1, 0.1, -0.4, -0.4, 0.4, 0.4])
    assert found.results.book.tolist() == [0, 1] * 4


def test_the_ladder_leads_with_its_smallest_shocks(rungs):
    _, answered = rungs
    first = next(r for r in answered.stress.ladder if r.shock < 0 and r.depleted)
    said = f"the fund is dry from a fall of {-100 * first.shock:g} % on (in {first.depleted} of 2 books)"
    assert said in answered.sentence
    assert "probability" not in answered.sentence
    table = tables.ladder_columns(answered.stress.ladder)
    assert {"shock", "liquidated", "bad_debt", "fund_left", "deleveraged", "social_loss"} <= set(
        table
    )


# The doctor


class Heard(Screen):
    """A screen that remembers."""

    def __init__(self):
        super().__init__()
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def examined(config) -> tuple[int, str]:
    """Exit code of the doctor and what it says."""
    heard = Heard()
    return doctor.run(config, heard), "\n".join(heard.said)


def test_the_doctor_finds_this_machine_sound():
    config = configure.load(["task=doctor"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            doctor, "CHECKS", (doctor.versions, doctor.devices, doctor.numerics, doctor.figures)
        )
        code, said = examined(config)
    assert code == 0
    assert "FAIL" not in said
    for name in (
        "versions",
        "devices",
        "product",
        "gather",
        "tree sums",
        "random bits",
        "float64",
        "figures",
    ):
        assert re.search(rf"^ok    {name} ", said, re.M), name


def test_the_doctor_fails_what_is_wrong():
    import jax

    from riskengine.montecarlo import probes

    config = configure.load(["task=doctor"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "CHECKS", (doctor.versions, doctor.numerics))
        patch.setattr(probes, "product_probe", lambda: False)
        patch.setattr(probes, "gather_probe", lambda: 1 // 0)
        patch.setattr(jax, "__version__", "0.10.2")
        code, said = examined(config)
    assert code == 3
    assert "FAIL  versions" in said and "39103" in said
    assert "FAIL  numerics       ZeroDivisionError" in said


def test_the_doctor_runs_a_small_venue():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "PATHS", 8)
        patch.setattr(doctor, "SMALL", [o for o in FEW if "simulation.paths" not in o])
        findings = doctor.small_run(configure.load(["task=doctor"]))
    assert {f.name: f.good for f in findings} == {
        "conservation": True, "second engine": True, "first result": None, "pace": None,
    }  # fmt: skip


# The example


def test_the_example_runs(capsys):
    """`examples/first_study.py` as it is, on fewer crashes."""
    source = (PROJECT / "examples" / "first_study.py").read_text(encoding="utf-8")
    few = tuple(o for o in FEW if "experiment" not in o and "shadow" not in o)
    changed = source.replace(
        'SMALL = ("experiment=small",', f'SMALL = ("experiment=small", *{few!r},'
    )
    assert changed != source
    exec(compile(changed, "first_study.py", "exec"), {"__name__": "__main__"})
    said = capsys.readouterr().out
    assert "in a simulated crash" in said and "Binance's rules need" in said and "unfunded" in said
