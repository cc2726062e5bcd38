"""The figures of a run, and what each of them says."""

import numpy as np

from riskengine.app import charts, crashes, figures, sentence, stress, study
from riskengine.app.amounts import percent, usd
from riskengine.app.answers import Answers
from riskengine.app.canvas import GREY, INK
from riskengine.app.charts import BLUE, GREEN, RED, VIOLET, YELLOW, Figure, Line, Panel
from riskengine.app.config import Config
from riskengine.app.replays import Replays
from riskengine.app.study import Study
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate

CAPTIONS = {
    "curves": "Probability that the first-loss capital F is not enough, for every F from one run. The "
    "axis of F is logarithmic but for its first part, which begins at no capital.",
    "fund_over_time": "First-loss capital over time, inventory at the mark.",
    "markets_over_time": "Prices of all markets weighted by open interest, the displacement of mid "
    "from the index by forced flow, and what bids and asks take within 1 % of mid.",
    "who_pays": "Mean loss per crash by who bears it; negative: a gain.",
    "haircuts": "Expected haircut at the mark of deleveraged traders by cohort, with the number of "
    "account-paths behind each. An arrow: the interval goes on beyond the picture.",
    "deleveraged": "Probability that one account of a cohort is deleveraged in a crash.",
    "crash_size": "Probability of each event by the size of the crash, in bins, with the paths that have "
    "it of the paths in the bin. Hollow and without a line: fewer than 10 paths in the bin.",
    "replay_typical": "The path whose need is the median.",
    "replay_bad": "The path whose need only one in twenty exceeds.",
    "replay_worst": "The path with the largest need of all.",
}


def captions(config: Config, found: Study) -> dict[str, str]:
    """What stands under each figure of this run."""
    said = dict(CAPTIONS)
    if study.may_bind_early(found.question.venue):
        said["curves"] += (
            " Rules of this venue can bind before the fund is dry: P(fund dry | F) is what it would "
            "be without them, and holds until the first intervention."
        )
    if found.replays:
        for name in ("fund_over_time", "markets_over_time"):
            said[name] += f" The {shown(found.replays)}."
        for name, path in found.replays.chosen.items():
            said[f"replay_{name}"] += f" {_size(config, found, path)}"
    return said


def _size(config: Config, found: Study, path: int) -> str:
    """How large a crash is, beside the largest that was seen."""
    row = found.results.rows(np.asarray([path]))
    size = float(stress.crash_size(found.results)[row][0])
    text = f"Its crash is a {'rise' if size > 0 else 'fall'} of {percent(abs(size))}"
    seen = crashes.seen(config)
    if seen is None or seen.largest_pct is None:
        return f"{text}."
    times = abs(size) / (0.01 * seen.largest_pct)
    if times <= 1:
        return f"{text}; the largest seen is {seen.largest_pct:g} %."
    return f"{text}, {times:.2g} times the largest seen ({seen.largest_pct:g} %)."


QUIET = 1e-3  # share of a path's activity that is left out at its end
SHORTEST = 1800.0  # s that are drawn at least


def draw(config: Config, found: Study, answered: Answers) -> dict[str, Figure]:
    """Every figure of a run, by name."""
    made = [] if answered.stress.ladder else [curves(config, found, answered)]
    if found.replays:
        made += [fund_over_time(found, found.replays), markets_over_time(found.replays)]
    made += [who_pays(answered), *by_cohort(answered)]
    if answered.stress.by_size and not answered.stress.ladder:
        made.append(crash_size(answered))
    if found.replays:
        made += [replayed(found, found.replays, name) for name in found.replays.chosen]
    return {figure.name: figure for figure in made}


def curves(config: Config, found: Study, answered: Answers) -> Figure:
    """P(ADL | F) and P(depleted | F) against F, with the venue's capital and the target."""
    aim = answered.target.estimate if answered.target else None
    mark = None
    if aim is not None and aim.value is not None:
        mark = figures.Target(
            "adl_probability", config.target.adl_probability, aim.value,
            aim.low if aim.low is not None else 0.0,
            aim.high if aim.high is not None else float("inf"),
        )  # fmt: skip
    title = f"The risk that a fund of size F leaves, under {sentence.short_title(config, of=True)} rules"
    svg, png = figures.curves(
        answered.curves, title, found.capital, found.question.open_interest, mark,
        config.simulation.confidence, unfunded(answered),
        study.may_bind_early(found.question.venue),
    )  # fmt: skip
    alt = f"Two falling curves of probability against capital. {answered.sentence}"
    return Figure("curves", alt, svg, png)


def unfunded(answered: Answers) -> np.ndarray:
    """Capital, P(unfunded) and its interval at the levels that were simulated: (4, levels)."""
    if not answered.levels:
        return np.zeros((4, 0))
    names = (
        "capital",
        "unfunded_material_probability",
        "unfunded_material_probability_low",
        "unfunded_material_probability_high",
    )
    return np.stack([answered.levels[name] for name in names]).astype(float)


def until(time: np.ndarray, busy: np.ndarray, quiet: float) -> float:
    """Seconds that are drawn: what happens later is at most the share `quiet` of all."""
    total = np.cumsum(busy)
    last = time[np.searchsorted(total, (1.0 - quiet) * total[-1])] if total[-1] > 0 else 0.0
    return float(min(max(1.15 * last, SHORTEST, time[0]), time[-1]))


def active(replays: Replays) -> float:
    """Seconds after which hardly anything happens to the capital of most paths."""
    fund = np.stack([replays.fans[f"fund_{q}"] for q in ("p05", "p25", "p50")])
    busy = np.abs(np.diff(fund, axis=1, prepend=fund[:, :1])).sum(axis=0)
    return until(replays.fans["time"], busy, 0.02)


def shown(replays: Replays) -> str:
    """Which part of the run the figures over time show."""
    part, whole = (f"{s / 60:.3g}" for s in (active(replays), replays.fans["time"][-1]))
    return f"first {part} of {whole} minutes" if part != whole else f"whole {whole} minutes"


def fan(replays: Replays, name: str, panel: Panel, scale: float, colour: str, key: bool = True):
    """A fan of one series, as far as anything happens; the first of a figure has a key."""
    kept = charts.stretches(replays.fans["time"], active(replays))
    ends = ("p05", "p25", "p50", "p75", "p95")
    fans = {end: scale * replays.fans[f"{name}_{end}"][kept] for end in ends}
    return charts.fan(panel, replays.fans["time"][kept], fans, colour, key)


def fund_over_time(found: Study, replays: Replays) -> Figure:
    """A fan of the first-loss capital."""
    panel = Panel(
        f"First-loss capital on {replays.paths} paths of {replays.books} books, {shown(replays)}",
        "% of open interest",
        260,
    )
    chart = fan(replays, "fund", panel, 100.0 / found.question.open_interest, BLUE)
    end = {q: usd(float(replays.fans[f"fund_{q}"][-1])) for q in ("p05", "p50", "p95")}
    alt = (
        f"First-loss capital over time on {replays.paths} paths, from {usd(found.capital)}; at the end "
        f"the 5th percentile is {end['p05']}, the median {end['p50']}, the 95th {end['p95']}."
    )
    return charts.drawn("fund_over_time", chart, alt)


def markets_over_time(replays: Replays) -> Figure:
    """Fans of prices, displacement and depth."""
    fans = replays.fans
    index, displaced = (
        Panel(f"Index of all markets, {shown(replays)}", "%", 120),
        Panel("Displacement of mid", "%", 120),
    )
    depth = Panel("Depth within 1 % of mid, bids and asks", "million USD", 120)
    panels = [
        fan(replays, "index_move", index, 100.0, INK),
        fan(replays, "displacement", displaced, 100.0, RED, key=False),
        fan(replays, "depth", depth, 1e-6, GREEN, key=False),
    ]
    low, least = 100 * fans["index_move_p05"].min(), 100 * fans["displacement_p05"].min()
    alt = (
        f"Three fans over time: the index (5th percentile down to {low:.3g} %), displacement of mid "
        f"(down to {least:.3g} %) and depth."
    )
    return charts.drawn("markets_over_time", charts.stacked(panels), alt)


def who_pays(answered: Answers) -> Figure:
    """Mean losses per crash by who bears them."""
    names = {e.name: e for e in answered.estimates}
    bars = []
    for words, name, sign in (
        ("first-loss capital", "fund_profit", -1.0),
        ("owner of the vault", "owner_profit", -1.0),
        ("outside providers", "provider_profit", -1.0),
        ("winners, by ADL at the mark", "adl_loss_mark_per_crash", 1.0),
        ("winners, by socialized loss", "social_loss", 1.0),
        ("nobody", "unfunded", 1.0),
    ):
        e = names.get(name)
        if e is None or e.value is None:
            continue
        ends = [None if x is None else 1e-6 * sign * x for x in (e.low, e.high)]
        low, high = ends if sign > 0 else ends[::-1]
        bars.append((words, 1e-6 * sign * e.value, low, high))
    alt = (
        "Mean loss per crash: " + "; ".join(f"{w} {v:.3g} million USD" for w, v, _, _ in bars) + "."
    )
    return charts.drawn("who_pays", charts.bars(bars, "million USD, mean per crash", BLUE), alt)


def by_cohort(answered: Answers) -> list[Figure]:
    """Haircuts, and probabilities of ADL, by cohort."""
    made = []
    for name, which, axis, colour in (
        ("haircuts", "haircut", "expected haircut, % of equity at the mark", RED),
        ("deleveraged", "deleveraged", "probability of being deleveraged in a crash, %", VIOLET),
    ):
        rows = []
        for cohort in answered.people.cohorts:
            e: Estimate = getattr(cohort, which)
            if e.value is None or cohort.dimension == "role":
                continue
            sure = e.low is not None and e.high is not None and not estimators.uncertain(e)
            low, high = (100 * (e.value if x is None else x) for x in (e.low, e.high))
            few = e.hits is not None and e.hits < estimators.RARE
            count = f"{e.hits}" + (": poorly known" if few else "" if sure else ": too uncertain")
            rows.append(
                {"dimension": cohort.dimension, "name": cohort.name, "value": 100 * e.value,
                 "low": low, "high": high, "count": count, "sure": sure}
            )  # fmt: skip
        if rows:
            worst = max(rows, key=lambda row: row["value"])
            alt = (
                f"{axis.capitalize()} by leverage, notional, side and market, with intervals; the "
                f"largest is {worst['value']:.3g} % ({worst['dimension']} {worst['name']})."
            )
            made.append(charts.drawn(name, charts.points(rows, axis, colour), alt))
    return made


def crash_size(answered: Answers) -> Figure:
    """P(event | size of the crash)."""
    smallest = {
        e: (f, r)
        for e, f, r in zip(
            answered.stress.reverse["event"], answered.stress.reverse["smallest_fall"],
            answered.stress.reverse["smallest_rise"], strict=True,
        )
    }  # fmt: skip
    said = "; ".join(
        f"{charts.EVENT_WORDS[str(e)]} from a fall of {100 * f:.3g} % on"
        for e, (f, _) in smallest.items()
        if f == f
    )
    alt = f"Probability of each event by the size of the crash. Smallest falls seen: {said}."
    return charts.drawn("crash_size", charts.by_size(answered.stress.by_size), alt)


def replayed(found: Study, replays: Replays, name: str) -> Figure:
    """Price, depth, liquidations, capital and ADL of one path, on one time axis."""
    mine = replays.steps["replay"] == name
    steps = {key: x[mine] for key, x in replays.steps.items() if key != "replay"}
    chart = charts.stacked(replay_panels(steps, _until(steps)))
    sums = {key: float(np.sum(steps[key])) for key in BUSY}
    alt = (
        f"The {name} path, number {replays.chosen[name]}: the index ends at "
        f"{100 * steps['index_move'][-1]:.3g} %, "
        f"{usd(sums['liquidated_long'] + sums['liquidated_short'])} are liquidated, "
        f"{usd(sums['takeover'])} taken over, "
        f"{usd(sums['deleveraged_long'] + sums['deleveraged_short'])} deleveraged; capital ends at "
        f"{usd(float(steps['fund'][-1]))}."
    )
    return charts.drawn(f"replay_{name}", chart, alt)


BUSY = ("liquidated_long", "liquidated_short", "takeover", "deleveraged_long", "deleveraged_short")


def _until(steps: dict[str, np.ndarray]) -> float:
    """Seconds after which hardly anything happens on a path."""
    fund = steps["fund"]
    busy = np.sum([steps[name] for name in BUSY], axis=0) + np.abs(np.diff(fund, prepend=fund[0]))
    return until(steps["time"], busy, QUIET)


def replay_panels(steps: dict[str, np.ndarray], end: float) -> list:
    """Six panels over the same time; amounts are added up over each stretch that is drawn."""
    kept = charts.stretches(steps["time"], end)
    edges = np.concatenate([[0], kept + 1])

    def level(name: str, scale: float) -> np.ndarray:
        return scale * steps[name][kept]

    def added(name: str) -> np.ndarray:
        return np.diff(np.concatenate([[0.0], np.cumsum(1e-6 * steps[name])])[edges])

    usd_, pct, knee = "million USD", "%", 1e-6 * max(abs(float(steps["fund"][0])), 1.0)
    panels = {
        Panel("Prices, weighted by open interest", pct): [
            Line("mid", level("mid_move", 100.0), RED),
            Line("index", level("index_move", 100.0), INK),
        ],
        Panel("Depth within 1 % of mid", usd_, 80): [
            Line("bids", level("depth_bid", 1e-6), GREEN),
            Line("asks", level("depth_ask", 1e-6), YELLOW),
        ],
        Panel("Liquidated in the book, and taken over", usd_): [
            Line("taken over", added("takeover"), GREY, amount=True),
            Line("longs", added("liquidated_long"), RED, amount=True),
            Line("shorts", added("liquidated_short"), BLUE, amount=True),
        ],
        Panel("Capital of fund and vault; logarithmic away from zero", usd_, 130, knee): [
            Line("at exit price", level("fund_at_exit", 1e-6), GREY),
            Line("at mark", level("fund", 1e-6), BLUE),
        ],
        Panel("Inventory of fund and vault", usd_, 80): [
            Line("inventory", level("inventory", 1e-6), YELLOW),
        ],
        Panel("Deleveraged, and what nobody could pay at the exit price", usd_): [
            Line("longs", added("deleveraged_long"), RED, amount=True),
            Line("shorts", added("deleveraged_short"), BLUE, amount=True),
            Line("nobody pays", level("unfunded", 1e-6), INK),
        ],
    }
    return [charts.lines(panel, steps["time"][kept], series) for panel, series in panels.items()]
