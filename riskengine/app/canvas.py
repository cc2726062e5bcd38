"""A plot of probabilities against capital: where things are in it, and what is drawn so far.

Curves are placed by the axes, words by pixels, so that no word lies on a curve.
"""

import math
import textwrap
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from riskengine.app import vega
from riskengine.app.amounts import percent
from riskengine.errors import printable

INK, GREY, PALE = "#1a1a1a", "#595959", "#e4e4e4"
WIDTH, HEIGHT = 720.0, 400.0  # of the plot, in pixels
LETTER, LINE = 6.6, 15.0  # width and height of a letter, in pixels
EDGE = 4.0  # pixels between words and the frame
ROOM = 60.0  # pixels around words; more is not better
TICK = 58.0  # pixels between ticks at least
AXIS = {
    "labelFontSize": 12,
    "labelColor": INK,
    "labelLineHeight": LINE,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
    "titleColor": INK,
    "titlePadding": 10,
    "gridColor": PALE,
    "domainColor": GREY,
    "tickColor": GREY,
}
TITLE = {
    "anchor": "start",
    "frame": "group",
    "fontSize": 15,
    "lineHeight": 19,
    "subtitleColor": GREY,
    "subtitleFontSize": 12,
    "subtitlePadding": 6,
    "offset": 22,
}

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass
class Canvas:
    """The plot; what is drawn first lies below."""

    capital_max: float  # USD at the right edge
    floor: float  # probability at the bottom
    knee: float  # USD up to which the axis of capital is nearly linear; logarithmic beyond
    open_interest: float
    layers: list[Any] = field(default_factory=list)
    taken: list[Box] = field(default_factory=list)

    def x(self, capital: float) -> float:
        inside = min(max(capital, 0.0), self.capital_max)
        return WIDTH * math.log1p(inside / self.knee) / math.log1p(self.capital_max / self.knee)

    def capital(self, x: float) -> float:
        """The capital at a place of the axis: what `x` undoes."""
        return self.knee * math.expm1(x / WIDTH * math.log1p(self.capital_max / self.knee))

    def y(self, probability: float) -> float:
        inside = min(max(probability, self.floor), 1.0)
        return HEIGHT * math.log(inside) / math.log(self.floor)

    def share(self, capital: float) -> str:
        return percent(capital / self.open_interest)

    def amount(self, capital: float) -> str:
        return f"{self.share(capital)}, {dollars(capital)}"

    def line(self, capital: np.ndarray, probability: np.ndarray, **style: Any) -> None:
        """A curve; where the probability is 0 nothing can be drawn."""
        pairs = zip(capital.tolist(), probability.tolist(), strict=True)
        self._by_axes([{"f": f, "p": p} for f, p in pairs if p > 0], "line", style)

    def band(self, capital: np.ndarray, low: np.ndarray, high: np.ndarray, **style: Any) -> None:
        """The area between two curves."""
        rows = zip(capital.tolist(), low.clip(self.floor).tolist(), high.tolist(), strict=True)
        points = [{"f": f, "p": least, "most": most} for f, least, most in rows if most > 0]
        self._by_axes(points, "area", style, y2={"field": "most"})

    def rule(self, start: tuple[float, float], end: tuple[float, float], **style: Any) -> None:
        self._by_pixels("rule", style, x=start[0], y=start[1], x2=end[0], y2=end[1])

    def dot(self, x: float, y: float, colour: str) -> None:
        style = {"color": colour, "fill": "white", "strokeWidth": 2, "size": 50, "opacity": 1}
        self._by_pixels("point", style, x=x, y=y)

    def text(self, lines: list[str], x: float, y: float, align: str, colour: str) -> None:
        """Words on a white edge, so that they can be read on a band."""
        style = {"text": lines, "align": align, "lineHeight": LINE, "baseline": "top"}
        edge = {"color": "white", "stroke": "white", "strokeWidth": 4, "strokeJoin": "round"}
        self._by_pixels("text", style | edge | {"aria": False}, x=x, y=y)
        self._by_pixels("text", style | {"color": colour}, x=x, y=y)

    def beside(self, lines: list[str], x: float, y: float, above: bool, colour: str) -> None:
        """Words beside a point of a falling curve, on the side where the curve is not."""
        left, top, right, bottom = _box(lines, x, y, above)
        aside, up = max(EDGE - left, 0.0), max(bottom + EDGE - HEIGHT, 0.0) + min(top - EDGE, 0.0)
        box = left + aside, top - up, right + aside, bottom - up
        self.taken.append(box)
        self.text(lines, box[0] if above else box[2], box[1], "left" if above else "right", colour)

    def room(self, lines: list[str], x: float, y: float, above: bool) -> float:
        """Pixels between words beside a point and all else; far below 0 outside the frame."""
        left, top, right, bottom = _box(lines, x, y, above)
        outside = EDGE - min(left, top, WIDTH - right, HEIGHT - bottom, EDGE)
        gaps = [
            max(box[0] - right, left - box[2], box[1] - bottom, top - box[3]) for box in self.taken
        ]
        return min([*gaps, ROOM]) - 100.0 * outside

    def rendered(self, title: str, notes: list[str]) -> tuple[str, bytes]:
        """SVG and PNG of all layers under the title."""
        lines = textwrap.wrap(printable(title, 400), 84) or [""]
        heading = {"text": lines, "subtitle": notes} | TITLE
        chart = {"layer": self.layers, "width": WIDTH, "height": HEIGHT, "title": heading}
        config = {"padding": 12, "text": {"fontSize": 12}, "axis": AXIS}
        return vega.rendered(chart, " ".join(lines), config)

    def _by_axes(self, points: list[vega.Spec], mark: str, style: dict, **channels: Any) -> None:
        """A mark whose place is given by the axes."""
        x_scale = {
            "type": "symlog", "constant": self.knee, "domain": [0, self.capital_max], "nice": False,
        }  # fmt: skip
        y_scale = {"type": "log", "domain": [self.floor, 1], "nice": False}
        encoding = {
            "x": vega.quantity("f", scale=x_scale, axis=self._capital_axis()),
            "y": vega.quantity("p", scale=y_scale, axis=self._probability_axis()),
        }
        self.layers.append(vega.view(mark, {"clip": True} | style, encoding | channels, points))

    def _by_pixels(self, mark: str, style: dict, **pixels: float) -> None:
        """A mark whose place is given in pixels."""
        where = {name: {"value": round(pixel, 2)} for name, pixel in pixels.items()}
        self.layers.append(vega.view(mark, style, where, [{}]))

    def _capital_axis(self) -> vega.Spec:
        """Two lines at a tick: percent of open interest and dollars."""
        unit = self.open_interest / 100.0
        amount = "'$' + replace(format(datum.value, '.3~s'), 'G', 'bn')"
        return {
            "values": [unit * tick for tick in self._ticks(unit)],
            "labelExpr": f"[format(datum.value / {unit!r}, '.3~g') + ' %', {amount}]",
            "labelFlush": False,
            "grid": False,
            "title": "First-loss capital F, in % of open interest and in USD",
        }

    def _ticks(self, unit: float) -> list[float]:
        """None, powers of ten, then their doubles and halves, as many as there is room for."""
        top = math.log10(self.capital_max / unit)
        decades = [10.0**n for n in range(math.floor(top), math.floor(top) - 12, -1)]
        chosen = [0.0]
        for factor in (1.0, 2.0, 5.0, 3.0):
            for tick in (factor * decade for decade in decades):
                x = self.x(unit * tick)
                far = all(abs(x - self.x(unit * other)) >= TICK for other in chosen)
                if far and unit * tick <= self.capital_max:
                    chosen.append(tick)
        return sorted(chosen)

    def _probability_axis(self) -> vega.Spec:
        decades = range(round(math.log10(self.floor)), 1)
        return {
            "values": [10.0**decade for decade in decades],
            "labelExpr": "format(100 * datum.value, '~g') + ' %'",
            "title": "Probability in the scenario",
        }


def dollars(amount: float) -> str:
    """An amount to three digits: $420M, $1.15bn."""
    for unit, word in ((1e12, "T"), (1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if float(f"{amount:.3g}") >= unit:
            return f"${amount / unit:.3g}{word}"
    return f"${amount:.3g}"


def width(lines: list[str]) -> float:
    """Pixels that words take at most."""
    return LETTER * max(map(len, lines))


def _box(lines: list[str], x: float, y: float, above: bool) -> Box:
    """The box of words beside a point: above and right of it, or below and left."""
    if above:
        return x + 8, y - 5 - LINE * len(lines), x + 8 + width(lines), y - 5
    return x - 8 - width(lines), y + 7, x - 8, y + 7 + LINE * len(lines)
