"""The tables of a calibration, as columns."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from riskengine.app import bench, designs, haircuts, search, study
from riskengine.app.stress import columns_of
from riskengine.calibration import frontier
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate, Sample
from riskengine.montecarlo.simulate import Results

if TYPE_CHECKING:
    from riskengine.app.calibrate import Calibration

MILLION = 1e6
HAIRCUTS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)


def parts(name: str, e: Estimate) -> dict[str, float]:
    """A number with its interval; NaN where it is not known."""
    each = {"": e.value, "_low": e.low, "_high": e.high}
    return {f"{name}{end}": np.nan if x is None else x for end, x in each.items()}


def capital_for(found: "Calibration") -> list[tuple[str, float, Estimate]]:
    """Risk, its level, and the first-loss capital that meets it, for today's rules."""
    needs, levels = found.needs, frontier.LEVELS
    rows = []
    for risk, need in (("adl_probability", needs.adl), ("depletion_probability", needs.dry)):
        each = frontier.for_probability(risk, need, needs.sample)
        if found.rare:
            each = [found.rare.better(risk, x, e) for x, e in zip(levels, each, strict=True)]
        rows += [(risk, level, e) for level, e in zip(levels, each, strict=True)]
    losses = frontier.for_loss("loss_beyond", needs, [x * found.interest for x in levels])
    rows += [("loss_beyond", level, e) for level, e in zip(levels, losses, strict=True)]
    capital, tested = haircuts_at(found)
    for level in HAIRCUTS:
        e = frontier.for_level("expected_haircut", capital, tested, level)
        rows.append(("expected_haircut", level, e))
    return rows


def haircuts_at(found: "Calibration") -> tuple[np.ndarray, list[Estimate]]:
    """The expected haircut at every level of F."""
    sample = _part(found)
    each = {f: haircuts.expected(results, sample) for f, results in sorted(found.levels.items())}
    return np.asarray(list(each)), list(each.values())


def _part(found: "Calibration") -> Sample:
    """The sample of the paths at levels of F."""
    first = next(iter(found.levels.values()))
    of = found.needs.sample
    return Sample(first.book, of.level, of.random_books)


def frontier_columns(found: "Calibration") -> dict[str, np.ndarray]:
    """frontier.csv: capital for each level of each risk."""
    return columns_of(
        [
            {"risk": risk, "level": level, **parts("capital", e),
             **{n: x / found.interest for n, x in parts("of_open_interest", e).items()},
             "paths": e.n, "hits": -1 if e.hits is None else e.hits, "method": e.method, "note": e.note}
            for risk, level, e in capital_for(found)
        ]
    )  # fmt: skip


def risk_columns(found: "Calibration") -> dict[str, np.ndarray]:
    """risks.csv: every risk at levels of the capital."""
    needs, sample, rows = found.needs, _part(found), []
    for f, results in sorted(found.levels.items()):
        rows.append(
            {"capital": f, "of_open_interest": f / found.interest}
            | parts("adl_probability", estimators.proportion("", needs.adl > f, needs.sample))
            | parts("depletion_probability", estimators.proportion("", results["depleted"], sample))
            | parts("loss_beyond", frontier.loss_beyond(needs, f))
            | parts("expected_haircut", haircuts.expected(results, sample))
            | {
                f"{name}{end}": x
                for name in ("adl_loss_mark", "social_loss", "unfunded")
                for end, x in parts("", estimators.mean("", results[name], sample, "USD")).items()
            }
        )
    return columns_of(rows)


def curve_columns(found: "Calibration") -> dict[str, np.ndarray]:
    """curves.csv: P(intervention | F) and P(fund dry | F)."""
    needs = found.needs
    capital = frontier.capitals(needs.adl)[::4]
    columns = {"capital": capital}
    for name, need in (("adl_probability", needs.adl), ("depletion_probability", needs.dry)):
        found_ = estimators.curve(need, capital, needs.sample)
        columns |= {
            name: found_["probability"], f"{name}_low": found_["low"],
            f"{name}_high": found_["high"], f"{name}_hits": found_["hits"],
        }  # fmt: skip
    return columns


def what_if_columns(found: "Calibration") -> dict[str, np.ndarray]:
    """what_if.csv: every design beside today's, on the same crashes."""
    rows, outside = [], search.vault(found.question.venue)
    for done in found.designs:
        design, both = done.design, done.compared
        response = np.nan if design.response is None else design.response
        rows.append(
            {"design": design.words, "kind": design.kind, "factor": design.factor,
             "response": response, "notch": design.marginal, "exceed": found.exceed}
            | parts("fund_target", both.target)
            | parts("fund_target_change", both.target_change)
            | parts("adl_probability", both.adl)
            | parts("adl_probability_change", both.adl_change)
            | parts("depletion_probability", both.dry)
            | parts("depletion_probability_change", both.dry_change)
            | parts("loss_beyond", both.beyond)
            | parts("loss_beyond_change", both.beyond_change)
            | parts("expected_haircut", done.haircut)
            | parts("expected_haircut_change", done.haircut_change)
            | {
                "equity_posted": done.given_up.equity,
                "open_interest_given_up": done.given_up.open_interest,
                "vault": outside * float(design.levers.vault),
            }
        )  # fmt: skip
    return columns_of(rows)


def price_columns(found: "Calibration") -> dict[str, np.ndarray]:
    """prices.csv: what one notch of each buys, as a change from today's design."""
    rows = []
    for words, step, unit, each in notches(found):
        for risk, e in each.items():
            rows.append(
                {"notch": words, "step": step, "unit": unit, "risk": risk.removesuffix("_change"),
                 "change_unit": e.unit} | parts("change", e) | {"paths": e.n, "note": e.note}
            )  # fmt: skip
    return columns_of(rows)


def notches(found: "Calibration") -> Iterable[tuple[str, float, str, dict[str, Estimate]]]:
    """A notch in words, its size and unit, and what it changes."""
    bought = frontier.more_fund(found.needs, found.capital, MILLION)
    yield "one more million in the fund", MILLION, "USD", bought
    for done in found.designs:
        if not done.design.marginal:
            continue
        both = done.compared
        changes = {
            "adl_change": both.adl_change, "dry_change": both.dry_change,
            "beyond_change": both.beyond_change, "fund_target_change": both.target_change,
        }  # fmt: skip
        added = done.design.kind in designs.ADDED
        unit = "of notional" if added else "of today's"
        yield done.design.words, done.design.factor - (not added), unit, changes


def iso_columns(found: "Calibration") -> dict[str, np.ndarray]:
    """iso_risk.csv: for every capital outside F, the F that meets each level of each risk."""
    rows, outside = [], search.vault(found.question.venue)
    for factor, (free, levels) in found.iso.items():
        for risk, level, e in _iso(found, free, levels):
            rows.append(
                {"factor": factor, "outside": factor * outside, "risk": risk, "level": level}
                | parts("capital", e) | {"paths": e.n, "method": e.method, "note": e.note}
            )  # fmt: skip
    return columns_of(rows)


ISO = (0.3, 0.1, 0.03, 0.01)


def _iso(found: "Calibration", free: Results, levels: dict[float, Results]):
    """Needs give the capital for any F; losses that nobody pays are known where F was simulated."""
    needs = bench.needs(found.question, free, found.needs.sample.level)
    sample, capital = needs.sample, np.asarray(sorted(levels))
    tested = [
        estimators.proportion("unfunded", study.material(found.question, levels[f]), sample)
        for f in capital
    ]
    for level in ISO:
        yield "adl_probability", level, estimators.quantile("", needs.adl, level, sample, "USD")
        yield (
            "depletion_probability",
            level,
            estimators.quantile("", needs.dry, level, sample, "USD"),
        )
        yield "unfunded_material_probability", level, frontier.for_level("", capital, tested, level)


def practice_columns(found: "Calibration") -> dict[str, np.ndarray]:
    """practice.csv: what people do now, out of sample."""
    aim = found.config.target.adl_probability
    return columns_of(
        [
            {"rule": rule.name, "capital": rule.capital,
             "of_open_interest": rule.capital / found.interest,
             "capital_p05": np.nan if rule.least is None else rule.least,
             "capital_p95": np.nan if rule.most is None else rule.most,
             **parts("adl_probability", rule.adl), **parts("loss_beyond", rule.beyond),
             "meets": (rule.adl.value or 0.0) <= aim, "paths": rule.adl.n}
            for rule in found.practice
        ]
    )  # fmt: skip


def look_columns(found: "Calibration") -> dict[str, np.ndarray]:
    """looks.csv: what every look on fresh books and crashes verifies."""
    return columns_of(
        [
            {"look": look.number, "spends": look.alpha, "paths": look.paths, "books": look.books,
             "weighted": look.weighted, "limit": name,
             "capital": capital, "of_open_interest": capital / found.interest,
             "binds": look.binds == name, "note": look.missed.get(name, "")}
            for look in found.verdict.looks
            for name, capital in look.capital.items()
        ]
    )  # fmt: skip


def pool_columns(found: "Calibration") -> dict[str, np.ndarray]:
    """pools.csv: shares of the first-loss capital, as they are and by what pools draw near F*."""
    pools = found.question.venue.pools
    today = np.asarray(pools.share)
    return {
        "pool": np.asarray(pools.names, object), "share": today / max(today.sum(), 1e-300),
        "share_of_draws": found.share / max(found.share.sum(), 1e-300),
    }  # fmt: skip


def estimates(found: "Calibration") -> list[Estimate]:
    """The main numbers."""
    needs, aim, own = found.needs, found.config.target, found.capital
    sample = needs.sample
    listed = [
        _target(found, "fund_target", "adl_probability", needs.adl, aim.adl_probability),
        _target(
            found,
            "fund_target_depletion",
            "depletion_probability",
            needs.dry,
            aim.depletion_probability,
        ),
        estimators.proportion("adl_probability", needs.adl > own, sample),
        estimators.proportion("depletion_probability", needs.dry > own, sample),
        frontier.loss_beyond(needs, own),
        haircuts.expected(found.levels[own], _part(found)),
        verified(found),
    ]
    for words, _, _, changes in notches(found):
        slug = words.replace(" ", "_").replace(",", "")
        for risk, e in changes.items():
            listed.append(_named(f"{risk}__{slug}", e))
    return listed


def _target(
    found: "Calibration", name: str, risk: str, need: np.ndarray, exceed: float
) -> Estimate:
    """F*(ε), from weighted paths where it is too rare for plain ones."""
    plain = estimators.quantile(name, need, exceed, found.needs.sample, "USD")
    return _named(name, found.rare.better(risk, exceed, plain)) if found.rare else plain


def verified(found: "Calibration") -> Estimate:
    """The capital that fresh books and crashes verify: an upper limit, so its lower end is open."""
    verdict = found.verdict
    value = verdict.capital if np.isfinite(verdict.capital) else None
    best = verdict.best
    note = (
        f"look {best.number} of {len(verdict.looks)}, spends {best.alpha:g}; binds: {verdict.binds}"
    )
    said = note if verdict.met else f"not met; {note}"
    return Estimate(
        "verified_capital", value, None, value, found.needs.sample.level, best.paths, None,
        "least one-sided upper limit of the looks, alpha / 2^k", "USD", said,
    )  # fmt: skip


def _named(name: str, e: Estimate) -> Estimate:
    import dataclasses

    return dataclasses.replace(e, name=name)


def caps(found: "Calibration") -> list[tuple[float, float, Estimate]]:
    """Response, factor on caps, and the change of F*(ε) there, for every factor that was tried."""
    rows = [
        (done.design.response, done.design.factor, done.compared.target_change)
        for done in found.designs
        if done.design.kind == "caps" and done.design.response is not None
    ]
    return sorted(rows, key=lambda row: row[:2])
