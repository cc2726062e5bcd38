"""Looks: which crashes and books they take, that these are fresh, and what weighted ones verify."""

import numpy as np
import pytest

from riskengine.app import (
    bench,
    build,
    configure,
    looks,
    practice,
    store,
    validate,
    validate_design,
)
from riskengine.app.bench import Bench
from riskengine.calibration import levers
from riskengine.calibration.frontier import Needs
from riskengine.montecarlo.estimators import Sample
from riskengine.montecarlo.weighted import WeightedPaths

RARE = [
    "experiment=small", "venue=hyperliquid", "book.books=8", "book.accounts=30",
    "book.markets=[BTC]", "simulation.paths=256", "simulation.grid=[{duration_min: 10, dt_s: 60}]",
    "design.paths=64", "design.rare_paths=640", "design.verify_books=20", "design.looks=2",
    "target.adl_probability=0.01", "target.depletion_probability=0.015",
]  # fmt: skip


def loaded(*changes: str):
    config = configure.load(["task=calibrate", *changes])
    validate.check(config)
    return config


@pytest.mark.parametrize(
    ("changes", "plain", "weighted", "books"),
    [
        ([], 4096, 0, 512),  # a hundredth: the run's own number is enough
        (["target.adl_probability=1e-3"], 512, 2048, 256),
        (["target.adl_probability=1e-4"], 512, 20_000, 512),
        (["target.adl_probability=1e-3", "book.accounts=50000"], 512, 2048, 80),
        (["target.adl_probability=1e-3", "design.verify_books=100"], 512, 2048, 100),
        (["target.adl_probability=1e-3", "design.rare_paths=0"], 15_219, 0, 512),
        (["simulation.paths=256"], 1515, 0, 189),  # weighted ones would be more work
        (["simulation.paths=8", "target.adl_probability=0.5", "target.depletion_probability=0.5",
          "book.books=1", "design.paths=8", "design.verify_paths=24"], 24, 0, 8),
        (["target.adl_probability=1e-3", "target.haircut_pct=5"], 15_219, 0, 512),
        (["target.adl_probability=1e-3", "scenario=concentration"], 512, 2048, 256),
        (["target.adl_probability=1e-3", "design.verify_paths=10000"], 10_000, 0, 512),
    ],
)  # fmt: skip
def test_looks_take_the_crashes_that_the_target_needs(changes, plain, weighted, books):
    config = loaded(*changes)
    assert validate_design.verify_paths(config) == plain
    assert validate_design.weighted_paths(config) == weighted
    assert validate_design.look_books(config) == books


@pytest.fixture(scope="module")
def asked():
    config = loaded(*RARE)
    first = build.build(config)
    return config, first, looks.questions(config, first)


@pytest.fixture(scope="module")
def found(asked, tmp_path_factory):
    config, first, questions = asked
    with store.open_run(tmp_path_factory.mktemp("runs"), "looks", "key") as folder:
        runs = Bench(folder, None, lambda *_: None)
        fresh = looks.run(config, questions, levers.still(first.venue), 0.0, runs)
        return (
            fresh,
            looks.verdict(config, first, fresh, runs),
            Bench(folder, None, lambda *_: None),
        )


def test_books_and_crashes_are_fresh(asked):
    _, first, questions = asked
    keys = {str(q.key) for q in (first, *questions)}
    assert len(questions) == 2 and len(keys) == 3
    worth = [h.cash.sum() for q in (first, *questions) for h in q.opened.holdings]
    assert len(set(worth)) == len(worth) == 8 + 2 * 20
    shapes = {q.books.size.shape for q in questions}
    assert len(shapes) == 1 and questions[0].setting.number_of_books == 20
    assert all(float(q.venue.capital) == float(first.venue.capital) for q in questions)


def test_weighted_crashes_verify_what_plain_ones_confirm(asked, found):
    config, first, (question, _) = asked
    fresh, verdict, _ = found
    assert verdict.met and all(look.weighted and look.books == 20 for look in verdict.looks)
    assert [look.alpha for look in verdict.looks] == pytest.approx([0.025, 0.0125])
    # 2,560 crashes of the first look's books that no choice has seen: fails by chance below 1e-6
    ran = question.setting.unlimited(np.arange(10_000, 12_560))
    adl = bench.needs(question, ran, 0.95).adl
    assert np.mean(adl > verdict.capital) < 0.01 + 5.0 * np.sqrt(0.01 * 0.99 / 2560)
    alone = verdict.looks[0].capital["adl"]
    assert np.mean(adl > 0.2 * alone) > 0.01  # and it is not far too much


def test_rules_are_judged_by_whichever_crashes_show_them():
    need, few = np.random.default_rng(2).pareto(2.0, 40_000), Sample(np.arange(100) % 10)
    every = Sample(np.arange(40_000) % 10)
    plain = Needs(*3 * [np.sort(need)[::400]], few)
    rare = WeightedPaths(need, np.ones(40_000), np.arange(40_000), every, "weighted")
    judge = practice.Judge(plain, rare)
    often, seldom = judge.rule("little", 0.5), judge.rule("much", 10.0)
    assert often.adl.n == 100 and often.adl.hits > 10
    assert seldom.adl.n == 40_000 and "weighted" in seldom.adl.method
    assert seldom.adl.low < 1 / 121 < seldom.adl.high
    assert practice.Judge(plain, None).rule("much", 10.0).adl.n == 100


def test_looks_are_joined_as_other_books():
    one = Needs(*3 * [np.arange(4.0)], Sample(np.asarray([0, 1, 0, 1])))
    assert practice.joined([one, one]).sample.book.tolist() == [0, 1, 0, 1, 2, 3, 2, 3]
    part = WeightedPaths(np.ones(2), np.ones(2), np.asarray([1, 3]), one.sample, "w")
    both = practice.together([part, part])
    assert both.draw.tolist() == [1, 3, 5, 7] and both.sample.books == 4
    assert both.together(both.weight).tolist() == [0, 1, 0, 1, 0, 1, 0, 1]


def test_a_look_that_was_stopped_finds_what_it_ran(asked, found):
    config, first, questions = asked
    fresh, _, again = found
    repeated = looks.run(config, questions, levers.still(first.venue), 0.0, again)
    assert again.found > 0
    for before, after in zip(fresh, repeated, strict=True):
        assert np.array_equal(before.needs.adl, after.needs.adl)
        assert np.array_equal(before.rare.adl.need, after.rare.adl.need)
        assert np.array_equal(before.rare.adl.weight, after.rare.adl.weight)
