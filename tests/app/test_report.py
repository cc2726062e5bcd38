"""The report says what the tables say, stands alone, and can be read by everybody."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from commands import PROJECT, SMALL

import riskengine
from riskengine.app import (
    build,
    cohorts,
    configure,
    crashes,
    doctor,
    hinges,
    report,
    show,
    stress,
    study,
    tables,
    words,
)
from riskengine.app.shadow import Shadow
from riskengine.app.show import Screen
from riskengine.montecarlo import estimators, setting, simulate
from riskengine.montecarlo.setting import Setting
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
    text = "".join(Page(page).words).replace("\u00a0", " ")
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
        assert f"<code>{e.name.replace('_', '_<wbr>')}</code>" in page


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
        changed += int(setting.bound(found.results.some(np.arange(len(together))), capital).sum())
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
    (one,) = asked.specs.setting.at_funds(found.results, {np.inf: 8}).values()
    assert len(one) == 8 and not one["depleted"].any() and not one["intervened"].any()
    assert np.array_equal(one["required_fund"], found.results["required_fund"][:8])


# Accounts and cohorts


def test_accounts_count_what_the_hits_count(found, answered):
    people, hits = pd.DataFrame(answered.people.accounts), found.fund.hits
    assert people["times_deleveraged"].sum() == len(hits["row"])
    assert people["adl_loss"].sum() == pytest.approx(hits["adl_loss"].sum())
    assert people["liquidated_without_limit"].sum() == found.results.liquidated.sum()
    some = people[people["times_deleveraged"] > 0].iloc[0]
    names = found.question.account_names
    mine = [
        i for i, (p, a) in enumerate(zip(hits["row"], hits["account"], strict=True))
        if p % 2 == some["book"] and names[p % 2][a] == some["account"]
    ]  # fmt: skip
    assert len(mine) == some["times_deleveraged"]
    expected = hits["adl_loss"][mine].sum() / hits["equity"][mine].sum()
    assert some["expected_haircut"] == pytest.approx(expected)
    assert some["deleveraged_probability"] == len(mine) / np.sum(found.fund.book == some["book"])


def test_cohorts_of_a_dimension_are_all_traders(found, answered):
    people = pd.DataFrame(answered.people.accounts)
    traders = people[people["role"] == "trader"]
    for _, group in pd.DataFrame(cohorts.columns(answered.people.cohorts)).groupby("dimension"):
        if group["dimension"].iloc[0] == "role":
            continue
        assert group["accounts"].sum() == pytest.approx(len(traders) / 2)
        assert group["deleveraged_probability_hits"].sum() == traders["times_deleveraged"].sum()


def test_a_cohort_by_hand(found, answered):
    shorts = next(c for c in answered.people.cohorts if c.name == "short")
    people = pd.DataFrame(answered.people.accounts)
    mine = people[(people["role"] == "trader") & (people["side"] == "short")]
    met = (mine["paths"]).sum()
    assert shorts.deleveraged.value == pytest.approx(mine["times_deleveraged"].sum() / met)
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
    for name in ("deleveraged_probability", "liquidation_probability"):
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
    assert table.loc["intervention", "hits"] == hit.sum()
    falls = -move[hit & (move < 0)]
    assert table.loc["intervention", "smallest_fall"] == (
        falls.min() if len(falls) else pytest.approx(np.nan, nan_ok=True)
    )
    sizes = pd.DataFrame(answered.stress.by_size)
    assert sizes[sizes["event"] == "intervention"]["paths"].sum() == np.sum(move != 0)
    assert (
        table.loc["intervention", "hits_fall"] + table.loc["intervention", "hits_rise"] == hit.sum()
    )


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


def test_crash_sizes_are_those_of_the_index(found, asked):
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
        asked.config.simulation.batch,
    )
    book = question.opened.holdings[path % 2]
    weight = np.bincount(book.market, np.abs(book.size), minlength=len(question.markets))
    level = (seen["index"][0] - 1.0) @ weight / weight.sum()
    assert found.results["index_fall"][5] == pytest.approx(max(-level.min(), 0.0), abs=1e-12)
    assert found.results["index_rise"][5] == pytest.approx(max(level.max(), 0.0), abs=1e-12)


def test_the_largest_accounts_are_safe(found, asked):
    """Their equity is 100 times their notional, and nobody else's changes."""
    seen = {}

    def spy(setting, paths, *_):
        seen["books"] = setting.books
        return found.results.some(np.arange(len(paths)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Setting, "unlimited", spy)
        study.without_largest(found.question, found.results, 8)
    before, after = np.asarray(found.question.books.cash), np.asarray(seen["books"].cash)
    changed = before != after
    assert changed.sum(axis=1).tolist() == [10, 10]
    people = cohorts.opening(found)
    for book in range(2):
        mine = (people["book"] == book) & (people["role"] == "trader")
        largest = np.sort(people["notional"][mine])[-10:]
        np.testing.assert_allclose(np.sort(after[book][changed[book]]), 100.0 * largest)


# How large crashes are, and what hangs on that


def test_sizes_of_crashes_are_those_of_the_paths(found, answered):
    size = np.abs(stress.crash_size(found.results))
    assert answered["crash_size_largest"].value == size.max()
    assert answered["crash_size_median"].value == estimators.upper(size, 0.5)
    assert answered["crash_size_p90"].value == estimators.upper(size, 0.1)


def test_a_target_within_history_leaves_larger_crashes_out(found, asked):
    """At a limit that leaves 32 paths, and a probability that 32 paths can carry."""
    size = np.abs(stress.crash_size(found.results))
    limit = float(np.sort(size)[31])
    config = configure.load(
        [
            *FEW,
            f"scenario.seen.largest_pct={100 * limit * (1 + 1e-9):.15g}",
            "target.adl_probability=0.1",
        ]
    )
    every = found.every(0.95)
    (within,) = crashes.within_history(found, config, every)
    need = found.results["adl_required_fund"][size <= limit]
    assert within.n == len(need) == 32
    assert within.value == estimators.upper(need, 0.1)
    unknown = configure.load([*FEW, "scenario.seen.largest_pct=null"])
    assert not crashes.within_history(found, unknown, every)


def test_the_crashes_that_set_the_target_are_those_at_or_above_it(found):
    need = found.results["adl_required_fund"]
    size, target = stress.crash_size(found.results), float(np.sort(need)[-5])
    median, rises = crashes.deciding(found, found.every(0.95), target)
    assert median.n == rises.n == 5 and rises.hits == np.sum(size[need >= target] > 0)
    assert median.value == np.median(np.abs(size[need >= target]))


def test_the_page_says_whose_risk_it_is_and_who_stands_behind_the_fund(page, asked, answered):
    text = "".join(Page(page).words).replace("\u00a0", " ")
    assert "No figure here is a statement about Hyperliquid's real fund" in text
    assert "a synthetic book of" in answered.sentence and "Hyperliquid's rules" in answered.sentence
    assert re.search(r"Capital: the fund has 0\.0587 % .*, then its parent 2\.56 % \(", text)
    assert "P(its parent pays)" in text and "P(somebody is deleveraged)" not in text
    assert re.search(r"Who pays, mean per crash: .*its parent", text)


def test_what_follows_an_intervention_is_not_more_likely_than_it(found, answered):
    fund, adl = found.fund, answered["adl_probability"].value
    for name, hit in (
        ("deleveraging_probability", fund["accounts_deleveraged"] > 0),
        ("owner_pays_probability", fund["owner_profit"] < 0),
    ):
        assert not (hit & ~fund["intervened"]).any()
        expected = adl * hit.sum() / fund["intervened"].sum()
        assert answered[name].value == pytest.approx(expected) and answered[name].value <= adl


def test_a_material_loss_is_a_thousandth_of_open_interest(found, answered):
    least = 1e-3 * found.question.open_interest
    hit = study.material(found.question, found.fund)
    assert np.array_equal(hit, found.fund["unfunded"] > least)
    assert answered["unfunded_material_probability"].hits == hit.sum()
    assert answered["unfunded_material_probability"].note.startswith(
        "above 0.1 % of open interest, "
    )


def test_changes_are_told_in_percent_with_a_verdict():
    def estimate(value, low, high, name="fund_target"):
        return estimators.Estimate(name, value, low, high, 0.95, 100, 10, "", "USD")

    change = hinges.change(estimate(25.0, -5.0, 39.0), np.full(128, 100.0))
    assert str(change) == "+25 % (-5 to +39 %)" and change and not change.moved
    assert hinges.verdict(change, estimate(10.0, 8.0, 12.0)).startswith("not resolved")
    assert hinges.verdict(change, estimate(10.0, 5.0, 15.0)).startswith("small")
    large = hinges.change(estimate(25.0, 15.0, 39.0), np.full(128, 100.0))
    assert large and hinges.verdict(large, estimate(10.0, 8.0, 12.0)).startswith(
        "the time step matters"
    )


def test_the_second_opinion_says_what_it_repeated():
    one = Shadow(3, 266, 460, 1e-16, "cash")
    assert "1 of 4,096 paths, 266 of its 460 steps" in show.opinion([one], 4096)
    assert "2 of 4,096 paths, 532 of their 920 steps" in show.opinion([one, one], 4096)


def test_what_is_not_modelled_is_one_list():
    for name in ("README.md", "docs/model.md"):
        text = " ".join((PROJECT / name).read_text(encoding="utf-8").split()).lower()
        for item in words.NOT_MODELLED:
            assert item.lower() in text, (name, item)


def test_the_glossary_of_the_readme_is_that_of_the_page():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    for term, meaning in words.GLOSSARY.items():
        assert f"- **{term}**: {meaning}." in text, term


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
    first = next(r for r in answered.stress.ladder if r.shock < 0 and r.dry)
    said = f"the fund is dry from a fall of {-100 * first.shock:g} % on (in {first.dry} of 2 books)"
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


def test_the_doctor_says_where_programs_are_kept(tmp_path, monkeypatch):
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "a.program").write_bytes(bytes(2**20))
    config = configure.load(["task=doctor"])
    monkeypatch.setenv("RISKENGINE_CACHE", str(tmp_path))
    assert doctor.kept(config)[0].words == f"1 kept in {tmp_path}, 1 MiB"
    monkeypatch.setenv("RISKENGINE_CACHE", "")
    assert "not kept" in doctor.kept(config)[0].words
    monkeypatch.delenv("RISKENGINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    assert doctor.kept(config)[0].words == f"0 kept in {tmp_path / 'none' / 'riskengine'}, 0 MiB"


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


@pytest.mark.nightly
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
    assert "In a simulated crash" in said and "Binance's rules need" in said and "unfunded" in said


@pytest.mark.parametrize(
    ("venue", "owners", "providers"),
    [
        ("hyperliquid", ["parent"], []),
        ("deribit", [], ["providers"]),
        ("drift_v2", [], [f"tier_a {coin}" for coin in ("BTC", "ETH", "SOL")] + ["tier_b XRP"]),
        ("binance", [], []),
    ],
)
def test_an_owner_stands_behind_a_pool_and_a_provider_takes_over(venue, owners, providers):
    asked = riskengine.question(*FEW, f"venue={venue}")
    built = build.build(asked.config)
    assert list(study.owners(built)) == owners
    assert list(study.providers(built)) == providers
