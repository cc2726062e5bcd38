"""Many configurations, one after the other in this process or on a hydra launcher."""

import shlex
import sys
from collections.abc import Sequence
from typing import Any

from riskengine.app import configure
from riskengine.app.config import Config
from riskengine.app.fields import choose
from riskengine.app.overrides import is_launcher
from riskengine.app.run import run as run_one
from riskengine.app.show import Screen


def run(jobs: Sequence[list[str]], configs: Sequence[Config], overrides: Sequence[str]) -> int:
    """Run every job; equal shapes share one compiled program. Ends with a table."""
    launcher = [o for o in overrides if is_launcher(o)]
    if launcher:
        return _launched(launcher, jobs, configs)
    screen, rows = Screen(), []
    for number, (job, config) in enumerate(zip(jobs, configs, strict=True)):
        screen.note(f"job {number + 1} of {len(jobs)}: {' '.join(job)}")
        rows.append(run_one(config, screen, shlex.join(["riskengine", *job])).headline)
    _table(screen, jobs, rows)
    return 0


def _table(screen: Screen, jobs: Sequence[list[str]], rows: list[dict[str, Any]]) -> None:
    screen.say("")
    for job, found in zip(jobs, rows, strict=True):
        parts = [f"{name} {_plain(found.get(name))} [{_plain(found.get(name + '_low'))}, "
                 f"{_plain(found.get(name + '_high'))}]"
                 for name in ("adl_probability", "depletion_probability", "fund_target")
                 if name in found]  # fmt: skip
        screen.say(f"{' '.join(job)}: {'; '.join(parts)}")


def _plain(x: Any) -> str:
    return "–" if x is None else f"{x:.4g}"


def _launched(launcher: Sequence[str], jobs: Sequence[list[str]], configs: Sequence[Config]) -> int:
    """Hand the jobs to hydra, which starts one process per job where the launcher does.

    hydra sees their numbers only: what they are was composed and checked here.
    """
    import hydra
    from omegaconf import DictConfig

    for option in launcher:
        name, _, value = option.lstrip("+").partition("=")
        if name == "hydra/launcher":
            choose(name, configure.launchers(), value)
    numbers = ",".join(str(number) for number in range(len(jobs)))
    quiet = [
        "hydra/job_logging=disabled",
        "hydra/hydra_logging=disabled",
        "hydra.output_subdir=null",
    ]
    folder = f"hydra.sweep.dir='{configs[0].runs}/launcher'"
    sys.argv = ["riskengine", "-m", *launcher, *quiet, folder, f"+job={numbers}"]

    def job(composed: DictConfig) -> None:
        number = int(composed.job)
        run_one(configs[number], Screen(), shlex.join(["riskengine", *jobs[number]]))

    hydra.main(config_path=None, config_name=None, version_base="1.3")(job)()
    return 0
