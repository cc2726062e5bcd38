"""Which machine the paths run on; set before jax wakes up."""

import os
import subprocess
from pathlib import Path

from riskengine.app.config import SimulationConfig
from riskengine.errors import printable

CORES_MAX = 64
FLAG = "--xla_cpu_multi_thread_eigen=false"  # cores work on different paths, not on the same one


class NoDevice(RuntimeError):
    """The device that was asked for is not there."""

    exit_code = 3


def prepare(config: SimulationConfig) -> None:
    """Make every core a device of its own, and refuse a GPU that does not exist.

    Must be called before jax has touched a device; later it changes nothing.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_multi_thread_eigen" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}".strip()
    if config.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    if os.environ.get("JAX_DISABLE_JIT", "").lower() in ("1", "true", "yes"):
        raise NoDevice("JAX_DISABLE_JIT must not be set: results differ in their last bits")
    if "xla_force_host_platform_device_count" not in flags:
        try:
            jax.config.update("jax_num_cpu_devices", min(cores(), CORES_MAX))
        except RuntimeError:
            pass  # jax is awake already: a notebook, or a second job of a sweep
    try:
        platform = jax.default_backend()
    except (RuntimeError, AssertionError) as error:  # the latter: a platform that is not there
        line = (str(error).splitlines() or ["jax finds no such device"])[0]
        asked = printable(os.environ.get("JAX_PLATFORMS", ""))
        raise NoDevice(f"JAX_PLATFORMS={asked} cannot be used: {line}") from None
    if config.device == "gpu" and platform != "gpu":
        raise NoDevice(
            f"simulation.device is gpu, but jax finds only {platform}; use simulation.device=cpu"
        )
    from riskengine.montecarlo import programs

    folder, quiet = cache(), os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3"
    if folder and quiet:  # who imported jax before riskengine would see pages of warnings
        programs.keep(folder / "programs")


def cache() -> Path | None:
    """Where to leave what a later run need not make again: RISKENGINE_CACHE; empty is nowhere."""
    asked = os.environ.get("RISKENGINE_CACHE")
    if asked is not None:
        return Path(asked).absolute() if asked else None
    usual = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(usual) if usual else Path.home() / ".cache") / "riskengine"
    except RuntimeError:  # nobody's home
        return None


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def facts() -> dict:
    """What a result depends on: device, precision, versions."""
    import platform

    import jax
    import jaxlib.version
    import numpy

    devices = jax.local_devices()
    return {
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "devices": len(devices),
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def commit() -> str | None:
    """The commit of the checkout that this code runs from; None where it runs from no checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() or None if said.returncode == 0 else None


def probe() -> None:
    """Refuse to compute with a jax that gets known answers wrong."""
    import jax

    from riskengine.montecarlo import probes

    bad = probes.failed()
    if bad:
        raise NoDevice(
            f"jax {jax.__version__} fails the numerical probe {', '.join(bad)} on this device: "
            "its numbers would be wrong; install another version"
        )
