"""`task=doctor`: can this machine be trusted with a run, and how long does the first answer take?"""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

import numpy as np

from riskengine.app import build, colour, device, shadow, study
from riskengine.app.config import Config
from riskengine.app.files import shown
from riskengine.app.show import Screen
from riskengine.montecarlo import probes, simulate

KNOWN_BAD = {"0.10.2": "jax issue 39103", "0.11.0": "the same fault"}  # miscompute on CPU
PACKAGES = (
    "hydra-core",
    "omegaconf",
    "numpy",
    "scipy",
    "pandas",
    "duckdb",
    "vl-convert-python",
)
SMALL = ("experiment=small",)  # a venue that takes seconds once compiled
PATHS = 64  # of it
MEMORY_MIN = 2e9  # bytes: what the default experiment takes, rounded up
FAILED = 3


@dataclass(frozen=True)
class Finding:
    """One check: `good` is False where runs must not be trusted, None where it is only worth knowing."""

    name: str
    good: bool | None
    words: str


def run(config: Config, screen: Screen) -> int:
    """Check everything, say what was found, and return the exit code: 0, or 3 where a check failed."""
    began = time.monotonic()
    device.prepare(config.simulation)
    bad = 0
    for check in CHECKS:
        for finding in _safely(check, config):
            mark = {True: "ok  ", False: colour.paint("FAIL", colour.RED, screen.out), None: "note"}
            mark = mark[finding.good]
            screen.say(f"{mark}  {finding.name:<14} {finding.words}")
            bad += finding.good is False
    screen.say("")
    took = f"{time.monotonic() - began:.0f} s"
    if bad:
        screen.say(f"{bad} of the checks failed: do not use numbers from this machine ({took})")
        return FAILED
    screen.say(f"this machine computes what it should ({took})")
    return 0


def _safely(check: Callable[[Config], list[Finding]], config: Config) -> list[Finding]:
    """A check that raises has failed; the others still run."""
    try:
        return check(config)
    except Exception as error:  # noqa: BLE001 - a doctor reports whatever is wrong
        line = " ".join(str(error).split())[:160]
        return [Finding(check.__name__.strip("_"), False, f"{type(error).__name__}: {line}")]


def versions(_: Config) -> list[Finding]:
    """Versions, and whether jax is one that is known to be wrong."""
    import jax

    import riskengine

    wrong = KNOWN_BAD.get(jax.__version__)
    words = f"jax {jax.__version__}, riskengine {riskengine.__version__}, Python {platform.python_version()}"
    others = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return [
        Finding(
            "versions", not wrong, f"{words}: {wrong}, known to miscompute" if wrong else words
        ),
        Finding("packages", None, others),
    ]


def devices(config: Config) -> list[Finding]:
    """Devices and memory."""
    import jax

    found = []
    for one in jax.local_devices():
        stats = one.memory_stats() or {}
        limit = stats.get("bytes_limit")
        memory = f", {limit / 2**30:.1f} GiB" if limit else ""
        found.append(f"{one.device_kind} {one.id}{memory}")
    free = _free_memory()
    words = f"{free / 2**30:.1f} GiB free of the host's memory" if free else "free memory not known"
    return [
        Finding("devices", True, f"{jax.default_backend()}: {', '.join(found)}"),
        Finding(
            "memory", None, words if free is None or free >= MEMORY_MIN else f"{words}: little"
        ),
        Finding(
            "precision", True, f"{config.simulation.precision} for positions, float64 for money"
        ),
    ]


def _free_memory() -> float | None:
    """Bytes that programs can have, pages that only cache files included."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            known = dict(line.split(":") for line in lines)
        return 1024.0 * int(known["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None


def kept(_: Config) -> list[Finding]:
    """Compiled programs that later runs find."""
    folder = device.cache()
    if folder is None:
        return [Finding("programs", None, "not kept: RISKENGINE_CACHE is empty")]
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    words = f"{len(sizes)} kept in {shown(folder)}, {sum(sizes) / 2**20:.0f} MiB"
    return [Finding("programs", None, words)]


def numerics(_: Config) -> list[Finding]:
    """Known answers on this device: products, gathers, sums in a stated order, random bits, float64."""
    checks = {
        "product": (probes.product_probe, "3 x 3 products of 32,769 rows equal NumPy's"),
        "gather": (
            probes.gather_probe,
            "values spread by account and gathered by market equal NumPy's",
        ),
        "tree sums": (probes.tree_probe, "the same bits alone and in a batch, exact to rounding"),
        "random bits": (probes.random_probe, "Threefry's published test vector"),
        "float64": (probes.double_probe, "quotients, roots and products have all 53 bits"),
    }
    return [Finding(name, probe(), words) for name, (probe, words) in checks.items()]


def small_run(config: Config) -> list[Finding]:
    """A small venue through the whole engine: conservation, a second opinion, and time."""
    from riskengine.app import configure

    asked = config.simulation
    more = [f"simulation.device={asked.device}", f"simulation.precision={asked.precision}"]
    settings = configure.load([*SMALL, f"simulation.paths={PATHS}", *more])
    began = time.monotonic()
    question = build.build(settings)
    results = question.setting.unlimited(np.arange(PATHS), settings.simulation.batch)
    first = time.monotonic() - began
    again = time.monotonic()
    question.setting.unlimited(np.arange(PATHS), settings.simulation.batch)
    pace = PATHS / (time.monotonic() - again)
    lost = float(max(results["ledger_cash"].max(), results["ledger_size"].max()))
    bar = simulate.CONSERVATION[settings.simulation.precision]
    wrong = study.violations(results)
    second = shadow.compare(question, int(np.argmax(results["required_fund"])), 5.0)
    same = second.difference <= shadow.TOLERANCE[settings.simulation.precision]
    words = f"{lost:.1e} of gross, {bar:g} is allowed" + "".join(f"; {text}" for text in wrong)
    return [
        Finding("conservation", lost <= bar and not wrong, words),
        Finding(
            "second engine", same,
            f"path {second.path}, {second.steps} steps: largest difference {second.difference:.1e} of gross",
        ),
        Finding("first result", None, f"{first:.1f} s with compilation"),
        Finding("pace", None, f"{pace:.0f} small paths per second once compiled"),
    ]  # fmt: skip


def figures(_: Config) -> list[Finding]:
    """A figure is drawn without a browser and without the network."""
    from riskengine.app import charts

    figure = charts.drawn("doctor", charts.bars([("a bar", 1.0, 0.5, 1.5)], "nothing"), "one bar")
    good = figure.svg.startswith("<svg") and figure.png.startswith(b"\x89PNG")
    return [Finding("figures", good, f"SVG and PNG, {len(figure.png)} bytes")]


CHECKS = (versions, devices, kept, numerics, figures, small_run)
