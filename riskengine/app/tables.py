"""The files of a run folder."""

import dataclasses
from typing import Any

import numpy as np

from riskengine.app import figures, store
from riskengine.app.answers import Answers
from riskengine.app.config import Config
from riskengine.app.study import Study
from riskengine.montecarlo.estimators import Estimate
from riskengine.montecarlo.simulate import Results

HEADLINE = (
    "adl_probability", "depletion_probability", "unfunded_probability", "fund_target",
    "expected_haircut",
)  # fmt: skip


def write(folder, config: Config, study: Study, answers: Answers, second, facts, resolved) -> None:
    """Everything but the manifest, which comes last."""
    units = {"units": "USD, seconds, fractions", "F": f"{study.capital:.2f} USD"}
    folder.write("config.yaml", _yaml(resolved))
    folder.write_parquet("paths.parquet", path_columns(study.results), units)
    folder.write_parquet("hits.parquet", hit_columns(study), units)
    folder.write_parquet("accounts.parquet", account_columns(study), units)
    folder.write("curves.csv", store.to_csv(answers.curves))
    if answers.levels:
        folder.write("levels.csv", store.to_csv(answers.levels))
    listed = [e.record() for e in answers.estimates]
    folder.write("estimates.json", store.to_json({"run": facts, "estimates": listed}))
    svg, png = _figure(config, study, answers)
    folder.write("curves.svg", svg)
    folder.write("curves.png", png)


def _yaml(resolved: dict) -> str:
    import yaml

    return yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True)


def path_columns(results: Results) -> dict[str, np.ndarray]:
    """One row per path, in the order of their ids."""
    return {"path": results.path, "book": results.book} | results.metrics


def hit_columns(study: Study) -> dict[str, np.ndarray]:
    """One row per deleveraged account and path."""
    hits, results = study.results.hits, study.results
    names = study.question.account_names
    book = dict(zip(results.path.tolist(), results.book.tolist(), strict=True))
    rows = np.asarray([book[int(p)] for p in hits["path"]], np.int64)
    who = [names[b][a] for b, a in zip(rows, hits["account"], strict=True)]
    return {
        "path": hits["path"],
        "book": rows,
        "account": np.asarray(who, object),
        "adl_loss": hits["adl_loss"],
        "equity": hits["equity"],
        "profit": hits["profit"],
    }


def account_columns(study: Study) -> dict[str, np.ndarray]:
    """One row per account of every book: on how many paths it was hit, and what it lost."""
    results, names = study.results, study.question.account_names
    books, accounts = results.liquidated.shape
    met = np.bincount(results.book, minlength=books)
    row_of = dict(zip(results.path.tolist(), results.book.tolist(), strict=True))
    place = np.asarray([row_of[int(p)] * accounts for p in results.hits["path"]], np.int64)
    place = place + results.hits["account"].astype(np.int64)
    count = np.bincount(place, minlength=books * accounts)
    lost = np.bincount(place, results.hits["adl_loss"], minlength=books * accounts)
    equity = np.bincount(place, results.hits["equity"], minlength=books * accounts)
    real = np.asarray([name != "" for book in names for name in book])
    return {
        "book": np.repeat(np.arange(books), accounts)[real],
        "account": np.concatenate(names)[real],
        "paths": np.repeat(met, accounts)[real],
        "liquidated": results.liquidated.ravel()[real],
        "deleveraged": count[real],
        "adl_loss": lost[real],
        "equity_when_deleveraged": equity[real],
    }


def _figure(config: Config, study: Study, answers: Answers) -> tuple[str, bytes]:
    aim = answers.target.estimate if answers.target else None
    mark = None
    if aim is not None and aim.value is not None:
        mark = figures.Target(
            "adl_probability", config.target.adl_probability, aim.value,
            aim.low if aim.low is not None else 0.0,
            aim.high if aim.high is not None else float("inf"),
        )  # fmt: skip
    return figures.curves(
        answers.curves, answers.sentence, study.capital, study.question.open_interest, mark,
        config.simulation.confidence,
    )  # fmt: skip


def headline(answers: Answers) -> dict[str, Any]:
    """The numbers that a sweep compares."""
    found: dict[str, Any] = {}
    names = {e.name: e for e in answers.estimates}
    for name in HEADLINE:
        if name in names:
            e: Estimate = names[name]
            found |= {f"{name}{part}": dataclasses.asdict(e)[key] for part, key in PARTS}
    return found


PARTS = (("", "value"), ("_low", "low"), ("_high", "high"))
