"""A study in numbers: estimates with intervals, curves, levels, and the sentences that lead."""

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np

from riskengine.app import bias, cohorts, crashes, rare, sentence, stress
from riskengine.app import study as study_
from riskengine.app.amounts import counted, percent, usd
from riskengine.app.cohorts import People
from riskengine.app.config import Config
from riskengine.app.stress import Stress
from riskengine.app.study import Study
from riskengine.calibration import target
from riskengine.calibration.target import Target
from riskengine.errors import printable
from riskengine.montecarlo import estimators, two_level
from riskengine.montecarlo.estimators import Estimate, Sample
from riskengine.montecarlo.metrics import LATER
from riskengine.montecarlo.paths import Paths
from riskengine.montecarlo.simulate import Results
from riskengine.montecarlo.two_level import Number

POINTS = 121  # of the curves
LOSSES = ("mark", "index", "5min", "60min", "horizon")


@dataclass(frozen=True)
class Answers:
    """All that is said about a study."""

    estimates: list[Estimate]
    target: Target | None  # None: a partial book carries no fund target
    curves: dict[str, np.ndarray]
    levels: dict[str, np.ndarray]
    people: People
    stress: Stress
    rare: dict[str, np.ndarray]  # P(need > F) by weighted paths; empty without them
    sentence: str

    def __getitem__(self, name: str) -> Estimate:
        return next(e for e in self.estimates if e.name == name)


def answer(study: Study, config: Config) -> Answers:
    """Everything that the paths of a study can say."""
    question, level = study.question, config.simulation.confidence
    every = study.every(level)
    at_fund = Sample(study.fund.book, level, study.random_books)
    estimates = probabilities(study, every, at_fund)
    lost, horizon = losses(study.fund, at_fund, study.capital), float(question.simulation.dt.sum())
    estimates += [_at_the_end(e, horizon) for e in lost]
    estimates += outside(study, at_fund) + accounts(study, at_fund)
    estimates += needs(study, every) + crashes.sizes(study, config, every.sample)
    stressed = stress.stressed(study, every)
    found = None
    if question.opened.complete:
        found, more = targets(study, config, every)
        estimates += more + crashes.within_history(study, config, every)
        estimates += rare.estimates(study.sampling, config)
        estimates += crashes.deciding(study, every, found.estimate.value)
        estimates += stress.concentration(study, level)
    estimates += checks(study, every) + bias.of_groups(study, every, found)
    return Answers(
        estimates=estimates,
        target=found,
        curves=fund_curves(study, every),
        levels=at_levels(study, every),
        people=cohorts.people(study, level),
        stress=stressed,
        rare=rare.curve(study.sampling, study, level),
        sentence=sentence.lead(study, config, {e.name: e for e in estimates}, stressed.ladder),
    )


def probabilities(study: Study, every: Paths, at_fund: Sample) -> list[Estimate]:
    """How likely ADL, a dry fund and an unfunded loss are in one crash."""
    fund, capital = study.fund, study.capital
    adl, dry = interventions(study, every, at_fund, total=True)
    given = functools.partial(_after_intervention, results=fund, sample=at_fund, intervened=adl)
    found = [
        adl,
        dry,
        estimators.proportion("unfunded_probability", fund["unfunded"] > 0, at_fund),
        given("deleveraging_probability", fund["accounts_deleveraged"] > 0),
        estimators.proportion("social_loss_probability", fund["social_loss"] > 0, at_fund),
        *by_direction(every, two_level.exceeds("adl_required_fund", capital)),
        given("unfunded_material_probability", study_.material(study.question, fund)).noted(
            above(study)
        ),
        *interventions(study, every, at_fund, total=False),
    ]
    if study_.owners(study.question):
        found.append(given("owner_pays_probability", fund["owner_profit"] < 0))
    return found


def interventions(study: Study, every: Paths, at_fund: Sample, total: bool) -> list[Estimate]:
    """P(first intervention | F) and P(dry | F); with `total`, books count as draws, too.

    Both follow from the needs of all paths, or of those that were sampled for it, unless a rule can
    bind before the fund is dry: then depletion, like all that happens after the first intervention,
    is known at the fund only.
    """
    capital, found = study.capital, []
    early = study_.may_bind_early(study.question.venue)
    for need, name in rare.EVENTS.items():
        name = name if total else f"{name}_simulation"
        if early and need == "required_fund":
            found.append(Paths(study.fund, at_fund).proportion(name, _depleted, total))
            continue
        plain = every.proportion(name, two_level.exceeds(need, capital), total)
        found.append(rare.probability(study.sampling, plain, need, capital, total))
    return found


def above(study: Study) -> str:
    """From which size on it matters."""
    least = usd(study_.MATERIAL * study.question.open_interest)
    return f"above {percent(study_.MATERIAL)} of open interest, {least}"


def _depleted(results: Results) -> np.ndarray:
    return results["depleted"]


def by_direction(every: Paths, event: Number) -> list[Estimate]:
    """P(first intervention) in crashes whose larger move is a fall, and a rise."""
    size, found = stress.crash_size(every.results), []
    for side, mine in (("falls", size < 0), ("rises", size > 0)):
        if mine.any():
            e = every.some(mine).proportion(f"adl_probability_{side}", event)
            share = f"{100 * mine.mean():.3g} % of crashes"
            found.append(e.noted(share))
    return found


def needs(study: Study, every: Paths) -> list[Estimate]:
    """What every path needs, whatever the fund."""

    def beyond(results: Results) -> np.ndarray:
        return np.maximum(results["required_fund"] - study.capital, 0.0)

    def column(name: str, sign: float = 1.0) -> Number:
        return lambda results: sign * results[name]

    return [
        every.mean("excess_draw", beyond, "USD"),
        every.quantile("excess_draw_p99", beyond, 0.01),
        every.quantile("required_fund_cash_median", column("required_fund_cash"), 0.5),
        every.quantile("required_fund_median", column("required_fund"), 0.5),
        every.quantile("vault_worst_p99", column("vault_worst", -1.0), 0.01),
        every.quantile("drawdown_p99", column("drawdown"), 0.01),
    ]


def losses(results: Results, sample: Sample, capital: float) -> list[Estimate]:
    """What winners lose by ADL: ratios of means, conditional on being deleveraged."""
    hit = results["accounts_deleveraged"] > 0
    count = int(results["accounts_deleveraged"].sum())
    loss, equity, profit = results["adl_loss_mark"], results["adl_equity"], results["adl_profit"]
    found = [
        estimators.ratio("expected_haircut", loss, equity, sample, hits=count),
        estimators.ratio("expected_pnl_haircut", loss, profit, sample, hits=count),
    ]
    for reference in LOSSES:
        name = f"adl_loss_{reference}"
        found.append(estimators.mean(name, results[name], sample, "USD", where=hit))
        if reference not in ("mark",):
            part = estimators.ratio(
                f"haircut_{reference}", results[name], equity, sample, hits=count
            )
            found.append(part)
    for reference in ("mark", "horizon"):
        name = f"adl_loss_{reference}_per_crash"
        found.append(estimators.mean(name, results[f"adl_loss_{reference}"], sample, "USD"))
    deleveraged = results["deleveraged_long"] + results["deleveraged_short"]
    found.append(estimators.mean("deleveraged", deleveraged, sample, "USD", where=hit))
    found.append(estimators.mean("naked_delta", results["naked_delta"], sample, "USD", where=hit))
    names = ("bad_debt", "fund_draw", "social_loss", "unfunded", "vault_profit")
    spent = np.maximum(results["vault_profit"], -capital)
    found.append(estimators.mean("fund_profit", spent, sample, "USD"))
    for name in names:
        found.append(estimators.mean(name, results[name], sample, "USD"))
    for name in ("liquidated_long", "liquidated_short", "takeover"):
        found.append(estimators.mean(name, results[name], sample, "USD"))
    return found


def outside(study: Study, sample: Sample) -> list[Estimate]:
    """What those gain whose capital is not part of F, where a venue has them."""
    has = {
        "owner_profit": study_.owners(study.question),
        "provider_profit": study_.providers(study.question),
    }
    return [estimators.mean(n, study.fund[n], sample, "USD") for n, who in has.items() if who]


def _at_the_end(e: Estimate, horizon: float) -> Estimate:
    """Say where a later price is the run's last one, because the run is shorter than that."""
    if horizon > LATER.get(e.name.rpartition("_")[2], 0.0):
        return e
    return e.noted(f"the run ends after {horizon / 60:.3g} min: at the price there", last=True)


def accounts(study: Study, sample: Sample) -> list[Estimate]:
    """What single accounts meet; shares are of the accounts of each path's book."""
    results, hits = study.fund, study.fund.hits
    number = np.asarray([len(h.cash) for h in study.question.opened.holdings], float)
    paths = number[results.book]
    solvent = hits["equity"] > 0
    haircut = hits["adl_loss"][solvent] / hits["equity"][solvent]
    per_hit = _account_quantile(haircut, hits["row"][solvent], results, sample)
    hit_share = estimators.ratio(
        "accounts_hit", results["accounts_deleveraged"], paths, sample, hits=len(hits["row"])
    )
    liquidated = estimators.ratio(
        "accounts_liquidated", results["accounts_liquidated"], paths, sample,
        hits=int(results["accounts_liquidated"].sum()),
    )  # fmt: skip
    bankrupted = estimators.mean(
        "winner_bankrupted", results["winner_bankrupted"], sample, "accounts"
    )
    number_hit = estimators.quantile(
        "accounts_hit_p99", results["accounts_deleveraged"] / paths, 0.01, sample, "fraction"
    )
    return [per_hit, hit_share, number_hit, liquidated, bankrupted, _largest_loss(study, sample)]


def _largest_loss(study: Study, sample: Sample) -> Estimate:
    """The largest loss of one account by ADL on one path, and whose it is: seen, not estimated."""
    name, hits = "largest_account_loss", study.fund.hits
    count = len(hits["row"])
    about = (None, None, sample.level, sample.paths, count, "maximum", "USD")
    if not count:
        return Estimate(name, None, *about, "nobody was hit")
    worst = int(np.argmax(hits["adl_loss"]))
    row, account = int(hits["row"][worst]), hits["account"][worst]
    path, book = study.fund.path[row], study.fund.book[row]
    who = study.question.opened.names[book][study.question.account_rows[book][account]]
    where = f"{printable(who, 60)} of book {book} on path {path}"
    return Estimate(
        name, float(hits["adl_loss"][worst]), *about, f"{where}; larger ones are possible"
    )


def _account_quantile(haircut, row, results: Results, sample: Sample) -> Estimate:
    """The 99th percentile of the haircut of one deleveraged account, with books as clusters."""
    name, unit = "haircut_p99", "fraction"
    if len(haircut) < 100:
        note = f"{len(haircut)} deleveraged accounts cannot carry a 99th percentile"
        return Estimate(
            name, None, None, None, sample.level, len(haircut), 0, "order statistic", unit, note
        )
    # accounts hit on one path share its crash: with one given book a path is the cluster
    each = Sample(results.book[row] if sample.random_books else row, sample.level, True)
    return estimators.quantile(name, haircut, 0.01, each, unit)


def targets(study: Study, config: Config, every: Paths) -> tuple[Target, list[Estimate]]:
    """The fund that keeps ADL, and the fund that keeps depletion, as rare as asked for."""
    asked, sample = config.target, every.sample
    adl, adl_plain = _target(study, config, "adl_required_fund", asked.adl_probability, every)
    dry, dry_plain = _target(study, config, "required_fund", asked.depletion_probability, every)
    paths = Estimate(
        "paths_needed", float(adl.paths_well_known), None, None, sample.level, sample.paths, None,
        "design effect", "paths",
        f"for a relative standard error of 10 % of {asked.adl_probability:g}; "
        f"{adl.paths_for_limit} for an upper limit to exist; design effect {adl.design_effect:.1f}",
    ).noted(every.said, last=True)  # fmt: skip
    hit = every.values(two_level.exceeds("adl_required_fund", study.capital))
    parts = [
        Estimate(f"adl_probability_sd_{which}", sd, None, None, sample.level, sample.paths, None,
                 "analysis of variance", "probability")
        for which, sd in zip(
            ("within_books", "between_books"), estimators.spread(hit, sample), strict=True
        )
    ]  # fmt: skip
    known = [adl.estimate, adl.simulation, dry.estimate, dry.simulation, paths, *parts]
    return adl, known + adl_plain + dry_plain


def _target(
    study: Study, config: Config, need: str, exceed: float, every: Paths
) -> tuple[Target, list[Estimate]]:
    """F*(ε) with the design effects of the best that is known of every path.

    By weighted paths where rare events were sampled, and then beside it what all paths say.
    """
    name = rare.TARGETS[need]
    found = target.fund_target(name, every.results[need], exceed, every.sample)
    plain = [
        every.quantile(e.name, lambda results: results[need], exceed, total)
        for e, total in ((found.estimate, True), (found.simulation, False))
    ]
    estimate, simulation = (
        rare.target(study.sampling, e, need, exceed, total)
        for e, total in zip(plain, (True, False), strict=True)
    )
    estimate = estimate.noted(crashes.extrapolated(config, exceed), last=True)
    beside = rare.beside(study.sampling, plain[0])
    return dataclasses.replace(found, estimate=estimate, simulation=simulation), beside


def _leftover(every: Paths) -> Estimate:
    """Mean loss, at its exit price, of the inventory that pools still hold at the horizon."""
    left = counted(int(np.sum(every.results["leftover_notional"] > 0)), "path")
    found = every.mean("leftover", lambda results: results["leftover"], "USD")
    return found.noted(f"inventory left at the horizon on {left}, at its exit price")


def checks(study: Study, every: Paths) -> list[Estimate]:
    """What tells whether the numbers may be used: ledger, leftover, time step."""
    sample = every.sample
    runs = [study.results, study.fund, *study.levels.values()]
    if study.grouped:
        runs += [study.grouped.results, study.grouped.fund]
    worst = max(float(np.maximum(r["ledger_cash"], r["ledger_size"]).max()) for r in runs)
    found = [
        Estimate("ledger_residual", worst, None, None, sample.level, sample.paths, None, "maximum",
                 "share of gross"),
        _leftover(every),
    ]  # fmt: skip
    if study.refined is not None:
        coarse, fine = study.refined.coarse, study.refined.fine
        part = Sample(fine.book, sample.level, sample.random_books)
        exceed = study_.seldom(len(fine))
        if exceed > study_.SELDOM:
            return found
        change = target.difference(
            "fund_target_dt_difference", fine["adl_required_fund"], coarse["adl_required_fund"],
            exceed, part,
        )  # fmt: skip
        low, high = change.low, change.high
        moved = low is not None and high is not None and not low <= 0.0 <= high
        note = (
            f"F* of {100 * exceed:.3g} % at dt/2 less that at dt, first {study.refined.until:.0f} s"
        )
        note += ": the time step matters" if moved else ""
        found.append(change.noted(note, last=True))
    return found


def fund_curves(study: Study, every: Paths) -> dict[str, np.ndarray]:
    """P(intervention | F) and P(dry | F) on a grid of F, with bands and hits; unfunded at levels only."""
    results = study.results
    needs = {"adl_probability": "adl_required_fund", "depletion_probability": "required_fund"}
    finite = np.concatenate([results[n][np.isfinite(results[n])] for n in needs.values()])
    top = max(float(finite.max()), study.capital, 1.0)
    bottom = max(1e-6 * study.question.open_interest, 1.0)
    capital = np.concatenate([[0.0], np.geomspace(min(bottom, 0.5 * top), 1.02 * top, POINTS - 1)])
    capital = np.unique(np.append(capital, study.capital))
    columns = {"capital": capital}
    for name, need in needs.items():
        for part, values in every.curve(need, capital).items():
            columns[name if part == "probability" else f"{name}_{part}"] = values
    return columns


def at_levels(study: Study, every: Paths) -> dict[str, np.ndarray]:
    """The risk at each level of F, and whether the paths that ran there agree with the curve.

    Interventions and depletion follow from the needs of all paths, as the curve does; what comes
    after them, and depletion where a rule can bind early, from the `paths` that ran at that level.
    """
    early = study_.may_bind_early(study.question.venue)
    rows = []
    for capital, results in sorted(study.levels.items()):
        sample = dataclasses.replace(every.sample, book=results.book)
        own = study.full.some(study.full.rows(results.path))
        row = {"capital": capital, "paths": len(results)}
        expected = own["adl_required_fund"] > capital
        row["adl_flags_equal"] = float(np.array_equal(results["intervened"], expected))
        dry = own["required_fund"] > capital
        row["depleted_flags_equal"] = float(np.array_equal(results["depleted"], dry))
        dry = two_level.exceeds("required_fund", capital)
        known, dry = (Paths(results, sample), _depleted) if early else (every, dry)
        found = [
            every.proportion("adl_probability", two_level.exceeds("adl_required_fund", capital)),
            known.proportion("depletion_probability", dry),
        ]
        left = study_.material(study.question, results)
        found.append(
            _after_intervention("unfunded_material_probability", left, results, sample, found[0])
        )
        found += [e for e in losses(results, sample, capital) if e.name in REPORTED]
        for e in found:
            for part in ("value", "low", "high"):
                number = getattr(e, part)
                key = e.name if part == "value" else f"{e.name}_{part}"
                row[key] = np.nan if number is None else number
            row[f"{e.name}_hits"] = -1 if e.hits is None else e.hits
        rows.append(row)
    return stress.columns_of(rows)


def _after_intervention(
    name: str, hit: np.ndarray, results: Results, sample: Sample, intervened: Estimate
) -> Estimate:
    """P(event) = P(intervention), from all paths, × P(event | intervention), from those at a fund.

    Only the second factor rests on the few paths that ran at that fund, so no sampling error can
    make what follows an intervention more frequent than it. The limits are the products of the
    limits. An event that needs no intervention is counted where it was seen.
    """
    known = results["intervened"]
    if not known.any() or (hit & ~known).any():
        return estimators.proportion(name, hit, sample)
    part = dataclasses.replace(sample, book=sample.book[known])
    given = estimators.proportion(name, hit[known], part)
    assert intervened.value is not None and given.value is not None
    low, high = (
        None if a is None or b is None else a * b
        for a, b in ((intervened.low, given.low), (intervened.high, given.high))
    )
    said = f"P(intervention) × {given.hits} of {given.n} paths with one"
    said += "; poorly known" if (given.hits or 0) < estimators.RARE else ""
    value = intervened.value * given.value
    return dataclasses.replace(given, value=value, low=low, high=high, note=said)


REPORTED = ("expected_haircut", "adl_loss_mark", "deleveraged", "social_loss", "unfunded")
