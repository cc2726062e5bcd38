"""A process that runs commands one after the other, so that one compiled program serves them all.

As a script it reads one JSON request per line and answers with one line: `main` runs the command
line, `python` the same question from Python. `Worker` is the other end of the pipes. With the
argument `kill` it runs one command and kills itself after its first shard.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SMALL = [
    "experiment=small", "book.books=2", "book.accounts=40", "simulation.paths=48",
    "simulation.fund_paths=32", "simulation.level_paths=8", "simulation.refine_paths=8",
    "simulation.largest_paths=8", "simulation.replay_paths=8",
    "simulation.shadow_paths=1", "simulation.batch=1",
]  # fmt: skip
PROGRAM = "on_device"  # the name of the program in montecarlo.simulate


FLAGS = "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=2"


def environment(cache: Path, **more: str) -> dict[str, str]:
    """Of processes that compute: programs are little optimized, and kept for the next process."""
    return os.environ | {
        "PYTHONPATH": str(PROJECT),
        "JAX_PLATFORMS": "cpu",
        "RISKENGINE_CACHE": str(cache),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        "XLA_FLAGS": FLAGS,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    } | more  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str
    compiled: int  # how often the program was compiled for it

    @property
    def last(self) -> str:
        return self.out.rstrip().splitlines()[-1]


class Worker:
    """The process, started when the first command comes."""

    def __init__(self, env: dict[str, str]):
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def ask(self, **request) -> dict:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "bug" not in answer, answer["bug"]
        return answer

    def main(self, *arguments: str, stop_after: int = 0) -> Said:
        """Run the command line; with `stop_after`, Ctrl-C once so many shards are kept."""
        return Said(**self.ask(call="main", arguments=arguments, stop_after=stop_after))

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=30)


# The other end


def _count_compilations() -> list[str]:
    """Names of the programs that were compiled, growing."""
    import jax

    names: list[str] = []

    def heard(event: str, seconds: float, **facts) -> None:
        if event.endswith("backend_compile_duration"):
            names.append(str(facts.get("fun_name", "")))

    jax.monitoring.register_event_duration_secs_listener(heard)
    return names


def _after_shards(count: int, number: signal.Signals) -> contextlib.AbstractContextManager:
    """Send this process a signal once so many shards are kept."""
    from unittest import mock

    from riskengine.app.store import RunFolder

    save, kept = RunFolder.save_shard, []

    def save_shard(self, *arguments):
        save(self, *arguments)
        kept.append(1)
        if len(kept) == count:
            os.kill(os.getpid(), number)

    return mock.patch.object(RunFolder, "save_shard", save_shard)


def _main(names: list[str], arguments: list[str], stop_after: int) -> dict:
    from riskengine.__main__ import main

    before = sum(PROGRAM in name for name in names)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        with _after_shards(stop_after, signal.SIGINT) if stop_after else contextlib.nullcontext():
            code = main(arguments)
    compiled = sum(PROGRAM in name for name in names) - before
    return dict(code=code, out=out.getvalue(), err=err.getvalue(), compiled=compiled)


def _python(overrides: list[str], folder: str) -> dict:
    """The question from Python; its per-path numbers go to files in `folder`."""
    import numpy as np

    import riskengine

    question = riskengine.question(*overrides)
    results = riskengine.simulate(question)
    answers = riskengine.estimate(results, question)
    np.savez(Path(folder) / "results.npz", **results.results.metrics)
    np.savez(Path(folder) / "fund.npz", path=results.fund.path, **results.fund.metrics)
    return dict(
        sentence=answers.sentence,
        estimates=[e.record() for e in answers.estimates],
        curves={name: values.tolist() for name, values in answers.curves.items()},
    )


def _serve() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr
    names = _count_compilations()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["call"] == "main":
                answer = _main(names, request["arguments"], request["stop_after"])
            else:
                answer = _python(request["overrides"], request["folder"])
        except Exception:
            answer = {"bug": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["kill"]:
        from riskengine.__main__ import main

        with _after_shards(1, signal.SIGKILL):
            main(sys.argv[2:])
    else:
        _serve()
