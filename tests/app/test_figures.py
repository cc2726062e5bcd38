"""Figures say what the numbers say, are the same each time, and ask the network for nothing."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from riskengine.app import canvas, charts, figures
from riskengine.app.figures import Target, curves

OPEN_INTEREST = 9.6e9
ANSWER = "F* = $847M (763M to 958M) holds off auto-deleveraging in 99 of 100 crashes."
DASHED = 'stroke-dasharray="2,3"'


def table(paths: int = 4096, needed: float = 0.45, scale: float = 1.1e8) -> dict[str, np.ndarray]:
    """Curves of made-up required capital, the way the estimators report them."""
    rng = np.random.default_rng(0)
    hit = rng.random(paths) < needed
    adl = np.where(hit, scale * np.exp(rng.normal(size=paths)), 0.0)
    capital = np.concatenate([[0.0], np.geomspace(1e6, max(adl.max(), 2e6), 60)])
    data = {"capital": capital}
    for name, need in (("adl_probability", adl), ("depletion_probability", 0.7 * adl)):
        hits = (need[None] > capital[:, None]).sum(axis=1)
        error = 2.0 * np.sqrt(np.maximum(hits, 1.0)) / paths
        share = hits / paths
        data |= {
            name: share,
            f"{name}_low": np.maximum(share - error, 0.0),
            f"{name}_high": np.minimum(share + error, 1.0),
            f"{name}_hits": hits,
        }
    return data


def words(svg: str) -> str:
    """All text of a picture, without the white edges of words."""
    name = "{http://www.w3.org/2000/svg}text"
    texts = [text for text in ElementTree.fromstring(svg).iter(name) if not text.get("stroke")]
    return " ".join("".join(text.itertext()) for text in texts)


@pytest.fixture(scope="module")
def picture() -> tuple[str, bytes]:
    target = Target("adl_probability", 0.01, 8.47e8, 7.63e8, 9.58e8)
    return curves(table(), ANSWER, 4.2e8, OPEN_INTEREST, target)


@pytest.fixture
def svg_only(monkeypatch):
    """The PNG is made from the SVG, and that takes longest."""
    monkeypatch.setattr("vl_convert.svg_to_png", lambda svg, **_: b"")


def test_the_picture_says_the_answer(picture):
    text = words(picture[0])
    for part in (
        ANSWER, "P(intervention | F)", "P(fund dry | F)", "the venue's capital: 4.38 %, $420M; ",
        "F*(1 %) = 8.82 %, $847M", "95 % interval 7.95 % to 9.98 %", "$960M", "10 %",
        "First-loss capital F, in % of open interest and in USD", "Probability in the scenario",
        "fewer than 10 paths",
    ):  # fmt: skip
        assert part in text, part


def test_both_files_are_whole_and_ask_for_nothing(picture):
    svg, png = picture
    addresses = set(re.findall(r"https?://[^\"' ]+", svg))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<script" not in svg and "<image" not in svg and "href=" not in svg
    width, height = struct.unpack(">II", png[16:24])
    assert png.startswith(b"\x89PNG") and width > 1600 and height > 1000


def test_the_same_numbers_make_the_same_bytes(picture, tmp_path):
    script = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]\n"
        "import test_figures as t\n"
        "target = t.Target('adl_probability', 0.01, 8.47e8, 7.63e8, 9.58e8)\n"
        "svg, png = t.curves(t.table(), t.ANSWER, 4.2e8, t.OPEN_INTEREST, target)\n"
        "Path(sys.argv[1]).write_bytes(svg.encode() + png)"
    )
    folders = [str(Path(figures.__file__).parents[2]), str(Path(__file__).parent)]
    env = {**os.environ, "PYTHONHASHSEED": "3", "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", script, str(tmp_path / "again"), *folders]
    subprocess.run(command, env=env, check=True)
    assert (tmp_path / "again").read_bytes() == picture[0].encode() + picture[1]


def test_what_the_sample_cannot_carry_is_dotted(svg_only):
    few, many = table(paths=200), table(paths=200)
    for name in figures.CURVES:
        many[f"{name}_hits"] = many[f"{name}_hits"] + 10
    assert DASHED in curves(few, ANSWER, 4.2e8, OPEN_INTEREST)[0]
    assert DASHED not in curves(many, ANSWER, 4.2e8, OPEN_INTEREST)[0]


def test_few_hits_give_a_bound_and_not_a_number(svg_only):
    text = words(curves(table(needed=0.001), "Few.", 4.2e8, OPEN_INTEREST)[0])
    assert text.count("≤") == 2


@pytest.mark.parametrize(
    ("data", "capital", "target"),
    [
        (table(needed=0.0), 4.2e8, Target("adl_probability", 0.01, 0.0, 0.0, 0.0)),
        (table(needed=1.0), 0.0, None),
        (table(), np.inf, None),
        (table(), np.nan, Target("adl_probability", 1e-3, np.inf, 1e9, np.inf)),
        (table(), 4.2e8, Target("depletion_probability", 1e-3, 1e9, 8e8, np.inf)),
        ({name: column[:1] for name, column in table().items()}, 4.2e8, None),
        ({name: column * np.nan for name, column in table().items()}, 4.2e8, None),
        (table(scale=1e3), 4.2e11, None),
    ],
)
def test_strange_numbers_still_make_a_picture(svg_only, data, capital, target):
    svg, _ = curves(data, ANSWER, capital, OPEN_INTEREST, target)
    assert ANSWER in words(svg) and "NaN" not in svg and "nan %" not in svg and "inf %" not in svg


def test_a_capital_far_beyond_the_curves_is_pointed_at(svg_only):
    assert "the venue's capital: 521 %, $50bn →" in words(
        curves(table(), ANSWER, 5e10, OPEN_INTEREST)[0]
    )


def test_a_curve_that_holds_no_longer_at_the_capital_is_not_quoted_there(svg_only):
    """Where rules bind before the fund is dry."""
    quoted = r"the venue's capital: 4.38 %, \$420M; P\(intervention \| F\) [\d.]+ %"
    both = words(curves(table(), ANSWER, 4.2e8, OPEN_INTEREST)[0])
    one = words(curves(table(), ANSWER, 4.2e8, OPEN_INTEREST, early=True)[0])
    assert re.search(quoted + r"; P\(fund dry \| F\) \d", both) and re.search(quoted, one)
    assert "; P(fund dry | F)" not in one


def test_words_of_others_are_only_words(svg_only):
    answer = "<b>&amp; %s %n {0} ${x} {{x}} datum.value 'a' \"b\" \\ \x1b[31m\u202e"
    text = words(curves(table(), answer, 4.2e8, OPEN_INTEREST)[0])
    assert "<b>&amp; %s %n {0} ${x} {{x}} datum.value 'a' \"b\" \\ \\x1b[31m\\u202e" in text


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0.0, "$0"), (12.0, "$12"), (999.6, "$1k"), (4.2e8, "$420M"), (9.996e8, "$1bn"),
        (1.536e9, "$1.54bn"), (2e12, "$2T"),
    ],
)  # fmt: skip
def test_dollars(amount, shown):
    assert canvas.dollars(amount) == shown


def test_places_of_the_axis_of_capital_are_undone():
    plot = canvas.Canvas(1e9, 1e-4, 1e6, OPEN_INTEREST)
    assert plot.x(0.0) == 0.0 and plot.x(1e9) == plot.x(2e9) == pytest.approx(canvas.WIDTH)
    for capital in (1e4, 1e6, 3e8):
        assert plot.capital(plot.x(capital)) == pytest.approx(capital)
    assert plot.x(1e6) > 0.08 * canvas.WIDTH


def test_an_interval_that_says_nothing_does_not_rule_the_axis(svg_only):
    """Its ends are cut where the others end, with an arrow."""
    rows = [
        {
            "dimension": "side",
            "name": n,
            "value": v,
            "low": a,
            "high": b,
            "count": "9",
            "sure": sure,
        }
        for n, v, a, b, sure in (
            ("long", 1.0, 0.5, 1.5, True),
            ("short", 1.2, -900.0, 900.0, False),
        )
    ]
    panel = charts.points(rows, "x", charts.RED)["vconcat"][0]
    drawn = {row["name"]: (row["low"], row["high"]) for row in panel["data"]["values"]}
    assert drawn["long"] == (0.5, 1.5) and drawn["short"] == pytest.approx((0.0, 1.56))
    shapes = [layer["mark"].get("shape") for layer in panel["layer"]]
    assert shapes.count("triangle-left") == shapes.count("triangle-right") == 1


def test_bins_of_few_paths_are_hollow_and_have_no_line():
    paths, hits = np.asarray([200, 9, 12]), np.asarray([20, 3, 6])
    edges = np.asarray([0.0, 0.1, 0.2, 0.3])
    table = {
        "event": np.asarray(["dry"] * 3, object), "side": np.asarray(["fall"] * 3, object),
        "from": edges[:-1], "to": edges[1:], "paths": paths, "hits": hits,
        "probability": hits / paths, "low": np.full(3, np.nan), "high": np.full(3, np.nan),
    }  # fmt: skip
    chances, counts = charts.by_size(table)["vconcat"]
    line, _, full, hollow = (layer["data"]["values"] for layer in chances["layer"])
    assert [row["line"] for row in line] == [10.0, None, 50.0]
    assert [row["bin"] for row in full] == ["0 to 10", "20 to 30"]
    assert [row["bin"] for row in hollow] == ["10 to 20"]
    assert [row["count"] for row in counts["data"]["values"]] == ["20/200", "3/9", "6/12"]


def test_words_do_not_lie_on_each_other():
    plot = canvas.Canvas(1e9, 1e-4, 1e7, OPEN_INTEREST)
    plot.beside(["here"], 100.0, 100.0, True, canvas.INK)
    assert plot.room(["here"], 100.0, 100.0, True) < 0 < plot.room(["here"], 300.0, 200.0, True)
    assert plot.room(["here"], canvas.WIDTH - 5.0, 100.0, True) < 0
