"""The picture of throughput against the size of the book, for the engine and programs of the same rule.

    for n in 512 2048 8192 32768 100000; do
      python benchmarks/peers.py --accounts $n --paths $((n < 8192 ? 512 : 64)) --rounds 3 --check 4 \\
        --table benchmarks/peers.csv
    done
    python benchmarks/throughput_by_size.py

Reads `peers.csv` beside this file and leaves `peers.svg` and `peers.png`.
"""

from pathlib import Path

import pandas as pd

from riskengine.app import vega

HERE = Path(__file__).resolve().parent
NAMES = {
    "engine": "riskengine",
    "numba": "Numba, one fused loop per path",
    "numpy": "NumPy",
    "torch compile": "PyTorch, compiled",
    "torch eager, whole": "PyTorch, eager",
    "jax prototype": "JAX, this rule alone",
}
COLOURS = ("#c1272d", "#0072b2", "#595959", "#e69f00", "#a6761d", "#009e73")  # in order of NAMES
INK, PALE = "#1a1a1a", "#e4e4e4"


def panel(rows: pd.DataFrame, regime: str) -> vega.Spec:
    """One regime: a line per program, both axes logarithmic."""
    shown = rows[(rows["regime"] == regime) & rows["program"].isin(list(NAMES))]
    values = shown.assign(program=shown["program"].map(NAMES)).to_dict("records")
    sizes = sorted(set(shown["accounts"]))
    colour = vega.name(
        "program",
        scale={"domain": list(NAMES.values()), "range": list(COLOURS)},
        legend={"title": None, "labelLimit": 260},
    )
    encoding = {
        "x": vega.quantity(
            "accounts",
            scale={"type": "log", "nice": False},
            axis={"values": sizes, "format": ",", "title": "Accounts", "grid": False},
        ),
        "y": vega.quantity(
            "account_steps_per_s",
            scale={"type": "log", "domain": [3e7, 1.5e10], "nice": False},
            axis={
                "values": [1e7, 1e8, 1e9, 1e10],
                "labelExpr": "format(datum.value / 1e6, ',') + ' M'",
                "title": "Account-steps per second",
            },
        ),
        "color": colour,
    }
    lines = vega.view("line", {"point": True, "strokeWidth": 2}, encoding, values)
    return lines | {"title": f"{regime} regime", "width": 300, "height": 320}


def main() -> None:
    rows = pd.read_csv(HERE / "peers.csv")
    title = "One textbook rule on two CPU cores, 64 steps, float32: higher is faster"
    chart = {
        "hconcat": [panel(rows, "moderate"), panel(rows, "stress")],
        "title": {"text": title, "anchor": "start", "fontSize": 15, "offset": 16},
    }
    axis = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    colours = {"labelColor": INK, "titleColor": INK, "gridColor": PALE}
    config = {"padding": 12, "axis": axis | colours, "legend": {"labelFontSize": 12}}
    svg, png = vega.rendered(chart, title, config)
    HERE.joinpath("peers.svg").write_text(svg, encoding="utf-8")
    HERE.joinpath("peers.png").write_bytes(png)


if __name__ == "__main__":
    main()
