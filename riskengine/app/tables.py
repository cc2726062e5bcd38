"""The files of a run folder."""

import dataclasses
from typing import Any

import numpy as np

from riskengine.app import figures, store
from riskengine.app.answers import Answers
from riskengine.app.config import Config
from riskengine.app.study import NEVER, Study, bound
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
    folder.write_parquet("paths.parquet", path_columns(study), units)
    folder.write_parquet("unlimited.parquet", _columns(study.results), {"F": "inf"})
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


def _columns(results: Results) -> dict[str, np.ndarray]:
    return {"path": results.path, "book": results.book} | results.metrics


def path_columns(study: Study) -> dict[str, np.ndarray]:
    """One row per path at the venue's fund, in the order of their ids.

    Needs are those without a limit, on every path. `at_fund` says where all other numbers are
    known: paths that ran at the venue's fund, and paths that it does not change. Elsewhere they
    are NaN.
    """
    results, capital, count = study.results, study.capital, len(study.fund)
    known = ~bound(results, capital)
    known[:count] = True
    columns: dict[str, np.ndarray] = {"path": results.path, "book": results.book, "at_fund": known}
    needed = {name: results[name] for name in NEEDS}
    needed["excess_draw"] = np.maximum(results["required_fund"] - capital, 0.0)
    needed["intervened"] = results["adl_required_fund"] > capital
    depleted = results["required_fund"] > capital
    depleted[:count] = study.fund["depleted"]
    needed["depleted"] = depleted
    for name, values in results.metrics.items():
        if name in needed:
            columns[name] = needed[name]
            continue
        column = np.where(known, values, np.nan) if values.dtype.kind == "f" else values.copy()
        column[:count] = study.fund[name]
        columns[name] = column
    for name in NEVER:
        columns[name] = np.where(
            known, np.where(np.arange(len(results)) < count, columns[name], np.inf), np.nan
        )
    return columns


NEEDS = ("required_fund_cash", "required_fund", "capital_rule_fund", "adl_required_fund")


def hit_columns(study: Study) -> dict[str, np.ndarray]:
    """One row per deleveraged account and path."""
    hits, results = study.fund.hits, study.fund
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
    """One row per account of every book: on how many paths it was hit, and what it lost.

    Liquidations are counted on the paths without a limit, ADL on those at the venue's fund.
    """
    results, names = study.fund, study.question.account_names
    books, accounts = results.liquidated.shape
    met, free = (np.bincount(r.book, minlength=books) for r in (results, study.results))
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
        "paths_without_limit": np.repeat(free, accounts)[real],
        "liquidated_without_limit": study.results.liquidated.ravel()[real],
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
