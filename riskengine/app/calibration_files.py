"""The files of a calibration, and its figures."""

from typing import TYPE_CHECKING

import numpy as np

from riskengine.app import calibration_tables as tables
from riskengine.app import calibration_words as words
from riskengine.app import charts, figures, pages, sentence, store, study, vega
from riskengine.app.amounts import counted, percent, usd
from riskengine.app.charts import Figure
from riskengine.app.store import RunFolder
from riskengine.app.vega import Spec

if TYPE_CHECKING:
    from riskengine.app.calibrate import Calibration

WRITTEN = {
    "frontier": tables.frontier_columns, "risks": tables.risk_columns,
    "curves": tables.curve_columns, "what_if": tables.what_if_columns,
    "prices": tables.price_columns, "practice": tables.practice_columns,
    "looks": tables.look_columns, "pools": tables.pool_columns, "iso_risk": tables.iso_columns,
}  # fmt: skip
RESPONSE = {0.0: charts.BLUE, 0.5: charts.YELLOW, 1.0: charts.RED}
LABEL = {0.0: "0: only where forced", 0.5: "1/2", 1.0: "1: in proportion"}


def write(folder: RunFolder, found: "Calibration", resolved: dict, said: str, command: str) -> None:
    """Everything but the manifest."""
    import yaml

    folder.write("config.yaml", yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True))
    for name, columns in WRITTEN.items():
        made = columns(found)
        if made:
            folder.write(f"{name}.csv", store.to_csv(made))
    listed = [e.record() for e in tables.estimates(found)]
    document = {"run": found.facts, "design": design(found), "estimates": listed}
    folder.write("estimates.json", store.to_json(document))
    made = drawn(found)
    for figure in made:
        folder.write(f"{figure.name}.svg", figure.svg)
        folder.write(f"{figure.name}.png", figure.png)
    folder.write("calibration.html", page(found, made, said, command))


def page(found: "Calibration", made: list[Figure], said: str, command: str) -> str:
    """Answer, figures and tables as one page: no script, no network."""
    shown = {figure.name: pages.shown(figure) for figure in made}
    facts = found.facts
    about = {
        "law": words.law(found),
        "book": words.book(found),
        "crashes": f"{facts['paths']:,} under today's rules, {facts['paths_in_all']:,} in all",
        "steps": facts["steps"],
        "books": f"{facts['books']} of {facts['accounts']:,} accounts in {', '.join(facts['markets'])}",
        "arithmetic": f"{facts['precision']} on {facts['devices']} x {facts['device']}, jax {facts['jax']}",
        "seed": facts["seed"],
        "time": f"{facts['elapsed_seconds']:.0f} s",
    }
    return pages.rendered(
        "calibration.html", {}, sentence=said, met=found.verdict.met,
        sections=words.sections(found), figures=shown, optimum=words.optimum(found),
        looks=words.looks(found), pools=words.pools(found), notes=words.notes(found), about=about,
        command=command,
    )  # fmt: skip


def design(found: "Calibration") -> dict:
    """The design that was verified, or the nearest one, which is infeasible."""
    verdict, searched = found.verdict, found.searched
    nearest = verdict.nearest
    traders = found.chosen
    record = {
        "open_interest_given_up_usd": traders.open_interest, "equity_posted_usd": traders.equity,
        "verified": verdict.met, "feasible": verdict.met, "binds": verdict.binds,
        "first_loss_capital_usd": nearest if np.isfinite(nearest) else None,
        "response": found.config.design.response, "levers": {}, "cost": {},
    }  # fmt: skip
    if searched:
        moved = searched.levers
        record["levers"] = {
            "leverage_caps": np.asarray(moved.leverage_cap).tolist(),
            **{n: float(getattr(moved, n)) for n in ("maintenance", "vault", "fee", "fee_to_pool")},
        }
        record["cost"] = {"winner": searched.winner} | searched.cost
    return record


def drawn(found: "Calibration") -> list[Figure]:
    """The frontier, and what other designs change."""
    made = [_frontier(found), _caps(found), _designs(found)]
    return made + ([_iso(found)] if found.iso else [])


def _frontier(found: "Calibration") -> Figure:
    """P(intervention) and P(fund dry) against capital, with today's design as a point."""
    (aim, *_), config = tables.estimates(found), found.config
    mark = None
    if aim.value is not None:
        high = np.inf if aim.high is None else aim.high
        exceed = config.target.adl_probability
        mark = figures.Target("adl_probability", exceed, aim.value, aim.low or 0.0, high)
    whose = sentence.short_title(config, of=True)
    title = f"Capital against risk: what a fund of size F leaves, under {whose} rules"
    early = study.may_bind_early(found.question.venue)
    svg, png = figures.curves(
        tables.curve_columns(found), title, found.capital, found.interest, mark,
        config.simulation.confidence, early=early,
    )  # fmt: skip
    return Figure("frontier", f"{title}; today's design is marked.", svg, png)


def _caps(found: "Calibration") -> Figure:
    """What caps on leverage change in the capital that the target takes, by response."""
    rows = [
        {"factor": factor, "response": LABEL.get(response, f"{response:g}"),
         "value": 100 * e.value / found.interest,
         "low": _share(found, e.low), "high": _share(found, e.high)}
        for response, factor, e in tables.caps(found)
        if e.value is not None
    ]  # fmt: skip
    seldom = percent(found.exceed)
    title = f"Change of the capital for interventions in {seldom} of crashes"
    said = f"{title} against caps on leverage, by how far accounts' leverage follows"
    return charts.drawn("caps", _lines(rows, title), f"{said}; with intervals.")


def _lines(rows: list[Spec], title: str) -> Spec:
    """Lines with intervals against the factor on caps; a colour for each response."""
    names = list(dict.fromkeys(row["response"] for row in rows))
    colours = {LABEL.get(r, f"{r:g}"): c for r, c in RESPONSE.items()}
    scale = {"domain": names, "range": [colours.get(n, charts.GREEN) for n in names]}
    colour = vega.name(
        "response", scale=scale, sort=names, legend={"title": "response", "orient": "top"}
    )
    axis = {"title": "change, % of open interest"}
    shift = vega.name("response", sort=names, scale={"domain": names})
    x = {
        "field": "factor",
        "type": "ordinal",
        "sort": "descending",
        "title": "leverage caps, times today's",
    }
    at = {"x": x | {"axis": {"labelAngle": 0}}, "xOffset": shift, "color": colour}
    value = at | {"y": vega.quantity("value", **axis)}
    known = [row for row in rows if row["low"] is not None and row["high"] is not None]
    ends = at | {"y": vega.quantity("low", **axis), "y2": {"field": "high"}}
    layers = [
        vega.view("rule", {"strokeWidth": 1.5}, ends, known),
        vega.view("point", {"filled": True, "size": 60, "opacity": 1}, value, rows),
    ]
    return {"layer": layers, "width": charts.WIDTH, "height": 260, "title": title}


def _designs(found: "Calibration") -> Figure:
    """What every other design changes in the capital that the target takes."""
    named = [
        (
            done.design.words,
            100 * e.value / found.interest,
            _share(found, e.low),
            _share(found, e.high),
        )
        for done in found.designs
        if (e := done.compared.target_change).value is not None and done.design.kind != "caps"
    ]
    seldom = percent(found.exceed)
    axis = f"change of the capital for interventions in {seldom} of crashes, % of open interest"
    alt = f"Bars with intervals: {axis}; " + "; ".join(f"{n} {v:.3g}" for n, v, *_ in named)
    return charts.drawn("designs", charts.bars(named, axis), alt)


def _share(found: "Calibration", x: float | None) -> float | None:
    """Percent of open interest."""
    return None if x is None else 100 * x / found.interest


def _iso(found: "Calibration") -> Figure:
    """First-loss capital that keeps each risk, against the capital outside of it."""
    columns, level = tables.iso_columns(found), 0.1
    rows = [
        {"outside": outside, "risk": WORDS[str(risk)], "value": 100 * capital / found.interest,
         "low": 100 * low / found.interest, "high": 100 * high / found.interest}
        for outside, risk, at, capital, low, high in zip(
            columns["factor"], columns["risk"], columns["level"], columns["capital"],
            columns["capital_low"], columns["capital_high"], strict=True,
        )
        if at == level and np.isfinite(capital)
    ]  # fmt: skip
    scale = {"domain": list(WORDS.values()), "range": list(charts.EVENT.values())}
    colour = vega.name("risk", scale=scale, legend={"title": None, "orient": "top"})
    count = min(len(free) for free, _ in found.iso.values())
    title = f"Iso-risk: first-loss capital that keeps each risk at {percent(level)}, by capital outside it"
    shift = vega.name("risk", scale={"domain": list(WORDS.values())})
    x = {"field": "outside", "type": "ordinal", "title": "capital outside F, times today's"}
    at = {"x": x | {"axis": {"labelAngle": 0}}, "xOffset": shift, "color": colour}
    axis = {"title": "first-loss capital F, % of open interest"}
    known = [row for row in rows if np.isfinite(row["low"]) and np.isfinite(row["high"])]
    ends = at | {"y": vega.quantity("low", **axis), "y2": {"field": "high"}}
    value = at | {"y": vega.quantity("value", **axis)}
    layers = [
        vega.view("rule", {"strokeWidth": 1.5}, ends, known),
        vega.view("point", {"filled": True, "size": 60, "opacity": 1}, value, rows),
    ]
    under = f"the first {counted(count, 'crash')} of the run for each size"
    heading = {"text": title, "subtitle": under}
    chart = {"layer": layers, "width": charts.WIDTH, "height": 260, "title": heading}
    outside = usd(float(columns["outside"].max()))
    return charts.drawn(
        "iso_risk", chart, f"{title}, up to {outside}; {counted(count, 'crash')} each."
    )


WORDS = {
    "adl_probability": "intervention", "depletion_probability": "fund dry",
    "unfunded_material_probability": "material unfunded loss",
}  # fmt: skip
