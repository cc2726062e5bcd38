"""What a calibration says: the answer first, ranges before points, and what it rests on."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from riskengine.app import calibration_tables as tables
from riskengine.app import designs, evidence, sentence, study
from riskengine.app.amounts import counted, ends, percent, probability, usd
from riskengine.app.show import Screen
from riskengine.montecarlo.estimators import Estimate

if TYPE_CHECKING:
    from riskengine.app.calibrate import Calibration

LIMITS = {
    "adl": "the probability of an intervention", "dry": "the probability of a dry fund",
    "loss": "the need beyond the fund", "haircut": "the expected haircut",
    "fund": "the highest first-loss capital, design.fund_most_pct",
}  # fmt: skip


def lead(found: "Calibration") -> str:
    """The answer in a few sentences."""
    return f"{_range(found)} {_verified(found)} {_today(found)}"


def _range(found: "Calibration") -> str:
    """What the target takes: the interval, then the point."""
    aim, config, interest = tables.estimates(found)[0], found.config, found.interest
    seldom = percent(config.target.adl_probability)
    rules = f"{sentence.short_title(config, of=True)} rules"
    if aim.value is None:
        return f"No first-loss capital for interventions in {seldom} of crashes under {rules}: {aim.note}."
    return (
        f"To have interventions in at most {seldom} of crashes {rules} take "
        f"{ends(aim.low, aim.high, interest)} of open interest as first-loss capital "
        f"(point {percent(aim.value / interest)}, {usd(aim.value)})."
    )


def _verified(found: "Calibration") -> str:
    """What was verified, in these words and no others; or what binds."""
    verdict, interest = found.verdict, found.interest
    design = "today's rules" if _unmoved(found) else "the design found"
    if verdict.met:
        return (
            f"With {percent(verdict.capital / interest)} ({usd(verdict.capital)}) {design} are verified by "
            f"simulation under law {law(found)} and book {book(found)}; what binds is "
            f"{LIMITS[verdict.binds]}."
        ).replace("design found are", "design found is")
    least = verdict.capital
    takes = f"it takes {percent(least / interest)}" if np.isfinite(least) else _missed(found)
    share = verdict.nearest / interest
    nearest = f", with {percent(share)} of open interest," if np.isfinite(share) else ""
    return f"Not met: {LIMITS[verdict.binds]} binds, {takes}; the nearest design{nearest} is infeasible."


def _missed(found: "Calibration") -> str:
    """Why no capital was verified."""
    best = found.verdict.best
    why = "; ".join(dict.fromkeys(best.missed.values()))
    return f"{why} ({counted(best.paths, 'fresh crash')} on {counted(best.books, 'book')} a look)"


def _unmoved(found: "Calibration") -> bool:
    return found.searched is None or found.searched.winner == "today"


def _today(found: "Calibration") -> str:
    """Today's published design as a point on the same book."""
    adl = next(e for e in tables.estimates(found) if e.name == "adl_probability")
    share = percent(found.capital / found.interest)
    return (
        f"Today's published design, {share} of open interest, has interventions in {probability(adl)} "
        "of crashes on the same book."
    )


def law(found: "Calibration") -> str:
    return found.config.scenario.law


def book(found: "Calibration") -> str:
    """The book in words that fit the sentence."""
    drawn = found.config.book.path is None
    books = counted(found.verdict.best.books, "fresh book" if drawn else "book")
    kind = "synthetic" if drawn else "of the file"
    return f"{kind} ({books} a look, {usd(found.interest)} of open interest)"


@dataclass(frozen=True)
class Section:
    """A table, what is said above it, and the figures that belong to it."""

    title: str
    words: str
    head: tuple[str, ...]
    rows: list[list[str]]
    left: tuple[str, ...] = ()  # columns of words
    figures: tuple[str, ...] = ()


def sections(found: "Calibration") -> list[Section]:
    """All tables, in the order in which they are read."""
    exceed, count = percent(found.exceed), found.designs[0].compared.target.n
    designs_head = (
        "design", f"fund at {exceed}, % of OI", "P(intervention) today's fund, pp",
        "expected haircut, pp", "open interest given up", "or equity posted",
    )  # fmt: skip
    return [
        Section(
            "Capital against risk",
            "Capital for each level of each risk, % of open interest, under today's rules:",
            ("risk", "level", "range", "point", "hits", "note"), _capitals(found), ("note",),
            ("frontier", "iso_risk"),
        ),
        Section(
            "Designs beside today's",
            f"Changes by designs beside today's on the same {counted(count, 'crash')}; fund for "
            f"interventions in {exceed} of them. Caps are what-ifs, not optima: how accounts follow is "
            "an assumption, shown as its response.",
            designs_head, [_beside(found, done) for done in found.designs], (), ("designs", "caps"),
        ),
        Section(
            "What a notch buys", "What a notch buys, changes at today's fund:",
            ("notch", "P(intervention)", "need beyond the fund, mean"), _notches(found),
        ),
        Section(
            "What people do now",
            "Sizing rules out of sample, on the fresh books and crashes of all looks:",
            ("rule", "fund", "P(intervention)", "meets"), _practice(found),
        ),
    ]  # fmt: skip


def answer(screen: Screen, found: "Calibration", said: str, folder: Path) -> None:
    """The answer, then the tables that it rests on."""
    screen.say(said)
    screen.say("")
    for section in sections(found):
        screen.say(section.words)
        screen.table(section.head, section.rows, section.left)
    for line in [*pools(found), *optimum(found), *looks(found)]:
        screen.say(line)
    for line in notes(found):
        screen.note(line)
    screen.say(f"the page: {folder / 'calibration.html'}")


def _capitals(found: "Calibration") -> list[list[str]]:
    """Levels that these paths carry; what they do not is said in one line for each risk."""
    rows, missing = [], {}
    for risk, level, e in tables.capital_for(found):
        if e.value is None:
            missing.setdefault(risk, []).append((level, e.note))
            continue
        hits = "" if e.hits is None else str(e.hits)
        span = ends(e.low, e.high, found.interest)
        rows.append(
            [RISKS[risk], percent(level), span, percent(e.value / found.interest), hits, e.note]
        )
    for risk, lacking in missing.items():
        levels = ", ".join(percent(level) for level, _ in lacking)
        rows.append([RISKS[risk], levels, "", "not known", "", lacking[0][1]])
    return rows


RISKS = {
    "adl_probability": "P(intervention)", "depletion_probability": "P(fund runs dry)",
    "loss_beyond": "mean need beyond, of open interest", "expected_haircut": "expected haircut",
}  # fmt: skip


def _change(found: "Calibration", e: Estimate) -> str:
    """A change with its interval; dollars as shares of open interest, probabilities in points."""
    points = "" if e.value is None else " % of OI" if e.unit == "USD" else " pp"
    return _bare(found, e) + points


def _bare(found: "Calibration", e: Estimate) -> str:
    """The same without its unit."""
    if e.value is None:
        return "not known"
    unit = found.interest if e.unit == "USD" else 1.0
    middle = _signed(e.value / unit)
    if e.low is None or e.high is None:
        return middle
    return f"{_signed(e.low / unit)} to {_signed(e.high / unit)} ({middle})"


def _signed(share: float) -> str:
    """A change in percent with its sign; what is below a thousandth of a percent is nothing."""
    return f"{100 * share:+.3g}" if abs(share) >= 1e-5 else "0"


def _beside(found: "Calibration", done) -> list[str]:
    both, given = done.compared, done.given_up
    return [
        done.design.words, _bare(found, both.target_change), _bare(found, both.adl_change),
        _bare(found, done.haircut_change),
        percent(given.open_interest / found.interest), percent(given.equity / found.interest),
    ]  # fmt: skip


def _notches(found: "Calibration") -> list[list[str]]:
    return [
        [words, _change(found, changes["adl_change"]), _change(found, changes["beyond_change"])]
        for words, _, _, changes in tables.notches(found)
    ]


def pools(found: "Calibration") -> list[str]:
    """How pools share the capital, as they do and by what they would draw."""
    if np.count_nonzero(found.share) < 2:
        return []
    columns = tables.pool_columns(found)
    each = ", ".join(
        f"{name} {percent(now)} today, {percent(drawn)} by draws"
        for name, now, drawn in zip(*columns.values(), strict=True)
        if now > 0
    )
    return [f"Pools' shares by E[draw | need near F*]: {each}."]


def optimum(found: "Calibration") -> list[str]:
    """The single optimum, named as what it is, and the second opinion."""
    one = found.searched
    if one is None:
        return []
    weights = ", ".join(
        f"{name} {value:g}"
        for name, value in vars(found.config.design.weights).items()
        if value is not None
    )
    costs = ", ".join(f"{name} {100 * x:.4g} %" for name, x in one.cost.items())
    caps = ", ".join(f"{x:.3g}" for x in np.unique(np.asarray(one.levers.leverage_cap)).tolist())
    return [
        f"A single optimum only under your weights ({weights}) and response "
        f"{found.config.design.response or 0:g}: {one.winner}. Cost per crash, of open interest, on the same "
        f"other {counted(one.paths, 'crash')}: {costs}; {one.evaluations} evaluations each; searched at "
        f"P(intervention) {percent(one.exceed[0])}.",
        f"  leverage caps x {caps}; maintenance x {float(one.levers.maintenance):.3g}; capital outside F x "
        f"{float(one.levers.vault):.3g}; fee {100 * float(one.levers.fee):+.3g} % of notional; fees to pools "
        f"{100 * float(one.levers.fee_to_pool):+.3g} %",
    ]


def _practice(found: "Calibration") -> list[list[str]]:
    aim = found.config.target.adl_probability
    rows = []
    for rule in found.practice:
        size = percent(rule.capital / found.interest)
        if rule.least is not None and rule.most is not None:
            size += f" ({ends(rule.least, rule.most, found.interest)} by chance)"
        sure = (rule.adl.high or 0.0) <= aim or (rule.adl.low or 0.0) > aim
        meets = ("yes" if (rule.adl.value or 0.0) <= aim else "no") if sure else "open"
        rows.append([rule.name, size, probability(rule.adl), meets])
    return rows


def looks(found: "Calibration") -> list[str]:
    """Every look, what it spends and what it needs."""
    lines = []
    for look in found.verdict.looks:
        size = percent(look.needed / found.interest) if np.isfinite(look.needed) else "no capital"
        kind = "weighted crash" if look.weighted else "fresh crash"
        seen = f"{counted(look.paths, kind)} on {counted(look.books, 'fresh book')}"
        why = f" ({look.missed[look.binds]})" if look.missed.get(look.binds) else ""
        lines.append(
            f"look {look.number}: {seen}, spends {look.alpha:.4g}, verifies {size}, binds: "
            f"{LIMITS[look.binds]}{why}"
        )
    return lines


def notes(found: "Calibration") -> list[str]:
    """What a reader of the numbers should be warned of."""
    config, question = found.config, found.question
    graded = evidence.grade(config.venue)
    said = [f"evidence for the preset {config.venue.name}: {graded}"] if graded else []
    said += list(question.opened.notes)
    shown = ", ".join(f"{r:g}" for r in designs.responses(config.design))
    said.append(f"response of accounts' leverage to caps: {shown}; positions stay, equity follows")
    if found.exceed > config.target.adl_probability:
        said.append(
            f"{counted(found.designs[0].compared.target.n, 'crash')} per design carry a comparison at "
            f"{percent(found.exceed)}, not at {percent(config.target.adl_probability)} (design.paths)"
        )
    if study.may_bind_early(question.venue):
        said.append(
            "a rule can bind while the fund is not dry: from then on a dry fund is taken for possible and "
            "counts, which is on the safe side"
        )
    if not found.iso:
        said.append(
            f"{config.venue.name} has no capital outside the first-loss capital: no iso-risk curves"
        )
    if config.simulation.paths < 512:
        said.append(
            "few crashes: these numbers show how things work and say little about any venue"
        )
    return said
