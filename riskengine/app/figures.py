"""Figures for people: what a fund of a given size leaves of the risk.

Vega-Lite describes the picture and vl-convert draws it, without a browser and without the network.
"""

import math
from dataclasses import dataclass

import numpy as np

from riskengine.app.canvas import GREY, HEIGHT, INK, WIDTH, Canvas, percent, width

# Colours of Okabe and Ito: different to every eye, and one darker than the other in print.
# The first line is wider, so that both are seen where they coincide.
CURVES = {
    "adl_probability": ("#D55E00", 3.2, ["P(intervention | F)"]),
    "depletion_probability": ("#0072B2", 2.0, ["P(fund dry | F)"]),
}
HITS_MIN = 10  # paths beyond a capital that it takes to speak of its probability
NOTES = (
    "Bands: {level} confidence, for these books and, where books are drawn, between them.",
    f"Dotted: fewer than {HITS_MIN} paths beyond F, too few to rely on.",
)
MARGIN = 1.35  # the plot is wider than what matters most in it
ABOVE = -18.0  # pixels from the frame up to the words over it
CLEAR = 8.0  # pixels around words that are enough
STEP = 6.0  # pixels of a curve that no words may lie on, each
FAR = 3.0  # a capital that many times beyond all else is pointed at


@dataclass(frozen=True)
class Target:
    """Capital F*(ε) at which a curve falls to the probability ε, with its interval; USD."""

    curve: str
    probability: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A falling curve: columns of capital, probability and its interval."""

    name: str
    columns: np.ndarray
    carried: int  # points with enough paths beyond them; at least one
    above: bool  # its words go above it, those of the other curve below

    def at(self, capital: float) -> float:
        """Probability at a capital; NaN beyond the last point."""
        return float(np.interp(capital, self.columns[0], self.columns[1], right=math.nan))

    def edge(self, capital: float, above: bool) -> float:
        """The upper or lower end of the interval at a capital."""
        return float(np.interp(capital, self.columns[0], self.columns[3 if above else 2]))

    def carries(self, capital: float) -> bool:
        """Is the probability at a capital a number to print, or only its upper end?"""
        return self.carried > 1 and capital <= float(self.columns[0, self.carried - 1])


def curves(
    data: dict[str, np.ndarray],
    title: str,
    capital: float,
    open_interest: float,
    target: Target | None = None,
    level: float = 0.95,
    unfunded: np.ndarray | None = None,
    early: bool = False,
) -> tuple[str, bytes]:
    """Probabilities against first-loss capital, as SVG and PNG.

    `data` has `capital` in USD, ascending, and for each of `CURVES` its name, `name_low`,
    `name_high` and `name_hits`, the paths beyond that capital. Where fewer than ten are, the sample
    cannot carry the curve and it is dotted. `unfunded` has rows of capital, P(unfunded) and its ends
    at the levels of F at which that was simulated. Where rules can bind `early`, before the fund is dry,
    only the first curve says what happens at the venue's capital.
    """
    if target and not math.isfinite(target.value):
        target = None
    drawn = _read(data)
    right = _right_edge(drawn, capital, target)
    canvas = Canvas(right, _floor(drawn, target), _knee(right, capital), open_interest)
    for curve in drawn:
        _draw_curve(canvas, curve)
    points = _draw_unfunded(canvas, unfunded)
    _draw_capital(canvas, drawn[:1] if early else drawn, capital)
    for curve in drawn:
        if target and target.curve == curve.name:
            _draw_target(canvas, curve, target, percent(level))
    for curve in drawn:
        _draw_name(canvas, curve)
    _name_unfunded(canvas, points)
    return canvas.rendered(title, [note.format(level=percent(level)) for note in NOTES])


def _read(data: dict[str, np.ndarray]) -> list[Curve]:
    """The curves of a table, without points that are not numbers."""
    upper = max(CURVES, key=lambda name: np.nansum(data[name]))
    read = []
    for name in CURVES:
        ends = ("", "_low", "_high", "_hits")
        rows = np.stack([data["capital"], *(data[name + end] for end in ends)]).astype(float)
        rows = rows[:, np.isfinite(rows).all(axis=0)]
        enough = np.flatnonzero(rows[4] >= HITS_MIN)
        carried = int(enough[-1]) + 1 if len(enough) else 1
        read.append(Curve(name, rows[:4], carried, name == upper))
    return [curve for curve in read if curve.columns.size]


def _right_edge(drawn: list[Curve], capital: float, target: Target | None) -> float:
    """Capital at the right edge: room for the marks, and for the curves as far as they carry."""
    carried = max((float(c.columns[0, c.carried - 1]) for c in drawn), default=0.0)
    marks = [target.value, target.high] if target else [0.0]
    needed = max(mark for mark in marks if math.isfinite(mark))
    if capital <= FAR * max(carried, needed) or not (carried or needed):
        needed = max(needed, capital)
    edge = max(needed, min(carried, 2.0 * needed)) if needed > 0 else carried
    return MARGIN * edge if edge > 0 and math.isfinite(edge) else 1.0


def _knee(right: float, capital: float) -> float:
    """Where the axis begins to be logarithmic: so that the venue's capital stands off its start."""
    inside = math.isfinite(capital) and 0.0 < capital <= right
    return min(max(capital / 3.0, 1e-5 * right), 0.05 * right) if inside else right / 300.0


def _floor(drawn: list[Curve], target: Target | None) -> float:
    """Power of ten below every probability that is drawn."""
    values = np.concatenate([c.columns[[1, 3]].ravel() for c in drawn] or [np.ones(1)])
    least = np.min(values[values > 0], initial=target.probability if target else 0.1)
    return 10.0 ** math.floor(math.log10(0.8 * least))


def _draw_curve(canvas: Canvas, curve: Curve) -> None:
    """A line in its band: solid as far as the sample carries it, then dotted and lighter."""
    (colour, wide, _), last = CURVES[curve.name], curve.carried
    capital, probability, low, high = curve.columns
    for part, opacity, style in (
        (slice(last), 0.2, {"strokeWidth": wide}),
        (slice(last - 1, None), 0.09, {"strokeWidth": 0.7 * wide, "strokeDash": [2, 3]}),
    ):
        canvas.band(capital[part], low[part], high[part], color=colour, opacity=opacity)
        canvas.line(capital[part], probability[part], color=colour, **style)
    for x in np.arange(0.0, WIDTH, STEP):
        at = canvas.capital(x)
        if math.isfinite(curve.at(at)):
            top, bottom = (canvas.y(curve.edge(at, above)) for above in (True, False))
            canvas.taken.append((x, top, x + 1.0, bottom))


def _draw_capital(canvas: Canvas, drawn: list[Curve], capital: float) -> None:
    """What the venue has, and what it gets for it."""
    if not math.isfinite(capital):
        return
    words = f"the venue's capital: {canvas.amount(capital)}"
    if capital > canvas.capital_max:
        canvas.text([f"{words} →"], WIDTH, ABOVE, "right", INK)
        return
    x = canvas.x(capital)
    canvas.rule((x, -3.0), (x, HEIGHT), color=INK, strokeWidth=1.4)
    canvas.taken.append((x - 4.0, 0.0, x + 4.0, HEIGHT))
    for curve in drawn:
        p, (colour, _, (name, *_)) = curve.at(capital), CURVES[curve.name]
        if p > 0:
            canvas.dot(x, canvas.y(p), colour)
        if not math.isnan(p):
            most = f"≤ {percent(curve.edge(capital, above=True), 2)}"
            words += f"; {name} {percent(p, 2) if curve.carries(capital) else most}"
    half = width([words]) / 2
    canvas.text([words], min(max(x, half), WIDTH - half), ABOVE, "center", INK)


def _draw_target(canvas: Canvas, curve: Curve, target: Target, level: str) -> None:
    """What it would take, with its interval."""
    y, low, high = canvas.y(target.probability), canvas.x(target.low), canvas.x(target.high)
    canvas.rule((0.0, y), (low, y), color=GREY, strokeDash=[5, 3])
    canvas.rule((low, y), (high, y), color=INK, strokeWidth=3)
    canvas.dot(canvas.x(target.value), y, INK)
    canvas.taken.append((0.0, y - 3.0, high, y + 3.0))
    most = canvas.share(target.high) if math.isfinite(target.high) else "unknown"
    words = [
        f"F*({percent(target.probability)}) = {canvas.amount(target.value)}",
        f"{level} interval {canvas.share(target.low)} to {most}",
    ]
    beside = [(high, y, True)] + [(low, y + 10.0 * n, False) for n in range(20)]
    canvas.beside(
        words, *max(beside, key=lambda place: min(canvas.room(words, *place), CLEAR)), INK
    )


def _draw_unfunded(canvas: Canvas, levels: np.ndarray | None) -> list[tuple[float, float, float]]:
    """P(unfunded | F) where it was simulated, with intervals; x, top and bottom in pixels."""
    drawn = []
    for capital, p, low, high in [] if levels is None else levels.T.tolist():
        if capital <= canvas.capital_max and p > canvas.floor:
            x, top, bottom = canvas.x(capital), canvas.y(high), canvas.y(low)
            canvas.rule((x, top), (x, bottom), color=INK, strokeWidth=1.2)
            canvas.dot(x, canvas.y(p), INK)
            canvas.taken.append((x - 5.0, top, x + 5.0, bottom))
            drawn.append((x, top, bottom))
    return drawn


def _name_unfunded(canvas: Canvas, points: list[tuple[float, float, float]]) -> None:
    """Say what the points are, where there is most room."""
    words = ["P(material unfunded loss | F)", "where simulated"]
    places = [
        (x, y, above) for x, *ends in points for y, above in zip(ends, (True, False), strict=True)
    ]
    if places:
        canvas.beside(words, *max(places, key=lambda place: canvas.room(words, *place)), INK)


def _draw_name(canvas: Canvas, curve: Curve) -> None:
    """The name of a curve beside its band, where there is most room."""
    colour, _, words = CURVES[curve.name]
    everywhere, counting = curve.columns[0], curve.columns[0, : curve.carried]
    # Best is its own side of the part that counts; then all of it; then the other side.
    for capitals, above in (
        (counting, curve.above),
        (everywhere, curve.above),
        (everywhere, not curve.above),
    ):
        places = [_place(canvas, curve, capital, above) for capital in capitals]
        best = max(places, key=lambda place: canvas.room(words, *place))
        if canvas.room(words, *best) > 0:
            break
    canvas.beside(words, *best, colour)


def _place(canvas: Canvas, curve: Curve, capital: float, above: bool) -> tuple[float, float, bool]:
    """A point of the edge of a band, in pixels, for words above or below it."""
    return canvas.x(capital), canvas.y(curve.edge(capital, above)), above
