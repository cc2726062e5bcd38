"""Many configurations, one after the other in this process or on a hydra launcher."""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from riskengine.app import configure, store, variants
from riskengine.app.amounts import percent, usd
from riskengine.app.config import Config
from riskengine.app.fields import choose
from riskengine.app.overrides import is_launcher
from riskengine.app.run import Outcome
from riskengine.app.run import run as run_one
from riskengine.app.show import Screen
from riskengine.app.variants import Job


def run(jobs: Sequence[list[str]], configs: Sequence[Config], overrides: Sequence[str]) -> int:
    """Run every job; equal shapes share one compiled program. Ends with a table.

    Jobs that ask for ranges are followed by one for every other plausible value of their presets.
    Where venues differ, or ranges are asked for, a comparison of venues is written, too.
    """
    asked = variants.expanded(jobs, configs)
    jobs, configs = [job.overrides for job in asked], [job.config for job in asked]
    launcher = [o for o in overrides if is_launcher(o)]
    if launcher:
        return _launched(launcher, jobs, configs)
    screen, found, varied = Screen(), [], _varied(jobs)
    if len(jobs) == 1:
        screen.note(
            "-m has nothing to sweep over: no key has several values (KEY=a,b), so one job runs"
        )
    for number, (job, config) in enumerate(zip(jobs, configs, strict=True)):
        screen.note(f"job {number + 1} of {len(jobs)}: {' '.join(job)}")
        found.append(run_one(config, Screen(brief=True), shlex.join(["riskengine", *job])))
        headline = f"P(intervention) {_cell(found[-1].headline, 'adl_probability')}"
        screen.say(f"{varied[number]}: {headline}, {found[-1].folder / 'report.html'}")
    screen.table(
        ("job", *SHOWN.values(), "run"), [_row(*each) for each in zip(varied, found, strict=True)]
    )
    screen.say(f"the sweep as a table: {_written(varied, found)}")
    varies = any(job.change for job in asked)
    if varies or len({config.venue.name for config in configs}) > 1:
        if _alike(asked):
            _compare(asked, found, screen)
        else:
            screen.note("venues are put side by side only where nothing else differs between jobs")
    return 0


def _alike(asked: Sequence[Job]) -> bool:
    """Whether jobs differ by their venues alone, each of them once."""
    own = [job for job in asked if not job.change]
    shared = [dataclasses.replace(job.config, venue=own[0].config.venue) for job in own]
    names = [job.config.venue.name for job in own]
    return all(config == shared[0] for config in shared) and len(set(names)) == len(names)


def _compare(asked: Sequence[Job], found: Sequence[Outcome], screen: Screen) -> None:
    """Venues side by side: a table here, a figure and a page beside the runs."""
    from riskengine.app import compare, comparison

    seen = compare.venues(asked, found)
    screen.say("")
    screen.table(compare.HEAD, compare.rows(seen))
    screen.say(compare.NOTE)
    screen.say(f"the venues side by side: {comparison.write(seen, found[0].folder.parent)}")
    screen.last(compare.sentence(seen))


SHOWN = {
    "adl_probability": "P(intervention)", "depletion_probability": "P(fund runs dry)",
    "unfunded_material_probability": "P(material unfunded loss)", "fund_target": "fund target",
}  # fmt: skip


def _varied(jobs: Sequence[list[str]]) -> list[str]:
    """What each job has that not every job has; all of it where the jobs are alike."""
    shared = set(jobs[0]).intersection(*jobs)
    alike = all(set(job) == shared for job in jobs)
    return [" ".join(o for o in job if o not in shared or alike) for job in jobs]


def _row(job: str, found: Outcome) -> list[str]:
    """A job's headline numbers, each with its interval, and where the run lies."""
    return [job, *(_cell(found.headline, name) for name in SHOWN), found.folder.name]


def _cell(headline: dict[str, Any], name: str) -> str:
    value, low, high = (headline.get(f"{name}{part}") for part in ("", "_low", "_high"))
    show = usd if name == "fund_target" else percent
    if value is None:
        return f"at least {show(low)}" if low else "not known"
    ends = " to ".join("unbounded" if x is None else show(x) for x in (low, high))
    return f"{show(value)} ({ends})"


def _written(varied: list[str], found: Sequence[Outcome]) -> Path:
    """The same numbers, unrounded, beside the first run; the same sweep finds its file again."""
    folders = [str(outcome.folder) for outcome in found]
    names = list(dict.fromkeys(name for outcome in found for name in outcome.headline))
    columns = {"job": np.asarray(varied, object), "run": np.asarray(folders, object)}
    for name in names:
        numbers = [outcome.headline.get(name) for outcome in found]
        columns[name] = np.asarray([np.nan if x is None else x for x in numbers], float)
    return store.write_beside(found[0].folder.parent, "sweep", columns)


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
