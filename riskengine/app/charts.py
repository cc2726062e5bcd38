"""Charts of the report: each a specification that is drawn as SVG and PNG, and a sentence."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from riskengine.app.canvas import AXIS, FONT, GREY, INK

BLUE, RED, GREEN, YELLOW, VIOLET = "#0072B2", "#D55E00", "#007A5A", "#B07D00", "#AA4488"
EVENT = {"adl": RED, "depleted": BLUE, "unfunded": INK}
EVENT_WORDS = {
    "adl": "first intervention (ADL)", "depleted": "fund dry", "unfunded": "unfunded loss",
}  # fmt: skip
WIDTH = 600
TITLE = {"anchor": "start", "fontSize": 14, "fontWeight": "bold", "offset": 8, "subtitleFontSize": 12,
         "subtitleColor": GREY, "frame": "group"}  # fmt: skip
POINTS = 240  # of a line over time


@dataclass(frozen=True)
class Figure:
    """A picture in two formats, and what it says to somebody who cannot see it."""

    name: str
    alt: str
    svg: str
    png: bytes


def drawn(name: str, chart: Any, alt: str) -> Figure:
    """A chart as SVG and PNG, without a browser and without the network."""
    import altair
    import vl_convert

    chart = chart.configure(font=FONT, background="white", padding=10)
    chart = chart.configure_axis(**AXIS, grid=True).configure_view(stroke=None)
    chart = chart.configure_title(**TITLE).configure_legend(
        labelFontSize=12, titleFontSize=12, orient="top", title=None, labelLimit=400, symbolSize=150
    )
    version = altair.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
    spec = chart.properties(description=alt).to_dict()
    svg = vl_convert.vegalite_to_svg(spec, version, allowed_base_urls=[])
    return Figure(name, alt, svg, vl_convert.svg_to_png(svg, scale=2, ppi=72))


def data(columns: dict[str, np.ndarray]) -> Any:
    """Columns as rows; what is not a finite number is left out."""
    import altair as alt

    rows = [
        {k: _plain(v) for k, v in zip(columns, row, strict=True)}
        for row in zip(*columns.values(), strict=True)
    ]
    return alt.Data(values=[row for row in rows if all(v is not None for v in row.values())])


def _plain(x: Any) -> Any:
    if isinstance(x, str):
        return x
    return float(f"{x:.5g}") if np.isfinite(x) else None


def stretches(time: np.ndarray, until: float) -> np.ndarray:
    """Steps that are drawn: the last one of each of at most `POINTS` equal stretches of time."""
    inside = np.flatnonzero(time <= until * (1 + 1e-9))
    stretch = np.ceil(time[inside] / (until / POINTS)).astype(int)
    return inside[np.append(np.flatnonzero(np.diff(stretch)), len(inside) - 1)]


# Over time


@dataclass(frozen=True)
class Panel:
    """One of several charts over the same time: its title and the axis at its side."""

    title: str
    axis: str
    height: int = 110


@dataclass(frozen=True)
class Line:
    """A named series in its colour: a level as a line, an amount per stretch of time as an area."""

    name: str
    values: np.ndarray
    colour: str
    amount: bool = False


def fan(panel: Panel, time: np.ndarray, fans: dict[str, np.ndarray], colour: str) -> Any:
    """Median, the middle half and nine tenths of the paths, against minutes."""
    import altair as alt

    base = alt.Chart(data({"min": time / 60.0} | fans)).encode(x=_minutes())
    layers = [
        base.mark_area(color=colour, opacity=opacity).encode(
            y=alt.Y(f"{low}:Q", title=panel.axis), y2=f"{high}:Q"
        )
        for low, high, opacity in (("p05", "p95", 0.18), ("p25", "p75", 0.3))
    ]
    layers.append(base.mark_line(color=colour, strokeWidth=2).encode(y="p50:Q"))
    return alt.layer(*layers).properties(width=WIDTH, height=panel.height, title=panel.title)


def lines(panel: Panel, time: np.ndarray, series: list[Line]) -> Any:
    """Named series against minutes; a legend says which is which."""
    import altair as alt

    names, colours = [line.name for line in series], [line.colour for line in series]
    legend = alt.Legend(orient="right", title=None) if len(names) > 1 else None
    scale = alt.Scale(domain=names, range=colours)
    layers = []
    for line in series:
        name = np.repeat(np.asarray([line.name], object), len(time))
        chart = alt.Chart(data({"min": time / 60.0, "value": line.values, "name": name}))
        marked = (
            chart.mark_area(opacity=0.8, interpolate="step-before")
            if line.amount
            else chart.mark_line(strokeWidth=1.6)
        )
        layers.append(
            marked.encode(
                x=_minutes(),
                y=alt.Y("value:Q", title=panel.axis, stack=None),
                color=alt.Color("name:N", scale=scale, sort=names, legend=legend),
            )
        )
    return alt.layer(*layers).properties(width=WIDTH - 90, height=panel.height, title=panel.title)


def _minutes() -> Any:
    import altair as alt

    axis = alt.Axis(tickCount=8, format="d")
    return alt.X("min:Q", title="minutes since the start", scale=alt.Scale(nice=False), axis=axis)


def stacked(panels: list[Any]) -> Any:
    """Panels over one axis of time, each with its own colours."""
    import altair as alt

    return alt.vconcat(*panels, spacing=8).resolve_scale(color="independent")


# Amounts and shares with intervals


def bars(
    rows: list[tuple[str, float, float | None, float | None]], axis: str, colour: str = BLUE
) -> Any:
    """Horizontal bars in the given order, with intervals where they are known."""
    import altair as alt

    order = [name for name, *_ in rows]
    values = [
        {"name": n, "value": v, "low": v if a is None else a, "high": v if b is None else b}
        for n, v, a, b in rows
    ]
    base = alt.Chart(alt.Data(values=values)).encode(
        y=alt.Y("name:N", sort=order, title=None, axis=alt.Axis(labelLimit=320))
    )
    bar = base.mark_bar(color=colour, height=16).encode(x=alt.X("value:Q", title=axis))
    whisker = base.mark_rule(color=INK, strokeWidth=1.5).encode(x="low:Q", x2="high:Q")
    return (bar + whisker).properties(width=WIDTH - 160, height=26 * len(rows) + 10)


def points(rows: list[dict], axis: str, colour: str) -> Any:
    """Values with intervals by group and name: cohorts, one panel per dimension."""
    import altair as alt

    charts = []
    for dimension in dict.fromkeys(row["dimension"] for row in rows):
        mine = [row for row in rows if row["dimension"] == dimension]
        order = [row["name"] for row in mine]
        base = alt.Chart(alt.Data(values=mine)).encode(
            y=alt.Y("name:N", sort=order, title=None, axis=alt.Axis(labelLimit=300, minExtent=150))
        )
        title = axis if dimension == rows[-1]["dimension"] else None
        x = alt.X("value:Q", title=title)
        dot = base.mark_point(filled=True, size=60, color=colour, opacity=1).encode(x=x)
        rule = base.mark_rule(color=colour, strokeWidth=2).encode(x="low:Q", x2="high:Q")
        words = base.mark_text(align="left", dx=8, dy=-8, color=GREY, fontSize=10.5)
        count = words.encode(x="value:Q", text="count:N")
        charts.append(
            (rule + dot + count).properties(
                width=WIDTH - 160, height=30 * len(mine), title=f"by {dimension}"
            )
        )
    return alt.vconcat(*charts, spacing=10).resolve_scale(x="shared")


def by_size(table: dict[str, np.ndarray]) -> Any:
    """P(event | size of the crash) with intervals, falls above rises."""
    import altair as alt

    words, colours = list(EVENT_WORDS.values()), list(EVENT.values())
    columns: dict[str, np.ndarray] = {
        "event": np.asarray([EVENT_WORDS[e] for e in table["event"]], object),
        **{n: 100 * table[n] for n in ("middle", "probability", "low", "high")},
    }
    aside = np.asarray([list(EVENT_WORDS).index(e) - 1 for e in table["event"]])
    columns["middle"] = columns["middle"] * (1 + 0.012 * aside)  # so that no interval hides another
    panels = []
    for side in [s for s in ("fall", "rise") if (table["side"] == s).any()]:
        mine = table["side"] == side
        base = alt.Chart(data({k: v[mine] for k, v in columns.items()})).encode(
            x=alt.X("middle:Q", title=f"size of the {side}, % of all markets' value"),
            color=alt.Color("event:N", scale=alt.Scale(domain=words, range=colours), title=None),
        )
        y = alt.Y("probability:Q", title="probability, %", scale=alt.Scale(domain=[0, 100]))
        line = base.mark_line(strokeWidth=1.5).encode(y=y)
        dot = base.mark_point(filled=True, size=40, opacity=1).encode(y=y)
        rule = base.mark_rule().encode(y=alt.Y("low:Q", title="probability, %"), y2="high:Q")
        panels.append((line + rule + dot).properties(width=WIDTH, height=190, title=f"{side}s"))
    return alt.vconcat(*panels, spacing=14)
