"""The files of a run folder."""

import dataclasses
from typing import Any

import numpy as np

from riskengine.app import cohorts, store
from riskengine.app.answers import Answers
from riskengine.app.charts import Figure
from riskengine.app.store import RunFolder
from riskengine.app.stress import Rung
from riskengine.app.study import Study
from riskengine.montecarlo.estimators import Estimate
from riskengine.montecarlo.setting import NEVER, bound
from riskengine.montecarlo.simulate import Results

HEADLINE = (
    "adl_probability", "depletion_probability", "unfunded_material_probability", "fund_target",
    "expected_haircut",
)  # fmt: skip


def write(
    folder: RunFolder, study: Study, answers: Answers, figures: dict[str, Figure], facts: dict,
    resolved: dict,
) -> None:  # fmt: skip
    """Everything but the report and the manifest, which come last."""
    units = {"units": "USD, seconds, fractions", "F": f"{study.capital:.2f} USD"}
    folder.write("config.yaml", yaml_of(resolved))
    folder.write_parquet("paths.parquet", path_columns(study), units)
    folder.write_parquet(
        "unlimited.parquet", _columns(study.results) | in_full(study), {"F": "inf"}
    )
    if study.grouped:
        chance = {"chance": study.grouped.chance}
        folder.write_parquet(
            "grouped.parquet", _columns(study.grouped.results) | chance, {"F": "inf"}
        )
    folder.write_parquet("hits.parquet", hit_columns(study), units)
    people = {n: x for n, x in answers.people.accounts.items() if n != "slot"}
    folder.write_parquet("accounts.parquet", people, units)
    if study.replays:
        folder.write_parquet("replays.parquet", study.replays.steps, units)
    for name, columns in csv_tables(study, answers).items():
        if columns:
            folder.write(f"{name}.csv", store.to_csv(columns))
    listed = [e.record() for e in answers.estimates]
    folder.write("estimates.json", store.to_json({"run": facts, "estimates": listed}))
    for name, figure in figures.items():
        folder.write(f"{name}.svg", figure.svg)
        folder.write(f"{name}.png", figure.png)


def csv_tables(study: Study, answers: Answers) -> dict[str, dict[str, np.ndarray]]:
    """The small tables of a run, by the name of their file; empty where there is nothing to say."""
    stress = answers.stress
    return {
        "curves": answers.curves,
        "levels": answers.levels,
        "cohorts": cohorts.columns(answers.people.cohorts),
        "fans": study.replays.fans if study.replays else {},
        "reverse_stress": stress.reverse,
        "crash_size": stress.by_size,
        "cover": stress.cover,
        "ladder": ladder_columns(stress.ladder),
        "rare": answers.rare,
    }


def ladder_columns(rungs: list[Rung]) -> dict[str, np.ndarray]:
    """The ladder as a table; amounts are means over books."""
    if not rungs:
        return {}
    counts = {n: np.asarray([getattr(r, n) for r in rungs]) for n in ("shock", "books")}
    happened = ("deleveraged", "dry", "unfunded")
    events = {f"books_{n}": np.asarray([getattr(r, n) for r in rungs]) for n in happened}
    return counts | {n: np.asarray([r.means[n] for r in rungs]) for n in rungs[0].means} | events


def yaml_of(resolved: dict) -> str:
    """A configuration as a file that can be read."""
    import yaml

    return yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True)


def _columns(results: Results) -> dict[str, np.ndarray]:
    return {"path": results.path, "book": results.book} | results.metrics


def in_full(study: Study) -> dict[str, np.ndarray]:
    """Which paths ran in full, where not all did."""
    runs = study.grouped
    return {"in_full": np.isin(study.results.path, runs.chosen.path)} if runs else {}


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
    columns |= in_full(study)
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
    book = results.book[hits["row"]]
    who = [names[b][a] for b, a in zip(book, hits["account"], strict=True)]
    return {
        "path": results.path[hits["row"]],
        "book": book,
        "account": np.asarray(who, object),
        "adl_loss": hits["adl_loss"],
        "equity": hits["equity"],
        "profit": hits["profit"],
    }


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
