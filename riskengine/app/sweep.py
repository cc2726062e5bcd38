"""Many configurations, one after the other in this process or on a hydra launcher."""

import sys
from collections.abc import Sequence
from typing import Any

from riskengine.app import configure
from riskengine.app.config import Config
from riskengine.app.run import run as run_one
from riskengine.app.show import Screen


def run(jobs: Sequence[list[str]], configs: Sequence[Config], overrides: Sequence[str]) -> int:
    """Run every job; equal shapes share one compiled program. Ends with a table."""
    launcher = [o for o in overrides if o.startswith("hydra/launcher")]
    if launcher:
        return _launched(overrides)
    screen, rows = Screen(), []
    for number, (job, config) in enumerate(zip(jobs, configs, strict=True)):
        screen.note(f"job {number + 1} of {len(jobs)}: {' '.join(job)}")
        rows.append(run_one(config, screen, "riskengine " + " ".join(job)).headline)
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


def _launched(overrides: Sequence[str]) -> int:
    """Hand the sweep to hydra, which starts one process per job where the launcher does."""
    import hydra
    from hydra.core.config_store import ConfigStore
    from omegaconf import DictConfig, OmegaConf

    ConfigStore.instance().store(name="schema", node=Config)
    sys.argv = ["riskengine", "-m", *overrides, "hydra.job.chdir=false", "hydra.output_subdir=null"]

    @hydra.main(config_path=str(configure.CONF), config_name="config", version_base="1.3")
    def job(composed: DictConfig) -> None:
        config = OmegaConf.to_object(composed)
        assert isinstance(config, Config)
        run_one(config, Screen(), "riskengine")

    job()
    return 0
