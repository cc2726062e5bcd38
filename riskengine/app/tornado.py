"""Sensitivities on paper: a sentence, a table, a tornado chart and a page."""

import math
from typing import TYPE_CHECKING

import numpy as np

from riskengine.app import charts, pages, vega
from riskengine.app.amounts import hundredths, percent, usd
from riskengine.app.canvas import INK
from riskengine.app.charts import BLUE, RED, Figure
from riskengine.app.vega import Spec
from riskengine.calibration import sensitivity
from riskengine.calibration.sensitivity import Sensitivity
from riskengine.montecarlo.estimators import Estimate

if TYPE_CHECKING:
    from riskengine.app.sensitivity import Found

WORDS = {
    "adl_probability": "P(intervention)",
    "depletion_probability": "P(fund runs dry)",
    "excess_draw": "need beyond the fund",
    "fund_target": "fund target",
    "adl_loss_mark_per_crash": "ADL loss",
    "expected_haircut": "haircut",
}
POINTS, SHARE = "percentage points", "% of open interest"
ROW, PANEL, ACROSS = 24, 230, 3  # pixels of a lever, width of a panel, panels beside each other
LESS, MORE = "a step less", "a step more"


def unit(measure: str) -> str:
    return SHARE if sensitivity.MEASURES[measure] == "USD" else POINTS


def shown(found: "Found", measure: str, x: float) -> float:
    """A change in the unit in which it is shown."""
    return 100.0 * x / (found.question.open_interest if unit(measure) == SHARE else 1.0)


def main(found: "Found") -> str:
    """The measure that leads: the fund target, unless the paths cannot carry it."""
    known = [
        s for s in found.of("fund_target") if s.step.value is not None and s.step.method != "exact"
    ]
    return "fund_target" if known else "adl_probability"


def sure(e: Estimate | None) -> bool:
    """Whether an interval leaves zero out."""
    return e is not None and e.low is not None and e.high is not None and e.low * e.high > 0


def ranked(found: "Found") -> list[str]:
    """Names of levers, the strongest first; at the end those that are exactly 0."""
    strength = {
        s.move.name: -1.0 if s.step.method == "exact" else abs(s.step.value or 0.0)
        for s in found.of(main(found))
    }
    names = [move.name for move in found.moved]
    return sorted(names, key=lambda name: -strength.get(name, 0.0))


def label(one: Sensitivity) -> str:
    """A lever and its step, as a row is named: to both sides, to one, or to none."""
    move = one.move
    if move.name == "fund":
        sign = "+" if move.why else "±"
    else:
        sign = {(True, True): "±", (False, True): "+", (True, False): "−", (False, False): ""}[
            move.down is not None, move.up is not None
        ]
    return f"{move.said}, {sign}{move.step}"


def sentence(found: "Found") -> str:
    """Which lever moves the main measure most, and which way; another measure where none surely does."""
    for measure in dict.fromkeys((main(found), "adl_probability")):
        certain = [s for s in found.of(measure) if sure(s.step) and s.step.method != "exact"]
        if certain:
            return _strongest(found, max(certain, key=lambda s: abs(s.step.value or 0.0)))
    measure = main(found)
    paths, now = len(found.at.free.cheap), _now_of(found, measure)
    return f"No lever moves {_the(measure)} of {now} by more than the error of {paths:,} paths"


def _strongest(found: "Found", one: Sensitivity) -> str:
    e, measure = one.step, one.measure
    assert e.value is not None and e.low is not None and e.high is not None
    low, high = sorted((abs(e.low), abs(e.high)))
    return (
        f"Of {len(found.moved)} levers {one.move.said} moves {_the(measure)} most: {one.move.step} more "
        f"{'raises' if e.value > 0 else 'lowers'} it by {_change(found, measure, abs(e.value))} "
        f"({100 * found.case.level:g} % interval {shown(found, measure, low):.3g} to "
        f"{shown(found, measure, high):.3g}) from {_now_of(found, measure)}"
    )


def _the(measure: str) -> str:
    return f"the {WORDS[measure]}" if measure == "fund_target" else WORDS[measure]


def _now_of(found: "Found", measure: str) -> str:
    value = next(e.value for e in found.still if e.name == measure)
    return _amount(found, measure, math.nan if value is None else value)


def _amount(found: "Found", measure: str, x: float) -> str:
    if unit(measure) == SHARE:
        return f"{percent(x / found.question.open_interest)} of open interest ({usd(x)})"
    return percent(x)


def _change(found: "Found", measure: str, x: float) -> str:
    if unit(measure) == SHARE:
        return f"{hundredths(x / found.question.open_interest)} % of open interest"
    return f"{hundredths(x)} points"


# As a table


def head(found: "Found") -> list[str]:
    """Columns of the table."""
    measures = sensitivity.measures(found.case)
    return ["lever, and a step of it", *(f"{WORDS[m]}, {_short(m)}" for m in measures)]


def _short(measure: str) -> str:
    return "% of OI" if unit(measure) == SHARE else "points"


def rows(found: "Found") -> list[list[str]]:
    """One row per lever: what one step does to each measure, with its interval."""
    table = {(s.move.name, s.measure): s for s in found.sensitivities}
    measures = sensitivity.measures(found.case)
    return [
        [label(table[name, measures[0]]), *(cell(found, table[name, m]) for m in measures)]
        for name in ranked(found)
    ]


def cell(found: "Found", one: Sensitivity) -> str:
    """The effect of a step and its interval; a mark where the paths are too few."""
    e = one.step
    if e.value is None or e.low is None or e.high is None:
        return "not known"
    if e.method == "exact":
        return "0 exactly"
    if not e.hits and e.low == e.high:
        return "none seen"
    value, low, high = (shown(found, one.measure, x) for x in (e.value, e.low, e.high))
    poor = " (?)" if "poorly known" in e.note else ""
    return f"{value:+.2g} ({low:.2g} to {high:.2g}){poor}"


def legend(found: "Found") -> list[str]:
    """How the table is to be read."""
    said = [
        f"Effect of one step more, with its {100 * found.case.level:g} % interval: half of what lies "
        "between a step more and a step less; where a lever moves one way only (+ or −), of that step; of "
        "depth and volatility also the slope (docs/sensitivity.md), which the bars of the chart do not show. "
        "OI: open interest. (?): rests on fewer than 10 paths."
    ]
    reasons: dict[str, list[str]] = {}
    for s in found.of("adl_probability"):
        if s.move.why:
            reasons.setdefault(s.move.why, []).append(s.move.said)
    return said + [f"{', '.join(names)}: {why}." for why, names in reasons.items()]


def columns(found: "Found") -> dict[str, np.ndarray]:
    """Everything as a table of numbers: a row per lever and measure."""
    listed = found.sensitivities
    text = {
        "lever": [s.move.name for s in listed],
        "measure": [s.measure for s in listed],
        "unit": [sensitivity.MEASURES[s.measure] for s in listed],
        "step": [s.move.step for s in listed],
        "method": [s.step.method for s in listed],
        "note": [s.step.note for s in listed],
    }
    table = {name: np.asarray(values, object) for name, values in text.items()}
    table["response"] = np.asarray([s.move.response for s in listed])
    for part in ("step", "down", "up"):
        for field in ("value", "low", "high"):
            each = [getattr(getattr(s, part), field, None) for s in listed]
            name = "effect" if part == "step" else f"effect_{part}"
            key = name if field == "value" else f"{name}_{field}"
            table[key] = np.asarray([np.nan if x is None else x for x in each], float)
    table["standard_error"] = np.asarray([_error(found, s) for s in listed])
    halved = [np.nan if s.halved is None else s.halved for s in listed]
    table["effect_half_bandwidth"] = np.asarray(halved, float)
    table["hits"] = np.asarray([s.step.hits or 0 for s in listed])
    table["n"] = np.asarray([s.step.n for s in listed])
    return table


def _error(found: "Found", one: Sensitivity) -> float:
    at = found.at.fund if one.measure in sensitivity.AT_FUND else found.at.free
    return sensitivity.standard_error(one.step, at.sample)


# As a figure


def figure(found: "Found") -> Figure:
    """A tornado: what a step less and a step more of every lever do, strongest first."""
    measures = sensitivity.measures(found.case)
    moved = {s.move.name for s in found.sensitivities if s.step.method != "exact"}
    order = [name for name in ranked(found) if name in moved]
    panels = [_panel(found, m, order, first=not n % ACROSS) for n, m in enumerate(measures)]
    rows_ = [
        {"hconcat": panels[n : n + ACROSS], "spacing": 18} for n in range(0, len(panels), ACROSS)
    ]
    chart = {"vconcat": rows_, "spacing": 26}
    alt = "; ".join(
        f"{label(s)}: {cell(found, s)} {unit(s.measure)}" for s in found.of(main(found))
    )
    return charts.drawn("tornado", chart, f"{WORDS[main(found)]} by a step of each lever: {alt}")


def _panel(found: "Found", measure: str, order: list[str], first: bool) -> Spec:
    """One measure: two bars for every lever, pale where the interval holds zero."""
    mine = {s.move.name: s for s in found.of(measure)}
    titles = [label(mine[name]) for name in order]
    values = [
        {
            "name": label(mine[name]), "side": side, "value": shown(found, measure, e.value),
            "low": shown(found, measure, e.low), "high": shown(found, measure, e.high),
            "strength": 1.0 if sure(e) else 0.35,
        }
        for name in order
        for e, side in ((mine[name].down, LESS), (mine[name].up, MORE))
        if e is not None and e.value is not None and e.low is not None and e.high is not None
    ]  # fmt: skip
    labels = {"labelLimit": 420} if first else None
    y = vega.name("name", sort=titles, title=None, axis=labels, scale={"domain": titles})
    offset = vega.name("side", sort=[LESS, MORE], scale={"domain": [LESS, MORE]})
    legend_ = {"orient": "top", "title": None} if first else None
    colour = vega.name("side", scale={"domain": [LESS, MORE], "range": [BLUE, RED]}, legend=legend_)
    opacity = vega.quantity("strength", scale=None, legend=None)
    rows_ = {"y": y, "yOffset": offset}
    bar = vega.view(
        "bar", {"height": 8},
        rows_ | {"x": vega.quantity("value", title=unit(measure)), "color": colour, "opacity": opacity},
    )  # fmt: skip
    ends = {"x": vega.quantity("low", title=unit(measure)), "x2": {"field": "high"}}
    whisker = vega.view("rule", {"color": INK, "strokeWidth": 1.2}, rows_ | ends)
    size = {"width": PANEL, "height": ROW * len(order)}
    title = WORDS[measure][0].upper() + WORDS[measure][1:]
    return {"data": {"values": values}, "layer": [bar, whisker], "title": title} | size


# As a page


def page(found: "Found", drawn: Figure, said: str, notes: list[str], command: str) -> str:
    """Figure and table as one page: no script, no network."""
    still = {e.name: e for e in found.still}
    return pages.rendered(
        "sensitivity.html",
        {},
        sentence=said,
        notes=notes,
        command=command,
        figure=pages.shown(drawn),
        head=head(found),
        rows=rows(found),
        legend=legend(found),
        still=[
            (WORDS[m], _now(found, still[m]))
            for m in sensitivity.measures(found.case)
            if m in still
        ],
        slope=still["excess_draw_slope"].value,
        warned=[
            (label(s), WORDS[s.measure], s.step.note)
            for s in found.sensitivities
            if s.step.note and s.step.method != "exact" and s.step.note != s.move.why
        ],
        simulations=found.simulations,
    )


def _now(found: "Found", e: Estimate) -> str:
    if e.value is None:
        return f"not known: {e.note}"
    ends = [("unbounded" if x is None else _plain(found, e, x)) for x in (e.low, e.high)]
    return f"{_plain(found, e, e.value)} ({ends[0]} to {ends[1]})"


def _plain(found: "Found", e: Estimate, x: float) -> str:
    return (
        _amount(found, e.name, x)
        if e.unit != "USD"
        else f"{percent(x / found.question.open_interest)} of open interest"
    )
